"""Enter what tool calls cost: reserve the most before each, and settle what it took afterwards."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.ledger import Reason, enter, enter_reservation, lock_payer, lock_shared
from tertulia.billing.limits import Need, Payer
from tertulia.billing.models import UsageKind, UsageLog, UsageStatus
from tertulia.billing.notices import note_shares
from tertulia.billing.room import fit_or_refuse
from tertulia.billing.sums import ANY_KIND, Amounts, Place, add_to_sums
from tertulia.ids import new_id

TOOLS = "tools"  # the provider of tool calls


@dataclass(frozen=True)
class ToolPayment:
    """The user who pays for a tool call, and the call."""

    user_id: str
    chat_id: str
    message_id: str
    run_id: str
    tool_execution_id: str
    api_token_id: str | None = None

    @property
    def payer(self) -> Payer:
        return Payer(self.user_id, self.chat_id, self.api_token_id)

    @property
    def reason(self) -> Reason:
        return Reason(self.message_id, self.run_id, self.tool_execution_id)


def check_hourly_limit(session: Session, user_id: str, amount: Decimal, *, limit: Decimal, since: datetime) -> bool:
    """Return whether an amount fits into what a user allows tools to cost since a moment. Locks the user's row."""
    if amount <= 0:
        return True
    lock_payer(session, user_id)
    return spent_on_tools(session, user_id, since=since) + amount <= limit


def reserve_tool(
    session: Session, amount: Decimal, payment: ToolPayment, *, limit: Decimal, since: datetime, tool_name: str
) -> bool:
    """Reserve the most that a tool call may cost. Return False if it exceeds the hourly limit. Raises QuotaReached.

    The payer's row is locked until the transaction ends, so that concurrent calls are counted one after the other.
    """
    if amount <= 0:
        return True
    if not check_hourly_limit(session, payment.user_id, amount, limit=limit, since=since):
        return False
    payer = payment.payer
    lock_shared(session, payer.chat_id)
    fitting = fit_or_refuse(session, payer, Need(requests=0, cost=amount))
    enter_reservation(
        session,
        payer,
        payment.reason,
        UsageKind.TOOL,
        fitting,
        provider=TOOLS,
        model_name=tool_name,
        reserved_cost=amount,
    )
    return True


def settle(session: Session, payment: ToolPayment, cost: Decimal, *, tool_name: str) -> None:
    """Replace a call's reserved amount with its cost. A cost without a reservation is recorded too."""
    reserved = session.execute(
        sa.select(
            UsageLog.id,
            UsageLog.created_at,
            UsageLog.api_token_id,
            UsageLog.project_id,
            UsageLog.is_near_limit,
            UsageLog.reserved_cost,
        )
        .where(
            UsageLog.tool_execution_id == payment.tool_execution_id,
            UsageLog.kind == UsageKind.TOOL,
            UsageLog.status == UsageStatus.RESERVED,
        )
        .limit(1)
    ).first()
    if reserved is not None:
        entry_id, moment, token_id, project_id, is_near_limit, most = reserved
        is_near_limit = is_near_limit or cost > (most or 0)
        session.execute(
            sa.update(UsageLog)
            .where(UsageLog.id == entry_id)
            .values(status=UsageStatus.SETTLED, cost=cost, updated_at=clock.now())
        )
    elif cost > 0:
        moment, token_id, is_near_limit = clock.now(), payment.api_token_id, True
        project_id = enter(
            session,
            payment.payer,
            payment.reason,
            new_id(),
            UsageKind.TOOL,
            UsageStatus.SETTLED,
            provider=TOOLS,
            model_name=tool_name,
            cost=cost,
            created_at=moment,
        )
    else:
        return
    place = Place(payment.user_id, payment.chat_id, project_id, token_id, UsageKind.TOOL, TOOLS, tool_name, moment)
    add_to_sums(session, place, Amounts(cost=cost))
    if is_near_limit:
        note_shares(session, payment.payer)


def spent_on_tools(session: Session, user_id: str, *, since: datetime) -> Decimal:
    """Sum the cost of a user's tool calls, including reserved amounts, and of model requests for their results."""
    amount = sa.case(
        (UsageLog.status == UsageStatus.RESERVED, sa.func.coalesce(UsageLog.reserved_cost, 0)),
        else_=sa.func.coalesce(UsageLog.cost, 0),
    )
    total = session.scalar(
        sa.select(sa.type_coerce(sa.func.coalesce(sa.func.sum(amount), 0), UsageLog.cost.type)).where(
            UsageLog.user_id == user_id,
            ANY_KIND,
            UsageLog.created_at >= since,
            UsageLog.status != UsageStatus.RELEASED,
            (UsageLog.kind == UsageKind.TOOL) | UsageLog.tool_execution_id.is_not(None),
        )
    )
    return total or Decimal(0)
