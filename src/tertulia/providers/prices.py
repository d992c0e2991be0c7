"""Compute the cost of a reply from genai-prices, offline, unless its vendor says what it charges.

If the price is unknown, the cost is None, not 0.
"""

import asyncio
import logging
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

from tertulia.db.types import MILLIONTH
from tertulia.providers.protocol import Usage
from tertulia.providers.vendors import Vendor

MAX_COST = Decimal("999999.999999")  # what the column holds
log = logging.getLogger(__name__)


def load_prices() -> None:
    """Load the prices. It takes a moment, so call it where a delay does not matter."""
    import genai_prices  # noqa: F401
    from genai_prices import data  # noqa: F401


class PriceLoader:
    """Loads the prices in a thread when the app starts."""

    def __init__(self) -> None:
        self._loading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._loading = asyncio.create_task(asyncio.to_thread(load_prices), name="load-prices")

    async def close(self) -> None:
        if self._loading is not None:
            await asyncio.gather(self._loading, return_exceptions=True)


@lru_cache(maxsize=4096)
def _has_price(prices_id: str, model_name: str) -> bool:
    """Check for a price. Cached, because an unknown name is compared with every rule."""
    from genai_prices import data

    provider = next((candidate for candidate in data.providers if candidate.id == prices_id), None)
    return provider is not None and provider.find_model(model_name) is not None


def cost_of(vendor: Vendor | None, model_name: str, usage: Usage, *, at: datetime) -> Decimal | None:
    """Return the cost in dollars, to the millionth: None if unknown, 0 on the user's own machine."""
    if vendor is None or vendor.is_own_machine:
        return Decimal(0)
    if usage.cost is not None:
        return min(usage.cost.quantize(MILLIONTH, ROUND_HALF_UP), MAX_COST)
    if vendor.prices_id is None or usage.is_unpriced:
        return None
    # Imported late, because it is not needed before the first reply.
    import genai_prices

    if not _has_price(vendor.prices_id, model_name):
        return None
    try:
        priced = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cached_tokens,
                cache_write_tokens=usage.cache_write_tokens,
                web_searches=usage.web_searches,
            ),
            model_ref=model_name,
            provider_id=vendor.prices_id,
            genai_request_timestamp=at,
        )
    except LookupError:
        return None
    except ValueError as error:  # impossible counts, such as more cached tokens than input tokens
        log.warning("%s/%s cannot be priced: %s", vendor.id, model_name, error)
        return None
    return min(priced.total_price.quantize(MILLIONTH, ROUND_HALF_UP), MAX_COST)


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
