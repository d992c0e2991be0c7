"""Our HTTP client under httpx, against servers that answer in every way that HTTP allows, and in some that it does not."""

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
    """Counts connections, keeps what it was asked, and answers each request with the next of the given bytes."""

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
def test_an_answer_is_read_whole_however_it_comes_and_its_connection_is_used_again(
    answer: bytes, pieces_of: int
) -> None:
    async def main() -> None:
        server = Server(answer, answer, answer, pieces_of=pieces_of)
        async with calling(server) as client:
            for _ in range(3):
                got = await client.get(server.url)
                assert (got.status_code, got.text, got.headers.get("x-early")) == (200, "hello world", None)
        assert server.connections == 1

    asyncio.run(main())


def test_an_answer_that_ends_with_its_connection_is_whole() -> None:
    async def main() -> None:
        server = Server(OK + b"\r\nhello", OK + b"\r\nagain", stays_open=False, pieces_of=9)
        async with calling(server) as client:
            assert [(await client.get(server.url)).text for _ in range(2)] == ["hello", "again"]
        assert server.connections == 2

    asyncio.run(main())


@pytest.mark.parametrize("cut", range(len(chunked(b"hello"))))
def test_an_answer_cut_anywhere_is_an_error(cut: int) -> None:
    async def main() -> None:
        server = Server(chunked(b"hello")[:cut], stays_open=False)
        async with calling(server) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(server.url)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
        (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "not HTTP"),
        (OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello", "not HTTP"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "not HTTP"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "not HTTP"),
        (OK + b"X-Long: " + b"x" * (MAX_HEAD_BYTES + 1), "longer than"),
    ],
)
def test_what_is_no_answer_is_an_error(answer: bytes, told: str) -> None:
    async def main() -> None:
        server = Server(answer)
        async with calling(server, idle_s=5) as client:
            with pytest.raises(httpx.RemoteProtocolError, match=told):
                await client.get(server.url)

    asyncio.run(main())


def test_an_answer_that_never_ends_outside_its_body_is_cut_off() -> None:
    """Trailers are read by the parser, and would fill the memory without anybody seeing a byte."""

    async def main() -> None:
        server = Server(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: " + b"a" * 1_000_000)
        async with calling(server, idle_s=5) as client:
            with pytest.raises(httpx.RemoteProtocolError, match="that are not part of the answer"):
                await client.get(server.url)

    asyncio.run(main())


def test_what_stands_after_a_whole_answer_does_it_no_harm() -> None:
    async def main() -> None:
        server = Server(OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok\n{}")
        async with calling(server) as client:
            assert (await client.get(server.url)).text == "ok"

    asyncio.run(main())


def test_what_comes_unasked_is_never_taken_for_the_next_answer() -> None:
    async def main() -> None:
        whole = OK + b"Content-Length: 2\r\n\r\nok"
        forged = OK + b"Content-Length: 6\r\n\r\nforged"
        server = Server(whole + forged, whole, whole)
        async with calling(server) as client:
            assert [(await client.get(server.url)).text for _ in range(3)] == ["ok", "ok", "ok"]
        assert server.connections == 2

    asyncio.run(main())


def test_a_connection_that_was_closed_while_idle_is_not_used_again() -> None:
    async def main() -> None:
        whole = OK + b"Content-Length: 2\r\n\r\nok"
        server = Server(whole, whole, stays_open=False)
        async with calling(server) as client:
            await client.get(server.url)
            assert (await client.get(server.url)).text == "ok"
        assert server.connections == 2

    asyncio.run(main())


def test_a_reply_that_is_left_before_its_end_closes_its_connection() -> None:
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


def test_silence_is_noticed_before_the_head_and_within_the_body() -> None:
    async def main() -> None:
        for answer in (b"", OK + b"Content-Length: 100\r\n\r\nbegun"):
            server = Server(answer)
            async with calling(server) as client:
                with pytest.raises(httpx.ReadTimeout):
                    await client.get(server.url, timeout=httpx.Timeout(0.1))

    asyncio.run(main())


def test_who_reads_slowly_holds_the_sender_back() -> None:
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
            while before != sent:  # until nothing more goes out
                before = sent
                await asyncio.sleep(0.1)
            assert sent < 400  # of 250 MiB: what the kernel holds, and one read

    asyncio.run(main())


@pytest.mark.parametrize("value", ["a\r\nX-Forged: 1", "a\nb", "a\x00b"])
def test_a_header_that_would_be_two_is_not_sent(value: str) -> None:
    async def main() -> None:
        server = Server(OK + b"Content-Length: 2\r\n\r\nok")
        async with calling(server) as client:
            with pytest.raises(httpx.LocalProtocolError):
                await client.get(server.url, headers={"Authorization": value})
        assert server.asked == []

    asyncio.run(main())


def test_the_host_and_the_length_are_told_once() -> None:
    async def main() -> None:
        server = Server(OK + b"Content-Length: 2\r\n\r\nok")
        async with calling(server) as client:
            await client.post(server.url + "/a b?c=d e", content=b"{}")
        head = server.asked[0].decode().lower()
        assert head.startswith("post /a%20b?c=d%20e http/1.1\r\n")
        assert head.count("\r\nhost: 127.0.0.1:") == 1
        assert head.count("\r\ncontent-length: 2\r\n") == 1

    asyncio.run(main())
