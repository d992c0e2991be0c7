"""What a person does about a chat that is made shorter: have it done now, look at what was done, change a summary, undo."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.chat.compaction_records import announce_optimization, read_optimization
from tertulia.chat.errors import ChatNotFound
from tertulia.chat.messages import lock_chat
from tertulia.chat.models import ContextOptimization, OptimizationType
from tertulia.chat.schemas import ContextOptimizationRead
from tertulia.chat.service import get_chat
from tertulia.context.branch import Reading
from tertulia.context.messages import estimate_tokens
from tertulia.context.service import Maker, Price, record, shorten_now
from tertulia.ids import ChatId, ContextOptimizationId
from tertulia.realtime.models import Operation
from tertulia.runs.errors import NothingToShorten, OptimizationNotFound


def optimize_now(
    session: Session,
    actor: Actor,
    reading: Reading,
    kind: OptimizationType,
    *,
    price: Price | None,
) -> ContextOptimizationRead:
    """Leave out or compress at once. Raises NothingToShorten."""
    lock_chat(session, actor, ChatId(reading.chat_id))
    made = shorten_now(session, reading, kind)
    if made is None:
        raise NothingToShorten
    row_id = record(session, reading, made, maker=Maker(actor.user_id), price=price)
    return read_optimization(session.get_one(ContextOptimization, row_id))


def get_optimization(session: Session, row_id: str) -> ContextOptimizationRead:
    """One that was made a moment ago, for whoever had it made."""
    return read_optimization(session.get_one(ContextOptimization, row_id))


def list_optimizations(
    session: Session, actor: Actor, chat_id: ChatId, *, before: str | None = None, limit: int = 50
) -> list[ContextOptimizationRead]:
    """The newest first, those that were undone among them."""
    get_chat(session, actor, chat_id)
    query = sa.select(ContextOptimization).where(ContextOptimization.chat_id == chat_id)
    if before is not None:
        query = query.where(ContextOptimization.id < before)
    return [
        read_optimization(row) for row in session.scalars(query.order_by(ContextOptimization.id.desc()).limit(limit))
    ]


def edit_summary(
    session: Session, actor: Actor, chat_id: ChatId, row_id: ContextOptimizationId, summary: str
) -> ContextOptimizationRead:
    """By whoever may write in the chat. Raises OptimizationNotFound, NothingToShorten for words longer than what they tell of."""
    row = _of_chat(session, actor, chat_id, row_id)
    if row.summary is None or row.undone_at is not None:
        raise OptimizationNotFound
    after = max(0, row.tokens_after - estimate_tokens(row.summary)) + estimate_tokens(summary)
    if after > row.tokens_before:
        raise NothingToShorten
    row.summary, row.tokens_after, row.is_edited, row.stale_at = summary, after, True, None
    return announce_optimization(session, row, Operation.UPDATED)


def undo_optimization(session: Session, actor: Actor, chat_id: ChatId, row_id: ContextOptimizationId) -> None:
    """Messages are sent again as before. Undoing twice is undoing once."""
    row = _of_chat(session, actor, chat_id, row_id)
    if row.undone_at is None:
        row.undone_at = clock.now()
        announce_optimization(session, row, Operation.UPDATED)


def undo_all(session: Session, actor: Actor, chat_id: ChatId) -> None:
    """By whoever may write in the chat. Raises ChatNotFound."""
    lock_chat(session, actor, chat_id)
    rows = session.scalars(
        sa.select(ContextOptimization).where(
            ContextOptimization.chat_id == chat_id, ContextOptimization.undone_at.is_(None)
        )
    ).all()
    for row in rows:
        row.undone_at = clock.now()
        announce_optimization(session, row, Operation.UPDATED)


def _of_chat(session: Session, actor: Actor, chat_id: ChatId, row_id: ContextOptimizationId) -> ContextOptimization:
    try:
        lock_chat(session, actor, chat_id)
    except ChatNotFound:
        raise OptimizationNotFound from None
    row = session.scalars(
        sa.select(ContextOptimization).where(ContextOptimization.id == row_id, ContextOptimization.chat_id == chat_id)
    ).one_or_none()
    if row is None:
        raise OptimizationNotFound
    return row
