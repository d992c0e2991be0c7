"""Test the deletion of an account by its owner: what it needs, that it can be undone, and that nothing is left."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.deletion import OwnedData, delete_next_part, find_leftovers, has_due_deletion
from tertulia.accounts.models import DeletedUser, User
from tertulia.billing.payments.models import WebhookEvent
from tertulia.billing.recounts import find_wrong_sums
from tertulia.chat.models import Chat, Message
from tertulia.db import Database
from tertulia.db.opening import plain_engine
from tertulia.features import Features, discover_features
from tests.conftest import SignIn
from tests.factories.accounts import make_admin
from tests.fakes.live_server import Client, LiveServer
from tests.waiting import until

PASSWORD = "correct horse battery"
LATER = timedelta(days=7, seconds=1)


def delete_all(server: LiveServer) -> None:
    """Run the job until nothing is due, in small units of work."""
    owned = Features(discover_features()).contributed(OwnedData)
    db = server.app.state.services.get(Database)
    with clock.frozen(clock.now() + LATER):
        while server.call(db.write(delete_next_part, owned)):
            pass


def inspect(server: LiveServer, look: Any) -> Any:
    engine = plain_engine(server.settings)
    with Session(engine) as session:
        result = look(session)
    engine.dispose()
    return result


def test_an_account_is_deleted_in_seven_days_and_can_be_kept(ana: Client, server: LiveServer) -> None:
    assert ana.api("DELETE", "/me", json={"password": "wrong horse battery"}, expect=422)["code"] == "wrong_password"
    deletes_at = ana.api("DELETE", "/me", json={"password": PASSWORD})["deletes_at"]
    assert abs((clock.now() + timedelta(days=7)).timestamp() - _seconds(deletes_at)) < 60
    assert ana.api("DELETE", "/me")["deletes_at"] == deletes_at  # the password was entered just now
    assert not inspect(server, has_due_deletion)
    assert ana.api("POST", "/me/restore")["deletes_at"] is None
    delete_all(server)
    assert ana.api("GET", "/me")["username"] == "ana"


def _seconds(moment: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()


def test_nothing_of_a_deleted_account_is_left(ana: Client, server: LiveServer, sign_in: SignIn) -> None:
    bob = sign_in("bob")
    file = ana.api("POST", "/attachments", files={"file": ("a.txt", b"words of ana")}, expect=201)
    until(lambda: ana.api("GET", f"/attachments/{file['id']}")["status"] == "ready")
    chat = ana.chat()
    ana.finished(ana.say(chat["id"], "hello", attachment_ids=[file["id"]])["run"]["id"])
    ana.api("POST", f"/chats/{chat['id']}/shares", json={}, expect=201)
    draft = ana.api("POST", "/drafts", json={"content": "A draft"}, expect=201)
    ana.api("POST", f"/drafts/{draft['id']}/chats", expect=201)
    ana.api("POST", "/api-tokens", json={"name": "script"}, expect=201)
    ana.api("POST", "/tags", json={"name": "home"}, expect=201)
    quota = {"subject_kind": "user", "subject_id": ana.user["id"], "window": "month", "max_cost": "20"}
    ana.api("POST", "/quotas", json=quota, expect=201)
    bill = {"provider": "openai", "content": "date,model,cost\n2026-11-01,m,1\n"}
    ana.api("POST", "/usage/reconciliations", json=bill, expect=201)
    shared = bob.chat()
    share = {"shared_with_username": "ana", "permissions": {"can_write": True}}
    bob.api("POST", f"/chats/{shared['id']}/shares", json=share, expect=201)
    said = ana.say(shared["id"], "words in the chat of another", reply=False)["message"]["id"]
    spent = make_admin(server, sign_in).api("GET", "/usage?of=everyone")["total"]["total_tokens"]
    assert spent > 0
    ana.api("DELETE", "/me", json={"password": PASSWORD})
    delete_all(server)
    assert inspect(server, lambda session: sorted(session.scalars(sa.select(User.username)))) == ["admin", "bob"]
    assert inspect(server, find_leftovers) == []
    assert inspect(server, find_wrong_sums) == []
    assert inspect(server, lambda session: session.get(Message, said).user_id) is None
    assert bob.api("GET", f"/messages/{said}")["content"] == "words in the chat of another"
    assert ana.api("GET", "/me", expect=401)["code"] == "not_signed_in"
    admin = make_admin(server, sign_in)
    assert admin.api("GET", "/usage?of=everyone")["total"]["total_tokens"] == spent
    (group,) = admin.api("GET", "/usage?of=everyone&group_by=user")["items"]
    assert (group["user_id"], group["total_tokens"]) == (None, spent)


def test_the_last_administrator_stays(server: LiveServer, sign_in: SignIn) -> None:
    admin = make_admin(server, sign_in)
    assert admin.api("DELETE", "/me", json={"password": PASSWORD}, expect=409)["code"] == "last_admin"


def test_administrators_cannot_all_leave(server: LiveServer, sign_in: SignIn, ana: Client) -> None:
    """Expect that an administrator who leaves in seven days does not count any more."""
    admin = make_admin(server, sign_in)
    admin.api("PATCH", f"/users/{ana.user['id']}", json={"role": "admin"})
    ana = sign_in("ana")
    admin.api("DELETE", "/me", json={"password": PASSWORD})
    assert ana.api("DELETE", "/me", json={"password": PASSWORD}, expect=409)["code"] == "last_admin"
    demotion = {"role": "user"}
    assert admin.api("PATCH", f"/users/{ana.user['id']}", json=demotion, expect=409)["code"] == "last_admin"
    admin.api("POST", "/me/restore")
    admin.api("PATCH", f"/users/{ana.user['id']}", json=demotion)


def test_an_api_token_cannot_delete_the_account(ana: Client, server: LiveServer) -> None:
    token = ana.api("POST", "/api-tokens", json={"name": "script"}, expect=201)["token"]
    with Client(server.url) as script:
        script.headers["Authorization"] = f"Bearer {token}"
        assert script.api("DELETE", "/me", json={"password": PASSWORD}, expect=403)["code"] == "sign_in_needed"


def test_the_check_finds_what_still_names_a_deleted_account(ana: Client, server: LiveServer) -> None:
    ana.chat()
    engine = plain_engine(server.settings)
    with Session(engine) as session:
        session.add(DeletedUser(id=ana.user["id"]))
        session.flush()
        findings = find_leftovers(session)
        assert any(finding.startswith("chat.user_id names deleted accounts in 1 rows") for finding in findings)
        # Within a structure and within stored bytes, too.
        chat = session.scalars(sa.select(Chat)).one()
        chat.details = {"user": ana.user["id"]}
        body = b"{'user': '%s'}" % ana.user["id"].encode()
        session.add(WebhookEvent(source="polar", sender_id="1", received_at=clock.now(), body=body))
        session.flush()
        findings = find_leftovers(session)
        for place in ("chat.metadata", "webhook_event.body"):
            assert f"{place} names deleted accounts in 1 rows" in findings
        session.rollback()
    engine.dispose()
