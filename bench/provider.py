"""Simulate providers at an even pace: tokens at fixed intervals, for any number of requests."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass

CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"tok%04d "},"finish_reason":null}]}\n\n'
END = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":%d,"total_tokens":10}}\n\ndata: [DONE]\n\n'
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
MODELS = b'{"object":"list","data":[{"id":"bench","object":"model"}]}'


@dataclass(frozen=True)
class Stream:
    """A reply as bytes: its head and beginning, each token by its number, and its end."""

    head: bytes
    token: Callable[[int], bytes]
    end: bytes


async def serve(port: int, stream_of: Callable[[str], Stream], *, tokens: int, pause_s: float) -> None:
    """Send the stream of its path for each request, and the list of models for each GET."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int((head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]) or b"0")
            await reader.readexactly(length)
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(MODELS) + MODELS)
                await writer.drain()
                return
            stream = stream_of(head.split(b" ", 2)[1].decode())
            writer.write(stream.head)
            loop = asyncio.get_running_loop()
            due = loop.time()
            for number in range(tokens):
                writer.write(stream.token(number))
                due += pause_s
                await asyncio.sleep(max(0, due - loop.time()))
            writer.write(stream.end)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=1000)
    await server.serve_forever()


async def main(port: int, tokens: int, pause_ms: float) -> None:
    stream = Stream(HEAD, lambda number: CHUNK % number, END % tokens)
    await serve(port, lambda _path: stream, tokens=tokens, pause_s=pause_ms / 1000)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
