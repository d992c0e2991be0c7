"""Test the timer of a head and the answer to a refused one on a connection that is in use."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from tertulia.http import protocol
from tertulia.http.protocol import MAX_HEAD_BYTES, LimitedHeadProtocol

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
TOO_LARGE = b"GET / HTTP/1.1\r\nX: " + b"a" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n"
Work = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer `ok`; below /stream begin an answer that does not end."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/stream":
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await asyncio.Event().wait()
    await send({"type": "http.response.body", "body": b"ok"})


def with_connection(work: Work) -> None:
    async def main() -> None:
        config = uvicorn.Config(app, lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: LimitedHeadProtocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        try:
            async with asyncio.timeout(20):
                await work(reader, writer)
        finally:
            writer.close()
            server.close()
            for task in state.tasks:
                task.cancel()

    asyncio.run(main())


async def answer(reader: asyncio.StreamReader, end: bytes = b"ok\r\n0\r\n\r\n") -> bytes:
    return await reader.readuntil(end)


def test_the_timer_of_a_whole_head_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a connection whose head came in two pieces, beyond the time that a head may take."""
    monkeypatch.setattr(protocol, "HEAD_S", 0.2)

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(REQUEST[:20])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(REQUEST[20:])
        assert (await answer(reader)).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.4)  # longer than the timer, shorter than an idle connection is kept
        writer.write(REQUEST)
        assert (await answer(reader)).startswith(b"HTTP/1.1 200")

    with_connection(work)


def test_a_head_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.2)

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(REQUEST)
        await answer(reader)
        for piece in (b"GET / HTTP/1.1\r\n", b"X: a\r\n", b"Y: b\r\n"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
        assert await reader.read() == b""

    with_connection(work)


def test_nothing_is_written_into_an_answer_that_has_begun() -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(REQUEST.replace(b"GET /", b"GET /stream"))
        await answer(reader, b"begun\r\n")
        writer.write(TOO_LARGE)
        assert await reader.read() == b""

    with_connection(work)


def test_a_refusal_does_not_overtake_the_answers_before_it() -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(REQUEST + REQUEST + TOO_LARGE)
        received = await reader.read()
        assert b" 431 " not in received.partition(b"ok\r\n0\r\n\r\n")[0]

    with_connection(work)


def test_a_head_that_is_too_large_is_refused_after_an_answer() -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(REQUEST)
        await answer(reader)
        writer.write(TOO_LARGE)
        assert (await reader.read()).startswith(b"HTTP/1.1 431 ")

    with_connection(work)
