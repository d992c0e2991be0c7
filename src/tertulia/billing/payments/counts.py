"""Count the deliveries that are refused. Nothing else of them is kept."""

from tertulia.billing.payments.webhooks import store_refusals
from tertulia.db import Database
from tertulia.jobs.flusher import CountFlusher


class RefusalCounts(CountFlusher):
    """Counts by `source reason`."""

    def __init__(self, db: Database) -> None:
        super().__init__("webhook-refusals", db, store_refusals)
