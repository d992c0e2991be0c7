"""Test each vendor against a fake of its documented API: text, reasoning, images, tool calls, usage, errors."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest

from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.adapters import Access, build_adapter, resolve_base_url
from tertulia.providers.errors import ProviderError, ProviderFieldInvalid
from tertulia.providers.models import ListedModel
from tertulia.providers.protocol import (
    CountingProvider,
    Finish,
    ListingProvider,
    ModelRequest,
    ProviderEvent,
    ReasoningDelta,
    RequestMessage,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
)
from tertulia.providers.vendors import BY_ID, VENDORS, Vendor
from tests.fakes.scripted_provider import Raw, ScriptedProvider, Status
from tests.fakes.vendor_wires import OLLAMA_MODELS, WIRES, chunk, encode

KEY = "sk-very-secret-key-0123456789"
PICTURE = "data:image/png;base64,iVBORw0KGgo="
WEATHER = ToolSpec("weather", "Says the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
REQUEST = ModelRequest(
    "model-a",
    (
        RequestMessage("system", "Be brief."),
        RequestMessage("user", "What is this?", images=(PICTURE,)),
        RequestMessage("assistant", "", tool_calls=(ToolCall("call_0", "weather", '{"city":"Rome"}'),)),
        RequestMessage("tool", "sunny", tool_call_id="call_0"),
    ),
    max_tokens=100,
    temperature=0.5,
    frequency_penalty=0.1,
    tools=(WEATHER,),
)
ALL = [vendor.id for vendor in VENDORS]


def with_adapter(vendor: Vendor, provider: ScriptedProvider, work: Any) -> Any:
    async def main() -> Any:
        async with operator_client(Timeouts()) as client:
            access = Access(KEY, provider.url, {})
            return await work(build_adapter(vendor, access, client, Timeouts(), shown_as=vendor.display_name))

    return asyncio.run(main())


async def ask(adapter: ListingProvider) -> list[ProviderEvent]:
    return [event async for events in adapter.stream(REQUEST) for event in events]


def test_there_are_over_twenty_vendors_with_a_fake_for_each() -> None:
    assert len(ALL) == len(set(ALL)) > 20
    assert set(WIRES) == set(ALL)


@pytest.mark.parametrize("vendor_id", ALL)
def test_a_reply_is_read_whole(provider: ScriptedProvider, vendor_id: str) -> None:
    wire = WIRES[vendor_id]
    provider.play([Raw(encode(wire.chunks, is_lines=vendor_id == "ollama"))])
    events = with_adapter(BY_ID[vendor_id], provider, ask)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hello there"
    assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == wire.reasoning
    calls = [event for event in events if isinstance(event, ToolCall)]
    assert calls == ([ToolCall("call_1", "weather", '{"city":"Lima"}', wire.call_echo)] if wire.calls_a_tool else [])
    counted = [event for event in events if isinstance(event, Usage)][-1]
    assert (counted.input_tokens, counted.output_tokens, counted.cached_tokens) == wire.usage
    assert any(isinstance(event, Finish) for event in events)


@pytest.mark.parametrize("vendor_id", ALL)
def test_the_request_is_in_the_vendors_form(provider: ScriptedProvider, vendor_id: str) -> None:
    vendor = BY_ID[vendor_id]
    provider.play([Raw(encode(WIRES[vendor_id].chunks, is_lines=vendor_id == "ollama"))])
    with_adapter(vendor, provider, ask)
    body, (_, path, headers) = provider.requests[0], provider.calls[0]
    if vendor.key_header == "authorization":
        assert headers["authorization"] == f"Bearer {KEY}"
    else:
        assert headers[vendor.key_header] == KEY
        assert "authorization" not in headers
    if vendor.wire == "anthropic":
        assert (path, headers["anthropic-version"]) == ("/v1/messages", "2023-06-01")
        assert (body["system"][0]["text"], body["max_tokens"]) == ("Be brief.", 100)
        assert "frequency_penalty" not in body
        first, second, third = body["messages"]
        picture = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
        mark = {"cache_control": {"type": "ephemeral"}}
        assert first["content"][0] == {"type": "image", "source": picture}
        assert second["content"] == [{"type": "tool_use", "id": "call_0", "name": "weather", "input": {"city": "Rome"}}]
        assert third["content"] == [{"type": "tool_result", "tool_use_id": "call_0", "content": "sunny", **mark}]
        assert body["tools"][0]["input_schema"] == WEATHER.parameters
        return
    if vendor.wire == "ollama":
        check_ollama(path, body)
        return
    if vendor.wire == "google":
        check_google(path, body)
        return
    if vendor.wire == "cohere":
        check_cohere(path, body)
        return
    if vendor.wire == "responses" and vendor_id != "openai":
        check_responses(path, body)
        return
    assert path == "/v1/chat/completions"
    dialect = vendor.dialect
    assert body[dialect.max_tokens_field] == 100
    assert ("stream_options" in body) is dialect.has_stream_options
    assert ("frequency_penalty" in body) is ("frequency_penalty" not in dialect.refuses)
    assert body["messages"][1]["content"][1] == {"type": "image_url", "image_url": {"url": PICTURE}}
    assert body["messages"][2]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Rome"}'}
    call_id = body["messages"][2]["tool_calls"][0]["id"]
    assert body["messages"][3] == {"role": "tool", "content": "sunny", "tool_call_id": call_id}
    if vendor_id == "mistral":
        assert re.fullmatch("[a-zA-Z0-9]{9}", call_id)  # it refuses any other
    else:
        assert call_id == "call_0"
    assert body["tools"][0]["function"]["parameters"] == WEATHER.parameters


def check_ollama(path: str, body: dict[str, Any]) -> None:
    assert path == "/api/chat"
    assert body["options"] == {"temperature": 0.5, "frequency_penalty": 0.1, "num_predict": 100}
    system, question, call, result = body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert question == {"role": "user", "content": "What is this?", "images": ["iVBORw0KGgo="]}
    assert call["tool_calls"] == [{"function": {"name": "weather", "arguments": {"city": "Rome"}}}]
    assert result == {"role": "tool", "content": "sunny", "tool_name": "weather"}
    assert body["tools"][0]["function"]["parameters"] == WEATHER.parameters


def check_google(path: str, body: dict[str, Any]) -> None:
    assert path == "/v1/models/model-a:streamGenerateContent?alt=sse"
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    question, call, result = body["contents"]
    assert question["parts"] == [
        {"text": "What is this?"},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
    ]
    assert call == {
        "role": "model",
        "parts": [{"functionCall": {"id": "call_0", "name": "weather", "args": {"city": "Rome"}}}],
    }
    answer = {"id": "call_0", "name": "weather", "response": {"result": "sunny"}}
    assert result == {"role": "user", "parts": [{"functionResponse": answer}]}
    assert body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"] == WEATHER.parameters
    config = body["generationConfig"]
    assert (config["maxOutputTokens"], config["temperature"], config["frequencyPenalty"]) == (100, 0.5, 0.1)
    assert config["thinkingConfig"] == {"includeThoughts": True}


def check_cohere(path: str, body: dict[str, Any]) -> None:
    assert path == "/v1/chat"
    system, question, call, result = body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert question["content"][1] == {"type": "image_url", "image_url": {"url": PICTURE}}
    assert call["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert result == {"role": "tool", "tool_call_id": "call_0", "content": "sunny"}
    assert (body["max_tokens"], body["temperature"], body["frequency_penalty"]) == (100, 0.5, 0.1)


def check_responses(path: str, body: dict[str, Any]) -> None:
    assert (path, body["store"], body["max_output_tokens"]) == ("/v1/responses", False, 100)
    assert "frequency_penalty" not in body
    assert (body["include"], body["reasoning"]) == (["reasoning.encrypted_content"], {"summary": "auto"})
    system, question, call, result = body["input"]
    assert (system["role"], system["content"][0]["text"]) == ("system", "Be brief.")
    assert question["content"][1] == {"type": "input_image", "image_url": PICTURE, "detail": "auto"}
    assert call == {"type": "function_call", "call_id": "call_0", "name": "weather", "arguments": '{"city":"Rome"}'}
    assert result == {"type": "function_call_output", "call_id": "call_0", "output": "sunny"}
    assert body["tools"][0] == {
        "type": "function",
        "name": "weather",
        "description": WEATHER.description,
        "parameters": WEATHER.parameters,
        "strict": False,
    }


@pytest.mark.parametrize("vendor_id", ALL)
def test_the_model_list_is_read_without_models_that_cannot_chat(provider: ScriptedProvider, vendor_id: str) -> None:
    wire = WIRES[vendor_id]
    provider.listing, provider.shown = wire.listing, OLLAMA_MODELS

    async def list_models(adapter: ListingProvider) -> list[ListedModel]:
        return await adapter.list_models()

    models = with_adapter(BY_ID[vendor_id], provider, list_models)
    assert tuple(model.model_name for model in models) == wire.listed
    assert not models or models[0].context_window == wire.window


@pytest.mark.parametrize("vendor_id", ALL)
def test_a_vendor_error_is_explained_without_quoting_the_key(provider: ScriptedProvider, vendor_id: str) -> None:
    status, body, kind = WIRES[vendor_id].refusal
    provider.play([Status(status, body=body)])
    with pytest.raises(ProviderError) as caught:
        with_adapter(BY_ID[vendor_id], provider, ask)
    assert type(caught.value) is kind
    assert BY_ID[vendor_id].display_name in caught.value.detail
    assert KEY not in caught.value.detail
    payload = body[0] if isinstance(body, list) else body
    error = payload.get("error", payload) if isinstance(payload, dict) else payload
    message = (
        error
        if isinstance(error, str)
        else next((error[k] for k in ("message", "detail", "Message") if k in error), "")
    )
    if kind.code not in ("provider_key_refused",) and isinstance(message, str):
        assert message[:20] in caught.value.detail


def test_a_key_quoted_by_a_vendor_is_redacted(provider: ScriptedProvider) -> None:
    provider.play([Status(400, body={"error": {"message": f"bad request by {KEY} and sk-proj-abcdefghijkl"}})])
    with pytest.raises(ProviderError) as caught:
        with_adapter(BY_ID["openai"], provider, ask)
    assert KEY not in caught.value.detail
    assert "sk-proj-abcdefghijkl" not in caught.value.detail


def test_tool_calls_with_the_same_index_are_distinguished_by_id(provider: ScriptedProvider) -> None:
    call_delta = {"index": 0, "id": "a", "function": {"name": "weather", "arguments": "{}"}}
    provider.play(
        [
            Raw(
                encode(
                    [
                        chunk({"tool_calls": [call_delta]}),
                        chunk({"tool_calls": [call_delta | {"id": "b"}]}),
                        chunk({}, "stop"),
                        "[DONE]",
                    ]
                )
            )
        ]
    )
    calls = [event for event in with_adapter(BY_ID["vllm"], provider, ask) if isinstance(event, ToolCall)]
    assert [call.id for call in calls] == ["a", "b"]


def test_an_error_inside_a_stream_is_raised(provider: ScriptedProvider) -> None:
    for vendor_id, broken in (
        ("anthropic", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        ("cerebras", {"error": {"message": "server busy", "type": "x", "code": "y"}, "status_code": 503}),
    ):
        provider.play([Raw(encode([*WIRES[vendor_id].chunks[:3], broken]))])
        with pytest.raises(ProviderError, match=r"(?i)overloaded|busy"):
            with_adapter(BY_ID[vendor_id], provider, ask)


def test_anthropic_models_that_refuse_temperature_do_not_receive_it(provider: ScriptedProvider) -> None:
    for name, has_temperature in (("claude-opus-4-8", False), ("claude-sonnet-4-5", True)):
        provider.play([Raw(encode(WIRES["anthropic"].chunks))])

        async def ask_for(adapter: ListingProvider, name: str = name) -> list[ProviderEvent]:
            return [event async for events in adapter.stream(replace(REQUEST, model_name=name)) for event in events]

        with_adapter(BY_ID["anthropic"], provider, ask_for)
        assert ("temperature" in provider.requests[-1]) is has_temperature


def test_base_urls_are_built_from_the_vendor_fields() -> None:
    assert resolve_base_url(BY_ID["azure"], Access(KEY, None, {"resource": "my-company"})) == (
        "https://my-company.openai.azure.com/openai/v1"
    )
    for vendor_id, fields in (("azure", {}), ("bedrock", {"region": "evil.example/"}), ("azure", {"resource": "a.b"})):
        with pytest.raises(ProviderFieldInvalid):
            resolve_base_url(BY_ID[vendor_id], Access(KEY, None, fields))


@pytest.mark.parametrize(
    "address",
    [
        "ftp://x/v1",
        "https://",
        "https://u:p@host/v1",
        "https://host/v1?x=1",
        "https://host/v1#x",
        "https://ho st/",
        "x",
    ],
)
def test_an_invalid_base_url_is_refused(address: str) -> None:
    with pytest.raises(ProviderFieldInvalid):
        resolve_base_url(BY_ID["custom"], Access(None, address, {}))


def test_token_counts_come_from_vendors_that_offer_counting(provider: ScriptedProvider) -> None:
    counted = with_adapter(BY_ID["anthropic"], provider, lambda adapter: adapter.count_tokens("model-a", "word " * 80))
    assert counted == 100
    assert not with_adapter(BY_ID["openai"], provider, _counts)
    assert with_adapter(BY_ID["anthropic"], provider, _counts)


async def _counts(adapter: ListingProvider) -> bool:
    return isinstance(adapter, CountingProvider)
