"""Test our HTTP transport for httpx against servers with valid and invalid responses."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tertulia.http.outbound import Timeouts, operator_client
from tertulia.http.transport import MAX_HEAD_BYTES

OK = b"HTTP/1.1 200 OK\r\n"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class Server:
    """A server that counts connections, keeps request heads, and answers each request with the next bytes."""

    def __init__(self, *answers: bytes, stays_open: bool = True, pieces_of: int = 10**9) -> None:
        self.connections = 0
        self.asked: list[bytes] = []
        self.answers = list(answers)
        self.stays_open = stays_open
        self.pieces_of = pieces_of
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                self.asked.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self.answers.pop(0)
                for start in range(0, len(answer), self.pieces_of):
                    writer.write(answer[start : start + self.pieces_of])
                    await writer.drain()
                    if self.pieces_of < len(answer):
                        await asyncio.sleep(0)
                if not self.stays_open:
                    break
            else:
                await reader.read()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def calling(server: Server, **limits: float) -> AsyncIterator[httpx.AsyncClient]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening, operator_client(Timeouts(**limits)) as client:
        yield client
        listening.close()


def chunked(*chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + body


@pytest.mark.parametrize("pieces_of", [1, 7, 10**9])
@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 11\r\n\r\nhello world",
        chunked(b"hello", b" ", b"world"),
        b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n" + OK + b"Content-Length: 11\r\n\r\nhello world",
    ],
    ids=["length", "chunked", "continue"],
)
def test_a_response_in_any_framing_is_read_whole_and_its_connection_reused(answer: bytes, pieces_of: int) -> None:
    async def main() -> None:
        server = Server(answer, answer, answer, pieces_of=pieces_of)
        async with calling(server) as client:
            for _ in range(3):
                response = await client.get(server.url)
                assert (response.status_code, response.text, response.headers.get("x-early")) == (
                    200,
                    "hello world",
                    None,
                )
        assert server.connections == 1

    asyncio.run(main())


def test_a_response_without_a_length_ends_with_its_connection() -> None:
    async def main() -> None:
        server = Server(OK + b"\r\nhello", OK + b"\r\nagain", stays_open=False, pieces_of=9)
        async with calling(server) as client:
            assert [(await client.get(server.url)).text for _ in range(2)] == ["hello", "again"]
        assert server.connections == 2

    asyncio.run(main())


@pytest.mark.parametrize("cut", range(len(chunked(b"hello"))))
def test_a_truncated_response_is_an_error(cut: int) -> None:
    async def main() -> None:
        server = Server(chunked(b"hello")[:cut], stays_open=False)
        async with calling(server) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(server.url)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
        (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "not HTTP"),
        (OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello", "not HTTP"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "not HTTP"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "not HTTP"),
        (OK + b"X-Long: " + b"x" * (MAX_HEAD_BYTES + 1), "longer than"),
    ],
)
def test_an_invalid_response_is_an_error(answer: bytes, message: str) -> None:
    async def main() -> None:
        server = Server(answer)
        async with calling(server, idle_s=5) as client:
            with pytest.raises(httpx.RemoteProtocolError, match=message):
                await client.get(server.url)

    asyncio.run(main())


def test_endless_trailers_are_an_error() -> None:
    """Limit trailers: the parser keeps them in memory and passes no bytes to the caller."""

    async def main() -> None:
        server = Server(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: " + b"a" * 1_000_000)
        async with calling(server, idle_s=5) as client:
            with pytest.raises(httpx.RemoteProtocolError, match="that are not part of the answer"):
                await client.get(server.url)

    asyncio.run(main())


def test_bytes_after_a_complete_response_are_ignored() -> None:
    async def main() -> None:
        server = Server(OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok\n{}")
        async with calling(server) as client:
            assert (await client.get(server.url)).text == "ok"

    asyncio.run(main())


def test_an_unrequested_response_is_never_used_for_the_next_request() -> None:
    async def main() -> None:
        whole = OK + b"Content-Length: 2\r\n\r\nok"
        forged = OK + b"Content-Length: 6\r\n\r\nforged"
        server = Server(whole + forged, whole, whole)
        async with calling(server) as client:
            assert [(await client.get(server.url)).text for _ in range(3)] == ["ok", "ok", "ok"]
        assert server.connections == 2

    asyncio.run(main())


def test_a_connection_closed_while_idle_is_not_reused() -> None:
    async def main() -> None:
        whole = OK + b"Content-Length: 2\r\n\r\nok"
        server = Server(whole, whole, stays_open=False)
        async with calling(server) as client:
            await client.get(server.url)
            assert (await client.get(server.url)).text == "ok"
        assert server.connections == 2

    asyncio.run(main())


def test_leaving_a_response_before_its_end_closes_the_connection() -> None:
    async def main() -> None:
        server = Server(OK + b"Content-Length: 100\r\n\r\nbegun", OK + b"Content-Length: 2\r\n\r\nok")
        async with calling(server) as client:
            async with client.stream("GET", server.url) as response:
                async for piece in response.aiter_raw():
                    assert piece == b"begun"
                    break
            assert (await client.get(server.url)).text == "ok"
        assert server.connections == 2

    asyncio.run(main())


def test_silence_before_the_head_or_in_the_body_times_out() -> None:
    async def main() -> None:
        for answer in (b"", OK + b"Content-Length: 100\r\n\r\nbegun"):
            server = Server(answer)
            async with calling(server) as client:
                with pytest.raises(httpx.ReadTimeout):
                    await client.get(server.url, timeout=httpx.Timeout(0.1))

    asyncio.run(main())


def test_a_slow_reader_slows_the_sender() -> None:
    async def main() -> None:
        chunk, sent = b"x" * 65536, 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK + b"\r\n")
            try:
                while sent < 4000:
                    writer.write(chunk)
                    await writer.drain()
                    sent += 1
            except OSError:
                pass

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with listening, operator_client(Timeouts()) as client, client.stream("GET", url):
            before = -1
            while before != sent:  # until the sender is blocked
                before = sent
                await asyncio.sleep(0.1)
            assert sent < 400  # of 250 MiB: the kernel's buffers and one read

    asyncio.run(main())


@pytest.mark.parametrize("value", ["a\r\nX-Forged: 1", "a\nb", "a\x00b"])
def test_a_header_value_with_a_line_break_or_null_is_not_sent(value: str) -> None:
    async def main() -> None:
        server = Server(OK + b"Content-Length: 2\r\n\r\nok")
        async with calling(server) as client:
            with pytest.raises(httpx.LocalProtocolError):
                await client.get(server.url, headers={"Authorization": value})
        assert server.asked == []

    asyncio.run(main())


def test_host_and_content_length_are_sent_once() -> None:
    async def main() -> None:
        server = Server(OK + b"Content-Length: 2\r\n\r\nok")
        async with calling(server) as client:
            await client.post(server.url + "/a b?c=d e", content=b"{}")
        head = server.asked[0].decode().lower()
        assert head.startswith("post /a%20b?c=d%20e http/1.1\r\n")
        assert head.count("\r\nhost: 127.0.0.1:") == 1
        assert head.count("\r\ncontent-length: 2\r\n") == 1

    asyncio.run(main())
