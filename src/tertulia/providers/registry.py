"""Store the model catalogue: facts that vendors' own lists lack, from genai-prices and our own rules."""

import re
import time
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.db import Database
from tertulia.ids import new_id
from tertulia.jobs.models import InstanceSetting
from tertulia.providers.models import Capabilities, ProviderModel
from tertulia.providers.price_updates import NewPrices, find_prices, stored_edition
from tertulia.providers.prices import current_providers
from tertulia.providers.vendors import BY_ID, VENDORS

EDITION = "model_catalogue"
KEPT_S = 300.0
EMPTY_KEPT_S = 5.0
# Capabilities by model family: genai-prices does not include them.
_SEES = re.compile(
    r"gpt-4o|gpt-4\.1|gpt-4-turbo|gpt-[5-9]|(^|/)o[134](-|$)|claude-(3|opus|sonnet|haiku|fable|mythos)|gemini|gemma-[34]|pixtral|"
    r"mistral-(small|medium)-3|llama-?4|-vl|vision|grok-4|qwen3\.|kimi-k[23]\.|phi-4-multimodal"
)
_THINKS = re.compile(
    r"gpt-[5-9]|(^|/)o[134](-|$)|claude-(opus|sonnet)-[4-9]|claude-(haiku-[5-9]|fable|mythos)|gemini-(2\.5|[3-9])|deepseek-r|reason|"
    r"think|magistral|qwq|gpt-oss|grok-(3-mini|[4-9])|kimi-k"
)
_ACTS = re.compile(
    r"gpt-|(^|/)o[134](-|$)|claude|gemini-[2-9]|mistral|ministral|magistral|codestral|llama-?[34]|qwen|deepseek|grok|command|kimi|glm"
)


@dataclass(frozen=True)
class KnownModel:
    display_name: str
    context_window: int | None
    max_output: int | None
    input_price: Decimal | None
    output_price: Decimal | None
    cached_price: Decimal | None
    capabilities: Capabilities
    is_deprecated: bool


def edition_of(prices: str | None) -> str:
    """Return a version that changes whenever a refresh would write other rows."""
    return f"{prices or 'genai-prices ' + version('genai-prices')}, rules 1"


def refresh_catalogue(session: Session, *, is_forced: bool = False, prices: NewPrices | None = None) -> int:
    """Update `provider_model` to the stored prices, or those of this program. Return the number of rows written, 0 if it was current."""
    stored = session.get(InstanceSetting, EDITION)
    edition = edition_of(stored_edition(session))
    if stored is not None and stored.value == edition and not is_forced:
        return 0
    now = clock.now()
    # Reading them takes a moment, so new ones are read before they are stored.
    prices = prices or find_prices(session)
    providers = prices.providers if prices else current_providers()
    rows = [row | {"id": new_id(), "created_at": now, "updated_at": now} for row in _all_rows(providers)]
    # One short transaction: nothing references these rows, and a partly filled catalogue would mislead.
    session.execute(sa.delete(ProviderModel))
    session.execute(sa.insert(ProviderModel), rows)
    if stored is None:
        session.add(InstanceSetting(name=EDITION, value=edition))
    else:
        stored.value = edition
    session.flush()
    return len(rows)


def _all_rows(providers: list[Any]) -> list[dict[str, object]]:
    priced = {provider.id: provider for provider in providers}
    rows = []
    for vendor in VENDORS:
        provider = priced.get(vendor.prices_id or "")
        seen = set()
        for model in provider.models if provider else ():
            if model.id in seen or len(model.id) > 100:
                continue
            seen.add(model.id)
            rows.append(_row(vendor.id, model))
    return rows


def _row(vendor_id: str, model: Any) -> dict[str, object]:
    prices = model.prices if not isinstance(model.prices, list) else model.get_prices(clock.now())
    name = model.id.lower()
    return {
        "provider": vendor_id,
        "model_name": model.id,
        "display_name": (model.name or model.id)[:200],
        "context_window": model.context_window,
        "max_output": None,
        "input_price": _flat(getattr(prices, "input_mtok", None)),
        "output_price": _flat(getattr(prices, "output_mtok", None)),
        "cached_price": _flat(getattr(prices, "cache_read_mtok", None)),
        "capabilities": Capabilities(
            vision=bool(_SEES.search(name)), tools=bool(_ACTS.search(name)), reasoning=bool(_THINKS.search(name))
        ),
        "is_deprecated": bool(model.deprecated),
    }


def _flat(price: object) -> Decimal | None:
    """Return the price, or the first tier of a tiered one. None if unknown."""
    base = getattr(price, "base", price)
    return base if isinstance(base, Decimal) and base < 1_000_000 else None


class ModelRegistry:
    """The catalogue in memory, by vendor. It is reloaded periodically, because another process may refresh it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._read: dict[str, tuple[float, dict[str, KnownModel]]] = {}
        self._matched: dict[tuple[str, str], str | None] = {}

    async def of_vendor(self, vendor_id: str) -> dict[str, KnownModel]:
        read_at, models = self._read.get(vendor_id, (-KEPT_S, {}))
        # An empty catalogue may be filled soon, by this server's start or by a command.
        if time.monotonic() - read_at > (KEPT_S if models else EMPTY_KEPT_S):
            models = await self._db.read(_read_vendor, vendor_id)
            self._read[vendor_id] = (time.monotonic(), models)
            self._matched.clear()  # newer prices may know more names
        return models

    async def find(self, vendor_id: str, model_name: str) -> KnownModel | None:
        """Find a model by its exact name, else by genai-prices' rules: a dated name matches the undated model."""
        models = await self.of_vendor(vendor_id)
        if model_name in models or not models:
            return models.get(model_name)
        key = (vendor_id, model_name)
        if key not in self._matched:
            if len(self._matched) > 10_000:
                self._matched.clear()
            self._matched[key] = _match(vendor_id, model_name)
        return models.get(self._matched[key] or "")

    def forget(self) -> None:
        self._read.clear()
        self._matched.clear()


def _match(vendor_id: str, model_name: str) -> str | None:
    provider = next(
        (candidate for candidate in current_providers() if candidate.id == BY_ID[vendor_id].prices_id), None
    )
    model = provider.find_model(model_name) if provider else None
    return model.id if model else None


def _read_vendor(session: Session, vendor_id: str) -> dict[str, KnownModel]:
    rows = session.scalars(sa.select(ProviderModel).where(ProviderModel.provider == vendor_id))
    return {
        row.model_name: KnownModel(
            row.display_name,
            row.context_window,
            row.max_output,
            row.input_price,
            row.output_price,
            row.cached_price,
            row.capabilities,
            row.is_deprecated,
        )
        for row in rows
    }
