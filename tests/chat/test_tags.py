"""Tests for tags: per-user, unique by name, and restored with their chats."""

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.chat.schemas import TagCreate
from tertulia.chat.tags import create_tag, delete_tag, list_tags, purge_tags, tag_chat
from tertulia.ids import TagId
from tests.conftest import SignIn
from tests.factories.chats import make_chat
from tests.fakes.live_server import Client
from tests.waiting import Listener


def tagged(client: Client, tag_id: str) -> list[str]:
    return [chat["title"] for chat in client.api("GET", "/chats", params={"tag": tag_id})["items"]]


def test_a_tag_is_added_to_and_removed_from_a_chat(ana: Client) -> None:
    tag = ana.api("POST", "/tags", json={"name": "  Küche  ", "colour": "green"}, expect=201)
    assert (tag["name"], tag["colour"]) == ("Küche", "green")
    chat, _ = ana.chat(title="one"), ana.chat(title="two")
    for _ in range(2):
        assert ana.api("PUT", f"/chats/{chat['id']}/tags/{tag['id']}")["tag_ids"] == [tag["id"]]
    assert tagged(ana, tag["id"]) == ["one"]
    assert ana.api("GET", "/chats", params={"archived": False})["items"][1]["tag_ids"] == [tag["id"]]
    assert ana.api("DELETE", f"/chats/{chat['id']}/tags/{tag['id']}")["tag_ids"] == []
    assert tagged(ana, tag["id"]) == []


@pytest.mark.parametrize("same", ["kuche", "KÜCHE", "Ｋüche"])
def test_tag_names_that_look_alike_are_duplicates(ana: Client, same: str) -> None:
    tag = ana.api("POST", "/tags", json={"name": "Küche"}, expect=201)
    assert ana.api("POST", "/tags", json={"name": same}, expect=409)["code"] == "tag_exists"
    other = ana.api("POST", "/tags", json={"name": "Garden"}, expect=201)
    ana.api("PATCH", f"/tags/{other['id']}", json={"name": same}, expect=409)
    ana.api("PATCH", f"/tags/{tag['id']}", json={"name": same, "colour": "red"})
    assert [item["name"] for item in ana.api("GET", "/tags")["items"]] == ["Garden", same]


def test_restoring_a_tag_restores_its_chats(ana: Client) -> None:
    tag = ana.api("POST", "/tags", json={"name": "home"}, expect=201)
    chat = ana.chat(title="one")
    ana.api("PUT", f"/chats/{chat['id']}/tags/{tag['id']}")
    ana.api("DELETE", f"/tags/{tag['id']}", expect=204)
    assert ana.api("GET", "/tags")["items"] == []
    assert ana.api("GET", f"/chats/{chat['id']}")["tag_ids"] == []
    ana.api("PUT", f"/chats/{chat['id']}/tags/{tag['id']}", expect=404)
    ana.api("POST", f"/tags/{tag['id']}/restore")
    assert ana.api("GET", f"/chats/{chat['id']}")["tag_ids"] == [tag["id"]]
    ana.api("DELETE", f"/tags/{tag['id']}", expect=204)
    ana.api("POST", "/tags", json={"name": "Home"}, expect=201)
    assert ana.api("POST", f"/tags/{tag['id']}/restore", expect=409)["code"] == "tag_exists"


def test_merging_a_tag_moves_its_chats(ana: Client) -> None:
    first, second = (ana.api("POST", "/tags", json={"name": name}, expect=201) for name in ("bread", "baking"))
    chats = [ana.chat(title=str(number)) for number in range(3)]
    for chat, tags in zip(chats, ([first], [first, second], [second]), strict=True):
        for tag in tags:
            ana.api("PUT", f"/chats/{chat['id']}/tags/{tag['id']}")
    listener = Listener(ana)
    ana.api("POST", f"/tags/{first['id']}/merge", json={"into_id": second["id"]})
    listener.wait_for(lambda: ("tag", "updated") in listener.changes)
    merged = listener.changes[listener.changes.index(("tag", "deleted")) :]
    assert merged == [("tag", "deleted"), ("chat", "updated"), ("chat", "updated"), ("tag", "updated")]
    assert sorted(tagged(ana, second["id"])) == ["0", "1", "2"]
    assert [item["name"] for item in ana.api("GET", "/tags")["items"]] == ["baking"]
    same = ana.api("POST", f"/tags/{second['id']}/merge", json={"into_id": second["id"]})
    assert same["id"] == second["id"]


def test_tags_are_per_user(ana: Client, sign_in: SignIn) -> None:
    bob = sign_in("bob")
    tag = ana.api("POST", "/tags", json={"name": "mine"}, expect=201)
    own = bob.api("POST", "/tags", json={"name": "mine"}, expect=201)
    chat = bob.chat()
    bob.api("PUT", f"/chats/{chat['id']}/tags/{tag['id']}", expect=404)
    bob.api("POST", f"/tags/{own['id']}/merge", json={"into_id": tag["id"]}, expect=404)
    bob.api("PUT", f"/chats/{ana.chat()['id']}/tags/{own['id']}", expect=404)
    bob.api("GET", f"/chats?tag={tag['id']}", expect=422)


@pytest.mark.parametrize(("length", "status"), [(50, 201), (51, 422)])
def test_a_tag_name_has_at_most_fifty_characters(ana: Client, length: int, status: int) -> None:
    ana.api("POST", "/tags", json={"name": "n" * length}, expect=status)


def test_a_user_has_at_most_two_hundred_tags(ana: Client, session: Session) -> None:
    actor = Actor(ana.user["id"], ana.user["role"])
    for number in range(200):
        create_tag(session, actor, TagCreate(name=f"tag {number}"))
    session.commit()
    assert ana.api("POST", "/tags", json={"name": "one more"}, expect=422)["code"] == "too_many_tags"


def test_old_deleted_tags_are_purged(session: Session, alice: Actor) -> None:
    tag = TagId(create_tag(session, alice, TagCreate(name="old"))["id"])
    chat_id = make_chat(session, owner=alice)
    tag_chat(session, alice, chat_id, tag)
    delete_tag(session, alice, tag)
    assert purge_tags(session, timedelta(days=1)) == 0
    assert purge_tags(session, timedelta(days=-1)) == 1
    assert list_tags(session, alice) == []


def test_lists_are_filtered_only_by_ids_that_the_user_may_use(ana: Client, sign_in: SignIn) -> None:
    bob = sign_in("bob")
    tag = bob.api("POST", "/tags", json={"name": "His"}, expect=201)
    chat = bob.chat()
    assert ana.api("GET", f"/chats?tag={tag['id']}", expect=422)["errors"][0]["field"] == "tag"
    refused = ana.api("GET", f"/tool-executions?chat_id={chat['id']}", expect=422)
    assert refused["errors"][0]["field"] == "chat_id"
