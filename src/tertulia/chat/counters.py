"""The counters of a chat, counted again: what `tertulia db check` compares with what is stored."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.models import Chat, Message


def find_wrong_counters(session: Session) -> list[str]:
    """One sentence for each chat whose stored counts differ from its messages."""
    counted = (
        sa.select(
            Message.chat_id,
            sa.func.count().label("messages"),
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
            | (counted.c.newest.is_not(None) & (Chat.last_message_at != counted.c.newest))
        )
    )
    return [
        f"chat {chat_id}: {stored} messages stored, {found} counted, or its time differs"
        for chat_id, stored, found in rows
    ]
