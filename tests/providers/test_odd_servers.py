"""Test servers that deviate from their wire in ways that were seen: each reply is whole, or one error says what is wrong."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.adapters import Access, build_adapter
from tertulia.providers.errors import ContextTooLong, KeyRefused, MalformedReply, ProviderError, RequestRefused
from tertulia.providers.openai_compatible import OpenAICompatible
from tertulia.providers.openai_responses import OpenAIResponses
from tertulia.providers.protocol import Finish, ModelRequest, ReasoningDelta, RequestMessage, TextDelta, ToolCall
from tertulia.providers.reading import MAX_HELD
from tertulia.providers.thoughts import ThoughtReader
from tertulia.providers.vendors import BY_ID
from tertulia.providers.wire import Wire
from tests.fakes.raw_provider import RawProvider

Said = tuple[str, str, list[tuple[str, str]], str | None, ProviderError | None]


@pytest.fixture
def raw() -> Iterator[RawProvider]:
    provider = RawProvider()
    yield provider
    provider.close()


def ask(raw: RawProvider, vendor_id: str, body: bytes, kind: str = "text/event-stream", **head: str) -> Said:
    """Return the text, thoughts, calls, reason to finish and error of a reply."""
    raw.headers, raw.pieces = {"Content-Type": kind, **head}, [body]
    text, thought, reason, failure = "", "", None, None
    calls: list[tuple[str, str]] = []

    async def main() -> None:
        nonlocal text, thought, reason, failure
        async with operator_client(Timeouts()) as client:
            if vendor_id == "responses":
                wire = Wire("Server", raw.url, {}, client, Timeouts())
                adapter: Any = OpenAIResponses(wire, OpenAICompatible(wire))
            else:
                access = Access("key", raw.url, {})
                adapter = build_adapter(BY_ID[vendor_id], access, client, Timeouts(), shown_as="Server")
            request = ModelRequest("m", (RequestMessage("system", "Be kind."), RequestMessage("user", "Hi")), 100)
            try:
                async for events in adapter.stream(request):
                    for event in events:
                        text += event.text if isinstance(event, TextDelta) else ""
                        thought += event.text if isinstance(event, ReasoningDelta) else ""
                        calls.extend([(event.name, event.arguments)] if isinstance(event, ToolCall) else [])
                        reason = event.reason if isinstance(event, Finish) else reason
            except ProviderError as error:
                failure = error

    asyncio.run(main())
    return text, thought, calls, reason, failure


def sse(*events: Any, named: bool = False) -> bytes:
    names = [f"event: {event['type']}\n" if named else "" for event in events]
    return "".join(f"{name}data: {json.dumps(event)}\n\n" for name, event in zip(names, events, strict=True)).encode()


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


DONE = b"data: [DONE]\n\n"
WHOLE = {"object": "chat.completion", "choices": [{"message": {"content": "All said."}, "finish_reason": "stop"}]}
WORDS = sse(delta(content="All "), delta(content="said."))
STREAM = WORDS + sse(delta("stop")) + DONE


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (json.dumps(WHOLE).encode(), "text/event-stream"),
        (json.dumps(WHOLE, indent=1).encode(), "text/event-stream"),
        (json.dumps(WHOLE).encode() + b"\n\n" + DONE, "text/event-stream"),
        (json.dumps([WHOLE]).encode(), "application/json"),
        (b"\xef\xbb\xbf" + json.dumps(WHOLE).encode(), "application/json"),
        (STREAM, "application/json"),
        (STREAM, ""),
        (STREAM.replace(b"data: ", b"  data: "), "text/event-stream"),
        (STREAM.replace(b"data: ", b"Data: "), "text/event-stream"),
        (b"".join(STREAM.split(b"data: ")), "application/json"),  # lines
        (WORDS + sse(delta("stop")) + b"data: END\n\n", "text/event-stream"),
        (WORDS + sse(delta("stop")) + b'data: {"usa\n\n', "text/event-stream"),
        (
            sse(delta(content="All "))
            + b"data: null\n\ndata: []\n\ndata: ping\n\n"
            + STREAM[len(sse(delta(content="All "))) :],
            "",
        ),
    ],
)
def test_a_whole_reply_in_another_form_is_read(raw: RawProvider, body: bytes, kind: str) -> None:
    assert ask(raw, "custom", body, kind) == ("All said.", "", [], "stop", None)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", lambda body: b"".join(gzip.compress(body[at : at + 40]) for at in range(0, len(body), 40))),
        ("deflate", lambda body: zlib.compress(body)[2:-4]),
    ],
)
def test_a_body_packed_in_several_parts_or_without_a_head_is_whole(
    raw: RawProvider, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    assert ask(raw, "custom", pack(STREAM), **{"Content-Encoding": encoding})[0] == "All said."


def test_a_packed_body_that_is_cut_is_told(raw: RawProvider) -> None:
    body = gzip.compress(WORDS + b"x" * 5000)[:-20]
    text, *_, error = ask(raw, "custom", body, **{"Content-Encoding": "gzip"})
    assert text == "All said."
    assert "in the middle" in str(error)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>Welcome</html>", "a web page instead of a reply"),
        (b"upstream timed out", "It says: upstream timed out"),
        (b"retry later, the queue is full", "It says: retry later"),
        (b"", "It says: nothing"),
        (b"null", "It says: null"),
        (b'{"result": "All said.", "success": true}', "It says: .*All said"),
        (b'{"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}', "insufficient balance"),
        (b'{"success": false, "errors": [{"message": "Could not route"}]}', "Could not route"),
        (b'{"error": "Bad Request", "message": "model must be a string"}', "Bad Request: model must be a string"),
        (
            b'{"error": {"message": "Provider returned error", "metadata": {"raw": "{\\"error\\":{\\"message\\":\\"Overloaded today\\"}}"}}}',
            "Overloaded today",
        ),
        (WORDS + b'error: {"code": 500, "message": "CUDA error"}\n\n', "CUDA error"),
        (WORDS + b'{"error": {"message": "CUDA error"}}\n\n' + DONE, "CUDA error"),
        (WORDS + sse(delta("network_error")) + DONE, "it says network_error"),
        (sse(delta("tool_calls")) + DONE, "announced a tool call that cannot be read"),
    ],
)
def test_what_is_no_reply_is_told_once(raw: RawProvider, body: bytes, words: str) -> None:
    error = ask(raw, "custom", body)[-1]
    with pytest.raises(ProviderError, match=words):
        raise error or AssertionError
    assert error is not None
    assert not error.is_safe
    assert len(raw.requests) == 1


def calls_of(*pieces: dict[str, Any]) -> bytes:
    return sse(*(delta(tool_calls=[piece]) for piece in pieces), delta("tool_calls")) + DONE


def piece(arguments: Any = None, name: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **fields}


ONE = [("f", '{"x":1}')]


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        (calls_of(piece("", "f", index=0, id="a"), piece('{"x"', index=0, id="b"), piece(":1}", index=0, id="c")), ONE),
        (calls_of(piece("", "f", index=0, id="a"), piece('{"x"', "f", index=0, id="b"), piece(":1}", "f", index=0, id="c")), ONE),
        (calls_of(piece("", "get_", index=0, id="a"), piece('{"x":1}', "weather", index=0)), [("get_weather", '{"x":1}')]),
        (calls_of(piece("", "f", index="0", id="a"), piece('{"x":1}', index="0")), ONE),
        (calls_of(piece('{"x":1}', "f", index=0, id="a"), piece('{"x":1}', "f", index=0, id="a")), ONE),
        (calls_of(piece("{}", "f", index=0, id="a"), piece('{"x":1}', index=0)), ONE),
        (calls_of(piece('"{\\"x\\":1}"', "f", index=0, id="a")), ONE),
        (calls_of({"index": 0, "id": "a", "name": "f", "arguments": '{"x":1}'}), ONE),
        (calls_of({"index": 0, "id": "a", "function": {"name": "f", "parameters": {"x": 1}}}), ONE),
        (calls_of(piece('{"x":1}', "f", index=0, id="a"), piece("", "g", index=0, id="b"), piece('{"y":2}', index=0, id="")), [*ONE, ("g", '{"y":2}')]),
        (calls_of(piece("", "f", id="a"), piece("", "g", id="a")), [("f", "{}"), ("g", "{}")]),
        (sse(delta(tool_calls={"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}), delta("tool_calls")) + DONE, ONE),
    ],
)  # fmt: skip
def test_calls_are_whole_in_every_form(raw: RawProvider, body: bytes, calls: list[tuple[str, str]]) -> None:
    assert ask(raw, "custom", body)[2] == calls


@pytest.mark.parametrize("thoughts", ["reasoning", "reasoning_content", "reasoning_text", "thinking"])
def test_text_that_comes_only_at_the_end_is_read(raw: RawProvider, thoughts: str) -> None:
    last = {"choices": [{"message": {"content": "All said."}, "finish_reason": "stop"}]}
    assert ask(raw, "custom", sse(delta(**{thoughts: "Hm."}), last) + DONE) == ("All said.", "Hm.", [], "stop", None)


@pytest.mark.parametrize(
    "content",
    [
        ["All ", "said."],
        {"text": "All said."},
        [{"type": "text", "text": "All said."}, {"type": "thinking", "thinking": "Hm."}],
    ],
)
def test_content_in_other_forms_is_read(raw: RawProvider, content: Any) -> None:
    assert ask(raw, "custom", sse(delta("stop", content=content)) + DONE)[0] == "All said."


def test_the_words_of_old_completions_are_read(raw: RawProvider) -> None:
    body = sse({"choices": [{"text": "All "}]}, {"choices": [{"text": "said.", "finish_reason": "stop"}]}) + DONE
    assert ask(raw, "custom", body)[0] == "All said."


MESSAGE = {"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}}
STOPS = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
CALLS = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}
STOPPED = {"type": "message_stop"}


def block(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": 0, "content_block": {"type": kind, **fields}}


def of_block(**fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": fields}


TEXT = [block("text", text=""), of_block(type="text_delta", text="All said.")]
TOOL = block("tool_use", id="t", name="f", input={})
DELTA = "response.output_text.delta"
ITEM = {"type": "message", "id": "m1", "content": [{"type": "output_text", "text": "All said."}]}
CALL = {"type": "function_call", "id": "c1", "call_id": "call1", "name": "f", "arguments": '{"x":1}'}
THOUGHT = {"type": "reasoning", "id": "r1", "summary": [{"type": "summary_text", "text": "Hm."}]}


def completed(*output: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": {"object": "response", "status": "completed", "output": output}}


def google(*parts: Any, **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": parts}, **fields}]}


def cohere(kind: str, **message: Any) -> dict[str, Any]:
    return {"type": kind, "index": 0, "delta": {"message": message}}


COHERE_END = {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}
COHERE_CALLS = {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL"}}


def line(content: Any = "", *, done: bool = False, **fields: Any) -> bytes:
    return json.dumps({"message": {"content": content, **fields}, "done": done}).encode() + b"\n"


OLLAMA = line("All ") + line("said.") + line(done=True)
CASES: list[tuple[str, bytes, str, str, str, list[tuple[str, str]]]] = [
    ("anthropic", sse(MESSAGE, *TEXT, STOPS, named=True) + DONE, "", "All said.", "", []),
    ("anthropic", sse(MESSAGE, block("thinking", thinking="Hm."), of_block(type="text_delta", text="All said."), STOPS, STOPPED), "", "All said.", "Hm.", []),
    ("anthropic", sse(MESSAGE, TOOL, of_block(type="text_delta", text="All said."), CALLS, STOPPED), "", "All said.", "", [("f", "{}")]),
    ("anthropic", sse(MESSAGE, block("text"), of_block(text="All said."), STOPS, STOPPED), "", "All said.", "", []),
    ("anthropic", sse(MESSAGE, TOOL, of_block(type="input_json_delta", partial_json='{"x":1}'), CALLS, STOPPED), "", "", "", ONE),
    ("anthropic", sse(MESSAGE, TOOL, of_block(type="input_json_delta", partial_json={"x": 1}), CALLS, STOPPED), "", "", "", ONE),
    ("anthropic", sse(MESSAGE, block("tool_use", id="t", name="f", input={"x": 1}), CALLS, STOPPED), "", "", "", ONE),
    ("anthropic", sse(MESSAGE, TOOL, block("tool_use", id="u", name="g", input={}), of_block(type="input_json_delta", partial_json='{"y":2}'), CALLS, STOPPED), "", "", "", [("f", "{}"), ("g", '{"y":2}')]),
    ("anthropic", b"".join(b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode(), json.dumps({name: value for name, value in event.items() if name != "type"}).encode()) for event in (MESSAGE, of_block(text="All said."), STOPS, STOPPED)), "", "All said.", "", []),
    ("responses", sse({"type": DELTA, "output_index": 1, "delta": "All said."}, {"type": "response.output_item.done", "output_index": 1, "item": ITEM}, completed(ITEM)), "", "All said.", "", []),
    ("responses", sse({"type": DELTA, "delta": "All said."}, completed(THOUGHT, ITEM)), "", "All said.", "Hm.", []),
    ("responses", sse({"type": DELTA, "delta": "All said."}) + DONE, "", "All said.", "", []),
    ("responses", sse({"type": "response.output_text.done", "text": "All said."}, completed()), "", "All said.", "", []),
    ("responses", sse(completed({"type": "message", "content": "All said."})), "", "All said.", "", []),
    ("responses", sse({"type": "response.output_item.done", "item": CALL}, {"type": "response.output_item.done", "item": CALL | {"id": "c2", "call_id": "call2"}}, completed(CALL)), "", "", "", [*ONE, *ONE]),
    ("responses", sse({"type": "response.output_item.added", "output_index": 0, "item": CALL | {"arguments": ""}}, {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"x":1}'}, completed()), "", "", "", ONE),
    ("responses", sse(completed(CALL | {"arguments": {"x": 1}})), "", "", "", ONE),
    ("google", json.dumps([google({"text": "All "}), google({"text": "said."}, finishReason="STOP")]).encode(), "application/json", "All said.", "", []),
    ("google", sse({"response": google({"text": "All said."}, finishReason="stop")}), "", "All said.", "", []),
    ("google", sse(google({"text": "All said."})) + DONE, "", "All said.", "", []),
    ("google", sse(google({"functionCall": {"name": "f", "args": "\ud83d"[:0]}}, finishReason="STOP")), "", "", "", [("f", "{}")]),
    ("cohere", sse(cohere("content-delta", content="All "), cohere("content-delta", content=[{"text": "said."}]), COHERE_END), "", "All said.", "", []),
    ("cohere", sse(cohere("tool-call-start", tool_calls={"id": "t", "function": {"name": "f", "arguments": {"x": 1}}}), COHERE_CALLS), "", "", "", ONE),
    ("cohere", sse(cohere("tool-call-start", tool_calls=[{"id": "t", "function": {"name": "f", "arguments": '{"x":'}}]), cohere("tool-call-delta", tool_calls={"function": {"arguments": "1}"}}), COHERE_CALLS), "", "", "", ONE),
    ("cohere", json.dumps({"finish_reason": "COMPLETE", "message": {"content": [{"type": "text", "text": "All said."}]}}).encode(), "application/json", "All said.", "", []),
    ("ollama", OLLAMA, "application/json", "All said.", "", []),
    ("ollama", OLLAMA, "text/event-stream", "All said.", "", []),
    ("ollama", OLLAMA, "Application/X-NDJSON", "All said.", "", []),
    ("ollama", b"\xef\xbb\xbf" + OLLAMA, "application/x-ndjson", "All said.", "", []),
    ("ollama", line("<think>Hm.</think>All said.") + line(done=True), "application/x-ndjson", "All said.", "Hm.", []),
    ("ollama", line(["All ", {"text": "said."}]) + line(done=True), "application/x-ndjson", "All said.", "", []),
    ("ollama", line(tool_calls={"name": "f", "arguments": {"x": 1}}) + line(done=True), "application/x-ndjson", "", "", ONE),
    ("ollama", b'{"response": "All said.", "done": "true"}\n', "application/x-ndjson", "All said.", "", []),
]  # fmt: skip


@pytest.mark.parametrize(("vendor", "body", "kind", "text", "thought", "calls"), CASES)
def test_other_wires_are_read_in_other_forms(
    raw: RawProvider, vendor: str, body: bytes, kind: str, text: str, thought: str, calls: list[tuple[str, str]]
) -> None:
    said = ask(raw, vendor, body, kind or "text/event-stream")
    assert said[:3] == (text, thought, calls)
    assert said[-1] is None


@pytest.mark.parametrize(
    ("status", "head", "body", "error", "words"),
    [
        (301, {"Location": "https://example.org/v1"}, b"", RequestRefused, "redirects to https://example.org/v1"),
        (401, {}, b'{"error": "Budget has been exceeded"}', KeyRefused, "It says: Budget has been exceeded"),
        (403, {}, b'{"error": {"message": "Your input was flagged"}}', RequestRefused, "does not allow this.*flagged"),
        (403, {}, b'{"error": {"message": "Invalid API key"}}', KeyRefused, "Invalid API key"),
        (400, {}, b"no such model here", RequestRefused, "It says: no such model here"),
        (
            400,
            {"Content-Encoding": "gzip"},
            gzip.compress(b'{"error": "No such model"}', mtime=0),
            RequestRefused,
            "No such model",
        ),
        (400, {}, b'data: {"error": {"message": "No such model"}}\n\n', RequestRefused, "No such model"),
        (400, {}, b'{"message": "maximum prompt length is 131072"}', ContextTooLong, "too long"),
        (500, {}, b'{"error": "the request exceeds the available context size"}', ContextTooLong, "too long"),
        (500, {}, b'{"error": "tools param requires --jinja flag"}', RequestRefused, "takes no tools"),
        (400, {}, b'{"error": "Function calling is not enabled for models/gemma"}', RequestRefused, "takes no tools"),
        (204, {}, b"", MalformedReply, "It says: nothing"),
    ],
)
def test_the_reason_of_a_refusal_is_told(
    raw: RawProvider, status: int, head: dict[str, str], body: bytes, error: type[ProviderError], words: str
) -> None:
    raw.status = status
    failure = ask(raw, "custom", body, "application/json", **head)[-1]
    with pytest.raises(error, match=words):
        raise failure or AssertionError


def test_instructions_go_into_the_question_if_the_model_takes_no_others(raw: RawProvider) -> None:
    answers = [(400, b'{"error": {"message": "System role not supported"}}'), (200, STREAM)]
    answer = RawProvider.answer

    def in_turn(handler: Any) -> None:
        raw.status, body = answers.pop(0)
        raw.pieces = [body]
        answer(raw, handler)

    raw.answer = in_turn  # type: ignore[method-assign]
    assert ask(raw, "custom", b"")[0] == "All said."
    assert [message["role"] for message in raw.requests[-1]["messages"]] == ["user"]
    assert raw.requests[-1]["messages"][0]["content"] == "Be kind.\n\nHi"


@pytest.mark.parametrize("vendor", ["custom", "anthropic"])
def test_what_is_held_until_the_end_is_bounded(raw: RawProvider, vendor: str) -> None:
    part = "x" * (1024 * 1024)
    if vendor == "custom":
        begin, more = delta(tool_calls=[piece("", "f", index=0)]), delta(tool_calls=[piece(part, index=0)])
    else:
        begin, more = TOOL, of_block(type="input_json_delta", partial_json=part)
    error = ask(raw, vendor, sse(begin, *[more] * (MAX_HELD // len(part) + 1)))[-1]
    assert f"more than {MAX_HELD}" in str(error)


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("<think>", "</think>"),
        ("<Think>", "</Think>"),
        ("<think time=3>", "</think>"),
        ("<seed:think>", "</seed:think>"),
        ("[THINK]", "[/THINK]"),
        ("◁think▷", "◁/think▷"),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_thoughts_in_the_text_are_read_between_every_known_tag(opening: str, closing: str, size: int) -> None:
    reader, text = ThoughtReader(), f"{opening}Hm.{closing}\n\nAll said."
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    events = [event for piece in pieces for event in reader.feed(piece)] + reader.end()
    assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == "Hm."
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "All said."


@pytest.mark.parametrize("text", ["<thinker>", "<table>", "[THIN] ice", "<think", "a <think>b</think>", "1 < 2"])
@pytest.mark.parametrize("size", [1, 1000])
def test_text_that_only_looks_like_a_tag_stays_text(text: str, size: int) -> None:
    reader = ThoughtReader()
    events = [event for at in range(0, len(text), size) for event in reader.feed(text[at : at + size])] + reader.end()
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == text


def test_a_closing_tag_after_separate_thoughts_is_left_out(raw: RawProvider) -> None:
    body = sse(delta(reasoning_content="Hm."), delta(content="</think>\n\nAll "), delta("stop", content="said.")) + DONE
    assert ask(raw, "custom", body) == ("All said.", "Hm.", [], "stop", None)
