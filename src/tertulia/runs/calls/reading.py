"""Read and announce tool calls. Readers of the chat see the calls; only the requester sees a call's question."""

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User
from tertulia.chat.access import may_read_chat
from tertulia.chat.models import Chat
from tertulia.ids import ToolExecutionId
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish
from tertulia.tools.errors import NotYoursToDecide, ToolExecutionNotFound
from tertulia.tools.events import TOOL_EXECUTION
from tertulia.tools.models import StoredQuestion, StoredResult, ToolExecution, ToolStatus
from tertulia.tools.protocol import tool_key
from tertulia.tools.results import EXCERPT, SHOWN_BYTES, result_text
from tertulia.tools.schemas import QuestionRead, ToolExecutionRead, ToolResultRead


def with_decider() -> sa.Select[ToolExecution, str]:
    """Return a query for calls, each with the name of the user who decided it."""
    return sa.select(ToolExecution, User.name).outerjoin(User, User.id == ToolExecution.decided_by)


def get_call(session: Session, actor: Actor, call_id: ToolExecutionId) -> ToolExecutionRead:
    """Return a call with its whole result. Raises ToolExecutionNotFound without read permission for its chat."""
    call, decider = _find(session, actor, call_id)
    return read_call(call, decider, viewer=actor.user_id, is_whole=True)


def get_execution(session: Session, actor: Actor, call_id: ToolExecutionId) -> ToolExecution:
    return _find(session, actor, call_id)[0]


def check_decides(execution: ToolExecution, *, actor: Actor) -> None:
    """Raise NotYoursToDecide if another user requested the call's run."""
    if execution.requested_by != actor.user_id:
        raise NotYoursToDecide


def _find(session: Session, actor: Actor, call_id: ToolExecutionId) -> sa.Row[ToolExecution, str]:
    row = session.execute(
        with_decider()
        .join(Chat, Chat.id == ToolExecution.chat_id)
        .where(ToolExecution.id == call_id, Chat.deleted_at.is_(None), may_read_chat(Chat.id, Chat.user_id))
        .execution_options(populate_existing=True),
        {"actor_id": actor.user_id},
    ).one_or_none()
    if row is None:
        raise ToolExecutionNotFound
    return row


def announce_call(session: Session, call_id: str, operation: Operation, *, owner_id: str) -> ToolExecutionRead:
    """Publish the current state of a call to readers of the chat, and return it as the owner sees it."""
    session.flush()
    execution, name = session.execute(
        with_decider().where(ToolExecution.id == call_id).execution_options(populate_existing=True)
    ).one()
    read = read_call(execution, name, viewer=owner_id)  # other readers fetch it with their own permissions
    publish(
        session,
        owner_id=owner_id,
        topic=f"chat:{execution.chat_id}",
        entity=TOOL_EXECUTION,
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
    """Convert to the wire shape. Only the requester sees the question, because its URL may identify them."""
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
        "environment": row.environment,
        "tool_key": tool_key(row.server, row.tool_name),
        "risk": row.risk,
        "parameters": row.parameters,
        "edited_parameters": row.edited_parameters,
        "arguments_json": orjson.dumps(row.sent_parameters, option=orjson.OPT_INDENT_2).decode(),
        "status": row.status,
        "decision": row.decision,
        "reason": row.reason,
        "sources": row.sources,
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
        "excerpt": result_text(result)[:EXCERPT],
        "content": result.content if is_whole or result.size_bytes <= SHOWN_BYTES else None,
    }
