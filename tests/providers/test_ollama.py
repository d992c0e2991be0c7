"""Test Ollama's own API: the window that is loaded, abilities by model, and lines that deviate."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.errors import MalformedReply, ProviderError, ProviderUnavailable
from tertulia.providers.event_stream import MAX_EVENT_BYTES, EventTooLarge, LineDecoder
from tertulia.providers.ollama import Ollama, window_to_load
from tertulia.providers.protocol import Finish, ModelRequest, ProviderEvent, RequestMessage, TextDelta, ToolCall
from tertulia.providers.wire import Wire
from tertulia.settings import OperatorConfig
from tests.conftest import ServerMaker
from tests.factories.tool_calls import signed_in
from tests.fakes.raw_provider import RawProvider
from tests.fakes.scripted_provider import Raw, ScriptedProvider
from tests.fakes.vendor_wires import OLLAMA, OLLAMA_MODELS, encode, ollama

REQUEST = ModelRequest("m", (RequestMessage("user", "Hi"),), max_tokens=None)


def ask(*pieces: bytes, framing: str = "chunked") -> list[ProviderEvent]:
    raw = RawProvider()
    raw.headers, raw.pieces, raw.framing = {"Content-Type": "application/x-ndjson"}, pieces, framing

    async def main() -> list[ProviderEvent]:
        async with operator_client(Timeouts()) as client:
            adapter = Ollama(Wire("Ollama", raw.url.removesuffix("/v1"), {}, client, Timeouts()))
            return [event async for events in adapter.stream(REQUEST) for event in events]

    try:
        return asyncio.run(main())
    finally:
        raw.close()


@pytest.mark.parametrize(
    ("tokens", "window", "max_tokens", "loaded"),
    [
        (100, 131_072, None, 16_384),  # a sixteenth of the window is kept for the reply
        (100, 8192, None, 4096),
        (3000, 8192, None, 4096),
        (3500, 8192, None, 8192),
        (60_000, 131_072, None, 131_072),
        (50_000, 131_072, 100, 65_536),
        (100, 2048, None, 2048),  # never more than what was counted with
        (7000, 6000, None, 6000),
    ],
)
def test_the_window_that_is_loaded_holds_the_request(
    tokens: int, window: int, max_tokens: int | None, loaded: int
) -> None:
    request = ModelRequest("m", (), max_tokens=max_tokens, tokens=tokens, window=window)
    assert window_to_load(request) == loaded


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_lines_are_read_whatever_their_pieces(size: int, framing: str) -> None:
    body = encode(OLLAMA, is_lines=True).replace(b"\n", b"\r\n")
    events = ask(*(body[at : at + size] for at in range(0, len(body), size)), framing=framing)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hello there"
    assert [event for event in events if isinstance(event, ToolCall | Finish)] == [
        ToolCall("call_1", "weather", '{"city":"Lima"}'),
        Finish("tool_calls"),
    ]


def test_several_calls_have_ids_of_their_own() -> None:
    call = {"function": {"name": "f", "arguments": {}}}
    lines = [ollama({"tool_calls": [call, call]}, done=False), ollama({"tool_calls": [call]}, done=True)]
    events = ask(encode(lines, is_lines=True))
    assert [event.id for event in events if isinstance(event, ToolCall)] == ["call_1", "call_2", "call_3"]


@pytest.mark.parametrize(
    ("lines", "kind", "words"),
    [
        ([{"error": "llama runner process has terminated"}], ProviderUnavailable, "runner process has terminated"),
        ([ollama({"content": "a"}, done=False), {"error": "out of memory"}], ProviderUnavailable, "out of memory"),
        ([ollama({"content": "a"}, done=False)], ProviderUnavailable, "in the middle"),
        (["rubbish"], MalformedReply, "It says: rubbish"),
    ],
)
def test_a_broken_reply_is_one_error(lines: list[Any], kind: type[ProviderError], words: str) -> None:
    body = b"".join((line if isinstance(line, str) else json.dumps(line)).encode() + b"\n" for line in lines)
    with pytest.raises(kind, match=words):
        ask(body)


odd = st.recursive(
    st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=2), max_leaves=4
)
messages = st.fixed_dictionaries({}, optional={"content": odd, "thinking": odd, "tool_calls": odd, "role": odd})


@given(st.lists(messages, max_size=4))
def test_fields_of_any_type_end_in_a_reply(replies: list[dict[str, Any]]) -> None:
    events = ask(encode([*(ollama(reply, done=False) for reply in replies), ollama({}, done=True)], is_lines=True))
    assert Finish("stop") in events


def test_a_line_has_a_largest_size() -> None:
    decoder = LineDecoder()
    assert decoder.feed(b"{}\n" + b"x" * MAX_EVENT_BYTES) == [b"{}"]
    with pytest.raises(EventTooLarge):
        decoder.feed(b"x")


@pytest.mark.parametrize("engine_kind", ["sqlite"], indirect=True)
def test_a_chat_loads_the_window_it_counts_with_and_knows_what_the_model_can(
    start_server: ServerMaker, provider: ScriptedProvider
) -> None:
    provider.listing = {"models": [{"model": name} for name in OLLAMA_MODELS]}
    provider.shown = OLLAMA_MODELS
    ours = OperatorConfig(provider="ollama", base_url=provider.url)  # with /v1, as it was entered before
    ana = signed_in(start_server(providers=(ours,), provider_connect_s=30.0))
    (model,) = [model for model in ana.api("GET", "/models")["items"] if model["provider"] == "ollama"]
    assert (model["model_name"], model["context_window"]) == ("model-a", 131_072)
    abilities = {name: model["capabilities"][name] for name in ("vision", "tools", "reasoning")}
    assert abilities == {"vision": False, "tools": True, "reasoning": True}
    chat = ana.chat(provider="ollama", model_name="model-a")
    provider.play([Raw(encode([ollama({"content": "Hello."}, done=True, done_reason="stop")], is_lines=True))])
    sent = ana.say(chat["id"], "word " * 20_000)
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    assert provider.requests[-1]["options"] == {"num_ctx": 65_536}
    ana.api("PATCH", f"/chats/{chat['id']}", json={"context_window_size": 8192})
    provider.play([Raw(encode([ollama({"content": "Hello."}, done=True, done_reason="stop")], is_lines=True))])
    ana.finished(ana.say(chat["id"], "word " * 20_000)["run"]["id"])
    assert provider.requests[-1]["options"] == {"num_ctx": 8192}
    ana.close()
