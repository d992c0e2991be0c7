"""Messages per person and day, and the operator's limit on them."""

from datetime import UTC, datetime, time, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.billing.errors import MessageLimitReached
from tertulia.billing.models import MessageUsage
from tertulia.billing.schemas import MessageCount
from tertulia.ids import new_id


def _today() -> tuple[datetime, datetime]:
    """When this day began, and when the next one does, in UTC."""
    begin = datetime.combine(clock.now().date(), time(), UTC)
    return begin, begin + timedelta(days=1)


def count_message(session: Session, user_id: str, *, limit: int | None) -> None:
    """Count one message of today in a single guarded statement. Raises MessageLimitReached; then nothing is counted."""
    begin, reset_at = _today()
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    now = clock.now()
    statement = insert(MessageUsage).values(
        id=new_id(),
        user_id=user_id,
        date=begin.date(),
        message_count=1,
        reset_at=reset_at,
        created_at=now,
        updated_at=now,
    )
    counted = session.execute(
        statement.on_conflict_do_update(
            index_elements=["user_id", "date"],
            set_={"message_count": MessageUsage.message_count + 1, "updated_at": now},
            where=sa.true() if limit is None else MessageUsage.message_count < limit,
        ).returning(MessageUsage.message_count)
    ).first()
    if counted is None or limit == 0:
        raise MessageLimitReached(limit or 0, reset_at)


def get_message_count(session: Session, *, actor: Actor, limit: int | None) -> MessageCount:
    begin, reset_at = _today()
    count = session.scalar(
        sa.select(MessageUsage.message_count).where(
            MessageUsage.user_id == actor.user_id, MessageUsage.date == begin.date()
        )
    )
    return {"count": count or 0, "limit": limit, "reset_at": reset_at}
