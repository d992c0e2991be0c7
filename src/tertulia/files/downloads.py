"""Count how often files are downloaded, where their bytes are sent."""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.db import Database
from tertulia.files.models import Attachment
from tertulia.jobs.flusher import CountFlusher


class DownloadCounts(CountFlusher):
    """Counts a download when its first byte is sent. The later parts of it do not count."""

    def __init__(self, db: Database) -> None:
        super().__init__("download-counts", db, count_downloads)


def count_downloads(session: Session, counts: Mapping[str, int]) -> None:
    """Add downloads by attachment id. A file that was deleted permanently meanwhile is skipped."""
    for attachment_id, count in sorted(counts.items()):  # in one order, so that two processes cannot lock each other
        session.execute(
            sa.update(Attachment)
            .where(Attachment.id == attachment_id)
            .values(download_count=Attachment.download_count + count, updated_at=Attachment.updated_at)
        )
