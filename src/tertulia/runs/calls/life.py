"""Change the status of tool calls. Each transition is one guarded UPDATE, so that only one of two decisions applies."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.models import User, UserStatus
from tertulia.billing.errors import QuotaReached
from tertulia.billing.tool_ledger import ToolPayment, reserve_tool, settle
from tertulia.chat.service import add_to_totals, lock_accounts
from tertulia.db import rowcount, wake
from tertulia.realtime.models import Operation
from tertulia.runs.calls.reading import announce_call
from tertulia.runs.lease import RunRef
from tertulia.runs.models import Run
from tertulia.tools.models import OPEN, StoredResult, ToolExecution, ToolStatus
from tertulia.tools.provenance import Source
from tertulia.tools.rules import HOUR, load_rules

APPROVAL_VALID_FOR = timedelta(hours=24)
HOURLY_LIMIT_MESSAGE = "It may cost more than is left of the user's hourly limit."
CALL_PREFIX = "call:"  # prefix of a call id: signal to the executing process that the call was cancelled
UNKNOWN_OUTCOME = (
    "The server stopped while this ran. Whether it had its effect is not known, so it is not run again automatically."
)


def count_calls(session: Session, run_id: str) -> int:
    return session.scalar(sa.select(sa.func.count()).where(ToolExecution.run_id == run_id)) or 0


@dataclass(frozen=True)
class Ready:
    """An approved call that may be executed, with the approved arguments."""

    id: str
    tool_name: str
    server: str | None
    arguments: dict[str, Any]
    definition_digest: str


@dataclass(frozen=True)
class CallOutcome:
    """How the execution of a call ended."""

    status: ToolStatus
    took_ms: int
    result: StoredResult | None = None
    cost: Decimal | None = None  # from results.as_cost; None: the reserved amount
    is_cost_invalid: bool = False  # the reported cost is no amount: the maximum per call is charged
    error_code: str | None = None
    error_message: str | None = None
    sources: Sequence[Source] | None = None  # what the result was read from; None: unchanged since the start


def list_approved(session: Session, run_id: str) -> list[Ready]:
    rows = session.scalars(
        sa.select(ToolExecution)
        .where(ToolExecution.run_id == run_id, ToolExecution.status == ToolStatus.APPROVED)
        .order_by(ToolExecution.id)
    )
    return [
        Ready(
            row.id,
            row.tool_name,
            row.server,
            row.sent_parameters,
            row.definition_digest,
        )
        for row in rows
    ]


def start_execution(session: Session, run_ref: RunRef, call_id: str) -> bool:
    """Mark an approved call as executing and reserve its cost.

    Return False if it is no longer approved, exceeds the hourly limit, its run is being cancelled, the approval has
    expired, or the payer is not active.
    """
    now = clock.now()
    payer_is_here = sa.exists().where(User.id == run_ref.payer_id, User.status == UserStatus.ACTIVE)
    is_wanted = sa.exists().where(Run.id == run_ref.run_id, Run.cancel_requested_at.is_(None))
    is_fresh = ToolExecution.approved_at > now - APPROVAL_VALID_FOR
    if not _move(
        session,
        call_id,
        ToolStatus.APPROVED,
        payer_is_here,
        is_wanted,
        is_fresh,
        status=ToolStatus.EXECUTING,
        executed_at=now,
    ):
        _expire_approved(session, run_ref, call_id, now)
        return False
    execution = session.get_one(ToolExecution, call_id, populate_existing=True)
    refused = _refusal_by_cost(session, run_ref, execution, now)
    if refused is not None:
        code, message = refused
        _move(
            session,
            call_id,
            ToolStatus.EXECUTING,
            status=ToolStatus.FAILED,
            executed_at=None,
            completed_at=now,
            error_code=code,
            error_message=message,
            result_sources=[],
        )
    announce_call(session, call_id, Operation.UPDATED, owner_id=run_ref.owner_id)
    return refused is None


def _refusal_by_cost(
    session: Session, run_ref: RunRef, execution: ToolExecution, now: datetime
) -> tuple[str, str] | None:
    """Reserve the cost of a call, or return the code and the sentence of the limit that leaves no room for it."""
    payment = ToolPayment(
        run_ref.payer_id,
        run_ref.chat_id,
        run_ref.message_id,
        run_ref.run_id,
        execution.id,
        run_ref.api_token_id,
    )
    lock_accounts(session, run_ref.chat_id, run_ref.payer_id)
    try:
        fits = reserve_tool(
            session,
            execution.estimated_cost,
            payment,
            limit=load_rules(session, run_ref.payer_id).max_cost_per_hour,
            since=now - HOUR,
            tool_name=execution.tool_name,
        )
    except QuotaReached as reached:
        return reached.code, reached.detail
    return None if fits else ("cost_limit", HOURLY_LIMIT_MESSAGE)


def _expire_approved(session: Session, run_ref: RunRef, call_id: str, moment: datetime) -> None:
    """End an approved call that may not begin: the approval has expired or the payer is not active."""
    execution = session.get_one(ToolExecution, call_id, populate_existing=True)
    if execution.approved_at is not None and execution.approved_at <= moment - APPROVAL_VALID_FOR:
        ended = {"status": ToolStatus.TIMEOUT, "error_code": "approval_expired"}
        message = "It was approved more than 24 hours ago and was not called."
    elif session.scalar(sa.select(User.status).where(User.id == run_ref.payer_id)) is not UserStatus.ACTIVE:
        ended = {"status": ToolStatus.CANCELLED, "error_code": "cancelled"}
        message = "The user who requested it can no longer sign in."
    else:
        return  # the process that took it, or the end of the run, records its outcome
    if _move(session, call_id, ToolStatus.APPROVED, completed_at=moment, error_message=message, **ended):
        announce_call(session, call_id, Operation.UPDATED, owner_id=run_ref.owner_id)


def finish_execution(session: Session, run_ref: RunRef, call_id: str, outcome: CallOutcome) -> bool:
    """Store the outcome and cost of a call. Return False if it is no longer executing, for example cancelled."""
    execution = session.get_one(ToolExecution, call_id, populate_existing=True)
    cost = execution.estimated_cost if outcome.cost is None else outcome.cost
    if outcome.is_cost_invalid:
        cost = load_rules(session, run_ref.payer_id).max_cost_per_tool
    moved = _move(
        session,
        call_id,
        ToolStatus.EXECUTING,
        status=outcome.status,
        completed_at=clock.now(),
        question=None,
        reply=None,
        execution_time_ms=outcome.took_ms,
        result=outcome.result,
        cost=cost,
        error_code=outcome.error_code,
        error_message=outcome.error_message,
        **({} if outcome.sources is None else {"result_sources": list(outcome.sources)}),
    )
    if moved:
        _pay(session, execution, cost)
        announce_call(session, call_id, Operation.UPDATED, owner_id=run_ref.owner_id)
    return moved


def fail_approved(session: Session, run_ref: RunRef, call_id: str, code: str, message: str) -> bool:
    """Fail an approved call that cannot be executed as approved. Return False if it is no longer approved."""
    moved = _move(
        session,
        call_id,
        ToolStatus.APPROVED,
        status=ToolStatus.FAILED,
        completed_at=clock.now(),
        error_code=code,
        error_message=message,
        result_sources=[],  # nothing was called, and the message is ours
    )
    if moved:
        announce_call(session, call_id, Operation.UPDATED, owner_id=run_ref.owner_id)
    return moved


def close_calls(session: Session, run_id: str, owner_id: str, *, was_cancelled: bool) -> None:
    """Cancel the open calls of an ended run. Executing calls end as `outcome_unknown` unless `was_cancelled`."""
    rows = session.execute(
        sa.select(ToolExecution.id, ToolExecution.status).where(
            ToolExecution.run_id == run_id, ToolExecution.status.in_(OPEN)
        )
    ).all()
    for call_id, status in rows:
        if status is ToolStatus.EXECUTING and not was_cancelled:
            mark_outcome_unknown(session, call_id, owner_id)
        else:
            cancel_call(session, call_id, owner_id)


def cancel_call(session: Session, call_id: str, owner_id: str) -> bool:
    """Cancel an open call. An executing one is charged its reserved cost, because it may have had its effect."""
    execution = session.get_one(ToolExecution, call_id, populate_existing=True)
    was_executing = execution.status is ToolStatus.EXECUTING
    moved = _move(
        session,
        call_id,
        *OPEN,
        status=ToolStatus.CANCELLED,
        completed_at=clock.now(),
        question=None,
        reply=None,
        cost=execution.estimated_cost if was_executing else None,
        error_code="cancelled",
        error_message="Cancelled while it ran; it may have had its effect." if was_executing else "Cancelled.",
    )
    if moved:
        if was_executing:
            _pay(session, execution, execution.estimated_cost)
        wake(session, CALL_PREFIX + call_id)
        announce_call(session, call_id, Operation.UPDATED, owner_id=owner_id)
    return moved


def mark_outcome_unknown(session: Session, call_id: str, owner_id: str) -> bool:
    """Mark a call that was executing in a dead process as `outcome_unknown`. It is charged in full, never retried."""
    execution = session.get_one(ToolExecution, call_id, populate_existing=True)
    moved = _move(
        session,
        call_id,
        ToolStatus.EXECUTING,
        status=ToolStatus.FAILED,
        completed_at=clock.now(),
        question=None,
        reply=None,
        cost=execution.estimated_cost,
        error_code="outcome_unknown",
        error_message=UNKNOWN_OUTCOME,
    )
    if moved:
        _pay(session, execution, execution.estimated_cost)
        announce_call(session, call_id, Operation.UPDATED, owner_id=owner_id)
    return moved


def mark_outcomes_unknown(session: Session, run_id: str, owner_id: str) -> None:
    """Mark the calls of a run that were executing in a dead process as `outcome_unknown`."""
    for call_id in session.scalars(
        sa.select(ToolExecution.id).where(ToolExecution.run_id == run_id, ToolExecution.status == ToolStatus.EXECUTING)
    ).all():
        mark_outcome_unknown(session, call_id, owner_id)


def has_pending(session: Session, run_id: str) -> bool:
    is_pending = (ToolExecution.run_id == run_id, ToolExecution.status == ToolStatus.PENDING)
    return bool(session.scalar(sa.select(sa.exists().where(*is_pending))))


def last_call(session: Session, run_id: str) -> str | None:
    """Return the newest call of a run, whose result its next model request reads; None if it has no calls."""
    query = sa.select(ToolExecution.id).where(ToolExecution.run_id == run_id)
    return session.scalar(query.order_by(ToolExecution.id.desc()).limit(1))


def decide_pending(session: Session, call_id: str, moment: datetime, **values: Any) -> bool:
    """Update a pending call that has not expired. Return False if it was decided or has expired."""
    return _move(session, call_id, ToolStatus.PENDING, ToolExecution.expires_at > moment, **values)


def expire(session: Session, call_id: str, moment: datetime) -> bool:
    return _move(
        session,
        call_id,
        ToolStatus.PENDING,
        ToolExecution.expires_at <= moment,
        status=ToolStatus.TIMEOUT,
        completed_at=moment,
        error_code="approval_expired",
        error_message="No decision was made within 24 hours.",
    )


def _move(session: Session, call_id: str, *where: ToolStatus | sa.ColumnElement[bool], **values: Any) -> bool:
    """Update a call only if it has one of the given statuses and meets the conditions. Return whether it did."""
    statuses = [condition for condition in where if isinstance(condition, ToolStatus)]
    conditions = [condition for condition in where if not isinstance(condition, ToolStatus)]
    statement = sa.update(ToolExecution).where(
        ToolExecution.id == call_id, ToolExecution.status.in_(statuses), *conditions
    )
    return rowcount(session, statement.values(updated_at=clock.now(), **values)) == 1


def _pay(session: Session, call: ToolExecution, cost: Decimal) -> None:
    """Settle the cost with the user who requested the call. Record nothing if that user was deleted."""
    if call.requested_by is None or call.run_id is None:
        return
    token_id = session.scalar(sa.select(Run.api_token_id).where(Run.id == call.run_id))
    payment = ToolPayment(call.requested_by, call.chat_id, call.message_id, call.run_id, call.id, token_id)
    lock_accounts(session, call.chat_id, call.requested_by)
    settle(session, payment, cost, tool_name=call.tool_name)
    if cost:
        add_to_totals(session, call.chat_id, 0, cost)
