"""Test invitations: whom their links let in, once, with which role and plan, and what is left of them."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, AdminOnly
from tertulia.accounts.errors import UsernameTaken
from tertulia.accounts.models import AuditLog, User, UserRole, UserStatus
from tertulia.billing.errors import PlanNotFound
from tertulia.billing.models import Plan
from tertulia.billing.plans import create_plan, delete_plan, find_plan_id
from tertulia.billing.schemas import PlanCreate
from tertulia.ids import InvitationId, PlanId, UserId, new_id
from tertulia.invitations import service
from tertulia.invitations.errors import InvitationNotFound, TooManyInvitations
from tertulia.invitations.models import Invitation
from tertulia.invitations.schemas import LONGEST, InvitationAccept, InvitationCreate
from tertulia.invitations.service import (
    KEPT,
    accept_invitation,
    create_invitation,
    get_offer,
    list_invitations,
    sweep_invitations,
    withdraw_invitation,
)
from tests.conftest import SignIn
from tests.factories.accounts import make_admin, make_user
from tests.fakes.live_server import Client, LiveServer
from tests.waiting import Listener

EVE = InvitationAccept(username="eve", name="Eve", password="correct horse battery")


@pytest.fixture
def admin(session: Session) -> Actor:
    admin = replace(make_user(session, username="admin"), role=UserRole.ADMIN)
    session.get_one(User, admin.user_id).role = UserRole.ADMIN
    session.flush()
    return admin


def accept(session: Session, token: str | None, account: InvitationAccept = EVE) -> UserId:
    return accept_invitation(session, str(token), account, password_hash="not compared")


def test_an_invitation_makes_one_account_with_its_role_plan_and_address(session: Session, admin: Actor) -> None:
    plan_id = create_plan(session, admin, PlanCreate(name="Pro"))["id"]
    new = InvitationCreate(role=UserRole.ADMIN, email="eve@example.org", plan_id=PlanId(plan_id))
    invited = create_invitation(session, admin, new)
    token = str(invited["token"])
    offer = get_offer(session, token)
    assert (offer["role"], offer["email"], offer["plan_name"]) == (UserRole.ADMIN, "eve@example.org", "Pro")
    user_id = accept(session, token)
    user = session.get_one(User, user_id)
    assert (user.username, user.role, user.email) == ("eve", UserRole.ADMIN, "eve@example.org")
    assert find_plan_id(session, user_id) == plan_id
    (listed,) = list_invitations(session, admin, after=None, limit=10)
    assert (listed["user_name"], listed["email"], listed["accepted_at"] is not None) == ("Eve", None, True)
    with pytest.raises(InvitationNotFound):
        accept(session, token, EVE.model_copy(update={"username": "mallory"}))
    with pytest.raises(InvitationNotFound):
        get_offer(session, token)
    actions = session.scalars(sa.select(AuditLog.action).where(AuditLog.action.like("invitation.%"))).all()
    assert sorted(actions) == ["invitation.accept", "invitation.create"]


def test_an_own_address_counts_before_that_of_the_invitation(session: Session, admin: Actor) -> None:
    token = create_invitation(session, admin, InvitationCreate(email="work@example.org"))["token"]
    user_id = accept(session, token, EVE.model_copy(update={"email": "home@example.org"}))
    assert session.get_one(User, user_id).email == "home@example.org"


def test_only_administrators_invite_list_and_withdraw(session: Session, admin: Actor, alice: Actor) -> None:
    invited = create_invitation(session, admin, InvitationCreate())
    with pytest.raises(AdminOnly):
        create_invitation(session, alice, InvitationCreate())
    with pytest.raises(AdminOnly):
        list_invitations(session, alice, after=None, limit=10)
    with pytest.raises(InvitationNotFound):
        withdraw_invitation(session, alice, InvitationId(invited["id"]))
    assert get_offer(session, str(invited["token"]))


def test_the_token_is_not_stored_and_a_withdrawn_or_expired_one_opens_nothing(session: Session, admin: Actor) -> None:
    invited = create_invitation(session, admin, InvitationCreate())
    token = str(invited["token"])
    stored = session.execute(sa.select(Invitation.__table__)).one()
    assert token not in str(tuple(stored))
    with clock.frozen(invited["expires_at"] - timedelta(seconds=1)):
        assert get_offer(session, token)
    with clock.frozen(invited["expires_at"]), pytest.raises(InvitationNotFound):
        accept(session, token)
    withdraw_invitation(session, admin, InvitationId(invited["id"]))
    with pytest.raises(InvitationNotFound):
        accept(session, token)
    with pytest.raises(InvitationNotFound):
        withdraw_invitation(session, admin, InvitationId(invited["id"]))


def test_the_links_of_a_former_administrator_open_nothing(session: Session, admin: Actor) -> None:
    user = session.get_one(User, admin.user_id)
    user.role = UserRole.ADMIN
    token = str(create_invitation(session, admin, InvitationCreate(role=UserRole.ADMIN))["token"])
    assert get_offer(session, token)
    for role, status in ((UserRole.USER, UserStatus.ACTIVE), (UserRole.ADMIN, UserStatus.INACTIVE)):
        user.role, user.status = role, status
        session.flush()
        with pytest.raises(InvitationNotFound):
            accept(session, token)


def test_a_name_that_is_taken_leaves_the_invitation_open(session: Session, admin: Actor) -> None:
    token = create_invitation(session, admin, InvitationCreate())["token"]
    with pytest.raises(UsernameTaken), session.begin_nested():
        accept(session, token, EVE.model_copy(update={"username": "admin"}))
    assert accept(session, token)


def test_a_deleted_plan_is_not_given_any_more(session: Session, admin: Actor) -> None:
    plan_id = PlanId(create_plan(session, admin, PlanCreate(name="Pro"))["id"])
    token = create_invitation(session, admin, InvitationCreate(plan_id=plan_id))["token"]
    delete_plan(session, admin, plan_id)
    session.expire_all()
    assert get_offer(session, str(token))["plan_name"] is None
    assert find_plan_id(session, accept(session, token)) is None
    with pytest.raises(PlanNotFound):
        create_invitation(session, admin, InvitationCreate(plan_id=PlanId(new_id())))
    assert session.scalar(sa.select(sa.func.count()).select_from(Plan)) == 0


def test_times_are_limited() -> None:
    now = clock.now()
    with clock.frozen(now):
        assert InvitationCreate(expires_at=now + LONGEST)
        with pytest.raises(ValidationError, match="at most 90 days"):
            InvitationCreate(expires_at=now + LONGEST + timedelta(seconds=1))
        with pytest.raises(ValidationError, match="has passed"):
            InvitationCreate(expires_at=now)


def test_the_number_of_open_invitations_is_limited(
    session: Session, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_OPEN", 2)
    create_invitation(session, admin, InvitationCreate())
    token = create_invitation(session, admin, InvitationCreate())["token"]
    with pytest.raises(TooManyInvitations):
        create_invitation(session, admin, InvitationCreate())
    accept(session, token)  # an accepted one is not open
    create_invitation(session, admin, InvitationCreate())


def test_old_invitations_are_swept(session: Session, admin: Actor) -> None:
    now = clock.now()
    with clock.frozen(now):
        accept(session, create_invitation(session, admin, InvitationCreate())["token"])
        expiring = create_invitation(session, admin, InvitationCreate(expires_at=now + LONGEST))
    with clock.frozen(now + KEPT):
        assert sweep_invitations(session) == 0
    with clock.frozen(now + KEPT + timedelta(minutes=1)):
        assert sweep_invitations(session) == 1
    with clock.frozen(expiring["expires_at"] + KEPT + timedelta(seconds=1)):
        assert sweep_invitations(session) == 1


def test_a_page_shows_each_invitation_once(session: Session, admin: Actor) -> None:
    ids = [create_invitation(session, admin, InvitationCreate())["id"] for _ in range(5)]
    first = list_invitations(session, admin, after=None, limit=3)
    rest = list_invitations(session, admin, after=first[-1]["id"], limit=3)
    assert [item["id"] for item in (*first, *rest)] == ids[::-1]


def test_whoever_has_the_link_is_signed_in_and_the_inviting_window_hears_of_it(
    server: LiveServer, sign_in: SignIn
) -> None:
    admin = make_admin(server, sign_in)
    invited = admin.api("POST", "/invitations", json={"email": "eve@example.org"}, expect=201)
    page = f"/invitations/{invited['token']}"
    listener = Listener(admin)
    with Client(server.url) as eve:
        assert eve.api("GET", page)["email"] == "eve@example.org"
        weak = eve.api("POST", f"{page}/accept", json={"username": "eve", "name": "Eve", "password": "x"}, expect=422)
        assert weak["errors"][0]["field"] == "password"
        body = EVE.model_dump(mode="json", exclude_none=True)
        user = eve.api("POST", f"{page}/accept", json=body, expect=201)
        assert eve.api("GET", "/me")["id"] == user["id"]
        used = eve.api("POST", f"{page}/accept", json=body | {"username": "eve2"}, expect=404)
        assert (used["code"], "Ask for a new link" in used["detail"]) == ("invitation_not_found", True)
    listener.wait_for(lambda: ("invitation", "updated") in listener.changes)


def test_of_many_who_accept_at_once_one_gets_an_account(server: LiveServer, sign_in: SignIn) -> None:
    token = make_admin(server, sign_in).api("POST", "/invitations", json={}, expect=201)["token"]
    statuses: list[int] = []

    def try_it(number: int) -> None:
        with Client(server.url) as client:
            body = EVE.model_dump(mode="json", exclude_none=True) | {"username": f"eve{number}"}
            statuses.append(client.post(f"/invitations/{token}/accept", json=body).status_code)

    threads = [threading.Thread(target=try_it, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, *[404] * 5]


def test_guessing_is_limited(server: LiveServer) -> None:
    with Client(server.url) as client:
        statuses = [client.get(f"/invitations/iguess{number}").status_code for number in range(61)]
    assert (statuses[:60], statuses[60]) == ([404] * 60, 429)
