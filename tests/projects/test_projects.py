"""Test projects: one transaction, who belongs, what members read and write, and what is left after they leave."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import MemberAccess, MemberRole, Membership, User
from tertulia.accounts.row_limits import RowLimits
from tertulia.accounts.schemas import ShareCreate
from tertulia.accounts.sharing import find_by_token
from tertulia.billing.models import ApiQuota
from tertulia.chat.errors import ChatNotFound, NotYourChat, TooManyOpenChats
from tertulia.chat.import_sources import ImportSource
from tertulia.chat.models import Chat, ChatKind, Edit, Message
from tertulia.chat.service import (
    delete_chat,
    get_chat,
    get_message_with_history,
    list_chats,
    list_project_chats,
    restore_chat,
)
from tertulia.chat.shared_chats import create_share
from tertulia.errors import Invalid, NotFound
from tertulia.ids import ChatId, MessageId, ProjectId, UserId, new_id
from tertulia.projects import members, service
from tertulia.projects.errors import (
    AlreadyMember,
    MemberUnknown,
    NotMovable,
    NotYourProject,
    OwnerStays,
    ProjectNotFound,
    ReadOnlyProject,
    TooManyMembers,
    TooManyProjects,
)
from tertulia.projects.members import add_member, leave_all, list_members, remove_member, update_member
from tertulia.projects.models import Channel, Project, ProjectStatus
from tertulia.projects.queries import find_default_model, find_instructions
from tertulia.projects.schemas import MemberCreate, MemberUpdate, ProjectCreate, ProjectUpdate
from tertulia.projects.service import (
    create_project,
    delete_project,
    get_project,
    list_projects,
    purge_projects,
    put_chat,
    restore_project,
    take_chat_out,
    update_project,
)
from tertulia.realtime.models import Change
from tertulia.tools.models import ChatApproval
from tertulia.transfer.native import native_chat
from tests.factories.accounts import make_user
from tests.factories.chats import make_chat

LIMITS = RowLimits()


def make_project(session: Session, owner: Actor, name: str = "Garden", **values: Any) -> ProjectId:
    return ProjectId(create_project(session, owner, ProjectCreate(name=name, **values), LIMITS)["id"])


def add(session: Session, owner: Actor, project_id: ProjectId, user: Actor, role: str = "member") -> None:
    name = session.scalars(sa.select(User.username).where(User.id == user.user_id)).one()
    add_member(session, owner, project_id, MemberCreate(username=name, role=MemberRole(role)))


def put(session: Session, owner: Actor, project_id: ProjectId, *, is_open: bool = True) -> ChatId:
    chat_id = ChatId(make_chat(session, owner=owner, messages=1))
    put_chat(session, owner, project_id, chat_id, is_open=is_open)
    return chat_id


def reads(session: Session, actor: Actor, chat_id: ChatId) -> str | None:
    """Return what an actor may do with a chat: `read`, `write`, or None."""
    try:
        return "write" if get_chat(session, actor, chat_id)["permissions"]["can_write"] else "read"
    except ChatNotFound:
        return None


# ---- creation


def test_a_project_has_its_channel_from_the_beginning(session: Session, alice: Actor) -> None:
    project = create_project(session, alice, ProjectCreate(name="  Garden "), LIMITS)
    assert (project["name"], project["role"], project["member_count"]) == ("Garden", MemberRole.OWNER, 1)
    assert project["channels"] is not None
    (channel,) = project["channels"]
    assert (channel["name"], channel["type"]) == ("general", "text")
    chat = session.get_one(Chat, channel["chat_id"])
    assert (chat.kind, chat.project_id, chat.is_open_to_project) == (ChatKind.CHANNEL, project["id"], True)


def test_a_failure_leaves_neither_project_nor_channel(
    session: Session, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(service, "_create_channel", fail)
    with pytest.raises(RuntimeError), session.begin_nested():
        create_project(session, alice, ProjectCreate(name="Garden"), LIMITS)
    for table in (Project, Membership, Channel, Chat):
        assert session.scalar(sa.select(sa.func.count()).select_from(table)) == 0


def test_limits_are_kept_at_their_number(session: Session, alice: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_PROJECTS", 2)
    monkeypatch.setattr(members, "MAX_MEMBERS", 2)
    first = make_project(session, alice)
    make_project(session, alice)
    with pytest.raises(TooManyProjects):
        make_project(session, alice)
    add(session, alice, first, make_user(session, username="carol"))
    with pytest.raises(TooManyMembers):
        add(session, alice, first, make_user(session, username="dave"))
    assert ProjectCreate(name="x" * 100, instructions="x" * 10_000)
    for values in ({"name": "x" * 101}, {"name": " "}, {"name": "a\nb"}, {"name": "x", "instructions": "x" * 10_001}):
        with pytest.raises(ValidationError):
            ProjectCreate(**values)


# ---- who may do what


def test_strangers_find_nothing(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    chat_id = put(session, alice, project_id)
    calls: list[Callable[[], object]] = [
        lambda: get_project(session, bob, project_id),
        lambda: update_project(session, bob, project_id, ProjectUpdate(name="Mine")),
        lambda: delete_project(session, bob, project_id),
        lambda: list_members(session, bob, project_id, after=None, limit=10),
        lambda: add(session, bob, project_id, bob),
        lambda: remove_member(session, bob, project_id, UserId(alice.user_id)),
        lambda: put(session, bob, project_id),
        lambda: get_project(session, bob, ProjectId(new_id())),
    ]
    for call in calls:
        with pytest.raises(ProjectNotFound):
            call()
    with pytest.raises(Invalid, match="do not belong"):
        list_project_chats(session, bob, project_id)
    assert reads(session, bob, chat_id) is None
    assert list_projects(session, bob, status=ProjectStatus.ACTIVE) == []


def test_only_the_owner_changes_a_project(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    add(session, alice, project_id, bob)
    calls: list[Callable[[], object]] = [
        lambda: update_project(session, bob, project_id, ProjectUpdate(name="Mine")),
        lambda: delete_project(session, bob, project_id),
        lambda: add(session, bob, project_id, bob),
        lambda: update_member(session, bob, project_id, UserId(bob.user_id), MemberUpdate(role=MemberRole.OWNER)),
        lambda: remove_member(session, bob, project_id, UserId(alice.user_id)),
    ]
    for call in calls:
        with pytest.raises(NotYourProject):
            call()


def test_open_chats_are_read_by_viewers_and_written_by_members(session: Session, alice: Actor, bob: Actor) -> None:
    carol = make_user(session, username="carol")
    project_id = make_project(session, alice)
    add(session, alice, project_id, bob)
    add(session, alice, project_id, carol, "viewer")
    opened, private = put(session, alice, project_id), put(session, alice, project_id, is_open=False)
    assert [reads(session, actor, opened) for actor in (alice, bob, carol)] == ["write", "write", "read"]
    assert [reads(session, actor, private) for actor in (alice, bob, carol)] == ["write", None, None]
    assert [chat["id"] for chat in list_project_chats(session, bob, project_id)] == [opened]
    assert {chat["id"] for chat in list_project_chats(session, alice, project_id)} == {opened, private}
    shown = get_chat(session, bob, opened)
    assert (shown["project_id"], shown["owner"] is not None, shown["system_prompt"]) == (project_id, True, None)
    with pytest.raises(NotYourChat):
        put_chat(session, bob, project_id, opened, is_open=False)
    with pytest.raises(ReadOnlyProject):
        put(session, carol, project_id)
    # Channels and the chats of others are not among the own ones.
    assert list_chats(session, bob) == []


def test_what_members_may_do_follows_role_and_status_at_once(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    add(session, alice, project_id, bob)
    chat_id = put(session, alice, project_id)
    update_member(session, alice, project_id, UserId(bob.user_id), MemberUpdate(role=MemberRole.VIEWER))
    assert reads(session, bob, chat_id) == "read"
    update_member(session, alice, project_id, UserId(bob.user_id), MemberUpdate(role=MemberRole.MEMBER))
    update_project(session, alice, project_id, ProjectUpdate(is_archived=True))
    assert (reads(session, bob, chat_id), reads(session, alice, chat_id)) == ("read", "write")
    update_project(session, alice, project_id, ProjectUpdate(is_archived=False))
    assert reads(session, bob, chat_id) == "write"
    delete_project(session, alice, project_id)
    assert (reads(session, bob, chat_id), reads(session, alice, chat_id)) == (None, "write")
    with pytest.raises(ProjectNotFound):
        get_project(session, bob, project_id)
    assert [item["id"] for item in list_projects(session, alice, status=ProjectStatus.DELETED)] == [project_id]
    restore_project(session, alice, project_id)
    assert reads(session, bob, chat_id) == "write"
    update_project(session, alice, project_id, ProjectUpdate(is_archived=True))
    delete_project(session, alice, project_id)
    assert restore_project(session, alice, project_id)["status"] is ProjectStatus.ARCHIVED
    assert reads(session, bob, chat_id) == "read"


def test_a_chat_is_in_one_project_at_a_time(session: Session, alice: Actor, bob: Actor) -> None:
    first, second = make_project(session, alice, "First"), make_project(session, alice, "Second")
    add(session, alice, first, bob)
    chat_id = put(session, alice, first)
    assert reads(session, bob, chat_id) == "write"
    put_chat(session, alice, second, chat_id, is_open=True)
    assert reads(session, bob, chat_id) is None
    assert take_chat_out(session, alice, first, chat_id)["project_id"] == second  # it is not in the first
    assert take_chat_out(session, alice, second, chat_id)["project_id"] is None
    assert not session.get_one(Chat, chat_id, populate_existing=True).is_open_to_project


def test_a_channel_cannot_be_moved(session: Session, alice: Actor) -> None:
    project_id = make_project(session, alice)
    channels = get_project(session, alice, project_id)["channels"]
    assert channels is not None
    channel = ChatId(channels[0]["chat_id"])
    with pytest.raises(NotMovable):
        put_chat(session, alice, project_id, channel, is_open=False)
    with pytest.raises(NotYourChat, match="Delete the project"):
        delete_chat(session, alice, channel)
    about_draft = ChatId(make_chat(session, owner=alice))
    session.execute(sa.update(Chat).where(Chat.id == about_draft).values(kind=ChatKind.DRAFT))
    with pytest.raises(NotMovable):
        put_chat(session, alice, project_id, about_draft, is_open=True)


# ---- members


def test_names_that_are_unknown_or_members_already_are_refused(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    add(session, alice, project_id, bob)
    with pytest.raises(AlreadyMember):
        add(session, alice, project_id, bob)
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
    add(session, alice, project_id, bob)
    opened, private = put(session, bob, project_id), put(session, bob, project_id, is_open=False)
    remove_member(session, bob, project_id, UserId(bob.user_id))
    assert (reads(session, bob, opened), reads(session, alice, opened)) == (None, "write")
    assert (reads(session, bob, private), reads(session, alice, private)) == ("write", None)
    assert get_chat(session, bob, private)["project_id"] is None
    assert [chat["id"] for chat in list_project_chats(session, alice, project_id)] == [opened]


def test_what_only_the_former_owner_had_is_not_handed_over(session: Session, alice: Actor, bob: Actor) -> None:
    """Let Bob leave with an open chat that Alice has imported, too, with a link, a limit, a tag and an edit."""
    project_id = make_project(session, alice)
    add(session, alice, project_id, bob)
    same = ChatId(make_chat(session, owner=alice))
    chat_id, trashed = put(session, bob, project_id), put(session, bob, project_id)
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


def test_approvals_end_where_more_people_may_write(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    chat_id = put(session, alice, project_id)
    approved = sa.update(Chat).where(Chat.id == chat_id).values(auto_approval=ChatApproval())
    for change in (
        lambda: add(session, alice, project_id, bob, "viewer"),
        lambda: update_member(session, alice, project_id, UserId(bob.user_id), MemberUpdate(role=MemberRole.MEMBER)),
    ):
        session.execute(approved)
        change()
        assert session.get_one(Chat, chat_id, populate_existing=True).auto_approval is None


def test_the_number_of_open_chats_is_limited(session: Session, alice: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tertulia.chat.service.MAX_OPEN_CHATS", 2)
    project_id = make_project(session, alice)  # its channel is open
    put(session, alice, project_id)
    with pytest.raises(TooManyOpenChats):
        put(session, alice, project_id)
    put(session, alice, project_id, is_open=False)


def test_a_project_is_handed_over_with_its_channels(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    add(session, alice, project_id, bob, "viewer")
    update_member(session, alice, project_id, UserId(bob.user_id), MemberUpdate(role=MemberRole.OWNER))
    assert get_project(session, bob, project_id)["role"] is MemberRole.OWNER
    assert get_project(session, alice, project_id)["role"] is MemberRole.MEMBER
    channels = get_project(session, bob, project_id)["channels"]
    assert channels is not None
    assert reads(session, alice, ChatId(channels[0]["chat_id"])) == "write"
    with pytest.raises(NotYourProject):
        update_project(session, alice, project_id, ProjectUpdate(name="Mine"))
    access = sa.select(Membership.access).where(Membership.project_id == project_id)
    assert session.scalars(access).all() == [MemberAccess.WRITE, MemberAccess.WRITE]


def test_members_are_listed_page_by_page(session: Session, alice: Actor) -> None:
    project_id = make_project(session, alice)
    for number in range(4):
        add(session, alice, project_id, make_user(session, username=f"user{number}"))
    first = list_members(session, alice, project_id, after=None, limit=3)
    rest = list_members(session, alice, project_id, after=first[-1]["user_id"], limit=3)
    assert len({member["user_id"] for member in (*first, *rest)}) == 5


def test_a_deleted_account_hands_its_projects_to_a_member(session: Session, alice: Actor, bob: Actor) -> None:
    shared, alone = make_project(session, alice, "Shared"), make_project(session, alice, "Alone")
    elsewhere = make_project(session, bob, "Elsewhere")
    add(session, alice, shared, bob)
    add(session, bob, elsewhere, alice)
    opened = put(session, alice, elsewhere)
    while leave_all(session, alice.user_id):
        pass
    assert get_project(session, bob, shared)["role"] is MemberRole.OWNER
    assert session.get(Project, alone) is None
    assert session.scalars(sa.select(Membership.user_id).distinct()).all() == [bob.user_id]
    assert reads(session, bob, opened) == "write"


# ---- the trash


def test_a_project_is_purged_with_its_channels_and_without_its_chats(session: Session, alice: Actor) -> None:
    project_id = make_project(session, alice)
    chat_id = put(session, alice, project_id)
    delete_project(session, alice, project_id)
    kept = timedelta(days=30)
    assert purge_projects(session, kept) == 0
    with clock.frozen(clock.now() + kept + timedelta(seconds=1)):
        assert purge_projects(session, kept)
        with pytest.raises(ProjectNotFound):  # it has begun
            restore_project(session, alice, project_id)
        while purge_projects(session, kept):
            pass
    session.expire_all()
    assert session.scalars(sa.select(Project)).all() == []
    assert session.scalars(sa.select(Chat.id)).all() == [chat_id]
    assert get_chat(session, alice, chat_id)["project_id"] is None


# ---- inheritance and live updates


def test_instructions_reach_the_model_before_those_of_the_chat(session: Session, alice: Actor) -> None:
    from tertulia.context.branch import PromptSource
    from tertulia.context.service import gather_context

    project_id = make_project(session, alice, instructions="Speak of gardens.")
    chat_id = put(session, alice, project_id)
    session.execute(sa.update(Chat).where(Chat.id == chat_id).values(system_prompt="Be short."))
    instructions = find_instructions(session, chat_id, alice.user_id)
    leaf = session.get_one(Chat, chat_id, populate_existing=True).head_message_id
    context = gather_context(session, PromptSource(chat_id, leaf, 8192, instructions=instructions))
    assert (context.messages[0].role, context.system_prompt) == ("system", "Speak of gardens.\n\nBe short.")
    delete_project(session, alice, project_id)
    assert find_instructions(session, chat_id, alice.user_id) is None


def test_instructions_are_only_for_members(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice, instructions="Speak of gardens.", default_model="openai/gpt")
    chat_id = put(session, alice, project_id)
    assert find_default_model(session, chat_id, alice.user_id) == "openai/gpt"
    # Bob may read and write the chat by a share, which tells him nothing of the project.
    body = ShareCreate.model_validate({"shared_with_user_id": bob.user_id, "permissions": {"can_write": True}})
    create_share(session, alice, chat_id, body)
    assert reads(session, bob, chat_id) == "write"
    assert get_chat(session, bob, chat_id)["project_id"] is None
    assert (find_instructions(session, chat_id, bob.user_id), find_default_model(session, chat_id, bob.user_id)) == (
        None,
        None,
    )


def test_changes_name_the_project_for_its_members(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    add(session, alice, project_id, bob)
    changes = session.execute(
        sa.select(Change.owner_id, Change.shared_id, Change.operation)
        .where(Change.entity == "project")
        .order_by(Change.seq)
    ).all()
    assert [tuple(change) for change in changes] == [
        (alice.user_id, project_id, "created"),
        (bob.user_id, None, "created"),
        (alice.user_id, project_id, "updated"),
    ]


# ---- search, export and import


def test_a_search_in_a_project_finds_the_chats_that_one_may_read(session: Session, alice: Actor, bob: Actor) -> None:
    from tertulia.search.service import SearchFilters, search
    from tests.factories.chats import add_message

    project_id = make_project(session, alice, "Kitchen Garden")
    add(session, alice, project_id, bob)
    opened, private = put(session, alice, project_id), put(session, alice, project_id, is_open=False)
    for chat_id in (opened, private):
        add_message(session, chat_id, "basil", owner=alice)
    add_message(session, ChatId(make_chat(session, owner=alice)), "basil", owner=alice)

    def search_of(actor: Actor, typed: str) -> set[str]:
        return {str(hit["chat"] and hit["chat"]["id"]) for hit in search(session, actor, typed, SearchFilters())[0]}

    assert search_of(alice, "basil in:garden") == {opened, private}
    assert search_of(bob, "basil in:GARDEN") == search_of(bob, "basil") == {opened}
    assert search_of(bob, "basil in:cellar") == set()


def test_a_chat_comes_back_into_its_project(session: Session, alice: Actor, bob: Actor) -> None:
    from tertulia.transfer.imported_chat import import_chat
    from tertulia.transfer.models import ImportJob
    from tertulia.transfer.native import encode_native, native_chat
    from tertulia.transfer.reader import native

    project_id = make_project(session, alice, "Garden", instructions="Be brief.")
    chat_id = put(session, alice, project_id)
    exported = json.loads(encode_native(native_chat(session, chat_id)))
    for actor, expected in ((bob, None), (bob, "same")):
        job_id = new_id()
        session.add(ImportJob(id=job_id, user_id=actor.user_id, file_name="x", size_bytes=1, storage_path="x"))
        session.flush()
        item = native.read(exported).model_copy(update={"id": new_id()})
        assert import_chat(session, actor, job_id, item, {}, LIMITS) == []
        (project,) = list_projects(session, actor, status=ProjectStatus.ACTIVE)  # made once, then found by its name
        assert (project["name"], project["instructions"], project["role"]) == ("Garden", "Be brief.", "owner")
        assert len(list_project_chats(session, actor, ProjectId(project["id"]))) == (2 if expected else 1)
