"""Test limits of projects: what counts in them, who sets them, and who sees what was spent."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import MemberRole
from tertulia.accounts.row_limits import StorageLimit
from tertulia.accounts.schemas import MeUpdate
from tertulia.accounts.service import update_me
from tertulia.billing.errors import QuotaNotFound, QuotaReached, QuotaSubjectUnknown
from tertulia.billing.limits import Payer
from tertulia.billing.limits_read import list_limits
from tertulia.billing.notices import list_notices
from tertulia.billing.people import get_project_use
from tertulia.billing.quotas import delete_quota, list_quotas
from tertulia.billing.recounts import find_wrong_sums
from tertulia.billing.sums import forget_spender
from tertulia.errors import NotFound
from tertulia.ids import QuotaId, UserId, new_id
from tertulia.projects.members import remove_member, update_member
from tertulia.projects.schemas import MemberUpdate
from tertulia.projects.service import take_chat_out
from tests.factories.accounts import make_user
from tests.factories.projects import add_to, make_project, put_new_chat
from tests.factories.quotas import CHATS, limit, spend

STORAGE = StorageLimit(10**9, lambda _session, _user_id: 0)


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


def test_no_member_but_the_owner_limits_a_project_and_the_limit_goes_to_the_next_owner(
    session: Session, alice: Actor, bob: Actor
) -> None:
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    with pytest.raises(QuotaSubjectUnknown):
        limit(session, bob, "project", project_id)
    limit(session, alice, "project", project_id)
    update_member(session, alice, project_id, UserId(bob.user_id), MemberUpdate(role=MemberRole.OWNER))
    assert list_quotas(session, alice, is_everyone=False, after=None, limit=10) == []
    (quota,) = list_quotas(session, bob, is_everyone=False, after=None, limit=10)
    assert (quota["subject_kind"], quota["subject_name"]) == ("project", "Garden")


def test_an_administrator_limits_a_project_and_a_chat_without_learning_their_names(
    session: Session, alice: Actor, bob: Actor, admin: Actor
) -> None:
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    chat_id = put_new_chat(session, bob, project_id)
    limit(session, admin, "project", project_id)
    limit(session, admin, "chat", chat_id, max_cost="0.80")
    for unknown in ("project", "chat"):
        with pytest.raises(QuotaSubjectUnknown):
            limit(session, admin, unknown, new_id())
    quotas = list_quotas(session, admin, is_everyone=True, after=None, limit=10)
    assert [(quota["set_by"], quota["subject_name"]) for quota in quotas] == [("admin", None)] * 2
    for actor in (alice, bob):
        assert list_quotas(session, actor, is_everyone=False, after=None, limit=10) == []
        with pytest.raises(QuotaNotFound):
            delete_quota(session, actor, QuotaId(quotas[0]["id"]))

    spend(session, Payer(bob.user_id, chat_id), "0.80")
    with pytest.raises(QuotaReached, match=r"this chat.*administrator") as refused:
        spend(session, Payer(alice.user_id, chat_id), "0.10")
    assert "left" not in refused.value.fields
    with pytest.raises(QuotaReached, match="this project") as of_owner:
        spend(session, Payer(alice.user_id, put_new_chat(session, alice, project_id)), "0.30")
    assert (of_owner.value.fields["left"], of_owner.value.fields["can_raise"]) == ("0.2", "administrator")
    notices = {actor.user_id: list_notices(session, actor, after=None, limit=10) for actor in (alice, bob)}
    kinds = {
        user: [(notice["limit"]["subject_kind"], notice["percent"]) for notice in seen]
        for user, seen in notices.items()
    }
    assert kinds == {alice.user_id: [("project", 80)], bob.user_id: [("chat", 100)]}

    update_member(session, alice, project_id, UserId(bob.user_id), MemberUpdate(role=MemberRole.OWNER))
    remove_member(session, alice, project_id, UserId(alice.user_id))
    assert list_quotas(session, bob, is_everyone=False, after=None, limit=10) == []
    assert len(list_quotas(session, admin, is_everyone=True, after=None, limit=10)) == 2


def test_the_day_of_a_project_that_an_administrator_limits_is_the_same_for_all(
    session: Session, alice: Actor, bob: Actor, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for actor, zone in ((alice, "Pacific/Auckland"), (bob, "America/Los_Angeles")):
        update_me(session, actor, MeUpdate.model_validate({"preferences": {"time_zone": zone}}))
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    chats = [put_new_chat(session, actor, project_id) for actor in (alice, bob)]
    limit(session, admin, "project", project_id, window="day")
    moment = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: moment)
    spend(session, Payer(alice.user_id, chats[0]), "1.00")
    with pytest.raises(QuotaReached):
        spend(session, Payer(bob.user_id, chats[1]))
    moment = datetime(2026, 12, 1, 0, 30, tzinfo=UTC)
    for actor, chat_id in zip((alice, bob), chats, strict=True):
        spend(session, Payer(actor.user_id, chat_id), "0.10")


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
