"""Store the progress and end of a run. Every write checks the lease, so that a process that lost it cannot write."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.ledger import RequestUsage, lock_payer, record_usage, release
from tertulia.chat.indexing import index_stored
from tertulia.chat.messages import announce_message
from tertulia.chat.models import Chat, FinishReason, Message, MessageError, MessageStatus, TokenCount
from tertulia.chat.parts import Part, ToolCallPart, flatten
from tertulia.chat.schemas import MessageRead
from tertulia.db import Prepared, rowcount, seconds_from_now, wake
from tertulia.drafts.proposals import finish_proposal
from tertulia.ids import ChatId, MessageId, RunId
from tertulia.providers.configs import split_key, touch_config
from tertulia.realtime.models import Operation
from tertulia.runs.calls.life import close_calls, count_open, last_call, mark_outcomes_unknown
from tertulia.runs.calls.proposing import ProposedCall, record_calls
from tertulia.runs.engine.claims import LEASE_S, Claimed
from tertulia.runs.errors import CancelRequested, LeaseLost
from tertulia.runs.models import Run, RunError, RunStatus, Step
from tertulia.runs.schemas import RunRead
from tertulia.runs.service import RUN_PREFIX, RUNS, announce_run, end_queued, wake_followers
from tertulia.tools.models import ToolExecution, ToolStatus

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """The end of a run or of a step."""

    status: Literal[RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED]
    finish_reason: FinishReason | None = None
    error: RunError | None = None
    tokens: TokenCount | None = None  # None: the provider did nothing chargeable
    cost: Decimal | None = None
    config_id: str | None = None  # of the user's own provider, if it was used


_MESSAGE_STATUS = {
    RunStatus.COMPLETED: MessageStatus.SENT,
    RunStatus.FAILED: MessageStatus.ERROR,
    RunStatus.CANCELLED: MessageStatus.INTERRUPTED,
    RunStatus.INTERRUPTED: MessageStatus.INTERRUPTED,
}


# Every run executes both at each checkpoint.
_RENEW = Prepared(
    sa.update(Run)
    .where(
        Run.id == sa.bindparam("the_run", type_=Run.id.type),
        Run.lease_owner == sa.bindparam("owner", type_=sa.String()),
        Run.lease_number == sa.bindparam("number", type_=sa.Integer()),
        Run.status == RunStatus.RUNNING,
    )
    .values(
        lease_expires_at=seconds_from_now(LEASE_S),
        updated_at=sa.bindparam("moment", type_=Run.created_at.type),
    )
)


_STORE_TEXT = Prepared(
    sa.update(Message)
    .where(Message.id == sa.bindparam("the_message", type_=Message.id.type))
    .values(
        status=MessageStatus.STREAMING,
        parts=sa.bindparam("new_parts", type_=Message.parts.type),
        content=sa.bindparam("new_content", type_=sa.Text()),
        updated_at=sa.bindparam("moment", type_=Message.created_at.type),
    )
)


def end_step(
    session: Session, run: Claimed, parts: list[Part], proposed: Sequence[ProposedCall], outcome: Outcome
) -> list[ToolCallPart]:
    """Store the end of a step with tool calls in one transaction: its usage, the calls, and the message with them.

    Return the parts of the calls. Raises LeaseLost.
    """
    _hold(session, run)
    # Locked in the same order as when a message is sent.
    session.execute(sa.select(Chat.id).where(Chat.id == run.chat_id).with_for_update(key_share=True))
    lock_payer(session, run.payer_id)
    number = session.scalar(sa.select(sa.func.max(Step.number)).where(Step.run_id == run.id)) or 1
    _record_step_usage(session, run, outcome)
    call_parts = record_calls(session, run.caller, number, proposed)
    all_parts = [*parts, *call_parts]
    _STORE_TEXT.run(
        session, the_message=run.message_id, new_parts=all_parts, new_content=flatten(all_parts), moment=clock.now()
    )
    announce_message(session, run.owner_id, run.message_id, Operation.UPDATED, with_chat=False)
    return call_parts


def suspend_run(session: Session, run: Claimed) -> list[str]:
    """Suspend a run that awaits decisions and return its pending calls, oldest first.

    Without pending calls, return [] and keep the lease. Raises LeaseLost, and CancelRequested because no process
    would notice the request on a suspended run.
    """
    _hold(session, run)
    if session.scalar(sa.select(Run.cancel_requested_at).where(Run.id == run.id)) is not None:
        raise CancelRequested
    waiting = session.scalars(
        sa.select(ToolExecution.id)
        .where(ToolExecution.run_id == run.id, ToolExecution.status == ToolStatus.PENDING)
        .order_by(ToolExecution.id)
    ).all()
    if waiting:
        session.execute(
            sa.update(Run)
            .where(Run.id == run.id)
            .values(status=RunStatus.AWAITING_APPROVAL, lease_owner=None, lease_expires_at=None)
        )
        announce_run(session, run.owner_id, run.id, Operation.UPDATED)
        wake(session, RUN_PREFIX + run.id)
    return list(waiting)


def release_run(session: Session, run: Claimed) -> None:
    """Release a run at its tool calls, so that another process continues it when this one stops. Raises LeaseLost."""
    _hold(session, run)
    release_at_tool_calls(session, session.get_one(Run, run.id, populate_existing=True), run.owner_id)


def release_at_tool_calls(session: Session, run: Run, owner_id: str) -> None:
    """Release a run whose last model request ended with tool calls: queue it, or let it await approval.

    Calls that were executing end as `outcome_unknown`. If cancellation was requested, the run is cancelled instead.
    """
    mark_outcomes_unknown(session, run.id, owner_id)
    run.lease_owner, run.lease_expires_at, run.lease_number = None, None, run.lease_number + 1
    if run.cancel_requested_at is not None:
        end_queued(session, run, owner_id)
        return
    waits = count_open(session, run.id, ToolStatus.PENDING) > 0
    run.status = RunStatus.AWAITING_APPROVAL if waits else RunStatus.QUEUED
    session.flush()
    announce_run(session, owner_id, RunId(run.id), Operation.UPDATED)
    wake(session, RUN_PREFIX + run.id)
    wake(session, RUNS)


def with_lease(session: Session, run: Claimed, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run `work` only if this process holds the lease of the run. Raises LeaseLost."""
    _hold(session, run)
    return work(session, run.caller, *args, **kwargs)


def _record_step_usage(session: Session, run: Claimed, outcome: Outcome) -> None:
    """Add the usage of a step to the step, the run, the message and the ledger."""
    now = clock.now()
    last = sa.select(sa.func.max(Step.number)).where(Step.run_id == run.id).scalar_subquery()
    session.execute(
        sa.update(Step)
        # A step that ended with tool calls is already counted; the run may end before the next step begins.
        .where(Step.run_id == run.id, Step.number == last, Step.ended_at.is_(None))
        .values(usage=outcome.tokens, finish_reason=outcome.finish_reason, ended_at=now)
    )
    row = session.get_one(Run, run.id, populate_existing=True)
    row.usage, row.cost = add_counts(row.usage, outcome.tokens), _add_cost(row.cost, outcome.cost)
    message = session.get_one(Message, run.message_id, populate_existing=True)
    details = message.details
    message.details = details.model_copy(
        update={
            "tokens": add_counts(details.tokens, outcome.tokens),
            "cost": _add_cost(details.cost, outcome.cost),
        }
    )
    session.flush()
    if outcome.tokens is not None:
        record_run_usage(session, run, outcome.tokens, outcome.cost, call_id=last_call(session, run.id))
    release(session, run.id)
    if outcome.config_id is not None:
        touch_config(session, outcome.config_id, now)


def _add_cost(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    return second if first is None else first + (second or 0)


def checkpoint(session: Session, run: Claimed, parts: list[Part]) -> None:
    """Store the text so far and mark the message as streaming. Raises LeaseLost."""
    _hold(session, run)
    _STORE_TEXT.run(
        session, the_message=run.message_id, new_parts=parts, new_content=flatten(parts), moment=clock.now()
    )


def begin_streaming(session: Session, run: Claimed, parts: list[Part]) -> None:
    """Store the first text of a reply, and mark the answered message as delivered. Raises LeaseLost."""
    checkpoint(session, run, parts)
    previous = sa.select(Message.previous_message_id).where(Message.id == run.message_id).scalar_subquery()
    delivered = rowcount(
        session,
        sa.update(Message)
        .where(Message.id == previous, Message.status == MessageStatus.SENT, Message.role == "user")
        .values(status=MessageStatus.DELIVERED),
    )
    if delivered:
        previous_id = session.scalars(sa.select(Message.previous_message_id).where(Message.id == run.message_id)).one()
        announce_message(session, run.owner_id, MessageId(previous_id or ""), Operation.UPDATED, with_chat=False)
    announce_message(session, run.owner_id, run.message_id, Operation.UPDATED, with_chat=False)


def finish_run(
    session: Session, run: Claimed, parts: list[Part], outcome: Outcome, *, started_at: datetime
) -> tuple[MessageRead, RunRead]:
    """Store the end of a run in one transaction: message, usage, counters, change rows. Raises LeaseLost."""
    _hold(session, run)
    now = clock.now()
    _record_step_usage(session, run, outcome)
    session.execute(
        sa.update(Run).where(Run.id == run.id).values(status=outcome.status, ended_at=now, error=outcome.error)
    )
    close_calls(session, run.id, run.owner_id, was_cancelled=outcome.status is RunStatus.CANCELLED)
    message = session.get_one(Message, run.message_id)
    step = session.scalars(
        sa.select(Step.request).where(Step.run_id == run.id).order_by(Step.number.desc()).limit(1)
    ).first()
    details = message.details
    tokens = details.tokens
    message.details = details.model_copy(
        update={
            "finish_reason": outcome.finish_reason,
            "processing_time": round((details.processing_time or 0) + (now - started_at).total_seconds(), 3),
            "temperature": step.temperature if step else None,
            "left_out": step.left_out if step else None,
            "error": MessageError(code=outcome.error.code, message=outcome.error.detail, timestamp=now)
            if outcome.error
            else None,
        }
    )
    message.token_count = tokens.completion if tokens else None
    message.status = _MESSAGE_STATUS[outcome.status]
    # A run that was stopped while its calls were recorded does not have their parts.
    known = {part.tool_execution_id for part in parts if isinstance(part, ToolCallPart)}
    missing = [part for part in message.parts if isinstance(part, ToolCallPart) and part.tool_execution_id not in known]
    message.parts = [*parts, *missing]
    message.content = flatten(message.parts)
    index_stored(session, [run.message_id])
    finish_proposal(session, run.message_id, is_whole=outcome.status is RunStatus.COMPLETED)
    wake_followers(session, run.id)
    read = announce_message(session, run.owner_id, run.message_id, Operation.UPDATED)
    return read, announce_run(session, run.owner_id, run.id, Operation.UPDATED)


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


def _hold(session: Session, run: Claimed) -> None:
    """Renew the lease, or raise LeaseLost if it is not held. On PostgreSQL this also locks the run's row."""
    held = _RENEW.run(
        session,
        the_run=run.id,
        owner=run.lease_owner,
        number=run.lease_number,
        moment=clock.now(),
    )
    if held != 1:
        raise LeaseLost


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
