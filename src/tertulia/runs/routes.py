"""What starts, moves and follows a run: sending, editing, regenerating, continuing, cancelling, and its stream."""

import asyncio
import time
from contextlib import ExitStack
from typing import Annotated

from fastapi import Header
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.accounts.streams import OpenStreams
from tertulia.chat import branches
from tertulia.db import Database
from tertulia.http.answers import json_response
from tertulia.http.routing import Access, Routes
from tertulia.http.sse import EventStream
from tertulia.ids import AnyId, ChatId, MessageId, RunId
from tertulia.providers.catalogue import ModelCatalogue
from tertulia.runs import service
from tertulia.runs.engine.executor import RunExecutor
from tertulia.runs.engine.follow import follow_run, read_run_and_message
from tertulia.runs.engine.remote import RemoteRuns
from tertulia.runs.schemas import MessageCreate, MessageEdit, Regenerate, RunRead, Sent

STOPPING_S = 2.0
LastEventId = Annotated[str | None, Header(max_length=100, description="The id of the last event that you have.")]


def run_routes(
    db: Database,
    catalogue: ModelCatalogue,
    executor: RunExecutor,
    remote: RemoteRuns,
    streams: OpenStreams,
    *,
    messages_per_day: int | None = None,
) -> Routes:
    routes = Routes("runs")

    def offered(session: Session, actor: Actor) -> service.Offered:
        return service.Offered(lambda: catalogue.known(session, actor=actor), messages_per_day)

    async def stop(run_id: str) -> None:
        if executor.find_live(run_id) is None:
            await remote.cancel(run_id)
        await executor.cancel(run_id)

    @routes.add(
        "POST",
        "/chats/{chat_id}/messages",
        access=Access.SIGNED_IN,
        gives=Sent,
        status=201,
        problems=(404, 409, 429),
    )
    async def post_message(caller: CommandDep, chat_id: AnyId, new: MessageCreate) -> Response:
        if catalogue.may_wait:
            await catalogue.first_read(await caller.actor())
        return await caller.command(
            201,
            lambda session, actor: service.send_message(
                session, ChatId(chat_id), new, offered(session, actor), actor=actor
            ),
        )

    @routes.add(
        "POST",
        "/messages/{message_id}/edit",
        access=Access.SIGNED_IN,
        gives=Sent,
        status=201,
        problems=(404, 409, 429),
    )
    async def edit_message(caller: CommandDep, message_id: AnyId, edit: MessageEdit) -> Response:
        return await caller.command(
            201,
            lambda session, actor: service.edit_message(
                session, MessageId(message_id), edit, offered(session, actor), actor=actor
            ),
        )

    @routes.add(
        "POST",
        "/messages/{message_id}/regenerate",
        access=Access.SIGNED_IN,
        gives=Sent,
        status=201,
        problems=(404, 429),
    )
    async def regenerate(caller: CommandDep, message_id: AnyId, wish: Regenerate | None = None) -> Response:
        if catalogue.may_wait:
            await catalogue.first_read(await caller.actor())
        return await caller.command(
            201,
            lambda session, actor: service.regenerate_message(
                session, MessageId(message_id), wish or Regenerate(), offered(session, actor), actor=actor
            ),
        )

    @routes.add(
        "POST",
        "/messages/{message_id}/continue",
        access=Access.SIGNED_IN,
        gives=Sent,
        status=201,
        problems=(404, 409, 429),
    )
    async def continue_message(caller: CommandDep, message_id: AnyId) -> Response:
        return await caller.command(
            201,
            lambda session, actor: service.continue_message(
                session, MessageId(message_id), offered(session, actor), actor=actor
            ),
        )

    @routes.add("DELETE", "/messages/{message_id}", access=Access.SIGNED_IN, status=204, problems=(404, 409))
    async def delete_message(caller: CommandDep, message_id: AnyId) -> Response:
        """A reply that is being written is stopped first, and so is one to the message."""
        actor = await caller.read(
            lambda session, actor: branches.check_may_delete(session, MessageId(message_id), actor=actor)
        )
        ends_at = time.monotonic() + STOPPING_S
        while open_runs := await db.read(service.find_open_runs, MessageId(message_id), actor=actor):
            for run_id in open_runs:
                await db.write(service.request_cancel, run_id, actor=actor)
                await stop(run_id)
            if time.monotonic() > ends_at:
                break  # it is another process's, and that is slow: the caller hears that it is still being written
            await asyncio.sleep(0.05)
        return await caller.command(
            204, lambda session, actor: branches.delete_message(session, MessageId(message_id), actor=actor)
        )

    @routes.add("GET", "/runs/{run_id}", access=Access.SIGNED_IN, gives=RunRead, problems=(404,))
    async def get_run(caller: CallerDep, run_id: AnyId) -> Response:
        return json_response(
            await caller.read(lambda session, actor: service.get_run(session, RunId(run_id), actor=actor))
        )

    @routes.add("POST", "/runs/{run_id}/cancel", access=Access.SIGNED_IN, gives=RunRead, problems=(404,))
    async def cancel_run(caller: CommandDep, run_id: AnyId) -> Response:
        asked = await caller.command(
            200, lambda session, actor: service.request_cancel(session, RunId(run_id), actor=actor)
        )
        await stop(run_id)
        if executor.find_live(run_id) is None:
            return asked
        return json_response(
            await caller.read(lambda session, actor: service.get_run(session, RunId(run_id), actor=actor))
        )

    @routes.add("GET", "/runs/{run_id}/events", access=Access.SIGNED_IN, problems=(404, 429), stream="RunEvent")
    async def get_run_events(caller: CallerDep, run_id: AnyId, last_event_id: LastEventId = None) -> EventStream:
        actor = await caller.actor()
        await caller.read(lambda session, actor: read_run_and_message(session, RunId(run_id), actor=actor))
        opened = ExitStack()
        closed = opened.enter_context(
            streams.opened(actor, still=lambda session: service.may_read_run(session, RunId(run_id), actor=actor))
        )
        return EventStream(follow_run(db, executor, remote, RunId(run_id), last_event_id, actor=actor), closed, opened)

    return routes
