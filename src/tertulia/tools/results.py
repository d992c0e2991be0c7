"""Prepare tool results: cut them to a limit for storage, and render them as text for a model."""

from decimal import Decimal
from typing import Any

import orjson

from tertulia.tools.models import StoredResult
from tertulia.tools.protocol import ToolResult
from tertulia.tools.validation import MAX_DEPTH, depth_of

MAX_COST = Decimal("999999")
MILLIONTH = Decimal("0.000001")
MAX_RESULT = 256 * 1024  # bytes
EXCERPT = 2000  # characters
INDENTED_BYTES = 8192  # JSON up to this size is rendered with one line per value
PICTURE = "[a picture, which the person sees]"
SHOWN_BYTES = 4096  # results up to this size are returned in full with their call


def as_cost(reported: object) -> Decimal | None:
    """Parse a cost that a tool reports. Return None if it is not an amount; cap it at MAX_COST."""
    if reported is None:
        return None
    try:
        amount = Decimal(str(reported))
    except ArithmeticError:
        return None
    return min(amount, MAX_COST).quantize(MILLIONTH) if amount.is_finite() and amount >= 0 else None


def store_result(result: ToolResult) -> StoredResult:
    """Convert a result for storage. Past the limit, keep its beginning as text. Other than JSON becomes text."""
    content = result.content
    try:
        encoded = orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # not JSON, or text with unpaired surrogates
        content = str(content).encode("utf-8", "replace").decode()
        encoded = orjson.dumps(content)
    if depth_of(content) > MAX_DEPTH:
        content = encoded.decode()  # indented, it would be many times as long
        encoded = orjson.dumps(content)
    size = len(encoded)
    if size <= MAX_RESULT:
        content = orjson.loads(encoded)
        if b"\\u0000" in encoded:
            content = _without_nul(content)
        return StoredResult(kind=result.kind, content=content, size_bytes=size)
    text = content if isinstance(content, str) and result.kind != "image" else encoded.decode()
    return StoredResult(kind="text", content=_beginning(text.replace("\x00", "\ufffd")), size_bytes=size, is_cut=True)


def _beginning(text: str) -> str:
    """Return the longest prefix that takes at most MAX_RESULT bytes as JSON. A character may take several bytes."""
    low, high = 0, min(len(text), MAX_RESULT)
    while low < high:
        middle = (low + high + 1) // 2
        if len(orjson.dumps(text[:middle])) <= MAX_RESULT:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def _without_nul(value: Any) -> Any:
    """Replace U+0000, which databases cannot store, with the replacement character U+FFFD."""
    match value:
        case str():
            return value.replace("\x00", "\ufffd")
        case list():
            return [_without_nul(item) for item in value]
        case dict():
            return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return value


def result_text(result: StoredResult) -> str:
    """Render a result as text for models and excerpts. A placeholder replaces images."""
    match result.kind:
        case "text":
            return str(result.content)
        case "image":
            return PICTURE
        case "mixed":
            parts = result.content if isinstance(result.content, list) else []
            return "\n\n".join(
                str(part["content"]) if part.get("kind") == "text" else PICTURE
                for part in parts
                if isinstance(part, dict)
            )
        case "table":
            return _table(result.content)
        case "json":
            option = orjson.OPT_INDENT_2 if result.size_bytes <= INDENTED_BYTES else None
            return orjson.dumps(result.content, option=option).decode()


def _table(content: Any) -> str:
    if not isinstance(content, dict) or not isinstance(content.get("columns"), list):
        return orjson.dumps(content).decode()
    body = content.get("rows")
    rows = [content["columns"], *(row for row in body if isinstance(row, list))] if isinstance(body, list) else []
    return "\n".join(" | ".join("" if cell is None else str(cell) for cell in row) for row in rows)
