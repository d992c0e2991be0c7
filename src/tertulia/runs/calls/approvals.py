"""Approve, deny and cancel tool calls, and list them.

The user who requested the run decides each call once, from any device. The run continues after the last decision.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, require_session
from tertulia.chat.access import may_read_chat
from tertulia.chat.models import Chat
from tertulia.chat.service import announce_chat, get_chat, own_chat, require_named_chat
from tertulia.db import wake
from tertulia.ids import ChatId, RunId, ToolExecutionId
from tertulia.realtime.models import Operation
from tertulia.runs.calls.life import cancel_call, decide_pending, expire, has_pending
from tertulia.runs.calls.proposing import check_edited_arguments
from tertulia.runs.calls.reading import announce_call, check_decides, get_execution, owner_of, read_call, with_decider
from tertulia.runs.models import Run, RunStatus
from tertulia.runs.reading import RUN_PREFIX, RUNS, announce_run
from tertulia.tools.errors import AlreadyDecided, ToolGone
from tertulia.tools.models import ChatApproval, DecidedBy, ToolExecution, ToolStatus
from tertulia.tools.protocol import digest_of, tool_key
from tertulia.tools.rules import LoadDigests, as_described, check_size, read_rules, remember_always, with_allowed
from tertulia.tools.schemas import Approve, ChatApprovalRead, Deny, PendingToolExecution, ToolExecutionRead, ToolUsage
from tertulia.tools.servers.service import accept_change
from tertulia.tools.tool_set import ToolSet, check_call, estimated_cost
from tertulia.tools.validation import parse_arguments

MAX_USAGE_ROWS = 200
LoadTools = Callable[[Session, str], ToolSet]  # of a user id


def approve(
    session: Session, actor: Actor, call_id: ToolExecutionId, request: Approve, load_tools: LoadTools
) -> ToolExecutionRead:
    """Approve a call, optionally with edited arguments and a rule for later calls of the tool.

    Raises AlreadyDecided, and for edited arguments ArgumentsInvalid, ToolGone and RefusedByRule.
    """
    if request.remember != "none":
        require_session(actor)
    execution = _to_decide(session, actor, call_id)
    now = clock.now()
    wanted = None if request.arguments_json is None else parse_arguments(request.arguments_json)
    edited = wanted if wanted not in (None, execution.parameters) else None
    cost = execution.estimated_cost
    offered = load_tools(session, actor.user_id).find(execution.tool_name, execution.server)
    is_same = offered is not None and offered.digest == execution.definition_digest
    if edited is not None:
        if offered is None or not is_same:
            raise ToolGone(execution.tool_name)
        check_call(offered, edited)
        cost = check_edited_arguments(session, execution, edited, estimated_cost(offered, edited))
    moved = decide_pending(
        session,
        call_id,
        now,
        status=ToolStatus.APPROVED,
        approved_at=now,
        edited_parameters=edited,
        estimated_cost=cost,
        arguments_digest=digest_of(execution.parameters if edited is None else edited),
        **_by_person(actor),
    )
    if not moved:
        raise _too_late(session, call_id)
    if offered is not None and is_same and offered.changed is not None and execution.server is not None:
        accept_change(session, actor, execution.server, execution.tool_name, offered.changed)
    key = tool_key(execution.server, execution.tool_name)
    if request.remember == "always":
        remember_always(session, actor, key, execution.definition_digest)
    elif request.remember == "chat":
        _remember_in_chat(session, actor, execution.chat_id, key, execution.definition_digest)
    return _decided(session, execution)


def deny(session: Session, actor: Actor, call_id: ToolExecutionId, request: Deny) -> ToolExecutionRead:
    """Deny a call, optionally with a note to the model. Raises AlreadyDecided."""
    execution = _to_decide(session, actor, call_id)
    now = clock.now()
    moved = decide_pending(
        session,
        call_id,
        now,
        status=ToolStatus.DENIED,
        completed_at=now,
        deny_note=request.note,
        error_code="denied",
        error_message="The person refused this call.",
        **_by_person(actor),
    )
    if not moved:
        raise _too_late(session, call_id)
    return _decided(session, execution)


def cancel(session: Session, actor: Actor, call_id: ToolExecutionId) -> ToolExecutionRead:
    """Cancel a call that has not ended; the model is told. Raises AlreadyDecided if it has ended."""
    execution = _to_decide(session, actor, call_id)
    if not cancel_call(session, call_id, owner_of(session, execution.chat_id)):
        raise _too_late(session, call_id)
    return _decided(session, execution)


def _to_decide(session: Session, actor: Actor, call_id: ToolExecutionId) -> ToolExecution:
    """Return a call that the actor may decide. Locks the run's row, so that decisions on its calls are serialised."""
    execution = get_execution(session, actor, call_id)
    check_decides(execution, actor=actor)
    session.execute(sa.select(Run.id).where(Run.id == execution.run_id).with_for_update())
    return execution


def _by_person(actor: Actor) -> dict[str, Any]:
    return {"decision": DecidedBy.PERSON, "decided_by": actor.user_id, "decided_at": clock.now()}


def _too_late(session: Session, call_id: str) -> AlreadyDecided:
    execution, name = session.execute(
        with_decider().where(ToolExecution.id == call_id).execution_options(populate_existing=True)
    ).one()
    status = execution.status
    if status is ToolStatus.PENDING:  # expired, but the periodic job has not marked it yet
        status = ToolStatus.TIMEOUT
    return AlreadyDecided(status.value, name, execution.decided_at)


def _decided(session: Session, execution: ToolExecution) -> ToolExecutionRead:
    owner_id = owner_of(session, execution.chat_id)
    read = announce_call(session, execution.id, Operation.UPDATED, owner_id=owner_id)
    if execution.run_id is not None:
        go_on(session, execution.run_id, owner_id)
    return read


def go_on(session: Session, run_id: str, owner_id: str) -> None:
    """Queue a run that awaits approval, if none of its calls is pending any more."""
    if has_pending(session, run_id):
        return
    run = session.scalars(
        sa.select(Run).where(Run.id == run_id, Run.status == RunStatus.AWAITING_APPROVAL).with_for_update()
    ).one_or_none()
    if run is None:
        return
    run.status = RunStatus.QUEUED
    session.flush()
    announce_run(session, owner_id, RunId(run_id), Operation.UPDATED)
    wake(session, RUNS)
    wake(session, RUN_PREFIX + run_id)


def _remember_in_chat(session: Session, actor: Actor, chat_id: str, key: str, digest: str) -> None:
    """Allow a tool in a chat of the actor's own. In other chats do nothing: only the owner sets what runs there."""
    if get_chat(session, actor, ChatId(chat_id))["owner"] is not None:
        return
    stored = session.scalars(sa.select(Chat.auto_approval).where(Chat.id == chat_id).with_for_update()).one()
    approval = stored or ChatApproval()
    approval = approval.model_copy(update={"specific_tools": with_allowed(approval.specific_tools, key, digest)})
    session.execute(sa.update(Chat).where(Chat.id == chat_id).values(auto_approval=approval))
    announce_chat(session, chat_id, Operation.UPDATED)


def get_chat_approval(session: Session, actor: Actor, chat_id: ChatId) -> ChatApprovalRead:
    own_chat(session, actor, chat_id)
    return _read_chat_approval(session.scalars(sa.select(Chat.auto_approval).where(Chat.id == chat_id)).one())


def put_chat_approval(
    session: Session, actor: Actor, chat_id: ChatId, request: ChatApproval, load_digests: LoadDigests
) -> ChatApprovalRead:
    require_session(actor)
    own_chat(session, actor, chat_id)
    check_size(request.specific_tools)
    request = request.model_copy(
        update={"specific_tools": as_described(request.specific_tools, load_digests(session, actor))}
    )
    session.execute(sa.update(Chat).where(Chat.id == chat_id).values(auto_approval=request))
    announce_chat(session, chat_id, Operation.UPDATED)
    return _read_chat_approval(request)


def _read_chat_approval(stored: ChatApproval | None) -> ChatApprovalRead:
    approval = stored or ChatApproval()
    return {
        "read_only_operations": approval.read_only_operations,
        "low_risk_operations": approval.low_risk_operations,
        "require_approval_for_new_tools": approval.require_approval_for_new_tools,
        "max_cost_per_tool": approval.max_cost_per_tool,
        "specific_tools": read_rules(approval.specific_tools),
    }


def has_expired(session: Session) -> bool:
    return session.scalar(_expired().limit(1)) is not None


def expire_approvals(session: Session) -> int:
    """Expire up to 100 calls not decided within a day and return how many were due. Their runs continue."""
    rows = session.execute(_expired().limit(100)).all()
    moment = clock.now()
    for call_id, run_id, chat_id in rows:
        session.execute(sa.select(Run.id).where(Run.id == run_id).with_for_update())
        if expire(session, call_id, moment):
            owner_id = owner_of(session, chat_id)
            announce_call(session, call_id, Operation.UPDATED, owner_id=owner_id)
            if run_id is not None:
                go_on(session, run_id, owner_id)
    return len(rows)


def _expired() -> sa.Select[str, str | None, str]:
    # The second condition lets the index on status and time end the search.
    return sa.select(ToolExecution.id, ToolExecution.run_id, ToolExecution.chat_id).where(
        ToolExecution.status == ToolStatus.PENDING,
        ToolExecution.created_at <= clock.now() - timedelta(hours=24),
        ToolExecution.expires_at <= clock.now(),
    )


# ---- lists


def list_of_chat(
    session: Session,
    actor: Actor,
    chat_id: ChatId,
    *,
    status: ToolStatus | None = None,
    before: str | None = None,
    limit: int = 50,
) -> list[ToolExecutionRead]:
    """Return the calls of a chat, newest first. With status pending they are oldest first, the order of decisions."""
    get_chat(session, actor, chat_id)
    query = with_decider().where(ToolExecution.chat_id == chat_id)
    if status is not None:
        query = query.where(ToolExecution.status == status)
    is_oldest_first = status is ToolStatus.PENDING
    if before is not None:
        query = query.where(ToolExecution.id > before if is_oldest_first else ToolExecution.id < before)
    order = ToolExecution.id if is_oldest_first else ToolExecution.id.desc()
    rows = session.execute(query.order_by(order).limit(limit))
    return [read_call(row, name, viewer=actor.user_id) for row, name in rows]


def list_of_message(session: Session, actor: Actor, chat_id: str, message_id: str) -> list[ToolExecutionRead]:
    """Return up to 500 calls of one reply, oldest first. The caller has checked read access to the message."""
    query = with_decider().where(ToolExecution.message_id == message_id, ToolExecution.chat_id == chat_id)
    rows = session.execute(query.order_by(ToolExecution.id).limit(500))
    return [read_call(row, name, viewer=actor.user_id) for row, name in rows]


def list_own(
    session: Session,
    actor: Actor,
    *,
    status: ToolStatus | None = None,
    tool: tuple[str | None, str] | None = None,
    chat_id: str | None = None,
    last: str | None = None,
    limit: int = 50,
) -> list[PendingToolExecution]:
    """Return the calls of the actor's runs, newest first. `tool` is a server (None: built in) and a name.

    With status pending, return those that await a decision or an answer, oldest first.
    """
    query = (
        with_decider()
        .add_columns(Chat.title)
        .join(Chat, Chat.id == ToolExecution.chat_id)
        .where(
            ToolExecution.requested_by == actor.user_id,
            Chat.deleted_at.is_(None),
            may_read_chat(Chat.id, Chat.user_id),
        )
        .limit(limit)
    )
    if status is ToolStatus.PENDING:
        query = query.where(
            ToolExecution.status.in_((ToolStatus.PENDING, ToolStatus.EXECUTING)),
            sa.or_(ToolExecution.status == ToolStatus.PENDING, ToolExecution.question.is_not(None)),
        )
    elif status is not None:
        query = query.where(ToolExecution.status == status)
    if tool is not None:
        server, name = tool
        query = query.where(ToolExecution.tool_name == name, ToolExecution.server.is_not_distinct_from(server))
    if chat_id is not None:
        require_named_chat(session, actor, chat_id)
        query = query.where(ToolExecution.chat_id == chat_id)
    is_oldest_first = status is ToolStatus.PENDING
    if last is not None:
        query = query.where(ToolExecution.id > last if is_oldest_first else ToolExecution.id < last)
    query = query.order_by(ToolExecution.id if is_oldest_first else ToolExecution.id.desc())
    rows = session.execute(query, {"actor_id": actor.user_id}).all()
    return [{**read_call(row, name, viewer=actor.user_id), "chat_title": title} for row, name, title in rows]


def sum_by_tool(session: Session, actor: Actor, *, chat_id: str | None = None) -> list[ToolUsage]:
    """Return totals of the actor's calls per tool, in all chats or one, most recently used first. Raises Invalid."""
    if chat_id is not None:
        require_named_chat(session, actor, chat_id)
    of_chat = () if chat_id is None else (ToolExecution.chat_id == chat_id,)

    def count(*statuses: ToolStatus) -> sa.ColumnElement[int]:
        return sa.func.count().filter(ToolExecution.status.in_(statuses))

    last = sa.func.max(ToolExecution.created_at, type_=ToolExecution.created_at.type)
    rows = session.execute(
        sa.select(
            ToolExecution.tool_name,
            ToolExecution.server,
            sa.func.count(),
            count(ToolStatus.COMPLETED),
            count(ToolStatus.FAILED, ToolStatus.TIMEOUT),
            count(ToolStatus.DENIED, ToolStatus.CANCELLED),
            sa.func.avg(ToolExecution.execution_time_ms),
            sa.func.max(ToolExecution.execution_time_ms),
            sa.type_coerce(sa.func.coalesce(sa.func.sum(ToolExecution.cost), 0), ToolExecution.cost.type),
            last,
        )
        .where(ToolExecution.requested_by == actor.user_id, *of_chat)
        .group_by(ToolExecution.tool_name, ToolExecution.server)
        .order_by(last.desc())
        .limit(MAX_USAGE_ROWS)
    )
    return [
        {
            "tool_name": name,
            "server": server,
            "calls": calls,
            "completed": completed,
            "failed": failed,
            "denied": denied,
            "average_ms": None if average is None else round(average),
            "longest_ms": longest,
            "cost": cost,
            "last_used_at": used_at,
        }
        for name, server, calls, completed, failed, denied, average, longest, cost, used_at in rows
    ]
