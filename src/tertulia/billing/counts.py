"""Count messages per user and day, and enforce the operator's limit."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.billing.errors import MessageLimitReached
from tertulia.billing.limits import Payer, find_quotas
from tertulia.billing.models import MessageUsage
from tertulia.billing.schemas import MessageCount
from tertulia.db import Prepared, table_of
from tertulia.ids import new_id


def _today() -> tuple[datetime, datetime]:
    """Return the start of the current and of the next day, in UTC."""
    begin = datetime.combine(clock.now().date(), time(), UTC)
    return begin, begin + timedelta(days=1)


def count_message(session: Session, user_id: str, *, limit: int | None) -> None:
    """Count one message of today in a single guarded statement. Raises MessageLimitReached without counting.

    `limit` is the operator's for everybody. Quotas may set a lower one.
    """
    begin, reset_at = _today()
    limit = message_limit(session, user_id, limit)
    now = clock.now()
    counted = _COUNT[session.get_bind().dialect.name].first(
        session,
        id=new_id(),
        user_id=user_id,
        date=begin.date(),
        message_count=1,
        reset_at=reset_at,
        created_at=now,
        updated_at=now,
        moment=now,
        most=NO_LIMIT if limit is None else limit,
    )
    if counted is None or limit == 0:
        raise MessageLimitReached(limit or 0, reset_at)


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


def message_limit(session: Session, user_id: str, limit: int | None) -> int | None:
    """Return how many messages a user may send in a day: the lowest of the operator's limit and of the quotas."""
    quotas, _ = find_quotas(session, Payer(user_id))
    limits = [limit, *(quota.max_messages for quota in quotas)]
    return min((value for value in limits if value is not None), default=None)


def find_storage_quota(session: Session, user_id: str) -> int | None:
    """Return the lowest number of bytes that the quotas of a user let them store, or None."""
    quotas, _ = find_quotas(session, Payer(user_id))
    return min((quota.max_storage_bytes for quota in quotas if quota.max_storage_bytes is not None), default=None)


def get_message_count(session: Session, actor: Actor, *, limit: int | None) -> MessageCount:
    begin, reset_at = _today()
    limit = message_limit(session, actor.user_id, limit)
    count = session.scalar(
        sa.select(MessageUsage.message_count).where(
            MessageUsage.user_id == actor.user_id, MessageUsage.date == begin.date()
        )
    )
    return {"count": count or 0, "limit": limit, "reset_at": reset_at}
