"""A run while it is being written: the text so far, and a ring of its events for all who follow it."""

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
    SourcePart,
    TextPart,
    ToolCallPart,
    written_text,
)
from tertulia.http.sse import sse, wait_or_keep_alive

# How much a follower may be behind before it is given the whole text again instead.
RING_BYTES = 512 * 1024


class LiveRun:
    """Written by one executor, read by any number of followers, each at its own pace."""

    def __init__(self, boot: str, run_id: str, chat_id: str, message_id: str, parts: Sequence[Part] = ()) -> None:
        """`parts` are those that the message has already: nothing for a new reply."""
        self.run_id = run_id
        self.message_id = message_id
        self.is_finished = False
        self.is_suspended = False  # it waits for a decision, and whoever goes on with it begins anew
        self.size_bytes = 0
        self._boot = f"{boot}{run_id[-12:]}"  # an id of one run resumes no other
        self._started: dict[str, object] = {
            "type": "run.started",
            "run_id": run_id,
            "chat_id": chat_id,
            "message_id": message_id,
        }
        self._parts: list[Part] = []
        self._texts: list[list[str]] = []  # the pieces of each part, joined when somebody needs them
        self._pending: dict[int, list[str]] = {}
        self._thought: dict[int, tuple[float, float]] = {}  # when a part of reasoning began, and was last added to
        self._ring: deque[bytes] = deque()
        self._ring_bytes = 0
        self._first = 1  # number of the oldest event in the ring
        self._end: int | None = None  # number of the last event before those that tell of the end
        self._changed = asyncio.Event()
        for part in parts:
            self._parts.append(part)
            self._texts.append([_text_of(part)])
            self.size_bytes += len(_text_of(part).encode("utf-8", "replace"))
        self._emit(self._started)
        for index in range(len(parts)):
            self._emit(self._delta(index, "".join(self._texts[index])))

    def append(self, kind: type[TextPart] | type[ReasoningPart], text: str) -> bool:
        """More of the last part, or of a new one if the last is of another kind; false when the reply is full.

        It is told with the next `flush`.
        """
        encoded = text.replace("\x00", "\ufffd").encode("utf-8", "replace")
        text = encoded[: max(0, MAX_REPLY - self.size_bytes)].decode("utf-8", "ignore")
        self.size_bytes += len(encoded)
        if not text:
            return self.size_bytes <= MAX_REPLY
        if not self._parts or type(self._parts[-1]) is not kind:
            last = len(self._parts) - 1
            if last in self._thought:  # what comes after it ends it
                self._thought[last] = (self._thought[last][0], time.monotonic())
            self._parts.append(kind(text=""))
            self._texts.append([])
        index = len(self._parts) - 1
        if kind is ReasoningPart:
            self._thought[index] = (self._thought.get(index, (time.monotonic(),))[0], time.monotonic())
        self._texts[index].append(text)
        self._pending.setdefault(index, []).append(text)
        return self.size_bytes <= MAX_REPLY

    @property
    def has_calls(self) -> bool:
        return any(isinstance(part, ToolCallPart) for part in self._parts)

    def add_call(self, part: ToolCallPart) -> None:
        """A call of a tool, recorded already; the words after it are another part."""
        self.flush()
        self._parts.append(part)
        self._texts.append([])
        self._emit(self._delta(len(self._parts) - 1, ""))

    def tell_call(self, event: Mapping[str, object]) -> None:
        """That a call waits for a decision, or has ended."""
        self._emit(event)

    def flush(self) -> None:
        """Tell all that follow what has come since the last time, as one event for each part."""
        for index, pieces in self._pending.items():
            self._emit(self._delta(index, "".join(pieces)))
        self._pending.clear()

    def parts(self) -> list[Part]:
        """What the message consists of now; parts without words are left away."""
        made: list[Part] = []
        for index, (part, pieces) in enumerate(zip(self._parts, self._texts, strict=True)):
            match part:
                case TextPart() | ReasoningPart():
                    text = "".join(pieces)
                    pieces[:] = [text]
                    began, ended = self._thought.get(index, (0.0, 0.0))
                    took = {"duration_ms": round((ended - began) * 1000)} if index in self._thought else {}
                    if text:
                        made.append(part.model_copy(update={"text": text, **took}))
                case CodePart() | ImagePart() | FilePart() | SourcePart() | ToolCallPart():
                    made.append(part)
        return made

    def written(self) -> str:
        """All that the model has written so far, its thinking included."""
        return written_text(self.parts())

    def suspend(self) -> None:
        """Nobody writes it from now on: those who follow turn to what is stored."""
        self.is_suspended = True
        self.finish()

    def finish(self, *events: Mapping[str, object]) -> None:
        """The last events, sent after the commit of all that they speak of."""
        self.flush()
        self._end = self._last
        for event in events:
            self._emit(event)
        self.is_finished = True
        self._wake()

    async def follow(self, last_event_id: str | None) -> AsyncIterator[bytes]:
        """The events after the given id if the ring still has them, else the whole from the start, then what comes."""
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
        boot, _, number = (event_id or "").rpartition("-")
        if boot != self._boot or not (number.isascii() and number.isdigit()):
            return None
        return int(number) if self._first - 1 <= int(number) <= self._last and int(number) > 0 else None

    def _snapshot(self) -> tuple[bytes, int]:
        """All that was written so far as few events, and the number they stand for; only the last can be resumed after."""
        self.flush()
        upto = self._last if self._end is None else self._end
        events: list[dict[str, object]] = [
            self._started,
            *(self._delta(index, "".join(self._texts[index])) for index in range(len(self._parts))),
        ]
        ids = [f"{self._boot}-0"] * (len(events) - 1) + [f"{self._boot}-{upto}"]
        encoded = [sse(str(event["type"]), event, event_id) for event, event_id in zip(events, ids, strict=True)]
        return b"".join(encoded), upto

    def _reset(self) -> bytes:
        return sse("message.reset", {"type": "message.reset", "message_id": self.message_id}, f"{self._boot}-0")

    def _delta(self, index: int, text: str) -> dict[str, object]:
        part = self._parts[index]
        if isinstance(part, ToolCallPart):
            return requested(self.message_id, index, part)
        kind = "reasoning.delta" if isinstance(part, ReasoningPart) else "text.delta"
        return {"type": kind, "message_id": self.message_id, "part_index": index, "text": text}

    def _emit(self, event: Mapping[str, object]) -> None:
        encoded = sse(str(event["type"]), event, f"{self._boot}-{self._last + 1}")
        self._ring.append(encoded)
        self._ring_bytes += len(encoded)
        while self._ring_bytes > RING_BYTES and len(self._ring) > 8:
            self._ring_bytes -= len(self._ring.popleft())
            self._first += 1
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def requested(message_id: str, part_index: int, part: ToolCallPart) -> dict[str, object]:
    """The event that a part of a message is a call of a tool."""
    told = {"message_id": message_id, "part_index": part_index, "part": part.model_dump()}
    return {"type": "tool.requested", **told}


def _text_of(part: Part) -> str:
    match part:
        case TextPart() | ReasoningPart():
            return part.text
        case CodePart():
            return part.code
        case ImagePart() | FilePart() | SourcePart() | ToolCallPart():
            return ""
