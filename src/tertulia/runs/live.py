"""A run that is being written: its text so far, and a ring buffer of its events for followers."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence

from tertulia.chat.models import MAX_REPLY
from tertulia.chat.parts import (
    CodePart,
    FilePart,
    ImagePart,
    Part,
    ReasoningPart,
    RefusalPart,
    SourcePart,
    TextPart,
    ToolCallPart,
    WholePart,
    written_text,
)
from tertulia.http.sse import sse, wait_or_keep_alive

# A follower that is further behind than this gets the whole text again.
RING_BYTES = 512 * 1024


class LiveRun:
    """A run written by one executor and read by any number of followers at different speeds."""

    def __init__(self, process_id: str, run_id: str, chat_id: str, message_id: str, parts: Sequence[Part] = ()) -> None:
        """Start with the parts that the message already has: none for a new reply."""
        self.run_id = run_id
        self.message_id = message_id
        self.is_finished = False
        self.is_suspended = False  # it ended here; resuming creates a new LiveRun
        self.size_bytes = 0
        self._process_id = f"{process_id}{run_id[-12:]}"  # an event id of one run resumes no other run
        self._started: dict[str, object] = {
            "type": "run.started",
            "run_id": run_id,
            "chat_id": chat_id,
            "message_id": message_id,
        }
        self._parts: list[Part] = []
        self._texts: list[list[str]] = []  # the pieces of each part, joined when needed
        self._pending: dict[int, list[str]] = {}
        self._reasoning_times: dict[int, tuple[float, float]] = {}  # when a reasoning part began and last grew
        self._ring: deque[bytes] = deque()
        self._ring_bytes = 0
        self._first = 1  # number of the oldest event in the ring
        self._end: int | None = None  # number of the last event before the final ones
        self._changed = asyncio.Event()
        self._stored = len(parts)
        for part in parts:
            self._parts.append(part)
            self._texts.append([_text_of(part)])
            self.size_bytes += len(_text_of(part).encode("utf-8", "replace"))
        self._emit(self._started)
        for index in range(len(parts)):
            self._emit(self._delta(index, "".join(self._texts[index])))

    def append(self, kind: type[TextPart] | type[ReasoningPart], text: str) -> bool:
        """Append text to the last part, or to a new one of another kind. Return False if the reply is full.

        The text is published with the next `flush`.
        """
        encoded = text.replace("\x00", "\ufffd").encode("utf-8", "replace")
        text = encoded[: max(0, MAX_REPLY - self.size_bytes)].decode("utf-8", "ignore")
        self.size_bytes += len(encoded)
        if not text:
            return self.size_bytes <= MAX_REPLY
        if not self._parts or type(self._parts[-1]) is not kind:
            last = len(self._parts) - 1
            if last in self._reasoning_times:  # the next part ends the reasoning
                self._reasoning_times[last] = (self._reasoning_times[last][0], time.monotonic())
            self._parts.append(kind(text=""))
            self._texts.append([])
        index = len(self._parts) - 1
        if kind is ReasoningPart:
            self._reasoning_times[index] = (self._reasoning_times.get(index, (time.monotonic(),))[0], time.monotonic())
        self._texts[index].append(text)
        self._pending.setdefault(index, []).append(text)
        return self.size_bytes <= MAX_REPLY

    def turn_text_into_thoughts(self) -> None:
        """Turn the last text into thoughts, and send all parts again."""
        index = len(self._parts) - 1
        # A continued reply goes on in the text that a person has read.
        if index < self._stored or not isinstance(self._parts[-1], TextPart):
            return
        self.flush()
        self._parts[-1] = ReasoningPart(text="")
        self._emit({"type": "message.reset", "message_id": self.message_id})
        for index, pieces in enumerate(self._texts):
            self._emit(self._delta(index, "".join(pieces)))

    @property
    def has_calls(self) -> bool:
        return any(isinstance(part, ToolCallPart) for part in self._parts)

    def add_part(self, part: ToolCallPart | WholePart) -> None:
        """Add a whole part, such as a recorded tool call. Text after it becomes a new part."""
        self.flush()
        self._parts.append(part)
        self._texts.append([])
        self._emit(self._delta(len(self._parts) - 1, ""))

    def publish_call_event(self, event: Mapping[str, object]) -> None:
        """Publish that a call waits for a decision, or has ended."""
        self._emit(event)

    def flush(self) -> None:
        """Publish the text added since the last flush, as one event for each part."""
        for index, pieces in self._pending.items():
            self._emit(self._delta(index, "".join(pieces)))
        self._pending.clear()

    def parts(self) -> list[Part]:
        """Return the current parts of the message, without empty ones."""
        parts: list[Part] = []
        for index, (part, pieces) in enumerate(zip(self._parts, self._texts, strict=True)):
            match part:
                case TextPart() | ReasoningPart():
                    text = "".join(pieces)
                    pieces[:] = [text]
                    began, ended = self._reasoning_times.get(index, (0.0, 0.0))
                    duration = {"duration_ms": round((ended - began) * 1000)} if index in self._reasoning_times else {}
                    if text:
                        parts.append(part.model_copy(update={"text": text, **duration}))
                case CodePart() | ImagePart() | FilePart() | SourcePart() | RefusalPart() | ToolCallPart():
                    parts.append(part)
        return parts

    def text(self) -> str:
        """Return all text that the model has written so far, including reasoning."""
        return written_text(self.parts())

    def suspend(self) -> None:
        """Stop writing here. Followers switch to the stored message."""
        self.is_suspended = True
        self.finish()

    def finish(self, *events: Mapping[str, object]) -> None:
        """Publish the last events. Call it after what they describe is committed."""
        self.flush()
        self._end = self._last
        for event in events:
            self._emit(event)
        self.is_finished = True
        self._wake()

    async def follow(self, last_event_id: str | None) -> AsyncIterator[bytes]:
        """Yield the events after the given id if the ring still has them, else the whole text; then new events."""
        sent = self._number_of(last_event_id)
        if sent is None:
            snapshot, sent = self._snapshot()
            yield self._reset() + snapshot if last_event_id else snapshot
        while True:
            if sent + 1 < self._first:
                snapshot, sent = self._snapshot()
                yield self._reset() + snapshot
            changed = self._changed
            if sent < self._last:
                fresh = [self._ring[number - self._first] for number in range(sent + 1, self._last + 1)]
                sent = self._last
                yield b"".join(fresh)
            if self.is_finished and sent == self._last:
                return
            for comment in await wait_or_keep_alive(changed):
                yield comment

    @property
    def _last(self) -> int:
        return self._first + len(self._ring) - 1

    def _number_of(self, event_id: str | None) -> int | None:
        prefix, _, number = (event_id or "").rpartition("-")
        if prefix != self._process_id or not (number.isascii() and number.isdigit()):
            return None
        return int(number) if self._first - 1 <= int(number) <= self._last and int(number) > 0 else None

    def _snapshot(self) -> tuple[bytes, int]:
        """Return the reply so far as few events, and the last number they cover. Only the last id can be resumed."""
        self.flush()
        covered = self._last if self._end is None else self._end
        events: list[dict[str, object]] = [
            self._started,
            *(self._delta(index, "".join(self._texts[index])) for index in range(len(self._parts))),
        ]
        ids = [f"{self._process_id}-0"] * (len(events) - 1) + [f"{self._process_id}-{covered}"]
        encoded = [sse(str(event["type"]), event, event_id) for event, event_id in zip(events, ids, strict=True)]
        return b"".join(encoded), covered

    def _reset(self) -> bytes:
        return sse("message.reset", {"type": "message.reset", "message_id": self.message_id}, f"{self._process_id}-0")

    def _delta(self, index: int, text: str) -> dict[str, object]:
        part = self._parts[index]
        if isinstance(part, ToolCallPart | ImagePart | FilePart | SourcePart | RefusalPart):
            return added(self.message_id, index, part)
        kind = "reasoning.delta" if isinstance(part, ReasoningPart) else "text.delta"
        return {"type": kind, "message_id": self.message_id, "part_index": index, "text": text}

    def _emit(self, event: Mapping[str, object]) -> None:
        encoded = sse(str(event["type"]), event, f"{self._process_id}-{self._last + 1}")
        self._ring.append(encoded)
        self._ring_bytes += len(encoded)
        while self._ring_bytes > RING_BYTES and len(self._ring) > 8:
            self._ring_bytes -= len(self._ring.popleft())
            self._first += 1
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def added(message_id: str, part_index: int, part: ToolCallPart | WholePart) -> dict[str, object]:
    """Build the event for a whole part of a message."""
    fields = {"message_id": message_id, "part_index": part_index, "part": part.model_dump()}
    return {"type": "tool.requested" if isinstance(part, ToolCallPart) else "part.added", **fields}


def _text_of(part: Part) -> str:
    match part:
        case TextPart() | ReasoningPart():
            return part.text
        case CodePart():
            return part.code
        case ImagePart() | FilePart() | SourcePart() | RefusalPart() | ToolCallPart():
            return ""
