"""Measure concurrent replies: CPU per token, and the time that the server adds to the provider's."""

import asyncio
import time
from dataclasses import dataclass, field

import orjson

from bench.load import cpu_seconds, request_bytes
from bench.provider import HEAD

TOKENS = 400
PAUSE_MS = 20.0  # 50 tokens a second


@dataclass
class Reply:
    """One reply as its reader received it. Times are seconds from the request."""

    first_s: float = 0.0
    end_s: float = 0.0
    tokens: int = 0
    frames: int = 0
    size_bytes: int = 0
    failure: str | None = None


@dataclass
class Streaming:
    replies: list[Reply]
    direct: list[Reply]
    cpu_us_per_token: float
    # Milliseconds of concurrent calls: until every reply has its first token, and from then on.
    beside_beginning: dict[str, list[float]] = field(default_factory=dict)
    beside_streaming: dict[str, list[float]] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        return sum(TOKENS - reply.tokens for reply in self.replies)

    @property
    def failed(self) -> int:
        return sum(reply.failure is not None for reply in self.replies)


@dataclass(frozen=True)
class Asker:
    token: str
    chat_id: str


async def ask(port: int, asker: Asker) -> Reply:
    """Send a message and follow the run to its end."""
    reply = Reply()
    began = time.perf_counter()
    try:
        body = b'{"content": "go on"}'
        sent = await call(port, request_bytes("POST", f"/api/v1/chats/{asker.chat_id}/messages", asker.token, body))
        run_id = orjson.loads(sent)["run"]["id"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
        writer.write(request_bytes("GET", f"/api/v1/runs/{run_id}/events", asker.token))
        await reader.readuntil(b"\r\n\r\n")
        text: list[str] = []
        while line := await reader.readline():
            reply.size_bytes += len(line)
            if not line.startswith(b"data: "):
                continue
            reply.frames += 1
            event = orjson.loads(line[6:])
            if event["type"] == "message.reset":
                text.clear()
            elif event["type"] == "text.delta":
                reply.first_s = reply.first_s or time.perf_counter() - began
                text.append(event["text"])
            elif event["type"] in ("run.finished", "run.failed"):
                reply.failure = event.get("code")
                break
        writer.close()
        words = "".join(text).split()
        reply.tokens = sum(word == f"tok{number:04d}" for number, word in enumerate(words))
    except (OSError, RuntimeError, asyncio.IncompleteReadError) as error:
        reply.failure = type(error).__name__
    reply.end_s = time.perf_counter() - began
    return reply


async def ask_directly(port: int) -> Reply:
    reply = Reply()
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
    await reader.readexactly(len(HEAD))
    while line := await reader.readline():
        if b'"content"' in line:
            reply.first_s = reply.first_s or time.perf_counter() - began
            reply.tokens += 1
    writer.close()
    reply.end_s = time.perf_counter() - began
    return reply


def relay_bare(pid: int, port: int, count: int) -> float:
    """Return the CPU microseconds per token of a relay that only passes bytes on."""

    async def main() -> float:
        before = cpu_seconds(pid)
        replies = await asyncio.gather(*(ask_directly(port) for _ in range(count)))
        return (cpu_seconds(pid) - before) / sum(reply.tokens for reply in replies) * 1e6

    return asyncio.run(main())


async def call(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    body = await reader.readexactly(length)
    writer.close()
    if b" 20" not in head[:15]:
        raise RuntimeError(body.decode())
    return body


async def _beside(
    port: int, request: bytes, until: asyncio.Event, took: list[tuple[float, float]], pause_s: float
) -> None:
    while not until.is_set():
        began = time.perf_counter()
        await call(port, request)
        took.append((began, (time.perf_counter() - began) * 1000))
        await asyncio.sleep(pause_s)


def stream(
    pid: int, port: int, provider_port: int, askers: list[Asker], other_calls: dict[str, bytes] | None = None
) -> Streaming:
    """Run all replies at once and, if given, other calls at an even pace meanwhile."""

    async def main() -> Streaming:
        direct = await asyncio.gather(*(ask_directly(provider_port) for _ in askers))
        is_over = asyncio.Event()
        others: dict[str, list[tuple[float, float]]] = {name: [] for name in other_calls or {}}
        calls = [
            asyncio.create_task(_beside(port, request, is_over, others[name], 0.02))
            for name, request in (other_calls or {}).items()
        ]
        before, began = cpu_seconds(pid), time.perf_counter()
        replies = await asyncio.gather(*(ask(port, asker) for asker in askers))
        spent = cpu_seconds(pid) - before
        is_over.set()
        await asyncio.gather(*calls)
        tokens = sum(reply.tokens for reply in replies) or 1
        all_begun = began + max(reply.first_s for reply in replies)
        phases = (
            {name: [ms for at, ms in took if at < all_begun] for name, took in others.items()},
            {name: [ms for at, ms in took if at >= all_begun] for name, took in others.items()},
        )
        return Streaming(list(replies), list(direct), spent / tokens * 1e6, *phases)

    return asyncio.run(main())


def listen_idly(pid: int, port: int, tokens: list[str], change: bytes) -> tuple[float, float]:
    """Open an event stream per token. Return KiB of memory per stream, and CPU ms of a change sent to ten of them."""

    async def main() -> tuple[float, float]:
        before = resident_kib(pid)
        writers = []
        for token in tokens:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_bytes("GET", "/api/v1/events", token))
            await reader.readuntil(b"event: ready")
            writers.append(writer)
        await asyncio.sleep(1)
        each = (resident_kib(pid) - before) / len(tokens)
        spent = cpu_seconds(pid)
        for _ in range(50):
            await call(port, change)
        await asyncio.sleep(0.5)
        cpu_ms = (cpu_seconds(pid) - spent) / 50 * 1000
        for writer in writers:
            writer.close()
        return each, cpu_ms

    return asyncio.run(main())


def resident_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
