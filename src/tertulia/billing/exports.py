"""Write groups of usage as CSV or JSON."""

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


def as_csv(groups: Sequence[UsageGroup], by: Sequence[GroupBy]) -> bytes:
    """Return a line for each group, and a head. A text that a spreadsheet would run as a formula gets an apostrophe."""
    text = io.StringIO()
    lines = csv.writer(text)
    names = _names(by)
    lines.writerow(names)
    for group in groups:
        cells = [group[name] for name in names]  # type: ignore[literal-required]
        lines.writerow([plain_cell(cell) for cell in cells])
    return text.getvalue().encode()


def as_json(groups: Sequence[UsageGroup], by: Sequence[GroupBy]) -> bytes:
    names = _names(by)
    rows = [{name: group[name] for name in names} for group in groups]  # type: ignore[literal-required]
    return orjson.dumps(rows, default=str, option=orjson.OPT_INDENT_2)
