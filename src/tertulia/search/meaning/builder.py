"""Build the meaning index in the background: newest documents first, one at a time, in one process only."""

import asyncio
import logging
import time
from typing import Literal

from typing_extensions import TypedDict

from tertulia.db import Database
from tertulia.errors import AppError
from tertulia.jobs.service import Job, run_under_lease
from tertulia.search.meaning.embedder import Embedder, EmbeddingFailed
from tertulia.search.meaning.nearest import code_of
from tertulia.search.meaning.passages import (
    EmbeddedPassage,
    PassageToEmbed,
    newest_document,
    next_unembedded,
    store_passages,
)

LOOK_EVERY_S = 5.0
AGAIN_AFTER_S = 60.0  # after a failure
WINDOW = 2000  # documents searched at once for one without passages
RECENT = 5000  # newest documents in each scan: documents may become visible out of id order
WHOLE_EVERY_S = 3600.0  # full scan, for documents that the others miss
CHARACTERS_AT_ONCE = 2000  # for each model call: a search waits for one call at most
HELD_S = 60
MAX_FAILURES = 3  # in one scan: then the model itself fails
log = logging.getLogger(__name__)

MeaningPhase = Literal["off", "fetching", "building", "ready", "failed"]


class MeaningState(TypedDict):
    """The state of the meaning index. `progress` rises from 0 to 1 while it is built."""

    phase: MeaningPhase
    progress: float | None


class PassageBuilder:
    def __init__(self, db: Database, embedder: Embedder, owner: str) -> None:
        self._db = db
        self._embedder = embedder
        self._owner = owner
        self._lease = Job("embed-passages", HELD_S, lambda _: True)
        self._held_until = 0.0
        self._whole_at = 0.0
        self._progress: float | None = None
        self._is_built = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._build_forever(), name="embed-passages")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def state(self) -> MeaningState:
        phase: MeaningPhase = self._embedder.phase
        if phase == "ready" and not self._is_built:
            return {"phase": "building", "progress": self._progress}
        return {"phase": phase, "progress": None}

    async def _build_forever(self) -> None:
        await self._embedder.prepared.wait()
        while self._embedder.phase == "ready":
            pause = LOOK_EVERY_S
            try:
                await self.build()
            except (AppError, EmbeddingFailed) as error:
                log.warning("the meaning index is paused: %s", error)
                pause = AGAIN_AFTER_S
            except Exception:
                log.exception("building the meaning index failed")
                pause = AGAIN_AFTER_S
            await asyncio.sleep(pause)

    async def build(self) -> None:
        """Compute vectors for documents without passages: among the newest, and from time to time among all."""
        newest = await self._db.read(newest_document)
        is_whole = time.monotonic() >= self._whole_at
        floor = 0 if is_whole else max(0, newest - RECENT)
        upto, failures = newest, 0
        while upto > floor:
            after = max(floor, upto - WINDOW)
            waiting = await self._db.read(next_unembedded, after, upto)
            if waiting is None:
                upto = after
            elif await self._is_mine():
                try:
                    await self._embed(waiting)
                except EmbeddingFailed as error:
                    # The next full scan tries it again; other documents need not wait.
                    log.warning("document %d could not be embedded: %s", waiting.document_id, error)
                    failures += 1
                    if failures == MAX_FAILURES:
                        raise
                upto = waiting.document_id - 1
            else:
                return  # another process holds the lease
            self._progress = round(1 - upto / newest, 3)
        if is_whole:
            self._whole_at = time.monotonic() + WHOLE_EVERY_S
        self._is_built = True

    async def _is_mine(self) -> bool:
        if time.monotonic() < self._held_until:
            return True
        if await self._db.write(run_under_lease, self._lease, owner=self._owner) is None:
            return False
        self._held_until = time.monotonic() + HELD_S / 2
        return True

    async def _embed(self, waiting: PassageToEmbed) -> None:
        embedded: list[EmbeddedPassage] = []
        for batch in _batches(waiting.passages):
            vectors = await self._embedder.embed([text for _, text in batch])
            embedded += [
                EmbeddedPassage(start, code_of(vector), vector)
                for (start, _), vector in zip(batch, vectors, strict=True)
            ]
        await self._db.write(store_passages, waiting, embedded)


def _batches(passages: list[tuple[int, str]]) -> list[list[tuple[int, str]]]:
    batches: list[list[tuple[int, str]]] = []
    room = 0
    for passage in passages:
        if len(passage[1]) > room:
            batches.append([])
            room = CHARACTERS_AT_ONCE
        batches[-1].append(passage)
        room -= len(passage[1])
    return batches
