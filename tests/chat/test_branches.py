"""Tests for branches: deleting and restoring messages, the tree, forks, and several models at once."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.row_limits import RowLimits, StorageLimit
from tertulia.chat.branches import delete_message, fork_chat, purge_messages, read_tree
from tertulia.chat.counters import find_wrong_counters
from tertulia.chat.models import Message
from tertulia.chat.service import get_chat, list_messages
from tertulia.files.queries import used_bytes
from tertulia.ids import ChatId, MessageId
from tests.conftest import SignIn
from tests.factories.chats import add_message, make_chat
from tests.fakes.live_server import Client
from tests.fakes.scripted_provider import Finish, Hold, ScriptedProvider, Step, Text
from tests.waiting import Listener, until


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    provider = ScriptedProvider(models=["scripted", "scripted-2", "m2", "m3", "m4"])
    yield provider
    provider.close()


def contents(client: Client, chat_id: str, **params: str) -> list[str]:
    return [message["content"] for message in client.api("GET", f"/chats/{chat_id}/messages", params=params)["items"]][
        ::-1
    ]


def test_a_deleted_message_leaves_its_branch_and_can_be_restored(ana: Client) -> None:
    chat = ana.chat()
    sent = [ana.say(chat["id"], str(number), reply=False)["message"] for number in range(3)]
    ana.api("DELETE", f"/messages/{sent[1]['id']}", expect=204)
    assert contents(ana, chat["id"]) == ["0", "2"]
    assert ana.api("GET", f"/chats/{chat['id']}")["message_count"] == 2
    ana.api("GET", f"/messages/{sent[1]['id']}", expect=404)
    ana.api("DELETE", f"/messages/{sent[1]['id']}", expect=404)
    # A client that pages from the deleted message can continue.
    assert contents(ana, chat["id"], leaf=sent[1]["id"], limit="1") == ["0"]
    assert ana.api("POST", f"/messages/{sent[1]['id']}/restore")["content"] == "1"
    assert contents(ana, chat["id"]) == ["0", "1", "2"]
    assert ana.api("POST", f"/messages/{sent[1]['id']}/restore")["content"] == "1"


def test_deleting_the_shown_reply_shows_its_sibling(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("first"), Finish()], [Text("second"), Finish()])
    chat = ana.chat()
    first = ana.say(chat["id"], "Choose")
    ana.finished(first["run"]["id"])
    second = ana.api("POST", f"/messages/{first['reply']['id']}/regenerate", json={}, expect=201)
    ana.finished(second["run"]["id"])
    usage = ana.api("GET", "/usage")["items"]
    ana.api("DELETE", f"/messages/{second['reply']['id']}", expect=204)
    page = ana.api("GET", f"/chats/{chat['id']}/messages")["items"]
    assert [message["content"] for message in page] == ["first", "Choose"]
    assert page[0]["sibling_ids"] == [first["reply"]["id"]]
    assert usage
    assert ana.api("GET", "/usage")["items"] == usage


def test_siblings_of_a_deleted_message_become_siblings_of_its_followers(ana: Client) -> None:
    chat = ana.chat()
    ana.say(chat["id"], "root", reply=False)
    deleted = ana.say(chat["id"], "a", reply=False)["message"]
    follows = ana.say(chat["id"], "b", reply=False)["message"]
    other = ana.api("POST", f"/messages/{deleted['id']}/edit", json={"content": "c", "reply": False}, expect=201)
    ana.api("DELETE", f"/messages/{deleted['id']}", expect=204)
    assert ana.api("GET", f"/messages/{follows['id']}")["sibling_ids"] == [follows["id"], other["message"]["id"]]


def test_deleting_a_streaming_reply_cancels_its_run(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("begun"), Hold(), Finish()])
    chat = ana.chat()
    sent = ana.say(chat["id"], "Go on")
    until(lambda: ana.api("GET", f"/messages/{sent['reply']['id']}")["status"] == "streaming")
    ana.api("DELETE", f"/messages/{sent['reply']['id']}", expect=204)
    assert ana.api("GET", f"/runs/{sent['run']['id']}")["status"] == "cancelled"
    assert contents(ana, chat["id"]) == ["Go on"]
    assert ana.api("POST", f"/messages/{sent['reply']['id']}/restore")["status"] == "interrupted"


def test_deleting_a_message_sends_events_for_all_moved_messages(ana: Client) -> None:
    chat = ana.chat()
    sent = [ana.say(chat["id"], str(number), reply=False)["message"] for number in range(3)]
    listener = Listener(ana)
    ana.api("DELETE", f"/messages/{sent[1]['id']}", expect=204)
    listener.wait_for(lambda: ("message", "deleted") in listener.changes)
    at = listener.changes.index(("message", "deleted"))
    listener.wait_for(lambda: ("chat", "updated") in listener.changes[at:])
    changes = [data for _, kind, data in listener.heard if kind == "change"]
    changes = changes[at:]  # the stream may start with changes committed just before it
    assert [(change["entity"], change["operation"], change["entity_id"]) for change in changes] == [
        ("message", "deleted", sent[1]["id"]),
        ("message", "updated", sent[2]["id"]),
        ("chat", "updated", chat["id"]),
    ]
    assert changes[1]["payload"]["previous_message_id"] == sent[0]["id"]


def test_old_deleted_messages_are_purged(session: Session, alice: Actor) -> None:
    chat_id = make_chat(session, owner=alice, messages=4)
    page, _ = list_messages(session, alice, chat_id)
    deleted_id = MessageId(page[1]["id"])
    delete_message(session, alice, deleted_id)
    assert purge_messages(session, timedelta(days=1)) == 0
    assert purge_messages(session, timedelta(days=-1)) == 1
    assert session.scalar(sa.select(sa.func.count()).select_from(Message)) == 3
    assert [message["content"] for message in list_messages(session, alice, chat_id)[0]] == [
        "message 3",
        "message 1",
        "message 0",
    ]
    assert find_wrong_counters(session) == []


def test_the_tree_shows_each_fork(session: Session, alice: Actor) -> None:
    chat_id = make_chat(session, owner=alice)
    root = add_message(session, chat_id, "root", owner=alice)
    first = add_message(session, chat_id, "first", owner=alice, is_reply=True)
    add_message(session, chat_id, "below the first", owner=alice)
    second = add_message(session, chat_id, "second " + "x" * 200, owner=alice, is_reply=True, after=root)
    tree = read_tree(session, alice, chat_id)
    assert [(segment["first"]["id"], segment["message_count"], segment["follows"]) for segment in tree] == [
        (root, 1, None),
        (first, 2, 0),
        (second, 1, 0),
    ]
    assert tree[1]["last"]["excerpt"] == "below the first"
    assert len(tree[2]["first"]["excerpt"]) == 80


def test_a_long_branch_is_forked_into_a_new_chat(session: Session, alice: Actor) -> None:
    chat_id = make_chat(session, owner=alice, messages=1203, title="T" * 200)
    page, _ = list_messages(session, alice, chat_id, limit=200)
    last = page[2]
    copied = ChatId(
        fork_chat(session, alice, MessageId(last["id"]), RowLimits(), storage=StorageLimit(2**30, used_bytes))["id"]
    )
    chat = get_chat(session, alice, copied)
    assert (chat["message_count"], chat["title"]) == (1201, ("Branch of " + "T" * 200)[:200])
    contents_read: list[str] = []
    leaf: MessageId | None = None
    while True:
        messages, older = list_messages(session, alice, copied, leaf=leaf, limit=200)
        contents_read += [message["content"] for message in messages]
        if older is None:
            break
        leaf = MessageId(older)
    assert contents_read[::-1] == [f"message {number}" for number in range(1201)]
    assert find_wrong_counters(session) == []
    assert get_chat(session, alice, chat_id)["message_count"] == 1203


def test_a_fork_continues_independently(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("held"), Hold(), Finish()])
    chat = ana.chat(system_prompt="Be brief.")
    sent = ana.say(chat["id"], "Hello")
    until(lambda: ana.api("GET", f"/messages/{sent['reply']['id']}")["status"] == "streaming")
    copy = ana.api("POST", f"/messages/{sent['reply']['id']}/fork", expect=201)
    provider.release()
    ana.finished(sent["run"]["id"])
    assert copy["system_prompt"] == "Be brief."
    page = ana.api("GET", f"/chats/{copy['id']}/messages")["items"]
    assert [message["status"] for message in page] == ["interrupted", "delivered"]  # the run stays in the first chat
    again = ana.say(copy["id"], "And now?")
    assert ana.finished(again["run"]["id"])["status"] == "completed"
    assert ana.api("GET", f"/chats/{chat['id']}")["message_count"] == 2


def test_several_models_answer_one_message(ana: Client, provider: ScriptedProvider) -> None:
    held: list[Step] = [Text("held"), Hold(), Finish()]
    provider.play(held, held)
    chat = ana.chat()
    models = [{"provider": "openai", "model_name": name} for name in ("scripted", "scripted-2")]
    sent = ana.api("POST", f"/chats/{chat['id']}/messages", json={"content": "Both", "models": models}, expect=201)
    assert (sent["reply"]["model_name"], sent["others"][0]["reply"]["model_name"]) == ("scripted", "scripted-2")
    both = [sent["reply"]["id"], sent["others"][0]["reply"]["id"]]
    assert sent["reply"]["sibling_ids"] == both
    assert ana.api("GET", f"/chats/{chat['id']}")["head_message_id"] == both[0]
    until(lambda: provider.open_streams == 2)
    later = ana.say(chat["id"], "Later")
    assert ana.api("GET", f"/runs/{later['run']['id']}")["status"] == "queued"
    provider.release()
    for run in (sent["run"], sent["others"][0]["run"], later["run"]):
        assert ana.finished(run["id"])["status"] == "completed"
    again = ana.api("POST", f"/messages/{both[0]}/regenerate", json={"models": models}, expect=201)
    assert len(again["reply"]["sibling_ids"]) == 4
    for run in (again["run"], again["others"][0]["run"]):
        ana.finished(run["id"])


@pytest.mark.parametrize("count", [4, 5])
def test_a_message_is_sent_to_at_most_four_models(ana: Client, provider: ScriptedProvider, count: int) -> None:
    models = [{"provider": "openai", "model_name": name} for name in provider.models[:count]]
    body = {"content": "All", "models": models}
    ana.api("POST", f"/chats/{ana.chat()['id']}/messages", json=body, expect=201 if count == 4 else 422)


def test_duplicate_and_conflicting_model_choices_are_refused(ana: Client) -> None:
    model = {"provider": "openai", "model_name": "scripted"}
    chat = ana.chat()
    wrong: list[dict[str, Any]] = [{"models": [model, model]}, {"models": []}, {"models": [model], "reply": False}]
    for body in wrong:
        ana.api("POST", f"/chats/{chat['id']}/messages", json={"content": "x"} | body, expect=422)
    sent = ana.say(chat["id"], "x")
    ana.finished(sent["run"]["id"])
    ana.api("POST", f"/messages/{sent['reply']['id']}/regenerate", json={"models": [model]} | model, expect=422)


def test_reading_through_a_message_ends_at_its_newest_leaf(ana: Client) -> None:
    chat = ana.chat()
    first = ana.say(chat["id"], "1", reply=False)["message"]
    ana.say(chat["id"], "1.1", reply=False)
    ana.api("POST", f"/messages/{first['id']}/edit", json={"content": "2", "reply": False}, expect=201)
    assert contents(ana, chat["id"]) == ["2"]
    assert contents(ana, chat["id"], through=first["id"]) == ["1", "1.1"]


def test_strangers_cannot_fork_delete_or_restore_messages(ana: Client, sign_in: SignIn) -> None:
    bob = sign_in("bob")
    message = ana.say(ana.chat()["id"], "mine", reply=False)["message"]
    for method, path in (("POST", "fork"), ("POST", "restore"), ("DELETE", "")):
        bob.api(method, f"/messages/{message['id']}/{path}".rstrip("/"), expect=404)
    ana.api("DELETE", f"/messages/{message['id']}", expect=204)
    bob.api("POST", f"/messages/{message['id']}/restore", expect=404)


def test_restoring_a_message_keeps_the_head_on_newer_messages(ana: Client) -> None:
    chat = ana.chat()
    sent = [ana.say(chat["id"], str(number), reply=False)["message"] for number in range(2)]
    ana.api("DELETE", f"/messages/{sent[1]['id']}", expect=204)
    ana.say(chat["id"], "later", reply=False)
    ana.api("POST", f"/messages/{sent[1]['id']}/restore")
    assert contents(ana, chat["id"]) == ["0", "later"]
    assert contents(ana, chat["id"], through=sent[1]["id"]) == ["0", "1"]


def test_deleting_a_message_cancels_its_queued_reply(ana: Client, provider: ScriptedProvider) -> None:
    """Prevent a paid request that would answer the previous message instead."""
    provider.play([Text("held"), Hold(), Finish()])
    chat = ana.chat()
    first = ana.say(chat["id"], "First")
    second = ana.say(chat["id"], "Second")
    until(lambda: provider.open_streams == 1)
    ana.api("DELETE", f"/messages/{second['message']['id']}", expect=204)
    assert ana.api("GET", f"/runs/{second['run']['id']}")["status"] == "cancelled"
    provider.release()
    assert ana.finished(first["run"]["id"])["status"] == "completed"
    assert len(provider.requests) == 1


def test_a_branch_through_a_deleted_or_foreign_message_is_not_found(ana: Client) -> None:
    chat = ana.chat()
    first = ana.say(chat["id"], "0", reply=False)["message"]
    other = ana.api("POST", f"/messages/{first['id']}/edit", json={"content": "alt", "reply": False}, expect=201)
    ana.api("DELETE", f"/messages/{other['message']['id']}", expect=204)
    for hidden in (other["message"]["id"], ana.say(ana.chat()["id"], "elsewhere", reply=False)["message"]["id"]):
        ana.api("GET", f"/chats/{chat['id']}/messages", params={"through": hidden}, expect=404)


def test_repeating_a_delete_with_the_same_key_succeeds(ana: Client) -> None:
    message = ana.say(ana.chat()["id"], "once", reply=False)["message"]
    for _ in range(2):
        ana.api("DELETE", f"/messages/{message['id']}", headers={"Idempotency-Key": "k" * 20}, expect=204)
