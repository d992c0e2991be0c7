"""Test who may set which quotas, what they refuse, and that parallel requests never pass them."""

import json
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import ApiToken, MemberRole, User, UserRole
from tertulia.accounts.row_limits import StorageLimit
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
from tertulia.billing.limits_read import list_limits
from tertulia.billing.models import ApiQuota, Plan, QuotaNotice, QuotaSetBy, QuotaWindow, UsageLog, UsageStatus
from tertulia.billing.people import get_project_use
from tertulia.billing.quotas import ChatOwnership, create_quota, delete_quota, list_quotas, update_quota
from tertulia.billing.schemas import QuotaCreate, QuotaUpdate
from tertulia.billing.sums import find_wrong_sums, forget_spender
from tertulia.billing.windows import window_at
from tertulia.errors import NotFound
from tertulia.ids import QuotaId, UserId, new_id
from tertulia.projects.members import update_member
from tertulia.projects.schemas import MemberUpdate
from tertulia.projects.service import take_chat_out
from tertulia.settings import Settings
from tests.factories.accounts import make_user
from tests.factories.chats import make_chat
from tests.factories.ledger import enter_usage
from tests.factories.projects import add_to, make_project, put_new_chat
from tests.factories.quotas import CHATS, limit, spend

STORAGE = StorageLimit(10**9, lambda _session, _user_id: 0)
SPENDER = Path(__file__).parents[1] / "fakes" / "spender.py"


def make_token(session: Session, user: Actor) -> str:
    token = ApiToken(user_id=user.user_id, name="script", token_hash=new_id().encode()[:32], prefix="p")
    session.add(token)
    session.flush()
    return token.id


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


# ---- in parallel


def _limit_all(session: Session, setters: dict[tuple[str, str], Actor], rng: random.Random) -> None:
    """Set limits with every window, on every level, at once."""
    for (kind, subject_id), setter in setters.items():
        for window in QuotaWindow:
            for measure, most in (
                ("max_requests", rng.randint(5, 60)),
                ("max_cost", Decimal(rng.randint(200, 1500)) / 100),
                ("max_tokens", rng.randint(400, 2500)),
            ):
                values = {"max_cost": None, measure: most, "is_sliding": rng.random() < 0.5, "window": window}
                limit(session, setter, kind, subject_id, **values)


def _most_in_a_window(quota: ApiQuota, entries: list[UsageLog]) -> tuple[int, Decimal, int]:
    """Return the most requests, dollars and tokens of these entries in one window of a quota."""
    windows: list[list[UsageLog]] = []
    for entry in entries:
        window = window_at(quota.window, entry.created_at, ZoneInfo("UTC"), is_sliding=quota.is_sliding)
        end = entry.created_at if window.resets_at is None else window.resets_at - timedelta(microseconds=1)
        windows.append([other for other in entries if window.starts_at <= other.created_at <= end])
    return (
        max((len(window) for window in windows), default=0),
        max(
            (sum((entry.cost or Decimal(0) for entry in window), Decimal(0)) for window in windows), default=Decimal(0)
        ),
        max((sum(entry.input_tokens + entry.output_tokens for entry in window) for window in windows), default=0),
    )


@pytest.mark.parametrize("seed", range(3))
def test_parallel_requests_in_two_processes_pass_no_limit(
    settings: Settings, session: Session, alice: Actor, bob: Actor, admin: Actor, seed: int
) -> None:
    """Let 32 requests of two people in one project reserve and settle at once, with limits of every kind and window.

    SQLite has one process, which does all of them.
    """
    rng = random.Random(seed)
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    chats = {actor.user_id: put_new_chat(session, actor, project_id) for actor in (alice, bob)}
    token_id = make_token(session, alice)
    plan = Plan(id=new_id(), name="Team", is_default=True)
    session.add(plan)
    session.flush()
    of_payer = {
        ("user", alice.user_id): admin,
        ("role", "user"): admin,
        ("plan", plan.id): admin,
        ("chat", chats[alice.user_id]): alice,
        ("token", token_id): alice,
        ("project", project_id): alice,
    }
    _limit_all(session, of_payer, rng)
    session.commit()
    processes = 2 if settings.database_url else 1
    running = [
        subprocess.Popen(
            [sys.executable, str(SPENDER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for number, process in enumerate(running):
        work = {
            "data": str(settings.data),
            "database_url": settings.database_url,
            "payers": [
                [alice.user_id, chats[alice.user_id], token_id],
                [bob.user_id, chats[bob.user_id], None],
                [alice.user_id, chats[alice.user_id], None],
            ],
            "parallel": 32 // processes,
            "each": 4,
            "seed": seed * 10 + number,
        }
        assert process.stdin is not None
        process.stdin.write(json.dumps(work) + "\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    assert [process.returncode for process in running] == [0] * processes
    session.expire_all()
    entries = list(session.scalars(sa.select(UsageLog).where(UsageLog.status == UsageStatus.SETTLED)))
    assert len(entries) == sum(answer["settled"] for answer in answers) > 0
    assert sum(answer["refused"] for answer in answers) > 0
    assert {entry.user_id for entry in entries} == {alice.user_id, bob.user_id}
    assert {entry.project_id for entry in entries} == {project_id}
    by_payer = [[entry for entry in entries if entry.user_id == actor.user_id] for actor in (alice, bob)]
    of_subject = {
        "user": by_payer[:1],
        "role": by_payer,
        "plan": by_payer,
        "chat": [[entry for entry in entries if entry.chat_id == chats[alice.user_id]]],
        "token": [[entry for entry in entries if entry.api_token_id == token_id]],
        "project": [entries],
    }
    for quota in session.scalars(sa.select(ApiQuota)):
        for counted in of_subject[quota.subject[0].value]:
            requests, cost, tokens = _most_in_a_window(quota, counted)
            assert requests <= (quota.max_requests or 10**9)
            assert cost <= (quota.max_cost or 10**9)
            assert tokens <= (quota.max_tokens or 10**9)
    assert find_wrong_sums(session) == []


# ---- projects


def test_a_limit_of_a_project_counts_what_all_of_its_members_spend_there(
    session: Session, alice: Actor, bob: Actor
) -> None:
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    chat_id = put_new_chat(session, bob, project_id)
    limit(session, alice, "project", project_id)
    spend(session, Payer(bob.user_id), "5.00")
    spend(session, Payer(alice.user_id, put_new_chat(session, alice, project_id)), "0.80")
    with pytest.raises(QuotaReached) as refused:
        spend(session, Payer(bob.user_id, chat_id))
    assert "0.80" not in str(refused.value.fields)  # what others spend is the owner's business
    take_chat_out(session, bob, project_id, chat_id)
    spend(session, Payer(bob.user_id, chat_id), "5.00")


def test_only_the_owner_limits_a_project_and_the_limit_goes_to_the_next_owner(
    session: Session, alice: Actor, bob: Actor, admin: Actor
) -> None:
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    for actor in (bob, admin):
        with pytest.raises(QuotaSubjectUnknown):
            limit(session, actor, "project", project_id)
    limit(session, alice, "project", project_id)
    update_member(session, alice, project_id, UserId(bob.user_id), MemberUpdate(role=MemberRole.OWNER))
    assert list_quotas(session, alice, is_everyone=False, after=None, limit=10) == []
    (quota,) = list_quotas(session, bob, is_everyone=False, after=None, limit=10)
    assert (quota["subject_kind"], quota["subject_name"]) == ("project", "Garden")


def test_what_others_spend_in_a_project_is_shown_to_its_owner_alone(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    chat_id = put_new_chat(session, bob, project_id)
    limit(session, alice, "project", project_id)
    spend(session, Payer(bob.user_id, chat_id))

    def used(actor: Actor, *, chat_id: str | None = None, project_id: str | None = None) -> list[Decimal]:
        items = list_limits(
            session,
            actor,
            chat_id=chat_id,
            project_id=project_id,
            chats=CHATS,
            storage=STORAGE,
            messages_per_day=None,
        )
        return [item["used"] for item in items if item["subject_kind"] == "project"]

    assert used(alice, project_id=project_id) == [Decimal("0.30")]
    assert used(bob, chat_id=chat_id) == []
    with pytest.raises(NotFound):
        used(bob, project_id=project_id)


def test_the_owner_sees_what_everyone_used_in_a_project(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    spend(session, Payer(bob.user_id, put_new_chat(session, bob, project_id)), "0.30")
    spend(session, Payer(alice.user_id, put_new_chat(session, alice, project_id)), "0.20")
    spend(session, Payer(alice.user_id), "5.00")
    use = get_project_use(session, alice, project_id)
    assert (use["cost"], use["requests"], use["tokens"]) == (Decimal("0.50"), 2, 60)
    for stranger in (bob, make_user(session, username="carol")):
        with pytest.raises(NotFound):
            get_project_use(session, stranger, project_id)


def test_what_a_deleted_member_spent_counts_in_the_project(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    limit(session, alice, "project", project_id)
    spend(session, Payer(bob.user_id, put_new_chat(session, bob, project_id)), "0.90")
    while forget_spender(session, bob.user_id):
        pass
    assert get_project_use(session, alice, project_id)["cost"] == Decimal("0.90")
    with pytest.raises(QuotaReached):
        spend(session, Payer(alice.user_id, put_new_chat(session, alice, project_id)))
    assert find_wrong_sums(session) == []


def test_a_limit_that_another_person_set_begins_its_day_where_that_person_is(
    session: Session, alice: Actor, bob: Actor
) -> None:
    update_me(session, alice, MeUpdate.model_validate({"preferences": {"time_zone": "Europe/Madrid"}}))
    update_me(session, bob, MeUpdate.model_validate({"preferences": {"time_zone": "Asia/Tokyo"}}))
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    chat_id = put_new_chat(session, bob, project_id)
    limit(session, alice, "project", project_id, window="day")
    with clock.frozen(datetime(2026, 3, 5, 14, 30, tzinfo=UTC)):
        spend(session, Payer(bob.user_id, chat_id), "0.80")
    with clock.frozen(datetime(2026, 3, 5, 15, 30, tzinfo=UTC)), pytest.raises(QuotaReached):  # the next day in Tokyo
        spend(session, Payer(bob.user_id, chat_id))
    with clock.frozen(datetime(2026, 3, 5, 23, 30, tzinfo=UTC)):  # the next day in Madrid
        spend(session, Payer(bob.user_id, chat_id))


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
