"""One reader of the event log for each process, and the windows that follow it."""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import AsyncIterator

import orjson

from tertulia.db import Database
from tertulia.errors import AppError
from tertulia.http.sse import sse, wait_or_keep_alive
from tertulia.realtime.publish import CHANGES
from tertulia.realtime.queries import (
    PAGE,
    LoggedChange,
    Position,
    can_resume,
    has_hidden,
    list_changes,
    newest_position,
    parse_position,
)

# Past this a slow reader is let go; it comes back with its last id, and reads the rest from the log.
MAX_BUFFER_BYTES = 256 * 1024
# A signal can be lost with a connection to PostgreSQL, so the log is looked at now and then all the same.
LOOK_EVERY_S = 2.0
HIDDEN_RETRY_S = 0.02
log = logging.getLogger(__name__)


class Subscriber:
    """What one open stream has still to send."""

    def __init__(self, overflowed: asyncio.Event) -> None:
        self.waiting: deque[tuple[Position, bytes]] = deque()
        self.size = 0
        self.ready = asyncio.Event()
        self.overflowed = overflowed

    def put(self, position: Position, encoded: bytes) -> None:
        self.size += len(encoded)
        if self.size > MAX_BUFFER_BYTES:
            self.overflowed.set()
        else:
            self.waiting.append((position, encoded))
        self.ready.set()

    def take(self) -> list[tuple[Position, bytes]]:
        taken = list(self.waiting)
        self.waiting.clear()
        self.size = 0
        self.ready.clear()
        return taken


class ChangeFeed:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._subscribers: defaultdict[str, set[Subscriber]] = defaultdict(set)
        self._woken = asyncio.Event()
        self._position = Position(0, 0)
        self._task: asyncio.Task[None] | None = None
        db.on_wake(lambda signal: self._woken.set() if signal == CHANGES else None)

    async def start(self) -> None:
        self._position = await self._db.read(newest_position)
        self._task = asyncio.create_task(self._follow_forever(), name="change-feed")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def stream(self, owner_id: str, last_event_id: str | None, overflowed: asyncio.Event) -> AsyncIterator[bytes]:
        """`ready`, then every change of this owner: from now on, or after the given id, or `reload` if that is too old."""
        subscriber = Subscriber(overflowed)
        if not self._subscribers:
            self._position = await self._db.read_hot(newest_position)
        self._subscribers[owner_id].add(subscriber)
        try:
            since = parse_position(last_event_id) if last_event_id else None
            if last_event_id and (since is None or not await self._db.read(can_resume, since)):
                since = None
            if since is None:
                since = self._position
                yield sse("ready", {}, str(since))
                if last_event_id:
                    yield sse("reload", {})
            else:
                yield sse("ready", {}, str(since))
                while missed := await self._db.read(list_changes, since, owner_id=owner_id):
                    since = missed[-1].position
                    yield b"".join(_encode(change) for change in missed)
            while not overflowed.is_set():
                for comment in await wait_or_keep_alive(subscriber.ready):
                    yield comment
                fresh = [encoded for position, encoded in subscriber.take() if position > since]
                if fresh:
                    yield b"".join(fresh)
        finally:
            self._subscribers[owner_id].discard(subscriber)
            if not self._subscribers[owner_id]:
                del self._subscribers[owner_id]

    async def _follow_forever(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._woken.wait()
            except TimeoutError:
                if self._db.dialect_name == "sqlite":
                    continue
            self._woken.clear()
            try:
                await self._deliver()
            except Exception as error:
                level = logging.WARNING if isinstance(error, AppError) else logging.ERROR
                log.log(level, "the change log cannot be read; trying again", exc_info=error)
                self._woken.set()
                await asyncio.sleep(0.5)

    async def _deliver(self) -> None:
        if not self._subscribers:
            return  # nobody listens: the first who does begins at what is newest then
        changes = await self._db.read_hot(list_changes, self._position)
        while changes:
            for change in changes:
                subscribers = self._subscribers.get(change.owner_id)
                if subscribers:
                    encoded = _encode(change)
                    for subscriber in subscribers:
                        subscriber.put(change.position, encoded)
            self._position = changes[-1].position
            full = len(changes) == PAGE
            changes = await self._db.read_hot(list_changes, self._position) if full else []
        if self._db.dialect_name == "postgresql" and await self._db.read(has_hidden):
            await asyncio.sleep(HIDDEN_RETRY_S)
            self._woken.set()


def _encode(change: LoggedChange) -> bytes:
    body = {
        "topic": change.topic,
        "entity": change.entity,
        "entity_id": change.entity_id,
        "operation": change.operation,
        "payload": orjson.Fragment(change.payload) if change.payload is not None else None,
    }
    return sse("change", body, str(change.position))
