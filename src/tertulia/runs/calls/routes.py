"""Tools over HTTP: which there are, what they were asked to do, deciding about it, and the rules."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.chat.service import get_message
from tertulia.db import Database
from tertulia.http.answers import json_response
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.routing import Access, Routes
from tertulia.ids import AnyId, ChatId, MessageId, ToolExecutionId
from tertulia.runs.calls import approvals
from tertulia.runs.calls.questions import answer_question
from tertulia.runs.calls.reading import check_decides, get_call, get_execution
from tertulia.runs.calls.runner import ToolRunner
from tertulia.tools.models import ChatApproval, ToolStatus
from tertulia.tools.offered import read_tool
from tertulia.tools.protocol import split_tool_key
from tertulia.tools.rules import get_auto_approval, put_auto_approval
from tertulia.tools.schemas import (
    AnswerQuestion,
    Approve,
    AutoApprovalRead,
    AutoApprovalUpdate,
    ChatApprovalRead,
    Deny,
    DryRunRead,
    DryRunWish,
    PendingToolExecution,
    ToolExecutionRead,
    ToolRead,
    ToolUsage,
)


def tool_routes(cursors: Cursors, runner: ToolRunner) -> Routes:
    """What there is, and the rules."""
    routes = Routes("tools")

    @routes.add("GET", "/tools", access=Access.SIGNED_IN, gives=Page[ToolRead])
    async def get_tools(caller: CallerDep) -> Response:
        """Every tool that a chat can offer to its model."""
        actor = await caller.actor()
        toolbox = await runner.catalogue.of(actor.user_id)
        return json_response({"items": [read_tool(tool) for tool in toolbox.all()], "next_cursor": None})

    @routes.add("GET", "/tools/usage", access=Access.SIGNED_IN, gives=Page[ToolUsage])
    async def get_tool_usage(caller: CallerDep, chat_id: AnyId | None = None) -> Response:
        found = await caller.read_long(
            lambda session, actor: approvals.sum_by_tool(session, actor=actor, chat_id=chat_id)
        )
        return json_response({"items": found, "next_cursor": None})

    @routes.add("GET", "/auto-approval-settings", access=Access.SIGNED_IN, gives=AutoApprovalRead)
    async def get_settings(caller: CallerDep) -> Response:
        return json_response(await caller.read(lambda session, actor: get_auto_approval(session, actor=actor)))

    @routes.add("PUT", "/auto-approval-settings", access=Access.SIGNED_IN, gives=AutoApprovalRead, problems=(409,))
    async def put_settings(caller: CommandDep, update: AutoApprovalUpdate) -> Response:
        return await caller.command(
            200,
            lambda session, actor: put_auto_approval(
                session, update, runner.catalogue.load(session, actor.user_id).digests(), actor=actor
            ),
        )

    @routes.add(
        "GET", "/chats/{chat_id}/auto-approval", access=Access.SIGNED_IN, gives=ChatApprovalRead, problems=(404,)
    )
    async def get_chat_approval(caller: CallerDep, chat_id: AnyId) -> Response:
        return json_response(
            await caller.read(lambda session, actor: approvals.get_chat_approval(session, ChatId(chat_id), actor=actor))
        )

    @routes.add(
        "PUT", "/chats/{chat_id}/auto-approval", access=Access.SIGNED_IN, gives=ChatApprovalRead, problems=(404,)
    )
    async def put_chat_approval(caller: CommandDep, chat_id: AnyId, wish: ChatApproval) -> Response:
        """What may run unasked in this chat; it counts for its owner's own questions."""
        return await caller.command(
            200,
            lambda session, actor: approvals.put_chat_approval(
                session,
                ChatId(chat_id),
                wish,
                runner.catalogue.load(session, actor.user_id).digests(),
                actor=actor,
            ),
        )

    return routes


def tool_execution_routes(db: Database, cursors: Cursors, runner: ToolRunner) -> Routes:
    """Calls of tools: listed, looked at, and decided about."""
    routes = Routes("tool executions")

    @routes.add("GET", "/tool-executions", access=Access.SIGNED_IN, gives=Page[PendingToolExecution])
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
        """What one's own questions made models call, newest first; with `status=pending` what waits, oldest first."""
        kind = f"tool-executions.{status or ''}.{tool or ''}.{chat_id or ''}"
        last = cursors.decode_id(kind, cursor)

        def read(session: Session, actor: Actor) -> list[PendingToolExecution]:
            if status is ToolStatus.PENDING:
                return approvals.list_pending(session, actor=actor, after=last, limit=limit + 1)
            return approvals.list_own(
                session,
                actor=actor,
                status=status,
                tool=split_tool_key(tool) if tool else None,
                chat_id=chat_id,
                before=last,
                limit=limit + 1,
            )

        return json_response(cursors.page(kind, await caller.read(read), limit))

    @routes.add(
        "GET",
        "/chats/{chat_id}/tool-executions",
        access=Access.SIGNED_IN,
        gives=Page[ToolExecutionRead],
        problems=(404,),
    )
    async def get_of_chat(
        caller: CallerDep,
        chat_id: AnyId,
        status: ToolStatus | None = None,
        limit: Limit = 50,
        cursor: CursorText = None,
    ) -> Response:
        kind = f"tool-executions.{chat_id}.{status or ''}"
        last = cursors.decode_id(kind, cursor)
        found = await caller.read(
            lambda session, actor: approvals.list_of_chat(
                session, ChatId(chat_id), status=status, before=last, limit=limit + 1, actor=actor
            )
        )
        return json_response(cursors.page(kind, found, limit))

    @routes.add(
        "GET",
        "/messages/{message_id}/tool-executions",
        access=Access.SIGNED_IN,
        gives=Page[ToolExecutionRead],
        problems=(404,),
    )
    async def get_of_message(caller: CallerDep, message_id: AnyId) -> Response:
        def read(session: Session, actor: Actor) -> list[ToolExecutionRead]:
            message = get_message(session, MessageId(message_id), actor=actor)
            return approvals.list_of_message(session, message["chat_id"], message_id, actor=actor)

        return json_response({"items": await caller.read(read), "next_cursor": None})

    @routes.add(
        "GET",
        "/tool-executions/{execution_id}",
        access=Access.SIGNED_IN,
        gives=ToolExecutionRead,
        problems=(404,),
    )
    async def get_one(caller: CallerDep, execution_id: AnyId) -> Response:
        """With its whole result."""
        return json_response(
            await caller.read(lambda session, actor: get_call(session, ToolExecutionId(execution_id), actor=actor))
        )

    @routes.add(
        "POST",
        "/tool-executions/{execution_id}/approve",
        access=Access.SIGNED_IN,
        gives=ToolExecutionRead,
        problems=(404, 409),
    )
    async def approve(caller: CommandDep, execution_id: AnyId, wish: Approve | None = None) -> Response:
        return await caller.command(
            200,
            lambda session, actor: approvals.approve(
                session, ToolExecutionId(execution_id), wish or Approve(), runner.catalogue.load, actor=actor
            ),
        )

    @routes.add(
        "POST",
        "/tool-executions/{execution_id}/deny",
        access=Access.SIGNED_IN,
        gives=ToolExecutionRead,
        problems=(404, 409),
    )
    async def deny(caller: CommandDep, execution_id: AnyId, wish: Deny | None = None) -> Response:
        return await caller.command(
            200,
            lambda session, actor: approvals.deny(session, ToolExecutionId(execution_id), wish or Deny(), actor=actor),
        )

    @routes.add(
        "POST",
        "/tool-executions/{execution_id}/cancel",
        access=Access.SIGNED_IN,
        gives=ToolExecutionRead,
        problems=(404, 409),
    )
    async def cancel(caller: CommandDep, execution_id: AnyId) -> Response:
        """Stop it, whether it waits or runs."""
        return await caller.command(
            200, lambda session, actor: approvals.cancel(session, ToolExecutionId(execution_id), actor=actor)
        )

    @routes.add(
        "POST",
        "/tool-executions/{execution_id}/answer",
        access=Access.SIGNED_IN,
        gives=ToolExecutionRead,
        problems=(404, 409),
    )
    async def answer(caller: CommandDep, execution_id: AnyId, wish: AnswerQuestion) -> Response:
        """What a call that runs wanted to know."""
        return await caller.command(
            200, lambda session, actor: answer_question(session, ToolExecutionId(execution_id), wish, actor=actor)
        )

    @routes.add(
        "POST",
        "/tool-executions/{execution_id}/dry-run",
        access=Access.SIGNED_IN,
        gives=DryRunRead,
        problems=(404, 409),
    )
    async def post_dry_run(caller: CallerDep, execution_id: AnyId, wish: DryRunWish) -> Response:
        """What the call would do, with its arguments or with others, where its tool can tell; nothing is done."""
        actor = await caller.actor()
        execution = await caller.read(
            lambda session, actor: get_execution(session, ToolExecutionId(execution_id), actor=actor)
        )
        check_decides(execution, actor=actor)
        return json_response({"would": await runner.dry_run(execution, wish.arguments_json, actor=actor)})

    return routes
