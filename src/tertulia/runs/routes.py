"""Routes for runs: send, edit, regenerate, continue, cancel, and follow the event stream."""

import asyncio
import time
from contextlib import ExitStack
from typing import Annotated

from fastapi import Header
from starlette.responses import Response

from tertulia.accounts.caller import Caller, CallerDep, CommandDep
from tertulia.accounts.row_limits import RowLimits
from tertulia.accounts.streams import OpenStreams
from tertulia.chat import branches
from tertulia.db import Database
from tertulia.http.limits import RateLimit, RateLimits
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.http.sse import EventStream
from tertulia.ids import ChatId, MessageId, RunId
from tertulia.providers.model_catalogue import ModelCatalogue
from tertulia.runs import reading, service
from tertulia.runs.engine.executor import RunExecutor
from tertulia.runs.engine.follow import follow_run, read_run_and_message
from tertulia.runs.engine.remote import RemoteRuns
from tertulia.runs.schemas import MessageCreate, MessageEdit, Regenerate, RunRead, Sent
from tertulia.settings import Settings

STOPPING_S = 2.0
LastEventId = Annotated[str | None, Header(max_length=100, description="The id of the last event that you received.")]


routes = Routes("runs")


async def run_options(caller: Caller) -> service.RunOptions:
    """Return what the caller may request. The models are looked up in the transaction that chooses one.

    Count one message of this minute, and wait for the first reading of the caller's models, if it is under way.
    Raises TooManyAttempts.
    """
    per_minute = caller.service(Settings).messages_per_minute
    if per_minute:
        limit = RateLimit("messages", per_minute, 60)
        caller.service(RateLimits).take(limit, (await caller.actor()).user_id)
    catalogue = caller.service(ModelCatalogue)
    if catalogue.may_wait:
        await catalogue.first_read(await caller.actor())
    return service.RunOptions(catalogue.known, caller.service(Settings).messages_per_day, caller.service(RowLimits))


async def _stop(caller: Caller, run_id: str) -> None:
    """Cancel a run in this process, or ask the process that executes it."""
    executor = caller.service(RunExecutor)
    if executor.find_live(run_id) is None:
        await caller.service(RemoteRuns).cancel(run_id)
    await executor.cancel(run_id)


@routes.add(
    "POST", "/chats/{chat_id}/messages", access=Access.SIGNED_IN, gives=Sent, status=201, problems=(404, 409, 429)
)
async def post_message(caller: CommandDep, chat_id: ChatId, new: MessageCreate) -> Response:
    return await caller.command(201, service.send_message, chat_id, new, await run_options(caller))


@routes.add(
    "POST", "/messages/{message_id}/edit", access=Access.SIGNED_IN, gives=Sent, status=201, problems=(404, 409, 429)
)
async def edit_message(caller: CommandDep, message_id: MessageId, edit: MessageEdit) -> Response:
    return await caller.command(201, service.edit_message, message_id, edit, await run_options(caller))


@routes.add(
    "POST", "/messages/{message_id}/regenerate", access=Access.SIGNED_IN, gives=Sent, status=201, problems=(404, 429)
)
async def regenerate(caller: CommandDep, message_id: MessageId, body: Regenerate | None = None) -> Response:
    return await caller.command(
        201, service.regenerate_message, message_id, body or Regenerate(), await run_options(caller)
    )


@routes.add(
    "POST", "/messages/{message_id}/continue", access=Access.SIGNED_IN, gives=Sent, status=201, problems=(404, 409, 429)
)
async def continue_message(caller: CommandDep, message_id: MessageId) -> Response:
    return await caller.command(201, service.continue_message, message_id, await run_options(caller))


@routes.add("DELETE", "/messages/{message_id}", access=Access.SIGNED_IN, status=204, problems=(404, 409))
async def delete_message(caller: CommandDep, message_id: MessageId) -> Response:
    """Delete a message. Runs that write it or a reply to it are stopped first."""
    db = caller.service(Database)
    actor = await caller.read(branches.check_may_delete, message_id)
    ends_at = time.monotonic() + STOPPING_S
    while open_runs := await db.read(reading.find_open_runs, actor, message_id):
        for run_id in open_runs:
            await db.write(service.request_cancel, actor, run_id)
            await _stop(caller, run_id)
        if time.monotonic() > ends_at:
            break  # it is another process's, and that is slow: the caller hears that it is still being written
        await asyncio.sleep(0.05)
    return await caller.command(204, branches.delete_message, message_id)


@routes.add("GET", "/runs/{run_id}", access=Access.SIGNED_IN, gives=RunRead, problems=(404,))
async def get_run(caller: CallerDep, run_id: RunId) -> Response:
    return json_response(await caller.read(reading.get_run, run_id))


@routes.add("POST", "/runs/{run_id}/cancel", access=Access.SIGNED_IN, gives=RunRead, problems=(404,))
async def cancel_run(caller: CommandDep, run_id: RunId) -> Response:
    response = await caller.command(200, service.request_cancel, run_id)
    await _stop(caller, run_id)
    if caller.service(RunExecutor).find_live(run_id) is None:
        return response
    return json_response(await caller.read(reading.get_run, run_id))


@routes.add("GET", "/runs/{run_id}/events", access=Access.SIGNED_IN, problems=(404, 429), stream="RunEvent")
async def get_run_events(caller: CallerDep, run_id: RunId, last_event_id: LastEventId = None) -> EventStream:
    actor = await caller.actor()
    await caller.read(read_run_and_message, run_id)
    opened = ExitStack()
    closed = opened.enter_context(
        caller.service(OpenStreams).opened(
            actor, is_still_allowed=lambda session: reading.may_read_run(session, actor, run_id)
        )
    )
    return EventStream(
        follow_run(
            caller.service(Database),
            caller.service(RunExecutor),
            caller.service(RemoteRuns),
            run_id,
            last_event_id,
            actor=actor,
        ),
        closed,
        opened,
    )
