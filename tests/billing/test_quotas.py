"""Test who may set which quotas, and what they refuse."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User, UserRole
from tertulia.accounts.schemas import MeUpdate
from tertulia.accounts.service import update_me
from tertulia.billing import quotas
from tertulia.billing.errors import QuotaNotFound, QuotaReached, QuotaSubjectUnknown, TooManyQuotas
from tertulia.billing.ledger import (
    Granted,
    Reason,
    RequestUsage,
    record_usage,
    reserve_request,
)
from tertulia.billing.limits import Need, Payer, find_quotas
from tertulia.billing.models import ApiQuota, QuotaNotice, QuotaSetBy
from tertulia.billing.quotas import ChatOwnership, create_quota, delete_quota, list_quotas, update_quota
from tertulia.billing.schemas import QuotaCreate, QuotaUpdate
from tertulia.ids import QuotaId, new_id
from tests.factories.chats import make_chat
from tests.factories.ledger import enter_usage
from tests.factories.quotas import limit, make_token, spend

# ---- who may set them


def test_people_limit_themselves_their_chats_and_their_tokens(session: Session, alice: Actor) -> None:
    for kind, subject in (
        ("user", alice.user_id),
        ("chat", make_chat(session, owner=alice)),
        ("token", make_token(session, alice)),
    ):
        assert session.get_one(ApiQuota, limit(session, alice, kind, subject)).set_by is QuotaSetBy.PERSON


def test_people_cannot_limit_others(session: Session, alice: Actor, bob: Actor) -> None:
    others = {
        "user": bob.user_id,
        "chat": make_chat(session, owner=bob),
        "token": make_token(session, bob),
        "role": "user",
        "plan": new_id(),
    }
    for kind, subject in others.items():
        with pytest.raises(QuotaSubjectUnknown):
            limit(session, alice, kind, subject)


def test_an_administrator_can_set_an_own_limit(session: Session, admin: Actor) -> None:
    body = {"subject_kind": "user", "subject_id": admin.user_id, "window": "month", "max_cost": "20"}
    chats = ChatOwnership(lambda _session, _actor, _chat_id: False)
    own = create_quota(session, admin, QuotaCreate.model_validate(body | {"is_own": True}), chats)
    as_admin = create_quota(session, admin, QuotaCreate.model_validate(body), chats)
    assert (own["set_by"], as_admin["set_by"]) == (QuotaSetBy.PERSON, QuotaSetBy.ADMIN)
    stranger = QuotaCreate.model_validate(body | {"is_own": True, "subject_id": new_id()})
    with pytest.raises(QuotaSubjectUnknown):
        create_quota(session, admin, stranger, chats)


def test_a_limit_still_counts_when_the_clock_is_set_back(session: Session, alice: Actor) -> None:
    limit(session, alice, "user", alice.user_id)
    now = clock.now().replace(hour=12, minute=1)
    with clock.frozen(now + timedelta(minutes=50)):
        spend(session, Payer(alice.user_id), "0.80")
    with clock.frozen(now), pytest.raises(QuotaReached):
        spend(session, Payer(alice.user_id), "0.30")
    with clock.frozen(now + timedelta(days=400)):  # a clock that runs ahead begins a new month
        spend(session, Payer(alice.user_id), "0.30")


def test_an_administrator_limits_users_roles_and_tokens(session: Session, admin: Actor, alice: Actor) -> None:
    for kind, subject in (("user", alice.user_id), ("role", "user"), ("token", make_token(session, alice))):
        assert session.get_one(ApiQuota, limit(session, admin, kind, subject)).set_by is QuotaSetBy.ADMIN
    with pytest.raises(QuotaSubjectUnknown):
        limit(session, admin, "user", new_id())
    with pytest.raises(QuotaSubjectUnknown):
        limit(session, admin, "role", "guest")


def test_people_cannot_change_what_an_administrator_set(session: Session, admin: Actor, alice: Actor) -> None:
    quota_id = QuotaId(limit(session, admin, "user", alice.user_id))
    with pytest.raises(QuotaNotFound):
        update_quota(session, alice, quota_id, QuotaUpdate(max_cost=Decimal(100)))
    with pytest.raises(QuotaNotFound):
        delete_quota(session, alice, quota_id)
    assert list_quotas(session, alice, is_everyone=False, after=None, limit=9) == []
    assert update_quota(session, admin, quota_id, QuotaUpdate(max_cost=Decimal(100)))["max_cost"] == 100


def test_administrators_do_not_see_what_people_set_for_themselves(session: Session, admin: Actor, alice: Actor) -> None:
    quota_id = QuotaId(limit(session, alice, "user", alice.user_id))
    assert list_quotas(session, admin, is_everyone=True, after=None, limit=9) == []
    with pytest.raises(QuotaNotFound):
        delete_quota(session, admin, quota_id)
    assert [quota["id"] for quota in list_quotas(session, alice, is_everyone=False, after=None, limit=9)] == [quota_id]


@pytest.mark.parametrize(("count", "is_refused"), [(2, False), (3, True)])
def test_a_person_sets_at_most_the_limits_of_the_limit(
    session: Session, alice: Actor, monkeypatch: pytest.MonkeyPatch, count: int, is_refused: bool
) -> None:
    monkeypatch.setattr(quotas, "MAX_OWN", 2)
    for _ in range(count - 1):
        limit(session, alice, "user", alice.user_id)
    if is_refused:
        with pytest.raises(TooManyQuotas):
            limit(session, alice, "user", alice.user_id)
    else:
        limit(session, alice, "user", alice.user_id)


@pytest.mark.parametrize(
    "values",
    [
        {"max_cost": None},
        {"max_cost": "-1"},
        {"max_cost": "NaN"},
        {"max_cost": "0.0000001"},
        {"max_messages": 3},  # by month
        {"window": "day", "is_sliding": True, "max_messages": 3},
        {"max_requests": -1},
        {"window": "week"},
        {"subject_id": "not an id"},
    ],
)
def test_limits_that_limit_nothing_are_refused(values: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"subject_kind": "user", "subject_id": new_id(), "window": "month", "max_cost": "1"}
    with pytest.raises(ValueError):  # noqa: PT011 - the kinds differ
        QuotaCreate(**(fields | values))


# ---- what they refuse


@pytest.mark.parametrize(("costs", "is_refused"), [(["0.50"], False), (["0.500001"], True), (["0.25", "0.26"], True)])
def test_the_last_cent_may_be_spent_and_no_more(
    session: Session, alice: Actor, costs: list[str], is_refused: bool
) -> None:
    limit(session, alice, "user", alice.user_id)
    spend(session, Payer(alice.user_id), "0.50")
    *before, last = costs
    for cost in before:
        spend(session, Payer(alice.user_id), cost)
    if is_refused:
        with pytest.raises(QuotaReached):
            spend(session, Payer(alice.user_id), last)
    else:
        spend(session, Payer(alice.user_id), last)


def test_a_refusal_says_which_limit_how_much_is_left_when_it_resets_and_who_can_raise_it(
    session: Session, alice: Actor
) -> None:
    with clock.frozen(datetime(2026, 3, 5, 22, 30, tzinfo=UTC)):
        preferences = session.get_one(User, alice.user_id).preferences
        session.get_one(User, alice.user_id).preferences = preferences.model_copy(update={"time_zone": "Europe/Madrid"})
        quota_id = limit(session, alice, "user", alice.user_id, window="day")
        spend(session, Payer(alice.user_id), "0.90")
        with pytest.raises(QuotaReached) as refused:
            spend(session, Payer(alice.user_id), "0.20")
    assert refused.value.fields == {
        "quota_id": quota_id,
        "subject_kind": "user",
        "measure": "cost",
        "window": "day",
        "limit": "1",
        "left": "0.1",
        "needed": "0.2",
        "can_raise": "person",
        "resets_at": "2026-03-05T23:00:00Z",
    }
    assert refused.value.retry_after_s == 1800
    assert "your limit of $1.00 a day: $0.10 left, up to $0.20 needed" in refused.value.detail


def test_a_sliding_window_has_room_when_its_oldest_use_leaves_it(session: Session, alice: Actor) -> None:
    limit(session, alice, "user", alice.user_id, window="hour", is_sliding=True)
    now = datetime(2026, 3, 5, 10, 7, 13, tzinfo=UTC)
    enter_usage(session, alice.user_id, moment=now - timedelta(minutes=50), cost="0.90")
    with clock.frozen(now), pytest.raises(QuotaReached) as refused:
        spend(session, Payer(alice.user_id))
    assert refused.value.retry_after_s == 601
    with clock.frozen(now + timedelta(seconds=601)):
        spend(session, Payer(alice.user_id))


@pytest.mark.parametrize("kind", ["chat", "token"])
def test_a_limit_of_a_chat_or_a_token_counts_only_what_is_spent_there(
    session: Session, alice: Actor, kind: str
) -> None:
    chat_id, token_id = make_chat(session, owner=alice), make_token(session, alice)
    here = Payer(alice.user_id, chat_id, None if kind == "chat" else token_id)
    elsewhere = Payer(alice.user_id, make_chat(session, owner=alice))
    limit(session, alice, kind, chat_id if kind == "chat" else token_id)
    spend(session, elsewhere, "5.00")
    for _ in range(3):
        spend(session, here)
    with pytest.raises(QuotaReached) as refused:
        spend(session, here)
    assert refused.value.fields["subject_kind"] == kind
    spend(session, elsewhere, "5.00")


def test_a_limit_of_a_role_counts_each_person_alone(session: Session, admin: Actor, alice: Actor, bob: Actor) -> None:
    limit(session, admin, "role", "user")
    for actor in (alice, bob):
        spend(session, Payer(actor.user_id), "0.80")
        with pytest.raises(QuotaReached):
            spend(session, Payer(actor.user_id))
    session.execute(sa.update(User).where(User.id == alice.user_id).values(role=UserRole.ADMIN))
    spend(session, Payer(alice.user_id), "5.00")


def test_what_is_reserved_counts_until_it_is_settled(session: Session, alice: Actor) -> None:
    limit(session, alice, "user", alice.user_id, max_cost=None, max_output_tokens=200)
    payer = Payer(alice.user_id)

    def reserve(answer: int) -> Granted:
        need = Need(10, 100)
        return reserve_request(session, payer, Reason(), need, provider="p", model_name="m", longest_answer=answer)

    first = reserve(100)
    assert (first.output_tokens, first.is_tight) == (100, False)
    second = reserve(150)  # less is left than the answer may need: it gets no more than that
    assert (second.output_tokens, second.is_tight) == (100, True)
    with pytest.raises(QuotaReached):
        reserve(1)
    used = RequestUsage("p", "m", 10, 30, 0, is_estimated=False, cost=None)
    record_usage(session, used, payer, Reason(), reservation_id=first.reservation_id)
    assert reserve(70).output_tokens == 70


@pytest.mark.parametrize(
    ("measure", "fits", "passes"),
    [("max_requests", 2, 1), ("max_tokens", 60, 59), ("max_input_tokens", 20, 19), ("max_output_tokens", 40, 39)],
)
def test_every_measure_is_counted(session: Session, alice: Actor, measure: str, fits: int, passes: int) -> None:
    quota_id = QuotaId(limit(session, alice, "user", alice.user_id, max_cost=None, **{measure: fits}))
    spend(session, Payer(alice.user_id))
    update_quota(session, alice, quota_id, QuotaUpdate(**{measure: passes}))
    with pytest.raises(QuotaReached):
        spend(session, Payer(alice.user_id))
    update_quota(session, alice, quota_id, QuotaUpdate(**{measure: fits}))
    spend(session, Payer(alice.user_id))


# ---- ways around a limit


def test_a_changed_time_zone_begins_no_new_day_of_an_administrators_limit(
    session: Session, admin: Actor, alice: Actor
) -> None:
    limit(session, admin, "user", alice.user_id, window="day")
    now = datetime(2026, 3, 5, 12, 30, tzinfo=UTC)
    for hour, zone in enumerate(("Europe/Madrid", "Asia/Kamchatka", "Pacific/Kiritimati", "America/Lima")):
        with clock.frozen(now + timedelta(minutes=hour)):
            update_me(session, alice, MeUpdate.model_validate({"preferences": {"time_zone": zone}}))
            if hour == 0:
                spend(session, Payer(alice.user_id), "0.90")
            else:
                with pytest.raises(QuotaReached):
                    spend(session, Payer(alice.user_id))
    with clock.frozen(datetime(2026, 4, 1, 12, tzinfo=UTC)):  # the next month follows the new zone
        _, zones = find_quotas(session, Payer(alice.user_id))
    assert zones.of_admins.key == "America/Lima"


def test_their_own_limits_follow_a_changed_time_zone_at_once(session: Session, alice: Actor) -> None:
    limit(session, alice, "user", alice.user_id, window="day")
    for zone in ("Europe/Madrid", "America/Lima"):
        update_me(session, alice, MeUpdate.model_validate({"preferences": {"time_zone": zone}}))
    _, zones = find_quotas(session, Payer(alice.user_id))
    assert (zones.own.key, zones.of_admins.key) == ("America/Lima", "Europe/Madrid")


def test_others_learn_no_amounts_of_an_owners_limit(session: Session, alice: Actor, bob: Actor) -> None:
    chat_id = make_chat(session, owner=alice)
    limit(session, alice, "chat", chat_id)
    spend(session, Payer(bob.user_id, chat_id), "0.90")
    with pytest.raises(QuotaReached) as refused:
        spend(session, Payer(bob.user_id, chat_id))
    assert refused.value.fields["can_raise"] == "owner"
    assert "left" not in refused.value.fields
    assert session.scalars(sa.select(QuotaNotice.user_id)).all() == [alice.user_id]  # who set it hears of it


@pytest.mark.parametrize(("most", "reserved", "retry"), [("0.10", "0", 30 * 86_400), ("0.40", "0.30", 5)])
def test_when_to_try_again(session: Session, alice: Actor, most: str, reserved: str, retry: int | None) -> None:
    """Refuse what never fits for the length of the window, and what waits for running work with a short one."""
    limit(session, alice, "user", alice.user_id, max_cost=most)
    if reserved != "0":
        need = Need(10, 20, price=lambda *_: Decimal(reserved))
        reserve_request(session, Payer(alice.user_id), Reason(), need, provider="p", model_name="m", longest_answer=20)
    with pytest.raises(QuotaReached) as refused:
        spend(session, Payer(alice.user_id), "0.20")
    assert refused.value.retry_after_s == retry
