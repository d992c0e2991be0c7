"""Send server-sent events: bytes formatted once and shared, a comment every 15 s, an end when the client leaves."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tertulia.http.responses import encode

KEEP_ALIVE_S = 15
KEEP_ALIVE = b": keep-alive\n\n"
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


def sse(event: str, data: object, event_id: str | None = None) -> bytes:
    """Format one event. `data` is encoded as JSON, which contains no line breaks."""
    head = f"id: {event_id}\nevent: {event}\ndata: " if event_id is not None else f"event: {event}\ndata: "
    return b"".join((head.encode(), encode(data), b"\n\n"))


async def wait_or_keep_alive(event: asyncio.Event) -> Iterable[bytes]:
    """Wait until the event is set, at most 15 s. Return the comment to send after a timeout, otherwise nothing."""
    try:
        async with asyncio.timeout(KEEP_ALIVE_S):
            await event.wait()
    except TimeoutError:
        return (KEEP_ALIVE,)
    return ()


class EventStream(Response):
    """An ASGI response that sends what `source` yields until it ends, the client leaves, or `closed` is set."""

    def __init__(self, source: AsyncIterator[bytes], closed: asyncio.Event, opened: ExitStack) -> None:
        """Take over `opened`, the resources of the stream, which are released when it ends for any reason."""
        super().__init__()
        self.source = source
        self.closed = closed
        self.opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.opened:
            if scope["method"] == "HEAD":
                await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
                await send({"type": "http.response.body", "body": b""})
            else:
                await self._stream(receive, send)

    async def _stream(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        tasks = [
            asyncio.create_task(self._pump(send)),
            asyncio.create_task(_until_gone(receive)),
            asyncio.create_task(self.closed.wait()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]
        if not isinstance(results[1], asyncio.CancelledError):
            return  # the client left
        try:
            async with asyncio.timeout(1):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            return  # a client that does not read gets no proper end

    async def _pump(self, send: Send) -> None:
        try:
            async for chunk in self.source:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        finally:
            aclose = getattr(self.source, "aclose", None)
            if aclose is not None:
                await aclose()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
