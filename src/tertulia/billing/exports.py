"""Write groups of usage as CSV or JSON, a part at a time."""

import csv
import io
from collections.abc import Sequence

import orjson

from tertulia.billing.schemas import UsageGroup
from tertulia.billing.usage import GroupBy
from tertulia.exports import plain_cell

_COLUMNS: dict[GroupBy, tuple[str, ...]] = {
    "day": ("day",),
    "provider": ("provider",),
    "model": ("model_name",),
    "chat": ("chat_id", "chat_title"),
    "project": ("project_id", "project_name"),
    "tool": ("tool_name",),
    "token": ("token_id", "token_name"),
    "user": ("user_id", "username"),
}
_AMOUNTS = (
    "requests",
    "replies",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "thinking_tokens",
    "cost",
    "cache_savings",
    "unknown_cost_replies",
    "estimated_replies",
)


def _names(by: Sequence[GroupBy]) -> list[str]:
    return [name for group in by for name in _COLUMNS[group]] + list(_AMOUNTS)


class CsvFile:
    """A line for each group, after a head. A text that a spreadsheet would run as a formula gets an apostrophe."""

    media_type = "text/csv; charset=utf-8"

    def __init__(self, by: Sequence[GroupBy]) -> None:
        self._names = _names(by)

    def begin(self) -> bytes:
        return self._lines([self._names])

    def add(self, groups: Sequence[UsageGroup]) -> bytes:
        rows = [[group[name] for name in self._names] for group in groups]  # type: ignore[literal-required]
        return self._lines([[plain_cell(cell) for cell in row] for row in rows])

    def end(self) -> bytes:
        return b""

    def _lines(self, rows: Sequence[Sequence[object]]) -> bytes:
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        return text.getvalue().encode()


class JsonFile:
    """A list with an object for each group."""

    media_type = "application/json"

    def __init__(self, by: Sequence[GroupBy]) -> None:
        self._names = _names(by)
        self._is_empty = True

    def begin(self) -> bytes:
        return b"["

    def add(self, groups: Sequence[UsageGroup]) -> bytes:
        written = b""
        for group in groups:
            row = {name: group[name] for name in self._names}  # type: ignore[literal-required]
            written += (b"\n" if self._is_empty else b",\n") + orjson.dumps(row, default=str)
            self._is_empty = False
        return written

    def end(self) -> bytes:
        return b"\n]\n"
