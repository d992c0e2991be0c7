"""Read a reply of Anthropic's Messages API."""

from dataclasses import dataclass, field
from typing import Any

import orjson
from typing_extensions import override

from tertulia.providers.error_words import is_error
from tertulia.providers.errors import MalformedReply
from tertulia.providers.event_stream import DONE
from tertulia.providers.protocol import (
    Citation,
    Finish,
    FinishReason,
    ProviderEvent,
    ReasoningDelta,
    Refusal,
    TextDelta,
    ToolCall,
    TurnEcho,
    Usage,
)
from tertulia.providers.reading import Reading
from tertulia.providers.values import arguments_text, count_of, list_of, part_of
from tertulia.providers.wire import END, Wire

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
PAUSED = "pause_turn"
# Blocks of a reply that come back as they are.
KEPT_BLOCKS = {
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
    "server_tool_use": ("id", "name", "input"),
    "web_search_tool_result": ("tool_use_id", "content"),
}


@dataclass
class _Call:
    id: str
    name: str
    whole: object  # the arguments, if they came with the beginning
    pieces: list[str] = field(default_factory=list)

    def event(self, index: int) -> ToolCall:
        arguments = "".join(self.pieces) or arguments_text(self.whole) or "{}"
        return ToolCall(self.id or f"call_{index}", self.name, arguments)


class AnthropicReading(Reading):
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
