"""Call OpenAI-compatible chat completions with our own thin client (docs/adr/0006)."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from typing_extensions import override

from tertulia.providers.errors import MalformedReply
from tertulia.providers.event_stream import DONE
from tertulia.providers.models import ListedModel
from tertulia.providers.protocol import (
    Finish,
    FinishReason,
    ModelRequest,
    ProviderEvent,
    ReasoningDelta,
    RequestMessage,
    TextDelta,
    ToolCall,
    TurnEcho,
    Usage,
)
from tertulia.providers.request_rules import (
    ECHO,
    TOKEN_LIMITS,
    CallIds,
    RefusedParameters,
    alternating,
    repeat_without_refused,
)
from tertulia.providers.thoughts import ThoughtReader
from tertulia.providers.wire import END, MAX_LISTED, Reading, Wire, count_of, is_error, read_reply

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "complete": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "function_call": "tool_calls",
}
_OPTIONS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
# Listed models that do not chat.
_SILENT = re.compile(
    r"embed|whisper|transcri|(^|[-/])tts|dall-e|gpt-image|imagen|veo-|moderation|realtime|gpt-audio|sora|rerank|stable-diffusion|flux"
)
# Names of the context window in vendors' lists.
_WINDOW_FIELDS = ("context_length", "context_window", "max_context_length", "max_model_len", "max_input_tokens")


@dataclass(frozen=True)
class Dialect:
    """The differences of a vendor's chat completions from OpenAI's."""

    max_tokens_field: str = "max_tokens"
    has_stream_options: bool = True
    refuses: frozenset[str] = frozenset()  # parameters that it rejects
    models_address: str | None = "/models"  # below the base URL, or a full URL; None: no list
    call_ids: CallIds = field(default_factory=CallIds)
    echoes: frozenset[str] = frozenset()  # fields of a reply's message that are returned as they came
    needs_reasoning: bool = False  # a turn with calls must have `reasoning_content`, if only an empty one
    # Models whose calls must carry a signature, and what replaces it in calls of another vendor or model.
    signing_models: str | None = None
    foreign_signature: Mapping[str, Any] = field(default_factory=dict)


class OpenAICompatible:
    def __init__(
        self,
        wire: Wire,
        dialect: Dialect | None = None,
        *,
        continues_prefix: bool = False,
        refused: RefusedParameters | None = None,
    ) -> None:
        self.name = wire.name
        self.origin = wire.origin
        self._refused = refused or RefusedParameters()
        self.continues_prefix = continues_prefix
        self._wire = wire
        self._dialect = dialect or Dialect()

    async def list_models(self) -> list[ListedModel]:
        """List the models in the vendor's order, none if it has no list. Raises a ProviderError."""
        address = self._dialect.models_address
        return [] if address is None else await list_openai_models(self._wire, address)

    def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[ProviderEvent]]:
        """Yield the reply. A parameter that the model refuses is left out, and the request is sent once more."""
        return repeat_without_refused(
            request,
            self._refused,
            self._wire.base_url,
            lambda refused: self._body(request, refused),
            lambda body: read_reply(self._wire, "/chat/completions", body, _Reading(self._wire, self._dialect.echoes)),
            inner=self._dialect.echoes,
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
            longest = self._refused.longest_reply(self._wire.base_url, request.model_name, request.max_tokens)
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
        for name in _OPTIONS:
            value = getattr(request, name)
            if value is not None and name not in self._dialect.refuses and name not in refused:
                body[name] = value
        return body

    def _message(self, message: RequestMessage, model_name: str, refused: frozenset[str]) -> dict[str, object]:
        dialect = self._dialect
        valid_id = dialect.call_ids.fit
        with_echo = ECHO not in refused
        body: dict[str, object] = {"role": message.role, "content": message.content}
        if message.images:
            pictures = [{"type": "image_url", "image_url": {"url": url}} for url in message.images]
            body["content"] = [{"type": "text", "text": message.content}, *pictures]
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


@dataclass
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    echo: dict[str, Any] | None = None


class _Reading(Reading):
    def __init__(self, wire: Wire, echoes: frozenset[str]) -> None:
        super().__init__(wire)
        self._echoes = echoes
        self._echo: dict[str, Any] = {}
        self._has_end_mark = False
        self._calls: dict[int, _Call] = {}
        self._thoughts = ThoughtReader()
        self._has_words = False

    @property
    @override
    def is_done(self) -> bool:
        return self._has_end_mark

    def read(self, payload: bytes) -> list[ProviderEvent]:
        if payload == END:
            # The answer ended as its length says. Some servers send neither a finish reason nor an end mark.
            self.is_finished = self.is_finished or self._has_words or bool(self._calls)
            return []
        self.has_begun = True
        if payload == DONE:
            self.is_finished = self._has_end_mark = True
        if self._has_end_mark:
            return []
        chunk = self._wire.parse(payload)
        if is_error(chunk):
            raise self._wire.told_error(chunk)
        events: list[ProviderEvent] = []
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        if isinstance(choice.get("error"), dict):  # OpenRouter reports what its provider said
            raise self._wire.told_error(choice)
        delta, message = choice.get("delta"), choice.get("message")
        if isinstance(delta, dict):
            events += self._take(delta)
        if isinstance(message, dict):  # a whole reply, or a summary at the end of a stream
            missing = {"content", "reasoning", *self._echoes} if self._has_words else set[str]()
            missing |= {"reasoning_content"} if self._has_words else set()
            missing |= {"tool_calls", "function_call"} if self._calls else set()
            events += self._take({name: value for name, value in message.items() if name not in missing})
        # Groq reports usage in `x_groq`, Moonshot in the choice.
        x_groq = chunk.get("x_groq")
        usage = chunk.get("usage") or choice.get("usage") or (x_groq.get("usage") if isinstance(x_groq, dict) else None)
        if isinstance(usage, dict):
            events.append(_usage(usage))
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self.is_finished = True
            kind = _FINISH.get(reason.lower(), "other")
            events.append(Finish("tool_calls" if kind == "stop" and self._calls else kind))
        return events

    def end(self) -> list[ProviderEvent]:
        """Return the rest of the text and the tool calls, whose ids are made unique."""
        events = self._thoughts.end()
        ids = set[str]()
        for index, call in sorted(self._calls.items()):
            if not call.name:
                continue
            call_id = call.id if call.id and call.id not in ids else f"{call.id or 'call'}_{index}"
            ids.add(call_id)
            events.append(ToolCall(call_id, call.name, "".join(call.arguments) or "{}", call.echo))
        kept = {name: value for name, value in self._echo.items() if value}
        return [*events, TurnEcho(kept)] if kept else events

    def _take(self, delta: dict[str, Any]) -> list[ProviderEvent]:
        """Return the words of a delta, and keep its calls."""
        events: list[ProviderEvent] = []
        for event in _words(delta):
            self._has_words = True
            events += self._thoughts.feed(event.text) if isinstance(event, TextDelta) else [event]
        if self._echoes:
            self._keep_echoes(delta)
        calls = delta.get("tool_calls")
        if not calls and isinstance(delta.get("function_call"), dict):  # the form before tool calls
            calls = [{"index": 0, "function": delta["function_call"]}]
        self._gather_calls(calls)
        return events

    def _keep_echoes(self, delta: dict[str, Any]) -> None:
        for name in self._echoes & delta.keys():
            value = delta[name]
            before = self._echo.setdefault(name, "" if isinstance(value, str) else [])
            if isinstance(value, str) and isinstance(before, str):
                self._echo[name] = before + value
            elif isinstance(value, list) and isinstance(before, list):
                join_details(before, value)

    def _gather_calls(self, deltas: object) -> None:
        """Collect pieces of calls by their index. If it is missing or always 0, a new id begins a new call."""
        for delta in deltas if isinstance(deltas, list) else []:
            if not isinstance(delta, dict):
                continue
            function = delta.get("function")
            function = function if isinstance(function, dict) else {}
            name, arguments = function.get("name"), function.get("arguments")
            call_id = str(delta["id"]) if isinstance(delta.get("id"), str) else ""
            call = self._calls.setdefault(self._index_of(delta, call_id, begins=isinstance(name, str)), _Call())
            call.id = call_id or call.id
            if isinstance(delta.get("extra_content"), dict):  # Google's signature of the thoughts before the call
                call.echo = {"extra_content": delta["extra_content"]}
            if isinstance(name, str):
                call.name = call.name or name
            if isinstance(arguments, str):
                call.arguments.append(arguments)
            elif isinstance(arguments, dict):  # an object instead of its text
                call.arguments[:] = [orjson.dumps(arguments).decode()]

    def _index_of(self, delta: dict[str, Any], call_id: str, *, begins: bool) -> int:
        """Return which call a piece belongs to. `begins`: it has a name, as the first piece of a call has."""
        index = delta.get("index")
        last = max(self._calls, default=-1)
        if not isinstance(index, int):
            same = [at for at, call in self._calls.items() if call_id and call.id == call_id]
            if same and not (begins and _is_complete(self._calls[same[-1]])):
                return same[-1]
            return last + 1 if call_id or last < 0 or (begins and self._calls[last].name) else last
        is_other = index in self._calls and self._calls[index].id not in ("", call_id)
        return last + 1 if call_id and is_other else index


def join_details(details: list[Any], pieces: list[Any]) -> None:
    """Add the streamed pieces of `reasoning_details`: a piece with the index and type of the last one continues it."""
    for piece in pieces:
        last = details[-1] if details else None
        if not isinstance(piece, dict):
            continue
        is_other = last is None or any(last.get(name) != piece.get(name) for name in ("type", "index"))
        if last is None or is_other or (last.get("id") and piece.get("id") and last["id"] != piece["id"]):
            details.append(dict(piece))
            continue
        for name, value in piece.items():
            before = last.get(name) or ""
            is_text = name in ("text", "summary", "data") and isinstance(value, str) and isinstance(before, str)
            if value is not None:
                last[name] = before + value if is_text else value


def _is_complete(call: _Call) -> bool:
    """Return whether the arguments of a call are whole, so that another piece with its id is another call."""
    try:
        return isinstance(orjson.loads("".join(call.arguments)), dict)
    except orjson.JSONDecodeError:
        return False


def _words(delta: dict[str, Any]) -> list[ProviderEvent]:
    events: list[ProviderEvent] = []
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        events.append(ReasoningDelta(reasoning))
    content = delta.get("content")
    if isinstance(content, str) and content:
        events.append(TextDelta(content))
    elif isinstance(content, list):  # Mistral's reasoning models send typed pieces
        for piece in content:
            if isinstance(piece, dict) and isinstance(piece.get("text"), str) and piece["text"]:
                events.append(TextDelta(piece["text"]))
            elif isinstance(piece, dict) and isinstance(piece.get("thinking"), list):
                thought = "".join(str(part.get("text", "")) for part in piece["thinking"] if isinstance(part, dict))
                events += [ReasoningDelta(thought)] if thought else []
    return events


def _usage(usage: dict[str, Any]) -> Usage:
    """Convert a vendor's usage. Reasoning tokens that only its total includes count as output, as they are charged."""
    details = usage.get("prompt_tokens_details")
    cached = count_of(details.get("cached_tokens")) if isinstance(details, dict) else 0
    cached = cached or count_of(usage.get("prompt_cache_hit_tokens")) or count_of(usage.get("cached_tokens"))
    prompt = count_of(usage.get("prompt_tokens"))
    completion = max(count_of(usage.get("completion_tokens")), count_of(usage.get("total_tokens")) - prompt)
    return Usage(prompt, completion, min(cached, prompt))
