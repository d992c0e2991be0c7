"""Read one reply of any wire from its stream: pass on what was received, and tell how it ended."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence

import orjson

from tertulia.providers.errors import MalformedReply, ProviderError
from tertulia.providers.event_stream import DONE
from tertulia.providers.protocol import ProviderEvent
from tertulia.providers.wire import Wire

MAX_HELD = 16 * 1024 * 1024  # characters of calls and signed thoughts of one reply
AFTER_END_S = 5.0  # that a server may take for its usage after it said that the reply is complete


def read_all(
    read: Callable[[bytes], list[ProviderEvent]], payloads: Iterable[bytes]
) -> Iterator[Sequence[ProviderEvent]]:
    """Yield the events of payloads that arrived together, before raising the error of a later one."""
    events: list[ProviderEvent] = []
    failure: ProviderError | None = None
    try:
        for payload in payloads:
            events += read(payload)
    except ProviderError as error:
        failure = error
    if events:
        yield events
    if failure is not None:
        raise failure


class Reading(ABC):
    """The state of one streamed reply. Fields that are missing or of a wrong type are ignored."""

    def __init__(self, wire: Wire) -> None:
        self.is_finished = False  # the reply is complete, even if the stream is cut off
        self._held_characters = 0
        self.is_known = False  # something of the wire's own form has arrived, although it says nothing
        self._wire = wire

    @property
    def is_done(self) -> bool:
        """Return whether nothing more is to be read."""
        return self.is_finished

    @abstractmethod
    def read(self, payload: bytes) -> list[ProviderEvent]:
        """Return the events of one payload. Raises a ProviderError."""

    def end(self) -> list[ProviderEvent]:
        """Return what was held back when the reply ended."""
        return []

    def hold(self, text: str) -> str:
        """Return a piece that is kept until the reply ends, such as of arguments. Raises MalformedReply if all are too long."""
        self._held_characters += len(text)
        if self._held_characters > MAX_HELD:
            raise MalformedReply(f"{self._wire.name} sent more than {MAX_HELD} characters of calls and thoughts.")
        return text

    def rest(self) -> list[ProviderEvent]:
        """Return the words that were held back when the reply broke off."""
        return []

    def problem(self) -> ProviderError | None:
        """Return why a reply that ended is not whole, if it is not."""
        return None


async def read_reply(
    wire: Wire, path: str, body: Mapping[str, object], reading: Reading
) -> AsyncGenerator[Sequence[ProviderEvent], None]:
    """Post a request and yield the events of its reply. Raises a ProviderError, also if the reply is not complete."""
    arrivals = wire.stream(path, orjson.dumps(body))
    has_arrived = has_events = False
    last = b""
    try:
        while True:
            try:
                # Some servers keep the connection open after the end.
                async with asyncio.timeout(AFTER_END_S if reading.is_finished else None):
                    payloads = await anext(arrivals, None)
            except TimeoutError:
                break
            if payloads is None:
                break
            has_arrived = True
            for events in read_all(reading.read, payloads):
                has_events = has_events or bool(events)
                yield events
            last = next((payload for payload in reversed(payloads) if payload and payload != DONE), last)
            if reading.is_done:
                break
    except ProviderError:
        if not reading.is_finished:
            if rest := reading.rest():
                yield rest
            raise
    finally:
        await arrivals.aclose()  # type: ignore[attr-defined]
    if rest := reading.end():
        yield rest
    elif not has_events and has_arrived and not reading.is_known and (last or not reading.is_finished):
        quoted = wire.redact(last.decode("utf-8", "replace"))
        raise MalformedReply(f"{wire.name} did not answer with a reply. It says: {quoted or 'nothing'}")
    if not reading.is_finished:
        raise wire.broken_off(is_safe=not has_arrived)
    if problem := reading.problem():
        raise problem
