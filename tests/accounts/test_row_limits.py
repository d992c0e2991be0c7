"""Test the limits on rows, messages and exports of one user, at the limit and one above it."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.row_limits import RowLimits, TooManyRows
from tertulia.chat.models import Chat
from tertulia.transfer.exporting import Exporting
from tests.conftest import ServerMaker
from tests.factories.chats import make_chat
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import ScriptedProvider
from tests.transfer.test_imports import take

LIMITS = {
    "chats_per_user": 3,
    "drafts_per_user": 2,
    "files_per_user": 2,
    "messages_per_minute": 4,
    "exports_at_once": 2,
}


@pytest.fixture
def server(start_server: ServerMaker, provider: ScriptedProvider) -> LiveServer:
    return start_server(openai_base_url=provider.url, openai_api_key="sk-of-the-operator", **LIMITS)


def _refused(client: Client, method: str, path: str, limit: int, **options: Any) -> None:
    problem = client.api(method, path, expect=409, **options)
    assert problem["code"] == "limit_reached"
    assert problem["limit"] == limit
    assert f"{limit} " in problem["detail"]


def _count(client: Client, path: str) -> int:
    return len(client.api("GET", path)["items"])


def test_chats_are_limited_by_every_way_to_create_them(ana: Client) -> None:
    chats = [ana.chat()["id"] for _ in range(3)]
    _refused(ana, "POST", "/chats", 3, json={})
    message = ana.say(chats[0], "Hello", reply=False)["message"]
    _refused(ana, "POST", f"/messages/{message['id']}/fork", 3)
    _refused(ana, "POST", "/drafts", 3, json={})  # a draft comes with a chat
    assert _count(ana, "/chats") == 3
    assert _count(ana, "/drafts") == 0
    # Those in the trash count, because they can be restored.
    ana.api("DELETE", f"/chats/{chats[1]}", expect=204)
    _refused(ana, "POST", "/chats", 3, json={})


def test_room_that_was_deleted_can_be_used_again(ana: Client, session: Session) -> None:
    chats = [ana.chat()["id"] for _ in range(3)]
    session.execute(sa.delete(Chat).where(Chat.id == chats[0]))
    session.commit()
    ana.chat()
    _refused(ana, "POST", "/chats", 3, json={})


def test_the_limit_of_a_user_does_not_count_for_others(ana: Client, sign_in: Callable[[str], Client]) -> None:
    for _ in range(3):
        ana.chat()
    sign_in("ben").chat()


def test_drafts_are_limited(ana: Client) -> None:
    for _ in range(2):
        ana.api("POST", "/drafts", json={}, expect=201)
    _refused(ana, "POST", "/drafts", 2, json={})
    files = {"file": ("a.md", b"Text", "text/markdown")}
    _refused(ana, "POST", "/draft-imports", 2, files=files)
    assert _count(ana, "/drafts") == 2


def test_files_are_limited(ana: Client) -> None:
    for name in ("a.txt", "b.txt"):
        ana.api("POST", "/attachments", files={"file": (name, name.encode())}, expect=201)
    _refused(ana, "POST", "/attachments", 2, files={"file": ("c.txt", b"c")})
    assert _count(ana, "/attachments") == 2


def test_an_import_reports_each_chat_beyond_the_limit(ana: Client) -> None:
    message = {"uuid": "m", "sender": "human", "text": "Hello"}
    chats = [{"uuid": f"{number}", "name": f"Chat {number}", "chat_messages": [message]} for number in range(5)]
    report = take(ana, "conversations.json", json.dumps(chats).encode())["report"]
    assert (report["chats"], report["refused"]) == (3, 2)
    assert sum("Each user may have 3 chats" in problem for problem in report["problems"]) == 2
    assert _count(ana, "/chats") == 3


def test_32_requests_at_the_same_time_do_not_pass_the_limit(ana: Client) -> None:
    with ThreadPoolExecutor(32) as pool:
        statuses = list(pool.map(lambda _: ana.post("/chats", json={}).status_code, range(32)))
    assert sorted(statuses) == [201] * 3 + [409] * 29
    assert _count(ana, "/chats") == 3


def test_messages_per_minute_are_limited_and_a_refused_message_is_not_stored(ana: Client) -> None:
    chat_id = ana.chat()["id"]
    for number in range(3):
        ana.say(chat_id, f"{number}", reply=False)
    message = ana.api("GET", f"/chats/{chat_id}/messages")["items"][0]
    edit = {"content": "edited", "in_place": True}
    ana.api("POST", f"/messages/{message['id']}/edit", json=edit, expect=201)
    refused = ana.post(f"/chats/{chat_id}/messages", json={"content": "5", "reply": False})
    assert refused.status_code == 429
    assert refused.json()["code"] == "too_many_tries"
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert _count(ana, f"/chats/{chat_id}/messages") == 3


PLACES = ("/export", "/chats/{chat}/export", "/drafts/{draft}/export")


def test_exports_at_the_same_time_are_limited(ana: Client, server: LiveServer) -> None:
    ids = {"chat": ana.chat()["id"], "draft": ana.api("POST", "/drafts", json={}, expect=201)["id"]}
    exporting = server.app.state.services.get(Exporting)
    paths = [path.format(**ids) for path in PLACES]
    owner = Actor(ana.user["id"], ana.user["role"])
    with exporting.of(owner):
        for path in paths * 2:  # each export that ends releases its place
            assert ana.get(path).status_code == 200
        with exporting.of(owner):
            for path in paths:
                assert ana.api("GET", path, expect=429)["code"] == "too_many_exports"
    for path in paths:
        assert ana.get(path).status_code == 200


@pytest.mark.parametrize("limit", [1, 7, 40])
def test_the_last_row_within_the_limit_is_accepted_and_the_next_refused(
    session: Session, alice: Actor, limit: int
) -> None:
    limits = RowLimits({"chats": limit})
    for _ in range(limit):
        limits.take(session, Chat.user_id, alice.user_id, "chats")
        make_chat(session, owner=alice)
    with pytest.raises(TooManyRows):
        limits.take(session, Chat.user_id, alice.user_id, "chats")
