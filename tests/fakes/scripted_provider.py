"""A provider that speaks OpenAI's wire format over real HTTP and plays a script.

Without a script it answers `You said: …` in pieces. A script is a list of steps. Each request takes the next script.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Reasoning:
    text: str


@dataclass(frozen=True)
class Call:
    """A tool call. `arguments` is JSON text, or an object that becomes JSON text."""

    name: str
    arguments: Any = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True)
class Pause:
    """A delay, as of a slow model."""

    seconds: float


@dataclass(frozen=True)
class Hold:
    """A wait until the test calls `release()`."""


@dataclass(frozen=True)
class Status:
    """An error instead of a stream."""

    code: int
    message: str = "no"
    error_code: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: Any = None  # replaces OpenAI's error format


@dataclass(frozen=True)
class Raw:
    """Raw bytes, for data that no provider should send."""

    data: bytes


@dataclass(frozen=True)
class Reset:
    """A broken connection."""


@dataclass(frozen=True)
class Finish:
    reason: str = "stop"
    prompt_tokens: int = 7
    completion_tokens: int = 5
    usage: bool = True


Step = Text | Reasoning | Call | Pause | Hold | Status | Raw | Reset | Finish


def words(count: int, *, pause_s: float = 0.0) -> list[Step]:
    """Return a reply of numbered words, so that a missing or repeated one is visible."""
    steps: list[Step] = []
    for number in range(count):
        steps.append(Text(f"w{number} "))
        if pause_s:
            steps.append(Pause(pause_s))
    return [*steps, Finish()]


@dataclass
class ScriptedProvider:
    """Runs in its own thread, on its own port."""

    models: list[str] = field(default_factory=lambda: ["scripted", "scripted-2"])
    requests: list[dict[str, Any]] = field(default_factory=list)
    shown: dict[str, Any] = field(default_factory=dict)  # what Ollama's /api/show says, by model
    calls: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # method, path, headers
    default: Sequence["Step"] | None = None  # played when no script is queued; None echoes
    listing: Any = None  # answers GET instead of `models` in OpenAI's format
    open_streams: int = 0

    def __post_init__(self) -> None:
        self._scripts: deque[Sequence[Step]] = deque()
        self._called = 0
        self._for_content: dict[str, Sequence[Step]] = {}
        self._loop = asyncio.new_event_loop()
        self._released = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scripted-provider", daemon=True)
        self._thread.start()
        assert self._ready.wait(30)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def play(self, *scripts: Sequence[Step]) -> None:
        """Queue scripts, one for each coming request."""
        self._released.clear()
        self._scripts.extend(scripts)

    def play_for(self, content: str, script: Sequence[Step]) -> None:
        """Set the script of the next request whose last message is `content` or ends with it, regardless of other requests."""
        self._for_content[content] = script

    def release(self) -> None:
        self._released.set()

    def close(self) -> None:
        self._released.set()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._handlers: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        # More than once: a socket accepted just now becomes a connection only in a later loop iteration.
        for _ in range(5):
            for _ in range(3):
                await asyncio.sleep(0)
            for handler in list(self._handlers):
                handler.cancel()
            await asyncio.gather(*self._handlers, return_exceptions=True)
            # A connection whose peer is gone may still be closing: abort all, and let the loop finish them.
            for writer in list(self._writers):
                with suppress(AttributeError):  # asyncio raises it if the transport is already closed
                    writer.transport.abort()
            for _ in range(5):
                await asyncio.sleep(0)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Register the connection before its task starts, because a task may be cancelled before it begins."""
        self._writers.add(writer)
        handler = self._loop.create_task(self._accept(reader, writer))
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            request_line, *header_lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in header_lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            method, path, _ = request_line.split(" ", 2)
            self.calls.append((method, path, headers))
            if method == "GET":
                listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
                await self._whole(writer, 200, listed if self.listing is None else self.listing)
            elif path.endswith("/count_tokens"):  # about four characters per token
                said = json.loads(body)["messages"][0]["content"]
                await self._whole(writer, 200, {"input_tokens": len(said) // 4})
            elif path == "/api/show":
                shown = self.shown.get(json.loads(body)["model"])
                await self._whole(writer, 200 if shown else 404, shown or {"error": "model not found"})
            else:
                self.requests.append(json.loads(body) | {"_authorization": headers.get("authorization")})
                await self._stream(writer, self._next_script(), is_lines=path == "/api/chat")
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _next_script(self) -> Sequence[Step]:
        said = self._last_message()["content"]
        # Messages of a person that follow each other arrive as one.
        last = said.rpartition("\n\n")[2] if isinstance(said, str) else None
        if last in self._for_content:
            return self._for_content.pop(last)
        return self._scripts.popleft() if self._scripts else self.default or self._echo()

    def _last_message(self) -> dict[str, Any]:
        request = self.requests[-1]
        last: dict[str, Any] = (request.get("messages") or request.get("contents") or request["input"])[-1]
        return last | {"content": last.get("content")}

    def _echo(self) -> list[Step]:
        said = self._last_message()["content"]
        answer = f"You said: {said}"
        return [*(Text(answer[at : at + 5]) for at in range(0, len(answer), 5)), Finish()]

    async def _stream(self, writer: asyncio.StreamWriter, script: Sequence[Step], *, is_lines: bool) -> None:
        if script and isinstance(script[0], Status):
            status = script[0]
            error: Any = {"error": {"message": status.message, "code": status.error_code, "type": "error"}}
            if status.body is not None:
                error = status.body
            await self._whole(writer, status.code, error, status.headers)
            return
        kind = b"application/x-ndjson" if is_lines else b"text/event-stream"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nConnection: close\r\n\r\n" % kind)
        self.open_streams += 1
        try:
            for step in script:
                if await self._play_step(writer, step):
                    return
                await writer.drain()
            if not is_lines:
                writer.write(b"data: [DONE]\n\n")
            await writer.drain()
        finally:
            self.open_streams -= 1

    async def _play_step(self, writer: asyncio.StreamWriter, step: Step) -> bool:
        """Send a step, and return whether the connection must end."""
        match step:
            case Text(text):
                writer.write(_chunk({"content": text}))
            case Reasoning(text):
                writer.write(_chunk({"reasoning_content": text}))
            case Call():
                self._called += 1
                arguments = step.arguments if isinstance(step.arguments, str) else json.dumps(step.arguments)
                function = {"name": step.name, "arguments": arguments}
                call = {"index": self._called, "id": step.id or f"call_{self._called}", "type": "function"}
                writer.write(_chunk({"tool_calls": [call | {"function": function}]}))
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Hold():
                while not self._released.is_set() and not writer.is_closing():
                    writer.write(b": held\n\n")
                    await writer.drain()
                    await asyncio.sleep(0.02)
            case Raw(data):
                writer.write(data)
            case Reset():
                writer.transport.abort()
                return True
            case Finish():
                writer.write(_chunk({}, step.reason))
                if step.usage:
                    total = step.prompt_tokens + step.completion_tokens
                    usage = {
                        "prompt_tokens": step.prompt_tokens,
                        "completion_tokens": step.completion_tokens,
                        "total_tokens": total,
                    }
                    writer.write(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n")
            case Status():
                raise AssertionError("a Status must be the only step")
        return False

    async def _whole(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        body: object,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        encoded = json.dumps(body).encode()
        extra = "".join(f"{name}: {value}\r\n" for name, value in headers)
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{extra}Content-Length: {len(encoded)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + encoded)
        await writer.drain()


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"
