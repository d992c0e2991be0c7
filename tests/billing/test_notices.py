"""Test that people are notified at 50, 80 and 100 percent of a limit."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User
from tertulia.accounts.row_limits import StorageLimit, StorageQuota
from tertulia.accounts.schemas import MeUpdate
from tertulia.accounts.service import update_me
from tertulia.billing.counts import count_message, get_message_count
from tertulia.billing.errors import MessageLimitReached
from tertulia.billing.ledger import Reason, RequestUsage, record_usage, reserve_request
from tertulia.billing.limits import Need, Payer
from tertulia.billing.models import QuotaNotice
from tertulia.billing.notices import list_notices, note_storage, see_notice
from tertulia.billing.quotas import update_quota
from tertulia.billing.schemas import QuotaUpdate
from tertulia.errors import NotFound
from tertulia.ids import QuotaId, QuotaNoticeId
from tests.factories.quotas import limit, spend
from tests.fakes.live_server import Client


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


def percents_of(session: Session, actor: Actor) -> list[tuple[str, int]]:
    notices = list_notices(session, actor, after=None, limit=10)
    return [(notice["limit"]["measure"], notice["percent"]) for notice in notices]


def test_a_notice_is_shown_until_it_is_seen_and_only_to_its_person(session: Session, alice: Actor, bob: Actor) -> None:
    limit(session, alice, "user", alice.user_id)
    with clock.frozen(datetime(2026, 3, 5, 12, tzinfo=UTC)):
        spend(session, Payer(alice.user_id), "0.50")
        spend(session, Payer(alice.user_id), "0.30")
        (notice,) = list_notices(session, alice, after=None, limit=10)  # the share of 50 % is old news
        assert (notice["percent"], notice["limit"]["used"], notice["limit"]["limit"]) == (
            80,
            Decimal("0.80"),
            Decimal(1),
        )
        assert list_notices(session, bob, after=None, limit=10) == []
        notice_id = QuotaNoticeId(notice["id"])
        with pytest.raises(NotFound):
            see_notice(session, bob, notice_id)
    with clock.frozen(datetime(2026, 4, 2, tzinfo=UTC)):  # another month, in every time zone
        assert list_notices(session, alice, after=None, limit=10) == []
    with clock.frozen(datetime(2026, 3, 6, tzinfo=UTC)):
        see_notice(session, alice, notice_id)
        see_notice(session, alice, notice_id)
        assert list_notices(session, alice, after=None, limit=10) == []


@pytest.mark.parametrize("is_quota", [False, True])
def test_people_are_notified_of_the_messages_of_a_day(
    session: Session, alice: Actor, admin: Actor, is_quota: bool
) -> None:
    if is_quota:
        limit(session, admin, "user", alice.user_id, window="day", max_cost=None, max_messages=4)
    of_server = None if is_quota else 4
    shown = []
    for _ in range(4):
        count_message(session, alice.user_id, limit=of_server)
        shown.append(percents_of(session, alice))
    assert shown == [[], [("messages", 50)], [("messages", 50)], [("messages", 100)]]
    with pytest.raises(MessageLimitReached):
        count_message(session, alice.user_id, limit=of_server)


def test_messages_are_counted_by_the_day_where_the_person_is(session: Session, alice: Actor) -> None:
    update_me(session, alice, MeUpdate.model_validate({"preferences": {"time_zone": "Asia/Tokyo"}}))
    session.execute(sa.update(User).values(former_zone=None, former_zone_until=None))
    with clock.frozen(datetime(2026, 3, 5, 14, 59, tzinfo=UTC)):
        count_message(session, alice.user_id, limit=1)
        with pytest.raises(MessageLimitReached) as refused:
            count_message(session, alice.user_id, limit=1)
        assert refused.value.fields["resets_at"] == "2026-03-05T15:00:00Z"
    with clock.frozen(datetime(2026, 3, 5, 15, tzinfo=UTC)):
        assert get_message_count(session, alice, limit=1)["count"] == 0
        count_message(session, alice.user_id, limit=1)


def test_people_are_notified_of_their_storage_and_again_after_they_deleted_files(
    session: Session, alice: Actor
) -> None:
    stored = {"bytes": 0}
    storage = StorageLimit(100, lambda _session, _user_id: stored["bytes"], StorageQuota(note=note_storage))
    seen = []
    for size in (49, 50, 85, 40, 60, 100):
        stored["bytes"] = size
        assert storage.exceeded(session, alice.user_id) is None
        seen.append([percent for _, percent in percents_of(session, alice)])
    assert seen == [[], [50], [80], [], [50], [100]]
    stored["bytes"] = 101
    assert storage.exceeded(session, alice.user_id) == 100


def test_an_upload_tells_how_much_storage_is_used(ana: Client) -> None:
    me = ana.user["id"]
    quota = {"subject_kind": "user", "subject_id": me, "window": "month", "max_storage_bytes": 1000, "is_own": True}
    ana.api("POST", "/quotas", json=quota, expect=201)
    ana.api("POST", "/attachments", files={"file": ("notes.txt", b"x" * 600)}, expect=201)
    (notice,) = ana.api("GET", "/quota-notices")["items"]
    assert (notice["percent"], notice["limit"]["measure"], notice["limit"]["used"]) == (50, "storage", "600")
    ana.api("PUT", f"/quota-notices/{notice['id']}/seen", expect=204)
    assert ana.api("GET", "/quota-notices")["items"] == []


def test_a_sliding_limit_is_announced_once_in_its_length(session: Session, alice: Actor) -> None:
    limit(session, alice, "user", alice.user_id, window="day", is_sliding=True)
    begin = datetime(2026, 3, 5, 12, tzinfo=UTC)
    with clock.frozen(begin):
        spend(session, Payer(alice.user_id), "0.50")
        spend(session, Payer(alice.user_id), "0.10")
        assert percents_of(session, alice) == [("cost", 50)]
    with clock.frozen(begin + timedelta(hours=1)):
        spend(session, Payer(alice.user_id), "0.25")
        assert percents_of(session, alice) == [("cost", 80)]
    with clock.frozen(begin + timedelta(hours=26)):
        assert percents_of(session, alice) == []
        spend(session, Payer(alice.user_id), "0.55")
        assert percents_of(session, alice) == [("cost", 50)]
