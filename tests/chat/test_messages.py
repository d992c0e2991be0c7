"""Tests for the message tree: nothing is overwritten, and every earlier text stays available."""

import threading

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import exc
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.chat.branches import delete_message, read_tree, restore_message
from tertulia.chat.counters import find_wrong_counters
from tertulia.chat.errors import NotInChat
from tertulia.chat.messages import check_in_chat
from tertulia.chat.models import MAX_THREAD_LEVEL, Chat, Message, MessageRole, MessageStatus
from tertulia.chat.parts import CodePart, Part, TextPart, flatten
from tertulia.chat.service import get_chat, get_message, list_messages, set_head
from tertulia.ids import ChatId, MessageId, new_id
from tests.factories.chats import add_message, make_chat
from tests.fakes.live_server import Client


def test_content_is_the_text_of_the_parts_joined_by_spaces() -> None:
    parts: list[Part] = [
        TextPart(text="Look at"),
        CodePart(language="typescript", code="let x = 1"),
        TextPart(text="please"),
    ]
    assert flatten(parts) == "Look at let x = 1 please"


def test_a_page_lists_messages_newest_first(session: Session, alice: Actor) -> None:
    chat_id = make_chat(session, owner=alice, messages=7)
    newest, older = list_messages(session, alice, chat_id, limit=3)
    assert [m["content"] for m in newest] == ["message 6", "message 5", "message 4"]
    rest, end = list_messages(session, alice, chat_id, leaf=MessageId(older or ""), limit=50)
    assert [m["content"] for m in rest] == [f"message {n}" for n in (3, 2, 1, 0)]
    assert end is None


def test_each_sibling_lists_all_siblings_oldest_first(session: Session, alice: Actor) -> None:
    chat_id = make_chat(session, owner=alice)
    root = add_message(session, chat_id, "root", owner=alice)
    replies = [add_message(session, chat_id, f"reply {n}", owner=alice, is_reply=True, after=root) for n in range(3)]
    other_root = add_message(session, chat_id, "other root", owner=alice, at_root=True)
    for reply in replies:
        page, _ = list_messages(session, alice, chat_id, leaf=reply)
        assert page[0]["sibling_ids"] == replies
        assert page[1]["sibling_ids"] == [root, other_root]


def test_setting_the_head_selects_the_newest_leaf_below_a_message(session: Session, alice: Actor) -> None:
    chat_id = make_chat(session, owner=alice)
    root = add_message(session, chat_id, "root", owner=alice)
    left = add_message(session, chat_id, "left", owner=alice, after=root)
    left_leaf = add_message(session, chat_id, "left leaf", owner=alice, after=left)
    right = add_message(session, chat_id, "right", owner=alice, after=root)
    assert set_head(session, alice, chat_id, left)["head_message_id"] == left_leaf
    assert set_head(session, alice, chat_id, root)["head_message_id"] == right


def test_messages_of_other_chats_are_refused_as_link_and_head(session: Session, alice: Actor) -> None:
    mine, other = make_chat(session, owner=alice, messages=1), make_chat(session, owner=alice, messages=1)
    foreign_id = MessageId(get_chat(session, alice, other)["head_message_id"] or "")
    with pytest.raises(NotInChat):
        check_in_chat(session, mine, foreign_id, field="previous_message_id")
    with pytest.raises(NotInChat):
        set_head(session, alice, mine, foreign_id)


@pytest.mark.parametrize("column", ["previous_message_id", "parent_message_id"])
def test_the_database_refuses_links_to_other_chats(session: Session, alice: Actor, column: str) -> None:
    mine, other = make_chat(session, owner=alice, messages=1), make_chat(session, owner=alice, messages=1)
    foreign_id = get_chat(session, alice, other)["head_message_id"]
    session.commit()
    session.add(
        Message(
            chat_id=mine,
            role=MessageRole.USER,
            status=MessageStatus.SENT,
            content="x",
            parts=[],
            **{column: foreign_id},
        )
    )
    with pytest.raises(exc.IntegrityError):
        session.commit()


def test_the_database_refuses_a_head_in_another_chat(session: Session, alice: Actor) -> None:
    mine, other = make_chat(session, owner=alice, messages=1), make_chat(session, owner=alice, messages=1)
    foreign_id = get_chat(session, alice, other)["head_message_id"]
    session.commit()
    with pytest.raises(exc.IntegrityError):  # on execute or on commit, depending on the engine
        session.execute(sa.update(Chat).where(Chat.id == mine).values(head_message_id=foreign_id))
        session.commit()


@pytest.mark.parametrize("level", [10, 11])
def test_the_database_refuses_threads_deeper_than_ten_levels(session: Session, alice: Actor, level: int) -> None:
    chat_id = make_chat(session, owner=alice)
    session.add(
        Message(
            chat_id=chat_id,
            role=MessageRole.USER,
            status=MessageStatus.SENT,
            content="x",
            parts=[],
            thread_level=level,
        )
    )
    if level > 10:
        with pytest.raises(exc.IntegrityError):
            session.flush()
    else:
        session.flush()


def test_deleting_a_parent_orphans_its_replies(session: Session, alice: Actor) -> None:
    chat_id = make_chat(session, owner=alice)
    parent, reply = new_id(), new_id()
    common = {
        "chat_id": chat_id,
        "role": MessageRole.USER,
        "status": MessageStatus.SENT,
        "content": "x",
        "parts": [],
    }
    session.add(Message(id=parent, **common))
    session.flush()
    session.add(Message(id=reply, parent_message_id=parent, thread_level=1, **common))
    session.flush()
    session.execute(sa.delete(Message).where(Message.id == parent))
    session.commit()
    assert session.scalars(sa.select(Message.parent_message_id).where(Message.id == reply)).one() is None


def test_an_edit_adds_a_sibling_and_keeps_the_original(ana: Client) -> None:
    chat = ana.chat()
    sent = ana.say(chat["id"], "frist", reply=False)
    edited = ana.api(
        "POST",
        f"/messages/{sent['message']['id']}/edit",
        json={"content": "first", "reply": False},
        expect=201,
    )
    assert edited["message"]["sibling_ids"] == [sent["message"]["id"], edited["message"]["id"]]
    assert ana.api("GET", f"/messages/{sent['message']['id']}")["content"] == "frist"
    assert [m["content"] for m in ana.api("GET", f"/chats/{chat['id']}/messages")["items"]] == ["first"]


def test_an_edit_in_place_keeps_the_last_fifty_texts(ana: Client) -> None:
    chat = ana.chat()
    message_id = ana.say(chat["id"], "wording 0", reply=False)["message"]["id"]
    for number in range(1, 53):
        ana.api(
            "POST",
            f"/messages/{message_id}/edit",
            json={"content": f"wording {number}", "in_place": True},
            expect=201,
        )
    message = ana.api("GET", f"/messages/{message_id}")
    assert (message["content"], message["edited"], message["sibling_ids"]) == (
        "wording 52",
        True,
        [message_id],
    )
    assert [edit["previous_content"] for edit in message["edit_history"]] == [f"wording {n}" for n in range(2, 52)]


def test_concurrent_messages_are_put_in_order_and_none_is_lost(ana: Client) -> None:
    chat = ana.chat()
    threads = [
        threading.Thread(target=ana.say, args=(chat["id"], f"from {n}"), kwargs={"reply": False}) for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    items = ana.api("GET", f"/chats/{chat['id']}/messages")["items"]
    assert sorted(m["content"] for m in items) == sorted(f"from {n}" for n in range(16))
    assert all(m["sibling_ids"] == [m["id"]] for m in items)
    assert ana.api("GET", f"/chats/{chat['id']}")["message_count"] == 16


@pytest.mark.parametrize(
    "body", [{"content": ""}, {"content": "  \n"}, {"parts": []}, {}, {"content": "a", "parts": []}]
)
def test_an_empty_message_is_refused(ana: Client, body: dict[str, object]) -> None:
    chat = ana.chat()
    ana.api("POST", f"/chats/{chat['id']}/messages", json=body, expect=422)
    assert ana.api("GET", f"/chats/{chat['id']}")["message_count"] == 0


class TreeMachine(RuleBasedStateMachine):
    """Random changes to a message tree, compared with a model in plain dictionaries."""

    session: Session
    alice: Actor

    def __init__(self) -> None:
        super().__init__()
        self.chat_id: ChatId = make_chat(self.session, owner=self.alice)
        self.previous: dict[MessageId, MessageId | None] = {}
        # Whether it was the head, the next head, and its followers.
        self.deleted: dict[MessageId, tuple[bool, MessageId | None, list[MessageId]]] = {}
        self.head: MessageId | None = None
        self.threads: dict[MessageId, list[MessageId]] = {}  # replies in order, by parent message
        self.levels: dict[MessageId, int] = {}
        self.orphaned: list[MessageId] = []

    @rule()
    def append(self) -> None:
        self._add(after=self.head)

    @rule(choice=st.integers(0, 10_000))
    def branch(self, choice: int) -> None:
        if self.shown:
            self._add(after=self.shown[choice % len(self.shown)])

    @rule(choice=st.integers(0, 10_000))
    def move_head(self, choice: int) -> None:
        if not self.shown:
            return
        message_id = self.shown[choice % len(self.shown)]
        self.head = self._newest_below(message_id)
        moved = set_head(self.session, self.alice, self.chat_id, message_id)
        assert moved["head_message_id"] == self.head

    @rule(choice=st.integers(0, 10_000))
    def delete(self, choice: int) -> None:
        if not self.shown:
            return
        message_id = self.shown[choice % len(self.shown)]
        before = self.previous[message_id]
        followers = [key for key, previous in self.previous.items() if previous == message_id]
        was_head = message_id == self.head
        self.deleted[message_id] = (was_head, None, followers)
        for follower in followers:
            self.previous[follower] = before
        if was_head:
            roots = [key for key in self.shown if self.previous[key] is None]
            anchor = before or max(roots, default=None)
            self.head = self._newest_below(anchor) if anchor else None
            self.deleted[message_id] = (True, self.head, followers)
        delete_message(self.session, self.alice, message_id)

    @rule(choice=st.integers(0, 10_000))
    def restore(self, choice: int) -> None:
        if not self.deleted:
            return
        message_id = list(self.deleted)[choice % len(self.deleted)]
        was_head, next_head, followers = self.deleted.pop(message_id)
        for follower in followers:
            if self.previous[follower] == self.previous[message_id]:
                self.previous[follower] = message_id
        if (was_head and self.head == next_head) or self.head is None:
            self.head = self._newest_below(message_id)
        restore_message(self.session, self.alice, message_id)

    @rule(choice=st.integers(0, 10_000))
    def reply_in_thread(self, choice: int) -> None:
        below = [key for key in [*self.shown, *self.replies] if self.levels.get(key, 0) < MAX_THREAD_LEVEL]
        if not below:
            return
        parent = below[-1 - choice % min(4, len(below))]  # one of the newest, so that threads become nested
        reply_id = add_message(self.session, self.chat_id, "x", owner=self.alice, in_thread_of=parent)
        self.threads.setdefault(parent, []).append(reply_id)
        self.levels[reply_id] = self.levels.get(parent, 0) + 1

    @precondition(lambda self: self.replies)
    @rule(choice=st.integers(0, 10_000))
    def delete_in_thread(self, choice: int) -> None:
        reply_id = self.replies[choice % len(self.replies)]
        for replies in self.threads.values():
            if reply_id in replies:
                replies.remove(reply_id)
        # Replies below it are no longer shown there, but are kept.
        self.orphaned += self.threads.pop(reply_id, [])
        delete_message(self.session, self.alice, reply_id)

    @precondition(lambda self: self.shown)
    @rule(choice=st.integers(0, 10_000))
    def delete_and_restore(self, choice: int) -> None:
        """Check that restoring a deleted message at once changes nothing."""
        message_id = self.shown[choice % len(self.shown)]
        before = read_tree(self.session, self.alice, self.chat_id)
        delete_message(self.session, self.alice, message_id)
        restore_message(self.session, self.alice, message_id)
        assert read_tree(self.session, self.alice, self.chat_id) == before
        if message_id == self.head:
            self.head = self._newest_below(message_id)

    @property
    def shown(self) -> list[MessageId]:
        return [key for key in self.previous if key not in self.deleted]

    @property
    def replies(self) -> list[MessageId]:
        return [reply for replies in self.threads.values() for reply in replies]

    def _newest_below(self, message_id: MessageId) -> MessageId:
        below = {message_id}
        for candidate in self.shown:  # in the order of creation, so parents come first
            if self.previous[candidate] in below:
                below.add(candidate)
        return MessageId(max(below))

    @invariant()
    def the_map_has_every_message_once(self) -> None:
        tree = read_tree(self.session, self.alice, self.chat_id)
        assert sum(segment["message_count"] for segment in tree) == len(self.shown)
        for segment in tree:
            steps, at = 1, segment["last"]["id"]
            while at != segment["first"]["id"]:
                at, steps = str(self.previous[MessageId(at)]), steps + 1
            assert steps == segment["message_count"]
            follows = segment["follows"]
            assert self.previous[MessageId(at)] == (None if follows is None else tree[follows]["last"]["id"])

    @invariant()
    def reading_page_by_page_gives_the_branch(self) -> None:
        expected, at = [], self.head
        while at is not None:
            expected.append(at)
            at = self.previous[at]
        message_ids, leaf = [], None
        while True:
            page, older = list_messages(self.session, self.alice, self.chat_id, leaf=leaf, limit=2)
            message_ids += [message["id"] for message in page]
            if older is None:
                break
            leaf = MessageId(older)
        assert message_ids == expected

    @invariant()
    def each_thread_is_read_page_by_page_and_counted(self) -> None:
        for parent, replies in self.threads.items():
            if parent in self.deleted:
                continue
            reply_ids, leaf = [], None
            while True:
                page, older = list_messages(self.session, self.alice, self.chat_id, parent=parent, leaf=leaf, limit=2)
                reply_ids += [message["id"] for message in page]
                if older is None:
                    break
                leaf = MessageId(older)
            assert reply_ids == replies[::-1]
            assert get_message(self.session, self.alice, parent)["reply_count"] == len(replies)

    @invariant()
    def every_message_is_counted(self) -> None:
        count = len(self.shown) + len(self.replies) + len(self.orphaned)
        assert get_chat(self.session, self.alice, self.chat_id)["message_count"] == count
        assert find_wrong_counters(self.session) == []

    def _add(self, *, after: MessageId | None) -> None:
        message_id = add_message(self.session, self.chat_id, "x", owner=self.alice, after=after)
        self.previous[message_id] = after
        self.head = message_id


def test_random_changes_to_a_tree_match_the_model(session: Session, alice: Actor) -> None:
    class Machine(TreeMachine):
        pass

    Machine.session, Machine.alice = session, alice
    run_state_machine_as_test(
        Machine,
        settings=hypothesis_settings(
            max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
