"""Test Google's own API: replies that deviate, searches with their sources, and large pictures."""

import asyncio
import base64
import json
from typing import Any

import pytest

from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.errors import MalformedReply, ProviderUnavailable
from tertulia.providers.event_stream import MAX_EVENT_BYTES
from tertulia.providers.google import Google
from tertulia.providers.protocol import (
    Citation,
    FileOutput,
    Finish,
    ModelRequest,
    ProviderEvent,
    RequestMessage,
    TextDelta,
    ToolCall,
    TurnEcho,
    Usage,
)
from tertulia.providers.wire import Wire
from tests.fakes.raw_provider import RawProvider


def ask(
    *chunks: Any, model: str = "gemini-3.5-flash", messages: tuple[RequestMessage, ...] = ()
) -> list[ProviderEvent]:
    raw = RawProvider()
    raw.headers = {"Content-Type": "text/event-stream"}
    raw.pieces = tuple(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks)
    request = ModelRequest(model, messages or (RequestMessage("user", "Hi"),), max_tokens=None)

    async def main() -> list[ProviderEvent]:
        async with operator_client(Timeouts()) as client:
            adapter = Google(Wire("Google", raw.url, {}, client, Timeouts(), vendor_id="google"))
            return [event async for events in adapter.stream(request) for event in events]

    try:
        return asyncio.run(main())
    finally:
        raw.close()


def chunk(*parts: Any, **extra: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **extra}]}


def test_a_reason_to_end_in_every_chunk_does_not_end_the_reply() -> None:
    events = ask(chunk({"text": "Hello"}, finishReason="STOP"), chunk({"text": " there"}, finishReason="STOP"))
    assert events == [TextDelta("Hello"), TextDelta(" there"), Finish("stop")]


def test_a_search_names_its_pages_with_the_passages_that_cite_them() -> None:
    grounding = {
        "webSearchQueries": ["bread", "yeast"],
        "groundingChunks": [
            {"web": {"uri": "https://a.example/", "title": "A"}},
            {"web": {"uri": "https://b.example/", "title": "B"}},
            {"retrievedContext": {}},
        ],
        "groundingSupports": [
            {"segment": {"text": "Bread rises."}, "groundingChunkIndices": [0, 7, "x"]},
            {"segment": {}, "groundingChunkIndices": None},
        ],
    }
    usage = {"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 3}
    events = ask(
        chunk({"text": "Bread rises."}),
        chunk(finishReason="STOP", groundingMetadata=grounding) | {"usageMetadata": usage},
    )
    assert events == [
        TextDelta("Bread rises."),
        Citation("https://a.example/", "A", "Bread rises."),
        Citation("https://b.example/", "B", ""),
        Usage(15, 5, web_searches=2, thinking_tokens=3),
        Finish("stop"),
    ]


def test_what_the_vendors_search_did_comes_back_in_its_place() -> None:
    call = {"toolCall": {"id": "s1", "toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["bread"]}}}
    events = ask(chunk({"text": "I look."}), chunk(call), chunk({"text": "Found."}, finishReason="STOP"))
    echo = events[-1]
    assert isinstance(echo, TurnEcho)
    assert echo.value == [{"type": "text", "length": 7}, {"type": "part", "part": call}, {"type": "text", "length": 6}]


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([chunk({"text": "Hel"}, finishReason="SAFETY")], "content_filter"),
        ([{"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}], "content_filter"),
        ([chunk({"text": "Hel"}, finishReason="MAX_TOKENS")], "length"),
        ([chunk({"text": "Hel"}, finishReason="NEW_REASON")], "other"),
    ],
)
def test_a_reason_to_end_is_read(chunks: list[Any], reason: str) -> None:
    assert ask(*chunks)[-1] == Finish(reason)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        ([chunk(finishReason="MALFORMED_FUNCTION_CALL")], MalformedReply),
        ([chunk({"text": "Hel"})], ProviderUnavailable),
        ([{"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}], ProviderUnavailable),
    ],
)
def test_a_broken_reply_is_an_error(chunks: list[Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ask(*chunks)


@pytest.mark.parametrize(
    "odd",
    [
        {"candidates": "x"},
        {"candidates": [5]},
        {"candidates": [{"content": 5, "groundingMetadata": {"groundingChunks": 5, "webSearchQueries": "x"}}]},
        {"candidates": [{"content": {"parts": "x"}}], "usageMetadata": [], "promptFeedback": "x"},
        chunk(5, {"text": 7}, {"functionCall": {"name": 4}}, {"thought": True}, {"inlineData": {}}),
        {"candidates": [{"groundingMetadata": {"groundingSupports": [5, {"segment": 5}], "groundingChunks": [5, {}]}}]},
        {"candidates": [{"groundingMetadata": {"groundingSupports": [{"groundingChunkIndices": 5}]}}]},
    ],
)
def test_fields_of_a_wrong_type_are_ignored(odd: Any) -> None:
    assert ask(odd, chunk({"text": "Hello"}, finishReason="STOP"))[-2:] == [TextDelta("Hello"), Finish("stop")]


def test_only_models_that_draw_may_send_a_large_picture() -> None:
    encoded = base64.b64encode(bytes(MAX_EVENT_BYTES)).decode()
    part = {"inlineData": {"mimeType": "image/png", "data": encoded}}
    drawn = ask(chunk(part, finishReason="STOP"), model="gemini-3-pro-image")
    assert drawn == [FileOutput("image/png", encoded), Finish("stop")]
    with pytest.raises(MalformedReply, match="an event of more than"):
        ask(chunk(part, finishReason="STOP"))


def test_calls_without_ids_and_arguments_are_read() -> None:
    events = ask(
        chunk(
            {"functionCall": {"name": "look"}},
            {"functionCall": {"name": "look", "args": {"a": 1}}},
            finishReason="STOP",
        )
    )
    assert events == [ToolCall("call_1", "look", "{}"), ToolCall("call_2", "look", '{"a":1}'), Finish("tool_calls")]
