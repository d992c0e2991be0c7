"""Test that servers that deviate from the wire give a whole reply, or one error that says what is wrong."""

import asyncio
import gzip
import json
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.adapters import check_base_url
from tertulia.providers.anthropic import Anthropic
from tertulia.providers.errors import (
    ContextTooLong,
    MalformedReply,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    RequestRefused,
)
from tertulia.providers.event_stream import MAX_EVENT_BYTES, EventDecoder, EventTooLarge
from tertulia.providers.openai_compatible import Dialect, OpenAICompatible
from tertulia.providers.protocol import (
    Finish,
    ModelRequest,
    ProviderEvent,
    ReasoningDelta,
    RequestMessage,
    TextDelta,
    TextWasThought,
    ToolCall,
    TurnEcho,
    Usage,
)
from tertulia.providers.refusals import RefusedParameters
from tertulia.providers.thoughts import ThoughtReader
from tertulia.providers.wire import Wire
from tests.fakes.raw_provider import RawProvider
from tests.fakes.vendor_wires import chunk

SECRET = "sk-secret-key"
REQUEST = ModelRequest("m", (RequestMessage("user", "Hi"),), max_tokens=100)


@pytest.fixture
def raw() -> Iterator[RawProvider]:
    provider = RawProvider()
    yield provider
    provider.close()


def ask(
    raw: RawProvider,
    *pieces: bytes,
    request: ModelRequest = REQUEST,
    kind: type[OpenAICompatible | Anthropic] = OpenAICompatible,
    secret: str = SECRET,
) -> list[ProviderEvent]:
    """Return the events of one reply, in which texts and thoughts are joined."""
    raw.pieces = pieces

    async def main() -> list[ProviderEvent]:
        async with operator_client(Timeouts()) as client:
            adapter = kind(Wire("Server", raw.url, {"Content-Type": "application/json"}, client, Timeouts(), secret))
            return [event async for events in adapter.stream(request) for event in events]

    return joined(asyncio.run(main()))


def joined(events: Sequence[ProviderEvent]) -> list[ProviderEvent]:
    result: list[ProviderEvent] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            result[-1] = TextDelta(last.text + event.text)
        elif isinstance(event, ReasoningDelta) and isinstance(last, ReasoningDelta):
            result[-1] = ReasoningDelta(last.text + event.text)
        else:
            result.append(event)
    return result


def sse(*events: Any, newline: str = "\n", done: bool = True) -> bytes:
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    texts += ["[DONE]"] if done else []
    return "".join(f"data: {text}{newline}{newline}" for text in texts).encode()


WORDS = [chunk({"role": "assistant", "content": ""}), chunk({"content": "All "}), chunk({"content": "is said."})]
SAID: list[ProviderEvent] = [TextDelta("All is said."), Finish("stop")]
STREAM = sse(*WORDS, chunk({}, "stop"))


@pytest.mark.parametrize(
    "body",
    [
        STREAM,
        STREAM.replace(b"\n", b"\r\n"),
        STREAM.replace(b"\n", b"\r"),
        STREAM.replace(b"data: ", b"data:"),
        STREAM.replace(b"\n\n", b"\n"),  # no empty lines
        b"\xef\xbb\xbf" + STREAM,
        b": WAITING\n\n: WAITING\n\nevent: message\nid: 1\nretry: 10\n" + STREAM,
        STREAM.removesuffix(b"\n\n"),
        "".join(
            "".join(f"data: {line}\n" for line in json.dumps(event, indent=1).split("\n")) + "\n"
            for event in [*WORDS, chunk({}, "stop")]
        ).encode()
        + b"data: [DONE]\n\n",
    ],
    ids=["LF", "CRLF", "CR", "no space", "no empty lines", "mark", "comments", "no end", "several lines"],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_event_streams_are_read_by_the_specification(raw: RawProvider, body: bytes, size: int) -> None:
    raw.framing = "chunked"
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert ask(raw, *pieces) == SAID


@given(
    cuts=st.lists(st.integers(0, 2000), max_size=30), newline=st.sampled_from(["\n", "\r\n", "\r"]), seed=st.integers()
)
def test_any_split_gives_the_same_events(cuts: list[int], newline: str, seed: int) -> None:
    pick = random.Random(seed)
    objects = [{"n": number, "text": "x" * pick.randrange(40), "line": "a\nb"} for number in range(8)]
    lines = []
    for item in objects:
        indent = pick.choice([None, 1])
        lines += [pick.choice([": comment", "id: 3", "event: message"])] * pick.randrange(2)
        lines += [f"data:{pick.choice(['', ' '])}{line}" for line in json.dumps(item, indent=indent).split("\n")] + [""]
    body = "".join(f"{line}{newline}" for line in lines).encode()
    decoder = EventDecoder()
    edges = sorted({0, len(body), *(cut % len(body) for cut in cuts)})
    payloads = [payload for a, b in pairwise(edges) for payload in decoder.feed(body[a:b])]
    assert [json.loads(payload) for payload in [*payloads, *decoder.end()]] == objects


@pytest.mark.parametrize("line", [b"data: ", b"x"])
def test_an_endless_event_takes_bounded_memory(line: bytes) -> None:
    decoder = EventDecoder()
    with pytest.raises(EventTooLarge):
        for _ in range(MAX_EVENT_BYTES // 65_536 + 2):
            decoder.feed(b"data: " + b"x" * 65_536 + b"\n" if line != b"x" else b"x" * 65_536)


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("end", [[chunk({}, "stop")], []], ids=["no end mark", "no reason either"])
def test_a_reply_whose_body_ended_as_announced_is_whole(raw: RawProvider, framing: str, end: list[Any]) -> None:
    raw.framing = framing
    assert ask(raw, sse(*WORDS, *end, done=False)) == SAID[: 1 + len(end)]


def test_a_reply_that_the_connection_ended_without_a_reason_is_broken_off(raw: RawProvider) -> None:
    raw.framing = "close"
    with pytest.raises(ProviderUnavailable, match="in the middle"):
        ask(raw, sse(*WORDS, done=False))


def test_an_announced_end_without_any_output_is_broken_off(raw: RawProvider) -> None:
    with pytest.raises(ProviderUnavailable, match="in the middle"):
        ask(raw, sse(chunk({"role": "assistant", "content": ""}), done=False))


WHOLE = {
    "id": "c",
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "All is said.", "reasoning_content": "Hm."},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
}
COUNTED = Usage(20, 5)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "text/event-stream"])
def test_a_whole_reply_instead_of_a_stream_is_read(raw: RawProvider, content_type: str) -> None:
    raw.headers = {"Content-Type": content_type}
    body = json.dumps(WHOLE, indent=1).encode()
    events = ask(raw, sse(WHOLE) if "event" in content_type else body)
    assert events == [ReasoningDelta("Hm."), TextDelta("All is said."), COUNTED, Finish("stop")]


def test_a_summary_at_the_end_of_a_stream_is_not_repeated(raw: RawProvider) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    last = {"choices": [{"message": {"content": "All is said.", "tool_calls": [call]}, "finish_reason": "stop"}]}
    assert ask(raw, sse(*WORDS, last)) == [TextDelta("All is said."), Finish("tool_calls"), ToolCall("a", "f", "{}")]


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
@pytest.mark.parametrize("size", [3, 10_000])
def test_a_compressed_stream_is_unpacked(raw: RawProvider, pack: Any, size: int) -> None:
    body = pack(STREAM)
    encoding = "gzip" if pack is gzip.compress else "deflate"
    raw.headers = {"Content-Type": "text/event-stream", "Content-Encoding": encoding}
    assert ask(raw, *(body[start : start + size] for start in range(0, len(body), size))) == SAID


def test_a_small_body_that_unpacks_to_a_huge_one_is_refused(raw: RawProvider) -> None:
    raw.headers = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}
    with pytest.raises(MalformedReply, match="4194304 bytes"):
        ask(raw, gzip.compress(b"data: " + b"x" * 200_000_000, 1))


@pytest.mark.parametrize(("encoding", "words"), [("br", "compresses its answer as br"), ("gzip", "is damaged")])
def test_an_unreadable_compression_is_named(raw: RawProvider, encoding: str, words: str) -> None:
    raw.headers = {"Content-Type": "text/event-stream", "Content-Encoding": encoding}
    with pytest.raises(MalformedReply, match=words):
        ask(raw, STREAM)


TOO_LONG = "This model's maximum context length is 4096 tokens."


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (json.dumps({"error": {"message": "No balance", "code": "x"}}).encode(), ProviderUnavailable, "No balance"),
        (b'{"detail": "Not authenticated"}', ProviderUnavailable, "Not authenticated"),
        (b'[{"error": {"code": 429, "message": "Quota", "status": "X"}}]', RateLimited, "Quota"),
        (b"<html><body>Welcome</body></html>", MalformedReply, "web page.*most end in /v1"),
        (b"upstream timed out", MalformedReply, "did not answer with a reply. It says: upstream timed out"),
        (sse({"object": "error", "message": TOO_LONG, "code": 400}), ContextTooLong, "maximum context"),
        (sse({"error": "unexpected EOF"}), ProviderUnavailable, "unexpected EOF"),
        (
            b'event: error\ndata: {"error":{"message":"The model crashed"}}\n\n',
            ProviderUnavailable,
            "The model crashed",
        ),
        (b'event: error\ndata: {"message":"The model crashed"}\n\n', ProviderUnavailable, "The model crashed"),
        (b"event: error\ndata: out of memory\n\n", ProviderUnavailable, "out of memory"),
        (
            sse({"choices": [{"delta": {}, "error": {"message": "Provider failed", "code": 502}}]}),
            ProviderUnavailable,
            "Provider failed",
        ),
        (sse({"type": "error", "error": {"type": "overloaded_error", "message": "Full"}}), ProviderUnavailable, "Full"),
    ],
)
def test_every_form_of_an_error_is_told_once_and_not_paid_again(
    raw: RawProvider, body: bytes, kind: type[ProviderError], words: str
) -> None:
    raw.headers = {"Content-Type": "application/json"} if body[:1] in b"{[" else {"Content-Type": "text/html"}
    with pytest.raises(ProviderError, match=words) as raised:
        ask(raw, body)
    assert type(raised.value) is kind
    assert not raised.value.is_safe
    assert len(raw.requests) == 1


def test_words_before_an_error_are_kept(raw: RawProvider) -> None:
    raw.pieces = [sse(*WORDS, {"object": "error", "message": "Lost"}, done=False)]
    events: list[ProviderEvent] = []

    async def main() -> None:
        async with operator_client(Timeouts()) as client:
            async for batch in OpenAICompatible(Wire("Server", raw.url, {}, client, Timeouts())).stream(REQUEST):
                events.extend(batch)

    with pytest.raises(ProviderUnavailable, match="Lost"):
        asyncio.run(main())
    assert joined(events) == [TextDelta("All is said.")]


def call(index: int | None = None, id_: str | None = None, name: str | None = None, *arguments: Any) -> Any:
    function: dict[str, Any] = {} if name is None else {"name": name}
    function |= {"arguments": arguments[0]} if arguments else {}
    piece: dict[str, Any] = {"type": "function", "function": function}
    piece |= {} if index is None else {"index": index}
    return chunk({"tool_calls": [piece | ({} if id_ is None else {"id": id_})]})


@pytest.mark.parametrize(
    ("chunks", "calls"),
    [
        ([call(0, "a", "f", {"x": 1})], [("a", {"x": 1})]),
        ([call(0, "a", "f", "")], [("a", {})]),
        ([call(0, "a", "f", None)], [("a", {})]),
        ([call(0, "a", "f")], [("a", {})]),
        ([call(None, "a", "f", ""), call(None, "a", None, '{"x"'), call(None, "a", None, ":1}")], [("a", {"x": 1})]),
        ([call(None, "a", "f", '{"x":1}'), call(None, "a", "f", '{"x":2}')], [("a", {"x": 1}), ("a_1", {"x": 2})]),
        (
            [call(None, None, "f", '{"x":1}'), call(None, None, "f", '{"x":2}')],
            [("call_0", {"x": 1}), ("call_1", {"x": 2})],
        ),
        ([call(0, "a", "f", '{"x":1}'), call(0, "b", "f", '{"x":2}')], [("a", {"x": 1}), ("b", {"x": 2})]),
        ([call(0, None, "f", '{"x":1}'), call(1, None, "f", '{"x":2}')], [("call_0", {"x": 1}), ("call_1", {"x": 2})]),
        (
            [
                chunk({"function_call": {"name": "f", "arguments": '{"x":'}}),
                chunk({"function_call": {"arguments": "1}"}}),
            ],
            [("call_0", {"x": 1})],
        ),
    ],
    ids=[
        "object",
        "empty",
        "null",
        "missing",
        "id repeated",
        "same id",
        "no ids",
        "same index",
        "index only",
        "old form",
    ],
)
@pytest.mark.parametrize("reason", ["tool_calls", "stop", "function_call"])
def test_tool_calls_are_read_in_every_form(
    raw: RawProvider, chunks: list[Any], calls: list[tuple[str, Any]], reason: str
) -> None:
    finish, *read = ask(raw, sse(*chunks, chunk({}, reason)))
    assert finish == Finish("tool_calls")
    assert [(item.id, json.loads(item.arguments)) for item in read if isinstance(item, ToolCall)] == calls


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("<think>\nFirst.\n</think>\n\nThen.", [ReasoningDelta("First.\n"), TextDelta("Then.")]),
        ("  \n<thinking>First.</thinking>Then.", [ReasoningDelta("First."), TextDelta("Then.")]),
        ("<think></think>Then.", [TextDelta("Then.")]),
        ("<think>First", [ReasoningDelta("First")]),
        ("<think>a </thin b", [ReasoningDelta("a </thin b")]),
        ("Write <think>like this</think>.", [TextDelta("Write <think>like this</think>.")]),
        ("<thin", [TextDelta("<thin")]),
        ("<thinker> is no tag", [TextDelta("<thinker> is no tag")]),
        ("\n  ", [TextDelta("\n  ")]),
        ("First.\n</think>\n\nThen.", [TextDelta("First.\n"), TextWasThought(), TextDelta("Then.")]),
        ("First.\n</think>", [TextDelta("First.\n</think>")]),  # it may quote the tag
        ("~~~\n</think>\n~~~", [TextDelta("~~~\n</think>\n~~~")]),
        ("First.\n</think> closes it.\n", [TextDelta("First.\n</think> closes it.\n")]),
        ("```\n</think>\n```\n", [TextDelta("```\n</think>\n```\n")]),
        (
            "A\n</think>\nB\n</think>\nC",
            [TextDelta("A\n"), TextWasThought(), TextDelta("B\n</think>\nC")],
        ),
    ],
)
def test_thoughts_in_the_text_are_separated_however_it_is_split(text: str, events: list[ProviderEvent]) -> None:
    for size in range(1, len(text) + 1):
        reader = ThoughtReader()
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        read = [event for piece in pieces for event in reader.feed(piece)] + reader.end()
        assert joined(read) == events, size


def test_counts_in_fractions_are_read(raw: RawProvider) -> None:
    usage = {"prompt_tokens": 20.0, "completion_tokens": 5.0, "total_tokens": 25.0}
    assert Usage(20, 5) in ask(raw, sse(*WORDS, chunk({}, "stop", usage=usage)))


def test_a_dummy_key_does_not_redact_ordinary_words(raw: RawProvider) -> None:
    raw.status = 400
    with pytest.raises(ProviderError, match="none of the models"):
        ask(raw, b'{"error": {"message": "none of the models fit"}}', secret="none")


def test_half_a_surrogate_pair_does_not_end_the_reply(raw: RawProvider) -> None:
    halves = b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]}\n\n'
    text = ask(raw, halves + sse(chunk({"content": "b"}), chunk({}, "stop")))[0]
    assert isinstance(text, TextDelta)
    assert (text.text[0], text.text[-1]) == ("a", "b")


class PickyProvider(RawProvider):
    """Refuses some parameters with a vendor's own words, and answers a request without them."""

    def __init__(self, refusals: dict[str, str]) -> None:
        super().__init__()
        self._refusals = refusals

    @override
    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        refusal = next((words for name, words in self._refusals.items() if name in self.requests[-1]), None)
        self.status = 400 if refusal else 200
        self.pieces = [json.dumps({"error": {"message": refusal}}).encode()] if refusal else [STREAM]
        super().answer(handler)


def answer_of_picky(refusals: dict[str, str], request: ModelRequest, times: int = 1) -> tuple[list[Any], list[Any]]:
    """Ask with the same memory of what is refused, and return the events of the last reply and all requests."""
    picky = PickyProvider(refusals)

    async def main() -> list[ProviderEvent]:
        async with operator_client(Timeouts()) as client:
            adapter = OpenAICompatible(Wire("Server", picky.url, {}, client, Timeouts()), refused=RefusedParameters())
            for _ in range(times):
                events = [event async for events in adapter.stream(request) for event in events]
            return events

    try:
        return joined(asyncio.run(main())), picky.requests
    finally:
        picky.close()


SAMPLING = replace(REQUEST, temperature=0.5, top_p=0.9, frequency_penalty=0.1)
REFUSALS = {
    "temperature": "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) is supported.",
    "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    "stream_options": "stream_options: Extra inputs are not permitted",
    "frequency_penalty": "Unknown name frequency_penalty: Cannot find field.",
}


@pytest.mark.parametrize("names", [[name] for name in REFUSALS] + [list(REFUSALS)])
def test_a_parameter_that_a_model_refuses_is_left_out_and_remembered(names: list[str]) -> None:
    said, requests = answer_of_picky({name: REFUSALS[name] for name in names}, SAMPLING, times=2)
    assert said == SAID
    assert len(requests) == len(names) + 2
    assert requests[-1].keys().isdisjoint(names)
    if "max_tokens" in names:
        assert requests[-1]["max_completion_tokens"] == 100


@pytest.mark.parametrize(
    ("refusals", "words", "count"),
    [
        ({"messages": "The content is not allowed"}, "The content is not allowed", 1),
        ({"model": "temperature is nice today"}, "temperature is nice today", 1),
        ({"model": "'temperature' is not supported"}, "is not supported", 2),  # refused even without it
        # A value that a person can mend is not left out silently.
        ({"temperature": "temperature must be between 0 and 0.4"}, "between 0 and 0.4", 1),
        ({"max_tokens": "Invalid max_tokens value, the valid range is [1, 50]"}, "valid range", 1),
        ({"model": "Invalid image_url: the picture is too large"}, "^Server refused.*too large", 1),
    ],
)
def test_a_refusal_for_another_reason_is_told(refusals: dict[str, str], words: str, count: int) -> None:
    picky = PickyProvider(refusals)

    async def main() -> None:
        async with operator_client(Timeouts()) as client:
            adapter = OpenAICompatible(Wire("Server", picky.url, {}, client, Timeouts()))
            async for _ in adapter.stream(SAMPLING):
                pass

    try:
        with pytest.raises(RequestRefused, match=words):
            asyncio.run(main())
        assert len(picky.requests) == count
    finally:
        picky.close()


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ("registry.ollama.ai/library/gemma:2b does not support tools", "m takes no tools. Answer without them"),
        ('"auto" tool choice requires --enable-auto-tool-choice', "m takes no tools"),
        ("This model does not support image inputs", "m takes no pictures"),
    ],
)
def test_what_a_model_cannot_do_is_told_with_the_next_step(raw: RawProvider, refusal: str, words: str) -> None:
    raw.status = 400
    with pytest.raises(RequestRefused, match=words):
        ask(raw, json.dumps({"error": {"message": refusal}}).encode())
    assert len(raw.requests) == 1


@pytest.mark.parametrize(
    "entered", ["http://a.example/v1/chat/completions", "http://a.example/v1/", "http://a.example/v1/models"]
)
def test_the_address_of_a_route_becomes_the_address_of_the_api(entered: str) -> None:
    assert check_base_url(entered) == "http://a.example/v1"


def test_an_address_without_a_version_says_what_is_missing(raw: RawProvider) -> None:
    raw.status, raw.url = 404, raw.url.removesuffix("/v1")
    with pytest.raises(RequestRefused, match="most end in /v1"):
        ask(raw, b"<html>Not found</html>")


ANTHROPIC_WHOLE = {
    "type": "message",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "x"},
        {"type": "text", "text": "Said."},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 20, "output_tokens": 5},
}


def test_a_whole_reply_of_anthropic_is_read(raw: RawProvider) -> None:
    raw.headers = {"Content-Type": "application/json"}
    assert ask(raw, json.dumps(ANTHROPIC_WHOLE).encode(), kind=Anthropic) == [
        ReasoningDelta("Hm."),
        TextDelta("Said."),
        ToolCall("t", "f", '{"x":1}'),
        COUNTED,
        Finish("tool_calls"),
        TurnEcho(
            [
                {"type": "thinking", "thinking": "Hm.", "signature": "x"},
                {"type": "text", "length": 5},
                {"type": "call"},
            ]
        ),
    ]


def test_a_reply_of_anthropic_without_its_last_event_is_whole_if_the_body_is(raw: RawProvider) -> None:
    events = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Said."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    ]
    said = [TextDelta("Said."), Usage(0, 5), Finish("stop")]
    assert ask(raw, sse(*events, done=False), kind=Anthropic) == said
    with pytest.raises(ProviderUnavailable):
        ask(raw, sse(events[0], done=False), kind=Anthropic)


def echo_of(raw: RawProvider, *deltas: dict[str, Any]) -> Any:
    """Return what a reply with these deltas leaves to be returned."""
    raw.pieces = [sse(*map(chunk, deltas), chunk({"content": "Done."}), chunk({}, "stop"))]

    async def main() -> list[ProviderEvent]:
        async with operator_client(Timeouts()) as client:
            dialect = Dialect(echoes=frozenset({"reasoning_content", "reasoning_details"}))
            adapter = OpenAICompatible(Wire("Server", raw.url, {}, client, Timeouts()), dialect)
            return [event async for events in adapter.stream(REQUEST) for event in events]

    return next((event.value for event in asyncio.run(main()) if isinstance(event, TurnEcho)), None)


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (["I ", "think"], "I think"),
        (["I ", [{"type": "a"}], "think"], "I think"),
        ([[{"type": "a", "text": "x"}], "I"], [{"type": "a", "text": "x"}]),
        ([5, None, {"a": 1}], None),
        ([[1, None, "x"]], None),
        (
            [[{"type": "a", "index": 0, "text": "x"}], [{"type": "a", "index": 0, "text": {"y": 1}}]],
            [{"type": "a", "index": 0, "text": {"y": 1}}],
        ),
    ],
)
def test_thoughts_of_changing_types_do_not_end_the_reply(raw: RawProvider, values: list[Any], kept: Any) -> None:
    echo = echo_of(raw, *({"reasoning_content": value} for value in values))
    assert echo == (None if kept is None else {"reasoning_content": kept})


def test_encrypted_pieces_with_ids_stay_apart(raw: RawProvider) -> None:
    details = [
        {"type": "reasoning.encrypted", "index": 0, "id": "a", "data": "AAA"},
        {"type": "reasoning.encrypted", "index": 0, "id": "b", "data": "BBB"},
        {"type": "reasoning.text", "index": 1, "text": "I "},
        {"type": "reasoning.text", "index": 1, "text": "think", "signature": "S"},
    ]
    echo = echo_of(raw, *({"reasoning_details": [detail]} for detail in details))
    joined_text = {"type": "reasoning.text", "index": 1, "text": "I think", "signature": "S"}
    assert echo == {"reasoning_details": [*details[:2], joined_text]}


def test_a_parameter_that_stays_refused_is_not_asked_for_again(raw: RawProvider) -> None:
    raw.status = 400
    with pytest.raises(RequestRefused):
        ask(raw, b'{"error": {"message": "temperature is not supported"}}', request=SAMPLING)
    assert len(raw.requests) == 2


def test_an_unexplained_refusal_is_repeated_once_without_thoughts(raw: RawProvider) -> None:
    raw.status = 400
    turn = RequestMessage("assistant", "Said", echo=[{"type": "thinking", "thinking": "t", "signature": "s"}])
    request = replace(REQUEST, messages=(RequestMessage("user", "a"), turn, RequestMessage("user", "b")))
    with pytest.raises(RequestRefused):
        ask(raw, b'{"error": {"message": "The final block in a message is wrong"}}', request=request, kind=Anthropic)
    assert ["thinking" in json.dumps(body) for body in raw.requests] == [True, False]


@pytest.mark.parametrize(
    ("block", "delta"),
    [
        ({"type": "web_search_tool_result", "length": "x", "content": 5}, {"type": "text_delta", "text": "a"}),
        ({"type": "redacted_thinking", "thinking": 5}, {"type": "thinking_delta", "thinking": "a"}),
        ({"type": "server_tool_use", "signature": 5}, {"type": "signature_delta", "signature": "a"}),
        ({"type": "text", "text": "", "citations": 5}, {"type": "citations_delta", "citation": {"url": 5}}),
    ],
)
def test_odd_blocks_of_anthropic_do_not_end_the_reply(
    raw: RawProvider, block: dict[str, Any], delta: dict[str, Any]
) -> None:
    events = [
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
    raw.pieces = (sse(*events),)

    async def main() -> list[ProviderEvent]:
        async with operator_client(Timeouts()) as client:
            adapter = Anthropic(Wire("Server", raw.url, {}, client, Timeouts()))
            request = ModelRequest("m", (RequestMessage("user", "Hi"),), max_tokens=None)
            return [event async for batch in adapter.stream(request) for event in batch]

    assert Finish("stop") in asyncio.run(main())
