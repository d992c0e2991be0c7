"""Call OpenAI-compatible chat completions with our own thin client (docs/adr/0006)."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tertulia.providers.abilities import abilities_of
from tertulia.providers.errors import MalformedReply, ProviderError
from tertulia.providers.event_stream import MAX_DRAWN_BYTES
from tertulia.providers.models import Capabilities, ListedModel
from tertulia.providers.openai_reading import ChatReading
from tertulia.providers.protocol import ModelRequest, ProviderEvent, RequestMessage, ToolCall
from tertulia.providers.reading import read_reply
from tertulia.providers.refusals import TOKEN_LIMITS, RefusedParameters
from tertulia.providers.request_rules import ECHO, CallIds, alternating, repeat_without_refused
from tertulia.providers.values import count_of
from tertulia.providers.vendor_adapter import VendorAdapter
from tertulia.providers.wire import MAX_LISTED, Wire

_OPTIONS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
# Listed models that do not chat.
_SILENT = re.compile(
    r"embed|whisper|transcri|(^|[-/])tts|dall-e|gpt-image|imagen|veo-|moderation|realtime|gpt-audio|sora|rerank|stable-diffusion|flux"
)
# Names of the context window in vendors' lists.
_WINDOW_FIELDS = ("context_length", "context_window", "max_context_length", "max_model_len", "max_input_tokens")


# `reasoning_effort` with the model's word; `thinking` on or off, and the word if there are several; `reasoning.effort`.
EffortForm = Literal["reasoning_effort", "thinking", "reasoning"]


@dataclass(frozen=True)
class Dialect:
    """The differences of a vendor's chat completions from OpenAI's."""

    max_tokens_field: str = "max_tokens"
    has_stream_options: bool = True
    refuses: frozenset[str] = frozenset()  # parameters that it rejects
    models_address: str | None = "/models"  # below the base URL; None: no list
    call_ids: CallIds = field(default_factory=CallIds)
    echoes: frozenset[str] = frozenset()  # fields of a reply's message that are returned as they came
    needs_reasoning: bool = False  # a turn with calls must have `reasoning_content`, if only an empty one
    # Models whose calls must carry a signature, and what replaces it in calls of another vendor or model.
    signing_models: str | None = None
    foreign_signature: Mapping[str, Any] = field(default_factory=dict)
    effort_form: EffortForm = "reasoning_effort"


class OpenAICompatible(VendorAdapter):
    def __init__(
        self,
        wire: Wire,
        dialect: Dialect | None = None,
        *,
        continues_prefix: bool = False,
        refused: RefusedParameters | None = None,
    ) -> None:
        super().__init__(wire, refused)
        self.continues_prefix = continues_prefix
        self._dialect = dialect or Dialect()

    async def list_models(self) -> list[ListedModel]:
        """List the models in the vendor's order, none if it has no list. Raises a ProviderError."""
        address = self._dialect.models_address
        if address is None:
            return []
        models = await list_openai_models(self._wire, address)
        is_local = self._wire.vendor_id in ("custom", "lmstudio", "openai")
        if not is_local or all(model.context_window for model in models):
            return models
        return await with_local_facts(self._wire, models)

    def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """Yield the reply. A parameter that the model refuses is left out, and the request is sent once more."""
        draws = abilities_of(self._wire.vendor_id, request.model_name).always_draws
        wire = replace(self._wire, most_event_bytes=MAX_DRAWN_BYTES) if draws else self._wire
        return repeat_without_refused(
            request,
            self._refused,
            self._wire,
            lambda request, refused: self._body(request, refused),
            lambda body: read_reply(wire, "/chat/completions", body, ChatReading(wire, self._dialect.echoes)),
            inner=lambda _: {*self._dialect.echoes, *(("web_search",) if request.web_search else ())},
        )

    def _body(self, request: ModelRequest, refused: frozenset[str]) -> dict[str, object]:
        body: dict[str, object] = {
            "model": request.model_name,
            "messages": [
                self._message(message, request.model_name, refused) for message in alternating(request.messages)
            ],
            "stream": True,
        }
        if request.max_tokens is not None:
            longest = self._refused.longest_reply(self._wire.account, request.model_name, request.max_tokens)
            usual = self._dialect.max_tokens_field
            for name in sorted(TOKEN_LIMITS, key=lambda name: name != usual):
                if name not in refused:
                    body[name] = longest
                    break
        if self._dialect.has_stream_options and "stream_options" not in refused:
            body["stream_options"] = {"include_usage": True}
        if request.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
                }
                for tool in request.tools
            ]
            if request.tool_choice is not None:
                body["tool_choice"] = request.tool_choice
            if request.parallel_tool_calls is not None:
                body["parallel_tool_calls"] = request.parallel_tool_calls
        if self._wire.vendor_id == "openrouter" and request.web_search and "web_search" not in refused:
            tools = body.get("tools")
            body["tools"] = [*(tools if isinstance(tools, list) else ()), {"type": "openrouter:web_search"}]
        body |= {name: getattr(request, name) for name in _OPTIONS if getattr(request, name) is not None}
        body |= self._optional(request)
        return {name: value for name, value in body.items() if name not in refused | self._dialect.refuses}

    def _optional(self, request: ModelRequest) -> dict[str, object]:
        """Return how long to think, whether to search, and the form of the reply."""
        abilities = abilities_of(self._wire.vendor_id, request.model_name)
        body: dict[str, object] = {}
        word = abilities.word_for(request.effort)
        if word is not None:
            body |= _effort(self._dialect.effort_form, word, abilities.words)
        if self._wire.vendor_id == "openai" and request.web_search and abilities.searches:
            body["web_search_options"] = {}
        if self._wire.vendor_id == "openrouter":
            body |= {"verbosity": request.verbosity} if request.verbosity is not None else {}
            body |= {"modalities": ["image", "text"]} if abilities.always_draws else {}
        if request.response_schema is not None:
            schema = {"name": "reply", "schema": request.response_schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def _message(self, message: RequestMessage, model_name: str, refused: frozenset[str]) -> dict[str, object]:
        dialect = self._dialect
        valid_id = dialect.call_ids.fit
        with_echo = ECHO not in refused
        body: dict[str, object] = {"role": message.role, "content": message.content}
        if message.images or message.files:
            pictures = [{"type": "image_url", "image_url": {"url": url}} for url in message.images]
            files = [{"type": "file", "file": {"filename": file.name, "file_data": file.url}} for file in message.files]
            body["content"] = [{"type": "text", "text": message.content}, *pictures, *files]
        if with_echo and isinstance(message.echo, dict):
            body |= {name: value for name, value in message.echo.items() if name in dialect.echoes - refused}
        if message.tool_calls:
            if dialect.needs_reasoning and "reasoning_content" not in refused:
                body.setdefault("reasoning_content", "")
            body["tool_calls"] = [
                {
                    "id": valid_id(call.id),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                | _extra_content(call, with_echo=with_echo)
                for call in message.tool_calls
            ]
            self._sign(body["tool_calls"], model_name)
        if message.tool_call_id is not None:
            body["tool_call_id"] = valid_id(message.tool_call_id)
        return body

    def _sign(self, calls: object, model_name: str) -> None:
        """Put the foreign signature on the first of a turn's calls if none of them has its own."""
        dialect = self._dialect
        if dialect.signing_models is None or not re.match(dialect.signing_models, model_name):
            return
        if isinstance(calls, list) and not any("extra_content" in call for call in calls):
            calls[0] |= dialect.foreign_signature


def _effort(form: EffortForm, word: str, words: Sequence[str]) -> dict[str, object]:
    if form == "reasoning":
        return {"reasoning": {"effort": word}}
    if form == "reasoning_effort":
        return {"reasoning_effort": word}
    if word == "none":
        return {"thinking": {"type": "disabled"}}
    switch: dict[str, object] = {"thinking": {"type": "enabled"}} if "none" in words else {}
    return switch | ({"reasoning_effort": word} if len(words) > 2 else {})


def _extra_content(call: ToolCall, *, with_echo: bool) -> dict[str, object]:
    has_extra = with_echo and isinstance(call.echo, dict) and isinstance(call.echo.get("extra_content"), dict)
    return {"extra_content": call.echo["extra_content"]} if has_extra else {}


async def list_openai_models(wire: Wire, address: str) -> list[ListedModel]:
    """List the models in the vendor's order. Raises a ProviderError."""
    listed = await wire.get_json(address)
    entries = listed.get("data", listed.get("models")) if isinstance(listed, dict) else listed
    if not isinstance(entries, list):
        raise MalformedReply(f"{wire.name} does not list its models in OpenAI's format.")
    models = [_listed(entry) for entry in entries[: 2 * MAX_LISTED] if isinstance(entry, dict)]
    return [model for model in models if model is not None][:MAX_LISTED]


async def with_local_facts(wire: Wire, models: list[ListedModel]) -> list[ListedModel]:
    """Add the windows and abilities that LM Studio and llama.cpp tell at other addresses. Others are left as they are."""
    root = wire.base_url.removesuffix("/v1")
    try:
        listed = await wire.get_json(f"{root}/api/v0/models")
        entries = listed.get("data") if isinstance(listed, dict) else None
        by_name = {entry.get("id"): entry for entry in entries or () if isinstance(entry, dict)}
        return [_of_lm_studio(model, by_name.get(model.model_name)) for model in models]
    except ProviderError:
        pass
    try:
        props = await wire.get_json(f"{root}/props")
    except ProviderError:
        return models
    settings = props.get("default_generation_settings") if isinstance(props, dict) else None
    window = count_of(settings.get("n_ctx")) if isinstance(settings, dict) else 0
    return [model.model_copy(update={"context_window": model.context_window or window or None}) for model in models]


def _of_lm_studio(model: ListedModel, entry: dict[str, Any] | None) -> ListedModel:
    if entry is None:
        return model
    window = count_of(entry.get("loaded_context_length")) or count_of(entry.get("max_context_length"))
    able = entry.get("capabilities")
    capabilities = (
        Capabilities(vision=entry.get("type") == "vlm", tools="tool_use" in able) if isinstance(able, list) else None
    )
    return model.model_copy(update={"context_window": window or None, "capabilities": capabilities})


def _listed(entry: dict[str, Any]) -> ListedModel | None:
    """Parse an entry of the list. None if it is invalid or not a chat model, such as one for images or audio."""
    name = entry.get("id") or entry.get("name")
    if not isinstance(name, str) or not 0 < len(name.removeprefix("models/")) <= 100 or not _talks(entry, name):
        return None
    shown = next((entry[key] for key in ("display_name", "name") if isinstance(entry.get(key), str)), None)
    window = next((count_of(entry[key]) for key in _WINDOW_FIELDS if count_of(entry.get(key))), None)
    if window is None and isinstance(entry.get("providers"), list):  # Hugging Face reports it for each provider
        windows = [
            count_of(provider.get("context_length")) for provider in entry["providers"] if isinstance(provider, dict)
        ]
        window = max(windows, default=0) or None
    return ListedModel(
        model_name=name.removeprefix("models/"),
        display_name=shown[:200] if shown and shown != name else None,
        context_window=window,
    )


def _talks(entry: dict[str, Any], name: str) -> bool:
    capabilities, kind, endpoints = entry.get("capabilities"), entry.get("type"), entry.get("endpoints")
    if isinstance(capabilities, dict) and capabilities.get("completion_chat") is False:  # Mistral
        return False
    if isinstance(endpoints, list) and "chat" not in endpoints:  # Cohere
        return False
    if kind in ("image", "embedding", "moderation", "rerank", "audio", "video", "transcribe"):  # Together
        return False
    return not _SILENT.search(name.lower())
