"""The life of a tool call. Each transition is one guarded UPDATE with its time, so that two who decide never both win."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.models import User, UserStatus
from tertulia.billing.ledger import ToolPayment, reserve, settle
from tertulia.billing.models import UsageKind
from tertulia.chat.models import Chat
from tertulia.db import rowcount, wake
from tertulia.realtime.models import Operation
from tertulia.runs.calls.reading import announce_call
from tertulia.runs.models import Run
from tertulia.tools.models import OPEN, StoredResult, ToolExecution, ToolStatus
from tertulia.tools.rules import HOUR, load_rules

APPROVAL_LASTS = timedelta(hours=24)
NO_ROOM_IN_HOUR = "It may cost more than what is left of the person's limit for an hour."
CALL_PREFIX = "call:"  # before a call's id: the signal that it is not wanted any more, for whoever executes it
UNKNOWN_OUTCOME = (
    "The server stopped while this ran. Whether it had its effect is not known, so it is not run again by itself."
)


@dataclass(frozen=True)
class Caller:
    """Of which run the calls are, and whose."""

    chat_id: str
    message_id: str
    run_id: str
    owner_id: str  # of the chat
    payer_id: str


def count_calls(session: Session, run_id: str) -> int:
    return session.scalar(sa.select(sa.func.count()).where(ToolExecution.run_id == run_id)) or 0


@dataclass(frozen=True)
class Ready:
    """A call that may run, as it was approved."""

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
    cost: Decimal | None = None  # as results.as_cost gives it; None: what was set aside
    is_cost_absurd: bool = False  # what it told is no amount: it counts as the most that a call may cost
    error_code: str | None = None
    error_message: str | None = None


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


def begin_call(session: Session, caller: Caller, call_id: str) -> bool:
    """Approved, and now running; what it may cost is set aside.

    False if somebody was first, the limit leaves no room, the run is to stop, or the approval is too old or its person gone.
    """
    now = clock.now()
    payer_is_here = sa.exists().where(User.id == caller.payer_id, User.status == UserStatus.ACTIVE)
    is_wanted = sa.exists().where(Run.id == caller.run_id, Run.cancel_requested_at.is_(None))
    is_fresh = ToolExecution.approved_at > now - APPROVAL_LASTS
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
        _end_unbegun(session, caller, call_id, now)
        return False
    execution = session.get_one(ToolExecution, call_id, populate_existing=True)
    fits = reserve(
        session,
        execution.estimated_cost,
        ToolPayment(caller.payer_id, caller.chat_id, caller.message_id, caller.run_id, call_id),
        limit=load_rules(session, caller.payer_id).max_cost_per_hour,
        since=now - HOUR,
        kind=UsageKind.TOOL,
        provider="tools",
        model_name=execution.tool_name,
    )
    if not fits:
        _move(
            session,
            call_id,
            ToolStatus.EXECUTING,
            status=ToolStatus.FAILED,
            executed_at=None,
            completed_at=now,
            error_code="cost_limit",
            error_message=NO_ROOM_IN_HOUR,
        )
    announce_call(session, call_id, Operation.UPDATED, owner_id=caller.owner_id)
    return fits


def _end_unbegun(session: Session, caller: Caller, call_id: str, moment: datetime) -> None:
    """An approved call that may not begin any more: too long ago, or by somebody who is not here any more."""
    execution = session.get_one(ToolExecution, call_id, populate_existing=True)
    if execution.approved_at is not None and execution.approved_at <= moment - APPROVAL_LASTS:
        ended = {"status": ToolStatus.TIMEOUT, "error_code": "approval_expired"}
        words = "It was approved more than 24 hours ago, and was not called."
    elif session.scalar(sa.select(User.status).where(User.id == caller.payer_id)) is not UserStatus.ACTIVE:
        ended = {"status": ToolStatus.CANCELLED, "error_code": "cancelled"}
        words = "Who asked for it may not sign in any more."
    else:
        return  # whoever was first, or whoever stops the run, says what became of it
    if _move(session, call_id, ToolStatus.APPROVED, completed_at=moment, error_message=words, **ended):
        announce_call(session, call_id, Operation.UPDATED, owner_id=caller.owner_id)


def end_call(session: Session, caller: Caller, call_id: str, outcome: CallOutcome) -> bool:
    """What came of it, and what it cost. False if it was cancelled, or given up by others, meanwhile."""
    execution = session.get_one(ToolExecution, call_id, populate_existing=True)
    cost = execution.estimated_cost if outcome.cost is None else outcome.cost
    if outcome.is_cost_absurd:
        cost = load_rules(session, caller.payer_id).max_cost_per_tool
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
    )
    if moved:
        _pay(session, execution, cost)
        announce_call(session, call_id, Operation.UPDATED, owner_id=caller.owner_id)
    return moved


def give_up_call(session: Session, caller: Caller, call_id: str, code: str, words: str) -> bool:
    """An approved call that cannot be executed as it was approved."""
    moved = _move(
        session,
        call_id,
        ToolStatus.APPROVED,
        status=ToolStatus.FAILED,
        completed_at=clock.now(),
        error_code=code,
        error_message=words,
    )
    if moved:
        announce_call(session, call_id, Operation.UPDATED, owner_id=caller.owner_id)
    return moved


def close_calls(session: Session, run_id: str, owner_id: str, *, was_cancelled: bool) -> None:
    """The run ends: what waits is cancelled; of what runs nobody will hear whether it had its effect."""
    rows = session.execute(
        sa.select(ToolExecution.id, ToolExecution.status).where(
            ToolExecution.run_id == run_id, ToolExecution.status.in_(OPEN)
        )
    ).all()
    for call_id, status in rows:
        if status is ToolStatus.EXECUTING and not was_cancelled:
            lose_call(session, call_id, owner_id)
        else:
            cancel_call(session, call_id, owner_id)


def cancel_call(session: Session, call_id: str, owner_id: str) -> bool:
    """From any state before an end. One that ran costs what was set aside: whether it had its effect is not known."""
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


def lose_call(session: Session, call_id: str, owner_id: str) -> bool:
    """It was running in a process that is gone. It counts in full, and is never run again by itself."""
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


def lose_calls(session: Session, run_id: str, owner_id: str) -> None:
    """Those of a run whose process is gone that were running there."""
    for call_id in session.scalars(
        sa.select(ToolExecution.id).where(ToolExecution.run_id == run_id, ToolExecution.status == ToolStatus.EXECUTING)
    ).all():
        lose_call(session, call_id, owner_id)


def count_open(session: Session, run_id: str, status: ToolStatus) -> int:
    query = sa.select(sa.func.count()).where(ToolExecution.run_id == run_id, ToolExecution.status == status)
    return session.scalar(query) or 0


def last_call(session: Session, run_id: str) -> str | None:
    """The newest call of a run: what its next request to the model is made for."""
    query = sa.select(ToolExecution.id).where(ToolExecution.run_id == run_id)
    return session.scalar(query.order_by(ToolExecution.id.desc()).limit(1))


def move_pending(session: Session, call_id: str, moment: datetime, **values: Any) -> bool:
    """A decision on a call that waits, and that nobody let wait too long."""
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
        error_message="Nobody decided within 24 hours.",
    )


def _move(session: Session, call_id: str, *where: ToolStatus | sa.ColumnElement[bool], **values: Any) -> bool:
    """One guarded UPDATE: from one of the statuses that are named, and no other."""
    statuses = [one for one in where if isinstance(one, ToolStatus)]
    conditions = [one for one in where if not isinstance(one, ToolStatus)]
    statement = sa.update(ToolExecution).where(
        ToolExecution.id == call_id, ToolExecution.status.in_(statuses), *conditions
    )
    return rowcount(session, statement.values(updated_at=clock.now(), **values)) == 1


def _pay(session: Session, call: ToolExecution, cost: Decimal) -> None:
    """By whoever asked for it; of somebody who is gone nothing is entered."""
    if call.requested_by is None or call.run_id is None:
        return
    payment = ToolPayment(call.requested_by, call.chat_id, call.message_id, call.run_id, call.id)
    settle(session, payment, cost, tool_name=call.tool_name)
    if cost:
        session.execute(sa.update(Chat).where(Chat.id == call.chat_id).values(total_cost=Chat.total_cost + cost))
