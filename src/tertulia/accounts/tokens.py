"""Bearer secrets: 256 random bits, shown once, kept as SHA-256 (full entropy needs no slow hash)."""

import hashlib
import secrets


def new_token() -> str:
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
