"""Test what the administrator is told about security and the largest users."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.models import ApiToken
from tertulia.clock import now
from tertulia.instance.advisories import Advisories, Advisory, store_advisories
from tertulia.instance.largest_users import SETTING, count_users, is_count_due, store_largest_users
from tertulia.instance.security_report import changed_limits, exposure_of
from tertulia.jobs.models import InstanceSetting
from tertulia.settings import Settings
from tests.factories.accounts import make_admin, make_user
from tests.factories.chats import make_chat
from tests.factories.drafts import make_draft
from tests.factories.files import make_attachment
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.process import Process, run_cli
from tests.waiting import until

SignIn = Callable[[str], Client]


@pytest.fixture(autouse=True)
def _nothing_counted(session: Session) -> None:
    """Delete the count of an earlier test, because settings of the instance outlive tests on PostgreSQL."""
    session.execute(sa.delete(InstanceSetting).where(InstanceSetting.name == SETTING))
    session.commit()


def report(admin: Client) -> dict[str, Any]:
    answer: dict[str, Any] = admin.api("GET", "/security-report")
    return answer


@pytest.mark.parametrize(
    ("host", "public_url", "exposure"),
    [
        ("127.0.0.1", None, "this_machine"),
        ("::1", None, "this_machine"),
        ("localhost", None, "this_machine"),
        ("0.0.0.0", None, "without_tls"),
        ("127.0.0.1", "http://chat.example", "without_tls"),
        ("0.0.0.0", "https://chat.example", "tls"),
        ("127.0.0.1", "https://chat.example", "tls"),
    ],
)
def test_exposure(host: str, public_url: str | None, exposure: str) -> None:
    assert exposure_of(Settings(host=host, public_url=public_url)) == exposure


def test_changed_limits_are_listed_with_their_default() -> None:
    assert changed_limits(Settings()) == []
    changed = Settings(messages_per_day=5, chats_per_user=0, outbound_allow=("http://localhost:11434",))
    assert [(limit["setting"], limit["value"], limit["default"]) for limit in changed_limits(changed)] == [
        ("TERTULIA_MESSAGES_PER_DAY", "5", "no limit"),
        ("TERTULIA_CHATS_PER_USER", "0", "100000"),
        ("TERTULIA_OUTBOUND_ALLOW", "http://localhost:11434", "none"),
    ]


def test_a_new_instance_says_what_was_never_done(server: LiveServer, sign_in: SignIn) -> None:
    said = report(make_admin(server, sign_in))
    assert said["vulnerabilities"]["refreshed_at"] is None
    assert said["vulnerabilities"]["packages"] > 30
    assert (said["last_backup"], said["last_tested_restore"]) == (None, None)
    assert (said["unused_tokens"], said["failed_sign_ins"]) == ([], [])
    assert said["exposure"] == "this_machine"
    assert said["database"] == ("sqlite" if server.settings.sqlite_path else "postgresql")


def test_stored_advisories_are_compared_with_what_is_installed(server: LiveServer, sign_in: SignIn) -> None:
    admin = make_admin(server, sign_in)
    stored = Advisory(id="GHSA-1", package="sqlalchemy", summary="Bad", ranges=[[("introduced", "0")]])
    store_advisories(server.settings.data, Advisories(refreshed_at=now(), source="test", advisories=[stored]))
    assert [item["id"] for item in report(admin)["vulnerabilities"]["affected"]] == ["GHSA-1"]
    (server.settings.data / "advisories.json").write_text("{")
    assert "Delete it" in report(admin)["vulnerabilities"]["problem"]


def test_tokens_unused_for_90_days_are_counted_by_owner(server: LiveServer, sign_in: SignIn, session: Session) -> None:
    admin, ana = make_admin(server, sign_in), sign_in("ana")
    ana.api("POST", "/session/confirm", json={"password": "correct horse battery"}, expect=204)
    ids = [
        ana.api("POST", "/api-tokens", json={"name": f"{number}", "scopes": ["read"]}, expect=201)["id"]
        for number in range(5)
    ]
    long_ago, lately = now() - timedelta(days=91), now() - timedelta(days=89)

    def age(token: str, **values: object) -> None:
        session.execute(sa.update(ApiToken).where(ApiToken.id == token).values(**values))

    age(ids[0], created_at=long_ago)
    age(ids[1], created_at=long_ago, last_used_at=long_ago)
    age(ids[2], created_at=long_ago, last_used_at=lately)
    age(ids[3], created_at=long_ago, revoked_at=lately)
    age(ids[4], created_at=long_ago, expires_at=lately)
    session.commit()
    [unused] = report(admin)["unused_tokens"]
    assert (unused["username"], unused["count"]) == ("ana", 2)


def test_wrong_passwords_are_counted_by_account(server: LiveServer, sign_in: SignIn) -> None:
    admin, ana = make_admin(server, sign_in), sign_in("ana")
    for _ in range(3):
        with Client(server.url) as guest:
            guest.api("POST", "/session", json={"username": "ana", "password": "wrong password 1"}, expect=401)
    until(lambda: bool(report(admin)["failed_sign_ins"]), 10, lambda: "no failed sign-in is listed")
    [failed] = report(admin)["failed_sign_ins"]
    assert (failed["username"], failed["count"]) == ("ana", 3)
    ana.api("GET", "/security-report", expect=403)


def test_backups_and_tested_restores_are_noted(tmp_path: Path) -> None:
    process = Process(tmp_path)
    assert process.url
    archive = tmp_path / "all.zip"
    tested = run_cli(process.environment, "restore", "--test", str(archive))
    assert (tested.returncode, "Traceback" in tested.stderr) == (2, False)  # there is no such file
    assert run_cli(process.environment, "backup", str(archive)).returncode == 0
    # The server runs meanwhile, and its data is not touched.
    tested = run_cli(process.environment, "restore", "--test", str(archive))
    assert (tested.returncode, "can be restored" in tested.stdout) == (0, True), tested.stderr
    assert not list(tmp_path.glob("restore-test-*"))
    archive.write_bytes(archive.read_bytes()[:-200])
    assert run_cli(process.environment, "restore", "--test", str(archive)).returncode != 0
    assert process.terminate() == 0


def test_the_largest_users_are_counted_by_a_job(session: Session, request: pytest.FixtureRequest) -> None:
    alice, bob = make_user(session, username="alice"), make_user(session, username="bob")
    make_chat(session, owner=alice, messages=4)
    make_chat(session, owner=alice)
    make_draft(session, owner=alice, contents=("Text", "More text"))
    make_attachment(session, owner=bob, size=1000)
    make_attachment(session, owner=bob, size=500)
    session.commit()
    server = request.getfixturevalue("server")  # counts when it starts
    admin = make_admin(server, request.getfixturevalue("sign_in"))
    until(lambda: bool(admin.api("GET", "/largest-users")["users"]), 20, lambda: "nothing was counted")
    sizes = {user["username"]: user for user in admin.api("GET", "/largest-users")["users"]}
    assert [sizes["bob"][name] for name in ("chats", "messages", "drafts", "files", "file_bytes")] == [0, 0, 0, 2, 1500]
    assert [sizes["alice"][name] for name in ("chats", "messages", "drafts", "versions", "files")] == [3, 4, 1, 2, 0]
    assert list(sizes)[:2] == ["bob", "alice"]


def test_users_are_counted_once_an_hour(session: Session) -> None:
    assert is_count_due(session)
    store_largest_users(session, count_users(session))
    assert not is_count_due(session)
    for minutes, is_due in ((59, False), (61, True)):
        session.execute(sa.update(InstanceSetting).values(updated_at=now() - timedelta(minutes=minutes)))
        assert is_count_due(session) is is_due


def test_only_the_largest_are_kept(session: Session) -> None:
    for number in range(30):
        make_attachment(session, owner=make_user(session), size=number + 1)
    counted = count_users(session)
    assert [user["file_bytes"] for user in counted if user["files"]][:20] == list(range(30, 10, -1))
    assert len(counted) <= 40
