"""Tests for shared chats: with a user, by link or in public; permissions, live events, and how sharing ends."""

import threading
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.models import Share, User, UserStatus
from tertulia.clock import now
from tertulia.db.opening import plain_engine
from tertulia.links.counts import LinkOpenCounts
from tests.conftest import SignIn
from tests.fakes.live_server import Client, LiveServer, parse_events
from tests.fakes.scripted_provider import Finish, Hold, ScriptedProvider, Text
from tests.files import samples
from tests.files.test_files import ready
from tests.waiting import Listener, until


def share(
    client: Client, chat_id: str, *, expect: int = 201, write: bool = False, on: bool = False, **fields: Any
) -> Any:
    body = {"permissions": {"can_write": write, "can_share": on}, **fields}
    return client.api("POST", f"/chats/{chat_id}/shares", json=body, expect=expect)


@pytest.fixture
def bob_client(sign_in: SignIn, ana: Client) -> Client:
    return sign_in("bob")


def test_a_read_share_allows_only_reading_and_forking(ana: Client, bob_client: Client) -> None:
    chat = ana.chat(title="Ours", system_prompt="Be kind.")
    message = ana.say(chat["id"], "hello", reply=False)["message"]
    share(ana, chat["id"], shared_with_username="Bob")
    seen = bob_client.api("GET", f"/chats/{chat['id']}")
    assert (seen["title"], seen["owner"]["name"], seen["system_prompt"]) == ("Ours", "Ana", None)
    assert seen["permissions"] == {"can_read": True, "can_write": False, "can_share": False}
    assert [shared["id"] for shared in bob_client.api("GET", "/shared-chats")["items"]] == [chat["id"]]
    assert bob_client.api("GET", "/chats")["items"] == []
    assert [item["content"] for item in bob_client.api("GET", f"/chats/{chat['id']}/messages")["items"]] == ["hello"]
    for method, path, body, status in (
        ("POST", f"/chats/{chat['id']}/messages", {"content": "x", "reply": False}, 404),
        ("PATCH", f"/chats/{chat['id']}", {"title": "Mine"}, 403),
        ("DELETE", f"/chats/{chat['id']}", None, 403),
        ("PUT", f"/chats/{chat['id']}/head", {"message_id": message["id"]}, 403),
        ("POST", f"/messages/{message['id']}/edit", {"content": "x", "reply": False}, 404),
        ("DELETE", f"/messages/{message['id']}", None, 404),
        ("PUT", f"/messages/{message['id']}/reactions/👍", None, 404),
        ("GET", f"/chats/{chat['id']}/shares", None, 404),
        ("POST", f"/chats/{chat['id']}/shares", {}, 404),
    ):
        bob_client.api(method, path, json=body, expect=status)
    fork = bob_client.api("POST", f"/messages/{message['id']}/fork", expect=201)
    assert fork["owner"] is None


def test_a_writer_posts_in_their_own_name_and_pays_for_the_reply(
    ana: Client, bob_client: Client, provider: ScriptedProvider
) -> None:
    chat = ana.chat()
    first = ana.say(chat["id"], "hello", reply=False)["message"]
    share(ana, chat["id"], shared_with_user_id=bob_client.user["id"], write=True)
    provider.play([Text("Hi"), Finish()])
    sent = bob_client.say(chat["id"], "and I")
    bob_client.finished(sent["run"]["id"])
    assert sent["message"]["user"]["name"] == "Bob"
    assert bob_client.api("GET", "/usage")["items"] != []
    assert ana.api("GET", "/usage")["items"] == []
    refused = bob_client.api("DELETE", f"/messages/{first['id']}", expect=403)
    assert refused["code"] == "not_your_message"
    bob_client.api("POST", f"/messages/{first['id']}/edit", json={"content": "x", "in_place": True}, expect=403)
    bob_client.api("DELETE", f"/messages/{sent['message']['id']}", expect=204)
    assert [item["content"] for item in ana.api("GET", f"/chats/{chat['id']}/messages")["items"]] == ["Hi", "hello"]


def test_users_with_access_receive_change_events(ana: Client, bob_client: Client) -> None:
    chat = ana.chat()
    listener = Listener(bob_client)
    share(ana, chat["id"], shared_with_username="bob")
    listener.wait_for(lambda: ("share", "created") in listener.changes)
    until(lambda: bob_client.api("GET", "/shared-chats")["items"])
    message = ana.say(chat["id"], "hello", reply=False)["message"]
    listener.wait_for(lambda: ("message", "created") in listener.changes)
    (event,) = (data for _, kind, data in listener.heard if kind == "change" and data["entity"] == "message")
    assert event["payload"] is None  # the payload is for the owner only; others fetch the current state
    assert event["entity_id"] == message["id"]
    before = next(event_id for event_id, _, _ in listener.heard if event_id)
    again = Listener(bob_client, before)
    again.wait_for(lambda: ("message", "created") in again.changes)


def test_revoking_a_share_ends_reading_events_and_run_streams(
    ana: Client, bob_client: Client, provider: ScriptedProvider
) -> None:
    chat = ana.chat()
    created = share(ana, chat["id"], shared_with_username="bob")
    listener = Listener(bob_client)
    provider.play([Text("slow"), Hold(), Text(" end"), Finish()])
    run_id = ana.say(chat["id"], "hello")["run"]["id"]
    with bob_client.stream("GET", f"/runs/{run_id}/events") as response:
        events = parse_events(response)
        next(events)
        ana.api("DELETE", f"/shares/{created['id']}", expect=204)
        for _ in events:  # the stream ends although the run continues
            pass
    bob_client.api("GET", f"/chats/{chat['id']}", expect=404)
    bob_client.api("GET", f"/runs/{run_id}", expect=404)
    listener.wait_for(lambda: ("share", "deleted") in listener.changes)
    count = len(listener.heard)
    ana.say(chat["id"], "secret", reply=False)
    provider.release()
    own = bob_client.chat()  # his next event is about his own chat
    listener.wait_for(lambda: any(data.get("entity_id") == own["id"] for _, _, data in listener.heard))
    assert all(data["entity"] == "chat" and data["entity_id"] == own["id"] for _, _, data in listener.heard[count:])


def test_an_expired_share_gives_no_access(ana: Client, bob_client: Client, server: LiveServer) -> None:
    chat = ana.chat()
    assert (
        share(ana, chat["id"], expires_at=(now() - timedelta(seconds=1)).isoformat(), expect=422)["code"]
        == "share_expired"
    )
    created = share(ana, chat["id"], shared_with_username="bob", expires_at=(now() + timedelta(hours=1)).isoformat())
    link = share(ana, chat["id"], expires_at=(now() + timedelta(hours=1)).isoformat())
    bob_client.api("GET", f"/chats/{chat['id']}")
    engine = plain_engine(server.settings)
    with Session(engine) as session, session.begin():
        session.execute(sa.update(Share).values(expires_at=now() - timedelta(seconds=1)))
    engine.dispose()
    bob_client.api("GET", f"/chats/{chat['id']}", expect=404)
    assert httpx.get(f"{server.url}/api/v1/shared/{link['token']}").status_code == 404
    assert ana.api("GET", f"/chats/{chat['id']}/shares")["items"] == []
    assert created["token"]


def test_revoking_a_share_revokes_the_shares_made_from_it(ana: Client, bob_client: Client, sign_in: SignIn) -> None:
    carol = sign_in("carol")
    chat = ana.chat()
    created = share(ana, chat["id"], shared_with_username="bob", on=True)
    assert (
        share(bob_client, chat["id"], shared_with_username="carol", write=True, expect=422)["code"] == "share_too_wide"
    )
    share(bob_client, chat["id"], shared_with_username="carol")
    carol.api("GET", f"/chats/{chat['id']}")
    assert len(ana.api("GET", f"/chats/{chat['id']}/shares")["items"]) == 2
    assert len(bob_client.api("GET", f"/chats/{chat['id']}/shares")["items"]) == 1
    ana.api("DELETE", f"/shares/{created['id']}", expect=204)
    carol.api("GET", f"/chats/{chat['id']}", expect=404)
    ana.api("DELETE", f"/shares/{created['id']}", expect=404)


def test_the_recipient_may_remove_their_share(ana: Client, bob_client: Client) -> None:
    chat = ana.chat()
    created = share(ana, chat["id"], shared_with_username="bob")
    bob_client.api("DELETE", f"/shares/{created['id']}", expect=204)
    bob_client.api("GET", f"/chats/{chat['id']}", expect=404)


def test_writable_links_and_unknown_recipients_are_refused(ana: Client) -> None:
    chat = ana.chat()
    assert share(ana, chat["id"], write=True, expect=422)["code"] == "share_too_wide"
    assert share(ana, chat["id"], shared_with_username="unknown", expect=422)["code"] == "person_unknown"
    assert share(ana, chat["id"], shared_with_username="ana", expect=422)["code"] == "person_unknown"


def strangers(server: LiveServer, path: str) -> httpx.Response:
    return httpx.get(f"{server.url}/api/v1/shared/{path}")


def test_a_link_shows_only_the_listed_fields_and_files(ana: Client, server: LiveServer) -> None:
    chat = ana.chat(title="Ours", system_prompt="Secret rules")
    picture = ready(ana, "cat.png", samples.picture())
    other = ready(ana, "other.png", samples.picture())
    ana.say(chat["id"], "hello", reply=False, attachment_ids=[picture["id"]])
    token = share(ana, chat["id"])["token"]
    seen = strangers(server, token).json()
    assert seen.keys() == {"title", "owner_name", "message_count", "created_at", "last_message_at", "draft"}
    (message,) = strangers(server, f"{token}/messages").json()["items"]
    assert message.keys() == {
        "id", "role", "name", "parts", "status", "model_name", "run_id", "created_at", "updated_at",
    }  # fmt: skip
    everything = strangers(server, token).text + strangers(server, f"{token}/messages").text
    assert ana.user["id"] not in everything
    assert "Secret" not in everything
    assert strangers(server, f"{token}/attachments/{picture['id']}/content").content == samples.picture()
    assert strangers(server, f"{token}/attachments/{picture['id']}/thumbnail").status_code == 200
    assert strangers(server, f"{token}/attachments/{other['id']}/content").status_code == 404
    assert strangers(server, chat["id"]).status_code == 404
    assert strangers(server, "nothing").json()["code"] == "share_not_found"


def test_a_public_chat_is_readable_by_id_until_it_is_private(ana: Client, server: LiveServer) -> None:
    chat = ana.chat(title="Ours")
    assert strangers(server, chat["id"]).status_code == 404
    ana.api("PATCH", f"/chats/{chat['id']}", json={"visibility": "public"})
    assert strangers(server, chat["id"]).json()["title"] == "Ours"
    with httpx.stream("GET", f"{server.url}/api/v1/shared/{chat['id']}/events") as response:
        events = parse_events(response)
        assert next(events)[1] == "ready"
        ana.api("PATCH", f"/chats/{chat['id']}", json={"visibility": "private"})
        for _ in events:
            pass
    assert strangers(server, chat["id"]).status_code == 404


def test_a_link_for_a_user_opens_only_for_that_user(ana: Client, bob_client: Client, server: LiveServer) -> None:
    chat = ana.chat(title="Ours")
    token = share(ana, chat["id"], shared_with_username="bob")["token"]
    assert strangers(server, token).status_code == 404
    assert bob_client.api("GET", f"/shared/{token}")["title"] == "Ours"


def test_a_stranger_with_a_link_follows_a_streaming_reply(
    ana: Client, server: LiveServer, provider: ScriptedProvider
) -> None:
    chat = ana.chat()
    token = share(ana, chat["id"])["token"]
    provider.play([Text("one"), Hold(), Text(" two"), Finish()])
    with httpx.stream("GET", f"{server.url}/api/v1/shared/{token}/events") as response:
        events = parse_events(response)
        assert next(events)[1] == "ready"
        sent = ana.say(chat["id"], "hello")
        change = next(events)
        assert change[1:] == ("change", {})
        address = f"{server.url}/api/v1/shared/{token}/runs/{sent['run']['id']}/events"
        with httpx.stream("GET", address) as following:
            deltas = parse_events(following)
            assert next(deltas)[2]["text"] == "one"
            provider.release()
            rest = [event for event in deltas]
        assert {kind for _, kind, _ in rest} <= {"text.delta"}
        assert "".join(data["text"] for _, _, data in rest) == " two"
    provider.play([Text("elsewhere"), Finish()])
    other = ana.say(ana.chat()["id"], "hello")
    assert strangers(server, f"{token}/runs/{other['run']['id']}/events").status_code == 404
    ana.finished(other["run"]["id"])  # the test must not end in the middle of the provider's answer


def test_an_expired_sign_in_counts_as_a_visitor(ana: Client, bob_client: Client, server: LiveServer) -> None:
    chat = ana.chat(title="For everyone")
    link = share(ana, chat["id"])
    old_cookie = {"Cookie": f"tertulia_session={bob_client.cookies['tertulia_session']}"}
    bob_client.api("DELETE", "/session", expect=204)
    with Client(server.url) as visitor:
        for path in ("", "/messages"):
            assert visitor.get(f"/shared/{link['token']}{path}", headers=old_cookie).status_code == 200
        with visitor.stream("GET", f"/shared/{link['token']}/events", headers=old_cookie) as events:
            assert events.status_code == 200
        assert visitor.get("/chats", headers=old_cookie).status_code == 401
        token = {"Authorization": "Bearer tta_unknown"}
        assert visitor.get(f"/shared/{link['token']}", headers=token).status_code == 401


def test_visitors_behind_one_address_each_get_a_stream(ana: Client, server: LiveServer) -> None:
    link = share(ana, ana.chat()["id"])
    with ExitStack() as opened:
        for _ in range(15):
            visitor = opened.enter_context(Client(server.url))
            events = opened.enter_context(visitor.stream("GET", f"/shared/{link['token']}/events"))
            assert events.status_code == 200


def test_link_opens_are_counted_and_written_in_batches(ana: Client, server: LiveServer) -> None:
    chat = ana.chat()
    created = share(ana, chat["id"])
    for _ in range(3):
        strangers(server, created["token"])

    server.call(server.app.state.services.get(LinkOpenCounts).flush())
    assert ana.api("GET", f"/chats/{chat['id']}/shares")["items"][0]["access_count"] == 3


def test_search_includes_shared_chats(ana: Client, bob_client: Client) -> None:
    chat = ana.chat()
    ana.say(chat["id"], "the walrus", reply=False)
    assert bob_client.api("GET", "/search", params={"q": "walrus"})["items"] == []
    created = share(ana, chat["id"], shared_with_username="bob")
    assert len(bob_client.api("GET", "/search", params={"q": "walrus"})["items"]) == 2  # title and message
    ana.api("DELETE", f"/shares/{created['id']}", expect=204)
    assert bob_client.api("GET", "/search", params={"q": "walrus"})["items"] == []


def test_files_of_a_shared_chat_are_readable_but_not_deletable(ana: Client, bob_client: Client) -> None:
    chat = ana.chat()
    file = ready(ana, "a.txt", b"x")
    ana.say(chat["id"], "Look", reply=False, attachment_ids=[file["id"]])
    bob_client.api("GET", f"/attachments/{file['id']}", expect=404)
    share(ana, chat["id"], shared_with_username="bob")
    assert bob_client.get(f"/attachments/{file['id']}/content").content == b"x"
    bob_client.api("DELETE", f"/attachments/{file['id']}", expect=404)
    assert [item["id"] for item in bob_client.api("GET", "/attachments", params={"chat_id": chat["id"]})["items"]] == [
        file["id"]
    ]


def test_presence_is_sent_only_to_users_with_access(ana: Client, bob_client: Client, sign_in: SignIn) -> None:
    carol = sign_in("carol")
    chat = ana.chat()
    share(ana, chat["id"], shared_with_username="bob")
    ana_listener, carol_listener = Listener(ana), Listener(carol)
    bob_client.api("PUT", f"/chats/{chat['id']}/presence", json={"is_typing": True}, expect=204)
    ana_listener.wait_for(lambda: any(kind == "presence" for _, kind, _ in ana_listener.heard))
    presence = next(data for _, kind, data in ana_listener.heard if kind == "presence")
    assert presence == {
        "chat_id": chat["id"],
        "user": {"id": bob_client.user["id"], "name": "Bob"},
        "is_typing": True,
        "is_leaving": False,
    }
    carol.api("PUT", f"/chats/{chat['id']}/presence", json={}, expect=404)
    assert not any(kind == "presence" for _, kind, _ in carol_listener.heard)


def test_circular_shares_end_with_the_share_they_came_from(ana: Client, bob_client: Client, sign_in: SignIn) -> None:
    carol = sign_in("carol")
    chat = ana.chat()
    first = share(ana, chat["id"], shared_with_username="bob", write=True, on=True)
    share(bob_client, chat["id"], shared_with_username="carol", on=True)
    share(carol, chat["id"], shared_with_username="bob", on=True)
    ana.api("DELETE", f"/shares/{first['id']}", expect=204)
    for client in (bob_client, carol):
        client.api("GET", f"/chats/{chat['id']}", expect=404)


def test_a_share_ends_when_its_creator_loses_the_permission(ana: Client, bob_client: Client, sign_in: SignIn) -> None:
    carol = sign_in("carol")
    chat = ana.chat()
    wide = share(ana, chat["id"], shared_with_username="bob", write=True, on=True)
    share(ana, chat["id"], shared_with_username="bob", on=True)
    share(bob_client, chat["id"], shared_with_username="carol", write=True)
    ana.api("DELETE", f"/shares/{wide['id']}", expect=204)
    bob_client.api("GET", f"/chats/{chat['id']}")
    carol.api("GET", f"/chats/{chat['id']}", expect=404)


def test_a_share_created_during_a_revocation_does_not_outlive_it(
    ana: Client, bob_client: Client, server: LiveServer
) -> None:
    for _ in range(8):
        chat = ana.chat()
        created = share(ana, chat["id"], shared_with_username="bob", on=True)
        answers: list[Any] = []

        def give(chat_id: str = chat["id"], answers: list[Any] = answers) -> None:
            answers.append(bob_client.post(f"/chats/{chat_id}/shares", json={}))

        thread = threading.Thread(target=give)
        thread.start()
        ana.api("DELETE", f"/shares/{created['id']}", expect=204)
        thread.join()
        if answers[0].status_code == 201:
            assert strangers(server, answers[0].json()["token"]).status_code == 404


def test_a_shared_chat_hides_unsent_files_and_uses_elsewhere(ana: Client, bob_client: Client) -> None:
    chat, private = ana.chat(title="Ours"), ana.chat(title="Private")
    unsent = ready(ana, "unsent.txt", b"secret", chat_id=chat["id"])
    shown = ready(ana, "shown.txt", b"x")
    taken = ready(ana, "taken.txt", b"deleted")
    for place in (chat, private):
        ana.say(place["id"], "Look", reply=False, attachment_ids=[shown["id"]])
    deleted = ana.say(chat["id"], "Oops", reply=False, attachment_ids=[taken["id"]])["message"]
    ana.api("DELETE", f"/messages/{deleted['id']}", expect=204)
    share(ana, chat["id"], shared_with_username="bob", write=True)
    listed = bob_client.api("GET", "/attachments", params={"chat_id": chat["id"]})["items"]
    assert [file["id"] for file in listed] == [shown["id"]]
    assert (listed[0]["used_in"]["chat_title"], listed[0]["uses"]) == ("Ours", 1)
    for file in (unsent, taken):
        body = {"content": "mine", "reply": False, "attachment_ids": [file["id"]]}
        assert (
            bob_client.api("POST", f"/chats/{chat['id']}/messages", json=body, expect=422)["code"]
            == "attachment_unknown"
        )
    assert len(ana.api("GET", "/attachments", params={"chat_id": chat["id"]})["items"]) == 3


def test_a_fork_of_a_shared_chat_omits_its_system_prompt(ana: Client, bob_client: Client) -> None:
    chat = ana.chat(system_prompt="Secret")
    message = ana.say(chat["id"], "hello", reply=False)["message"]
    share(ana, chat["id"], shared_with_username="bob")
    fork = bob_client.api("POST", f"/messages/{message['id']}/fork", expect=201)
    assert bob_client.api("GET", f"/chats/{fork['id']}")["system_prompt"] is None
    assert "Secret" not in bob_client.get(f"/chats/{chat['id']}/export", params={"format": "json"}).text
    assert "Secret" in ana.get(f"/chats/{chat['id']}/export", params={"format": "json"}).text


def test_revoking_a_share_cancels_the_users_queued_reply(
    ana: Client, bob_client: Client, provider: ScriptedProvider
) -> None:
    chat = ana.chat()
    created = share(ana, chat["id"], shared_with_username="bob", write=True)
    provider.play([Text("slow"), Hold(), Finish()])
    slow = ana.say(chat["id"], "hello")
    waiting = bob_client.say(chat["id"], "and I")
    ana.api("DELETE", f"/shares/{created['id']}", expect=204)
    provider.release()
    ana.finished(slow["run"]["id"])
    until(lambda: ana.api("GET", f"/runs/{waiting['run']['id']}")["status"] == "cancelled")


def test_links_of_a_deactivated_user_stop_working(ana: Client, sign_in: SignIn, server: LiveServer) -> None:
    bob = sign_in("bob")
    token = share(bob, bob.chat()["id"])["token"]
    assert strangers(server, token).status_code == 200
    engine = plain_engine(server.settings)
    with Session(engine) as session, session.begin():
        session.execute(sa.update(User).where(User.id == bob.user["id"]).values(status=UserStatus.INACTIVE))
    engine.dispose()
    assert strangers(server, token).status_code == 404


def test_edit_history_is_hidden_from_other_users(ana: Client, bob_client: Client) -> None:
    chat = ana.chat()
    message = ana.say(chat["id"], "a secret", reply=False)["message"]
    ana.api("POST", f"/messages/{message['id']}/edit", json={"content": "hello", "in_place": True}, expect=201)
    share(ana, chat["id"], shared_with_username="bob", write=True)
    assert len(ana.api("GET", f"/messages/{message['id']}")["edit_history"]) == 1
    assert bob_client.api("GET", f"/messages/{message['id']}")["edit_history"] == []
