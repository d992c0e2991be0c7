"""Test that a restore brings no access back, and refuses before it writes if secrets cannot be decrypted."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tertulia.clock import now
from tertulia.settings import Settings
from tertulia.transfer.backup import BackupError, back_up, restore
from tests.conftest import SignIn
from tests.factories.accounts import make_admin
from tests.fakes.live_server import Client, LiveServer
from tests.transfer.test_backup import RECOUNTS, NewInstance, copy_ring, new_instance  # noqa: F401 - a fixture

OLD, NEW = "correct horse battery", "another long password"


class Backup:
    """A backup, and the access that was revoked after it was made."""

    def __init__(self, server: LiveServer, sign_in: SignIn, folder: Path) -> None:
        self.settings, self.path = server.settings, folder / "all.zip"
        admin, ana, self.bob, carl = make_admin(server, sign_in), *(sign_in(name) for name in ("ana", "bob", "carl"))
        ana.api("POST", "/provider-configs", json={"provider": "mistral", "api_key": "a-key-of-ana"}, expect=201)
        self.token = ana.api("POST", "/api-tokens", json={"name": "script"}, expect=201)
        self.cookies = dict(ana.cookies)
        chat = ana.chat(title="Shared for a while")
        share = ana.api("POST", f"/chats/{chat['id']}/shares", json={"permissions": {}}, expect=201)
        self.link = share["token"]
        back_up(self.settings, self.path, now=now())
        ana.api("DELETE", f"/api-tokens/{self.token['id']}", expect=204)
        ana.api("DELETE", f"/shares/{share['id']}", expect=204)
        admin.api("PATCH", f"/users/{carl.user['id']}", json={"status": "inactive"})
        body = {"password": OLD, "new_password": NEW}
        self.bob.api("PUT", "/me/password", json=body)
        server.stop()


@pytest.fixture
def backup(server: LiveServer, sign_in: SignIn, tmp_path: Path) -> Backup:
    return Backup(server, sign_in, tmp_path)


@pytest.fixture
def started() -> Iterator[list[LiveServer]]:
    servers: list[LiveServer] = []
    yield servers
    for server in servers:
        server.stop()


def sign_in_status(server: LiveServer, username: str, password: str = OLD) -> int:
    with Client(server.url) as client:
        return client.post("/session", json={"username": username, "password": password}).status_code


def test_a_restore_ends_all_access_and_repeats_what_was_revoked(
    backup: Backup,
    new_instance: NewInstance,  # noqa: F811
    engine_kind: str,
    started: list[LiveServer],
) -> None:
    target = new_instance(engine_kind)
    copy_ring(backup.settings, target)
    restored = restore(target, backup.path, RECOUNTS, now=now(), journal=backup.settings.data / "revocations.jsonl")
    assert [revocation.action for revocation in restored.revocations] == [
        "api_token.revoke",
        "share.revoke",
        "user.inactive",
        "user.password",
    ]
    server = LiveServer(target).start()
    started.append(server)
    with closing(Client(server.url)) as client:
        assert (
            client.get("/me", headers={"Cookie": f"tertulia_session={backup.cookies['tertulia_session']}"}).status_code
            == 401
        )
        assert client.get("/me", headers={"Authorization": f"Bearer {backup.token['token']}"}).status_code == 401
        assert client.get(f"/shared/{backup.link}").status_code == 404
    assert sign_in_status(server, "ana") == 201
    assert sign_in_status(server, "bob") == 401  # neither the old password nor one that the backup does not know
    assert sign_in_status(server, "bob", NEW) == 401
    assert sign_in_status(server, "carl") == 401


def test_without_the_journal_the_restore_says_what_to_review(
    backup: Backup,
    new_instance: NewInstance,  # noqa: F811
) -> None:
    target = new_instance("sqlite")
    copy_ring(backup.settings, target)
    restored = restore(target, backup.path, RECOUNTS, now=now())
    assert (restored.has_journal, restored.revocations, restored.links) == (False, [], 1)


def files_of(settings: Settings) -> list[Any]:
    return sorted((path.name, path.stat().st_size) for path in settings.data.rglob("*"))


@pytest.mark.parametrize(
    "ring", [None, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="], ids=["no ring", "another ring"]
)
def test_a_restore_without_the_right_key_ring_writes_nothing(
    backup: Backup,
    new_instance: NewInstance,  # noqa: F811
    engine_kind: str,
    ring: str | None,
    started: list[LiveServer],
) -> None:
    target = new_instance(engine_kind).model_copy(update={"secret_keys": ring})
    before = files_of(target)
    with pytest.raises(BackupError, match="--drop-secrets"):
        restore(target, backup.path, RECOUNTS, now=now())
    assert files_of(target) == before
    # The refusal changed nothing, so the restore without secrets still finds an empty instance.
    restore(target, backup.path, RECOUNTS, now=now(), drops_secrets=True)
    server = LiveServer(target).start()
    started.append(server)
    with Client(server.url) as client:
        client.api("POST", "/session", json={"username": "ana", "password": OLD}, expect=201)
        assert client.api("GET", "/provider-configs")["items"] == []
        assert [chat["title"] for chat in client.api("GET", "/chats")["items"]] == ["Shared for a while"]
