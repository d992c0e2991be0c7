"""Test that each list, search and object that depends on shares refuses revoked and expired ones.

The row of the share is changed directly, one condition at a time, so that a query that forgets a condition is noticed.
"""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from tertulia.accounts.models import Share
from tertulia.clock import now
from tertulia.db.opening import plain_engine
from tertulia.settings import Settings
from tests.conftest import SignIn
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import ScriptedProvider
from tests.waiting import until

WORD = "quincunx"


@dataclass
class Shared:
    """A chat and a draft of Ana, which Bob may read and write, and where he finds them."""

    ana: Client
    bob: Client
    chat_id: str
    draft_id: str
    file_id: str
    message_id: str
    links: tuple[str, str]


@pytest.fixture
def shared(ana: Client, sign_in: SignIn, provider: ScriptedProvider) -> Shared:
    bob = sign_in("bob")
    file = ana.api("POST", "/attachments", files={"file": ("a.txt", f"the {WORD}".encode())}, expect=201)
    until(lambda: ana.api("GET", f"/attachments/{file['id']}")["status"] == "ready")
    chat = ana.chat(title=f"The {WORD}")
    sent = ana.say(chat["id"], f"A {WORD}", attachment_ids=[file["id"]])
    ana.finished(sent["run"]["id"])
    draft = ana.api("POST", "/drafts", json={"title": f"Draft {WORD}", "content": f"A {WORD}"}, expect=201)
    links = []
    for path in (f"/chats/{chat['id']}", f"/drafts/{draft['id']}"):
        body = {"shared_with_username": "bob", "permissions": {"can_write": True}}
        ana.api("POST", f"{path}/shares", json=body, expect=201)
        links.append(ana.api("POST", f"{path}/shares", json={}, expect=201)["token"])
    return Shared(ana, bob, chat["id"], draft["id"], file["id"], sent["message"]["id"], (links[0], links[1]))


def revoke(settings: Settings) -> None:
    _change(settings, is_active=False)


def expire(settings: Settings) -> None:
    _change(settings, expires_at=now() - timedelta(seconds=1))


def _change(settings: Settings, **values: object) -> None:
    engine = plain_engine(settings)
    with engine.begin() as connection:
        connection.execute(sa.update(Share).values(**values))
    engine.dispose()


LISTS: dict[str, Callable[[Shared], httpx.Response]] = {
    "shared chats": lambda it: it.bob.get("/shared-chats"),
    "shared drafts": lambda it: it.bob.get("/shared-drafts"),
    "search": lambda it: it.bob.get("/search", params={"q": WORD}),
    "search in the chat": lambda it: it.bob.get("/search", params={"q": f"{WORD} has:file"}),
    "chat": lambda it: it.bob.get(f"/chats/{it.chat_id}"),
    "messages": lambda it: it.bob.get(f"/chats/{it.chat_id}/messages"),
    "message": lambda it: it.bob.get(f"/messages/{it.message_id}"),
    "export": lambda it: it.bob.get(f"/chats/{it.chat_id}/export?format=markdown"),
    "files of the chat": lambda it: it.bob.get("/attachments", params={"chat_id": it.chat_id}),
    "file": lambda it: it.bob.get(f"/attachments/{it.file_id}/content"),
    "draft": lambda it: it.bob.get(f"/drafts/{it.draft_id}"),
    "versions": lambda it: it.bob.get(f"/drafts/{it.draft_id}/versions/1"),
    "export of the draft": lambda it: it.bob.get(f"/drafts/{it.draft_id}/export?format=markdown"),
    "link of the chat": lambda it: it.bob.get(f"/shared/{it.links[0]}/messages"),
    "link of the draft": lambda it: it.bob.get(f"/shared/{it.links[1]}"),
}


@pytest.mark.parametrize("end", [revoke, expire])
def test_ended_shares_give_nothing(shared: Shared, server: LiveServer, end: Callable[[Settings], None]) -> None:
    missing = [name for name, read in LISTS.items() if WORD not in read(shared).text]
    assert missing == []
    end(server.settings)
    shown = [name for name, read in LISTS.items() if WORD in read(shared).text]
    assert shown == []


@pytest.mark.parametrize("end", [revoke, expire])
def test_ended_shares_send_no_events(shared: Shared, server: LiveServer, end: Callable[[Settings], None]) -> None:
    end(server.settings)
    heard: list[str] = []
    with shared.bob.stream("GET", "/events") as stream:
        thread = threading.Thread(target=_listen, args=(stream, heard), daemon=True)
        thread.start()
        until(lambda: heard)
        shared.ana.say(shared.chat_id, f"Another {WORD}", reply=False)
        marker = shared.bob.chat(title="Marker")["id"]
        until(lambda: any(marker in line for line in heard))
    assert [line for line in heard if shared.chat_id in line or WORD in line] == []


def _listen(stream: httpx.Response, heard: list[str]) -> None:
    with suppress(httpx.HTTPError, RuntimeError):  # the test closes the stream
        heard.extend(line for line in stream.iter_lines())


def test_writing_through_an_ended_share_is_refused(shared: Shared, server: LiveServer) -> None:
    expire(server.settings)
    shared.bob.api("POST", f"/chats/{shared.chat_id}/messages", json={"content": "x", "reply": False}, expect=404)
    body: dict[str, Any] = {"content": "x", "parent_version_number": 1}
    shared.bob.api("POST", f"/drafts/{shared.draft_id}/versions", json=body, expect=404)
    assert WORD in json.dumps(shared.ana.api("GET", f"/chats/{shared.chat_id}/messages"))
