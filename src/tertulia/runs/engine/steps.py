"""Store the progress and end of a run. Every write checks the lease, so that a process that lost it cannot write."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.ledger import release
from tertulia.chat.indexing import index_stored
from tertulia.chat.messages import announce_message
from tertulia.chat.models import (
    FinishReason,
    Message,
    MessageError,
    MessageStatus,
    Omission,
    ProviderMetadata,
    TokenCount,
)
from tertulia.chat.parts import Part, ToolCallPart, flatten
from tertulia.chat.schemas import MessageRead
from tertulia.chat.service import lock_accounts
from tertulia.db import Prepared, rowcount, wake
from tertulia.drafts.proposals import finish_proposal
from tertulia.ids import MessageId, RunId
from tertulia.providers.configs import touch_config
from tertulia.providers.echo import ProviderEcho
from tertulia.realtime.models import Operation
from tertulia.runs.calls.life import close_calls, has_pending, mark_outcomes_unknown
from tertulia.runs.calls.proposing import ProposedCall, record_calls
from tertulia.runs.errors import CancelRequested
from tertulia.runs.lease import ClaimedRun, hold_lease
from tertulia.runs.models import Run, RunError, RunStatus, Step, StepRequest
from tertulia.runs.reading import RUN_PREFIX, RUNS, announce_run, wake_followers
from tertulia.runs.schemas import RunRead
from tertulia.runs.service import end_queued
from tertulia.runs.spending import count_usage
from tertulia.tools.models import ToolExecution, ToolStatus


@dataclass(frozen=True)
class Outcome:
    """The end of a run or of a step."""

    status: Literal[RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED]
    finish_reason: FinishReason | None = None
    error: RunError | None = None
    tokens: TokenCount | None = None  # None: the provider did nothing chargeable
    cost: Decimal | None = None
    config_id: str | None = None  # of the user's own provider, if it was used
    echo: ProviderEcho | None = None  # what the vendor requires back with the last text
    pictures_left_out: int = 0


_MESSAGE_STATUS = {
    RunStatus.COMPLETED: MessageStatus.SENT,
    RunStatus.FAILED: MessageStatus.ERROR,
    RunStatus.CANCELLED: MessageStatus.INTERRUPTED,
    RunStatus.INTERRUPTED: MessageStatus.INTERRUPTED,
}


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
    session: Session, run: ClaimedRun, parts: list[Part], proposed: Sequence[ProposedCall], outcome: Outcome
) -> list[ToolCallPart]:
    """Store the end of a step with tool calls in one transaction: its usage, the calls, and the message with them.

    Return the parts of the calls. Raises LeaseLost.
    """
    hold_lease(session, run)
    lock_accounts(session, run.chat_id, run.payer_id)
    number = session.scalar(sa.select(sa.func.max(Step.number)).where(Step.run_id == run.id)) or 1
    _record_step_usage(session, run, outcome)
    call_parts = record_calls(session, run.ref, number, proposed)
    all_parts = [*parts, *call_parts]
    _STORE_TEXT.run(
        session, the_message=run.message_id, new_parts=all_parts, new_content=flatten(all_parts), moment=clock.now()
    )
    announce_message(session, run.owner_id, run.message_id, Operation.UPDATED, with_chat=False)
    return call_parts


def suspend_run(session: Session, run: ClaimedRun) -> list[str]:
    """Suspend a run that awaits decisions and return its pending calls, oldest first.

    Without pending calls, return [] and keep the lease. Raises LeaseLost, and CancelRequested because no process
    would notice the request on a suspended run.
    """
    hold_lease(session, run)
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


def release_run(session: Session, run: ClaimedRun) -> None:
    """Release a run at its tool calls, so that another process continues it when this one stops. Raises LeaseLost."""
    hold_lease(session, run)
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
    waits = has_pending(session, run.id)
    run.status = RunStatus.AWAITING_APPROVAL if waits else RunStatus.QUEUED
    session.flush()
    announce_run(session, owner_id, RunId(run.id), Operation.UPDATED)
    wake(session, RUN_PREFIX + run.id)
    wake(session, RUNS)


def _omissions(step: StepRequest | None, pictures: int) -> list[Omission] | None:
    """Return what the last request lacked, with the pictures that the model refused."""
    omissions = list(step.omissions) if step else []
    if pictures:
        omissions.append(Omission(kind="picture", name=None, amount=pictures))
    return omissions or None


def _record_step_usage(session: Session, run: ClaimedRun, outcome: Outcome) -> None:
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
    count_usage(session, row, run.payer_id, outcome.tokens, outcome.cost)
    release(session, run.id)
    if outcome.config_id is not None:
        touch_config(session, outcome.config_id, now)


def checkpoint(session: Session, run: ClaimedRun, parts: list[Part]) -> None:
    """Store the text so far and mark the message as streaming. Raises LeaseLost."""
    hold_lease(session, run)
    _STORE_TEXT.run(
        session, the_message=run.message_id, new_parts=parts, new_content=flatten(parts), moment=clock.now()
    )


def begin_streaming(session: Session, run: ClaimedRun, parts: list[Part]) -> None:
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
    session: Session, run: ClaimedRun, parts: list[Part], outcome: Outcome, *, started_at: datetime
) -> tuple[MessageRead, RunRead]:
    """Store the end of a run in one transaction: message, usage, counters, change rows. Raises LeaseLost."""
    hold_lease(session, run)
    now = clock.now()
    lock_accounts(session, run.chat_id, run.payer_id)
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
            "omissions": _omissions(step, outcome.pictures_left_out),
            "error": MessageError(code=outcome.error.code, message=outcome.error.detail, timestamp=now)
            if outcome.error
            else None,
        }
    )
    message.token_count = tokens.completion if tokens else None
    # The text of a continued reply is not what the vendor gave the echo with.
    is_kept = outcome.echo is not None and not run.continues
    message.provider_metadata = ProviderMetadata(echo=outcome.echo) if is_kept else None
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
