"""Call Ollama's own API: its OpenAI-compatible route takes no window, and cuts longer requests silently."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
from typing_extensions import override

from tertulia.providers.abilities import abilities_of
from tertulia.providers.error_words import is_error
from tertulia.providers.errors import MalformedReply, ProviderError
from tertulia.providers.models import Capabilities, ListedModel
from tertulia.providers.protocol import (
    Finish,
    FinishReason,
    ModelRequest,
    ProviderEvent,
    ReasoningDelta,
    RequestMessage,
    ToolCall,
    TurnEcho,
    Usage,
)
from tertulia.providers.reading import Reading, read_reply
from tertulia.providers.request_rules import ECHO, alternating, repeat_without_refused
from tertulia.providers.thoughts import ThoughtReader
from tertulia.providers.values import arguments_text, count_of, part_of
from tertulia.providers.vendor_adapter import VendorAdapter
from tertulia.providers.wire import END, MAX_LISTED, Wire

MIN_WINDOW = 4096  # tokens
MIN_REPLY = 1024  # tokens of the window that are kept free for a reply without a limit
DESCRIBED = 100  # models whose window and abilities are read; the newest on the machine
AT_ONCE = 8
_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length"}
_OPTIONS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")


class Ollama(VendorAdapter):
    async def list_models(self) -> list[ListedModel]:
        """List the models that can chat, with their windows and abilities. Raises a ProviderError."""
        listed = await self._wire.get_json("/api/tags")
        entries = listed.get("models") if isinstance(listed, dict) else None
        if not isinstance(entries, list):
            raise MalformedReply(f"{self.name} does not list its models in Ollama's format.")
        names = [str(entry.get("model") or entry.get("name")) for entry in entries if isinstance(entry, dict)]
        names = [name for name in names if 0 < len(name) <= 100][:MAX_LISTED]
        slots = asyncio.Semaphore(AT_ONCE)
        described = await asyncio.gather(*(self._describe(name, slots) for name in names[:DESCRIBED]))
        undescribed = [ListedModel(model_name=name) for name in names[DESCRIBED:]]
        return [model for model in described if model is not None] + undescribed

    async def _describe(self, name: str, slots: asyncio.Semaphore) -> ListedModel | None:
        """Read the window and the abilities of a model. None if it cannot chat, such as one for embeddings."""
        async with slots:
            try:
                shown = await self._wire.post_json("/api/show", {"model": name})
            except ProviderError:
                return ListedModel(model_name=name)  # it was removed meanwhile, or the server is older
        shown = shown if isinstance(shown, dict) else {}
        info = part_of(shown, "model_info")
        window = next((count_of(value) for key, value in info.items() if key.endswith(".context_length")), 0)
        able = shown.get("capabilities")
        if not isinstance(able, list):
            return ListedModel(model_name=name, context_window=window or None)
        if "completion" not in able:
            return None
        capabilities = Capabilities(vision="vision" in able, tools="tools" in able, reasoning="thinking" in able)
        return ListedModel(model_name=name, context_window=window or None, capabilities=capabilities)

    def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[ProviderEvent]]:
        """Yield the reply. A parameter that the model refuses is left out, and the request is sent once more."""
        return repeat_without_refused(
            request,
            self._refused,
            self._wire,
            lambda request, refused: _body(request, refused),
            lambda body: read_reply(self._wire, "/api/chat", body, _Reading(self._wire)),
        )


def _body(request: ModelRequest, refused: frozenset[str]) -> dict[str, object]:
    options: dict[str, object] = {
        name: getattr(request, name) for name in _OPTIONS if getattr(request, name) is not None
    }
    if request.max_tokens is not None:
        options["num_predict"] = request.max_tokens
    if request.window is not None:
        options["num_ctx"] = window_to_load(request)
    body: dict[str, object] = {
        "model": request.model_name,
        "messages": _messages(request.messages, with_echoes=ECHO not in refused),
        "stream": True,
        "options": options,
    }
    word = abilities_of("ollama", request.model_name).word_for(request.effort)
    if word is not None:
        # Models of one family take a level, all others a switch.
        body["think"] = word if "gpt-oss" in request.model_name else word != "none"
    if request.response_schema is not None:
        body["format"] = request.response_schema
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in request.tools
        ]
    return {name: value for name, value in body.items() if name not in refused}


def window_to_load(request: ModelRequest) -> int:
    """Return the window that the model is loaded with: a power of two that holds the request and its reply.

    A model is loaded again if its window changes, so the sizes are few. The whole window of a model may need more memory
    than the machine has, so no more is taken than the request needs, and never more than the window counted with.
    """
    assert request.window is not None
    needed = request.tokens + (request.max_tokens or max(request.window // 16, MIN_REPLY))
    size = MIN_WINDOW
    while size < needed:
        size *= 2
    return min(size, request.window)


def _messages(messages: Sequence[RequestMessage], *, with_echoes: bool) -> list[dict[str, object]]:
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    result: list[dict[str, object]] = []
    for message in alternating(messages):
        body: dict[str, object] = {"role": message.role, "content": message.content}
        if message.images:
            # Ollama reads pictures from the request only; it fetches nothing.
            body["images"] = [url.partition(",")[2] for url in message.images if url.startswith("data:")]
        if with_echoes and isinstance(message.echo, dict) and isinstance(message.echo.get("thinking"), str):
            body["thinking"] = message.echo["thinking"]
        if message.tool_calls:
            body["tool_calls"] = [
                {"function": {"name": call.name, "arguments": orjson.loads(call.arguments)}}
                for call in message.tool_calls
            ]
        if message.tool_call_id is not None:
            body["tool_name"] = names.get(message.tool_call_id, "")
        result.append(body)
    return result


class _Reading(Reading):
    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self._thoughts: list[str] = []
        self._words = ThoughtReader(may_lack_opening=False)  # templates that it does not know leave them in the text
        self._calls = 0

    def read(self, payload: bytes) -> list[ProviderEvent]:
        if self.is_finished or payload == END:
            return []
        event = self._wire.parse(payload)
        if event.get("error") or ("message" not in event and is_error(event)):
            raise self._wire.told_error(event)
        message = part_of(event, "message")
        events: list[ProviderEvent] = []
        thought, text = message.get("thinking"), message.get("content")
        if isinstance(thought, str) and thought:
            self._thoughts.append(self.hold(thought))
            events.append(ReasoningDelta(thought))
            self._words.end_thoughts()
        text = event.get("response") if text is None else text  # the form of its older call
        for piece in text if isinstance(text, list) else [text]:
            piece = piece.get("text") if isinstance(piece, dict) else piece
            if isinstance(piece, str) and piece:
                events += self._words.feed(piece)
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else [calls]:
            events += self._call(call)
        return events + (self._end(event) if event.get("done") in (True, "true", "True") else [])

    @override
    def rest(self) -> list[ProviderEvent]:
        return self._words.end()

    def _call(self, call: object) -> list[ProviderEvent]:
        function = part_of(call, "function") or call if isinstance(call, dict) else {}
        name, arguments = function.get("name"), function.get("arguments")
        if not isinstance(name, str) or not name:
            return []
        self._calls += 1
        return [ToolCall(f"call_{self._calls}", name, arguments_text(arguments) or "{}")]

    def _end(self, event: dict[str, Any]) -> list[ProviderEvent]:
        self.is_finished = True
        events = self._words.end()
        if "eval_count" in event or "prompt_eval_count" in event:
            events.append(Usage(count_of(event.get("prompt_eval_count")), count_of(event.get("eval_count"))))
        reason = _FINISH.get(str(event.get("done_reason") or "stop"), "other")
        events.append(Finish("tool_calls" if self._calls and reason == "stop" else reason))
        if self._thoughts:
            events.append(TurnEcho({"thinking": "".join(self._thoughts)}))
        return events
