"""Announce compactions of a chat's context, and mark them as superseded when a summarised message changes."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.chat.models import Chat, Message
from tertulia.chat.queries import BRANCH_SCAN
from tertulia.context.events import CONTEXT_OPTIMIZATION
from tertulia.context.models import ContextOptimization
from tertulia.context.schemas import ContextOptimizationRead
from tertulia.db import Prepared
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

_BOUNDARIES = sa.select(ContextOptimization.boundary_message_id).where(
    ContextOptimization.chat_id == sa.bindparam("chat_id", type_=ContextOptimization.chat_id.type),
    ContextOptimization.summary.is_not(None),
)
# Summaries that may cover a message, latest boundary first: they end at it or later and do not begin after it.
_SUMMARIES_AROUND = Prepared(
    sa.select(ContextOptimization.id, ContextOptimization.boundary_message_id)
    .where(
        ContextOptimization.chat_id == sa.bindparam("chat_id", type_=ContextOptimization.chat_id.type),
        ContextOptimization.summary.is_not(None),
        ContextOptimization.boundary_message_id >= sa.bindparam("message_id", type_=Message.id.type),
        ContextOptimization.oldest_covered_id.is_(None)
        | (ContextOptimization.oldest_covered_id <= sa.bindparam("message_id", type_=Message.id.type)),
    )
    .order_by(ContextOptimization.boundary_message_id.desc())
)
# Between `leaf` and an older message: that message, if it is on the branch, and the boundaries of summaries.
_ENDS_ON_BRANCH = Prepared(
    sa.select(BRANCH_SCAN.c.id).where(
        (BRANCH_SCAN.c.id == sa.bindparam("oldest", type_=Message.id.type)) | BRANCH_SCAN.c.id.in_(_BOUNDARIES)
    )
)


def mark_superseded(session: Session, chat_id: str, message_id: str, *, is_deleted: bool = False) -> None:
    """Mark the summaries that cover a changed message as superseded, so that they are no longer sent.

    If the message is deleted, also delete the text of these summaries, including reverted ones. Call it while the
    message is still in its place: summaries of other branches do not cover it.
    """
    ids = _summaries_of(session, chat_id, message_id)
    query = sa.select(ContextOptimization).where(ContextOptimization.id.in_(ids))
    if not is_deleted:
        query = query.where(ContextOptimization.reverted_at.is_(None), ContextOptimization.superseded_at.is_(None))
    for row in session.scalars(query) if ids else ():
        row.superseded_at = row.superseded_at or clock.now()
        if is_deleted:
            row.summary = None
        announce_compaction(session, row, Operation.UPDATED)


def _summaries_of(session: Session, chat_id: str, message_id: str) -> list[str]:
    """Return the ids of the summaries that cover a message. One branch scan decides every boundary on that branch."""
    around = _SUMMARIES_AROUND.all(session, chat_id=chat_id, message_id=message_id)
    is_covered: dict[str, bool] = {}  # by boundary: whether the message is on its branch
    for _, boundary in around:
        if boundary not in is_covered:
            ids_on_branch = {
                end_id for end_id, *_ in _ENDS_ON_BRANCH.all(session, chat_id=chat_id, leaf=boundary, oldest=message_id)
            }
            is_covered |= dict.fromkeys({*ids_on_branch, boundary}, message_id in ids_on_branch)
    return [row_id for row_id, boundary in around if is_covered[boundary]]


def move_places(session: Session, message_id: str, previous_id: str | None) -> None:
    """Move compactions that end at or apply from a removed message to the message before it.

    Without a previous message, revert them.
    """
    boundary, leaf = ContextOptimization.boundary_message_id, ContextOptimization.leaf_message_id
    for row in session.scalars(sa.select(ContextOptimization).where((boundary == message_id) | (leaf == message_id))):
        if previous_id is None:
            row.reverted_at = row.reverted_at or clock.now()
        else:
            row.boundary_message_id = previous_id if row.boundary_message_id == message_id else row.boundary_message_id
            row.leaf_message_id = previous_id if row.leaf_message_id == message_id else row.leaf_message_id
        announce_compaction(session, row, Operation.UPDATED)


def announce_compaction(session: Session, row: ContextOptimization, operation: Operation) -> ContextOptimizationRead:
    session.flush()
    session.refresh(row)
    read = read_optimization(row)
    owner_id = session.scalars(sa.select(Chat.user_id).where(Chat.id == row.chat_id)).one()
    publish(
        session,
        owner_id=owner_id,
        topic=f"chat:{row.chat_id}",
        entity=CONTEXT_OPTIMIZATION,
        entity_id=row.id,
        operation=operation,
        payload=read,
        shared_id=row.chat_id,
    )
    return read


def read_optimization(row: ContextOptimization) -> ContextOptimizationRead:
    return {
        "id": row.id,
        "chat_id": row.chat_id,
        "trigger_reason": row.trigger_reason,
        "optimization_type": row.optimization_type,
        "boundary_message_id": row.boundary_message_id,
        "leaf_message_id": row.leaf_message_id,
        "tokens_before": row.tokens_before,
        "tokens_after": row.tokens_after,
        "summary": row.summary,
        "is_edited": row.is_edited,
        "affected_messages": row.affected_messages,
        "provider": row.provider,
        "model_name": row.model_name,
        "cost": row.cost,
        "saved_cost": row.saved_cost,
        "note": row.note,
        "is_superseded": row.superseded_at is not None,
        "reverted_at": row.reverted_at,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
