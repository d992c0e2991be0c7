"""What the runs of a chat used, added up again: what `tertulia db check` compares with the chat's totals."""

from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.models import Chat
from tertulia.runs.models import Run


def find_wrong_totals(session: Session) -> list[str]:
    """One sentence for each chat whose stored tokens or cost differ from those of its runs."""
    tokens: dict[str, int] = {}
    costs: dict[str, Decimal] = {}
    for chat_id, usage, cost in session.execute(sa.select(Run.chat_id, Run.usage, Run.cost)).yield_per(1000):
        tokens[chat_id] = tokens.get(chat_id, 0) + (usage.total if usage else 0)
        costs[chat_id] = costs.get(chat_id, Decimal(0)) + (cost or 0)
    rows = session.execute(sa.select(Chat.id, Chat.total_tokens, Chat.total_cost)).yield_per(1000)
    return [
        f"chat {chat_id}: {stored} tokens and {cost} stored, {tokens.get(chat_id, 0)} and {costs.get(chat_id, 0)} counted"
        for chat_id, stored, cost in rows
        if (stored, cost) != (tokens.get(chat_id, 0), costs.get(chat_id, 0))
    ]
