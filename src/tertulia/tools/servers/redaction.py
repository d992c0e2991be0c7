"""Redact secrets that were sent to a server from the text that it returns."""

from collections.abc import Iterable, Sequence
from typing import Any

MIN_SECRET = 8  # characters; shorter parts of a secret are not redacted


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace each secret, and its longer parts, by an ellipsis, and U+0000, which cannot be stored, by U+FFFD."""
    for secret in secrets:
        for part in (secret, *secret.split()):
            if len(part) >= MIN_SECRET:  # a shorter part is no secret and occurs in every text
                text = text.replace(part, "…")
    return text.replace("\x00", "\ufffd")


def redacted(value: Any, secrets: Sequence[str]) -> Any:
    match value:
        case str():
            return redact(value, secrets)
        case list():
            return [redacted(item, secrets) for item in value]
        case dict():
            return {redact(str(key), secrets): redacted(item, secrets) for key, item in value.items()}
    return value
