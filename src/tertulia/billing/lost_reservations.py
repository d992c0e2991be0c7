"""Settle reservations whose request will never be settled."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.billing.ledger import amounts_of_entry, lock_payer, place_of_entry
from tertulia.billing.models import UsageLog, UsageStatus
from tertulia.billing.sums import add_to_sums

LOST_AFTER_S = 600


def has_lost_reservations(session: Session, moment: datetime) -> bool:
    return session.scalar(_lost(moment).limit(1)) is not None


def _lost(moment: datetime) -> sa.Select[str]:
    """Select reservations without a run that are old: the run was deleted, or the process that asked has died."""
    return sa.select(UsageLog.id).where(
        UsageLog.status == sa.literal_column("'reserved'"), UsageLog.run_id.is_(None), UsageLog.created_at < moment
    )


def settle_lost(session: Session, moment: datetime) -> int:
    """Settle lost reservations made before a moment in full, because the request may have been charged.

    Return how many there were, at most 100. Deleting a chat must not be a way to use models without limit.
    """
    rows = session.execute(_lost(moment).add_columns(UsageLog.user_id).limit(100)).all()
    # In one order, so that two processes do not wait for each other.
    for user_id in sorted({user_id for _, user_id in rows}):
        lock_payer(session, user_id)
    for entry_id, _ in rows:
        entry = session.get_one(UsageLog, entry_id, with_for_update=True, populate_existing=True)
        if entry.status is not UsageStatus.RESERVED:
            continue
        entry.status, entry.is_estimated = UsageStatus.SETTLED, True
        entry.cost = entry.reserved_cost
        entry.input_tokens, entry.output_tokens = entry.reserved_input_tokens, entry.reserved_output_tokens
        session.flush()
        add_to_sums(session, place_of_entry(entry), amounts_of_entry(entry))
    return len(rows)
