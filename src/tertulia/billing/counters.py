"""Sums of the ledger, compared with stored totals by `tertulia db check`."""

from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.billing.models import UsageLog


def sum_usage_by_chat(session: Session) -> dict[str, tuple[int, Decimal]]:
    """Return the tokens and the cost in dollars that the ledger holds for each chat id; unknown costs count as zero."""
    rows = session.execute(
        sa.select(
            UsageLog.chat_id,
            sa.func.sum(UsageLog.input_tokens + UsageLog.output_tokens),
            sa.type_coerce(sa.func.coalesce(sa.func.sum(UsageLog.cost), 0), UsageLog.cost.type),
        )
        .where(UsageLog.chat_id.is_not(None))
        .group_by(UsageLog.chat_id)
    )
    return {chat_id: (int(tokens), cost) for chat_id, tokens, cost in rows}
