"""Search by meaning as one component: the model, the index, and queries to both."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from tertulia.db import Database
from tertulia.search.meaning.builder import MeaningState, PassageBuilder
from tertulia.search.meaning.embedder import Embedder
from tertulia.search.meaning.nearest import Meanings, nearest_of_files
from tertulia.search.meaning.passages import passages_of_files
from tertulia.search.query import understand
from tertulia.search.service import Meaning

MAX_QUESTION = 1000  # characters; the model reads no more


class PassagesOfFiles:
    """Finds the passages of files that are nearest to a question."""

    def __init__(self, db: Database, embedder: Embedder) -> None:
        self._db = db
        self._embedder = embedder

    async def nearest(self, question: str, attachment_ids: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """Return the starts of the passages of files that are nearest to a question, best first, by attachment id.

        Files that are not embedded yet are missing, and all are if the vector of the question is not available soon.
        """
        rows = await self._db.read(passages_of_files, attachment_ids)
        vector = await self._embedder.embed_query(question[:MAX_QUESTION]) if rows else None
        return await asyncio.to_thread(nearest_of_files, rows, vector) if vector is not None else {}


class MeaningSearch:
    def __init__(self, db: Database, folder: Path, owner: str, mirror: str | None = None) -> None:
        self._embedder = Embedder(folder, mirror)
        self._builder = PassageBuilder(db, self._embedder, owner)
        self._meanings = Meanings()
        self.of_files = PassagesOfFiles(db, self._embedder)

    async def start(self) -> None:
        self._embedder.start()
        self._builder.start()

    async def close(self) -> None:
        await self._builder.close()
        await self._embedder.close()

    async def meaning_of(self, typed: str) -> Meaning | None:
        """Return the meaning of a query, or None if it has none or its vector is not available soon."""
        text = understand(typed).meaning
        vector = await self._embedder.embed_query(text) if text is not None else None
        return Meaning(vector, self._meanings) if vector is not None else None

    def state(self) -> MeaningState:
        return self._builder.state()
