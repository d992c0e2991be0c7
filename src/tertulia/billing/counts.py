"""Count messages per user and day, and enforce the operator's limit."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.billing.errors import MessageLimitReached
from tertulia.billing.models import MessageUsage
from tertulia.billing.schemas import MessageCount
from tertulia.db import Prepared, table_of
from tertulia.ids import new_id


def _today() -> tuple[datetime, datetime]:
    """Return the start of the current and of the next day, in UTC."""
    begin = datetime.combine(clock.now().date(), time(), UTC)
    return begin, begin + timedelta(days=1)


def count_message(session: Session, user_id: str, *, limit: int | None) -> None:
    """Count one message of today in a single guarded statement. Raises MessageLimitReached without counting."""
    begin, reset_at = _today()
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


def get_message_count(session: Session, actor: Actor, *, limit: int | None) -> MessageCount:
    begin, reset_at = _today()
    count = session.scalar(
        sa.select(MessageUsage.message_count).where(
            MessageUsage.user_id == actor.user_id, MessageUsage.date == begin.date()
        )
    )
    return {"count": count or 0, "limit": limit, "reset_at": reset_at}
