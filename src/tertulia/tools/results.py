"""What tools give: within its limit for the record, and as words for a model."""

from typing import Any

import orjson

from tertulia.tools.models import StoredResult
from tertulia.tools.protocol import ToolResult

MAX_RESULT = 256 * 1024  # bytes
EXCERPT = 2000  # characters
SHOWN_BYTES = 4096  # a result up to here comes whole with its call


def store_result(result: ToolResult) -> StoredResult:
    """Whole, or, past the limit, the beginning of it as text. What is no JSON becomes its text."""
    content = result.content
    try:
        encoded = orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        content = str(content)
        encoded = orjson.dumps(content)
    size = len(encoded)
    if size <= MAX_RESULT:
        content = orjson.loads(encoded.replace(b"\\u0000", b"\\ufffd"))
        return StoredResult(kind=result.kind, content=content, size_bytes=size)
    text = content if isinstance(content, str) and result.kind != "image" else encoded.decode()
    kept = text.encode("utf-8", "replace")[: MAX_RESULT - 2].decode("utf-8", "ignore").replace("\x00", "\ufffd")
    return StoredResult(kind="text", content=kept, size_bytes=size, is_cut=True)


def words_of(result: StoredResult) -> str:
    """A result as text, for models and excerpts. Pictures are told of."""
    match result.kind:
        case "text":
            return str(result.content)
        case "image":
            return "[a picture, which the person sees]"
        case "table":
            return _table(result.content)
        case "json":
            return orjson.dumps(result.content, option=orjson.OPT_INDENT_2).decode()


def _table(content: Any) -> str:
    if not isinstance(content, dict) or not isinstance(content.get("columns"), list):
        return orjson.dumps(content).decode()
    rows = [content["columns"], *(row for row in content.get("rows", []) if isinstance(row, list))]
    return "\n".join(" | ".join("" if cell is None else str(cell) for cell in row) for row in rows)
