"""Count how often files are downloaded, where their bytes are sent."""

from collections import Counter
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.db import Database
from tertulia.files.models import Attachment
from tertulia.jobs.flusher import Flusher


class DownloadCounts(Flusher):
    """Counts in memory and writes once a minute, because reading must not write."""

    def __init__(self, db: Database) -> None:
        super().__init__("download-counts", self._write)
        self._db = db
        self._counts: Counter[str] = Counter()

    def add(self, attachment_id: str) -> None:
        """Count one download, when its first byte is sent. The later parts of it do not count."""
        self._counts[attachment_id] += 1

    async def _write(self) -> None:
        counts, self._counts = dict(self._counts), Counter()
        if not counts:
            return
        try:
            await self._db.write(count_downloads, counts)
        except Exception:
            self._counts.update(counts)
            raise


def count_downloads(session: Session, counts: Mapping[str, int]) -> None:
    """Add downloads by attachment id. A file that was deleted permanently meanwhile is skipped."""
    for attachment_id, count in sorted(counts.items()):  # in one order, so that two processes cannot lock each other
        session.execute(
            sa.update(Attachment)
            .where(Attachment.id == attachment_id)
            .values(download_count=Attachment.download_count + count, updated_at=Attachment.updated_at)
        )
