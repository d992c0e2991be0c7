"""Routes for tools, their calls and decisions, and the approval rules."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.chat.service import get_message
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.ids import AnyId, ChatId, MessageId, ToolExecutionId
from tertulia.runs.calls import approvals
from tertulia.runs.calls.questions import answer_question
from tertulia.runs.calls.reading import check_decides, get_call, get_execution
from tertulia.runs.calls.runner import ToolRunner
from tertulia.tools.models import ChatApproval, ToolStatus
from tertulia.tools.protocol import split_tool_key
from tertulia.tools.rules import get_auto_approval, put_auto_approval
from tertulia.tools.schemas import (
    AnswerQuestion,
    Approve,
    AutoApprovalRead,
    AutoApprovalUpdate,
    ChatApprovalRead,
    Deny,
    DryRunCreate,
    DryRunRead,
    PendingToolExecution,
    ToolExecutionRead,
    ToolRead,
    ToolUsage,
)
from tertulia.tools.tool_catalogue import ToolCatalogue
from tertulia.tools.tool_set import read_tool

tool_routes = Routes("tools")


@tool_routes.add("GET", "/tools", access=Access.SIGNED_IN, gives=Page[ToolRead])
async def get_tools(caller: CallerDep) -> Response:
    """List every tool that a chat can offer to its model."""
    actor = await caller.actor()
    toolbox = await caller.service(ToolCatalogue).of(actor.user_id)
    return json_response({"items": [read_tool(tool) for tool in toolbox.all()], "next_cursor": None})


@tool_routes.add("GET", "/tools/usage", access=Access.SIGNED_IN, gives=Page[ToolUsage])
async def get_tool_usage(caller: CallerDep, chat_id: AnyId | None = None) -> Response:
    rows = await caller.read_long(approvals.sum_by_tool, chat_id=chat_id)
    return json_response({"items": rows, "next_cursor": None})


@tool_routes.add("GET", "/auto-approval-settings", access=Access.SIGNED_IN, gives=AutoApprovalRead)
async def get_settings(caller: CallerDep) -> Response:
    return json_response(await caller.read(get_auto_approval))


@tool_routes.add("PUT", "/auto-approval-settings", access=Access.SIGNED_IN, gives=AutoApprovalRead, problems=(409,))
async def put_settings(caller: CommandDep, update: AutoApprovalUpdate) -> Response:
    return await caller.command(200, put_auto_approval, update, caller.service(ToolCatalogue).load_digests)


@tool_routes.add(
    "GET", "/chats/{chat_id}/auto-approval", access=Access.SIGNED_IN, gives=ChatApprovalRead, problems=(404,)
)
async def get_chat_approval(caller: CallerDep, chat_id: ChatId) -> Response:
    return json_response(await caller.read(approvals.get_chat_approval, chat_id))


@tool_routes.add(
    "PUT", "/chats/{chat_id}/auto-approval", access=Access.SIGNED_IN, gives=ChatApprovalRead, problems=(404,)
)
async def put_chat_approval(caller: CommandDep, chat_id: ChatId, body: ChatApproval) -> Response:
    """Set what runs automatically in this chat. It applies only to runs that the owner requests."""
    return await caller.command(
        200, approvals.put_chat_approval, chat_id, body, caller.service(ToolCatalogue).load_digests
    )


tool_execution_routes = Routes("tool executions")


@tool_execution_routes.add("GET", "/tool-executions", access=Access.SIGNED_IN, gives=Page[PendingToolExecution])
async def get_own(
    caller: CallerDep,
    status: ToolStatus | None = None,
    tool: Annotated[
        str | None, Query(max_length=201, description="The key of a tool: its name, or server/name.")
    ] = None,
    chat_id: AnyId | None = None,
    limit: Limit = 50,
    cursor: CursorText = None,
) -> Response:
    """List calls of the caller's own runs, newest first; with `status=pending` those that wait, oldest first."""
    cursors = caller.service(Cursors)
    kind = f"tool-executions.{status or ''}.{tool or ''}.{chat_id or ''}"
    calls = await caller.read(
        approvals.list_own,
        status=status,
        tool=split_tool_key(tool) if tool else None,
        chat_id=chat_id,
        last=cursors.decode_id(kind, cursor),
        limit=limit + 1,
    )
    return json_response(cursors.page(kind, calls, limit))


@tool_execution_routes.add(
    "GET", "/chats/{chat_id}/tool-executions", access=Access.SIGNED_IN, gives=Page[ToolExecutionRead], problems=(404,)
)
async def get_of_chat(
    caller: CallerDep, chat_id: ChatId, status: ToolStatus | None = None, limit: Limit = 50, cursor: CursorText = None
) -> Response:
    cursors = caller.service(Cursors)
    kind = f"tool-executions.{chat_id}.{status or ''}"
    last = cursors.decode_id(kind, cursor)
    rows = await caller.read(approvals.list_of_chat, chat_id, status=status, before=last, limit=limit + 1)
    return json_response(cursors.page(kind, rows, limit))


@tool_execution_routes.add(
    "GET",
    "/messages/{message_id}/tool-executions",
    access=Access.SIGNED_IN,
    gives=Page[ToolExecutionRead],
    problems=(404,),
)
async def get_of_message(caller: CallerDep, message_id: MessageId) -> Response:
    def read(session: Session, actor: Actor) -> list[ToolExecutionRead]:
        message = get_message(session, actor, message_id)
        return approvals.list_of_message(session, actor, message["chat_id"], message_id)

    return json_response({"items": await caller.read(read), "next_cursor": None})


@tool_execution_routes.add(
    "GET", "/tool-executions/{execution_id}", access=Access.SIGNED_IN, gives=ToolExecutionRead, problems=(404,)
)
async def get_one(caller: CallerDep, execution_id: ToolExecutionId) -> Response:
    """Return a call with its whole result."""
    return json_response(await caller.read(get_call, execution_id))


@tool_execution_routes.add(
    "POST",
    "/tool-executions/{execution_id}/approve",
    access=Access.SIGNED_IN,
    gives=ToolExecutionRead,
    problems=(404, 409),
)
async def approve(caller: CommandDep, execution_id: ToolExecutionId, body: Approve | None = None) -> Response:
    return await caller.command(
        200, approvals.approve, execution_id, body or Approve(), caller.service(ToolCatalogue).load
    )


@tool_execution_routes.add(
    "POST",
    "/tool-executions/{execution_id}/deny",
    access=Access.SIGNED_IN,
    gives=ToolExecutionRead,
    problems=(404, 409),
)
async def deny(caller: CommandDep, execution_id: ToolExecutionId, body: Deny | None = None) -> Response:
    return await caller.command(200, approvals.deny, execution_id, body or Deny())


@tool_execution_routes.add(
    "POST",
    "/tool-executions/{execution_id}/cancel",
    access=Access.SIGNED_IN,
    gives=ToolExecutionRead,
    problems=(404, 409),
)
async def cancel(caller: CommandDep, execution_id: ToolExecutionId) -> Response:
    """Cancel a call that waits or is executing."""
    return await caller.command(200, approvals.cancel, execution_id)


@tool_execution_routes.add(
    "POST",
    "/tool-executions/{execution_id}/answer",
    access=Access.SIGNED_IN,
    gives=ToolExecutionRead,
    problems=(404, 409),
)
async def answer(caller: CommandDep, execution_id: ToolExecutionId, body: AnswerQuestion) -> Response:
    """Answer the question of an executing call."""
    return await caller.command(200, answer_question, execution_id, body)


@tool_execution_routes.add(
    "POST", "/tool-executions/{execution_id}/dry-run", access=Access.SIGNED_IN, gives=DryRunRead, problems=(404, 409)
)
async def post_dry_run(caller: CallerDep, execution_id: ToolExecutionId, body: DryRunCreate) -> Response:
    """Describe what a call would do, with its own or other arguments; null if the tool cannot tell."""
    actor = await caller.actor()
    execution = await caller.read(get_execution, execution_id)
    check_decides(execution, actor=actor)
    return json_response(
        {"effect": await caller.service(ToolRunner).dry_run(execution, body.arguments_json, actor=actor)}
    )
