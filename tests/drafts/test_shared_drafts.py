"""Tests for shared drafts: permissions, live events, public links, and drafts attached to a chat."""

import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.schemas import Permissions, ShareCreate
from tertulia.accounts.sharing import Shareables, revoke_share
from tertulia.chat import shared_chats
from tertulia.drafts import shared_drafts
from tertulia.drafts.indexing import RESTED, index_next_draft
from tertulia.drafts.models import Draft, DraftWorkingCopy
from tertulia.drafts.service import get_draft
from tertulia.drafts.shared_drafts import create_share
from tertulia.drafts.working_copies import SETTLED_AFTER, settle_working_copy
from tertulia.ids import ShareId
from tertulia.realtime.feed import ChangeFeed
from tertulia.search.service import SearchFilters, search
from tests.conftest import SignIn
from tests.drafts.calls import put, save
from tests.factories.accounts import make_user
from tests.factories.drafts import make_draft, store
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import Finish, ScriptedProvider, Text
from tests.waiting import Listener


@pytest.fixture
def bob_client(sign_in: SignIn, ana: Client) -> Client:
    return sign_in("bob")


def draft_of(client: Client, content: str = "One two three.") -> str:
    return str(client.api("POST", "/drafts", json={"title": "Ours", "content": content}, expect=201)["id"])


def share(
    client: Client, draft_id: str, *, expect: int = 201, write: bool = False, on: bool = False, **fields: Any
) -> Any:
    body = {"permissions": {"can_write": write, "can_share": on}, **fields}
    return client.api("POST", f"/drafts/{draft_id}/shares", json=body, expect=expect)


def test_a_reader_sees_the_draft_and_its_chats_but_cannot_change_them(ana: Client, bob_client: Client) -> None:
    draft = draft_of(ana)
    [chat] = ana.api("GET", f"/drafts/{draft}/chats")["items"]
    ana.say(chat["id"], "hello", reply=False)
    share(ana, draft, shared_with_username="bob")
    seen = bob_client.api("GET", f"/drafts/{draft}")
    assert (seen["owner"]["name"], seen["current_version"]["content"]) == ("Ana", "One two three.")
    assert seen["permissions"] == {"can_read": True, "can_write": False, "can_share": False}
    assert [shared["id"] for shared in bob_client.api("GET", "/shared-drafts")["items"]] == [draft]
    assert bob_client.api("GET", "/drafts")["items"] == []
    assert bob_client.api("GET", "/shared-chats")["items"] == []
    [same] = bob_client.api("GET", f"/drafts/{draft}/chats")["items"]
    assert [message["content"] for message in bob_client.api("GET", f"/chats/{same['id']}/messages")["items"]] == [
        "hello"
    ]
    save(bob_client, draft, "Mine", 1, expect=404)
    bob_client.api("PATCH", f"/drafts/{draft}", json={"title": "Mine"}, headers={"If-Match": "1"}, expect=403)
    bob_client.api("DELETE", f"/drafts/{draft}", expect=403)
    bob_client.api("POST", f"/chats/{same['id']}/messages", json={"content": "x"}, expect=404)
    share(bob_client, draft, expect=404)


def test_each_writer_of_a_shared_draft_is_recorded_as_author(ana: Client, bob_client: Client) -> None:
    draft = draft_of(ana, "First.\n\nSecond.\n")
    share(ana, draft, write=True, shared_with_username="bob")
    put(ana, draft, "First by Ana.\n\nSecond.\n", 1, 0)
    assert bob_client.api("GET", f"/drafts/{draft}")["working_copy"] is None
    saved = save(bob_client, draft, "First.\n\nSecond by Bob.\n", 1)
    assert saved["author"]["name"] == "Bob"
    merged = save(ana, draft, "First by Ana.\n\nSecond.\n", 1)
    assert (merged["content"], merged["merged"]) == ("First by Ana.\n\nSecond by Bob.\n", True)
    origins = ana.api("GET", f"/drafts/{draft}/versions/3/authorship")
    names = {version["version_number"]: version["author"]["name"] for version in origins["versions"]}
    assert names == {1: "Ana", 2: "Bob", 3: "Ana"}


def test_a_writers_edits_are_their_own_and_their_chats_belong_to_the_owner(
    ana: Client, bob_client: Client, provider: ScriptedProvider
) -> None:
    draft = draft_of(ana)
    share(ana, draft, write=True, shared_with_username="bob")
    chat = bob_client.api("POST", f"/drafts/{draft}/chats", expect=201)
    assert chat["owner"]["name"] == "Ana"
    provider.play([Text("<edit><find>two</find><replace>2</replace></edit>"), Finish()])
    body = {"instruction": "Shorten", "version_number": 1, "chat_id": chat["id"]}
    started = bob_client.api("POST", f"/drafts/{draft}/proposals", json=body, expect=201)
    bob_client.finished(started["sent"]["run"]["id"])
    assert "One two three." in str(provider.requests[-1]["messages"])
    [seen] = ana.api("GET", f"/drafts/{draft}/proposals")["items"]
    assert (seen["status"], seen["edits"][0]["new_text"]) == ("open", "2")
    accepted = bob_client.api("POST", f"/proposals/{seen['id']}/accept")
    assert (accepted["version"]["content"], accepted["version"]["author"]["name"]) == ("One 2 three.", "Bob")
    assert ana.api("GET", "/usage")["items"] == []  # Bob pays for his own request
    assert next(item["id"] for item in ana.api("GET", f"/drafts/{draft}/chats")["items"]) == chat["id"]


def test_other_users_receive_saved_changes_but_not_typing(ana: Client, bob_client: Client) -> None:
    draft = draft_of(ana)
    created = share(ana, draft, shared_with_username="bob")
    bob = Listener(bob_client)
    put(ana, draft, "One two three, f", 1, 0)
    save(ana, draft, "One two three, four.", 1)
    bob.wait_for(lambda: ("draft_version", "created") in bob.changes)
    [event] = [data for _, _, data in bob.heard if data.get("entity") == "draft_version"]
    assert (event["topic"], event["payload"]) == (f"draft:{draft}", None)
    chat = ana.api("POST", f"/drafts/{draft}/chats", expect=201)
    ana.say(chat["id"], "hello", reply=False)
    bob.wait_for(lambda: ("message", "created") in bob.changes)
    ana.api("DELETE", f"/shares/{created['id']}", expect=204)
    bob.wait_for(lambda: ("share", "deleted") in bob.changes)
    assert "draft_working_copy" not in {entity for entity, _ in bob.changes}
    bob_client.api("GET", f"/drafts/{draft}", expect=404)
    bob_client.api("GET", f"/chats/{chat['id']}", expect=404)


def test_messages_in_a_new_chat_are_received_despite_a_slow_share_lookup(
    ana: Client, bob_client: Client, server: LiveServer
) -> None:
    draft = draft_of(ana)
    share(ana, draft, shared_with_username="bob")
    bob = Listener(bob_client)
    feed = server.app.state.services.get(ChangeFeed)
    find = feed._find_shared

    def slowly(session: Session, people: Iterable[str]) -> Any:
        shared = find(session, people)
        time.sleep(0.3)
        return shared

    feed._find_shared = slowly
    for _ in range(3):
        chat = ana.api("POST", f"/drafts/{draft}/chats", expect=201)
        said = ana.say(chat["id"], "hello", reply=False)["message"]["id"]
        bob.wait_for(lambda said=said: any(data.get("entity_id") == said for _, _, data in bob.heard))  # type: ignore[misc]


def test_revoking_a_share_revokes_the_shares_made_from_it(ana: Client, bob_client: Client, sign_in: SignIn) -> None:
    carl = sign_in("carl")
    draft = draft_of(ana)
    first = share(ana, draft, on=True, shared_with_username="bob")
    share(bob_client, draft, write=True, shared_with_username="carl", expect=422)  # more than Bob has
    share(bob_client, draft, shared_with_username="carl")
    carl.api("GET", f"/drafts/{draft}")
    ana.api("DELETE", f"/shares/{first['id']}", expect=204)
    carl.api("GET", f"/drafts/{draft}", expect=404)


def test_a_link_shows_only_the_saved_text_and_the_newest_chat(ana: Client, server: LiveServer) -> None:
    draft = draft_of(ana)
    [chat] = ana.api("GET", f"/drafts/{draft}/chats")["items"]
    ana.say(chat["id"], "hello", reply=False)
    put(ana, draft, "What I am typing", 1, 0)
    link = share(ana, draft)
    with Client(server.url) as stranger:
        seen = stranger.api("GET", f"/shared/{link['token']}")
        assert (seen["title"], seen["draft"]["content"], seen["owner_name"]) == ("Ours", "One two three.", "Ana")
        assert "What I am typing" not in str(seen)
        messages = stranger.api("GET", f"/shared/{link['token']}/messages")["items"]
        assert [message["parts"][0]["text"] for message in messages] == ["hello"]
        ana.api("DELETE", f"/chats/{chat['id']}", expect=204)
        alone = stranger.api("GET", f"/shared/{link['token']}")
        assert (alone["message_count"], alone["draft"]["version_number"]) == (0, 1)
        assert stranger.api("GET", f"/shared/{link['token']}/messages")["items"] == []
        ana.api("DELETE", f"/drafts/{draft}", expect=204)
        stranger.api("GET", f"/shared/{link['token']}", expect=404)


def test_a_stranger_with_a_link_receives_change_events(ana: Client, server: LiveServer) -> None:
    draft = draft_of(ana)
    link = share(ana, draft)
    with Client(server.url) as stranger:
        listener = Listener(stranger, path=f"/shared/{link['token']}/events")
        save(ana, draft, "Four.", 1)
        listener.wait_for(lambda: any(kind == "change" for _, kind, _ in listener.heard))


def test_the_chat_of_a_draft_cannot_be_shared_separately(ana: Client, bob_client: Client) -> None:
    draft = draft_of(ana)
    [chat] = ana.api("GET", f"/drafts/{draft}/chats")["items"]
    refused = ana.api("POST", f"/chats/{chat['id']}/shares", json={}, expect=422)
    assert refused["code"] == "share_the_draft"


def test_search_finds_a_draft_for_the_users_it_is_shared_with(session: Session, alice: Actor, bob: Actor) -> None:
    draft_id = make_draft(session, owner=alice, contents=["The walrus and the carpenter"])
    for wanted in (0, 1):
        draft = session.get_one(Draft, draft_id)
        draft.updated_at -= 2 * RESTED
        session.flush()
        while index_next_draft(session):
            pass
        assert len(search(session, bob, "walrus", SearchFilters())[0]) == wanted
        assert len(search(session, alice, "walrus", SearchFilters())[0]) == 1
        if not wanted:
            new = ShareCreate(shared_with_user_id=bob.user_id, permissions=Permissions())
            create_share(session, alice, draft_id, new)


def test_a_working_copy_is_kept_while_its_writer_has_no_permission(session: Session, alice: Actor, bob: Actor) -> None:
    draft_id = make_draft(session, owner=alice, contents=["One"])
    writing = ShareCreate(shared_with_user_id=bob.user_id, permissions=Permissions(can_write=True))
    created = create_share(session, alice, draft_id, writing)
    reading = ShareCreate(shared_with_user_id=bob.user_id)
    create_share(session, alice, draft_id, reading)
    store(session, draft_id, "One by Bob", 1, bob)
    revoke_share(session, alice, ShareId(created["id"]), Shareables([shared_chats.SHAREABLE, shared_drafts.SHAREABLE]))
    session.execute(sa.update(DraftWorkingCopy).values(updated_at=clock.now() - 2 * SETTLED_AFTER))
    assert settle_working_copy(session)
    assert get_draft(session, alice, draft_id)["version_count"] == 1
    assert get_draft(session, bob, draft_id)["working_copy"] is None
    create_share(session, alice, draft_id, writing)
    copy = get_draft(session, bob, draft_id)["working_copy"]
    assert copy is not None
    assert copy["content"] == "One by Bob"


def test_a_temporary_permission_is_not_shared_for_longer(session: Session, alice: Actor, bob: Actor) -> None:
    carol = make_user(session, username="carol", name="Carol")
    draft_id = make_draft(session, owner=alice)
    soon = clock.now() + timedelta(hours=1)
    for permissions, end in ((Permissions(can_share=True), None), (Permissions(can_write=True), soon)):
        new = ShareCreate(shared_with_user_id=bob.user_id, permissions=permissions, expires_at=end)
        create_share(session, alice, draft_id, new)
    to_carol = ShareCreate(shared_with_user_id=carol.user_id, permissions=Permissions(can_write=True))
    assert create_share(session, bob, draft_id, to_carol)["expires_at"] == soon
    reading = ShareCreate(shared_with_user_id=carol.user_id)
    assert create_share(session, bob, draft_id, reading)["expires_at"] is None


def test_the_chat_of_a_draft_cannot_be_made_public(ana: Client) -> None:
    [chat] = ana.api("GET", f"/drafts/{draft_of(ana)}/chats")["items"]
    refused = ana.api("PATCH", f"/chats/{chat['id']}", json={"visibility": "public"}, expect=422)
    assert refused["code"] == "share_the_draft"


# ---- drafts attached to a chat


def test_drafts_attached_to_a_chat_are_included_in_the_prompt(ana: Client, provider: ScriptedProvider) -> None:
    draft, chat = draft_of(ana, "The budget is 40 crowns."), ana.chat()
    assert [item["id"] for item in ana.api("PUT", f"/chats/{chat['id']}/drafts/{draft}")["items"]] == [draft]
    ana.api("PUT", f"/chats/{chat['id']}/drafts/{draft}")  # repeating it changes nothing
    put(ana, draft, "The budget is 50 crowns.", 1, 0)
    provider.play([Text("Fifty"), Finish()])
    ana.finished(ana.say(chat["id"], "What is the budget?")["run"]["id"])
    assert "The budget is 50 crowns." in provider.requests[-1]["messages"][0]["content"]
    ana.api("DELETE", f"/chats/{chat['id']}/drafts/{draft}", expect=204)
    ana.api("DELETE", f"/chats/{chat['id']}/drafts/{draft}", expect=404)
    provider.play([Text("No"), Finish()])
    ana.finished(ana.say(chat["id"], "And now?")["run"]["id"])
    assert "crowns" not in str(provider.requests[-1]["messages"])


def test_the_prompt_omits_attached_drafts_that_the_user_may_not_read(
    ana: Client, bob_client: Client, provider: ScriptedProvider
) -> None:
    draft, chat = draft_of(ana, "A secret text"), ana.chat()
    ana.api("PUT", f"/chats/{chat['id']}/drafts/{draft}")
    shared = {"shared_with_username": "bob", "permissions": {"can_write": True}}
    ana.api("POST", f"/chats/{chat['id']}/shares", json=shared, expect=201)
    assert bob_client.api("GET", f"/chats/{chat['id']}/drafts")["items"] == []
    bob_client.finished(bob_client.say(chat["id"], "Repeat the draft")["run"]["id"])
    assert "A secret text" not in str(provider.requests[-1]["messages"])
    share(ana, draft, shared_with_username="bob")
    bob_client.finished(bob_client.say(chat["id"], "Repeat the draft")["run"]["id"])
    assert "A secret text" in str(provider.requests[-1]["messages"])


def test_a_draft_is_not_attached_to_its_own_chat_and_deleted_drafts_do_not_count(ana: Client) -> None:
    draft, chat = draft_of(ana), ana.chat()
    [own] = ana.api("GET", f"/drafts/{draft}/chats")["items"]
    assert ana.api("PUT", f"/chats/{own['id']}/drafts/{draft}", expect=422)["code"] == "draft_of_this_chat"
    for _ in range(5):
        deleted = draft_of(ana)
        ana.api("PUT", f"/chats/{chat['id']}/drafts/{deleted}")
        ana.api("DELETE", f"/drafts/{deleted}", expect=204)
    assert len(ana.api("PUT", f"/chats/{chat['id']}/drafts/{draft}")["items"]) == 1


def test_at_most_five_drafts_are_attached_to_a_chat(ana: Client) -> None:
    chat = ana.chat()
    for _ in range(5):
        ana.api("PUT", f"/chats/{chat['id']}/drafts/{draft_of(ana)}")
    refused = ana.api("PUT", f"/chats/{chat['id']}/drafts/{draft_of(ana)}", expect=422)
    assert refused["code"] == "too_many_drafts_attached"
