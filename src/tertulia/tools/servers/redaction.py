"""Taking out of what a server says what was sent to it."""

from collections.abc import Iterable, Sequence
from typing import Any

LEAST_SECRET = 8  # characters of a part of a header that is taken out of what a server says


def redact(text: str, secrets: Iterable[str]) -> str:
    """Without what was sent to the server, whole or in its parts, and without what cannot be stored."""
    for secret in secrets:
        for part in (secret, *secret.split()):
            if len(part) >= LEAST_SECRET:  # a shorter one is no secret, and stands in every text
                text = text.replace(part, "…")
    return text.replace("\x00", "\ufffd")


def redacted(value: Any, secrets: Sequence[str]) -> Any:
    match value:
        case str():
            return redact(value, secrets)
        case list():
            return [redacted(one, secrets) for one in value]
        case dict():
            return {redact(str(key), secrets): redacted(one, secrets) for key, one in value.items()}
    return value
