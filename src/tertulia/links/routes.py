"""Routes for public links to chats and drafts: read only, allow-listed, live, and closed when the share ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import find_visitor
from tertulia.accounts.errors import ShareNotFound
from tertulia.accounts.models import UserRole
from tertulia.accounts.streams import OpenStreams
from tertulia.chat import shared_chats
from tertulia.chat.schemas import SharedMessageRead
from tertulia.chat.shared_chats import PublicLink
from tertulia.db import Database
from tertulia.drafts.schemas import SharedRead
from tertulia.drafts.shared_drafts import read_shared, resolve_public_link
from tertulia.files.downloads import DownloadCounts
from tertulia.files.routes import RangeHeader, send_file, send_thumbnail
from tertulia.files.service import StoredFile, stored_file, stored_thumbnail
from tertulia.files.store import FileStore
from tertulia.http.limits import RateLimit, RateLimits
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes, service_of
from tertulia.http.sse import EventStream
from tertulia.ids import AnyId, RunId, UserId
from tertulia.links.counts import LinkOpenCounts
from tertulia.realtime.feed import ChangeFeed
from tertulia.runs.engine.executor import RunExecutor
from tertulia.runs.engine.follow import follow_run, read_run_and_message
from tertulia.runs.engine.remote import RemoteRuns

LOOKS_A_MINUTE = 3000  # per address, which a whole office may share
# The only events of a reply's stream that are sent through a public link.
_WORDS = (b"text.delta", b"reasoning.delta", b"tool.requested", b"message.reset")
Visitor = Annotated[Actor | None, Depends(find_visitor)]


routes = Routes("shared")


LOOKS = RateLimit("public links", LOOKS_A_MINUTE, 60)


async def opened(request: Request, token: str, actor: Actor | None) -> PublicLink:
    service_of(request, RateLimits).take(LOOKS, request.scope.get("client_address", ""))
    return await service_of(request, Database).read_hot(resolve_public_link, token, actor=actor)


def stream(
    request: Request, token: str, actor: Actor | None, source: Callable[[asyncio.Event], AsyncIterator[bytes]]
) -> EventStream:
    held = ExitStack()
    closed = held.enter_context(
        service_of(request, OpenStreams).opened(
            actor,
            is_still_allowed=lambda session: _still_open(session, token, actor),
            guest_address=None if actor else request.scope.get("client_address", ""),
        )
    )
    return EventStream(source(closed), closed, held)


@routes.add("GET", "/shared/{token}", access=Access.PUBLIC, gives=SharedRead, problems=(404, 429))
async def get_shared(request: Request, token: str, actor: Visitor) -> Response:
    link = await opened(request, token, actor)
    if link.share_id is not None:  # a public chat without a share is not counted
        service_of(request, LinkOpenCounts).add(link.share_id)
    return json_response(await service_of(request, Database).read_hot(read_shared, link))


@routes.add("GET", "/shared/{token}/messages", access=Access.PUBLIC, gives=Page[SharedMessageRead], problems=(404, 429))
async def get_shared_messages(
    request: Request, token: str, actor: Visitor, limit: Limit = 50, cursor: CursorText = None
) -> Response:
    cursors = service_of(request, Cursors)
    link = await opened(request, token, actor)
    scope = f"shared.{link.chat_id}"
    key = cursors.decode(scope, cursor)
    messages, older = await service_of(request, Database).read_hot(
        shared_chats.list_shared_messages, link, leaf=str(key[0]) if key else None, limit=limit
    )
    return json_response({"items": messages, "next_cursor": cursors.encode(scope, [older]) if older else None})


@routes.add("GET", "/shared/{token}/events", access=Access.PUBLIC, problems=(404, 429), stream="SharedEvent")
async def get_shared_events(request: Request, token: str, actor: Visitor) -> EventStream:
    link = await opened(request, token, actor)
    return stream(
        request,
        token,
        actor,
        lambda closed: service_of(request, ChangeFeed).stream_for_guest(
            filter(None, (link.chat_id, link.draft_id)), closed
        ),
    )


@routes.add(
    "GET", "/shared/{token}/runs/{run_id}/events", access=Access.PUBLIC, problems=(404, 429), stream="SharedRunEvent"
)
async def get_shared_run_events(request: Request, token: str, run_id: RunId, actor: Visitor) -> EventStream:
    """Stream the text of a reply while it is written, until the run ends."""
    db = service_of(request, Database)
    link = await opened(request, token, actor)
    owner = Actor(UserId(link.owner_id), UserRole.USER)
    run, message, _ = await db.read(read_run_and_message, owner, run_id)
    is_shown = await db.read(shared_chats.is_on_show, link, message["id"])
    if run["chat_id"] != link.chat_id or not is_shown:
        raise ShareNotFound
    return stream(
        request,
        token,
        actor,
        lambda _: _words_of(
            follow_run(db, service_of(request, RunExecutor), service_of(request, RemoteRuns), run_id, None, actor=owner)
        ),
    )


@routes.add(
    "GET", "/shared/{token}/attachments/{attachment_id}/content", access=Access.PUBLIC, problems=(404, 416, 429)
)
async def get_shared_content(
    request: Request, token: str, attachment_id: AnyId, actor: Visitor, range: RangeHeader = None
) -> Response:
    link = await opened(request, token, actor)

    def find(session: Session) -> StoredFile:
        return stored_file(session, shared_chats.find_shared_attachment(session, link, attachment_id))

    stored = await service_of(request, Database).read_hot(find)
    return await send_file(service_of(request, FileStore), service_of(request, DownloadCounts), stored, range)


@routes.add("GET", "/shared/{token}/attachments/{attachment_id}/thumbnail", access=Access.PUBLIC, problems=(404, 429))
async def get_shared_thumbnail(request: Request, token: str, attachment_id: AnyId, actor: Visitor) -> Response:
    link = await opened(request, token, actor)

    def find(session: Session) -> bytes:
        return stored_thumbnail(session, shared_chats.find_shared_attachment(session, link, attachment_id))

    return send_thumbnail(await service_of(request, Database).read_hot(find))


def _still_open(session: Session, token: str, actor: Actor | None) -> bool:
    try:
        resolve_public_link(session, token, actor=actor)
    except ShareNotFound:
        return False
    return True


async def _words_of(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in events:
        kept = [event for event in chunk.split(b"\n\n") if event.startswith(b":") or _kind_of(event) in _WORDS]
        if kept:
            yield b"\n\n".join(kept) + b"\n\n"


def _kind_of(event: bytes) -> bytes:
    line = next((line for line in event.split(b"\n") if line.startswith(b"event: ")), b"")
    return line.removeprefix(b"event: ")
