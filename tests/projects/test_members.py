"""Test the members of projects: who joins, what they may do then, and what is left after they leave."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import MemberAccess, MemberRole, Membership
from tertulia.accounts.schemas import ShareCreate
from tertulia.accounts.sharing import find_by_token
from tertulia.billing.models import ApiQuota
from tertulia.chat.import_sources import ImportSource
from tertulia.chat.models import Chat, Edit, Message
from tertulia.chat.project_chats import list_project_chats
from tertulia.chat.service import delete_chat, get_chat, get_message_with_history, restore_chat
from tertulia.chat.shared_chats import create_share
from tertulia.errors import NotFound
from tertulia.ids import ChatId, MessageId, UserId, new_id
from tertulia.projects.errors import AlreadyMember, MemberUnknown, NotYourProject, OwnerStays, TooManyMemberships
from tertulia.projects.members import add_member, leave_all, list_members, remove_member, update_member
from tertulia.projects.models import Project, ProjectStatus
from tertulia.projects.schemas import MemberCreate, MemberUpdate, ProjectUpdate
from tertulia.projects.service import MAX_MEMBERSHIPS, get_project, list_projects, update_project
from tertulia.tools.models import ChatApproval
from tertulia.transfer.native import native_chat
from tests.factories.accounts import make_user
from tests.factories.chats import make_chat
from tests.factories.projects import access_to, add_to, make_project, put_new_chat


def test_names_that_are_unknown_or_members_already_are_refused(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    with pytest.raises(AlreadyMember):
        add_to(session, alice, project_id, bob)
    with pytest.raises(MemberUnknown):
        add_member(session, alice, project_id, MemberCreate(username="nosuch"))
    with pytest.raises(OwnerStays):
        add_member(session, alice, project_id, MemberCreate(username="bob", role=MemberRole.OWNER))
    with pytest.raises(NotFound):
        remove_member(session, alice, project_id, UserId(new_id()))
    for role in (MemberRole.MEMBER, MemberRole.VIEWER):
        with pytest.raises(OwnerStays):
            update_member(session, alice, project_id, UserId(alice.user_id), MemberUpdate(role=role))
    with pytest.raises(OwnerStays):
        remove_member(session, alice, project_id, UserId(alice.user_id))


def test_who_leaves_keeps_private_chats_and_leaves_open_ones(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    opened, private = put_new_chat(session, bob, project_id), put_new_chat(session, bob, project_id, is_open=False)
    remove_member(session, bob, project_id, UserId(bob.user_id))
    assert (access_to(session, bob, opened), access_to(session, alice, opened)) == (None, "write")
    assert (access_to(session, bob, private), access_to(session, alice, private)) == ("write", None)
    assert get_chat(session, bob, private)["project_id"] is None
    assert [chat["id"] for chat in list_project_chats(session, alice, project_id)] == [opened]


def test_what_only_the_former_owner_had_is_not_handed_over(session: Session, alice: Actor, bob: Actor) -> None:
    """Let Bob leave with an open chat that Alice has imported, too, with a link, a limit, a tag and an edit."""
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    same = ChatId(make_chat(session, owner=alice))
    chat_id, trashed = put_new_chat(session, bob, project_id), put_new_chat(session, bob, project_id)
    imported = {"import_source": ImportSource.TERTULIA, "import_id": "x"}
    session.execute(sa.update(Chat).where(Chat.id.in_([same, chat_id])).values(imported))
    session.execute(sa.update(Chat).where(Chat.id == chat_id).values(system_prompt="My secret.", is_archived=True))
    link = create_share(session, bob, chat_id, ShareCreate.model_validate({"permissions": {}}))
    session.add(ApiQuota(chat_id=chat_id, owner_id=bob.user_id, window="day", max_requests=1))
    (message_id,) = session.scalars(sa.select(Message.id).where(Message.chat_id == chat_id)).all()
    edit = Edit(timestamp=clock.now(), previous_content="Before the project.")
    session.execute(sa.update(Message).where(Message.id == message_id).values(edit_history=[edit]))
    delete_chat(session, bob, trashed)
    remove_member(session, alice, project_id, UserId(bob.user_id))
    shown = get_chat(session, alice, chat_id)
    assert (shown["owner"], shown["system_prompt"], shown["is_archived"]) == (None, None, False)
    assert find_by_token(session, str(link["token"]), actor=None) is None
    assert session.scalars(sa.select(ApiQuota)).all() == []
    assert get_message_with_history(session, alice, MessageId(message_id))["edit_history"] == []
    exported = native_chat(session, chat_id)
    assert [message["edit_history"] for message in exported["messages"]] == [[]]
    # What was in the trash stays there, with its owner.
    assert restore_chat(session, bob, trashed)["project_id"] is None


def test_approvals_end_only_where_more_people_may_write(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    chat_id = put_new_chat(session, alice, project_id)
    approved = sa.update(Chat).where(Chat.id == chat_id).values(auto_approval=ChatApproval())

    def is_approved_after(change: Callable[[], object]) -> bool:
        session.execute(approved)
        change()
        return session.get_one(Chat, chat_id, populate_existing=True).auto_approval is not None

    def update(**values: Any) -> object:
        return update_project(session, alice, project_id, ProjectUpdate(**values))

    def give(role: MemberRole) -> object:
        return update_member(session, alice, project_id, UserId(bob.user_id), MemberUpdate(role=role))

    assert is_approved_after(lambda: add_to(session, alice, project_id, bob, "viewer"))
    assert is_approved_after(lambda: update(name="Beds"))
    assert not is_approved_after(lambda: give(MemberRole.MEMBER))
    assert is_approved_after(lambda: give(MemberRole.VIEWER))
    assert is_approved_after(lambda: update(is_archived=True))
    assert not is_approved_after(lambda: update(is_archived=False))
    assert not is_approved_after(lambda: give(MemberRole.OWNER))


def test_a_project_given_to_its_owner_stays_as_it_is(session: Session, alice: Actor) -> None:
    project_id = make_project(session, alice)
    channels = get_project(session, alice, project_id)["channels"]
    assert channels is not None
    (channel,) = channels
    update_member(session, alice, project_id, UserId(alice.user_id), MemberUpdate(role=MemberRole.OWNER))
    assert session.scalar(sa.select(Chat.is_handed_over).where(Chat.id == channel["chat_id"])) is False


def test_a_person_belongs_to_a_limited_number_of_projects(session: Session, alice: Actor, bob: Actor) -> None:
    """Make Bob a member of one project fewer than the limit, then of one more, and of one too many."""
    projects = [{"id": new_id(), "owner_id": alice.user_id, "name": "Bed"} for _ in range(MAX_MEMBERSHIPS - 1)]
    session.execute(sa.insert(Project), projects)
    session.execute(
        sa.insert(Membership),
        [
            {"project_id": row["id"], "user_id": bob.user_id, "role": MemberRole.VIEWER, "access": MemberAccess.READ}
            for row in projects
        ],
    )
    carol = make_user(session, username="carol")
    add_to(session, carol, make_project(session, carol), bob)
    with pytest.raises(TooManyMemberships):
        add_to(session, carol, make_project(session, carol), bob)
    with pytest.raises(TooManyMemberships):
        make_project(session, bob)
    assert len(list_projects(session, bob, status=ProjectStatus.ACTIVE)) == MAX_MEMBERSHIPS


def test_a_project_is_handed_over_with_its_channels(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob, "viewer")
    update_member(session, alice, project_id, UserId(bob.user_id), MemberUpdate(role=MemberRole.OWNER))
    assert get_project(session, bob, project_id)["role"] is MemberRole.OWNER
    assert get_project(session, alice, project_id)["role"] is MemberRole.MEMBER
    channels = get_project(session, bob, project_id)["channels"]
    assert channels is not None
    assert access_to(session, alice, ChatId(channels[0]["chat_id"])) == "write"
    with pytest.raises(NotYourProject):
        update_project(session, alice, project_id, ProjectUpdate(name="Mine"))
    access = sa.select(Membership.access).where(Membership.project_id == project_id)
    assert session.scalars(access).all() == [MemberAccess.WRITE, MemberAccess.WRITE]


def test_members_are_listed_page_by_page(session: Session, alice: Actor) -> None:
    project_id = make_project(session, alice)
    for number in range(4):
        add_to(session, alice, project_id, make_user(session, username=f"user{number}"))
    first = list_members(session, alice, project_id, after=None, limit=3)
    rest = list_members(session, alice, project_id, after=first[-1]["user_id"], limit=3)
    assert len({member["user_id"] for member in (*first, *rest)}) == 5


def test_a_deleted_account_hands_its_projects_to_a_member(session: Session, alice: Actor, bob: Actor) -> None:
    shared, alone = make_project(session, alice, "Shared"), make_project(session, alice, "Alone")
    elsewhere = make_project(session, bob, "Elsewhere")
    add_to(session, alice, shared, bob)
    add_to(session, bob, elsewhere, alice)
    opened = put_new_chat(session, alice, elsewhere)
    while leave_all(session, alice.user_id):
        pass
    assert get_project(session, bob, shared)["role"] is MemberRole.OWNER
    assert session.get(Project, alone) is None
    assert session.scalars(sa.select(Membership.user_id).distinct()).all() == [bob.user_id]
    assert access_to(session, bob, opened) == "write"
