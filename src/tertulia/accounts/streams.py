"""Open streams: how many a user may have, and their end when the sign-in behind them ends."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tertulia.accounts.actor import Actor
from tertulia.accounts.api_tokens import list_valid_tokens
from tertulia.accounts.errors import TooManyStreams
from tertulia.accounts.sessions import SessionLife, list_valid_sessions
from tertulia.db import Database

MAX_STREAMS = 10
CHECK_EVERY_S = 3.0
log = logging.getLogger(__name__)


class OpenStreams:
    """One question to the database every few seconds serves all streams of this process."""

    def __init__(self, db: Database, life: SessionLife) -> None:
        self._db = db
        self._life = life
        self._open: dict[asyncio.Event, Actor] = {}
        self._counts: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._check_forever(), name="open-streams")

    def close_all(self) -> None:
        """Let every reader go, so that the process can stop; they come back with their last id."""
        for closed in self._open:
            closed.set()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @contextmanager
    def opened(self, actor: Actor) -> Iterator[asyncio.Event]:
        """Count a stream while it is open; the event is set when it must close. Raises TooManyStreams."""
        if self._counts[actor.user_id] >= MAX_STREAMS:
            raise TooManyStreams(MAX_STREAMS)
        closed = asyncio.Event()
        self._open[closed] = actor
        self._counts[actor.user_id] += 1
        try:
            yield closed
        finally:
            del self._open[closed]
            self._counts[actor.user_id] -= 1
            if not self._counts[actor.user_id]:
                del self._counts[actor.user_id]

    async def check_now(self) -> None:
        sessions = {actor.session_id for actor in self._open.values() if actor.session_id is not None}
        tokens = {actor.token_id for actor in self._open.values() if actor.token_id is not None}
        valid: set[str] = set()
        if sessions:
            valid |= await self._db.read(list_valid_sessions, sessions, self._life)
        if tokens:
            valid |= await self._db.read(list_valid_tokens, tokens)
        for closed, actor in self._open.items():
            credential = actor.session_id or actor.token_id
            if credential is not None and credential not in valid and credential in sessions | tokens:
                closed.set()

    async def _check_forever(self) -> None:
        failures = 0
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            try:
                await self.check_now()
                failures = 0
            except Exception as error:
                # Whoever cannot be checked is not let stay: a stream that is closed resumes when all is well again.
                failures += 1
                log.warning("open streams cannot be checked", exc_info=error)
                if failures * CHECK_EVERY_S >= 5:
                    self.close_all()
