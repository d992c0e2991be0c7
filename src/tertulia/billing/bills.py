"""Read the exports of usage or cost that providers offer, as CSV or JSON: cost and tokens by day and model. Pure.

Made after the documentation of OpenAI (organization costs and usage), Anthropic (cost report and usage report), OpenRouter
(activity) and Google Cloud (billing export). Columns are known by their names, so that their order does not matter.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from tertulia.billing.errors import BillUnreadable

MAX_LINES = 100_000
MAX_GROUPS = 5000
MAX_TOKENS = 10**15
MAX_DEPTH = 20
YEARS = range(2000, 2101)
DAYS = (
    "date",
    "day",
    "usage_date",
    "usage_date_utc",
    "start_time_iso",
    "starting_at",
    "start_time",
    "usage_start_time",
)
DAYS_MORE = ("created_at", "timestamp", "bucket_start_time")
MODELS = ("model", "model_name", "model_permaslug", "line_item", "snapshot_id", "sku_description", "sku", "description")
COSTS = ("cost", "amount", "amount_value", "cost_usd", "usage", "total_cost", "cost_total")
INPUTS = ("input_tokens", "prompt_tokens", "tokens_prompt", "n_context_tokens_total")
# Anthropic counts tokens without a cache, read from one and written to one apart.
UNCACHED = ("uncached_input_tokens", "usage_input_tokens_no_cache")
WRITTEN = (
    "cache_creation_input_tokens",
    "ephemeral_5m_input_tokens",
    "ephemeral_1h_input_tokens",
    "usage_input_tokens_cache_write_5m",
    "usage_input_tokens_cache_write_1h",
)
OUTPUTS = (
    "output_tokens",
    "completion_tokens",
    "tokens_completion",
    "n_generated_tokens_total",
    "usage_output_tokens",
)
CACHED = (
    "cached_tokens",
    "input_cached_tokens",
    "cache_read_input_tokens",
    "tokens_cached",
    "usage_input_tokens_cache_read",
)
# Amounts in cents, by the provider's documentation.
CENTS = {"anthropic": ("amount",)}


@dataclass(frozen=True)
class BillLine:
    """What a provider billed for a model on a day (UTC). Tokens are None where the export has none.

    `cost` is None in an export of usage, which has only tokens. `is_computed`: the cost is ours for their tokens.
    """

    cost: Decimal | None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    written_tokens: int | None = None  # to a cache, included in the input
    is_computed: bool = False

    def __add__(self, other: "BillLine") -> "BillLine":
        return BillLine(
            other.cost if self.cost is None else self.cost + (other.cost or 0),
            _plus(self.input_tokens, other.input_tokens),
            _plus(self.output_tokens, other.output_tokens),
            _plus(self.cached_tokens, other.cached_tokens),
            _plus(self.written_tokens, other.written_tokens),
            self.is_computed or other.is_computed,
        )


def _plus(first: int | None, second: int | None) -> int | None:
    return second if first is None else first + (second or 0)


def read_bill(provider: str, content: str) -> dict[tuple[date, str], BillLine]:
    """Return cost and tokens by day and model. Raises BillUnreadable with the line and what is wrong with it."""
    lines: dict[tuple[date, str], BillLine] = {}
    count = 0
    for number, fields in enumerate(_records(content), start=1):
        count = number
        if number > MAX_LINES:
            raise BillUnreadable(f"It has more than {MAX_LINES:,} lines. Choose a shorter period.")
        day = _day(fields, number)
        model = _text(fields, MODELS)
        cost = _cost(provider, fields, number)
        sent, received = _input_tokens(fields), _whole(fields, OUTPUTS)
        is_empty = cost is None and sent is None and received is None
        if day is None or model is None or is_empty:
            missing = "date" if day is None else "model" if model is None else "cost and no tokens"
            raise BillUnreadable(f"Line {number} has no {missing}. Export the usage or the costs by day and model.")
        line = BillLine(cost, sent, received, _whole(fields, CACHED), _sum_whole(fields, WRITTEN))
        if (line.cached_tokens or 0) > (line.input_tokens or line.cached_tokens or 0):
            raise BillUnreadable(f"Line {number} has more tokens from a cache than tokens in.")
        key = (day, model[:100])
        if key in lines and (lines[key].cost is None) is not (cost is None):
            raise BillUnreadable(
                f"Line {number} has {'no' if cost is None else 'a'} cost, unlike another line of {model}."
            )
        lines[key] = lines[key] + line if key in lines else line
        if len(lines) > MAX_GROUPS:
            raise BillUnreadable(f"It has more than {MAX_GROUPS:,} days and models. Choose a shorter period.")
    if count == 0:
        raise BillUnreadable("It has no lines.")
    return lines


def _records(content: str) -> Iterator[Mapping[str, Any]]:
    text = content.lstrip("\ufeff").strip()
    if text.startswith(("{", "[")):
        try:
            yield from _from_json(orjson.loads(text), {}, MAX_DEPTH)
        except orjson.JSONDecodeError as error:
            raise BillUnreadable(f"It is not valid JSON: {error}.") from None
        return
    try:
        reader = csv.DictReader(io.StringIO(text))
        for row in reader:
            yield {_name(name): value for name, value in row.items() if isinstance(name, str)}
    except csv.Error as error:
        raise BillUnreadable(f"It is not valid CSV: {error}.") from None


def _from_json(value: Any, outer: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield the records of nested lists: those inside a bucket of time have the bucket's time."""
    if depth == 0:
        raise BillUnreadable("It is nested too deeply to be an export of usage.")
    if isinstance(value, list):
        for item in value:
            yield from _from_json(item, outer, depth - 1)
        return
    if not isinstance(value, dict):
        return
    plain = {_name(name): inner for name, inner in value.items() if not isinstance(inner, list)}
    if _is_cloud_row(plain):
        yield _cloud_row(value, plain)
        return
    for name in ("amount", "cost", "model"):  # such as {"amount": {"value": 1.5, "currency": "usd"}}
        inner = plain.get(name)
        if isinstance(inner, dict):
            plain |= {name: inner.get("value", inner.get("id")), "currency": inner.get("currency")}
    written = plain.get("cache_creation")  # such as {"ephemeral_1h_input_tokens": 5}
    if isinstance(written, dict):
        plain |= {_name(key): count for key, count in written.items()}
    lists = [inner for inner in value.values() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]
    if lists:
        for inner in lists:
            yield from _from_json(inner, {**outer, **plain}, depth - 1)
    elif plain.keys() & {*COSTS, *INPUTS, *UNCACHED, *OUTPUTS}:
        yield {**outer, **plain}


def _is_cloud_row(plain: Mapping[str, Any]) -> bool:
    """Return whether this is a row of Google Cloud's billing export, whose lists are credits and labels."""
    return isinstance(plain.get("sku"), dict) and "cost" in plain and "usage_start_time" in plain


def _cloud_row(value: Mapping[str, Any], plain: Mapping[str, Any]) -> Mapping[str, Any]:
    credits = value.get("credits")
    amounts = (
        [credit.get("amount") for credit in credits if isinstance(credit, dict)] if isinstance(credits, list) else []
    )
    try:
        cost: Any = Decimal(str(plain["cost"])) + sum((Decimal(str(amount)) for amount in amounts), Decimal(0))
    except InvalidOperation:
        cost = plain["cost"]  # it is refused where costs are read
    return {
        "usage_start_time": plain["usage_start_time"],
        "sku_description": plain["sku"].get("description"),
        "cost": cost,
        "currency": plain.get("currency"),
    }


def _name(name: str) -> str:
    return "_".join(name.strip().lower().replace(".", " ").replace("-", " ").replace("(usd)", "").split())


def _text(fields: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip().replace("\0", "")  # PostgreSQL refuses it
    return None


def _day(fields: Mapping[str, Any], number: int) -> date | None:
    for name in (*DAYS, *DAYS_MORE):
        value = fields.get(name)
        if value in (None, ""):
            continue
        day: date | None
        try:
            if isinstance(value, int | float) or (isinstance(value, str) and value.isdigit()):
                moment = datetime.fromtimestamp(float(value), UTC)
            else:
                moment = datetime.fromisoformat(str(value).strip().replace(" UTC", "+00:00"))
            day = moment.astimezone(UTC).date() if moment.tzinfo else moment.date()
        except (ValueError, OverflowError, OSError):
            day = None
        if day is None or day.year not in YEARS:
            raise BillUnreadable(f"Line {number}: {str(value)[:40]} is not a date such as 2026-11-01.")
        return day
    return None


def _cost(provider: str, fields: Mapping[str, Any], number: int) -> Decimal | None:
    for name in COSTS:
        value = fields.get(name)
        if value in (None, ""):
            continue
        try:
            amount = Decimal(str(value).strip().lstrip("$").replace(",", ""))
        except InvalidOperation:
            raise BillUnreadable(f"Line {number}: {str(value)[:40]} is no amount of dollars.") from None
        if not amount.is_finite() or abs(amount) > Decimal(999_999):
            raise BillUnreadable(f"Line {number}: {str(value)[:40]} is no amount of dollars.")
        currency = fields.get("currency")
        if isinstance(currency, str) and currency and currency.lower() != "usd":
            raise BillUnreadable(f"Line {number} is in {currency[:10]}. The ledger is in dollars: export in USD.")
        if name in CENTS.get(provider, ()):
            amount /= 100
        return amount.quantize(Decimal("0.000001"))
    return None


def _input_tokens(fields: Mapping[str, Any]) -> int | None:
    """Return all tokens in, also those of a cache, which are included in ours."""
    uncached = _whole(fields, UNCACHED)
    if uncached is None:
        return _whole(fields, INPUTS)
    return uncached + (_whole(fields, CACHED) or 0) + (_sum_whole(fields, WRITTEN) or 0)


def _sum_whole(fields: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    counts = [count for name in names if (count := _whole(fields, (name,))) is not None]
    return sum(counts) if counts else None


def _whole(fields: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, bool) or value in (None, ""):
            continue
        try:
            count = Decimal(str(value))
        except InvalidOperation:
            continue
        # Compared before it is converted: `1e999999999` would take minutes.
        if count.is_finite() and 0 <= count <= MAX_TOKENS:
            return int(count)
    return None
