"""The wire format of each vendor, from its documentation or client: streams, model lists and errors.

Every script says `Hello there`. Some reason first, most call a tool, and all report usage in their own format.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from tertulia.providers.errors import KeyRefused, ProviderError, ProviderUnavailable, RateLimited, RequestRefused

HELLO = [{"content": "Hello"}, {"content": " there"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Lima"}'}}


@dataclass(frozen=True)
class VendorWire:
    chunks: list[Any]
    usage: tuple[int, int, int]  # input tokens, output tokens, cached input tokens
    reasoning: str = ""
    calls_a_tool: bool = True
    call_echo: Any = None
    listing: Any = None
    listed: tuple[str, ...] = ("model-a",)
    window: int | None = None
    refusal: tuple[int, Any, type[ProviderError]] = (
        401,
        {
            "error": {
                "message": "Incorrect API key provided: KEY",
                "type": "invalid_request_error",
                "code": "invalid_api_key",
            }
        },
        KeyRefused,
    )
    settings: dict[str, str] = field(default_factory=dict)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **extra: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices} | extra


def usage(prompt: int = 20, completion: int = 9, **extra: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion} | extra


PAGE = {"title": "A page", "url": "https://example.org/page", "date": "2026-11-01"}


def google_chunk(part: dict[str, Any], *, usage: Any = None, **extra: Any) -> dict[str, Any]:
    candidate = {"index": 0, "content": {"role": "model", "parts": [part]}} | extra
    counted = {"usageMetadata": usage} if usage else {"usageMetadata": {"promptTokenCount": 20}}
    return {"candidates": [candidate], "modelVersion": "m", "responseId": "r"} | counted


def cohere_text(kind: str, index: int, **content: Any) -> dict[str, Any]:
    return {"type": kind, "index": index, "delta": {"message": {"content": content}}}


def cohere_call(kind: str, **call: Any) -> dict[str, Any]:
    return {"type": kind, "index": 0, "delta": {"message": {"tool_calls": call}}}


def plain(*, reasoning: str | None = None, call: Any = CALL | {"index": 0}, used: Any = None) -> list[Any]:
    """Return a stream: role, optional reasoning, text, a tool call in one chunk, the end, and usage on its own."""
    thoughts = [chunk({reasoning: "Let me think."})] if reasoning else []
    calls = [chunk({"tool_calls": [call]})] if call else []
    return [
        chunk({"role": "assistant", "content": ""}),
        *thoughts,
        *map(chunk, HELLO),
        *calls,
        chunk({}, "tool_calls" if call else "stop"),
        chunk(None, usage=used or usage()),
        "[DONE]",
    ]


def openai_list(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": [{"object": "model", "created": 1} | entry for entry in entries]}


PIECES = [
    chunk(
        {
            "tool_calls": [
                {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
            ]
        }
    ),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Lima"}'}}]}),
]
ANTHROPIC: list[Any] = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "content": [],
            "usage": {
                "input_tokens": 12,
                "cache_read_input_tokens": 6,
                "cache_creation_input_tokens": 2,
                "output_tokens": 1,
            },
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Let me think."}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "EqQB"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": " there"}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}},
    },
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": ""}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"city":'}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '"Lima"}'}},
    {"type": "content_block_stop", "index": 2},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 9},
    },
    {"type": "some_new_event"},
    {"type": "message_stop"},
]

THOUGHTS = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Let me think."}],
    "encrypted_content": "gAAAA",
}
SAID = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Hello there", "annotations": []}],
}
CALLED = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city":"Lima"}',
    "status": "completed",
}
COUNTED = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 6},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 29,
}
RESPONSE: dict[str, Any] = {"id": "resp_1", "object": "response", "status": "in_progress", "error": None, "output": []}
# As platform.openai.com/docs/api-reference/responses-streaming describes it.
RESPONSES: list[Any] = [
    {"type": "response.created", "sequence_number": 0, "response": RESPONSE},
    {"type": "response.in_progress", "sequence_number": 1, "response": RESPONSE},
    {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": THOUGHTS | {"summary": [], "encrypted_content": ""},
    },
    {"type": "response.reasoning_summary_part.added", "item_id": "rs_1", "output_index": 0, "summary_index": 0},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "Let me "},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "think."},
    {"type": "response.output_item.done", "output_index": 0, "item": THOUGHTS | {"status": "completed"}},
    {"type": "response.output_item.added", "output_index": 1, "item": SAID | {"content": [], "status": "in_progress"}},
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "Hello"},
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": " there"},
    {"type": "response.output_item.done", "output_index": 1, "item": SAID},
    {"type": "response.output_item.added", "output_index": 2, "item": CALLED | {"arguments": ""}},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"city":"Lima"}'},
    {"type": "response.output_item.done", "output_index": 2, "item": CALLED},
    {"type": "response.some_new_event"},
    {
        "type": "response.completed",
        "response": RESPONSE | {"status": "completed", "output": [THOUGHTS, SAID, CALLED], "usage": COUNTED},
    },
]


def ollama(message: dict[str, Any], **extra: Any) -> dict[str, Any]:
    return {"model": "m", "created_at": "2026-11-28T12:00:00Z", "message": {"role": "assistant"} | message} | extra


# As docs.ollama.com/api/chat describes it: lines of JSON.
OLLAMA: list[Any] = [
    ollama({"content": "", "thinking": "Let me "}, done=False),
    ollama({"content": "", "thinking": "think."}, done=False),
    ollama({"content": "Hello"}, done=False),
    ollama({"content": " there"}, done=False),
    ollama(
        {"content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Lima"}}}]}, done=False
    ),
    ollama({"content": ""}, done=True, done_reason="stop", prompt_eval_count=20, eval_count=9, total_duration=1),
]
# What /api/show says, by model.
OLLAMA_MODELS: dict[str, Any] = {
    "model-a": {
        "model_info": {"general.architecture": "llama", "llama.context_length": 131072},
        "capabilities": ["completion", "tools", "thinking"],
    },
    "embedder": {"model_info": {"bert.context_length": 512}, "capabilities": ["embedding"]},
}

WIRES: dict[str, VendorWire] = {
    "openai": VendorWire(
        [
            chunk({"role": "assistant", "content": "", "refusal": None}),
            *map(chunk, HELLO),
            *PIECES,
            chunk({}, "tool_calls"),
            chunk(None, usage=usage(prompt_tokens_details={"cached_tokens": 6, "audio_tokens": 0})),
            "[DONE]",
        ],
        (20, 9, 6),
        listing=openai_list(
            {"id": "model-a"}, {"id": "text-embedding-3-small"}, {"id": "whisper-1"}, {"id": "gpt-image-1"}
        ),
    ),
    "anthropic": VendorWire(
        ANTHROPIC,
        (20, 9, 6),
        reasoning="Let me think.",
        listing={
            "data": [{"id": "model-a", "type": "model", "display_name": "Model A", "max_input_tokens": 200000}],
            "has_more": False,
            "first_id": "model-a",
            "last_id": "model-a",
        },
        window=200000,
        refusal=(
            529,
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "r"},
            ProviderUnavailable,
        ),
    ),
    "google": VendorWire(
        [
            google_chunk({"text": "Let me think.", "thought": True}),
            google_chunk({"text": "Hello"}),
            google_chunk({"text": " there"}),
            google_chunk(
                {
                    "functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Lima"}},
                    "thoughtSignature": "sig",
                },
                finishReason="STOP",
                usage={
                    "promptTokenCount": 20,
                    "cachedContentTokenCount": 5,
                    "candidatesTokenCount": 4,
                    "thoughtsTokenCount": 5,
                    "totalTokenCount": 29,
                },
            ),
        ],
        (20, 9, 5),
        reasoning="Let me think.",
        call_echo={"thoughtSignature": "sig"},
        listing={
            "models": [
                {
                    "name": "models/model-a",
                    "displayName": "Model A",
                    "inputTokenLimit": 1048576,
                    "supportedGenerationMethods": ["generateContent", "countTokens"],
                    "thinking": True,
                },
                {"name": "models/gemini-embedding-001", "supportedGenerationMethods": ["embedContent"]},
                {"name": "models/gemini-3-flash-tts", "supportedGenerationMethods": ["generateContent"]},
            ]
        },
        window=1048576,
        refusal=(
            400,
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "INVALID_ARGUMENT",
                }
            },
            KeyRefused,
        ),
    ),
    "mistral": VendorWire(
        [
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Let me think."}]}]}),
            chunk({"content": [{"type": "text", "text": "Hello"}]}),
            chunk({"content": " there"}),
            chunk({"tool_calls": [CALL | {"index": 0}]}, "tool_calls", usage=usage()),
            "[DONE]",
        ],
        (20, 9, 0),
        reasoning="Let me think.",
        listing=openai_list(
            {"id": "model-a", "max_context_length": 131072, "capabilities": {"completion_chat": True}},
            {"id": "mistral-ocr", "max_context_length": 16384, "capabilities": {"completion_chat": False}},
        ),
        window=131072,
        refusal=(
            422,
            {
                "object": "error",
                "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "x"]}]},
                "type": "invalid",
            },
            RequestRefused,
        ),
    ),
    "groq": VendorWire(
        [
            chunk({"role": "assistant", "content": ""}, x_groq={"id": "req_1"}),
            chunk({"reasoning": "Let me think."}),
            *map(chunk, HELLO),
            chunk({"tool_calls": [CALL | {"index": 0}]}),
            chunk({}, "tool_calls", x_groq={"id": "req_1", "usage": usage(prompt_tokens_details={"cached_tokens": 5})}),
            "[DONE]",
        ],
        (20, 9, 5),
        reasoning="Let me think.",
        listing=openai_list({"id": "model-a", "context_window": 131072, "active": True}, {"id": "whisper-large-v3"}),
        window=131072,
        refusal=(
            429,
            {"error": {"message": "Rate limit reached", "type": "tokens", "code": "rate_limit_exceeded"}},
            RateLimited,
        ),
    ),
    "deepseek": VendorWire(
        plain(reasoning="reasoning_content", used=usage(prompt_cache_hit_tokens=8, prompt_cache_miss_tokens=12)),
        (20, 9, 8),
        reasoning="Let me think.",
        listing={"object": "list", "data": [{"id": "model-a", "object": "model", "owned_by": "deepseek"}]},
        refusal=(
            402,
            {"error": {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request_error"}},
            RequestRefused,
        ),
    ),
    "xai": VendorWire(
        RESPONSES,
        (20, 9, 6),
        reasoning="Let me think.",
        listing=openai_list({"id": "model-a"}),
        refusal=(
            400,
            {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: KEY."},
            KeyRefused,
        ),
    ),
    "openrouter": VendorWire(
        [
            chunk(
                {
                    "role": "assistant",
                    "content": "",
                    "reasoning": "Let me think.",
                    "reasoning_details": [{"type": "reasoning.text"}],
                }
            ),
            *map(chunk, HELLO),
            chunk({"tool_calls": [CALL | {"index": 0}]}, "tool_calls"),
            chunk(
                {"role": "assistant", "content": ""},
                usage=usage(cost=0.0012, prompt_tokens_details={"cached_tokens": 2}),
            ),
            "[DONE]",
        ],
        (20, 9, 2),
        reasoning="Let me think.",
        listing={"data": [{"id": "vendor/model-a", "name": "Vendor: Model A", "context_length": 256000}]},
        listed=("vendor/model-a",),
        window=256000,
        refusal=(
            502,
            {"error": {"code": 502, "message": "Provider returned error", "metadata": {"provider_name": "x"}}},
            ProviderUnavailable,
        ),
    ),
    "together": VendorWire(
        plain(reasoning="reasoning", used=usage()),
        (20, 9, 0),
        reasoning="Let me think.",
        listing=[
            {"id": "vendor/model-a", "type": "chat", "display_name": "Model A", "context_length": 131072},
            {"id": "vendor/pictures", "type": "image", "context_length": 0},
        ],
        listed=("vendor/model-a",),
        window=131072,
    ),
    "fireworks": VendorWire(
        [
            *plain(reasoning="reasoning_content")[:-3],
            chunk({}, "tool_calls", usage=usage(prompt_tokens_details={"cached_tokens": 4})),
            "[DONE]",
        ],
        (20, 9, 4),
        reasoning="Let me think.",
        listing=openai_list({"id": "accounts/fireworks/models/model-a", "context_length": 65536}),
        listed=("accounts/fireworks/models/model-a",),
        window=65536,
        refusal=(
            404,
            {
                "error": {
                    "object": "error",
                    "type": "invalid_request_error",
                    "code": "NOT_FOUND",
                    "message": "Model not found",
                }
            },
            RequestRefused,
        ),
    ),
    "cohere": VendorWire(
        [
            {"type": "message-start", "id": "m", "delta": {"message": {"role": "assistant", "content": []}}},
            cohere_text("content-start", 0, thinking="Let me "),
            cohere_text("content-delta", 0, thinking="think."),
            {"type": "content-end", "index": 0},
            cohere_text("content-start", 1, text=""),
            cohere_text("content-delta", 1, text="Hello"),
            cohere_text("content-delta", 1, text=" there"),
            {"type": "content-end", "index": 1},
            cohere_call("tool-call-start", id="call_1", type="function", function={"name": "weather", "arguments": ""}),
            cohere_call("tool-call-delta", function={"arguments": '{"city":'}),
            cohere_call("tool-call-delta", function={"arguments": '"Lima"}'}),
            {"type": "tool-call-end", "index": 0},
            {
                "type": "message-end",
                "delta": {
                    "finish_reason": "TOOL_CALL",
                    "usage": {
                        "billed_units": {"input_tokens": 10, "output_tokens": 9},
                        "tokens": {"input_tokens": 20.0, "output_tokens": 9.0},
                        "cached_tokens": 5,
                    },
                },
            },
        ],
        (20, 9, 5),
        reasoning="Let me think.",
        listing={
            "models": [
                {"name": "model-a", "endpoints": ["chat"], "context_length": 128000.0, "features": ["tools"]},
                {"name": "embed-v4", "endpoints": ["embed"], "context_length": 128000.0},
            ]
        },
        window=128_000,
        refusal=(401, {"id": "x", "message": "invalid api token"}, KeyRefused),
    ),
    "azure": VendorWire(
        RESPONSES,
        (20, 9, 6),
        reasoning="Let me think.",
        listing=openai_list({"id": "model-a", "status": "succeeded", "capabilities": {"chat_completion": True}}),
        refusal=(
            401,
            {"error": {"code": "401", "message": "Access denied due to invalid subscription key."}},
            KeyRefused,
        ),
        settings={"resource": "my-company"},
    ),
    "bedrock": VendorWire(
        plain(reasoning="reasoning"),
        (20, 9, 0),
        reasoning="Let me think.",
        listing=openai_list({"id": "vendor.model-a"}),
        listed=("vendor.model-a",),
        refusal=(403, {"Message": "Authentication failed: Please make sure your API Key is valid."}, KeyRefused),
        settings={"region": "eu-central-1"},
    ),
    "perplexity": VendorWire(
        [
            chunk({"role": "assistant", "content": "Hello"}, search_results=[PAGE], citations=[PAGE["url"]]),
            chunk(
                {"content": " there"},
                "stop",
                search_results=[PAGE],
                usage=usage(num_search_queries=1, search_context_size="low"),
            ),
            "[DONE]",
        ],
        (20, 9, 0),
        calls_a_tool=False,
        listed=(),
    ),
    "huggingface": VendorWire(
        plain(reasoning="reasoning"),
        (20, 9, 0),
        reasoning="Let me think.",
        listing=openai_list(
            {
                "id": "org/model-a",
                "providers": [{"provider": "x", "context_length": 8192}, {"provider": "y", "context_length": 40960}],
            }
        ),
        listed=("org/model-a",),
        window=40960,
        refusal=(401, {"error": "Invalid username or password."}, KeyRefused),
    ),
    "cerebras": VendorWire(
        plain(reasoning="reasoning", used=usage(prompt_tokens_details={"cached_tokens": 0})),
        (20, 9, 0),
        reasoning="Let me think.",
        listing=openai_list({"id": "model-a", "owned_by": "Cerebras"}),
        refusal=(
            422,
            {"message": "Wrong API format", "type": "invalid_request_error", "param": "x", "code": "wrong_api_format"},
            RequestRefused,
        ),
    ),
    "moonshot": VendorWire(
        [
            *plain(reasoning="reasoning_content")[:-3],
            # The usage is inside the choice.
            {
                "id": "c1",
                "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls", "usage": usage(cached_tokens=7)}],
            },
            "[DONE]",
        ],
        (20, 9, 7),
        reasoning="Let me think.",
        listing=openai_list({"id": "model-a", "context_length": 262144, "supports_image_in": True}),
        window=262144,
        refusal=(429, {"error": {"type": "engine_overloaded_error", "message": "overloaded"}}, RateLimited),
    ),
    "nvidia": VendorWire(
        plain(reasoning="reasoning_content"),
        (20, 9, 0),
        reasoning="Let me think.",
        listing=openai_list({"id": "org/model-a"}, {"id": "nvidia/nv-embed-v1"}),
        listed=("org/model-a",),
        refusal=(
            404,
            {"status": 404, "title": "Not Found", "detail": "Function not found for account"},
            RequestRefused,
        ),
    ),
    "ollama": VendorWire(
        OLLAMA,
        (20, 9, 0),
        reasoning="Let me think.",
        listing={
            "models": [
                {"name": "model-a", "model": "model-a", "details": {"family": "llama"}},
                {"name": "embedder", "model": "embedder", "details": {"family": "bert"}},
            ]
        },
        window=131072,
        refusal=(404, {"error": "model 'x' not found"}, RequestRefused),
    ),
    "lmstudio": VendorWire(
        plain(reasoning="reasoning_content"),
        (20, 9, 0),
        reasoning="Let me think.",
        listing=openai_list({"id": "model-a"}),
        refusal=(400, {"error": "No models loaded"}, RequestRefused),
    ),
    "vllm": VendorWire(
        plain(reasoning="reasoning"),
        (20, 9, 0),
        reasoning="Let me think.",
        listing=openai_list({"id": "model-a", "max_model_len": 32768}),
        window=32768,
        refusal=(401, {"error": "Unauthorized"}, KeyRefused),
    ),
    "custom": VendorWire(plain(call=None), (20, 9, 0), calls_a_tool=False, listing=openai_list({"id": "model-a"})),
}


def encode(chunks: list[Any], *, is_lines: bool = False) -> bytes:
    if is_lines:
        return b"".join(json.dumps(item).encode() + b"\n" for item in chunks)
    return b"".join(
        b"data: " + (item if isinstance(item, str) else json.dumps(item)).encode() + b"\n\n" for item in chunks
    )
