"""Test that a reply of Anthropic that pauses during long searches is continued, and counted as one."""

import asyncio
import json
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from typing_extensions import override

from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.anthropic import MAX_PAUSES, Anthropic
from tertulia.providers.errors import MalformedReply, RequestRefused
from tertulia.providers.protocol import (
    Citation,
    Finish,
    ModelRequest,
    ProviderEvent,
    RequestMessage,
    TextDelta,
    TurnEcho,
    Usage,
)
from tertulia.providers.wire import Wire
from tests.fakes.raw_provider import RawProvider

THOUGHT = {"type": "thinking", "thinking": "Search first.", "signature": "signed"}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "yeast"}}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [{"type": "web_search_result", "url": "https://a.example/", "encrypted_content": "x"}],
}
NOTE = {"type": "web_search_result_location", "url": "https://a.example/", "title": "A", "encrypted_index": "i"}


class Pausing(RawProvider):
    """Pauses after each of the given contents but the last, and refuses a turn that does not come back as it was."""

    def __init__(self, *contents: list[dict[str, Any]], is_stream: bool = True) -> None:
        super().__init__()
        self._contents = contents
        self._is_stream = is_stream

    @override
    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        question, *turns = self.requests[-1]["messages"]
        assert question["role"] == "user"
        expected = [{"role": "assistant", "content": content} for content in self._contents[: len(turns)]]
        self.status = 200 if turns == expected else 400
        self.headers = {"Content-Type": "text/event-stream" if self._is_stream else "application/json"}
        content = self._contents[min(len(turns), len(self._contents) - 1)]
        reason = "end_turn" if len(turns) == len(self._contents) - 1 else "pause_turn"
        usage = {"input_tokens": 10, "output_tokens": 5, "server_tool_use": {"web_search_requests": 1}}
        if self.status == 400:
            self.pieces = [b'{"error": {"message": "the content of the paused turn was changed"}}']
        elif self._is_stream:
            self.pieces = [f"data: {json.dumps(event)}\n\n".encode() for event in events_of(content, reason, usage)]
        else:
            self.pieces = [
                json.dumps({"type": "message", "content": content, "stop_reason": reason, "usage": usage}).encode()
            ]
        super().answer(handler)


def events_of(content: list[dict[str, Any]], reason: str, usage: dict[str, Any]) -> Iterable[dict[str, Any]]:
    yield {"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}}
    for index, block in enumerate(content):
        empty: dict[str, dict[str, Any]] = {
            "text": {"text": "", "citations": []},
            "thinking": {"thinking": "", "signature": ""},
            "server_tool_use": {"input": {}},
        }
        yield {"type": "content_block_start", "index": index, "content_block": block | empty.get(block["type"], {})}
        match block:
            case {"type": "text", "text": str(text)}:
                yield delta(index, {"type": "text_delta", "text": text})
                for note in block.get("citations", ()):
                    yield delta(index, {"type": "citations_delta", "citation": note})
            case {"type": "thinking", "thinking": str(text), "signature": str(signature)}:
                yield delta(index, {"type": "thinking_delta", "thinking": text})
                yield delta(index, {"type": "signature_delta", "signature": signature})
            case {"type": "server_tool_use", "input": dict(given)}:
                yield delta(index, {"type": "input_json_delta", "partial_json": json.dumps(given)})
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}
    yield {"type": "message_stop"}


def delta(index: int, change: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": change}


def ask(provider: RawProvider) -> list[ProviderEvent]:
    request = ModelRequest(
        "claude-opus-5", (RequestMessage("user", "Why does bread rise?"),), max_tokens=4000, web_search=True
    )

    async def main() -> list[ProviderEvent]:
        async with operator_client(Timeouts()) as client:
            adapter = Anthropic(Wire("Anthropic", provider.url, {}, client, Timeouts(), vendor_id="anthropic"))
            return [event async for events in adapter.stream(request) for event in events]

    try:
        return asyncio.run(main())
    finally:
        provider.close()


def text(words: str, *notes: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": words} | ({"citations": list(notes)} if notes else {})


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_paused_reply_is_continued_and_counted_as_one(is_stream: bool) -> None:
    provider = Pausing(
        [THOUGHT, SEARCH, FOUND, text("Yeast makes gas. ", NOTE)],
        [SEARCH, FOUND],
        [text("So it rises.", NOTE)],
        is_stream=is_stream,
    )
    events = ask(provider)
    assert len(provider.requests) == 3
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Yeast makes gas. ", "So it rises."]
    assert [event for event in events if isinstance(event, Citation)] == [
        Citation("https://a.example/", "A", "Yeast makes gas. "),
        Citation("https://a.example/", "A", "So it rises."),
    ]
    counts = [event for event in events if isinstance(event, Usage)]
    assert counts[-1] == Usage(30, 15, web_searches=3)
    assert sum(count.is_final for count in counts) == 1
    assert [event for event in events if isinstance(event, Finish)] == [Finish("stop")]
    (echo,) = [event.value for event in events if isinstance(event, TurnEcho)]
    kinds = ["thinking", "server_tool_use", "web_search_tool_result", "text"]
    assert [block["type"] for block in echo] == [*kinds, *kinds[1:3], "text"]
    assert [block["length"] for block in echo if block["type"] == "text"] == [17, 12]


def test_a_reply_that_pauses_without_an_end_is_an_error() -> None:
    provider = Pausing(*[[text("Again. ")]] * (MAX_PAUSES + 2))
    with pytest.raises(MalformedReply, match=f"paused the reply {MAX_PAUSES} times"):
        ask(provider)
    assert len(provider.requests) == MAX_PAUSES + 1


class Refusing(Pausing):
    """Refuses to go on, for a reason that could be avoided in another request."""

    @override
    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if len(self.requests) == 1:
            super().answer(handler)
            return
        self.status, self.headers = 400, {"Content-Type": "application/json"}
        self.pieces = [b'{"error": {"message": "cache_control: Extra inputs are not permitted"}}']
        RawProvider.answer(self, handler)


def test_a_refusal_after_a_pause_does_not_repeat_the_reply() -> None:
    provider = Refusing([text("Yeast. ")], [text("End.")])
    with pytest.raises(RequestRefused):
        ask(provider)
    assert len(provider.requests) == 2
