"""Test projects: one transaction, who belongs, what members read and write, and what is left after they leave."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import MemberRole, Membership
from tertulia.accounts.schemas import ShareCreate
from tertulia.chat.errors import NotMovable, NotYourChat, TooManyOpenChats
from tertulia.chat.models import Chat, ChatKind
from tertulia.chat.project_chats import MAX_OPEN_CHATS, list_project_chats, require_place
from tertulia.chat.service import (
    delete_chat,
    get_chat,
    list_chats,
)
from tertulia.chat.shared_chats import create_share
from tertulia.errors import Invalid
from tertulia.ids import ChatId, ProjectId, UserId, new_id
from tertulia.projects import members, service
from tertulia.projects.errors import (
    NotYourProject,
    ProjectNotFound,
    ReadOnlyProject,
    TooManyMembers,
    TooManyProjects,
)
from tertulia.projects.members import list_members, remove_member, update_member
from tertulia.projects.models import Channel, Project, ProjectStatus
from tertulia.projects.queries import ProjectDefaults, find_defaults
from tertulia.projects.schemas import MemberUpdate, ProjectCreate, ProjectUpdate
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
from tertulia.transfer.native import native_chat
from tests.factories.accounts import make_user
from tests.factories.chats import make_chat
from tests.factories.projects import LIMITS, access_to, add_to, make_project, put_new_chat

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

    monkeypatch.setattr(service, "insert_channel", fail)
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
    add_to(session, alice, first, make_user(session, username="carol"))
    with pytest.raises(TooManyMembers):
        add_to(session, alice, first, make_user(session, username="dave"))
    assert ProjectCreate(name="x" * 100, instructions="x" * 10_000)
    for values in ({"name": "x" * 101}, {"name": " "}, {"name": "a\nb"}, {"name": "x", "instructions": "x" * 10_001}):
        with pytest.raises(ValidationError):
            ProjectCreate(**values)


# ---- who may do what


def test_strangers_find_nothing(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    chat_id = put_new_chat(session, alice, project_id)
    calls: list[Callable[[], object]] = [
        lambda: get_project(session, bob, project_id),
        lambda: update_project(session, bob, project_id, ProjectUpdate(name="Mine")),
        lambda: delete_project(session, bob, project_id),
        lambda: list_members(session, bob, project_id, after=None, limit=10),
        lambda: add_to(session, bob, project_id, bob),
        lambda: remove_member(session, bob, project_id, UserId(alice.user_id)),
        lambda: put_new_chat(session, bob, project_id),
        lambda: get_project(session, bob, ProjectId(new_id())),
    ]
    for call in calls:
        with pytest.raises(ProjectNotFound):
            call()
    with pytest.raises(Invalid, match="do not belong"):
        list_project_chats(session, bob, project_id)
    assert access_to(session, bob, chat_id) is None
    assert list_projects(session, bob, status=ProjectStatus.ACTIVE) == []


def test_only_the_owner_changes_a_project(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    calls: list[Callable[[], object]] = [
        lambda: update_project(session, bob, project_id, ProjectUpdate(name="Mine")),
        lambda: delete_project(session, bob, project_id),
        lambda: add_to(session, bob, project_id, bob),
        lambda: update_member(session, bob, project_id, UserId(bob.user_id), MemberUpdate(role=MemberRole.OWNER)),
        lambda: remove_member(session, bob, project_id, UserId(alice.user_id)),
    ]
    for call in calls:
        with pytest.raises(NotYourProject):
            call()


def test_open_chats_are_read_by_viewers_and_written_by_members(session: Session, alice: Actor, bob: Actor) -> None:
    carol = make_user(session, username="carol")
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    add_to(session, alice, project_id, carol, "viewer")
    opened, private = put_new_chat(session, alice, project_id), put_new_chat(session, alice, project_id, is_open=False)
    assert [access_to(session, actor, opened) for actor in (alice, bob, carol)] == ["write", "write", "read"]
    assert [access_to(session, actor, private) for actor in (alice, bob, carol)] == ["write", None, None]
    assert [chat["id"] for chat in list_project_chats(session, bob, project_id)] == [opened]
    assert {chat["id"] for chat in list_project_chats(session, alice, project_id)} == {opened, private}
    shown = get_chat(session, bob, opened)
    assert (shown["project_id"], shown["owner"] is not None, shown["system_prompt"]) == (project_id, True, None)
    with pytest.raises(NotYourChat):
        put_chat(session, bob, project_id, opened, is_open=False)
    with pytest.raises(ReadOnlyProject):
        put_new_chat(session, carol, project_id)
    # Channels and the chats of others are not among the own ones.
    assert list_chats(session, bob) == []


def test_what_members_may_do_follows_role_and_status_at_once(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    chat_id = put_new_chat(session, alice, project_id)
    update_member(session, alice, project_id, UserId(bob.user_id), MemberUpdate(role=MemberRole.VIEWER))
    assert access_to(session, bob, chat_id) == "read"
    update_member(session, alice, project_id, UserId(bob.user_id), MemberUpdate(role=MemberRole.MEMBER))
    update_project(session, alice, project_id, ProjectUpdate(is_archived=True))
    assert (access_to(session, bob, chat_id), access_to(session, alice, chat_id)) == ("read", "write")
    update_project(session, alice, project_id, ProjectUpdate(is_archived=False))
    assert access_to(session, bob, chat_id) == "write"
    delete_project(session, alice, project_id)
    assert (access_to(session, bob, chat_id), access_to(session, alice, chat_id)) == (None, "write")
    with pytest.raises(ProjectNotFound):
        get_project(session, bob, project_id)
    assert [item["id"] for item in list_projects(session, alice, status=ProjectStatus.DELETED)] == [project_id]
    restore_project(session, alice, project_id)
    assert access_to(session, bob, chat_id) == "write"
    update_project(session, alice, project_id, ProjectUpdate(is_archived=True))
    delete_project(session, alice, project_id)
    assert restore_project(session, alice, project_id)["status"] is ProjectStatus.ARCHIVED
    assert access_to(session, bob, chat_id) == "read"


def test_a_chat_is_in_one_project_at_a_time(session: Session, alice: Actor, bob: Actor) -> None:
    first, second = make_project(session, alice, "First"), make_project(session, alice, "Second")
    add_to(session, alice, first, bob)
    chat_id = put_new_chat(session, alice, first)
    assert access_to(session, bob, chat_id) == "write"
    put_chat(session, alice, second, chat_id, is_open=True)
    assert access_to(session, bob, chat_id) is None
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
    with pytest.raises(NotYourChat, match="the page of its project"):
        delete_chat(session, alice, channel)
    about_draft = ChatId(make_chat(session, owner=alice))
    session.execute(sa.update(Chat).where(Chat.id == about_draft).values(kind=ChatKind.DRAFT))
    with pytest.raises(NotMovable):
        put_chat(session, alice, project_id, about_draft, is_open=True)


def test_the_number_of_open_chats_is_limited(session: Session, alice: Actor) -> None:
    project_id = make_project(session, alice)  # its channel is open
    row = {"user_id": alice.user_id, "title": "Bed", "project_id": project_id, "is_open_to_project": True}
    session.execute(sa.insert(Chat), [row | {"id": new_id()} for _ in range(MAX_OPEN_CHATS - 2)])
    last = put_new_chat(session, alice, project_id)
    with pytest.raises(TooManyOpenChats):
        put_new_chat(session, alice, project_id)
    with pytest.raises(TooManyOpenChats):
        require_place(session, alice, project_id, is_open=True)
    require_place(session, alice, project_id, is_open=False)
    put_new_chat(session, alice, project_id, is_open=False)
    put_chat(session, alice, project_id, last, is_open=True)  # it is one of them already


# ---- the trash


def test_a_project_is_purged_with_its_channels_and_without_its_chats(session: Session, alice: Actor) -> None:
    project_id = make_project(session, alice)
    chat_id = put_new_chat(session, alice, project_id)
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
    chat_id = put_new_chat(session, alice, project_id)
    session.execute(sa.update(Chat).where(Chat.id == chat_id).values(system_prompt="Be short."))
    instructions = find_defaults(session, project_id, alice.user_id).instructions
    leaf = session.get_one(Chat, chat_id, populate_existing=True).head_message_id
    context = gather_context(session, PromptSource(chat_id, leaf, 8192, instructions=instructions))
    assert (context.messages[0].role, context.system_prompt) == ("system", "Speak of gardens.\n\nBe short.")
    delete_project(session, alice, project_id)
    assert find_defaults(session, project_id, alice.user_id) == ProjectDefaults()


def test_instructions_are_only_for_members(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice, instructions="Speak of gardens.", default_model="openai/gpt")
    chat_id = put_new_chat(session, alice, project_id)
    assert find_defaults(session, project_id, alice.user_id).default_model == "openai/gpt"
    # Bob may read and write the chat by a share, which tells him nothing of the project.
    body = ShareCreate.model_validate({"shared_with_user_id": bob.user_id, "permissions": {"can_write": True}})
    create_share(session, alice, chat_id, body)
    assert access_to(session, bob, chat_id) == "write"
    assert get_chat(session, bob, chat_id)["project_id"] is None
    assert find_defaults(session, project_id, bob.user_id) == ProjectDefaults()


def test_changes_name_the_project_for_its_members(session: Session, alice: Actor, bob: Actor) -> None:
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
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
    add_to(session, alice, project_id, bob)
    opened, private = put_new_chat(session, alice, project_id), put_new_chat(session, alice, project_id, is_open=False)
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
    from tertulia.transfer.native import encode_native
    from tertulia.transfer.reader import native

    project_id = make_project(session, alice, "Garden", instructions="Be brief.")
    chat_id = put_new_chat(session, alice, project_id)
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
