"""What tools give: within its limit for the record, and as words for a model."""

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
INDENTED_BYTES = 8192  # JSON up to here is told with a line for each value
PICTURE = "[a picture, which the person sees]"
SHOWN_BYTES = 4096  # a result up to here comes whole with its call


def as_cost(told: object) -> Decimal | None:
    """A cost as a tool tells it, whatever it is: None for what is no amount, and never more than can be stored."""
    if told is None:
        return None
    try:
        amount = Decimal(str(told))
    except ArithmeticError:
        return None
    return min(amount, MAX_COST).quantize(MILLIONTH) if amount.is_finite() and amount >= 0 else None


def store_result(result: ToolResult) -> StoredResult:
    """Whole, or, past the limit, the beginning of it as text. What is no JSON becomes its text."""
    content = result.content
    try:
        encoded = orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # no JSON, or text with halves of characters in it
        content = str(content).encode("utf-8", "replace").decode()
        encoded = orjson.dumps(content)
    if depth_of(content) > MAX_DEPTH:
        content = encoded.decode()  # shown level by level it would be many times as long
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
    """As many characters as take at most MAX_RESULT bytes where they are stored: as JSON, where signs may take several."""
    low, high = 0, min(len(text), MAX_RESULT)
    while low < high:
        middle = (low + high + 1) // 2
        if len(orjson.dumps(text[:middle])) <= MAX_RESULT:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def _without_nul(value: Any) -> Any:
    """What databases do not store becomes the character for what cannot be shown."""
    match value:
        case str():
            return value.replace("\x00", "\ufffd")
        case list():
            return [_without_nul(one) for one in value]
        case dict():
            return {_without_nul(key): _without_nul(one) for key, one in value.items()}
    return value


def words_of(result: StoredResult) -> str:
    """A result as text, for models and excerpts. Pictures are told of."""
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
    given = content.get("rows")
    rows = [content["columns"], *(row for row in given if isinstance(row, list))] if isinstance(given, list) else []
    return "\n".join(" | ".join("" if cell is None else str(cell) for cell in row) for row in rows)
