"""Read the change log once per process, and stream it to the windows that follow it.

A window receives the changes of its user, and of the chats and drafts that others share with them. Shared changes have
no payload, because the owner may see more than others. Presence in a chat is sent the same way, and never stored.
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
    STUCK_S,
    LoggedChange,
    Position,
    can_resume,
    end_stuck_transactions,
    has_hidden,
    list_changes,
    newest_position,
    parse_position,
)

# Above this a slow reader is disconnected. It reconnects with its last event id, and reads the rest from the log.
MAX_BUFFER_BYTES = 256 * 1024
# A signal can be lost with a connection to PostgreSQL, so the log is also polled.
LOOK_EVERY_S = 2.0
HIDDEN_RETRY_S = 0.02
LOOK_AT_SHARES_EVERY_S = 3.0
SOMETHING = sse("change", {})  # for guests: no details, as it may be in a thread or on another branch
# By user: the chats and drafts that others share with them, each with the end of the share (None: no end).
SharedThings = Mapping[str, Mapping[str, datetime | None]]
FindShared = Callable[[Session, Iterable[str]], SharedThings]
log = logging.getLogger(__name__)


class Subscriber:
    """The events that one open stream still has to send."""

    def __init__(self, overflowed: asyncio.Event) -> None:
        self.waiting: deque[tuple[Position | None, bytes]] = deque()
        self.size = 0
        self.ready = asyncio.Event()
        self.overflowed = overflowed

    def put(self, position: Position | None, encoded: bytes) -> None:
        """Add an encoded event. Without a position it is transient, and never repeated."""
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
    def __init__(self, db: Database, bus: Bus, find_share_expiries: FindShared, shared_entities: Iterable[str]) -> None:
        """Create a feed. `find_share_expiries(session, user_ids)` returns what others share with each of these users."""
        self._db = db
        self._bus = bus
        self._find_shared = find_share_expiries
        self._shared_entities = frozenset(shared_entities)
        self._subscribers: defaultdict[str, set[Subscriber]] = defaultdict(set)  # by user id
        self._guests: defaultdict[str, set[Subscriber]] = defaultdict(set)  # by chat or draft id
        self._shared: dict[str, Mapping[str, datetime | None]] = {}  # by user id
        self._shared_with: dict[str, set[str]] = {}  # user ids by chat or draft id
        self._hidden_since: float | None = None  # since when changes wait for an older transaction
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
        """Yield `ready`, then each change for the user: new ones, or those after the id. `reload`: it is too old."""
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
            async for events in _fresh(subscriber, since):
                yield events
        finally:
            self._subscribers[owner_id].discard(subscriber)
            if not self._subscribers[owner_id]:
                del self._subscribers[owner_id]
                self._forget(owner_id)

    async def stream_for_guest(self, shared_ids: Iterable[str], overflowed: asyncio.Event) -> AsyncIterator[bytes]:
        """Yield `ready`, then an event without details per change. Guests fetch what guests may see."""
        subscriber, followed = Subscriber(overflowed), list(shared_ids)
        await self._begin()
        for shared_id in followed:
            self._guests[shared_id].add(subscriber)
        try:
            since = self._position
            yield sse("ready", {})
            async for events in _fresh(subscriber, since):
                yield events
        finally:
            for shared_id in followed:
                self._guests[shared_id].discard(subscriber)
                if not self._guests[shared_id]:
                    del self._guests[shared_id]

    async def tell_presence(
        self, *, chat_id: str, owner_id: str, user_id: str, name: str, is_typing: bool, is_leaving: bool
    ) -> None:
        """Notify the chat's readers, in every process, that a user is present, typing, or leaving."""
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
        """Move an idle feed to the newest position. Without subscribers nothing is read."""
        if self._is_idle:
            newest = await self._db.read_hot(newest_position)
            if self._is_idle:  # no subscriber arrived meanwhile that needs the changes in between
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
        for user_id in {owner_id, *self._shared_with.get(chat_id, ())}:
            if user_id == owner_id or self._may_hear(user_id, chat_id):
                for subscriber in self._subscribers.get(user_id, ()):
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
                log.warning("read permissions could not be loaded, retrying", exc_info=error)
                self._shares_changed.set()
                await asyncio.sleep(0.5)

    async def _refresh_all(self) -> None:
        self._shares_changed.clear()
        await self._refresh(list(self._subscribers))

    async def _know_shares(self) -> None:
        """Apply all share signals received so far, so that new readers get the changes that follow."""
        if self._shares_changed.is_set():
            await self._refresh_all()
        elif self._refreshing.locked():
            async with self._refreshing:
                return

    async def _refresh(self, user_ids: list[str]) -> None:
        async with self._refreshing:
            shared = await self._db.read(self._find_shared, user_ids) if user_ids else {}
            for user_id in user_ids:
                if user_id in self._subscribers:
                    self._forget(user_id)
                    self._shared[user_id] = shared.get(user_id, {})
                    for shared_id in self._shared[user_id]:
                        self._shared_with.setdefault(shared_id, set()).add(user_id)

    def _forget(self, user_id: str) -> None:
        for shared_id in self._shared.pop(user_id, ()):
            self._shared_with[shared_id].discard(user_id)
            if not self._shared_with[shared_id]:
                del self._shared_with[shared_id]

    def _may_hear(self, user_id: str, shared_id: str) -> bool:
        shared = self._shared.get(user_id, {})
        if shared_id not in shared:
            return False
        end = shared[shared_id]
        return end is None or end > clock.now()

    def _for_person(self, change: LoggedChange, user_id: str) -> bytes | None:
        """Encode a change as this user may see it. Return None if it is not for them."""
        if change.owner_id == user_id:
            return _encode(change)
        if change.entity not in self._shared_entities or not self._may_hear(user_id, change.shared_id or ""):
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
                log.log(level, "the change log could not be read, retrying", exc_info=error)
                self._woken.set()
                await asyncio.sleep(0.5)

    async def _deliver(self) -> None:
        if self._is_idle:
            return  # no subscribers: the next one starts at the newest position
        await self._know_shares()
        changes = await self._db.read_hot(list_changes, self._position)
        while changes:
            for change in changes:
                self._deliver_one(change)
            self._position = changes[-1].position
            full = len(changes) == PAGE
            changes = await self._db.read_hot(list_changes, self._position) if full else []
        if self._db.dialect_name == "postgresql":
            await self._wait_for_hidden()

    async def _wait_for_hidden(self) -> None:
        """Look again soon if changes wait for an older transaction, and end it if its process does not go on."""
        if not await self._db.read(has_hidden):
            self._hidden_since = None
            return
        now = asyncio.get_running_loop().time()
        self._hidden_since = self._hidden_since or now
        if now - self._hidden_since > STUCK_S:
            if ended := await self._db.read(end_stuck_transactions):
                log.warning("ended %d transactions of a process that does not go on", ended)
            self._hidden_since = None
        await asyncio.sleep(HIDDEN_RETRY_S)
        self._woken.set()

    def _deliver_one(self, change: LoggedChange) -> None:
        _put(self._subscribers.get(change.owner_id, ()), change.position, lambda: _encode(change))
        if change.shared_id is None or change.entity not in self._shared_entities:
            return
        for user_id in self._shared_with.get(change.shared_id, ()):
            if user_id != change.owner_id and self._may_hear(user_id, change.shared_id):
                _put(self._subscribers.get(user_id, ()), change.position, lambda: _encode(change, is_told=False))
        _put(self._guests.get(change.shared_id, ()), change.position, lambda: SOMETHING)


async def _fresh(subscriber: Subscriber, since: Position) -> AsyncIterator[bytes]:
    while not subscriber.overflowed.is_set():
        for comment in await wait_or_keep_alive(subscriber.ready):
            yield comment
        events = [encoded for position, encoded in subscriber.take() if position is None or position > since]
        if events:
            yield b"".join(events)


def _put(subscribers: Iterable[Subscriber], position: Position, encode: Callable[[], bytes]) -> None:
    encoded: bytes | None = None
    for subscriber in subscribers:
        encoded = encoded or encode()
        subscriber.put(position, encoded)


def _encode(change: LoggedChange, *, is_told: bool = True) -> bytes:
    """Encode a change as a server-sent event. Without `is_told`, it has no payload."""
    is_drafts = change.topic.startswith("draft:")
    body = {
        "topic": change.topic if is_told or is_drafts else f"chat:{change.shared_id}",
        "entity": change.entity,
        "entity_id": change.entity_id,
        "operation": change.operation,
        "payload": orjson.Fragment(change.payload) if is_told and change.payload is not None else None,
    }
    return sse("change", body, str(change.position))
