"""Compact a chat's context on request, list and revert compactions, and edit summaries."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.chat.errors import ChatNotFound
from tertulia.chat.messages import lock_chat
from tertulia.chat.models import OptimizationType
from tertulia.chat.service import get_chat
from tertulia.context.branch import PromptSource
from tertulia.context.compaction.records import announce_compaction, read_optimization
from tertulia.context.messages import estimate_tokens
from tertulia.context.models import ContextOptimization
from tertulia.context.schemas import ContextOptimizationRead
from tertulia.context.service import Maker, Price, plan_requested_compaction, record
from tertulia.ids import ChatId, ContextOptimizationId
from tertulia.realtime.models import Operation
from tertulia.runs.errors import CompactionNotFound, NothingToCompact


def optimize_now(
    session: Session,
    actor: Actor,
    source: PromptSource,
    kind: OptimizationType,
    *,
    price: Price | None,
) -> ContextOptimizationRead:
    """Truncate or compress the context now. Raises NothingToCompact."""
    lock_chat(session, actor, ChatId(source.chat_id))
    compaction = plan_requested_compaction(session, source, kind)
    if compaction is None:
        raise NothingToCompact
    row_id = record(session, source, compaction, maker=Maker(actor.user_id), price=price)
    return read_optimization(session.get_one(ContextOptimization, row_id))


def get_optimization(session: Session, row_id: str) -> ContextOptimizationRead:
    """Return a compaction that the caller has just created. Checks no permission."""
    return read_optimization(session.get_one(ContextOptimization, row_id))


def list_optimizations(
    session: Session, actor: Actor, chat_id: ChatId, *, before: str | None = None, limit: int = 50
) -> list[ContextOptimizationRead]:
    """Return the compactions of a chat, newest first, including reverted ones."""
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
    """Replace the text of a summary. The actor needs write permission.

    Raises CompactionNotFound, and NothingToCompact if the text is longer than the messages it summarises.
    """
    row = _of_chat(session, actor, chat_id, row_id)
    if row.summary is None or row.reverted_at is not None:
        raise CompactionNotFound
    after = max(0, row.tokens_after - estimate_tokens(row.summary)) + estimate_tokens(summary)
    if after > row.tokens_before:
        raise NothingToCompact
    row.summary, row.tokens_after, row.is_edited, row.superseded_at = summary, after, True, None
    return announce_compaction(session, row, Operation.UPDATED)


def undo_optimization(session: Session, actor: Actor, chat_id: ChatId, row_id: ContextOptimizationId) -> None:
    """Revert a compaction, so that its messages are sent again. Does nothing if it is already reverted."""
    row = _of_chat(session, actor, chat_id, row_id)
    if row.reverted_at is None:
        row.reverted_at = clock.now()
        announce_compaction(session, row, Operation.UPDATED)


def undo_all(session: Session, actor: Actor, chat_id: ChatId) -> None:
    """Revert all compactions of a chat. Raises ChatNotFound without write permission."""
    lock_chat(session, actor, chat_id)
    rows = session.scalars(
        sa.select(ContextOptimization).where(
            ContextOptimization.chat_id == chat_id, ContextOptimization.reverted_at.is_(None)
        )
    ).all()
    for row in rows:
        row.reverted_at = clock.now()
        announce_compaction(session, row, Operation.UPDATED)


def _of_chat(session: Session, actor: Actor, chat_id: ChatId, row_id: ContextOptimizationId) -> ContextOptimization:
    try:
        lock_chat(session, actor, chat_id)
    except ChatNotFound:
        raise CompactionNotFound from None
    row = session.scalars(
        sa.select(ContextOptimization).where(ContextOptimization.id == row_id, ContextOptimization.chat_id == chat_id)
    ).one_or_none()
    if row is None:
        raise CompactionNotFound
    return row
