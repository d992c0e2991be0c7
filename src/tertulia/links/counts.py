"""Count how often public links are opened."""

from collections import Counter

from tertulia.accounts.sharing import count_accesses
from tertulia.db import Database
from tertulia.jobs.flusher import Flusher


class LinkOpenCounts(Flusher):
    """Counts in memory and writes once a minute, because reading must not write."""

    def __init__(self, db: Database) -> None:
        super().__init__("link-counts", self._write)
        self._db = db
        self._counts: Counter[str] = Counter()

    def add(self, share_id: str | None) -> None:
        """Count one opening. None, a public chat without a share, is not counted."""
        if share_id is not None:
            self._counts[share_id] += 1

    async def _write(self) -> None:
        counts, self._counts = dict(self._counts), Counter()
        if not counts:
            return
        try:
            await self._db.write(count_accesses, counts)
        except Exception:
            self._counts.update(counts)
            raise
