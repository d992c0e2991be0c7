"""Building the index of meanings in the background: the newest first, a document at a time, in one process of all."""

import asyncio
import logging
import time
from typing import Literal

from typing_extensions import TypedDict

from tertulia.chat.search_passages import Embedded, Unembedded, newest_document, next_unembedded, store_passages
from tertulia.db import Database
from tertulia.errors import AppError
from tertulia.jobs.service import Job, run_under_lease
from tertulia.search.meaning.embedder import Embedder, EmbeddingFailed
from tertulia.search.meaning.nearest import code_of

LOOK_EVERY_S = 5.0
AGAIN_AFTER_S = 60.0  # a failure
WINDOW = 2000  # documents looked through at once for one without passages
RECENT = 5000  # newest documents, looked through at each look: not all become visible in the order of their ids
WHOLE_EVERY_S = 3600.0  # all of them, for what came any other way
CHARACTERS_AT_ONCE = 2000  # given to the model: a search that comes waits for no more
HELD_S = 60
MOST_FAILURES = 3  # of one look: then it is the model that fails
log = logging.getLogger(__name__)

MeaningPhase = Literal["off", "fetching", "building", "ready", "failed"]


class MeaningState(TypedDict):
    """`progress` from 0 to 1 while it is built, the newest first."""

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
                log.warning("the index of meanings waits: %s", error)
                pause = AGAIN_AFTER_S
            except Exception:
                log.exception("the index of meanings could not be built on")
                pause = AGAIN_AFTER_S
            await asyncio.sleep(pause)

    async def build(self) -> None:
        """Embed what has no passages yet: the newest documents, and from time to time all."""
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
                    # The next whole look tries it again; the others need not wait for it.
                    log.warning("document %d is not found by its meaning: %s", waiting.document_id, error)
                    failures += 1
                    if failures == MOST_FAILURES:
                        raise
                upto = waiting.document_id - 1
            else:
                return  # another process does it
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

    async def _embed(self, waiting: Unembedded) -> None:
        embedded: list[Embedded] = []
        for batch in _batches(waiting.passages):
            vectors = await self._embedder.embed([text for _, text in batch])
            embedded += [
                Embedded(start, code_of(vector), vector) for (start, _), vector in zip(batch, vectors, strict=True)
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
