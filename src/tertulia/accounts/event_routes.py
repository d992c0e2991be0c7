"""The stream of everything that changes for the signed-in user."""

from contextlib import ExitStack
from typing import Annotated

from fastapi import Header

from tertulia.accounts.caller import CallerDep
from tertulia.accounts.streams import OpenStreams
from tertulia.http.routing import Access, Routes
from tertulia.http.sse import EventStream
from tertulia.realtime.feed import ChangeFeed

routes = Routes("events")


@routes.add("GET", "/events", access=Access.SIGNED_IN, problems=(429,), stream="ServerEvent")
async def get_events(
    caller: CallerDep,
    last_event_id: Annotated[str | None, Header(max_length=100, description="Catch up from after this event.")] = None,
) -> EventStream:
    actor = await caller.actor()
    held = ExitStack()
    closed = held.enter_context(caller.service(OpenStreams).opened(actor))
    return EventStream(caller.service(ChangeFeed).stream(actor.user_id, last_event_id, closed), closed, held)
