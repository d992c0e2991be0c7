"""Call OpenAI's Responses API, which Azure and xAI also have, without state on the server (docs/adr/0033)."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from tertulia.providers.abilities import abilities_of
from tertulia.providers.charges import charge_of
from tertulia.providers.echo import rebuild_turn
from tertulia.providers.error_words import is_error
from tertulia.providers.errors import RequestRefused
from tertulia.providers.event_stream import DONE, MAX_DRAWN_BYTES
from tertulia.providers.models import ListedModel
from tertulia.providers.openai_compatible import OpenAICompatible, list_openai_models
from tertulia.providers.protocol import (
    Citation,
    FileOutput,
    Finish,
    FinishReason,
    ModelRequest,
    ProviderEvent,
    ReasoningDelta,
    Refusal,
    RequestMessage,
    TextDelta,
    ToolCall,
    TurnEcho,
    Usage,
)
from tertulia.providers.reading import Reading, read_reply
from tertulia.providers.refusals import RESPONSES, RefusedParameters
from tertulia.providers.request_rules import ECHO, CallIds, alternating, repeat_without_refused
from tertulia.providers.values import arguments_text, count_of, list_of, part_of
from tertulia.providers.vendor_adapter import VendorAdapter
from tertulia.providers.wire import END, Wire

MIN_OUTPUT = 16  # tokens; fewer are refused
# Models that do not think, and refuse parameters about it. Others that refuse them are remembered.
_WITHOUT_THOUGHTS = re.compile(
    r"gpt-[34]|gpt-5(\.\d)?-chat|chatgpt-4o|non-reasoning|grok-[23]($|-(?!mini))", re.IGNORECASE
)
_INCOMPLETE: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_CALL_IDS = CallIds()
KEPT_ITEMS = {
    "reasoning": ("id", "summary", "content", "encrypted_content"),
    "web_search_call": ("id", "status", "action"),
}
WEB_SEARCH = "web_search"
PICTURES = "image_generation"
# How it is said that this API lacks a model.
_LACKS_RESPONSES = re.compile(
    r"operation.{0,40}(does not work with the specified model|is unsupported|is not supported)|"
    r"not supported (in|with|by|for) (the )?(v1/responses|responses (api|endpoint))|"
    r"(v1/responses|responses (api|endpoint)).{0,30}(not (supported|enabled|available)|unsupported)",
    re.IGNORECASE,
)


class OpenAIResponses(VendorAdapter):
    def __init__(self, wire: Wire, chat: OpenAICompatible, refused: RefusedParameters | None = None) -> None:
        """Create it with the chat completions of the same vendor, for models that this API lacks."""
        super().__init__(wire, refused)
        self._chat = chat

    async def list_models(self) -> list[ListedModel]:
        """List the models in the vendor's order. Raises a ProviderError."""
        return await list_openai_models(self._wire, "/models")

    async def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[ProviderEvent]]:
        """Yield the reply. A parameter that the model refuses is left out, and the request is sent once more.

        So is the whole request, as chat completions, if the model has only these, as some of Azure's do.
        """
        account, model_name = self._wire.account, request.model_name
        if RESPONSES not in self._refused.of(account, model_name):
            has_begun = False
            try:
                async with aclosing(self._responses(request)) as reply:
                    async for events in reply:
                        has_begun = True
                        yield events
                return
            except RequestRefused as refusal:
                if has_begun or not _LACKS_RESPONSES.search(refusal.said):
                    raise
                self._refused.remember(account, model_name, RESPONSES)
        async with aclosing(self._chat.stream(request)) as chat:
            async for events in chat:
                yield events

    def _responses(self, request: ModelRequest) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        abilities = abilities_of(self._wire.vendor_id, request.model_name)
        draws = request.make_pictures and abilities.draws
        wire = replace(self._wire, most_event_bytes=MAX_DRAWN_BYTES) if draws else self._wire
        return repeat_without_refused(
            request,
            self._refused,
            self._wire,
            lambda request, refused: _body(request, refused, self._longest_reply(request), self._wire.vendor_id),
            lambda body: read_reply(wire, "/responses", body, _Reading(wire)),
            inner=lambda body: [str(tool.get("type")) for tool in list_of(body, "tools") if isinstance(tool, dict)],
        )

    def _longest_reply(self, request: ModelRequest) -> int | None:
        if request.max_tokens is None:
            return None
        return self._refused.longest_reply(self._wire.account, request.model_name, request.max_tokens)


def _body(request: ModelRequest, refused: frozenset[str], longest: int | None, vendor_id: str) -> dict[str, object]:
    abilities = abilities_of(vendor_id, request.model_name)
    body: dict[str, object] = {
        "model": request.model_name,
        "input": _input(request.messages, with_echoes=ECHO not in refused),
        "stream": True,
        "store": False,
    }
    if longest is not None:
        body["max_output_tokens"] = max(longest, MIN_OUTPUT)
    tools: list[dict[str, object]] = [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
            "strict": False,
        }
        for tool in request.tools
    ]
    if tools:
        if request.tool_choice is not None:
            body["tool_choice"] = request.tool_choice
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.web_search and abilities.searches and WEB_SEARCH not in refused:
        tools.append({"type": WEB_SEARCH})
    if request.make_pictures and abilities.draws and PICTURES not in refused:
        tools.append({"type": PICTURES})
    if tools:
        body["tools"] = tools
    text: dict[str, object] = {}
    if request.verbosity is not None and abilities.has_verbosity:
        text["verbosity"] = request.verbosity
    if request.response_schema is not None:
        text["format"] = {"type": "json_schema", "name": "reply", "schema": request.response_schema, "strict": False}
    if text:
        body["text"] = text
    if request.cache_key is not None:
        body["prompt_cache_key"] = request.cache_key
    if not _WITHOUT_THOUGHTS.search(request.model_name):
        body["include"] = ["reasoning.encrypted_content"]
        effort = abilities.word_for(request.effort)
        if effort == "minimal" and body.get("tools") and request.web_search:
            effort = "low"  # the search cannot be used with less
        body["reasoning"] = {"summary": "auto"} | ({"effort": effort} if effort else {})
    body |= {name: getattr(request, name) for name in ("temperature", "top_p") if getattr(request, name) is not None}
    return {name: value for name, value in body.items() if name not in refused}


def _input(messages: Sequence[RequestMessage], *, with_echoes: bool) -> list[dict[str, object]]:
    items: list[dict[str, object]] = []
    for message in alternating(messages):
        if message.tool_call_id is not None:
            call_id = _CALL_IDS.fit(message.tool_call_id)
            items.append({"type": "function_call_output", "call_id": call_id, "output": message.content})
        elif message.role == "assistant":
            items += _turn(message, with_echo=with_echoes)
        else:
            content: list[dict[str, object]] = []
            if message.content:
                content.append({"type": "input_text", "text": message.content})
            content += [{"type": "input_image", "image_url": url, "detail": "auto"} for url in message.images]
            content += [{"type": "input_file", "filename": file.name, "file_data": file.url} for file in message.files]
            items.append({"type": "message", "role": message.role, "content": content})
    return items


def _turn(message: RequestMessage, *, with_echo: bool) -> list[dict[str, object]]:
    """Return the items of an assistant turn; thoughts go before the item that they led to."""
    calls: list[dict[str, object]] = [
        {
            "type": "function_call",
            "call_id": _CALL_IDS.fit(call.id),
            "name": call.name,
            "arguments": call.arguments,
        }
        for call in message.tool_calls
    ]

    def as_text(text: str, place: dict[str, Any]) -> dict[str, object]:
        phase = {"phase": place["phase"]} if isinstance(place.get("phase"), str) else {}
        content = [{"type": "output_text", "text": text}]
        return {"type": "message", "role": "assistant", "content": content, **phase}

    echo = message.echo if with_echo else None
    return rebuild_turn(echo, message.content, calls, as_text=as_text, kept=KEPT_ITEMS)


class _Reading(Reading):
    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self._items: dict[int, dict[str, Any]] = {}  # in order: thoughts whole, else only the place
        self._taken: set[str] = set()  # ids of items that were read
        self._begun: dict[int, dict[str, Any]] = {}  # calls that were announced
        self._streamed = 0  # characters of the message that is being streamed
        self._has_text = False
        self._has_calls = False
        self._refusal: list[str] = []
        self._searches = 0
        self._has_thoughts = False
        self._has_drawn = False

    def read(self, payload: bytes) -> list[ProviderEvent]:
        if payload == DONE and not self.is_finished and (self._has_text or self._has_calls):
            return self._end({})  # of a gateway, instead of the last event
        if self.is_finished or payload in (END, DONE):
            return []
        event = self._wire.parse(payload)
        kind = event.get("type")
        if event.get("object") == "response":  # a whole reply instead of a stream
            return self._end(event)
        if is_error(event):
            raise self._wire.told_error(event)
        index = event["output_index"] if isinstance(event.get("output_index"), int) else 0
        match kind:
            case "response.output_text.delta":
                return self._text(event.get("delta"))
            case "response.output_text.done" if not self._streamed:
                return self._text(event.get("text"))
            case "response.refusal.done" if not self._refusal and isinstance(event.get("refusal"), str):
                self._refusal.append(event["refusal"])
                return []
            case "response.output_item.added" if part_of(event, "item").get("type") == "function_call":
                self._begun[index] = {**part_of(event, "item"), "arguments": ""}
                return []
            case "response.function_call_arguments.delta" if index in self._begun:
                self._begun[index]["arguments"] += self.hold(arguments_text(event.get("delta")))
                return []
            case "response.function_call_arguments.done" if index in self._begun:
                self._begun[index]["arguments"] = arguments_text(event.get("arguments"))
                return []
            case "response.refusal.delta" if isinstance(event.get("delta"), str):
                self._refusal.append(event["delta"])
                return []
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                return self._thought(event.get("delta"))
            case "response.reasoning_summary_part.added" if self._has_thoughts:
                return [ReasoningDelta("\n\n")]
            case "response.output_item.done":
                return self._take(index, part_of(event, "item"))
            case "response.completed" | "response.incomplete" | "response.done":
                return self._end(part_of(event, "response"))
            case "response.failed":
                raise self._wire.told_error(part_of(event, "response"))
        return []

    def _text(self, text: object) -> list[ProviderEvent]:
        if not isinstance(text, str) or not text:
            return []
        self._streamed += len(text)
        self._has_text = True
        return [TextDelta(text)]

    def _thought(self, text: object) -> list[ProviderEvent]:
        if not isinstance(text, str) or not text:
            return []
        self._has_thoughts = True
        return [ReasoningDelta(text)]

    def _take(self, index: int, item: dict[str, Any]) -> list[ProviderEvent]:
        """Return what an item has that was not streamed, and keep its place in the turn."""
        keys = {item[name] for name in ("id", "call_id") if isinstance(item.get(name), str) and item[name]}
        if keys & self._taken or (not keys and index in self._items):
            return []
        self._taken |= keys
        index = max(self._items, default=-1) + 1 if index in self._items else index  # a server that does not number
        match item:
            case {"type": "function_call", "name": str(name)}:
                self._items[index] = {"type": "call"}
                self._has_calls = True
                call_id = str(item.get("call_id") or item.get("id") or f"call_{index}")
                return [ToolCall(call_id, name, arguments_text(item.get("arguments")) or "{}")]
            case {"type": "message"}:
                return self._take_message(index, item)
            case {"type": "web_search_call"}:
                self._searches += part_of(item, "action").get("type", "search") == "search"
                self._items[index] = {name: item[name] for name in ("type", "id", "status", "action") if name in item}
            case {"type": "image_generation_call", "result": str(result)}:
                self._items[index] = {"type": "picture"}
                self._has_drawn = True
                return [FileOutput(f"image/{item.get('output_format') or 'png'}", result)]
            case {"type": "reasoning"}:
                # Without encrypted thoughts the server would look for the item, and it stores none.
                if isinstance(item.get("encrypted_content"), str):
                    self._items[index] = {name: value for name, value in item.items() if name != "status"}
                summary = item.get("summary") or item.get("content")
                if self._has_thoughts or not isinstance(summary, list):
                    return []
                texts = [part.get("text") for part in summary if isinstance(part, dict)]
                return self._thought("\n\n".join(text for text in texts if isinstance(text, str)))
        return []

    def _take_message(self, index: int, item: dict[str, Any]) -> list[ProviderEvent]:
        content = item.get("content")
        content = [{"text": content}] if isinstance(content, str) else content
        parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
        if not self._refusal:
            self._refusal += [str(part.get("refusal") or "") for part in parts if part.get("type") == "refusal"]
        text = "".join(str(part.get("text") or "") for part in parts)
        events = [] if self._streamed else self._text(text)
        events += [citation for part in parts for citation in _citations(part)]
        phase = {"phase": item["phase"]} if isinstance(item.get("phase"), str) else {}
        self._items[index] = {"type": "text", "length": self._streamed, **phase}
        self._streamed = 0
        return events

    def _end(self, response: dict[str, Any]) -> list[ProviderEvent]:
        if response.get("status") == "failed" or response.get("error"):
            raise self._wire.told_error(response)
        events: list[ProviderEvent] = []
        output = response.get("output")
        has_messages = any(place["type"] == "text" for place in self._items.values())
        for index, item in enumerate(output if isinstance(output, list) else ()):
            # Without ids it is not known which message was streamed.
            is_streamed = (
                isinstance(item, dict) and item.get("type") == "message" and not item.get("id") and has_messages
            )
            if isinstance(item, dict) and not is_streamed:
                events += self._take(index, item)
        for index, call in sorted(self._begun.items()):
            if not {call.get("id"), call.get("call_id")} & self._taken:
                events += self._take(index, call)
        if not self._has_text:
            events += self._text(response.get("output_text"))
        self.is_finished = True
        usage = response.get("usage")
        if isinstance(usage, dict):
            events.append(self._usage(usage))
        if self._refusal:
            events.append(Refusal("".join(self._refusal)))
        reason: FinishReason = "tool_calls" if self._has_calls else "content_filter" if self._refusal else "stop"
        if response.get("status") == "incomplete":
            reason = _INCOMPLETE.get(str(part_of(response, "incomplete_details").get("reason")), "other")
        places = [place for _, place in sorted(self._items.items())]
        is_needed = any(place["type"] in KEPT_ITEMS or "phase" in place for place in places)
        return [*events, Finish(reason), *([TurnEcho(places)] if is_needed else [])]

    def _usage(self, usage: dict[str, Any]) -> Usage:
        sent = count_of(usage.get("input_tokens"))
        cached = count_of(part_of(usage, "input_tokens_details").get("cached_tokens"))
        written = max(count_of(usage.get("output_tokens")), count_of(usage.get("total_tokens")) - sent)
        return Usage(
            sent,
            written,
            min(cached, sent),
            web_searches=self._searches,
            cost=charge_of(usage, self._wire.vendor_id),
            is_unpriced=self._has_drawn,  # another model draws, whose tokens are not in these counts
            thinking_tokens=min(count_of(part_of(usage, "output_tokens_details").get("reasoning_tokens")), written),
        )


def _citations(part: dict[str, Any]) -> list[Citation]:
    """Return the pages that a text cites. OpenAI writes links into the text, so no passage is named."""
    annotations = part.get("annotations")
    notes = [note for note in annotations if isinstance(note, dict)] if isinstance(annotations, list) else []
    return [
        Citation(note["url"], note["title"] if isinstance(note.get("title"), str) else None)
        for note in notes
        if note.get("type") == "url_citation" and isinstance(note.get("url"), str)
    ]
