"""The ledger's sums for each chat, added up again: what `tertulia db check` compares with the chat's totals."""

from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.billing.models import UsageLog
from tertulia.chat.models import Chat


def find_wrong_totals(session: Session) -> list[str]:
    """One sentence for each chat whose stored tokens or cost differ from the ledger."""
    rows = session.execute(
        sa.select(
            UsageLog.chat_id,
            sa.func.sum(UsageLog.input_tokens + UsageLog.output_tokens),
            sa.type_coerce(sa.func.coalesce(sa.func.sum(UsageLog.cost), 0), UsageLog.cost.type),
        )
        .where(UsageLog.chat_id.is_not(None))
        .group_by(UsageLog.chat_id)
    )
    counted = {chat_id: (int(tokens), cost) for chat_id, tokens, cost in rows}
    chats = session.execute(sa.select(Chat.id, Chat.total_tokens, Chat.total_cost)).yield_per(1000)
    findings = []
    for chat_id, tokens, cost in chats:
        found = counted.get(chat_id, (0, Decimal(0)))
        if (tokens, cost) != found:
            findings.append(
                f"chat {chat_id}: {tokens} tokens and {cost} stored, {found[0]} and {found[1]} in the ledger"
            )
    return findings
