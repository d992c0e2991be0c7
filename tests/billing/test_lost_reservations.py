"""Test that reservations without a request are settled."""

from datetime import timedelta
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.billing.ledger import Reason, reserve_request
from tertulia.billing.limits import Need, Payer
from tertulia.billing.lost_reservations import LOST_AFTER_S, settle_lost
from tertulia.billing.models import UsageLog, UsageStatus
from tertulia.billing.recounts import find_wrong_sums


def test_lost_reservations_are_settled_in_full(session: Session, alice: Actor) -> None:
    """Delete a chat while it replies: this must not be a way to use models without limit."""
    need = Need(10, 20, price=lambda *_: Decimal("0.30"))
    now = clock.now()
    for moment in (now - timedelta(seconds=LOST_AFTER_S + 1), now):
        with clock.frozen(moment):
            reserve_request(
                session, Payer(alice.user_id), Reason(), need, provider="openai", model_name="gpt", longest_answer=20
            )
    assert settle_lost(session, now - timedelta(seconds=LOST_AFTER_S)) == 1
    entries = session.scalars(sa.select(UsageLog).order_by(UsageLog.created_at)).all()
    assert [(entry.status, entry.cost, entry.is_estimated) for entry in entries] == [
        (UsageStatus.SETTLED, Decimal("0.30"), True),
        (UsageStatus.RESERVED, None, False),
    ]
    assert find_wrong_sums(session) == []
