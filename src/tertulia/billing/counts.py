"""Count messages per user and day, and enforce the limits of the operator and of quotas."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.billing.errors import MessageLimitReached
from tertulia.billing.limits import Payer, Quota, find_quotas, find_zones
from tertulia.billing.models import MessageUsage, QuotaWindow
from tertulia.billing.notices import note_share
from tertulia.billing.schemas import MessageCount
from tertulia.billing.shown_limits import message_limit
from tertulia.billing.windows import window_at
from tertulia.db import Prepared, table_of
from tertulia.ids import new_id


@dataclass(frozen=True)
class Day:
    """A day in the time zone that counts for administrators' limits, and the moments where it starts and ends."""

    date: date
    starts_at: datetime
    resets_at: datetime


def today(session: Session, user_id: str) -> Day:
    now = clock.now()
    zone = find_zones(session, user_id, now).of_admins
    window = window_at(QuotaWindow.DAY, now, zone, is_sliding=False)
    assert window.resets_at is not None
    return Day(now.astimezone(zone).date(), window.starts_at, window.resets_at)


def count_message(session: Session, user_id: str, *, limit: int | None) -> None:
    """Count one message of today in a single guarded statement. Raises MessageLimitReached without counting.

    `limit` is the operator's for everybody. Quotas may set a lower one.
    """
    day = today(session, user_id)
    quotas, _ = find_quotas(session, Payer(user_id))
    most = lowest_messages(quotas, limit)
    now = clock.now()
    counted = _COUNT[session.get_bind().dialect.name].first(
        session,
        id=new_id(),
        user_id=user_id,
        date=day.date,
        message_count=1,
        reset_at=day.resets_at,
        created_at=now,
        updated_at=now,
        moment=now,
        most=NO_LIMIT if most is None else most,
    )
    if counted is None or most == 0:
        own = any(quota.max_messages == most and quota.owner_id is not None for quota in quotas)
        raise MessageLimitReached(most or 0, day.resets_at, can_raise="person" if own else "administrator")
    if most is not None:
        used = int(counted[0])
        limit_now = message_limit(quotas, used, most, starts_at=day.starts_at, resets_at=day.resets_at)
        note_share(session, user_id, limit_now)


def _counting(table: sa.Table, insert: Any) -> Prepared:
    """Build a statement that counts up a day below the limit, and returns the new count or no row."""
    statement = insert(table).on_conflict_do_update(
        index_elements=["user_id", "date"],
        set_={
            "message_count": table.c.message_count + 1,
            "updated_at": sa.bindparam("moment", type_=table.c.updated_at.type),
        },
        where=table.c.message_count < sa.bindparam("most", type_=sa.Integer()),
    )
    return Prepared(statement.returning(table.c.message_count))


NO_LIMIT = 2**31 - 1
_COUNT = {
    "sqlite": _counting(table_of(MessageUsage), sqlite.insert),
    "postgresql": _counting(table_of(MessageUsage), postgresql.insert),
}


def lowest_messages(quotas: Sequence[Quota], limit: int | None) -> int | None:
    """Return how many messages may be sent in a day: the lowest of the operator's limit and of the quotas."""
    limits = [limit, *(quota.max_messages for quota in quotas)]
    return min((value for value in limits if value is not None), default=None)


def find_storage_quota(session: Session, user_id: str) -> int | None:
    """Return the lowest number of bytes that the quotas of a user let them store, or None."""
    quotas, _ = find_quotas(session, Payer(user_id))
    return min((quota.max_storage_bytes for quota in quotas if quota.max_storage_bytes is not None), default=None)


def count_of(session: Session, user_id: str, day: Day) -> int:
    """Return how many messages a user sent on a day."""
    count = sa.select(MessageUsage.message_count).where(MessageUsage.user_id == user_id, MessageUsage.date == day.date)
    return session.scalar(count) or 0


def get_message_count(session: Session, actor: Actor, *, limit: int | None) -> MessageCount:
    day = today(session, actor.user_id)
    quotas, _ = find_quotas(session, Payer(actor.user_id))
    return {
        "count": count_of(session, actor.user_id, day),
        "limit": lowest_messages(quotas, limit),
        "reset_at": day.resets_at,
    }
