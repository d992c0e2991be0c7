"""Bearer secrets: 256 random bits, shown once, stored as SHA-256 (full entropy needs no slow hash)."""

import hashlib
import secrets

TOKEN_PREFIX = "tta_"  # noqa: S105 - prefix of API tokens, so that people and log masking recognise them


def new_token() -> str:
    return secrets.token_urlsafe(32)


def new_api_token() -> str:
    return TOKEN_PREFIX + new_token()


def new_link_token() -> str:
    """Create a token that starts with a letter, so that it is never taken for an id."""
    return "s" + new_token()


def hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
