"""Search by meaning as one component: the model, the index, and queries to both."""

from pathlib import Path

from tertulia.db import Database
from tertulia.search.meaning.builder import MeaningState, PassageBuilder
from tertulia.search.meaning.embedder import Embedder
from tertulia.search.meaning.nearest import Meanings
from tertulia.search.query import understand
from tertulia.search.service import Meaning


class MeaningSearch:
    def __init__(self, db: Database, folder: Path, owner: str, mirror: str | None = None) -> None:
        self._embedder = Embedder(folder, mirror)
        self._builder = PassageBuilder(db, self._embedder, owner)
        self._meanings = Meanings()

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
