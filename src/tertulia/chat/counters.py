"""The counters of a chat, counted again: what `tertulia db check` compares with what is stored."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.models import Chat, Message, MessageStatus
from tertulia.db import later_of


def find_wrong_counters(session: Session) -> list[str]:
    """One sentence for each chat whose stored counts differ from its messages."""
    counted = (
        sa.select(
            Message.chat_id,
            sa.func.count().filter(Message.status != MessageStatus.DELETED).label("messages"),
            sa.func.max(Message.created_at).label("newest"),
        )
        .group_by(Message.chat_id)
        .subquery()
    )
    rows = session.execute(
        sa.select(Chat.id, Chat.message_count, sa.func.coalesce(counted.c.messages, 0))
        .outerjoin(counted, counted.c.chat_id == Chat.id)
        .where(
            (Chat.message_count != sa.func.coalesce(counted.c.messages, 0))
            # A copy of a branch is newer than its messages.
            | (counted.c.newest.is_not(None) & (Chat.last_message_at != later_of(counted.c.newest, Chat.created_at)))
        )
    )
    return [
        f"chat {chat_id}: {stored} messages stored, {found} counted, or its time differs"
        for chat_id, stored, found in rows
    ]
