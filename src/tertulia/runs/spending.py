"""Enter what a run used in the ledger and in the totals of its chat."""

from decimal import Decimal
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.billing.ledger import RequestUsage, record_usage
from tertulia.chat.models import Chat, TokenCount
from tertulia.ids import ChatId, MessageId, RunId
from tertulia.providers.configs import split_key


def add_costs(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    return second if first is None else first + (second or 0)


class PayableRun(Protocol):
    """The fields of a claimed or abandoned run that the ledger needs."""

    @property
    def id(self) -> RunId: ...
    @property
    def chat_id(self) -> ChatId: ...
    @property
    def message_id(self) -> MessageId: ...
    @property
    def payer_id(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def model_name(self) -> str: ...


def record_run_usage(
    session: Session, run: PayableRun, tokens: TokenCount, cost: Decimal | None, *, call_id: str | None = None
) -> None:
    """Record usage in the ledger and in the totals of the chat. `call_id` is the call whose result was read, if any."""
    used = RequestUsage(
        provider=split_key(run.provider)[0],
        model_name=run.model_name,
        input_tokens=tokens.prompt,
        output_tokens=tokens.completion,
        cached_tokens=tokens.cached,
        is_estimated=tokens.estimated,
        cost=cost,
    )
    record_usage(
        session,
        used,
        user_id=run.payer_id,
        chat_id=run.chat_id,
        message_id=run.message_id,
        run_id=run.id,
        tool_execution_id=call_id,
    )
    session.execute(
        sa.update(Chat)
        .where(Chat.id == run.chat_id)
        .values(total_tokens=Chat.total_tokens + tokens.total, total_cost=Chat.total_cost + (cost or Decimal(0)))
    )


def add_counts(first: TokenCount | None, second: TokenCount | None) -> TokenCount | None:
    if first is None or second is None:
        return second or first
    return TokenCount(
        prompt=first.prompt + second.prompt,
        completion=first.completion + second.completion,
        total=first.total + second.total,
        cached=first.cached + second.cached,
        estimated=first.estimated or second.estimated,
    )
