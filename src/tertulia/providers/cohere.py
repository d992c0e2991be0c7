"""Call Cohere's Chat API, version 2: only it gives thoughts and the plan before tool calls (docs/adr/0037)."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from typing_extensions import override

from tertulia.providers.abilities import abilities_of
from tertulia.providers.error_words import is_error
from tertulia.providers.errors import MalformedReply
from tertulia.providers.event_stream import DONE
from tertulia.providers.models import Capabilities, ListedModel
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
from tertulia.providers.reading import Reading, read_reply
from tertulia.providers.request_rules import ECHO, CallIds, alternating, repeat_without_refused
from tertulia.providers.values import arguments_text, count_of, list_of, part_of
from tertulia.providers.vendor_adapter import VendorAdapter
from tertulia.providers.wire import END, MAX_LISTED, Wire

MAX_TEMPERATURE = 1.0
_BUDGETS = {"low": 2048, "medium": 8192, "high": 16_384}  # tokens of thoughts
_FINISH: dict[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
    "ERROR_LIMIT": "length",
}
_OPTIONS = {"temperature": "temperature", "top_p": "p"}
_PENALTIES = ("frequency_penalty", "presence_penalty")  # 0 to 1 here
_CALL_IDS = CallIds()


class Cohere(VendorAdapter):
    async def list_models(self) -> list[ListedModel]:
        """List the models that can chat, with their windows and abilities. Raises a ProviderError."""
        # The list has no second version.
        address = self._wire.base_url.removesuffix("/v2") + "/v1/models?endpoint=chat&page_size=1000"
        listed = await self._wire.get_json(address)
        entries = listed.get("models") if isinstance(listed, dict) else None
        if not isinstance(entries, list):
            raise MalformedReply(f"{self.name} does not list its models in Cohere's format.")
        models = [_listed(entry) for entry in entries if isinstance(entry, dict)]
        return [model for model in models if model is not None][:MAX_LISTED]

    def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[ProviderEvent]]:
        """Yield the reply. A parameter that the model refuses is left out, and the request is sent once more."""
        return repeat_without_refused(
            request,
            self._refused,
            self._wire,
            lambda request, refused: self._body(request, refused),
            lambda body: read_reply(self._wire, "/chat", body, _Reading(self._wire)),
        )

    def _body(self, request: ModelRequest, refused: frozenset[str]) -> dict[str, object]:
        messages = alternating(request.messages)
        body: dict[str, object] = {
            "model": request.model_name,
            "messages": [_message(message, with_echo=ECHO not in refused) for message in messages],
            "stream": True,
        }
        if request.max_tokens is not None:
            body["max_tokens"] = self._refused.longest_reply(self._wire.account, request.model_name, request.max_tokens)
        if request.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
                }
                for tool in request.tools
            ]
            if request.tool_choice in ("none", "required"):  # it has no word for the usual choice
                body["tool_choice"] = request.tool_choice.upper()
        values = {name: getattr(request, ours) for ours, name in _OPTIONS.items()}
        values |= {name: getattr(request, name) for name in _PENALTIES}
        most = {"temperature": MAX_TEMPERATURE, **dict.fromkeys(_PENALTIES, 1.0)}
        body |= {
            name: max(0.0, min(value, most.get(name, value))) for name, value in values.items() if value is not None
        }
        word = abilities_of("cohere", request.model_name).word_for(request.effort)
        if word is not None:
            budget = _BUDGETS.get(word)
            body["thinking"] = {"type": "disabled"} if budget is None else {"type": "enabled", "token_budget": budget}
        if request.response_schema is not None:
            body["response_format"] = {"type": "json_object", "json_schema": request.response_schema}
        return {name: value for name, value in body.items() if name not in refused}


def _listed(entry: dict[str, Any]) -> ListedModel | None:
    name, features = entry.get("name"), entry.get("features")
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= 100
        or "chat" not in (list_of(entry, "endpoints") or ("chat",))
    ):
        return None
    able = Capabilities(vision="vision" in features, tools="tools" in features) if isinstance(features, list) else None
    return ListedModel(model_name=name, context_window=count_of(entry.get("context_length")) or None, capabilities=able)


def _message(message: RequestMessage, *, with_echo: bool) -> dict[str, object]:
    if message.tool_call_id is not None:
        call_id = _CALL_IDS.fit(message.tool_call_id)
        return {"role": "tool", "tool_call_id": call_id, "content": message.content}
    if message.tool_calls:
        calls = [
            {
                "id": _CALL_IDS.fit(call.id),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
        echo = message.echo if with_echo and isinstance(message.echo, dict) else {}
        plan = echo.get("tool_plan") or message.content
        return {"role": "assistant", "tool_calls": calls, **({"tool_plan": plan} if plan else {})}
    if message.images:
        pictures = [{"type": "image_url", "image_url": {"url": url}} for url in message.images]
        return {"role": message.role, "content": [{"type": "text", "text": message.content}, *pictures]}
    return {"role": message.role, "content": message.content}


def _first(calls: object) -> dict[str, Any]:
    """Return the call of an event: an object, or a list with it."""
    call = calls[0] if isinstance(calls, list) and calls else calls
    return call if isinstance(call, dict) else {}


class _Reading(Reading):
    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self._calls: dict[int, tuple[str, str, list[str]]] = {}
        self._ended: set[int] = set()
        self._plan: list[str] = []
        self._has_words = False

    def read(self, payload: bytes) -> list[ProviderEvent]:
        if payload == DONE:  # of a gateway, instead of the last event
            self.is_finished = self.is_finished or self._has_words or bool(self._calls)
        if self.is_finished or payload in (END, DONE):
            return []
        event = self._wire.parse(payload)
        kind, delta = event.get("type"), part_of(event, "delta")
        if "delta" not in event and is_error(event):
            raise self._wire.told_error(event)
        if kind is None and isinstance(event.get("message"), dict):  # a whole reply instead of a stream
            return self._whole(event)
        message = part_of(delta, "message")
        index = event["index"] if isinstance(event.get("index"), int) else 0
        match kind:
            case "content-start" | "content-delta":
                return self._words(message.get("content"))
            case "tool-plan-delta" if isinstance(message.get("tool_plan"), str):
                self._plan.append(self.hold(message["tool_plan"]))
                return [ReasoningDelta(message["tool_plan"])] if message["tool_plan"] else []
            case "tool-call-start":
                call = _first(message.get("tool_calls"))
                function = part_of(call, "function")
                pieces = [self.hold(arguments_text(function.get("arguments")))]
                self._calls[index] = (str(call.get("id") or ""), str(function.get("name") or ""), pieces)
            case "tool-call-delta" if index in self._calls:
                piece = part_of(_first(message.get("tool_calls")), "function").get("arguments")
                self._calls[index][2].append(self.hold(arguments_text(piece)))
            case "tool-call-end" if index in self._calls:
                return self._end_call(index)
            case "message-end":
                return self._end(delta)
        return []

    @override
    def end(self) -> list[ProviderEvent]:
        return [event for index in sorted(self._calls.keys() - self._ended) for event in self._end_call(index)]

    def _end_call(self, index: int) -> list[ProviderEvent]:
        if index in self._ended:
            return []
        self._ended.add(index)
        call_id, name, pieces = self._calls[index]
        return [ToolCall(call_id or f"call_{index}", name, "".join(pieces) or "{}")] if name else []

    def _whole(self, event: dict[str, Any]) -> list[ProviderEvent]:
        message = part_of(event, "message")
        events = self._words(message.get("content"))
        if isinstance(message.get("tool_plan"), str) and message["tool_plan"]:
            self._plan.append(message["tool_plan"])
            events.append(ReasoningDelta(message["tool_plan"]))
        for index, call in enumerate(list_of(message, "tool_calls")):
            function = part_of(call, "function") if isinstance(call, dict) else {}
            if isinstance(function.get("name"), str):
                pieces = [arguments_text(function.get("arguments"))]
                self._calls[index] = (str(call.get("id") or ""), function["name"], pieces)
                events += self._end_call(index)
        return events + self._end(event)

    def _words(self, content: object) -> list[ProviderEvent]:
        """Return the words of a piece of content: an object, or text or a list of objects instead."""
        events: list[ProviderEvent] = []
        for piece in content if isinstance(content, list) else [content]:
            piece = {"text": piece} if isinstance(piece, str) else piece
            thought, text = (piece.get("thinking"), piece.get("text")) if isinstance(piece, dict) else (None, None)
            events += [ReasoningDelta(thought)] if isinstance(thought, str) and thought else []
            events += [TextDelta(text)] if isinstance(text, str) and text else []
        self._has_words = self._has_words or bool(events)
        return events

    def _end(self, delta: dict[str, Any]) -> list[ProviderEvent]:
        reason = str(delta.get("finish_reason") or "")
        if reason in ("ERROR", "TIMEOUT") or delta.get("error"):
            raise self._wire.told_error({"error": delta.get("error") or reason.lower()})
        self.is_finished = True
        usage = part_of(delta, "usage")
        tokens = part_of(usage, "tokens") or part_of(usage, "billed_units")
        events: list[ProviderEvent] = []
        if tokens:
            sent = count_of(tokens.get("input_tokens"))
            cached = min(count_of(usage.get("cached_tokens")), sent)
            events.append(Usage(sent, count_of(tokens.get("output_tokens")), cached))
        events.append(Finish(_FINISH.get(reason, "other")))
        return [*events, TurnEcho({"tool_plan": "".join(self._plan)})] if self._plan and self._calls else events
