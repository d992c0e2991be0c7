"""Test channels: who creates and deletes them, what is new in them to each person, and whom their messages name."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User
from tertulia.accounts.schemas import ShareCreate
from tertulia.chat import messages
from tertulia.chat.branches import delete_message, restore_message
from tertulia.chat.errors import ChannelHasNoBranches, ChatNotFound, NotInChat, NotYourChat, ShareTheProject
from tertulia.chat.message_hooks import message_changed
from tertulia.chat.models import Message, Visibility
from tertulia.chat.schemas import ChatUpdate
from tertulia.chat.service import get_chat, list_messages, set_head, update_chat
from tertulia.chat.shared_chats import create_share
from tertulia.ids import ChannelId, ChatId, MessageId, ProjectId, UserId, new_id
from tertulia.projects import channels
from tertulia.projects.channels import (
    create_channel,
    delete_channel,
    forget_mentions,
    get_channel,
    list_channels,
    mentioned,
    read_until,
    restore_channel,
    set_muted,
    update_channel,
)
from tertulia.projects.errors import (
    ChannelNameTaken,
    ChannelNotFound,
    LastChannel,
    NotYourProject,
    ReadOnlyProject,
    TooManyChannels,
)
from tertulia.projects.members import remove_member
from tertulia.projects.models import Mention
from tertulia.projects.schemas import ChannelCreate, ChannelRead, ChannelUpdate
from tertulia.projects.service import get_project
from tertulia.projects.unread import MAX_COUNTED, list_all_channels
from tertulia.runs.schemas import MessageCreate, MessageEdit
from tertulia.runs.service import RunOptions, edit_message, send_message
from tertulia.search.service import SearchFilters, search
from tests.factories.accounts import make_user
from tests.factories.projects import LIMITS, add_to, make_project

NO_MODELS = RunOptions(lambda _session, _actor: pytest.fail("no model replies in a channel"))


def make_channel(
    session: Session, actor: Actor, project_id: ProjectId, name: str = "seeds", **values: Any
) -> ChannelId:
    new = ChannelCreate(name=name, **values)
    return ChannelId(create_channel(session, actor, project_id, new, LIMITS)["id"])


def say(session: Session, actor: Actor, channel_id: ChannelId, text: str = "Hello", **fields: Any) -> MessageId:
    chat_id = ChatId(get_channel(session, actor, channel_id)["chat_id"])
    sent = send_message(session, actor, chat_id, MessageCreate(content=text, **fields), NO_MODELS)
    return MessageId(sent["message"]["id"])


@pytest.fixture
def project_id(session: Session, alice: Actor, bob: Actor) -> ProjectId:
    """Return a project of Alice with Bob as a member."""
    project_id = make_project(session, alice)
    add_to(session, alice, project_id, bob)
    return project_id


# ---- channels


def test_members_create_channels_and_viewers_and_strangers_do_not(
    session: Session, alice: Actor, bob: Actor, project_id: ProjectId
) -> None:
    viewer, stranger = (make_user(session, username=name) for name in ("vera", "zoe"))
    add_to(session, alice, project_id, viewer, role="viewer")
    channel_id = make_channel(session, bob, project_id, "#Seed  Swap", topic="Who has beans?")
    for actor in (alice, bob, viewer):
        shown = get_channel(session, actor, channel_id)
        assert (shown["name"], shown["topic"]) == ("seed-swap", "Who has beans?")
        assert [channel["name"] for channel in list_channels(session, actor, project_id)] == ["general", "seed-swap"]
    with pytest.raises(ReadOnlyProject):
        make_channel(session, viewer, project_id, "other")
    for call in _calls(channel_id):
        with pytest.raises(ChannelNotFound):
            call(session, stranger)
    assert list_all_channels(session, stranger) == []


def _calls(channel_id: ChannelId) -> list[Callable[[Session, Actor], object]]:
    return [
        lambda session, actor: get_channel(session, actor, channel_id),
        lambda session, actor: update_channel(session, actor, channel_id, ChannelUpdate(topic="x")),
        lambda session, actor: delete_channel(session, actor, channel_id),
        lambda session, actor: restore_channel(session, actor, channel_id),
        lambda session, actor: read_until(session, actor, channel_id, MessageId(new_id())),
        lambda session, actor: set_muted(session, actor, channel_id, is_muted=True),
    ]


def test_names_are_unique_in_a_project(session: Session, alice: Actor, project_id: ProjectId) -> None:
    channel_id = make_channel(session, alice, project_id)
    with pytest.raises(ChannelNameTaken):
        make_channel(session, alice, project_id, "SEEDS")
    with pytest.raises(ChannelNameTaken):
        update_channel(session, alice, channel_id, ChannelUpdate(name="General"))
    make_channel(session, alice, make_project(session, alice, "Kitchen"))
    renamed = update_channel(session, alice, channel_id, ChannelUpdate(name="seedlings"))
    assert get_chat(session, alice, ChatId(renamed["chat_id"]))["title"] == "seedlings"


@pytest.mark.parametrize("name", ["", " # ", "a@b", "a\nb\x00", "x" * 101, "ß" * 60, "ﷺ" * 10])
def test_a_channel_needs_a_name_that_can_be_written(name: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's
        ChannelCreate(name=name)


def test_the_number_of_channels_is_limited(
    session: Session, alice: Actor, project_id: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "MAX_CHANNELS", 2)
    make_channel(session, alice, project_id)
    with pytest.raises(TooManyChannels):
        make_channel(session, alice, project_id, "other")


def test_the_owner_deletes_a_channel_which_closes_at_once_and_comes_back(
    session: Session, alice: Actor, bob: Actor, project_id: ProjectId
) -> None:
    channel_id = make_channel(session, bob, project_id)
    chat_id = ChatId(get_channel(session, bob, channel_id)["chat_id"])
    message_id = say(session, bob, channel_id)
    with pytest.raises(NotYourProject):
        delete_channel(session, bob, channel_id)
    delete_channel(session, alice, channel_id)
    for actor in (alice, bob):
        with pytest.raises(ChannelNotFound):
            get_channel(session, actor, channel_id)
    with pytest.raises(ChatNotFound):
        get_chat(session, bob, chat_id)
    (deleted,) = list_channels(session, alice, project_id, in_trash=True)
    assert (deleted["id"], deleted["deleted_at"] is not None) == (channel_id, True)
    with pytest.raises(NotYourProject):
        list_channels(session, bob, project_id, in_trash=True)
    with pytest.raises(ChannelNameTaken):
        make_channel(session, alice, project_id)
    restore_channel(session, alice, channel_id)
    assert get_chat(session, bob, chat_id)["head_message_id"] == message_id
    (general,) = [channel for channel in list_channels(session, alice, project_id) if channel["name"] == "general"]
    delete_channel(session, alice, ChannelId(general["id"]))
    with pytest.raises(LastChannel):
        delete_channel(session, alice, channel_id)


# ---- one line of messages


def test_messages_of_a_channel_follow_one_another_for_everyone(
    session: Session, alice: Actor, bob: Actor, project_id: ProjectId
) -> None:
    channel_id = make_channel(session, alice, project_id)
    first, second = (say(session, actor, channel_id) for actor in (alice, bob))
    with pytest.raises(ChannelHasNoBranches):
        say(session, alice, channel_id, previous_message_id=first)
    with pytest.raises(ChannelHasNoBranches):
        edit_message(session, alice, first, MessageEdit(content="Other"), NO_MODELS)
    with pytest.raises(ChannelHasNoBranches):
        set_head(session, alice, ChatId(get_channel(session, alice, channel_id)["chat_id"]), first)
    third = say(session, alice, channel_id)
    before = sa.select(Message.previous_message_id).where(Message.id == third)
    assert session.scalar(before) == second
    changed = edit_message(session, alice, first, MessageEdit(content="Other", in_place=True), NO_MODELS)
    assert changed["message"]["content"] == "Other"


def test_a_new_message_has_the_greatest_id_even_if_another_clock_is_ahead(
    session: Session, alice: Actor, project_id: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel_id = make_channel(session, alice, project_id)
    ahead = "ffffff00" + new_id()[8:]
    monkeypatch.setattr(messages, "new_id", lambda: ahead)
    first = say(session, alice, channel_id)
    monkeypatch.undo()
    in_thread = say(session, alice, channel_id, parent_message_id=first)
    last = say(session, alice, channel_id)
    assert [first, in_thread, last] == sorted([first, in_thread, last])


def line_of(session: Session, channel_id: ChannelId, reader: Actor) -> list[str]:
    """Return the texts of a channel, oldest first, as its page shows them."""
    chat_id = ChatId(get_channel(session, reader, channel_id)["chat_id"])
    items, _ = list_messages(session, reader, chat_id, limit=100)
    return [message["content"] for message in reversed(items)]


@pytest.mark.parametrize("seed", range(8))
def test_deleted_and_restored_messages_stay_in_one_line(
    session: Session, alice: Actor, bob: Actor, project_id: ProjectId, seed: int
) -> None:
    rng = random.Random(seed)
    channel_id = make_channel(session, alice, project_id)
    written: dict[MessageId, str] = {}
    deleted: set[MessageId] = set()
    for number in range(40):
        shown = sorted(written.keys() - deleted)
        what = rng.choice(["say", "delete", "delete", "restore"])
        if what == "delete" and shown:
            message_id = rng.choice(shown)
            delete_message(session, alice, message_id)
            deleted.add(message_id)
        elif what == "restore" and deleted:
            message_id = rng.choice(sorted(deleted))
            assert restore_message(session, alice, message_id)["sibling_ids"] == [message_id]
            deleted.remove(message_id)
        else:
            written[say(session, rng.choice([alice, bob]), channel_id, f"{number}")] = f"{number}"
        expected = [written[message_id] for message_id in sorted(written.keys() - deleted)]
        assert line_of(session, channel_id, bob) == expected


def test_the_chat_of_a_channel_is_changed_only_as_a_channel(
    session: Session, alice: Actor, project_id: ProjectId
) -> None:
    channel_id = make_channel(session, alice, project_id)
    chat_id = ChatId(get_channel(session, alice, channel_id)["chat_id"])
    with pytest.raises(NotYourChat, match="page of its project"):
        update_chat(session, alice, chat_id, ChatUpdate(title="Other"))
    update_channel(session, alice, channel_id, ChannelUpdate(name="compost"))
    hits, _ = search(session, alice, "compost", SearchFilters(), limit=10)
    assert [hit["chat"]["id"] for hit in hits] == [chat_id]


def test_a_channel_is_read_by_the_members_and_not_shared_with_others(
    session: Session, alice: Actor, project_id: ProjectId
) -> None:
    make_user(session, username="zoe")
    chat_id = ChatId(get_channel(session, alice, make_channel(session, alice, project_id))["chat_id"])
    for new in (ShareCreate(), ShareCreate(shared_with_username="zoe")):
        with pytest.raises(ShareTheProject):
            create_share(session, alice, chat_id, new)
    with pytest.raises(NotYourChat, match="page of its project"):
        update_chat(session, alice, chat_id, ChatUpdate(visibility=Visibility.PUBLIC))


# ---- what is new


def counts(channel: ChannelRead) -> tuple[int, int]:
    return channel["unread_count"], channel["mention_count"]


def test_what_others_wrote_since_one_joined_is_unread_until_it_is_read(
    session: Session, alice: Actor, bob: Actor, project_id: ProjectId
) -> None:
    channel_id = make_channel(session, alice, project_id)
    say(session, alice, channel_id, "Before Carol")
    carol = make_user(session, username="carol")
    add_to(session, alice, project_id, carol)
    written = [say(session, alice, channel_id, text) for text in ("One", "Two @carol", "Three @channel")]
    say(session, bob, channel_id, "A reply for @carol", parent_message_id=written[0])
    # Threads are not counted, but who is mentioned in them.
    assert [counts(get_channel(session, actor, channel_id)) for actor in (alice, bob, carol)] == [
        (0, 0),
        (4, 1),
        (3, 3),
    ]
    assert counts(read_until(session, carol, channel_id, written[1])) == (1, 2)
    assert counts(read_until(session, carol, channel_id, written[0])) == (1, 2)  # an older window says less
    delete_message(session, alice, written[2])
    assert counts(get_channel(session, carol, channel_id)) == (0, 1)
    (channel,) = [item for item in list_all_channels(session, carol) if item["id"] == channel_id]
    assert channel == get_channel(session, carol, channel_id)
    general = next(item for item in list_channels(session, alice, project_id) if item["name"] == "general")
    with pytest.raises(NotInChat):
        read_until(session, carol, ChannelId(general["id"]), written[0])


def test_at_most_a_hundred_are_counted(session: Session, alice: Actor, bob: Actor, project_id: ProjectId) -> None:
    channel_id = make_channel(session, alice, project_id)
    for number in range(MAX_COUNTED + 1):
        say(session, alice, channel_id, "@bob")
        expected = min(number + 1, MAX_COUNTED)
        if number in (0, MAX_COUNTED - 1, MAX_COUNTED):
            assert counts(get_channel(session, bob, channel_id)) == (expected, expected)


def test_muting_is_for_oneself(session: Session, alice: Actor, bob: Actor, project_id: ProjectId) -> None:
    channel_id = make_channel(session, alice, project_id)
    message_id = say(session, alice, channel_id)
    read_until(session, bob, channel_id, message_id)
    assert set_muted(session, bob, channel_id, is_muted=True)["last_read_id"] == message_id
    assert [get_channel(session, actor, channel_id)["is_muted"] for actor in (alice, bob)] == [False, True]
    assert not set_muted(session, bob, channel_id, is_muted=False)["is_muted"]


@pytest.mark.parametrize("seed", range(6))
def test_counts_of_random_histories_equal_a_recount(
    session: Session, alice: Actor, bob: Actor, project_id: ProjectId, seed: int
) -> None:
    rng = random.Random(seed)
    channel_id = make_channel(session, alice, project_id)
    people = {"alice": alice, "bob": bob, "carol": make_user(session, username="carol")}
    inside: dict[str, str] = {"alice": "", "bob": ""}  # with the newest message that each has read
    written: list[tuple[MessageId, str, str]] = []  # id, author, text
    for _ in range(60):
        name = rng.choice(sorted(inside))
        match rng.choice(["say", "say", "say", "edit", "delete", "read", "join"]):
            case "say":
                text = rng.choice(["Hello", "@bob", "@carol and @bob.", "@everyone @bob", "me@bob.example"])
                written.append((say(session, people[name], channel_id, text), name, text))
                inside[name] = written[-1][0]  # who writes has read until there
            case "edit" if written:
                at = rng.randrange(len(written))
                message_id, author, _ = written[at]
                if author in inside:
                    edit = MessageEdit(content="@carol", in_place=True)
                    edit_message(session, people[author], message_id, edit, NO_MODELS)
                    written[at] = (message_id, author, "@carol")
            case "delete" if written:
                message_id, author, _ = written.pop(rng.randrange(len(written)))
                delete_message(session, people["alice"], message_id)
            case "read" if written:
                message_id = rng.choice(written)[0]
                read_until(session, people[name], channel_id, message_id)
                inside[name] = max(inside[name], message_id)
            case "join":
                if "carol" in inside:
                    remove_member(session, alice, project_id, UserId(people["carol"].user_id))
                    del inside["carol"]
                else:
                    add_to(session, alice, project_id, people["carol"])
                    read = get_channel(session, people["carol"], channel_id)["last_read_id"]
                    inside["carol"] = read
    for name, last_read in inside.items():
        new = [(author, text) for message_id, author, text in written if message_id > last_read and author != name]
        naming = [text for _, text in new if name in {*_names(text)} or "@everyone" in text]
        assert counts(get_channel(session, people[name], channel_id)) == (len(new), len(naming)), name


def _names(text: str) -> list[str]:
    return [word.strip("@.") for word in text.split() if word.startswith("@")]


# ---- mentions


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("@ana, come", {"ana"}),
        ("Ask @Ana.Maria.", {"ana.maria", "ana.maria."}),
        ("mail a@b.example or x@y", set()),
        ("(@ana) /@bob @@carol", {"ana"}),
        ("@", set()),
        ("`@ana` ```py\n@bob\n``` @carol", {"carol"}),
        ("```\n@ana", set()),
    ],
)
def test_names_after_an_at_sign_are_found(text: str, names: set[str]) -> None:
    assert {name.rstrip(".") for name in mentioned(text)} == {name.rstrip(".") for name in names}


def test_a_person_is_mentioned_once_by_a_message(
    session: Session, alice: Actor, bob: Actor, project_id: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel_id = make_channel(session, alice, project_id)
    message_id = say(session, alice, channel_id, "@bob @BOB @channel @everyone")
    assert counts(get_channel(session, bob, channel_id)) == (1, 1)
    # What happens to its files changes nothing of its words.
    chat_id = get_channel(session, bob, channel_id)["chat_id"]
    for is_deleted in (True, False):
        message_changed(session, chat_id, message_id, is_deleted=is_deleted)
        assert counts(get_channel(session, bob, channel_id)) == (1, 1)
    monkeypatch.setattr(channels, "FEW_KEYS", 2)
    say(session, alice, channel_id, "@one @two @three @bob")
    assert counts(get_channel(session, bob, channel_id)) == (2, 2)
    assert forget_mentions(session, bob.user_id)
    assert not forget_mentions(session, bob.user_id)
    assert counts(get_channel(session, bob, channel_id)) == (2, 1)  # everyone


def test_only_members_are_mentioned(session: Session, alice: Actor, bob: Actor, project_id: ProjectId) -> None:
    make_user(session, username="zoe")
    channel_id = make_channel(session, alice, project_id)
    message_id = say(session, alice, channel_id, "@zoe @bob @alice `@channel`")
    named = sa.select(User.username).join(Mention, Mention.user_id == User.id).where(Mention.message_id == message_id)
    assert sorted(session.scalars(named)) == ["alice", "bob"]
    assert counts(get_channel(session, alice, channel_id)) == (0, 0)  # her own message


def test_those_who_left_are_asked_to_read_nothing(
    session: Session, alice: Actor, bob: Actor, project_id: ProjectId
) -> None:
    channel_id = make_channel(session, alice, project_id)
    remove_member(session, alice, project_id, UserId(bob.user_id))
    say(session, alice, channel_id, "@bob")
    assert list_all_channels(session, bob) == []
    add_to(session, alice, project_id, bob)
    assert counts(get_channel(session, bob, channel_id)) == (0, 0)
    assert get_project(session, bob, project_id)["channels"] is not None
