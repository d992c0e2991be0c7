"""Tests for threads next to a branch, the context a model gets in a thread, and reactions."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.chat.branches import delete_message, purge_messages, read_tree
from tertulia.chat.counters import find_wrong_counters
from tertulia.chat.errors import ThreadTooDeep
from tertulia.chat.messages import WrittenMessage, lock_chat, post_message
from tertulia.chat.models import MAX_THREAD_LEVEL, Message
from tertulia.chat.parts import TextPart
from tertulia.chat.reactions import is_emoji
from tertulia.chat.service import get_chat, get_message, list_messages
from tertulia.ids import MessageId
from tests.conftest import SignIn
from tests.factories.chats import add_message, make_chat
from tests.fakes.live_server import Client
from tests.fakes.scripted_provider import Finish, ScriptedProvider, Text
from tests.waiting import Listener


def thread(client: Client, chat_id: str, parent: str) -> list[str]:
    page = client.api("GET", f"/chats/{chat_id}/messages", params={"parent": parent})
    return [message["content"] for message in page["items"]][::-1]


def test_thread_replies_are_not_on_the_branch_and_keep_the_head(ana: Client) -> None:
    chat = ana.chat()
    root = ana.say(chat["id"], "root", reply=False)["message"]
    after = ana.say(chat["id"], "after", reply=False)["message"]
    listener = Listener(ana)
    first = ana.say(chat["id"], "one", reply=False, parent_message_id=root["id"])["message"]
    ana.say(chat["id"], "two", reply=False, parent_message_id=root["id"])
    assert (first["parent_message_id"], first["thread_level"], first["previous_message_id"]) == (root["id"], 1, None)
    assert thread(ana, chat["id"], root["id"]) == ["one", "two"]
    assert [message["content"] for message in ana.api("GET", f"/chats/{chat['id']}/messages")["items"]] == [
        "after",
        "root",
    ]
    assert ana.api("GET", f"/chats/{chat['id']}")["head_message_id"] == after["id"]
    assert ana.api("GET", f"/messages/{root['id']}")["reply_count"] == 2
    listener.wait_for(
        lambda: any(
            data.get("payload", {}).get("reply_count") == 2 for _, kind, data in listener.heard if kind == "change"
        )
    )


def test_a_model_in_a_thread_gets_the_branch_only_up_to_the_root(ana: Client, provider: ScriptedProvider) -> None:
    chat = ana.chat()
    ana.say(chat["id"], "before", reply=False)
    root = ana.say(chat["id"], "root", reply=False)["message"]
    ana.say(chat["id"], "after", reply=False)
    ana.say(chat["id"], "first in thread", reply=False, parent_message_id=root["id"])
    provider.play([Text("answer"), Finish()])
    sent = ana.say(chat["id"], "second in thread", parent_message_id=root["id"])
    ana.finished(sent["run"]["id"])
    (message,) = provider.requests[-1]["messages"]
    assert message["content"].split("\n\n") == ["before", "root", "first in thread", "second in thread"]
    assert thread(ana, chat["id"], root["id"]) == ["first in thread", "second in thread", "answer"]
    provider.play([Text("another"), Finish()])
    again = ana.api("POST", f"/messages/{sent['reply']['id']}/regenerate", json={}, expect=201)
    ana.finished(again["run"]["id"])
    assert thread(ana, chat["id"], root["id"])[-1] == "another"
    assert len(ana.api("GET", f"/messages/{again['reply']['id']}")["sibling_ids"]) == 2
    assert [item["content"] for item in ana.api("GET", f"/chats/{chat['id']}/messages")["items"]] == [
        "after",
        "root",
        "before",
    ]


def test_threads_deeper_than_ten_levels_are_refused(session: Session, alice: Actor) -> None:
    chat_id = make_chat(session, owner=alice)
    parent = add_message(session, chat_id, "root", owner=alice)
    text = WrittenMessage([TextPart(text="x")])
    for level in range(1, MAX_THREAD_LEVEL + 1):
        chat = lock_chat(session, alice, chat_id)
        parent = post_message(session, alice, chat, text, parent_message_id=parent)
        assert get_message(session, alice, parent)["thread_level"] == level
    with pytest.raises(ThreadTooDeep):
        post_message(session, alice, lock_chat(session, alice, chat_id), text, parent_message_id=parent)


def test_purging_a_message_keeps_its_replies_without_a_parent(session: Session, alice: Actor) -> None:
    chat_id = make_chat(session, owner=alice)
    root = add_message(session, chat_id, "root", owner=alice)
    text = WrittenMessage([TextPart(text="reply")])
    reply = post_message(session, alice, lock_chat(session, alice, chat_id), text, parent_message_id=root)
    delete_message(session, alice, root)
    assert [message["id"] for message in list_messages(session, alice, chat_id, parent=root)[0]] == [reply]
    session.execute(sa.update(Message).where(Message.id == root).values(updated_at=Message.updated_at))
    purge_messages(session, timedelta(0))
    orphan = get_message(session, alice, reply)
    assert (orphan["parent_message_id"], orphan["thread_level"]) == (None, 1)
    # The orphan is not a root: neither the tree nor the siblings of the first message include it.
    first = add_message(session, chat_id, "first", owner=alice, at_root=True)
    assert get_message(session, alice, first)["sibling_ids"] == [first]
    assert [segment["first"]["id"] for segment in read_tree(session, alice, chat_id)] == [first]
    assert [message["id"] for message in list_messages(session, alice, chat_id)[0]] == [first]
    assert get_chat(session, alice, chat_id)["message_count"] == 2
    assert find_wrong_counters(session) == []


def test_a_restored_thread_reply_does_not_become_the_head(ana: Client) -> None:
    chat = ana.chat()
    root = ana.say(chat["id"], "root", reply=False)["message"]
    reply = ana.say(chat["id"], "reply", reply=False, parent_message_id=root["id"])["message"]
    for message in (reply, root):
        ana.api("DELETE", f"/messages/{message['id']}", expect=204)
    ana.api("POST", f"/messages/{reply['id']}/restore")
    assert ana.api("GET", f"/chats/{chat['id']}")["head_message_id"] is None


def test_a_place_outside_the_thread_or_chat_is_refused(ana: Client) -> None:
    chat, other = ana.chat(), ana.chat()
    root = ana.say(chat["id"], "root", reply=False)["message"]
    elsewhere = ana.say(other["id"], "elsewhere", reply=False)["message"]
    inner = ana.say(chat["id"], "inner", reply=False, parent_message_id=root["id"])["message"]
    path = f"/chats/{chat['id']}/messages"
    for body in (
        {"parent_message_id": elsewhere["id"]},
        {"parent_message_id": root["id"], "previous_message_id": root["id"]},
        {"previous_message_id": inner["id"]},
    ):
        assert (
            ana.api("POST", path, json={"content": "x", "reply": False, **body}, expect=422)["code"]
            == "message_not_in_chat"
        )
    ana.api("PUT", f"/chats/{chat['id']}/head", json={"message_id": inner["id"]}, expect=422)


@pytest.mark.parametrize("emoji", ["👍", "❤️", "👩🏽‍🚀", "🇩🇪", "1️⃣", "↔️"])
def test_emoji_are_recognised(emoji: str) -> None:
    assert is_emoji(emoji)


@pytest.mark.parametrize("text", ["", "a", "👍a", "1", " ", "<b>", "🇩🇪" * 20, "\u200d"])
def test_other_texts_are_not_emoji(text: str) -> None:
    assert not is_emoji(text)


def test_reactions_are_added_removed_and_limited(ana: Client) -> None:
    chat = ana.chat()
    message = ana.say(chat["id"], "Look", reply=False)["message"]
    listener = Listener(ana)
    path = f"/messages/{message['id']}/reactions/"
    ana.api("PUT", path + "👍")
    ana.api("PUT", path + "👍")
    shown = ana.api("PUT", path + "🎉")["reactions"]
    assert shown == [{"emoji": emoji, "user_ids": [ana.user["id"]]} for emoji in ("🎉", "👍")]
    listener.wait_for(lambda: listener.changes.count(("message", "updated")) == 3)
    assert ana.api("DELETE", path + "🎉")["reactions"] == [{"emoji": "👍", "user_ids": [ana.user["id"]]}]
    assert ana.api("GET", f"/chats/{chat['id']}/messages")["items"][0]["reactions"][0]["emoji"] == "👍"
    assert ana.api("PUT", path + "no", expect=422)["code"] == "not_an_emoji"
    faces = [chr(0x1F600 + number) for number in range(20)]
    for face in faces[:19]:
        ana.api("PUT", path + face)
    assert ana.api("PUT", path + faces[19], expect=422)["code"] == "too_many_reactions"


def test_strangers_cannot_react(ana: Client, sign_in: SignIn) -> None:
    message = ana.say(ana.chat()["id"], "Look", reply=False)["message"]
    sign_in("bob").api("PUT", f"/messages/{message['id']}/reactions/👍", expect=404)
    assert MessageId(message["id"])
