"""Read what vendors say that they charge for a request, such as OpenRouter, Perplexity and xAI."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tertulia.providers.values import part_of

MAX_DOLLARS = 1_000_000  # of one request
TICKS = 10**10  # of xAI are a dollar (docs.x.ai/developers/cost-tracking)


def charge_of(usage: Mapping[str, Any], vendor_id: str) -> Decimal | None:
    """Return what a vendor charges for a request, in dollars; None if it does not say so in a known form.

    Other servers may mean something else by the same names.
    """
    match vendor_id:
        case "openrouter":
            own = _dollars(usage.get("cost"))
            if own is None or usage.get("is_byok") is not True:
                return own
            # The key belongs to the vendor behind OpenRouter, which charges the rest itself.
            behind = _dollars(part_of(usage, "cost_details").get("upstream_inference_cost"))
            return None if behind is None else own + behind
        case "perplexity":
            return _dollars(part_of(usage, "cost").get("total_cost"))
        case "xai":
            return _dollars(usage.get("cost_in_usd_ticks"), unit=TICKS)
    return None


def _dollars(amount: object, *, unit: int = 1) -> Decimal | None:
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount < MAX_DOLLARS * unit:
        return None
    return Decimal(str(amount)) / unit
