"""Test that what a person asks of a model is sent in the form of each vendor, and left out where it has none."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.adapters import Access, build_adapter
from tertulia.providers.protocol import InputFile, ModelRequest, RequestMessage, ToolSpec
from tertulia.providers.vendors import BY_ID
from tests.fakes.scripted_provider import Raw, ScriptedProvider, Status
from tests.fakes.vendor_wires import WIRES, encode

WEATHER = ToolSpec("weather", "Says the weather.", {"type": "object", "properties": {}})
PDF = InputFile("report.pdf", "application/pdf", "data:application/pdf;base64,JVBERi0=")
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


def sent(provider: ScriptedProvider, vendor_id: str, model: str, **parameters: Any) -> dict[str, Any]:
    """Return the body of a request."""
    spoken = "anthropic" if model.startswith("anthropic.") else vendor_id  # Bedrock has a route for Claude
    provider.play([Raw(encode(WIRES[spoken].chunks, is_lines=vendor_id == "ollama"))])
    question = RequestMessage("user", "Why?", files=parameters.pop("files", ()))
    request = replace(ModelRequest(model, (question,), max_tokens=parameters.pop("max_tokens", 40_000)), **parameters)

    async def main() -> None:
        async with operator_client(Timeouts()) as client:
            vendor = BY_ID[vendor_id]
            adapter = build_adapter(vendor, Access("key", provider.url, {}), client, Timeouts(), shown_as="Vendor")
            async for _ in adapter.stream(request):
                pass

    asyncio.run(main())
    return provider.requests[-1]


@pytest.mark.parametrize(
    ("vendor", "model", "effort", "expected"),
    [
        ("azure", "gpt-5.5", "max", {"reasoning": {"summary": "auto", "effort": "xhigh"}}),
        ("azure", "gpt-5.5", None, {"reasoning": {"summary": "auto"}}),
        ("xai", "grok-4.3", "none", {"reasoning": {"summary": "auto", "effort": "none"}}),
        (
            "anthropic",
            "claude-opus-5",
            "high",
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}},
        ),
        ("anthropic", "claude-opus-5", None, {"thinking": {"type": "adaptive", "display": "summarized"}}),
        ("anthropic", "claude-opus-5", "none", {"thinking": {"type": "disabled"}, "output_config": None}),
        ("anthropic", "claude-sonnet-5-5", "none", {"thinking": {"type": "between_tools"}}),
        ("anthropic", "claude-opus-4-8", None, {"thinking": None, "output_config": None}),
        ("anthropic", "claude-opus-4-8", "low", {"output_config": {"effort": "low"}}),
        ("anthropic", "claude-sonnet-4-5", "medium", {"thinking": {"type": "enabled", "budget_tokens": 8192}}),
        ("anthropic", "claude-sonnet-4-5", "none", {"thinking": None}),
        ("bedrock", "anthropic.claude-opus-4-8", "max", {"output_config": {"effort": "max"}}),
        ("groq", "openai/gpt-oss-120b", "max", {"reasoning_effort": "high"}),
        ("mistral", "mistral-small-latest", "none", {"reasoning_effort": "none"}),
        ("mistral", "mistral-small-2506", "none", {"reasoning_effort": None}),
        ("deepseek", "deepseek-v4-pro", "max", {"thinking": {"type": "enabled"}, "reasoning_effort": "max"}),
        ("deepseek", "deepseek-v4-pro", "none", {"thinking": {"type": "disabled"}, "reasoning_effort": None}),
        ("moonshot", "kimi-k2.6", "high", {"thinking": {"type": "enabled"}, "reasoning_effort": None}),
        ("moonshot", "kimi-k3", "none", {"thinking": None, "reasoning_effort": "low"}),
        ("openrouter", "openai/gpt-5.5", "low", {"reasoning": {"effort": "low"}}),
        ("cohere", "command-a-reasoning-08-2025", "low", {"thinking": {"type": "enabled", "token_budget": 2048}}),
        ("cohere", "command-a-reasoning-08-2025", "none", {"thinking": {"type": "disabled"}}),
        ("ollama", "qwen3.5", "none", {"think": False}),
        ("ollama", "qwen3.5", "max", {"think": True}),
        ("ollama", "gpt-oss:20b", "max", {"think": "high"}),
        ("ollama", "llama3.3", "max", {"think": None}),
        ("custom", "some-model", "max", {"reasoning_effort": None, "reasoning": None}),
    ],
)
def test_the_effort(
    provider: ScriptedProvider, vendor: str, model: str, effort: str | None, expected: dict[str, Any]
) -> None:
    body = sent(provider, vendor, model, effort=effort)
    assert {name: body.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("gemini-3-pro-preview", "high", {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("gemini-2.5-flash", "none", {"includeThoughts": True, "thinkingBudget": 0}),
        ("gemini-2.5-pro", "low", {"includeThoughts": True, "thinkingBudget": 2048}),
        ("gemini-3.5-flash", None, {"includeThoughts": True}),
        ("gemini-2.0-flash", "high", None),
    ],
)
def test_the_effort_of_google(
    provider: ScriptedProvider, model: str, effort: str | None, expected: dict[str, Any] | None
) -> None:
    body = sent(provider, "google", model, effort=effort)
    assert body["generationConfig"].get("thinkingConfig") == expected


def test_thoughts_of_a_number_of_tokens_leave_room_for_the_reply(provider: ScriptedProvider) -> None:
    def budget(max_tokens: int) -> Any:
        body = sent(provider, "anthropic", "claude-sonnet-4-5", effort="high", max_tokens=max_tokens, temperature=0.5)
        assert ("temperature" in body) is ("thinking" not in body)  # it takes no other temperature with thoughts
        return body.get("thinking", {}).get("budget_tokens")

    assert [budget(tokens) for tokens in (64_000, 4096, 2048, 2047)] == [24_576, 3072, 1024, None]


@pytest.mark.parametrize(
    ("vendor", "model", "expected"),
    [
        ("azure", "gpt-5.5", {"type": "web_search"}),
        ("azure", "gpt-4.1-nano", None),
        ("xai", "grok-4.3", {"type": "web_search"}),
        ("anthropic", "claude-opus-5", {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}),
        ("bedrock", "anthropic.claude-opus-4-8", None),
        ("google", "gemini-3.5-flash", {"googleSearch": {}}),
        ("google", "gemini-2.5-pro", None),  # it cannot search together with our tools
    ],
)
def test_the_search_of_the_vendor(
    provider: ScriptedProvider, vendor: str, model: str, expected: dict[str, Any] | None
) -> None:
    tools = sent(provider, vendor, model, web_search=True, tools=(WEATHER,))["tools"]
    marks = {"cache_control"}
    assert len(tools) == 1 + (expected is not None)
    if expected is not None:
        assert {name: value for name, value in tools[-1].items() if name not in marks} == expected
    assert len(sent(provider, vendor, model, tools=(WEATHER,))["tools"]) == 1


def test_google_searches_without_our_tools_and_says_so_beside_them(provider: ScriptedProvider) -> None:
    assert sent(provider, "google", "gemini-2.5-pro", web_search=True)["tools"] == [{"googleSearch": {}}]
    config = sent(provider, "google", "gemini-3.5-flash", web_search=True, tools=(WEATHER,))["toolConfig"]
    assert config == {"functionCallingConfig": {"mode": "AUTO"}, "includeServerSideToolInvocations": True}


def test_openrouter_searches_with_any_model(provider: ScriptedProvider) -> None:
    search = {"type": "openrouter:web_search"}
    assert sent(provider, "openrouter", "x/y", web_search=True)["tools"] == [search]
    assert sent(provider, "openrouter", "x/y", web_search=True, tools=(WEATHER,))["tools"][1:] == [search]
    assert "tools" not in sent(provider, "custom", "x", web_search=True)


def test_a_search_needs_more_than_the_least_effort(provider: ScriptedProvider) -> None:
    assert sent(provider, "azure", "gpt-5", web_search=True, effort="minimal")["reasoning"]["effort"] == "low"
    assert sent(provider, "azure", "gpt-5", effort="minimal")["reasoning"]["effort"] == "minimal"


@pytest.mark.parametrize(
    ("vendor", "model", "choice", "parallel", "expected"),
    [
        ("custom", "m", "required", False, {"tool_choice": "required", "parallel_tool_calls": False}),
        ("custom", "m", None, None, {"tool_choice": None, "parallel_tool_calls": None}),
        ("azure", "gpt-5.5", "none", True, {"tool_choice": "none", "parallel_tool_calls": True}),
        ("anthropic", "claude-opus-5", "required", None, {"tool_choice": {"type": "auto"}}),  # it thinks
        ("anthropic", "claude-opus-4-8", "required", None, {"tool_choice": {"type": "any"}}),
        ("anthropic", "claude-opus-5-5", "required", None, {"tool_choice": {"type": "auto"}}),
        (
            "anthropic",
            "claude-opus-5",
            None,
            False,
            {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        ),
        ("anthropic", "claude-opus-5", "none", False, {"tool_choice": {"type": "none"}}),
        ("google", "gemini-3.5-flash", "required", None, {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
        ("cohere", "command-a-03-2025", "required", None, {"tool_choice": "REQUIRED"}),
        ("cohere", "command-a-03-2025", "auto", None, {"tool_choice": None}),
    ],
)
def test_the_choice_of_tools(
    provider: ScriptedProvider, vendor: str, model: str, choice: str | None, parallel: bool | None, expected: Any
) -> None:
    body = sent(provider, vendor, model, tools=(WEATHER,), tool_choice=choice, parallel_tool_calls=parallel)
    assert {name: body.get(name) for name in expected} == expected
    without = sent(provider, vendor, model, tool_choice=choice, parallel_tool_calls=parallel)
    assert not without.keys() & {"tool_choice", "parallel_tool_calls", "toolConfig", "tools"}


def test_the_verbosity_and_the_form_of_the_reply(provider: ScriptedProvider) -> None:
    body = sent(provider, "azure", "gpt-5.5", verbosity="low", response_schema=SCHEMA)
    assert body["text"]["verbosity"] == "low"
    assert body["text"]["format"]["schema"] == SCHEMA
    assert "text" not in sent(provider, "azure", "gpt-4.1", verbosity="low")
    body = sent(provider, "anthropic", "claude-opus-5", effort="low", response_schema=SCHEMA)
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}
    config = sent(provider, "google", "gemini-3.5-flash", response_schema=SCHEMA)["generationConfig"]
    assert (config["responseMimeType"], config["responseJsonSchema"]) == ("application/json", SCHEMA)
    assert sent(provider, "custom", "m", response_schema=SCHEMA)["response_format"]["json_schema"]["schema"] == SCHEMA
    assert sent(provider, "ollama", "m", response_schema=SCHEMA)["format"] == SCHEMA
    assert sent(provider, "cohere", "m", response_schema=SCHEMA)["response_format"]["json_schema"] == SCHEMA


def test_a_pdf_is_sent_as_it_is(provider: ScriptedProvider) -> None:
    (message,) = sent(provider, "azure", "gpt-5.5", files=(PDF,))["input"]
    assert message["content"][1] == {"type": "input_file", "filename": "report.pdf", "file_data": PDF.url}
    (message,) = sent(provider, "anthropic", "claude-opus-5", files=(PDF,))["messages"]
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    assert message["content"][0] == {"type": "document", "source": source, "title": "report.pdf"}
    (content,) = sent(provider, "google", "gemini-3.5-flash", files=(PDF,))["contents"]
    assert content["parts"][1] == {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}}
    (message,) = sent(provider, "openrouter", "openai/gpt-5.5", files=(PDF,))["messages"]
    assert message["content"][1] == {"type": "file", "file": {"filename": "report.pdf", "file_data": PDF.url}}


@pytest.mark.parametrize(
    ("vendor", "model", "said", "parameters", "dropped"),
    [
        ("google", "gemini-3.9-new", "Thinking level MINIMAL is not supported for this model.", {"effort": "minimal"}, "thinkingConfig"),
        ("google", "gemini-3.5-flash", "Penalty is not enabled for this model", {"frequency_penalty": 0.5}, "frequencyPenalty"),
        ("anthropic", "claude-opus-5", "thinking: display is not supported", {}, "thinking"),
        ("azure", "gpt-5.5", "Unsupported parameter: 'parallel_tool_calls' is not supported", {"parallel_tool_calls": False, "tools": (WEATHER,)}, "parallel_tool_calls"),
        ("custom", "m", "tool_choice is not supported", {"tool_choice": "required", "tools": (WEATHER,)}, "tool_choice"),
    ],
)  # fmt: skip
def test_what_a_model_refuses_is_left_out(
    provider: ScriptedProvider, vendor: str, model: str, said: str, parameters: dict[str, Any], dropped: str
) -> None:
    provider.play([Status(400, said)])
    body = sent(provider, vendor, model, **parameters)
    assert len(provider.requests) == 2
    first = provider.requests[0].get("generationConfig", provider.requests[0])
    assert dropped in first
    assert dropped not in body.get("generationConfig", body)
