"""Tests for creating, listing, updating, deleting and restoring chats."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.chat.errors import ChatNotFound
from tertulia.chat.models import Chat, Message
from tertulia.chat.schemas import ChatUpdate
from tertulia.chat.service import delete_chat, get_chat, list_chats, purge_trash, restore_chat, update_chat
from tests.conftest import SignIn
from tests.factories.chats import add_message, make_chat
from tests.fakes.live_server import Client


def test_chats_are_listed_by_newest_message_with_an_excerpt(session: Session, alice: Actor) -> None:
    first = make_chat(session, owner=alice, messages=2)
    second = make_chat(session, owner=alice, messages=1)
    add_message(session, first, "the latest word", owner=alice)
    listed = list_chats(session, alice)
    assert [chat["id"] for chat in listed] == [first, second]
    assert listed[0]["last_message"] is not None
    assert (listed[0]["last_message"]["excerpt"], listed[0]["message_count"]) == ("the latest word", 3)


def test_a_chat_of_another_user_is_not_found(session: Session, alice: Actor, bob: Actor) -> None:
    chat_id = make_chat(session, owner=alice)
    assert get_chat(session, alice, chat_id)["id"] == chat_id
    with pytest.raises(ChatNotFound):
        get_chat(session, bob, chat_id)
    with pytest.raises(ChatNotFound):
        delete_chat(session, bob, chat_id)
    assert list_chats(session, bob) == []


def test_a_restored_chat_equals_the_original(session: Session, alice: Actor) -> None:
    chat_id = make_chat(session, owner=alice, messages=3)
    before = get_chat(session, alice, chat_id)
    delete_chat(session, alice, chat_id)
    assert list_chats(session, alice) == []
    assert [chat["id"] for chat in list_chats(session, alice, shown="trash")] == [chat_id]
    with pytest.raises(ChatNotFound):
        get_chat(session, alice, chat_id)
    restored = restore_chat(session, alice, chat_id)
    assert {**restored, "updated_at": None} == {**before, "updated_at": None}


def test_purging_the_trash_removes_old_chats_with_their_messages(session: Session, alice: Actor) -> None:
    old, young = (make_chat(session, owner=alice, messages=4) for _ in range(2))
    delete_chat(session, alice, old)
    session.execute(sa.update(Chat).where(Chat.id == old).values(deleted_at=clock.now() - timedelta(days=31)))
    delete_chat(session, alice, young)
    assert purge_trash(session, timedelta(days=30)) == 1
    session.commit()
    assert session.scalars(sa.select(Message.chat_id).distinct()).all() == [young]


def test_an_update_changes_only_the_named_fields(session: Session, alice: Actor) -> None:
    chat_id = make_chat(
        session, owner=alice, settings={"temperature": 0.5, "max_tokens": 100}, system_prompt="Be kind."
    )
    update = ChatUpdate.model_validate({"settings": {"temperature": None}, "is_archived": True})
    changed = update_chat(session, alice, chat_id, update)
    assert (changed["settings"]["temperature"], changed["settings"]["max_tokens"]) == (None, 100)
    assert (changed["is_archived"], changed["system_prompt"]) == (True, "Be kind.")


def test_pinned_chats_are_listed_separately(ana: Client) -> None:
    first, _ = ana.chat(title="kept at hand"), ana.chat(title="another")
    pinned = ana.api("PATCH", f"/chats/{first['id']}", json={"is_pinned": True})
    assert pinned["pinned_at"] is not None
    assert [chat["title"] for chat in ana.api("GET", "/chats", params={"pinned": True})["items"]] == ["kept at hand"]
    assert len(ana.api("GET", "/chats")["items"]) == 2
    ana.api("PATCH", f"/chats/{first['id']}", json={"title": "still"})
    assert ana.api("GET", f"/chats/{first['id']}")["pinned_at"] == pinned["pinned_at"]
    assert ana.api("PATCH", f"/chats/{first['id']}", json={"is_pinned": False})["pinned_at"] is None
    assert ana.api("GET", "/chats", params={"pinned": True})["items"] == []


@pytest.mark.parametrize(
    ("field", "fits", "too_much"),
    [
        ("title", "t" * 200, "t" * 201),
        ("system_prompt", "s" * 2000, "s" * 2001),
        ("settings", {"temperature": 2.0}, {"temperature": 2.01}),
        ("settings", {"max_tokens": 32_000}, {"max_tokens": 32_001}),
        ("settings", {"max_tokens": 1}, {"max_tokens": 0}),
    ],
)
def test_chat_fields_over_their_limits_are_refused(ana: Client, field: str, fits: object, too_much: object) -> None:
    ana.api("POST", "/chats", json={field: fits}, expect=201)
    refused = ana.api("POST", "/chats", json={field: too_much}, expect=422)
    assert refused["errors"][0]["field"].startswith(field)


@pytest.mark.parametrize(("field", "limit"), [("provider", 50), ("model_name", 100)])
def test_the_length_of_a_model_name_is_checked_before_lookup(ana: Client, field: str, limit: int) -> None:
    assert ana.api("POST", "/chats", json={field: "m" * limit}, expect=422)["code"] == "model_unknown"
    assert ana.api("POST", "/chats", json={field: "m" * (limit + 1)}, expect=422)["code"] == "invalid"


def test_a_message_over_the_maximum_length_is_refused(ana: Client) -> None:
    chat = ana.chat()
    ana.say(chat["id"], "é" * 100_000, reply=False)
    refused = ana.api("POST", f"/chats/{chat['id']}/messages", json={"content": "é" * 100_001}, expect=422)
    assert (refused["code"], refused["limit"]) == ("message_too_long", 100_000)


def test_paging_sees_every_chat_once_while_chats_are_created(ana: Client) -> None:
    chat_ids = [ana.chat(title=f"chat {number}")["id"] for number in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        page = ana.api("GET", "/chats", params={"limit": 3} | ({"cursor": cursor} if cursor else {}))
        seen += [chat["id"] for chat in page["items"]]
        ana.chat(title="in between")
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == chat_ids[::-1]


def test_an_invalid_cursor_is_refused(ana: Client) -> None:
    for _ in range(2):
        ana.chat()
    cursor = ana.api("GET", "/chats", params={"limit": 1})["next_cursor"]
    for wrong in ("nonsense", cursor[:-2] + "AA", cursor[2:]):
        assert ana.api("GET", "/chats", params={"cursor": wrong}, expect=422)["code"] == "invalid_cursor"
    # A cursor is valid only for the list that issued it.
    assert ana.api("GET", "/chats", params={"cursor": cursor, "archived": True}, expect=422)["code"] == "invalid_cursor"


@pytest.mark.parametrize("limit", [0, 201])
def test_page_limits_outside_1_to_200_are_refused(ana: Client, limit: int) -> None:
    ana.api("GET", "/chats", params={"limit": limit}, expect=422)


def test_the_title_comes_from_the_first_message_unless_it_was_set(ana: Client) -> None:
    chat = ana.chat()
    ana.say(chat["id"], "## **How** do I bake bread\nwith little time?", reply=False)
    assert ana.api("GET", f"/chats/{chat['id']}")["title"] == "How do I bake bread"
    named = ana.chat(title="Baking")
    ana.say(named["id"], "Hello", reply=False)
    assert ana.api("GET", f"/chats/{named['id']}")["title"] == "Baking"


def test_the_same_idempotency_key_creates_one_chat(ana: Client) -> None:
    answers = [ana.post("/chats", json={"title": "Once"}, headers={"Idempotency-Key": "k1"}) for _ in range(3)]
    assert len({answer.content for answer in answers}) == 1
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert len(ana.api("GET", "/chats")["items"]) == 1
    other = ana.post("/chats", json={"title": "Twice"}, headers={"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_idempotency_keys_are_per_user(ana: Client, sign_in: SignIn) -> None:
    bob = sign_in("bob")
    ours = ana.post("/chats", json={}, headers={"Idempotency-Key": "same"}).json()
    theirs = bob.post("/chats", json={}, headers={"Idempotency-Key": "same"}).json()
    assert ours["id"] != theirs["id"]


def test_unknown_and_server_owned_fields_are_refused(ana: Client) -> None:
    for body in ({"colour": "red"}, {"user_id": ana.user["id"]}, {"message_count": 5}):
        refused = ana.api("POST", "/chats", json=body, expect=422)
        assert refused["errors"][0]["message"] == "This field is unknown. Remove it."
