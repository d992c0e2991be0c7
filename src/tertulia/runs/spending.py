"""Enter what a run used in the ledger, and in the totals of the run, its reply and its chat."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import lru_cache, partial

from sqlalchemy.orm import Session

from tertulia.billing.bills import BillLine
from tertulia.billing.ledger import Reason, RequestUsage, record_usage
from tertulia.billing.limits import Payer
from tertulia.billing.reconciling import TokenCost
from tertulia.chat.models import Message, TokenCount
from tertulia.chat.service import add_to_totals
from tertulia.providers.configs import split_key
from tertulia.providers.price_updates import prices_at
from tertulia.providers.pricing import find_pricings
from tertulia.providers.protocol import Usage
from tertulia.runs.calls.life import last_call
from tertulia.runs.models import Run


def count_usage(session: Session, run: Run, payer_id: str, tokens: TokenCount | None, cost: Decimal | None) -> None:
    """Add the tokens and the cost of a request to the run, its reply, its chat and the ledger.

    The caller has locked the chat and the payer.
    """
    run.usage, run.cost = add_counts(run.usage, tokens), _add_costs(run.cost, cost)
    message = session.get_one(Message, run.message_id, populate_existing=True)
    details = message.details
    message.details = details.model_copy(
        update={"tokens": add_counts(details.tokens, tokens), "cost": _add_costs(details.cost, cost)}
    )
    session.flush()
    if tokens is None:
        return
    used = RequestUsage(
        provider=split_key(run.provider)[0],
        model_name=run.model_name,
        input_tokens=tokens.prompt,
        output_tokens=tokens.completion,
        cached_tokens=tokens.cached,
        is_estimated=tokens.estimated,
        cost=cost,
        cache_write_tokens=tokens.cache_written,
        cache_savings=tokens.cache_savings,
        thinking_tokens=tokens.thinking,
    )
    # The call is the one whose result was read, if any.
    reason = Reason(run.message_id, run.id, last_call(session, run.id))
    record_usage(session, used, Payer(payer_id, run.chat_id, run.api_token_id), reason)
    add_to_totals(session, run.chat_id, tokens.total, cost)


def price_tokens(session: Session, provider: str) -> TokenCost:
    """Read a provider's prices, and return a function for what tokens of a bill cost, with the price of their time."""
    pricing_of = find_pricings(session, provider)
    book_at = lru_cache(maxsize=1)(partial(prices_at, session))  # the lines of a bill come by day

    def cost(model_name: str, moment: datetime, billed: BillLine) -> Decimal | None:
        usage = Usage(
            billed.input_tokens or 0,
            billed.output_tokens or 0,
            cached_tokens=billed.cached_tokens or 0,
            cache_write_tokens=billed.written_tokens or 0,
        )
        return replace(pricing_of(model_name), book=book_at(moment)).cost(usage, at=moment)

    return cost


def add_counts(first: TokenCount | None, second: TokenCount | None) -> TokenCount | None:
    if first is None or second is None:
        return second or first
    return TokenCount(
        prompt=first.prompt + second.prompt,
        completion=first.completion + second.completion,
        total=first.total + second.total,
        cached=first.cached + second.cached,
        thinking=first.thinking + second.thinking,
        cache_written=first.cache_written + second.cache_written,
        cache_savings=_add_costs(first.cache_savings, second.cache_savings),
        estimated=first.estimated or second.estimated,
    )


def _add_costs(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    return second if first is None else first + (second or 0)
