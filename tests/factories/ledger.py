"""Entries of the ledger for tests, with the sums that contain them."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.ledger import amounts_of_entry, place_of_entry
from tertulia.billing.models import UsageKind, UsageLog, UsageStatus
from tertulia.billing.sums import add_to_sums
from tertulia.chat.models import Chat
from tertulia.ids import new_id


def enter_usage(
    session: Session, user_id: str, *, moment: datetime | None = None, cost: str | Decimal | None = None, **values: Any
) -> UsageLog:
    """Enter a settled request to a model, or what `values` say, at a moment."""
    fields: dict[str, Any] = {
        "id": new_id(),
        "user_id": user_id,
        "kind": UsageKind.MODEL,
        "status": UsageStatus.SETTLED,
        "provider": "openai",
        "model_name": "gpt-4o",
        "cost": None if cost is None else Decimal(cost),
        "created_at": moment or clock.now(),
        "project_id": session.scalar(sa.select(Chat.project_id).where(Chat.id == values.get("chat_id"))),
    }
    entry = UsageLog(**(fields | values))
    session.add(entry)
    session.flush()
    if entry.status is UsageStatus.SETTLED:
        add_to_sums(session, place_of_entry(entry), amounts_of_entry(entry))
    return entry
