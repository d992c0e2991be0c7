"""Call Anthropic's Messages API with our own thin client (docs/adr/0006)."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson
from typing_extensions import override

from tertulia.providers.abilities import WITHOUT_SAMPLING, abilities_of
from tertulia.providers.echo import rebuild_turn
from tertulia.providers.error_words import is_error
from tertulia.providers.errors import MalformedReply
from tertulia.providers.event_stream import DONE
from tertulia.providers.models import ListedModel
from tertulia.providers.protocol import (
    Citation,
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
from tertulia.providers.request_rules import ECHO, LEFT_OUT, CallIds, repeat_without_refused
from tertulia.providers.values import arguments_text, count_of, list_of, part_of
from tertulia.providers.vendor_adapter import VendorAdapter
from tertulia.providers.wire import END, MAX_LISTED, Wire

VERSION = "2023-06-01"
MAX_TEMPERATURE = 1.0
MAX_PAGES = 20
MAX_PAUSES = 10  # of one reply
PAUSED = "pause_turn"
# The longest replies of older models in tokens (platform.claude.com/docs/en/about-claude/models/overview).
_LONGEST = (
    (r"claude-(2|3-(opus|sonnet|haiku))", 4096),
    (r"claude-3-5", 8192),
    (r"claude-opus-4(-[01](-|$)|-\d{8}|$)", 32_000),
    (r"claude-(3-7|sonnet-4|haiku-4|opus-4-5)", 64_000),
)
LONGEST_OF_NEWEST = 128_000
CACHE_CONTROL = "cache_control"
# Models that decide for themselves how long they think, and those of them that think without being asked to.
_ADAPTIVE = re.compile(r"claude-((fable|mythos)|(opus|sonnet)-4-[6-9]|(opus|sonnet|haiku)-[5-9])")
_THINKS_UNASKED = re.compile(r"claude-((fable|mythos)|(opus|sonnet|haiku)-[5-9])")
# Tokens of thoughts for models that take a number; the reply needs room too.
_BUDGETS = {"low": 2048, "medium": 8192, "high": 24_576}
MIN_BUDGET = 1024
MIN_AFTER_THOUGHTS = 1024
THINKING = "thinking"
OUTPUT_CONFIG = "output_config"
WEB_SEARCH = "web_search"
WEB_SEARCH_TOOL = {"type": "web_search_20250305", "name": WEB_SEARCH, "max_uses": 5}
_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
}


_CALL_IDS = CallIds()
# Blocks of a reply that come back as they are.
KEPT_BLOCKS = {
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
    "server_tool_use": ("id", "name", "input"),
    "web_search_tool_result": ("tool_use_id", "content"),
}


class Anthropic(VendorAdapter):
    async def list_models(self) -> list[ListedModel]:
        """List the models of all pages, newest first. Raises a ProviderError."""
        models: list[ListedModel] = []
        after = ""
        for _ in range(MAX_PAGES):
            page = await self._wire.get_json(f"/models?limit=100{after}")
            if not isinstance(page, dict) or not isinstance(page.get("data"), list):
                raise MalformedReply(f"{self.name} does not list its models in Anthropic's format.")
            models += [
                ListedModel(
                    model_name=entry["id"],
                    display_name=entry["display_name"][:200] if isinstance(entry.get("display_name"), str) else None,
                    context_window=count_of(entry.get("max_input_tokens")) or None,
                )
                for entry in page["data"]
                if isinstance(entry, dict) and isinstance(entry.get("id"), str) and len(entry["id"]) <= 100
            ]
            if not page.get("has_more") or not isinstance(page.get("last_id"), str):
                break
            after = f"&after_id={page['last_id']}"
        return models[:MAX_LISTED]

    async def count_tokens(self, model_name: str, text: str) -> int:
        body = {"model": model_name, "messages": [{"role": "user", "content": text}]}
        answer = await self._wire.post_json("/messages/count_tokens", body)
        if not isinstance(answer, dict) or not isinstance(answer.get("input_tokens"), int):
            raise MalformedReply(f"{self.name} does not count tokens in Anthropic's format.")
        return int(answer["input_tokens"])

    def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[ProviderEvent]]:
        """Yield the reply. A parameter that the model refuses is left out, and the request is sent once more."""
        return repeat_without_refused(
            request,
            self._refused,
            self._wire,
            lambda request, refused: _body(request, refused, self._longest_reply(request), self._wire.vendor_id),
            self._read_whole,
            inner=lambda body: [
                CACHE_CONTROL,
                *(WEB_SEARCH for tool in list_of(body, "tools") if tool == WEB_SEARCH_TOOL),
            ],
        )

    async def _read_whole(self, body: Mapping[str, object]) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """Yield the reply. One that the vendor pauses during long searches is continued by sending it back."""
        reading = _Reading(self._wire)
        for _ in range(MAX_PAUSES + 1):
            async with aclosing(read_reply(self._wire, "/messages", body, reading)) as reply:
                async for events in reply:
                    yield events
            if not reading.is_paused:
                return
            messages = body["messages"]
            assert isinstance(messages, list)
            body = {**body, "messages": [*messages, {"role": "assistant", "content": reading.resume()}]}
        raise MalformedReply(f"{self.name} paused the reply {MAX_PAUSES} times. Its text is kept. Continue it.")

    def _longest_reply(self, request: ModelRequest) -> int:
        """Return the limit that the API requires: the chat's, else the model's own, within the window."""
        wanted = request.max_tokens
        if wanted is None:
            wanted = _most_tokens(request.model_name)
            wanted = wanted if request.room is None else max(min(wanted, request.room), 1)
        return self._refused.longest_reply(self._wire.account, request.model_name, wanted)


def _most_tokens(model_name: str) -> int:
    """Return the longest reply of a model in tokens, as far as it is known. A refusal names it for the others."""
    return next((most for name, most in _LONGEST if re.search(name, model_name)), LONGEST_OF_NEWEST)


def _body(request: ModelRequest, refused: frozenset[str], longest: int, vendor_id: str) -> dict[str, object]:
    marks = {} if CACHE_CONTROL in refused else {CACHE_CONTROL: {"type": "ephemeral"}}
    messages = _messages(request.messages, with_echoes=ECHO not in refused)
    _mark_for_cache(messages, marks)
    body: dict[str, object] = {
        "model": request.model_name,
        "messages": messages,
        "max_tokens": longest,
        "stream": True,
    }
    system = "\n\n".join(message.content for message in request.messages if message.role == "system")
    if system:
        body["system"] = [{"type": "text", "text": system, **marks}]
    body |= _thinking(request, longest, vendor_id)
    if request.response_schema is not None:
        config = body.get(OUTPUT_CONFIG)
        form = {"format": {"type": "json_schema", "schema": request.response_schema}}
        body[OUTPUT_CONFIG] = (config if isinstance(config, dict) else {}) | form
    body |= _tools(request, refused, marks, vendor_id, is_thinking=_is_thinking(body))
    body = {name: value for name, value in body.items() if name not in refused}
    # Many models accept only one of the two, so the temperature wins. The API has no penalties.
    if WITHOUT_SAMPLING.search(request.model_name) or _is_thinking(body):
        return body
    if request.temperature is not None and "temperature" not in refused:
        body["temperature"] = min(request.temperature, MAX_TEMPERATURE)
    elif request.top_p is not None and "top_p" not in refused:
        body["top_p"] = request.top_p
    return body


def _thinking(request: ModelRequest, longest: int, vendor_id: str) -> dict[str, object]:
    """Return how long the model thinks, in the form that it takes, and that its thoughts are shown."""
    word = abilities_of(vendor_id, request.model_name).word_for(request.effort)
    thinks_unasked = bool(_THINKS_UNASKED.search(request.model_name))
    shown: dict[str, object] = {THINKING: {"type": "adaptive", "display": "summarized"}}
    if word == "none":
        off = "between_tools" if "claude-sonnet-5-5" in request.model_name else "disabled"
        return {THINKING: {"type": off}} if thinks_unasked else {}
    if _ADAPTIVE.search(request.model_name):
        if word is not None:
            return shown | {OUTPUT_CONFIG: {"effort": word}}
        return shown if thinks_unasked else {}
    budget = min(_BUDGETS.get(word or "", 0), longest - MIN_AFTER_THOUGHTS)
    return {THINKING: {"type": "enabled", "budget_tokens": budget}} if budget >= MIN_BUDGET else {}


def _is_thinking(body: Mapping[str, object]) -> bool:
    """Return whether the request asks for thoughts: then no other temperature and no forced call are taken."""
    thinking = body.get(THINKING)
    return isinstance(thinking, dict) and thinking["type"] in ("enabled", "adaptive")


def _tools(
    request: ModelRequest, refused: frozenset[str], marks: Mapping[str, object], vendor_id: str, *, is_thinking: bool
) -> dict[str, object]:
    tools: list[dict[str, object]] = [
        {"name": tool.name, "description": tool.description, "input_schema": tool.parameters} for tool in request.tools
    ]
    abilities = abilities_of(vendor_id, request.model_name)
    if request.web_search and abilities.searches and WEB_SEARCH not in refused:
        tools.append(dict(WEB_SEARCH_TOOL))
    if not tools:
        return {}
    tools[-1] |= marks
    choice: dict[str, object] = {}
    is_forced = request.tool_choice == "required" and abilities.can_be_forced and not is_thinking
    if request.tools and request.tool_choice is not None:
        choice["type"] = "any" if is_forced else "none" if request.tool_choice == "none" else "auto"
    if request.tools and request.parallel_tool_calls is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return {"tools": tools} | ({"tool_choice": choice} if choice else {})


def _messages(messages: tuple[RequestMessage, ...], *, with_echoes: bool) -> list[dict[str, Any]]:
    """Merge neighbours of one role, and put a user message first, as the API requires."""
    merged: list[tuple[str, list[dict[str, object]]]] = []
    for message in messages:
        blocks = _blocks(message)
        if with_echoes and message.echo is not None:
            calls = [block for block in blocks if block["type"] == "tool_use"]
            blocks = rebuild_turn(message.echo, message.content, calls, as_text=_text_block, kept=KEPT_BLOCKS)
        if message.role == "system" or not blocks:
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if not merged and role == "assistant":
            merged.append(("user", [{"type": "text", "text": LEFT_OUT}]))
        if merged and merged[-1][0] == role:
            merged[-1][1].extend(blocks)
        else:
            merged.append((role, blocks))
    return [{"role": role, "content": blocks} for role, blocks in merged]


def _mark_for_cache(messages: list[dict[str, Any]], marks: Mapping[str, object]) -> None:
    """Mark the ends of the last two user messages: the next request finds there what this one has stored."""
    ends = [message["content"] for message in messages if message["role"] == "user" and message["content"]]
    for content in ends[-2:]:
        content[-1] |= marks


def _text_block(text: str, _place: object = None) -> dict[str, object]:
    return {"type": "text", "text": text}


def _blocks(message: RequestMessage) -> list[dict[str, object]]:
    if message.tool_call_id is not None:
        call_id = _CALL_IDS.fit(message.tool_call_id)
        return [{"type": "tool_result", "tool_use_id": call_id, "content": message.content}]
    blocks: list[dict[str, object]] = [{"type": "image", "source": _source(url)} for url in message.images]
    blocks += [{"type": "document", "source": _source(file.url), "title": file.name[:500]} for file in message.files]
    if message.content.strip():
        blocks.append(_text_block(message.content))
    for call in message.tool_calls:
        call_id = _CALL_IDS.fit(call.id)
        blocks.append({"type": "tool_use", "id": call_id, "name": call.name, "input": orjson.loads(call.arguments)})
    return blocks


def _source(url: str) -> dict[str, str]:
    if url.startswith("data:"):
        head, _, encoded = url.removeprefix("data:").partition(",")
        return {"type": "base64", "media_type": head.partition(";")[0], "data": encoded}
    return {"type": "url", "url": url}


@dataclass
class _Call:
    id: str
    name: str
    whole: object  # the arguments, if they came with the beginning
    pieces: list[str] = field(default_factory=list)

    def event(self, index: int) -> ToolCall:
        arguments = "".join(self.pieces) or arguments_text(self.whole) or "{}"
        return ToolCall(self.id or f"call_{index}", self.name, arguments)


class _Reading(Reading):
    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self._calls: dict[int, _Call] = {}
        self._has_stopped = False
        self._blocks: dict[int, dict[str, Any]] = {}  # of the reply in order: thoughts whole, else only the place
        self._usage: dict[str, int] = {}
        self._searches = 0
        self._texts: dict[int, list[str]] = {}  # of the blocks, which citations belong to
        self._inputs: dict[int, list[str]] = {}  # of the vendor's own tools
        self._cited: dict[int, list[dict[str, Any]]] = {}
        self._resumed_at: list[int] = [0]  # the first block of each response that belongs to the reply
        self._earlier = Usage(0, 0)  # of the responses before this one
        self.is_paused = False

    def resume(self) -> list[dict[str, Any]]:
        """Return the content of the response that was paused, to be sent back, and read on with the next one."""
        first = self._resumed_at[-1]
        blocks = [(index, block) for index, block in sorted(self._blocks.items()) if index >= first]
        self._resumed_at.append(max(self._blocks, default=-1) + 1)
        if self._usage:
            self._earlier = self._total(is_final=False)
        self._usage, self._searches = {}, 0
        self.is_paused = self.is_finished = self._has_stopped = False
        contents = [content for index, block in blocks if (content := self._returned(index, block))]
        if not contents:
            raise MalformedReply(f"{self._wire.name} paused the reply without any content. Try again.")
        return contents

    def _returned(self, index: int, block: dict[str, Any]) -> dict[str, Any]:
        """Return a block of a paused response as it came; empty if there is nothing in it."""
        if block["type"] == "call" or block.get("signature") == "":
            return {}  # a call would need its result, and unsigned thoughts are refused
        if block["type"] != "text":
            return block
        text = "".join(self._texts.get(index, ()))
        cited = {"citations": self._cited[index]} if self._cited.get(index) else {}
        return {"type": "text", "text": text, **cited} if text.strip() else {}

    @property
    @override
    def is_done(self) -> bool:
        return self._has_stopped

    @override
    def end(self) -> list[ProviderEvent]:
        """Return the calls that the server did not end, and what must come back with the turn."""
        if not self.is_finished or self.is_paused:
            return []
        calls = [call.event(index) for index, call in sorted(self._calls.items()) if call.name]
        self._calls = {}
        return [*calls, *self._echo()]

    def read(self, payload: bytes) -> list[ProviderEvent]:
        # Some proxies leave the last event out, and the reason to stop is the end then.
        if self._has_stopped or payload in (END, DONE):
            return []
        event = self._wire.parse(payload)
        if is_error(event):
            raise self._wire.told_error(event)
        if event.get("type") == "message":
            return self._take_whole(event)
        index = event.get("index") if isinstance(event.get("index"), int) else 0
        assert isinstance(index, int)
        index += self._resumed_at[-1]
        match event.get("type"):
            case "message_start":
                return self._count(part_of(part_of(event, "message"), "usage"), is_final=False)
            case "content_block_start":
                return self._begin(index, part_of(event, "content_block"))
            case "content_block_delta":
                return self._add(index, part_of(event, "delta"))
            case "content_block_stop" if index in self._calls:
                return [self._calls.pop(index).event(index)]
            case "content_block_stop":
                return self._end_block(index)
            case "message_delta":
                delta, usage = part_of(event, "delta"), part_of(event, "usage")
                if isinstance(delta.get("stop_reason"), str):
                    self.is_finished, self.is_paused = True, delta["stop_reason"] == PAUSED
                counts = self._count(usage, is_final=not self.is_paused and count_of(usage.get("output_tokens")) > 0)
                return [*counts, *self._finish(delta)]
            case "message_stop":
                self.is_finished = self._has_stopped = True
        return []

    def _echo(self) -> list[ProviderEvent]:
        """Return what must come back with the turn, if there are thoughts in it. Unsigned ones would be refused."""
        blocks = [block for _, block in sorted(self._blocks.items()) if block.get("signature") != ""]
        return [TurnEcho(blocks)] if any(block["type"] in KEPT_BLOCKS for block in blocks) else []

    def _finish(self, message: dict[str, Any]) -> list[ProviderEvent]:
        reason = message.get("stop_reason")
        if not isinstance(reason, str) or reason == PAUSED:
            return []
        explanation = part_of(message, "stop_details").get("explanation")
        refusal = [Refusal(explanation if isinstance(explanation, str) else "")] if reason == "refusal" else []
        return [*refusal, Finish(_FINISH.get(reason, "other"))]

    def _end_block(self, index: int) -> list[ProviderEvent]:
        """Return the pages that a text block cites, and complete what the vendor's own tool was asked."""
        block = self._blocks.get(index, {})
        if block.get("type") == "server_tool_use" and index in self._inputs:
            try:
                block["input"] = orjson.loads("".join(self._inputs[index]) or "{}")
            except orjson.JSONDecodeError:
                block["input"] = {}
        text = "".join(self._texts.get(index, ()))
        return [
            Citation(note["url"], note["title"] if isinstance(note.get("title"), str) else None, text)
            for note in self._cited.get(index, ())
            if isinstance(note.get("url"), str)
        ]

    def _take_whole(self, message: dict[str, Any]) -> list[ProviderEvent]:
        """Return the events of a reply that came as a whole instead of a stream."""
        events: list[ProviderEvent] = []
        content = message.get("content")
        content = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for index, block in enumerate(content if isinstance(content, list) else (), self._resumed_at[-1]):
            if isinstance(block, dict):
                self._place(index, block)
            match block:
                case {"type": "text", "text": str(text)} if text:
                    events.append(TextDelta(text))
                    self._texts[index] = [text]
                    self._cited[index] = [note for note in list_of(block, "citations") if isinstance(note, dict)]
                    events += self._end_block(index)
                case {"type": "thinking", "thinking": str(text)} if text:
                    events.append(ReasoningDelta(text))
                case {"type": "tool_use", "id": str(call_id), "name": str(name)}:
                    events.append(ToolCall(call_id, name, arguments_text(block.get("input")) or "{}"))
        self.is_finished, self.is_paused = True, message.get("stop_reason") == PAUSED
        self._has_stopped = True
        counts = self._count(part_of(message, "usage"), is_final=not self.is_paused)
        return [*events, *counts, *self._finish(message)]

    def _place(self, index: int, block: dict[str, Any]) -> None:
        match block:
            case {"type": "thinking"}:
                self._blocks[index] = {
                    "type": "thinking",
                    "thinking": str(block.get("thinking") or ""),
                    "signature": str(block.get("signature") or ""),
                }
            case {"type": "redacted_thinking" | "web_search_tool_result" | "server_tool_use" as kind}:
                kept = ("type", *KEPT_BLOCKS[kind])
                self._blocks[index] = {name: block[name] for name in kept if name in block}
            case {"type": "text"}:
                self._blocks[index] = {"type": "text", "length": len(str(block.get("text") or ""))}
            case {"type": "tool_use"}:
                self._blocks[index] = {"type": "call"}

    def _begin(self, index: int, block: dict[str, Any]) -> list[ProviderEvent]:
        events: list[ProviderEvent] = []
        if index in self._calls:  # of a server that does not number its blocks
            events.append(self._calls.pop(index).event(index))
            index = max(self._blocks, default=index) + 1
        self._place(index, block)
        if block.get("type") == "tool_use":
            self._calls[index] = _Call(str(block.get("id") or ""), str(block.get("name") or ""), block.get("input"))
        text, thought = block.get("text"), block.get("thinking")
        if isinstance(thought, str) and thought:
            events.append(ReasoningDelta(thought))
        if isinstance(text, str) and text:
            self._texts[index] = [text]
            events.append(TextDelta(text))
        return events

    def _add(self, index: int, delta: dict[str, Any]) -> list[ProviderEvent]:
        kept = self._blocks.get(index, {})
        kind = kept.get("type")
        match delta:
            case {"text": str(text)} if text and delta.get("type") in ("text_delta", None):
                if kind in ("text", None):  # some proxies do not open a new block for it
                    kept["length"] = kept.get("length", 0) + len(text)
                self._texts.setdefault(index, []).append(text)
                return [TextDelta(text)]
            case {"type": "citations_delta", "citation": dict(note)}:
                self._cited.setdefault(index, []).append(note)
            case {"type": "thinking_delta", "thinking": str(text)} if text:
                if kind in ("thinking", None):
                    kept["thinking"] = kept.get("thinking", "") + self.hold(text)
                return [ReasoningDelta(text)]
            case {"type": "signature_delta", "signature": str(signature)} if kind == "thinking":
                kept["signature"] = kept.get("signature", "") + self.hold(signature)
            case {"type": "input_json_delta", "partial_json": piece} if self._calls:
                call = self._calls.get(index) or self._calls[max(self._calls)]
                call.pieces.append(self.hold(arguments_text(piece)))
            case {"type": "input_json_delta", "partial_json": str(piece)}:
                self._inputs.setdefault(index, []).append(self.hold(piece))
        return []

    def _count(self, usage: dict[str, Any], *, is_final: bool) -> list[ProviderEvent]:
        """Update the named counts and return the totals. Anthropic's `input_tokens` excludes cached tokens."""
        self._usage |= {name: count for name, value in usage.items() if (count := count_of(value)) or value == 0}
        self._searches = max(self._searches, count_of(part_of(usage, "server_tool_use").get("web_search_requests")))
        return [self._total(is_final=is_final)] if self._usage else []

    def _total(self, *, is_final: bool) -> Usage:
        """Return the counts of all responses of the reply: each is charged."""
        read = self._usage.get("cache_read_input_tokens", 0)
        written = self._usage.get("cache_creation_input_tokens", 0)
        whole = self._usage.get("input_tokens", 0) + read + written
        before = self._earlier
        return Usage(
            before.input_tokens + whole,
            before.output_tokens + self._usage.get("output_tokens", 0),
            before.cached_tokens + read,
            before.cache_write_tokens + written,
            is_final,
            before.web_searches + self._searches,
        )
