"""Write counts that were gathered in memory every minute, because reading must not write."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from sqlalchemy.orm import Session

from tertulia.db import Database

log = logging.getLogger(__name__)
EVERY_S = 60.0


class Flusher:
    """Calls `flush` once a minute and a last time at the end. `flush` keeps what it could not write."""

    def __init__(self, name: str, flush: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self.flush = flush
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._repeat(), name=self._name)

    async def close(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._try()

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await self._try()

    async def _try(self) -> None:
        try:
            await self.flush()
        except Exception as error:
            log.warning("%s: counts cannot be written, trying again", self._name, exc_info=error)


class CountFlusher(Flusher):
    """Counts by id in memory. `store` adds the counts to rows, in one transaction a minute."""

    def __init__(self, name: str, db: Database, store: Callable[[Session, Mapping[str, int]], None]) -> None:
        super().__init__(name, self._write)
        self._db = db
        self._store = store
        self._counts: Counter[str] = Counter()

    def add(self, row_id: str) -> None:
        self._counts[row_id] += 1

    async def _write(self) -> None:
        counts, self._counts = dict(self._counts), Counter()
        if not counts:
            return
        try:
            await self._db.write(self._store, counts)
        except Exception:
            self._counts.update(counts)
            raise
