"""Test the audit log: who may read it, how it is narrowed, paged and exported, and that reading it stays cheap."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import AdminOnly
from tertulia.accounts.audit import AuditFilter, as_csv, as_text, list_actions, list_audit_log, write_audit
from tertulia.accounts.models import AuditLog, User, UserRole
from tertulia.accounts.schemas import AuditEntry
from tertulia.cli.running import OPERATOR
from tertulia.ids import new_id
from tests.conftest import SignIn
from tests.factories.accounts import make_user
from tests.fakes.live_server import Client, LiveServer


@pytest.fixture
def admin(sign_in: SignIn, server: LiveServer) -> Client:
    from tertulia.db.opening import plain_engine

    sign_in("root")
    engine = plain_engine(server.settings)
    with Session(engine) as session, session.begin():
        session.execute(sa.update(User).where(User.username == "root").values(role=UserRole.ADMIN))
    engine.dispose()
    return sign_in("root")


def listed(client: Client, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.api("GET", "/audit-log", params=query)["items"]
    return items


def test_sign_ins_and_changes_are_listed_with_who_and_whom(admin: Client, sign_in: SignIn) -> None:
    bob = sign_in("bob")
    assert bob.user is not None
    admin.api("PATCH", f"/users/{bob.user['id']}", json={"role": "admin"})
    changed, signed_in, *_ = listed(admin)
    assert (changed["action"], changed["entity_name"], changed["user"]["username"]) == ("user.role", "bob", "root")
    assert (signed_in["action"], signed_in["user"]["name"], signed_in["ip_address"]) == (
        "session.start",
        "Bob",
        "127.0.0.1",
    )


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"username": "BOB"}, 1),
        ({"username": "carla"}, 0),
        ({"action": "session.start"}, 3),
        ({"action": "session"}, 3),
        ({"action": "sess"}, 0),
        ({"action": "user"}, 0),
        ({"ip_address": "127.0.0.1"}, 3),
        ({"ip_address": "127.0.0.2"}, 0),
        ({"since": "2999-01-01"}, 0),
        ({"until": "2000-01-01"}, 0),
        ({"since": "2000-01-01", "until": "2999-01-01", "username": "root"}, 2),
    ],
)
def test_the_log_is_narrowed(admin: Client, sign_in: SignIn, query: dict[str, str], count: int) -> None:
    sign_in("bob")
    assert len(listed(admin, **query)) == count


def test_pages_have_each_entry_once(admin: Client, sign_in: SignIn) -> None:
    for name in ("a1", "a2", "a3"):
        sign_in(name)
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = admin.api("GET", "/audit-log", params=query)
        seen += [entry["id"] for entry in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [entry["id"] for entry in listed(admin)]
    assert len(set(seen)) == 5


@pytest.mark.parametrize(
    "query", [{"since": "yesterday"}, {"action": "a b"}, {"limit": 201}, {"who": "bob"}, {"username": "x" * 255}]
)
def test_an_odd_filter_is_refused(admin: Client, query: dict[str, Any]) -> None:
    admin.api("GET", "/audit-log", params=query, expect=422)


def test_the_export_has_every_entry_and_is_recorded(admin: Client, sign_in: SignIn) -> None:
    sign_in("bob")
    before = listed(admin)
    answer = admin.get("/audit-log/export", params={"format": "csv", "action": "session"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["username"], row["action"]) for row in rows] == [
        (entry["user"]["username"], entry["action"]) for entry in before
    ]
    lines = admin.get("/audit-log/export", params={"format": "jsonl"}).text.splitlines()
    exported = [json.loads(line) for line in lines]
    assert [entry["action"] for entry in exported[:2]] == ["export.audit_log", "export.audit_log"]
    assert exported[2:] == before
    assert admin.api("GET", "/audit-log/actions")["items"] == ["export.audit_log", "session.start"]


def test_only_administrators_read_it(session: Session, ana: Client) -> None:
    for path in ("", "/actions", "/export"):
        ana.api("GET", f"/audit-log{path}", expect=403)
    alice = make_user(session, username="alice", name="Alice")
    with pytest.raises(AdminOnly):
        list_audit_log(session, alice, AuditFilter(), after=None, limit=1)
    with pytest.raises(AdminOnly):
        list_actions(session, alice)


def test_who_was_deleted_is_no_longer_named(session: Session) -> None:
    alice = make_user(session, username="alice", name="Alice")
    write_audit(session, alice.user_id, "share.create", entity="share", entity_id=new_id())
    write_audit(session, OPERATOR.user_id, "user.password", entity="user", entity_id=alice.user_id)
    session.execute(sa.delete(User).where(User.id == alice.user_id))
    entries = list_audit_log(session, OPERATOR, AuditFilter(), after=None, limit=10)
    assert [(entry["user"], entry["entity_name"]) for entry in entries] == [(None, None), (None, None)]


def entry(name: str) -> AuditEntry:
    return {
        "id": new_id(),
        "created_at": clock.now(),
        "user": {"id": new_id(), "username": name, "name": name},
        "action": "share.create",
        "entity": None,
        "entity_id": None,
        "entity_name": None,
        "ip_address": None,
    }


@pytest.mark.parametrize("name", ["-bob", "=1+1", "+bob", "@bob"])
def test_a_name_is_no_formula_in_a_spreadsheet(name: str) -> None:
    (row,) = csv.DictReader(io.StringIO(as_csv([entry(name)], with_head=True).decode()))
    assert row["username"] == f"'{name}"


def test_lines_of_text_have_a_mark_for_what_is_missing() -> None:
    assert as_text([entry("bob")]).decode().split()[1:] == ["bob", "share.create", "-", "-", "-"]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (AuditFilter(), "ix_audit_log_created_at"),
        (AuditFilter(username="alice"), "ix_audit_log_user_id_created_at"),
        (AuditFilter(action="action.7"), "ix_audit_log_action_created_at"),
        (AuditFilter(ip_address="192.0.2.7"), "ix_audit_log_ip_address_created_at"),
    ],
)
@pytest.mark.parametrize("engine_kind", ["sqlite"], indirect=True)
def test_a_page_reads_an_index(session: Session, wanted: AuditFilter, index: str) -> None:
    users = [make_user(session, username=name, name=name).user_id for name in ("alice", "bob", "carla")]
    now = clock.now()
    rows = [
        {
            "id": new_id(),
            "user_id": users[number % 3],
            "action": f"action.{number % 20}",
            "ip_address": f"192.0.2.{number % 50}",
            "created_at": now - timedelta(seconds=number),
        }
        for number in range(3000)
    ]
    session.execute(sa.insert(AuditLog), rows)
    session.execute(sa.text("ANALYZE"))
    plans: list[str] = []

    @sa.event.listens_for(session.get_bind(), "before_cursor_execute")
    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT audit_log.id"):
            rows = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            plans.append(" ".join(str(row) for row in rows))

    assert len(list_audit_log(session, OPERATOR, wanted, after=None, limit=10)) == 10
    (plan,) = plans
    assert index in plan
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan
