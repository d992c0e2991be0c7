"""The life of a tool call. Each transition is one guarded UPDATE with its time, so that two who decide never both win."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.access import may_read_chat
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User
from tertulia.billing.ledger import ToolPayment, reserve, settle, spent_on_tools
from tertulia.billing.models import UsageKind
from tertulia.chat.models import Chat
from tertulia.chat.parts import ToolCallPart
from tertulia.db import rowcount, wake
from tertulia.ids import ToolExecutionId, new_id
from tertulia.providers.protocol import ToolCall
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish
from tertulia.tools.errors import NotYoursToDecide, RefusedByRule, ToolExecutionNotFound
from tertulia.tools.models import OPEN, DecidedBy, StoredQuestion, StoredResult, ToolExecution, ToolStatus
from tertulia.tools.policy import Call, Decision, Rules, cost_to_reserve, decide
from tertulia.tools.protocol import OfferedTool, Risk, digest_of, tool_key
from tertulia.tools.results import EXCERPT, SHOWN_BYTES, words_of
from tertulia.tools.rules import HOUR, load_rules
from tertulia.tools.schemas import QuestionRead, ToolExecutionRead, ToolResultRead

MAX_CALLS = 25  # of one run
APPROVAL_LASTS = timedelta(hours=24)
CALL_PREFIX = "call:"  # before a call's id: the signal that it is not wanted any more, for whoever executes it
UNKNOWN_OUTCOME = (
    "The server stopped while this ran. Whether it had its effect is not known, so it is not run again by itself."
)


@dataclass(frozen=True)
class AskedCall:
    """A call as a model asked for it, with what is known of it before anything is decided."""

    call: ToolCall
    offered: OfferedTool | None
    arguments: dict[str, Any]
    problem: str | None = None  # why it cannot be: the model is told
    estimated: Decimal | None = None
    untrusted: Sequence[str] = ()


@dataclass(frozen=True)
class Caller:
    """Of which run the calls are, and whose."""

    chat_id: str
    message_id: str
    run_id: str
    owner_id: str  # of the chat
    payer_id: str


def add_calls(session: Session, caller: Caller, step: int, asked: Sequence[AskedCall]) -> list[ToolCallPart]:
    """Record what a model asked for, each decided by the rules or left to the person; gives the parts that show them.

    What is beyond the limit of a run is refused, so that a model that never ends is ended. The caller holds the payer's row.
    """
    rules = _rules_of(session, caller)
    spent = spent_on_tools(session, caller.payer_id, since=clock.now() - HOUR)
    before = count_calls(session, caller.run_id)
    parts = []
    for number, one in enumerate(asked, start=before + 1):
        values = _judged(session, caller, rules, spent, one) if number <= MAX_CALLS else _refused(one, "too_many_calls")
        if values["status"] in OPEN:
            spent += values["estimated_cost"]
        parts.append(_insert(session, caller, step, one, values))
    return parts


def count_calls(session: Session, run_id: str) -> int:
    return session.scalar(sa.select(sa.func.count()).where(ToolExecution.run_id == run_id)) or 0


def _rules_of(session: Session, caller: Caller) -> Rules:
    rules = load_rules(session, caller.payer_id)
    if caller.payer_id != caller.owner_id:
        return rules  # what the owner lets happen in their chat counts for the owner alone
    return rules.in_chat(session.scalars(sa.select(Chat.auto_approval).where(Chat.id == caller.chat_id)).one())


def _judged(session: Session, caller: Caller, rules: Rules, spent: Decimal, asked: AskedCall) -> dict[str, Any]:
    if asked.offered is None or asked.problem is not None:
        return _refused(asked, "unknown_tool" if asked.offered is None else "arguments_invalid")
    cost = cost_to_reserve(asked.estimated, rules)
    decision = decide(rules, _as_call(session, caller, asked, asked.offered, cost, spent))
    values: dict[str, Any] = {"estimated_cost": cost, "reason": decision.reason}
    now = clock.now()
    match decision:
        case Decision("run"):
            approved = {"status": ToolStatus.APPROVED, "approved_at": now}
            return values | approved | {"decision": DecidedBy.RULE, "decided_at": now}
        case Decision("refuse"):
            return values | _denied(decision.reason)
        case _:
            asking = {"approval_requested_at": now, "expires_at": now + APPROVAL_LASTS}
            return values | {"status": ToolStatus.PENDING} | asking


def _as_call(
    session: Session, caller: Caller, asked: AskedCall, offered: OfferedTool, cost: Decimal, spent: Decimal
) -> Call:
    approved = session.scalars(
        sa.select(ToolExecution.definition_digest)
        .where(
            ToolExecution.requested_by == caller.payer_id,
            ToolExecution.tool_name == offered.tool.name,
            ToolExecution.server.is_not_distinct_from(offered.server),
            ToolExecution.decision == DecidedBy.PERSON,
            ToolExecution.approved_at.is_not(None),
        )
        .distinct()
    ).all()
    cut_off = session.scalar(
        sa.select(ToolExecution.id)
        .where(
            ToolExecution.message_id == caller.message_id,
            ToolExecution.tool_name == offered.tool.name,
            ToolExecution.arguments_digest == digest_of(asked.arguments),
            ToolExecution.error_code == "outcome_unknown",
        )
        .limit(1)
    )
    return Call(
        key=offered.key,
        risk=offered.tool.risk,
        arguments=asked.arguments,
        definition_digest=offered.digest,
        cost=cost,
        spent=spent,
        sends_out=offered.tool.sends_out,
        is_new=not approved,
        has_changed=bool(approved) and offered.digest not in approved,
        carries_untrusted=bool(asked.untrusted),
        was_cut_off=cut_off is not None,
    )


_REFUSALS = {
    "unknown_tool": "There is no such tool here.",
    "too_many_calls": f"A reply may call tools {MAX_CALLS} times at most.",
    "never": "A rule of the person refuses this tool.",
    "cost_per_tool": "It may cost more than the person allows for one call.",
    "cost_per_hour": "It may cost more than what is left of the person's limit for an hour.",
}


def judge_edited(
    session: Session, call: ToolExecution, arguments: dict[str, Any], estimated: Decimal | None
) -> Decimal:
    """What a call may cost with other arguments. Raises RefusedByRule where a rule or a limit refuses them."""
    assert call.requested_by is not None
    caller = Caller(
        call.chat_id, call.message_id, call.run_id or "", owner_of(session, call.chat_id), call.requested_by
    )
    rules = _rules_of(session, caller)
    cost = cost_to_reserve(estimated, rules)
    spent = spent_on_tools(session, call.requested_by, since=clock.now() - HOUR)
    key = tool_key(call.server, call.tool_name)
    decision = decide(rules, Call(key, call.risk, arguments, call.definition_digest, cost, spent))
    if decision.verdict == "refuse":
        raise RefusedByRule(_REFUSALS[decision.reason])
    return cost


def _refused(asked: AskedCall, reason: str) -> dict[str, Any]:
    """Nothing that a rule would have to decide on: the call cannot be."""
    values = _denied(reason, asked.problem or _REFUSALS[reason])
    return {"estimated_cost": Decimal(0), "reason": reason} | values


def _denied(reason: str, words: str | None = None) -> dict[str, Any]:
    now = clock.now()
    return {
        "status": ToolStatus.DENIED,
        "decision": DecidedBy.RULE,
        "decided_at": now,
        "completed_at": now,
        "error_code": reason,
        "error_message": words or _REFUSALS[reason],
    }


def _insert(session: Session, caller: Caller, step: int, asked: AskedCall, values: dict[str, Any]) -> ToolCallPart:
    offered = asked.offered
    name = offered.tool.name if offered else asked.call.name[:100]
    execution = ToolExecution(
        id=new_id(),
        chat_id=caller.chat_id,
        message_id=caller.message_id,
        run_id=caller.run_id,
        step=step,
        requested_by=caller.payer_id,
        tool_call_id=asked.call.id[:200],
        tool_name=name,
        server=offered.server if offered else None,
        risk=offered.tool.risk if offered else Risk.HIGH,
        parameters=asked.arguments,
        definition_digest=offered.digest if offered else "",
        arguments_digest=digest_of(asked.arguments),
        untrusted_sources=list(asked.untrusted),
        is_untrusted=not (offered and offered.tool.is_trusted),
        **values,
    )
    session.add(execution)
    session.flush()
    announce_call(session, execution.id, Operation.CREATED, owner_id=caller.owner_id)
    return ToolCallPart(tool_execution_id=execution.id, tool_name=name, server=execution.server)


# ---- executing


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
            row.parameters if row.edited_parameters is None else row.edited_parameters,
            row.definition_digest,
        )
        for row in rows
    ]


def begin_call(session: Session, caller: Caller, call_id: str) -> bool:
    """Approved, and now running; what it may cost is set aside. False if somebody was first, or the limit leaves no room."""
    now = clock.now()
    if not _move(session, call_id, ToolStatus.APPROVED, status=ToolStatus.EXECUTING, executed_at=now):
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
            error_message=_REFUSALS["cost_per_hour"],
        )
    announce_call(session, call_id, Operation.UPDATED, owner_id=caller.owner_id)
    return fits


def end_call(session: Session, caller: Caller, call_id: str, outcome: CallOutcome) -> bool:
    """What came of it, and what it cost. False if it was cancelled, or given up by others, meanwhile."""
    execution = session.get_one(ToolExecution, call_id, populate_existing=True)
    cost = execution.estimated_cost if outcome.cost is None else outcome.cost
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


# ---- reading


def get_call(session: Session, call_id: ToolExecutionId, *, actor: Actor) -> ToolExecutionRead:
    """With its whole result, for whoever reads its chat."""
    row = _find(session, call_id, actor=actor)
    return read_call(row[0], row[1], viewer=actor.user_id, is_whole=True)


def get_execution(session: Session, call_id: ToolExecutionId, *, actor: Actor) -> ToolExecution:
    return _find(session, call_id, actor=actor)[0]


def check_decides(execution: ToolExecution, *, actor: Actor) -> None:
    """Raises NotYoursToDecide for a call of a run that another asked for."""
    if execution.requested_by != actor.user_id:
        raise NotYoursToDecide


def _find(session: Session, call_id: ToolExecutionId, *, actor: Actor) -> sa.Row[ToolExecution, str]:
    row = session.execute(
        sa.select(ToolExecution, User.name)
        .join(Chat, Chat.id == ToolExecution.chat_id)
        .outerjoin(User, User.id == ToolExecution.decided_by)
        .where(ToolExecution.id == call_id, Chat.deleted_at.is_(None), may_read_chat(Chat.id, Chat.user_id))
        .execution_options(populate_existing=True),
        {"actor_id": actor.user_id},
    ).one_or_none()
    if row is None:
        raise ToolExecutionNotFound
    return row


def announce_call(session: Session, call_id: str, operation: Operation, *, owner_id: str) -> ToolExecutionRead:
    """Tell all who read the chat, and the person who decides about it, of a call as it now is."""
    session.flush()
    execution, name = session.execute(
        sa.select(ToolExecution, User.name)
        .outerjoin(User, User.id == ToolExecution.decided_by)
        .where(ToolExecution.id == call_id)
        .execution_options(populate_existing=True)
    ).one()
    read = read_call(execution, name, viewer=owner_id)  # others ask for it as themselves
    publish(
        session,
        owner_id=owner_id,
        topic=f"chat:{execution.chat_id}",
        entity="tool_execution",
        entity_id=call_id,
        operation=operation,
        payload=read,
        shared_id=execution.chat_id,
    )
    return read


def owner_of(session: Session, chat_id: str) -> str:
    return session.scalars(sa.select(Chat.user_id).where(Chat.id == chat_id)).one()


def read_call(
    row: ToolExecution, decided_by_name: str | None, *, viewer: str | None, is_whole: bool = False
) -> ToolExecutionRead:
    """What a call asks is for whoever asked for it alone: a page to open may know them by its address."""
    question = row.question if row.status is ToolStatus.EXECUTING and row.requested_by == viewer else None
    by = row.decided_by
    return {
        "id": row.id,
        "chat_id": row.chat_id,
        "message_id": row.message_id,
        "run_id": row.run_id,
        "step": row.step,
        "requested_by": row.requested_by,
        "tool_call_id": row.tool_call_id,
        "tool_name": row.tool_name,
        "server": row.server,
        "tool_key": tool_key(row.server, row.tool_name),
        "risk": row.risk,
        "parameters": row.parameters,
        "edited_parameters": row.edited_parameters,
        "status": row.status,
        "decision": row.decision,
        "reason": row.reason,
        "untrusted_sources": row.untrusted_sources,
        "decided_by": {"id": by, "name": decided_by_name or ""} if by else None,
        "deny_note": row.deny_note,
        "approval_requested_at": row.approval_requested_at,
        "approved_at": row.approved_at,
        "decided_at": row.decided_at,
        "expires_at": row.expires_at,
        "executed_at": row.executed_at,
        "completed_at": row.completed_at,
        "execution_time_ms": row.execution_time_ms,
        "estimated_cost": row.estimated_cost,
        "cost": row.cost,
        "result": _read_result(row.result, is_whole=is_whole) if row.result else None,
        "error_code": row.error_code,
        "error_message": row.error_message,
        "question": _read_question(question) if question else None,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _read_question(question: StoredQuestion) -> QuestionRead:
    return {
        "id": question.id,
        "message": question.message,
        "form": question.form,
        "url": question.url,
        "asked_at": question.asked_at,
    }


def _read_result(result: StoredResult, *, is_whole: bool) -> ToolResultRead:
    return {
        "kind": result.kind,
        "size_bytes": result.size_bytes,
        "is_cut": result.is_cut,
        "excerpt": words_of(result)[:EXCERPT],
        "content": result.content if is_whole or result.size_bytes <= SHOWN_BYTES else None,
    }
