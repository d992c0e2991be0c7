"""Tests for devices, passwords, API tokens, and account administration."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session as DbSession

from tertulia.accounts.errors import WrongCredentials
from tertulia.accounts.models import ApiToken, AuditLog, Session, User
from tertulia.accounts.sessions import Credentials, require_unchanged
from tertulia.db.opening import plain_engine
from tertulia.settings import Settings
from tests.conftest import ServerMaker, SignIn
from tests.factories.accounts import make_admin, make_user
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import ScriptedProvider


@pytest.fixture
def phone(sign_in: SignIn, ana: Client) -> Client:
    """Return a client signed in on Ana's second device."""
    return sign_in("ana")


def bearer(server: LiveServer, token: str) -> Client:
    client = Client(server.url)
    client.headers["Authorization"] = f"Bearer {token}"
    return client


def closes(client: Client) -> Iterator[None]:
    """Open an event stream and yield. When resumed, assert that the server closes it within five seconds."""
    with client.stream("GET", "/events") as response:
        assert response.status_code == 200
        lines = response.iter_lines()
        next(lines)
        yield
        began = time.monotonic()
        for _ in lines:
            continue
        assert time.monotonic() - began < 5


def test_the_device_list_marks_the_current_device(ana: Client, phone: Client) -> None:
    devices = ana.api("GET", "/sessions")["items"]
    assert [device["is_current"] for device in devices] == [False, True]
    assert all(device["ip_address"] == "127.0.0.1" for device in devices)


def test_revoking_a_device_signs_it_out_and_closes_its_stream(ana: Client, phone: Client) -> None:
    watching = closes(phone)
    next(watching)
    other = next(device for device in ana.api("GET", "/sessions")["items"] if not device["is_current"])
    ana.api("DELETE", f"/sessions/{other['id']}", expect=204)
    phone.api("GET", "/me", expect=401)
    assert list(watching) == []
    assert len(ana.api("GET", "/sessions")["items"]) == 1
    ana.api("DELETE", f"/sessions/{other['id']}", expect=404)


def test_changing_the_password_ends_other_sessions_and_their_streams(
    ana: Client, phone: Client, sign_in: SignIn
) -> None:
    watching = closes(phone)
    next(watching)
    old_cookie = dict(ana.cookies)
    change = {"password": "correct horse battery", "new_password": "staple of another kind"}
    ana.api("PUT", "/me/password", json=change)
    assert dict(ana.cookies) != old_cookie  # the session token is replaced
    ana.api("GET", "/me")
    phone.api("GET", "/me", expect=401)
    assert list(watching) == []
    with Client(str(ana.base_url).removesuffix("/api/v1/")) as again:
        again.api("POST", "/session", json={"username": "ana", "password": "correct horse battery"}, expect=401)
        again.api("POST", "/session", json={"username": "ana", "password": "staple of another kind"}, expect=201)


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"password": "wrong wrong wrong", "new_password": "staple of another kind"}, "wrong_password", "password"),
        ({"password": "correct horse battery", "new_password": "short"}, "weak_password", "new_password"),
    ],
)
def test_a_rejected_password_change_names_the_field(ana: Client, change: dict[str, str], code: str, field: str) -> None:
    refused = ana.api("PUT", "/me/password", json=change, expect=422)
    assert (refused["code"], refused["errors"][0]["field"]) == (code, field)


def test_wrong_password_confirmations_are_rate_limited(ana: Client) -> None:
    for _ in range(4):  # the sign-in was the first of five attempts
        ana.api("POST", "/session/confirm", json={"password": "wrong"}, expect=422)
    assert ana.request("POST", "/session/confirm", json={"password": "wrong"}).status_code == 429


def test_a_token_is_shown_once_and_stored_as_a_hash(ana: Client, server: LiveServer, settings: Settings) -> None:
    created = ana.api("POST", "/api-tokens", json={"name": "Backup"}, expect=201)
    assert created["token"].startswith("tta_")
    assert created["prefix"] == created["token"][:8]
    assert "token" not in ana.api("GET", "/api-tokens")["items"][0]
    engine = plain_engine(settings)
    with engine.connect() as connection:
        row = connection.execute(sa.select(ApiToken.token_hash, ApiToken.prefix)).one()
    engine.dispose()
    assert created["token"].encode() not in bytes(row.token_hash)
    with bearer(server, created["token"]) as script:
        chat = script.chat(title="By a script")
        assert script.api("GET", f"/chats/{chat['id']}")["title"] == "By a script"
    assert ana.api("GET", "/chats")["items"][0]["title"] == "By a script"


def test_repeating_an_idempotent_call_does_not_show_the_token_again(ana: Client, settings: Settings) -> None:
    headers = {"Idempotency-Key": "one"}
    created = ana.api("POST", "/api-tokens", json={"name": "Backup"}, headers=headers, expect=201)
    again = ana.api("POST", "/api-tokens", json={"name": "Backup"}, headers=headers, expect=201)
    assert (again["id"], again["token"], again["code"]) == (created["id"], None, "already_shown")
    engine = plain_engine(settings)
    with engine.connect() as connection:
        answers = connection.execute(sa.text("SELECT answer FROM idempotency_key")).scalars().all()
    engine.dispose()
    assert not any(created["token"] in answer for answer in answers)


def test_scopes_limit_what_a_token_may_do(ana: Client, server: LiveServer) -> None:
    token = ana.api("POST", "/api-tokens", json={"name": "r", "scopes": ["read"]}, expect=201)["token"]
    with bearer(server, token) as script:
        script.api("GET", "/chats")
        refused = script.api("POST", "/chats", json={}, expect=403)
        assert (refused["code"], refused["scope"]) == ("scope_missing", "write")
    assert ana.api("POST", "/api-tokens", json={"name": "a", "scopes": ["admin"]}, expect=403)["code"] == "admin_only"
    ana.api("POST", "/api-tokens", json={"name": "none", "scopes": []}, expect=422)
    ana.api("POST", "/api-tokens", json={"name": "other", "scopes": ["root"]}, expect=422)


def test_a_token_cannot_create_tokens_or_change_credentials(ana: Client, server: LiveServer) -> None:
    token = ana.api("POST", "/api-tokens", json={"name": "t"}, expect=201)["token"]
    with bearer(server, token) as script:
        for method, path, body in (
            ("POST", "/api-tokens", {"name": "another"}),
            ("POST", "/provider-configs", {"provider": "mistral", "api_key": "0123456789ab"}),
            ("PATCH", "/me", {"email": "eve@example.org"}),
            ("PUT", "/me/password", {"password": "correct horse battery", "new_password": "staple of another kind"}),
            ("POST", "/session/confirm", {"password": "correct horse battery"}),
        ):
            assert script.api(method, path, json=body, expect=403)["code"] == "sign_in_needed"


def test_an_administrators_token_needs_the_admin_scope(server: LiveServer, sign_in: SignIn) -> None:
    admin = make_admin(server, sign_in)
    plain = admin.api("POST", "/api-tokens", json={"name": "p"}, expect=201)["token"]
    full = admin.api("POST", "/api-tokens", json={"name": "f", "scopes": ["read", "write", "admin"]}, expect=201)[
        "token"
    ]
    with bearer(server, plain) as script:
        assert script.api("GET", "/users", expect=403)["code"] == "admin_only"
    with bearer(server, full) as script:
        assert len(script.api("GET", "/users")["items"]) == 1


def test_a_revoked_or_expired_token_is_rejected(ana: Client, server: LiveServer, settings: Settings) -> None:
    created = ana.api("POST", "/api-tokens", json={"name": "t"}, expect=201)
    with bearer(server, created["token"]) as script:
        watching = closes(script)
        next(watching)
        ana.api("DELETE", f"/api-tokens/{created['id']}", expect=204)
        assert script.api("GET", "/me", expect=401)["code"] == "not_signed_in"
        assert list(watching) == []
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    timed = ana.api("POST", "/api-tokens", json={"name": "t", "expires_at": soon}, expect=201)
    with bearer(server, timed["token"]) as script:
        script.api("GET", "/me")
        engine = plain_engine(settings)
        with engine.begin() as connection:
            connection.execute(sa.update(ApiToken).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
        engine.dispose()
        script.api("GET", "/me", expect=401)
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    ana.api("POST", "/api-tokens", json={"name": "t", "expires_at": past}, expect=422)


def test_token_calls_are_rate_limited(start_server: ServerMaker, provider: ScriptedProvider, sign_in: SignIn) -> None:
    server = start_server(openai_base_url=provider.url, api_calls_per_minute=3)
    token = sign_in("ana").api("POST", "/api-tokens", json={"name": "t"}, expect=201)["token"]
    with bearer(server, token) as script:
        assert [script.get("/models").status_code for _ in range(4)] == [200, 200, 200, 429]


def test_a_deactivated_user_is_signed_out_and_keeps_their_chats(server: LiveServer, sign_in: SignIn) -> None:
    admin, bob = make_admin(server, sign_in), sign_in("bob")
    chat = bob.chat(title="Mine")
    token = bob.api("POST", "/api-tokens", json={"name": "t"}, expect=201)["token"]
    path = f"/users/{bob.user['id']}"
    assert admin.api("PATCH", path, json={"status": "inactive"})["status"] == "inactive"
    bob.api("GET", "/me", expect=401)
    with bearer(server, token) as script:
        script.api("GET", "/me", expect=401)
    refused = bob.api("POST", "/session", json={"username": "bob", "password": "correct horse battery"}, expect=401)
    assert refused["code"] == "wrong_credentials"
    admin.api("PATCH", path, json={"status": "active"})
    bob.api("POST", "/session", json={"username": "bob", "password": "correct horse battery"}, expect=201)
    assert bob.api("GET", f"/chats/{chat['id']}")["title"] == "Mine"


def test_changing_a_role_ends_the_users_sessions(server: LiveServer, sign_in: SignIn, settings: Settings) -> None:
    admin, bob = make_admin(server, sign_in), sign_in("bob")
    admin.api("PATCH", f"/users/{bob.user['id']}", json={"role": "admin"})
    bob.api("GET", "/me", expect=401)
    again = sign_in("bob")
    assert again.user["role"] == "admin"
    engine = plain_engine(settings)
    with engine.connect() as connection:
        actions = connection.execute(sa.select(AuditLog.action)).scalars().all()
    engine.dispose()
    assert "user.role" in actions


def test_the_last_administrator_cannot_be_demoted_or_deactivated(server: LiveServer, sign_in: SignIn) -> None:
    admin = make_admin(server, sign_in)
    for update in ({"role": "user"}, {"status": "inactive"}):
        assert admin.api("PATCH", f"/users/{admin.user['id']}", json=update, expect=409)["code"] == "last_admin"


def test_two_administrators_cannot_demote_each_other_at_once(
    server: LiveServer, sign_in: SignIn, settings: Settings
) -> None:
    admin = make_admin(server, sign_in)
    bob = sign_in("bob")
    admin.api("PATCH", f"/users/{bob.user['id']}", json={"role": "admin"})
    bob = sign_in("bob")
    answers: list[int] = []

    def demote(by: Client, other: Client) -> None:
        answers.append(by.request("PATCH", f"/users/{other.user['id']}", json={"role": "user"}).status_code)

    threads = [threading.Thread(target=demote, args=pair) for pair in ((admin, bob), (bob, admin))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine = plain_engine(settings)
    with engine.connect() as connection:
        remaining = connection.execute(sa.select(User.username).where(User.role == "admin")).scalars().all()
    engine.dispose()
    assert len(remaining) == 1, answers


def test_expired_sessions_are_not_listed_as_devices(ana: Client, phone: Client, settings: Settings) -> None:
    engine = plain_engine(settings)
    with engine.begin() as connection:
        other = next(device for device in ana.api("GET", "/sessions")["items"] if not device["is_current"])
        connection.execute(sa.update(Session).where(Session.id == other["id"]).values(expires_at=datetime.now(UTC)))
    engine.dispose()
    assert len(ana.api("GET", "/sessions")["items"]) == 1


def test_a_wrong_token_is_rejected_despite_a_valid_cookie(ana: Client, server: LiveServer) -> None:
    answer = httpx.get(
        f"{server.url}/api/v1/me",
        headers={"Authorization": "Bearer tta_wrong"},
        cookies=dict(ana.cookies),
        trust_env=False,
    )
    assert answer.status_code == 401


def test_a_sign_in_fails_if_the_account_changed_during_the_password_check(session: DbSession) -> None:
    person = make_user(session, password_hash="old")
    compared = Credentials(person.user_id, "old")
    require_unchanged(session, compared)
    session.execute(sa.update(User).where(User.id == person.user_id).values(password_hash="new"))
    with pytest.raises(WrongCredentials):
        require_unchanged(session, compared)
    session.execute(sa.update(User).where(User.id == person.user_id).values(password_hash="old", status="inactive"))
    with pytest.raises(WrongCredentials):
        require_unchanged(session, compared)
