"""Recount the counters of chats, for `tertulia db check`."""

from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.billing.counters import sum_usage_by_chat
from tertulia.chat.models import Chat, Message, MessageStatus
from tertulia.db import later_of


def find_wrong_counters(session: Session) -> list[str]:
    """Return one sentence for each chat whose stored message count or last message time is wrong."""
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
            # A forked chat is newer than its copied messages.
            | (counted.c.newest.is_not(None) & (Chat.last_message_at != later_of(counted.c.newest, Chat.created_at)))
        )
    )
    return [
        f"chat {chat_id}: {stored} messages stored, {actual} counted, or its time differs"
        for chat_id, stored, actual in rows
    ]


def find_wrong_totals(session: Session) -> list[str]:
    """Return a sentence for each chat whose stored tokens or cost differ from the ledger."""
    summed = sum_usage_by_chat(session)
    chats = session.execute(sa.select(Chat.id, Chat.total_tokens, Chat.total_cost)).yield_per(1000)
    findings = []
    for chat_id, tokens, cost in chats:
        ledger_tokens, ledger_cost = summed.get(chat_id, (0, Decimal(0)))
        if (tokens, cost) != (ledger_tokens, ledger_cost):
            findings.append(
                f"chat {chat_id}: {tokens} tokens and {cost} stored, {ledger_tokens} and {ledger_cost} in the ledger"
            )
    return findings
