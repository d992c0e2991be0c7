"""Test that people are notified at 50, 80 and 100 percent of a limit."""

from decimal import Decimal

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.billing.ledger import Reason, RequestUsage, record_usage, reserve_request
from tertulia.billing.limits import Need, Payer
from tertulia.billing.models import QuotaNotice
from tertulia.billing.quotas import update_quota
from tertulia.billing.schemas import QuotaUpdate
from tertulia.ids import QuotaId
from tests.factories.quotas import limit, spend


def test_people_are_notified_once_at_each_share(session: Session, alice: Actor) -> None:
    limit(session, alice, "user", alice.user_id)
    for cost in ("0.49", "0.01", "0.10", "0.19", "0.01", "0.20"):
        spend(session, Payer(alice.user_id), cost)
    percents = session.scalars(sa.select(QuotaNotice.percent).order_by(QuotaNotice.id)).all()
    assert percents == [50, 80, 100]


@pytest.mark.parametrize(
    ("reserved", "settled", "percents"),
    [
        (["0.20", "0.35"], ["0.20", "0.35"], [50]),  # neither alone reaches the half
        (["0.20"], ["0.55"], [50]),  # the provider took more than was reserved
        (["0.20", "0.29"], ["0.20", "0.29"], []),
    ],
)
def test_people_are_notified_whatever_was_known_when_it_was_reserved(
    session: Session, alice: Actor, reserved: list[str], settled: list[str], percents: list[int]
) -> None:
    limit(session, alice, "user", alice.user_id)
    payer = Payer(alice.user_id)
    granted = [
        reserve_request(
            session,
            payer,
            Reason(),
            Need(10, 20, price=lambda *_, cost=cost: Decimal(cost)),
            provider="openai",
            model_name="gpt",
            longest_answer=20,
        )
        for cost in reserved
    ]
    for reservation, cost in zip(granted, settled, strict=True):
        used = RequestUsage("openai", "gpt", 10, 20, 0, is_estimated=False, cost=Decimal(cost))
        record_usage(session, used, payer, Reason(), reservation_id=reservation.reservation_id)
    assert session.scalars(sa.select(QuotaNotice.percent)).all() == percents


def test_people_are_notified_in_whichever_order_requests_end(session: Session, alice: Actor) -> None:
    limit(session, alice, "user", alice.user_id)
    payer = Payer(alice.user_id)
    granted = {}
    for cost in ("0.45", "0.55"):  # the first is not near the limit when it is reserved
        need = Need(10, 20, price=lambda *_, cost=cost: Decimal(cost))
        granted[cost] = reserve_request(
            session, payer, Reason(), need, provider="openai", model_name="gpt", longest_answer=20
        )
    for cost in ("0.55", "0.45"):
        used = RequestUsage("openai", "gpt", 10, 20, 0, is_estimated=False, cost=Decimal(cost))
        record_usage(session, used, payer, Reason(), reservation_id=granted[cost].reservation_id)
    assert session.scalars(sa.select(QuotaNotice.percent).order_by(QuotaNotice.id)).all() == [50, 100]


def test_a_raised_limit_is_announced_again(session: Session, alice: Actor) -> None:
    quota_id = QuotaId(limit(session, alice, "user", alice.user_id))
    spend(session, Payer(alice.user_id), "1.00")
    update_quota(session, alice, quota_id, QuotaUpdate(max_cost=Decimal(2)))
    spend(session, Payer(alice.user_id), "1.00")
    assert session.scalars(sa.select(QuotaNotice.percent)).all() == [100]
