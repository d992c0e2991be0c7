"""Compute the cost of a reply from genai-prices, offline, unless its vendor says what it charges.

If the price is unknown, the cost is None, not 0.
"""

import logging
import threading
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from types import ModuleType
from typing import Any

from tertulia.db.types import MILLIONTH
from tertulia.providers.protocol import Usage
from tertulia.providers.vendors import Vendor

MAX_COST = Decimal("999999.999999")  # what the column holds
log = logging.getLogger(__name__)
_importing = threading.Lock()


def genai_prices() -> ModuleType:
    """Return the package genai-prices, loaded with the first use, because it takes a moment.

    Two threads that import it at the same time, by different modules of it, can wait for each other without end.
    """
    with _importing:
        import genai_prices as package  # noqa: TID251
        import genai_prices.data_snapshot  # noqa: TID251
        import genai_prices.types  # noqa: TID251
    return package


def use_prices(providers: list[Any] | None) -> None:
    """Compute with the prices of these providers, or with those of the package. Loading them takes a moment."""
    data = genai_prices().data_snapshot
    data.set_custom_snapshot(None if providers is None else data.DataSnapshot(providers, from_auto_update=False))
    _has_price.cache_clear()
    current_providers()


@dataclass(frozen=True)
class PriceBook:
    """Prices that were used at another time. `snapshot` is genai-prices' own."""

    snapshot: Any

    def calculate(self, usage: Any, model_name: str, prices_id: str, at: datetime) -> Any:
        """Return genai-prices' price calculation. Raises LookupError for an unknown model, and ValueError."""
        return self.snapshot.calc(usage, model_name, prices_id, None, at)


def make_book(providers: list[Any] | None) -> PriceBook:
    """Return the prices of these providers, or those of the package."""
    data = genai_prices().data_snapshot
    if providers is None:
        return PriceBook(data._bundled_snapshot())
    return PriceBook(data.DataSnapshot(providers, from_auto_update=False))


def current_providers() -> list[Any]:
    """Return genai-prices' providers with their models, as they are used now."""
    providers: list[Any] = genai_prices().data_snapshot.get_snapshot().providers
    return providers


@lru_cache(maxsize=4096)
def _has_price(prices_id: str, model_name: str) -> bool:
    """Check for a price. Cached, because an unknown name is compared with every rule."""
    provider = next((candidate for candidate in current_providers() if candidate.id == prices_id), None)
    return provider is not None and provider.find_model(model_name) is not None


def cost_of(
    vendor: Vendor | None, model_name: str, usage: Usage, *, at: datetime, book: PriceBook | None = None
) -> Decimal | None:
    """Return the cost in dollars, to the millionth: None if unknown, 0 on the user's own machine.

    `book` has the prices if they are not those that are used now.
    """
    if vendor is None or vendor.is_own_machine:
        return Decimal(0)
    if usage.cost is not None:
        return min(usage.cost.quantize(MILLIONTH, ROUND_HALF_UP), MAX_COST)
    if vendor.prices_id is None or usage.is_unpriced:
        return None
    if book is None and not _has_price(vendor.prices_id, model_name):
        return None
    package = genai_prices()
    book = book or PriceBook(package.data_snapshot.get_snapshot())
    counts = package.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        web_searches=usage.web_searches,
    )
    try:
        priced = book.calculate(counts, model_name, vendor.prices_id, at)
    except LookupError:
        return None
    except ValueError as error:  # impossible counts, such as more cached tokens than input tokens
        log.warning("%s/%s cannot be priced: %s", vendor.id, model_name, error)
        return None
    total: Decimal = priced.total_price
    return min(total.quantize(MILLIONTH, ROUND_HALF_UP), MAX_COST)


def savings_of_cache(
    vendor: Vendor | None, model_name: str, usage: Usage, cost: Decimal | None, *, at: datetime
) -> Decimal | None:
    """Return what the vendor's cache saved, below 0 if writing to it cost more. None if the cost is unknown."""
    if cost is None or not (usage.cached_tokens or usage.cache_write_tokens):
        return cost if cost is None else Decimal(0)
    # What a vendor says that it charges cannot be divided, so both sides are computed.
    cached = replace(usage, cost=None)
    uncached = replace(cached, cached_tokens=0, cache_write_tokens=0)
    with_cache, without = (cost_of(vendor, model_name, counts, at=at) for counts in (cached, uncached))
    return None if with_cache is None or without is None else without - with_cache
