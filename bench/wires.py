"""Measure each wire to vendors alone: CPU per token at 50 streams, and what a long chat costs with a prompt cache."""

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import httpx
import orjson

from bench.provider import Stream, serve
from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.anthropic import Anthropic
from tertulia.providers.cohere import Cohere
from tertulia.providers.errors import ProviderError
from tertulia.providers.google import Google
from tertulia.providers.ollama import Ollama
from tertulia.providers.openai_compatible import OpenAICompatible
from tertulia.providers.openai_responses import OpenAIResponses
from tertulia.providers.protocol import ListingProvider, ModelRequest, RequestMessage, TextDelta
from tertulia.providers.wire import Wire

STREAMS = 50
TOKENS = 400
PAUSE_S = 0.02
TURNS = 40
WORDS = "A message of ordinary length, as people and models write them to one another. " * 8
READ, WRITTEN = 0.1, 1.25  # prices of cached tokens at Anthropic, where other input tokens cost 1
WIRES: dict[str, Callable[[Wire], ListingProvider]] = {
    "chat completions": OpenAICompatible,
    "responses": lambda wire: OpenAIResponses(wire, OpenAICompatible(wire)),
    "anthropic": Anthropic,
    "google": Google,
    "ollama": Ollama,
    "cohere": Cohere,
}


def _sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in events)


# The beginning, one token and the end of a stream, by the end of its path.
STREAMED: dict[str, tuple[bytes, bytes, bytes]] = {
    "/chat/completions": (
        b"",
        b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    ),
    "/responses": (
        _sse({"type": "response.created", "response": {"object": "response", "error": None}}),
        _sse({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "word "}),
        _sse({"type": "response.completed", "response": {"status": "completed", "output": []}}),
    ),
    "/messages": (
        _sse(
            {"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        ),
        _sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word "}}),
        _sse(
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": TOKENS}},
            {"type": "message_stop"},
        ),
    ),
    "/api/chat": (
        b"",
        b'{"model":"m","created_at":"2026-11-28T12:00:00Z","message":{"role":"assistant","content":"word "},"done":false}\n',
        b'{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"}\n',
    ),
    ":streamGenerateContent?alt=sse": (
        b"",
        b'data: {"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"word "}]}}],'
        b'"usageMetadata":{"promptTokenCount":10},"modelVersion":"m","responseId":"r"}\n\n',
        b'data: {"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":""}]},"finishReason":"STOP"}],'
        b'"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":400}}\n\n',
    ),
    "/chat": (  # after `/api/chat`, which ends with it
        b"",
        b'event: content-delta\ndata: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"word "}}}}\n\n',
        b'event: message-end\ndata: {"type":"message-end","delta":{"finish_reason":"COMPLETE"}}\n\n',
    ),
}


def stream_of(path: str) -> Stream:
    """Return the stream of a wire by the end of its path."""
    begin, token, end = next(parts for ending, parts in STREAMED.items() if path.endswith(ending))
    kind = b"application/x-ndjson" if path.endswith("/api/chat") else b"text/event-stream"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nConnection: close\r\n\r\n" % kind
    return Stream(head + begin, lambda _number: token, end)


def cpu_us_per_token(port: int) -> dict[str, tuple[float, float]]:
    """Return the CPU microseconds per token of each wire, and the milliseconds to the first token of the median stream."""
    return {name: asyncio.run(_measure(port, make)) for name, make in WIRES.items()}


async def _measure(port: int, make: Callable[[Wire], ListingProvider]) -> tuple[float, float]:
    request = ModelRequest("m", (RequestMessage("user", "go on"),), max_tokens=None)
    firsts: list[float] = []

    async def read(adapter: ListingProvider) -> int:
        began, count = time.perf_counter(), 0
        async for events in adapter.stream(request):
            words = sum(isinstance(event, TextDelta) for event in events)
            if words and not count:
                firsts.append(time.perf_counter() - began)
            count += words
        return count

    async with operator_client(Timeouts()) as client:
        headers = {"Content-Type": "application/json"}
        adapter = make(Wire("bench", f"http://127.0.0.1:{port}", headers, client, Timeouts()))
        await read(adapter)  # what is only loaded once is loaded now
        firsts.clear()
        used = time.process_time()
        counts = await asyncio.gather(*(read(adapter) for _ in range(STREAMS)))
        used = time.process_time() - used
    assert counts == [TOKENS] * STREAMS, counts
    return used / (STREAMS * TOKENS) * 1e6, sorted(firsts)[STREAMS // 2] * 1000


def cost_of_long_chat() -> tuple[float, float]:
    """Return the price of the input of a chat of 40 turns at Anthropic without and with its cache, in uncached tokens.

    A token has four characters. What is before a mark of one request is written, and read by the next.
    """
    plain = cached = 0.0
    known = ""
    for body in asyncio.run(_bodies_in_turns()):
        blocks = [*body["system"], *(block for message in body["messages"] for block in message["content"])]
        marks = [bool(block.pop("cache_control", None)) for block in blocks]
        texts = [orjson.dumps(block).decode() for block in blocks]
        whole, marked = "".join(texts), "".join(texts[: len(marks) - marks[::-1].index(True)])
        read = len(known) if whole.startswith(known) else 0
        plain += len(whole) / 4
        cached += (read * READ + (len(marked) - read) * WRITTEN + len(whole) - len(marked)) / 4
        known = marked
    return plain, cached


async def _bodies_in_turns() -> list[Any]:
    """Return the requests of a chat, none of which is answered."""
    bodies: list[Any] = []

    def keep(request: httpx.Request) -> NoReturn:
        bodies.append(orjson.loads(request.content))
        raise httpx.ConnectError("kept instead of sent")

    messages = [RequestMessage("system", WORDS)]
    async with httpx.AsyncClient(transport=httpx.MockTransport(keep)) as client:
        adapter = Anthropic(Wire("bench", "http://bench", {}, client, Timeouts()))
        for _ in range(TURNS):
            messages.append(RequestMessage("user", WORDS))
            with suppress(ProviderError):
                await anext(adapter.stream(ModelRequest("m", tuple(messages), max_tokens=None)))
            messages.append(RequestMessage("assistant", WORDS))
    return bodies


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), stream_of, tokens=TOKENS, pause_s=PAUSE_S))
