"""Test links into projects: whom they let in, once, with which role, and when they stop to work."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor, AdminOnly
from tertulia.accounts.models import MemberRole, Membership, User, UserRole, UserStatus
from tertulia.ids import InvitationId, ProjectId, UserId
from tertulia.invitations import service
from tertulia.invitations.errors import InvitationNotFound, TooManyInvitations
from tertulia.invitations.models import Invitation
from tertulia.invitations.schemas import InvitationAccept, InvitationCreate
from tertulia.invitations.service import (
    accept_invitation,
    create_invitation,
    get_offer,
    join_project,
    list_invitations,
    withdraw_invitation,
)
from tertulia.projects.errors import AlreadyMember, NotYourProject, ProjectNotFound, ReadOnlyProject
from tertulia.projects.members import update_member
from tertulia.projects.schemas import MemberUpdate, ProjectUpdate
from tertulia.projects.service import delete_project, update_project
from tests.factories.accounts import make_user
from tests.factories.projects import access_to, add_to, make_project, put_new_chat

EVE = InvitationAccept(username="eve", name="Eve", password="correct horse battery")


def link(session: Session, owner: Actor, project_id: ProjectId, role: MemberRole = MemberRole.MEMBER) -> str:
    new = InvitationCreate.model_validate({"project_id": project_id, "project_role": role})
    return str(create_invitation(session, owner, new)["token"])


def role_of(session: Session, project_id: ProjectId, user_id: str) -> MemberRole | None:
    return session.scalar(
        sa.select(Membership.role).where(Membership.project_id == project_id, Membership.user_id == user_id)
    )


@pytest.mark.parametrize(("role", "access"), [(MemberRole.MEMBER, "write"), (MemberRole.VIEWER, "read")])
def test_a_link_lets_one_person_join_with_its_role(
    session: Session, alice: Actor, bob: Actor, role: MemberRole, access: str
) -> None:
    project_id = make_project(session, alice)
    chat_id = put_new_chat(session, alice, project_id)
    token = link(session, alice, project_id, role)
    offer = get_offer(session, token)
    assert (offer["project_name"], offer["project_role"], offer["makes_account"]) == ("Garden", role, False)
    assert offer["invited_by"] == session.get_one(User, alice.user_id).name
    assert join_project(session, bob, token) == {"project_id": project_id}
    assert access_to(session, bob, chat_id) == access
    (listed,) = list_invitations(session, alice, project_id=project_id, after=None, limit=10)
    assert (listed["user_name"], listed["accepted_at"] is not None) == (session.get_one(User, bob.user_id).name, True)
    with pytest.raises(InvitationNotFound):
        join_project(session, make_user(session, username="carol"), token)


def test_a_link_of_a_person_makes_no_account_and_that_of_an_administrator_does(session: Session, alice: Actor) -> None:
    project_id = make_project(session, alice)
    with pytest.raises(InvitationNotFound):
        accept_invitation(session, link(session, alice, project_id), EVE, password_hash="x")
    earlier = link(session, alice, project_id)
    session.get_one(User, alice.user_id).role = UserRole.ADMIN
    session.flush()
    assert not get_offer(session, earlier)["makes_account"]  # it was given by a person
    admin = replace(alice, role=UserRole.ADMIN)
    token = link(session, admin, project_id, MemberRole.VIEWER)
    assert get_offer(session, token)["makes_account"]
    user_id = accept_invitation(session, token, EVE, password_hash="x")
    assert role_of(session, project_id, user_id) is MemberRole.VIEWER


def test_only_the_owner_invites_lists_and_withdraws(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    with pytest.raises(ProjectNotFound):
        link(session, bob, project_id)
    add_to(session, alice, project_id, bob)
    with pytest.raises(NotYourProject):
        link(session, bob, project_id)
    with pytest.raises(NotYourProject):
        list_invitations(session, bob, project_id=project_id, after=None, limit=10)
    for more in ({"role": "admin"}, {"email": "a@example.org"}):
        with pytest.raises(AdminOnly):
            create_invitation(session, alice, InvitationCreate.model_validate({"project_id": project_id} | more))
    token = link(session, alice, project_id)
    (listed,) = list_invitations(session, alice, project_id=project_id, after=None, limit=10)
    with pytest.raises(InvitationNotFound):
        withdraw_invitation(session, bob, InvitationId(listed["id"]))
    withdraw_invitation(session, alice, InvitationId(listed["id"]))
    with pytest.raises(InvitationNotFound):
        get_offer(session, token)


def test_a_member_keeps_their_role_and_leaves_the_link_open(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    token = link(session, alice, project_id)
    add_to(session, alice, project_id, bob, "viewer")
    with pytest.raises(AlreadyMember):
        join_project(session, bob, token)
    assert role_of(session, project_id, bob.user_id) is MemberRole.VIEWER
    assert get_offer(session, token)["project_name"] == "Garden"


def _hand_over(session: Session, alice: Actor, project_id: ProjectId) -> None:
    carol = make_user(session, username="carol")
    add_to(session, alice, project_id, carol)
    update_member(session, alice, project_id, UserId(carol.user_id), MemberUpdate(role=MemberRole.OWNER))


def _deactivate(session: Session, alice: Actor, _: ProjectId) -> None:
    session.get_one(User, alice.user_id).status = UserStatus.INACTIVE
    session.flush()


@pytest.mark.parametrize(
    "change",
    [
        _hand_over,
        _deactivate,
        delete_project,
        lambda session, alice, project_id: update_project(session, alice, project_id, ProjectUpdate(is_archived=True)),
    ],
    ids=["handed over", "deactivated", "deleted", "archived"],
)
def test_a_link_works_only_while_its_maker_may_invite(
    session: Session, alice: Actor, bob: Actor, change: Callable[[Session, Actor, ProjectId], object]
) -> None:
    project_id = make_project(session, alice)
    token = link(session, alice, project_id)
    change(session, alice, project_id)
    with pytest.raises(InvitationNotFound):
        get_offer(session, token)
    with pytest.raises(InvitationNotFound):
        join_project(session, bob, token)
    assert role_of(session, project_id, bob.user_id) is None


def test_nobody_is_invited_into_an_archived_project(session: Session, alice: Actor) -> None:
    project_id = make_project(session, alice)
    update_project(session, alice, project_id, ProjectUpdate(is_archived=True))
    with pytest.raises(ReadOnlyProject):
        link(session, alice, project_id)


def test_the_number_of_open_links_of_a_project_is_limited(
    session: Session, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_OPEN_OF_PROJECT", 2)
    project_id, other = make_project(session, alice), make_project(session, alice, "House")
    for _ in range(2):
        link(session, alice, project_id)
    with pytest.raises(TooManyInvitations):
        link(session, alice, project_id)
    link(session, alice, other)
    session.execute(sa.delete(Invitation).where(Invitation.project_id == project_id))
    link(session, alice, project_id)
