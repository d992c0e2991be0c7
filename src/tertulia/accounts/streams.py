"""Open streams: limit them per user, and close them when their session, token or permission ends."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.api_tokens import list_valid_tokens
from tertulia.accounts.errors import TooManyStreams
from tertulia.accounts.sessions import SessionLifetime, list_valid_sessions
from tertulia.db import Database
from tertulia.realtime.publish import SHARES

MAX_STREAMS = 10
MAX_GUEST_STREAMS = 300  # per address, which a school or an office may share
CHECK_EVERY_S = 3.0
log = logging.getLogger(__name__)


StillAllowed = Callable[[Session], bool]


class WatchedStream(NamedTuple):
    actor: Actor | None
    is_still_allowed: StillAllowed | None  # None: only the session or token is checked


class OpenStreams:
    """The open streams of this process, all checked together every few seconds."""

    def __init__(self, db: Database, life: SessionLifetime) -> None:
        self._db = db
        self._life = life
        self._open: dict[asyncio.Event, WatchedStream] = {}
        self._woken = asyncio.Event()
        db.on_wake(lambda signal: self._woken.set() if signal == SHARES else None)
        self._counts: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._check_forever(), name="open-streams")

    def stop(self) -> None:
        """Close every stream, because a reader would delay the end. Clients reconnect with their last event id."""
        for closed in self._open:
            closed.set()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @contextmanager
    def opened(
        self, actor: Actor | None, *, is_still_allowed: StillAllowed | None = None, guest_address: str | None = None
    ) -> Iterator[asyncio.Event]:
        """Count a stream while it is open. The event is set when it must close. Raises TooManyStreams.

        `is_still_allowed(session)` returns whether the stream may still be read. Visitors without a
        sign-in are counted by address.
        """
        counted = actor.user_id if actor else f"guest {guest_address}"
        limit = MAX_STREAMS if actor else MAX_GUEST_STREAMS
        if self._counts[counted] >= limit:
            raise TooManyStreams(limit)
        closed = asyncio.Event()
        self._open[closed] = WatchedStream(actor, is_still_allowed)
        self._counts[counted] += 1
        try:
            yield closed
        finally:
            del self._open[closed]
            self._counts[counted] -= 1
            if not self._counts[counted]:
                del self._counts[counted]

    async def check_now(self) -> None:
        actors = [watched.actor for watched in self._open.values() if watched.actor is not None]
        sessions = {actor.session_id for actor in actors if actor.session_id is not None}
        tokens = {actor.token_id for actor in actors if actor.token_id is not None}
        valid: set[str] = set()
        if sessions:
            valid |= await self._db.read(list_valid_sessions, sessions, self._life)
        if tokens:
            valid |= await self._db.read(list_valid_tokens, tokens)
        for closed, (actor, is_still_allowed) in list(self._open.items()):
            credential = (actor.session_id or actor.token_id) if actor else None
            if (credential is not None and credential not in valid and credential in sessions | tokens) or (
                is_still_allowed is not None and not await self._db.read(is_still_allowed)
            ):
                closed.set()

    async def _check_forever(self) -> None:
        failures = 0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_EVERY_S):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self.check_now()
                failures = 0
            except Exception as error:
                # Streams that cannot be checked are closed. Clients resume them when the database is available again.
                failures += 1
                log.warning("cannot check open streams", exc_info=error)
                if failures * CHECK_EVERY_S >= 5:
                    self.stop()
