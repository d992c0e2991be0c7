"""Count how often public links are opened."""

from tertulia.accounts.sharing import count_accesses
from tertulia.db import Database
from tertulia.jobs.flusher import CountFlusher


class LinkOpenCounts(CountFlusher):
    """Counts the openings of shares."""

    def __init__(self, db: Database) -> None:
        super().__init__("link-counts", db, count_accesses)
