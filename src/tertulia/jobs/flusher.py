"""Write counts that were gathered in memory every minute, because reading must not write."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

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
