"""Read the values that servers send: JSON that is not quite JSON, and fields of a wrong type."""

import json
from collections.abc import Mapping
from typing import Any

import orjson

MAX_TOKENS_TOLD = 2**31 - 1
MAX_DIGITS = 12  # of a count that comes as text


def load_loosely(data: bytes) -> Any:
    """Parse JSON, also with invalid UTF-8, half a surrogate pair, control characters or NaN. Raises ValueError."""
    text = data.decode("utf-8", "replace")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text.strip("\0"), strict=False)
    except RecursionError as error:
        raise ValueError("too deep") from error


def arguments_text(value: object) -> str:
    """Return the arguments of a tool call as JSON text: servers send text, an object, or nothing."""
    if isinstance(value, str):
        return value
    return plain_json(value) if isinstance(value, dict | list) else ""


def plain_json(value: object) -> str:
    """Return JSON text of what a server sent. Half a surrogate pair becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()


def part_of(event: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a field that is an object, or an empty one."""
    part = event.get(name)
    return part if isinstance(part, dict) else {}


def list_of(event: Mapping[str, Any], name: str) -> list[Any]:
    """Return a field that is a list, or an empty one."""
    items = event.get(name)
    return items if isinstance(items, list) else []


def count_of(value: object) -> int:
    """Return a token count, or 0 if the value is not one."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < MAX_DIGITS:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TOKENS_TOLD:
        return MAX_TOKENS_TOLD if isinstance(value, int) and value > MAX_TOKENS_TOLD else 0
    return int(value)  # some servers count in fractions, such as 12.0
