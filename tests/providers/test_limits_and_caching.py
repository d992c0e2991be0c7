"""Test how long a reply may be by default, what a refusal teaches about it, and where Anthropic's cache is marked."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from typing_extensions import override

from tertulia import clock
from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.anthropic import Anthropic
from tertulia.providers.errors import RequestRefused
from tertulia.providers.openai_compatible import OpenAICompatible
from tertulia.providers.openai_responses import OpenAIResponses
from tertulia.providers.prices import cost_of, savings_of_cache
from tertulia.providers.protocol import ModelRequest, Provider, RequestMessage, ToolCall, ToolSpec, Usage
from tertulia.providers.refusals import RefusedParameters
from tertulia.providers.vendors import BY_ID
from tertulia.providers.wire import Wire
from tests.fakes.raw_provider import RawProvider
from tests.fakes.vendor_wires import ANTHROPIC, RESPONSES, encode, plain

REQUEST = ModelRequest("m", (RequestMessage("user", "Hi"),), max_tokens=None)
MARK = {"cache_control": {"type": "ephemeral"}}
Kind = type[OpenAICompatible | OpenAIResponses | Anthropic]
MAKERS: dict[Kind, Callable[[Wire, RefusedParameters], Provider]] = {
    OpenAICompatible: lambda wire, refused: OpenAICompatible(wire, refused=refused),
    OpenAIResponses: lambda wire, refused: OpenAIResponses(wire, OpenAICompatible(wire, refused=refused), refused),
    Anthropic: Anthropic,
}
STREAMS: dict[Kind, list[Any]] = {OpenAICompatible: plain(), OpenAIResponses: RESPONSES, Anthropic: ANTHROPIC}


class Limited(RawProvider):
    """Refuses a reply that may be longer than `longest`, with a vendor's words, and cache marks if told to."""

    def __init__(self, kind: Kind, words: str, longest: int, *, refuses_marks: bool = False) -> None:
        super().__init__()
        self._stream = encode(STREAMS[kind])
        self._words, self._longest, self._refuses_marks = words, longest, refuses_marks

    @override
    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = self.requests[-1]
        wanted = body.get("max_tokens") or body.get("max_output_tokens") or 0
        refusal = self._words.format(wanted) if wanted > self._longest else ""
        if self._refuses_marks and "cache_control" in json.dumps(body):
            refusal = "system.0.cache_control: Extra inputs are not permitted"
        self.status = 400 if refusal else 200
        self.headers = {"Content-Type": "application/json" if refusal else "text/event-stream"}
        self.pieces = [json.dumps({"error": {"message": refusal}}).encode() if refusal else self._stream]
        super().answer(handler)


def requests_of(provider: RawProvider, kind: Kind, *requests: ModelRequest) -> list[Any]:
    async def main() -> None:
        async with operator_client(Timeouts()) as client:
            wire, refused = Wire("Server", provider.url, {}, client, Timeouts()), RefusedParameters()
            adapter = MAKERS[kind](wire, refused)
            for request in requests:
                async for _ in adapter.stream(request):
                    pass

    try:
        asyncio.run(main())
    finally:
        provider.close()
    return provider.requests


def body_of(request: ModelRequest) -> Any:
    """Return what is sent to Anthropic."""
    (body,) = requests_of(Limited(Anthropic, "", 10**9), Anthropic, request)
    return body


@pytest.mark.parametrize(
    ("model", "room", "longest"),
    [
        ("claude-3-opus-20240229", None, 4096),
        ("claude-3-5-haiku-latest", None, 8192),
        ("claude-3-7-sonnet-20250219", None, 64_000),
        ("claude-opus-4-20250514", None, 32_000),
        ("claude-opus-4-1", None, 32_000),
        ("claude-opus-4-5-20251101", None, 64_000),
        ("claude-sonnet-4-5", None, 64_000),
        ("claude-opus-4-6", None, 128_000),
        ("claude-opus-5", None, 128_000),
        ("claude-opus-5", 100_000, 100_000),
        ("claude-opus-5", 0, 1),
    ],
)
def test_a_reply_may_be_as_long_as_the_model_and_the_window_allow(model: str, room: int | None, longest: int) -> None:
    assert body_of(replace(REQUEST, model_name=model, room=room))["max_tokens"] == longest


def test_a_limit_of_the_chat_is_sent_as_it_is() -> None:
    assert body_of(replace(REQUEST, max_tokens=77, room=50))["max_tokens"] == 77


@pytest.mark.parametrize("kind", [OpenAICompatible, OpenAIResponses])
def test_other_wires_send_no_limit_by_themselves(kind: Kind) -> None:
    (body,) = requests_of(Limited(kind, "", 0), kind, REQUEST)
    assert body.keys().isdisjoint({"max_tokens", "max_completion_tokens", "max_output_tokens"})


WORDS = {
    Anthropic: "max_tokens: {} > 64000, which is the maximum allowed number of output tokens for claude-new-5-1",
    OpenAICompatible: "max_tokens is too large: {}. This model supports at most 64000 completion tokens.",
    OpenAIResponses: "max_output_tokens must be less than or equal to 64000",
}


@pytest.mark.parametrize("kind", WORDS)
def test_the_longest_reply_of_a_model_is_learned_from_its_refusal(kind: Kind) -> None:
    request = replace(REQUEST, max_tokens=None if kind is Anthropic else 100_000)
    bodies = requests_of(Limited(kind, WORDS[kind], 64_000), kind, request, request)
    name = "max_output_tokens" if kind is OpenAIResponses else "max_tokens"
    first = 128_000 if kind is Anthropic else 100_000
    assert [body[name] for body in bodies] == [first, 64_000, 64_000]


@pytest.mark.parametrize(
    ("words", "wanted", "longest"),
    [
        ("max_tokens: 100000 > 64000, the maximum for claude-x-6-20270115", 100_000, 64_000),
        ("max_tokens: 100000 > 64000, the maximum for claude-x-6-2027", 100_000, 64_000),
        ("max_tokens is too large: 100000. At most 16,384 are possible", 100_000, 16_384),
    ],
)
def test_the_limit_is_told_apart_from_other_numbers(words: str, wanted: int, longest: int) -> None:
    request = replace(REQUEST, max_tokens=wanted)
    bodies = requests_of(Limited(Anthropic, words, longest), Anthropic, request)
    assert [body["max_tokens"] for body in bodies] == [wanted, longest]


def test_a_refusal_that_names_no_smaller_limit_is_told() -> None:
    provider = Limited(OpenAICompatible, "max_tokens is too large: {}", 50)
    with pytest.raises(RequestRefused, match="too large"):
        requests_of(provider, OpenAICompatible, replace(REQUEST, max_tokens=100))
    assert len(provider.requests) == 1


LONG = replace(
    REQUEST,
    messages=(
        RequestMessage("system", "Be kind."),
        RequestMessage("user", "First"),
        RequestMessage("assistant", "Yes"),
        RequestMessage("user", "Look", images=("data:image/png;base64,iVBORw0KGgo=",)),
        RequestMessage("assistant", "", tool_calls=(ToolCall("c1", "a", "{}"), ToolCall("c2", "b", "{}"))),
        RequestMessage("tool", "one", tool_call_id="c1"),
        RequestMessage("tool", "two", tool_call_id="c2"),
    ),
    tools=(ToolSpec("a", "A", {"type": "object"}), ToolSpec("b", "B", {"type": "object"})),
)


def marked(body: Any) -> list[str]:
    """Return what is marked, as text."""
    places = [block for block in body["system"] if "cache_control" in block]
    places += [tool for tool in body["tools"] if "cache_control" in tool]
    places += [block for message in body["messages"] for block in message["content"] if "cache_control" in block]
    assert all(block.items() >= MARK.items() for block in places)
    return [str(block.get("text") or block.get("name") or block.get("content")) for block in places]


def test_the_cache_is_marked_after_the_system_the_tools_and_the_last_two_turns() -> None:
    assert marked(body_of(LONG)) == ["Be kind.", "b", "Look", "two"]


def test_the_marks_move_on_and_everything_before_them_stays() -> None:
    def without_marks(body: Any) -> list[str]:
        text = json.dumps([body["tools"], body["system"]]), *map(json.dumps, body["messages"])
        return [part.replace(', "cache_control": {"type": "ephemeral"}', "") for part in text]

    longer = (*LONG.messages, RequestMessage("assistant", "Done"), RequestMessage("user", "Thanks"))
    first, second = body_of(LONG), body_of(replace(LONG, messages=longer))
    assert without_marks(second)[: len(without_marks(first))] == without_marks(first)
    assert marked(second)[2:] == ["two", "Thanks"]


def test_a_server_that_refuses_the_marks_is_asked_without_them() -> None:
    bodies = requests_of(Limited(Anthropic, "", 10**9, refuses_marks=True), Anthropic, LONG, LONG)
    assert ["cache_control" in json.dumps(body) for body in bodies] == [True, False, False]


@pytest.mark.parametrize(
    ("usage", "is_saved"),
    [
        (Usage(10_000, 100, cached_tokens=9000), True),
        (Usage(10_000, 100, cache_write_tokens=9000), False),  # writing costs more than plain input
        (Usage(10_000, 100), None),
    ],
)
def test_the_savings_of_a_cache_are_the_difference_to_the_price_without_it(usage: Usage, is_saved: bool | None) -> None:
    vendor, at = BY_ID["anthropic"], clock.now()
    cost = cost_of(vendor, "claude-sonnet-4-5", usage, at=at)
    savings = savings_of_cache(vendor, "claude-sonnet-4-5", usage, cost, at=at)
    without = cost_of(vendor, "claude-sonnet-4-5", Usage(10_000, 100), at=at)
    assert savings is not None
    assert cost is not None
    assert cost + savings == without
    assert (savings > 0, savings < 0) == (is_saved is True, is_saved is False)


def test_savings_are_unknown_where_the_price_is() -> None:
    vendor = BY_ID["huggingface"]
    assert savings_of_cache(vendor, "m", Usage(10, 1, cached_tokens=5), None, at=clock.now()) is None
