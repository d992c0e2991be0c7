"""One reader of the event log for each process, and the windows that follow it.

A window hears of what is its person's, and of the chats and drafts that others share with them: of those without what the change says,
as the owner hears more than others may. Who else is in a chat at the moment is passed on the same way, and never stored.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime

import orjson
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.db import Database
from tertulia.errors import AppError
from tertulia.http.sse import sse, wait_or_keep_alive
from tertulia.realtime.bus import Bus, Message
from tertulia.realtime.publish import CHANGES, SHARES
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
LOOK_AT_SHARES_EVERY_S = 3.0
SOMETHING = sse("change", {})  # to a guest: not even what, as it may be in a thread or on another branch
SHARED_ENTITIES = (
    "chat",
    "message",
    "run",
    "draft",
    "draft_version",
    "proposal",
    "attached_draft",
    "tool_execution",
    "chat_state",
    "context_optimization",
)
# The chats and drafts that others share with people, each with the end of the share; None: it has none.
SharedThings = Mapping[str, Mapping[str, datetime | None]]
FindShared = Callable[[Session, Iterable[str]], SharedThings]
log = logging.getLogger(__name__)


class Subscriber:
    """What one open stream has still to send."""

    def __init__(self, overflowed: asyncio.Event) -> None:
        self.waiting: deque[tuple[Position | None, bytes]] = deque()
        self.size = 0
        self.ready = asyncio.Event()
        self.overflowed = overflowed

    def put(self, position: Position | None, encoded: bytes) -> None:
        """Without a position it is of the moment, and not told again."""
        self.size += len(encoded)
        if self.size > MAX_BUFFER_BYTES:
            self.overflowed.set()
        else:
            self.waiting.append((position, encoded))
        self.ready.set()

    def take(self) -> list[tuple[Position | None, bytes]]:
        taken = list(self.waiting)
        self.waiting.clear()
        self.size = 0
        self.ready.clear()
        return taken


class ChangeFeed:
    def __init__(self, db: Database, bus: Bus, find_shared: FindShared) -> None:
        """`find_shared(session, user_ids)`: which chats and drafts of others each of these people may read."""
        self._db = db
        self._bus = bus
        self._find_shared = find_shared
        self._subscribers: defaultdict[str, set[Subscriber]] = defaultdict(set)  # by person
        self._guests: defaultdict[str, set[Subscriber]] = defaultdict(set)  # by chat or draft
        self._shared: dict[str, Mapping[str, datetime | None]] = {}  # by person
        self._shared_with: dict[str, set[str]] = {}  # by chat or draft
        self._woken = asyncio.Event()
        self._shares_changed = asyncio.Event()
        self._refreshing = asyncio.Lock()
        self._position = Position(0, 0)
        self._tasks: list[asyncio.Task[None]] = []
        db.on_wake(self._on_wake)
        bus.listen(self._on_message)

    async def start(self) -> None:
        self._position = await self._db.read(newest_position)
        self._tasks = [
            asyncio.create_task(self._follow_forever(), name="change-feed"),
            asyncio.create_task(self._refresh_forever(), name="shares"),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stream(self, owner_id: str, last_event_id: str | None, overflowed: asyncio.Event) -> AsyncIterator[bytes]:
        """`ready`, then every change for this person: from now on, or after the given id, or `reload` if that is too old."""
        subscriber = Subscriber(overflowed)
        await self._begin()
        self._subscribers[owner_id].add(subscriber)
        try:
            await self._refresh([owner_id])
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
                while missed := await self._missed(since, owner_id):
                    since = missed[-1].position
                    yield b"".join(filter(None, (self._for_person(change, owner_id) for change in missed)))
            async for fresh in _fresh(subscriber, since):
                yield fresh
        finally:
            self._subscribers[owner_id].discard(subscriber)
            if not self._subscribers[owner_id]:
                del self._subscribers[owner_id]
                self._forget(owner_id)

    async def stream_for_guest(self, shared_ids: Iterable[str], overflowed: asyncio.Event) -> AsyncIterator[bytes]:
        """`ready`, then that something of the chat or draft changed, and nothing of what: a guest fetches what guests may see."""
        subscriber, followed = Subscriber(overflowed), list(shared_ids)
        await self._begin()
        for shared_id in followed:
            self._guests[shared_id].add(subscriber)
        try:
            since = self._position
            yield sse("ready", {})
            async for fresh in _fresh(subscriber, since):
                yield fresh
        finally:
            for shared_id in followed:
                self._guests[shared_id].discard(subscriber)
                if not self._guests[shared_id]:
                    del self._guests[shared_id]

    async def tell_presence(
        self, *, chat_id: str, owner_id: str, user_id: str, name: str, is_typing: bool, is_leaving: bool
    ) -> None:
        """Tell all who have the chat open, in every process, that somebody is there, types, or leaves."""
        await self._bus.send(
            {
                "presence": chat_id,
                "owner": owner_id,
                "user": user_id,
                "name": name,
                "typing": int(is_typing),
                "leaving": int(is_leaving),
            }
        )

    @property
    def _is_idle(self) -> bool:
        return not self._subscribers and not self._guests

    async def _begin(self) -> None:
        """While nobody listened nothing was read: the first begins at what is newest now."""
        if self._is_idle:
            newest = await self._db.read_hot(newest_position)
            if self._is_idle:  # nobody came meanwhile, who is to be told of what lies between
                self._position = newest

    def _on_wake(self, signal: str) -> None:
        if signal == CHANGES:
            self._woken.set()
        elif signal == SHARES:
            self._shares_changed.set()

    def _on_message(self, message: Message) -> None:
        if "presence" not in message:
            return
        chat_id, owner_id = str(message["presence"]), str(message["owner"])
        data = {
            "chat_id": chat_id,
            "user": {"id": message["user"], "name": message["name"]},
            "is_typing": bool(message["typing"]),
            "is_leaving": bool(message["leaving"]),
        }
        encoded = sse("presence", data)
        for person in {owner_id, *self._shared_with.get(chat_id, ())}:
            if person == owner_id or self._may_hear(person, chat_id):
                for subscriber in self._subscribers.get(person, ()):
                    subscriber.put(None, encoded)

    async def _missed(self, since: Position, owner_id: str) -> list[LoggedChange]:
        shared = list(self._shared.get(owner_id, ()))
        return await self._db.read(list_changes, since, owner_id=owner_id, shared_ids=shared)

    async def _refresh_forever(self) -> None:
        while True:
            with suppress(TimeoutError):  # a signal can be lost with a connection to PostgreSQL
                async with asyncio.timeout(LOOK_AT_SHARES_EVERY_S):
                    await self._shares_changed.wait()
            try:
                await self._refresh_all()
            except Exception as error:
                log.warning("who may read what cannot be looked up; trying again", exc_info=error)
                self._shares_changed.set()
                await asyncio.sleep(0.5)

    async def _refresh_all(self) -> None:
        self._shares_changed.clear()
        await self._refresh(list(self._subscribers))

    async def _know_shares(self) -> None:
        """Who may read what as of all that was heard of until now: whoever may read something new hears what comes after."""
        if self._shares_changed.is_set():
            await self._refresh_all()
        elif self._refreshing.locked():
            async with self._refreshing:
                return

    async def _refresh(self, people: list[str]) -> None:
        async with self._refreshing:
            found = await self._db.read(self._find_shared, people) if people else {}
            for person in people:
                if person in self._subscribers:
                    self._forget(person)
                    self._shared[person] = found.get(person, {})
                    for shared_id in self._shared[person]:
                        self._shared_with.setdefault(shared_id, set()).add(person)

    def _forget(self, person: str) -> None:
        for shared_id in self._shared.pop(person, ()):
            self._shared_with[shared_id].discard(person)
            if not self._shared_with[shared_id]:
                del self._shared_with[shared_id]

    def _may_hear(self, person: str, shared_id: str) -> bool:
        shared = self._shared.get(person, {})
        if shared_id not in shared:
            return False
        end = shared[shared_id]
        return end is None or end > clock.now()

    def _for_person(self, change: LoggedChange, person: str) -> bytes | None:
        """The change as this person hears it; None if it is not for them."""
        if change.owner_id == person:
            return _encode(change)
        if change.entity not in SHARED_ENTITIES or not self._may_hear(person, change.shared_id or ""):
            return None
        return _encode(change, is_told=False)

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
        if self._is_idle:
            return  # nobody listens: the first who does begins at what is newest then
        await self._know_shares()
        changes = await self._db.read_hot(list_changes, self._position)
        while changes:
            for change in changes:
                self._deliver_one(change)
            self._position = changes[-1].position
            full = len(changes) == PAGE
            changes = await self._db.read_hot(list_changes, self._position) if full else []
        if self._db.dialect_name == "postgresql" and await self._db.read(has_hidden):
            await asyncio.sleep(HIDDEN_RETRY_S)
            self._woken.set()

    def _deliver_one(self, change: LoggedChange) -> None:
        _put(self._subscribers.get(change.owner_id, ()), change.position, lambda: _encode(change))
        if change.shared_id is None or change.entity not in SHARED_ENTITIES:
            return
        for person in self._shared_with.get(change.shared_id, ()):
            if person != change.owner_id and self._may_hear(person, change.shared_id):
                _put(self._subscribers.get(person, ()), change.position, lambda: _encode(change, is_told=False))
        _put(self._guests.get(change.shared_id, ()), change.position, lambda: SOMETHING)


async def _fresh(subscriber: Subscriber, since: Position) -> AsyncIterator[bytes]:
    while not subscriber.overflowed.is_set():
        for comment in await wait_or_keep_alive(subscriber.ready):
            yield comment
        fresh = [encoded for position, encoded in subscriber.take() if position is None or position > since]
        if fresh:
            yield b"".join(fresh)


def _put(subscribers: Iterable[Subscriber], position: Position, encode: Callable[[], bytes]) -> None:
    encoded: bytes | None = None
    for subscriber in subscribers:
        encoded = encoded or encode()
        subscriber.put(position, encoded)


def _encode(change: LoggedChange, *, is_told: bool = True) -> bytes:
    """`is_told` false: what changed, and not what it is now."""
    is_drafts = change.topic.startswith("draft:")
    body = {
        "topic": change.topic if is_told or is_drafts else f"chat:{change.shared_id}",
        "entity": change.entity,
        "entity_id": change.entity_id,
        "operation": change.operation,
        "payload": orjson.Fragment(change.payload) if is_told and change.payload is not None else None,
    }
    return sse("change", body, str(change.position))
