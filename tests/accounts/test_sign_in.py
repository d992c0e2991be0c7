"""Tests for first-run setup, sign-in, sign-out, and the end of sessions."""

import threading
from datetime import timedelta

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session as DbSession

from tertulia import clock
from tertulia.accounts.errors import WeakPassword
from tertulia.accounts.models import AuditLog, Session, User, UserStatus
from tertulia.accounts.password_attempts import network_of
from tertulia.accounts.passwords import check_password
from tertulia.db.opening import plain_engine
from tertulia.settings import Settings
from tests.conftest import ServerMaker, SignIn
from tests.fakes.live_server import Client, LiveServer

ADA = {"username": "ada", "name": "Ada", "password": "correct horse battery"}


def test_setup_creates_the_first_account_once(server: LiveServer) -> None:
    with Client(server.url) as client:
        assert client.api("GET", "/setup") == {"required": True}
        user = client.api("POST", "/setup", json=ADA, expect=201)
        assert (user["role"], user["username"]) == ("admin", "ada")
        assert client.api("GET", "/me")["id"] == user["id"]
        assert client.api("GET", "/setup") == {"required": False}
        assert client.api("POST", "/setup", json=ADA | {"username": "eve"}, expect=409)["code"] == "already_set_up"


def test_concurrent_setup_calls_create_one_account(server: LiveServer) -> None:
    statuses: list[int] = []

    def try_it(number: int) -> None:
        with Client(server.url) as client:
            statuses.append(client.post("/setup", json=ADA | {"username": f"ada{number}"}).status_code)

    threads = [threading.Thread(target=try_it, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 409, 409, 409]


def test_a_wrong_password_and_an_unknown_username_get_the_same_answer(ana: Client, server: LiveServer) -> None:
    with Client(server.url) as client:
        answers = [
            client.post("/session", json={"username": name, "password": "wrong wrong wrong"})
            for name in ("ana", "unknown")
        ]
    bodies = [{**answer.json(), "request_id": None} for answer in answers]
    assert bodies[0] == bodies[1]
    assert [answer.status_code for answer in answers] == [401, 401]


def test_signing_out_ends_the_session_at_once(ana: Client) -> None:
    token = ana.cookies["tertulia_session"]
    ana.api("DELETE", "/session", expect=204)
    ana.cookies.set("tertulia_session", token)
    assert ana.api("GET", "/me", expect=401)["code"] == "not_signed_in"


def test_signing_in_again_replaces_the_session_token(ana: Client) -> None:
    old = ana.cookies["tertulia_session"]
    ana.api("POST", "/session", json={"username": "ana", "password": "correct horse battery"}, expect=201)
    new = ana.cookies["tertulia_session"]
    assert new != old
    ana.cookies.set("tertulia_session", old, domain="", path="/")
    with httpx.Client(base_url=str(ana.base_url), cookies={"tertulia_session": old}) as other:
        assert other.get("me").status_code == 401


def test_the_session_token_is_stored_only_as_a_hash(ana: Client, settings: Settings) -> None:
    engine = plain_engine(settings)
    with DbSession(engine) as session:
        stored = session.scalars(sa.select(Session.token_hash)).one()
    engine.dispose()
    assert len(stored) == 32
    assert ana.cookies["tertulia_session"].encode() not in stored


@pytest.mark.parametrize(
    "change",
    [
        {"expires_at": timedelta(seconds=-1)},
        {"last_active_at": timedelta(days=-7, seconds=-1)},
        {"is_active": False},
    ],
    ids=["expired", "idle", "ended"],
)
def test_an_expired_idle_or_ended_session_is_rejected(
    ana: Client, settings: Settings, change: dict[str, object]
) -> None:
    values = {name: clock.now() + by if isinstance(by, timedelta) else by for name, by in change.items()}
    _change(settings, sa.update(Session).values(**values))
    assert ana.api("GET", "/me", expect=401)["code"] == "not_signed_in"


def test_a_session_just_within_the_idle_limit_is_accepted(ana: Client, settings: Settings) -> None:
    almost = clock.now() - timedelta(days=7) + timedelta(seconds=5)
    _change(settings, sa.update(Session).values(last_active_at=almost))
    ana.api("GET", "/me")


@pytest.mark.parametrize("status", [UserStatus.INACTIVE, UserStatus.SUSPENDED])
def test_an_inactive_or_suspended_user_is_signed_out(ana: Client, settings: Settings, status: UserStatus) -> None:
    _change(settings, sa.update(User).values(status=status))
    ana.api("GET", "/me", expect=401)


def test_the_sixth_sign_in_attempt_in_a_minute_is_rejected(server: LiveServer, sign_in: SignIn) -> None:
    sign_in("ana")
    with Client(server.url) as client:
        wrong = {"username": "ANA", "password": "wrong wrong wrong"}
        assert [client.post("/session", json=wrong).status_code for _ in range(6)] == [*[401] * 5, 429]
        assert client.post("/session", json=wrong).headers["retry-after"]


def test_wrong_passwords_of_others_do_not_lock_out_a_known_device(server: LiveServer, ana: Client) -> None:
    right, wrong = ({"username": "ana", "password": text} for text in ("correct horse battery", "wrong wrong wrong"))
    with Client(server.url) as stranger:
        while stranger.post("/session", json=wrong).status_code == 401:
            pass
        assert stranger.post("/session", json=right).status_code == 429
    ana.api("DELETE", "/session", expect=204)
    assert ana.post("/session", json=right).status_code == 201  # from the same network, with the device's cookie
    failed = ana.api("GET", "/me/failed-sign-ins")
    assert (failed["count"], failed["last_address"]) == (5, "127.0.0.1")


def test_others_behind_the_same_address_do_not_keep_a_known_device_out(server: LiveServer, ana: Client) -> None:
    with Client(server.url) as stranger:
        for number in range(25):
            stranger.post("/session", json={"username": f"unknown-{number}", "password": "wrong wrong wrong"})
        right = {"username": "ana", "password": "correct horse battery"}
        assert stranger.post("/session", json=right).status_code == 429
    ana.api("DELETE", "/session", expect=204)
    assert ana.post("/session", json=right).status_code == 201


def test_the_cookie_of_a_device_counts_for_its_own_account_only(server: LiveServer, sign_in: SignIn) -> None:
    ana, _ = sign_in("ana"), sign_in("ben")
    wrong = {"username": "ben", "password": "wrong wrong wrong"}
    with Client(server.url) as stranger:
        statuses = [stranger.post("/session", json=wrong).status_code for _ in range(6)]
    assert statuses[-1] == 429
    ana.cookies.delete("tertulia_session")
    assert ana.post("/session", json=wrong).status_code == 429


def test_a_token_of_one_kind_is_not_accepted_as_another(server: LiveServer, ana: Client) -> None:
    session_token = ana.cookies["tertulia_session"]
    api_token = ana.api("POST", "/api-tokens", json={"name": "script"}, expect=201)["token"]
    with Client(server.url) as other:
        assert other.get("/me", headers={"Authorization": f"Bearer {session_token}"}).status_code == 401
        assert other.get("/me", headers={"Cookie": f"tertulia_session={api_token}"}).status_code == 401
        assert other.get("/me", headers={"Authorization": f"Bearer {api_token}"}).status_code == 200


@pytest.mark.parametrize(
    ("password", "is_good"),
    [
        ("elevenchars", False),
        ("twelve chars", True),
        (("correct horse battery " * 12)[:256], True),
        (("correct horse battery " * 12)[:257], False),
        ("x" * 256, False),
        ("qwertyuiop123456789", False),
        ("Passw0rd!Passw0rd!", False),
        ("123456123456", False),
        ("ada.lovelace", False),
        ("ADA.Lovelace", False),
    ],
)
def test_only_strong_passwords_are_accepted(password: str, is_good: bool) -> None:
    if is_good:
        check_password(password, names=("ada.lovelace",))
    else:
        with pytest.raises(WeakPassword):
            check_password(password, names=("ada.lovelace",))


@pytest.mark.parametrize(
    ("name", "is_good"),
    [
        ("O'Brien", True),
        ("Núñez", True),
        ("李小龙", True),
        ("J. R.", True),
        ("<b>", False),
        ("a" * 101, False),
        (" ", False),
    ],
)
def test_only_valid_display_names_are_accepted(server: LiveServer, name: str, is_good: bool) -> None:
    with Client(server.url) as client:
        answer = client.post("/setup", json=ADA | {"name": name})
    assert answer.status_code == (201 if is_good else 422), answer.text


def test_email_addresses_are_unique_regardless_of_case(sign_in: SignIn, settings: Settings) -> None:
    ana = sign_in("ana")
    _change(settings, sa.update(User).values(role="admin"))
    new = {"name": "B", "password": "correct horse battery"}
    ana.api("POST", "/users", json=new | {"username": "berta", "email": "Berta@Example.org"}, expect=201)
    again = ana.api("POST", "/users", json=new | {"username": "other", "email": "berta@example.ORG"}, expect=409)
    assert again["code"] == "username_taken"


def test_only_administrators_create_and_list_users(ana: Client) -> None:
    new = {"username": "berta", "name": "B", "password": "correct horse battery"}
    assert ana.api("POST", "/users", json=new, expect=403)["code"] == "admin_only"
    assert ana.api("GET", "/users", expect=403)["code"] == "admin_only"


def test_preferences_are_updated_individually(ana: Client) -> None:
    ana.api("PATCH", "/me", json={"preferences": {"theme": "dark", "language": "pt-BR"}})
    me = ana.api("PATCH", "/me", json={"preferences": {"language": None}})
    assert (me["preferences"]["theme"], me["preferences"]["language"]) == ("dark", None)
    ana.api("PATCH", "/me", json={"preferences": {"theme": "purple"}}, expect=422)


def test_the_session_cookie_is_secure_behind_tls(start_server: ServerMaker) -> None:
    behind_tls = start_server(public_url="https://chat.example")
    with Client(behind_tls.url) as client:
        cookie = client.post("/setup", json=ADA).headers["set-cookie"]
    assert cookie.startswith("__Host-tertulia_session=")
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= {part.strip().lower() for part in cookie.split(";")}
    assert "domain" not in cookie.lower()


def test_setup_over_plain_http_is_refused_outside_loopback(start_server: ServerMaker) -> None:
    # Listen on all interfaces: on loopback the host check refuses the request first.
    server = start_server(host="0.0.0.0")
    with Client(server.url) as client:
        refused = client.post("/setup", json=ADA, headers={"Host": "chat.example:8000"})
        assert (refused.status_code, refused.json()["code"]) == (403, "insecure_connection")


def test_an_unknown_host_is_refused_on_loopback(server: LiveServer) -> None:
    with httpx.Client() as client:
        assert client.get(f"{server.url}/healthz", headers={"Host": "rebound.example"}).status_code == 421


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"X-Tertulia": "1", "Sec-Fetch-Site": "same-origin"}, True),
        ({"X-Tertulia": "1", "Sec-Fetch-Site": "none"}, True),
        ({"X-Tertulia": "1", "Sec-Fetch-Site": "same-site"}, False),
        ({"X-Tertulia": "1", "Sec-Fetch-Site": "cross-site"}, False),
        ({"X-Tertulia": "", "Sec-Fetch-Site": "same-origin"}, False),
        ({"X-Tertulia": "1", "Origin": "https://evil.example"}, False),
        ({"X-Tertulia": ""}, False),
    ],
)
def test_unsafe_calls_must_come_from_the_same_origin(ana: Client, headers: dict[str, str], passes: bool) -> None:
    answer = ana.post("/chats", json={}, headers=headers)
    assert answer.status_code == (201 if passes else 403), answer.text


def test_cross_origin_event_streams_are_refused(ana: Client) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert ana.get("/events", headers=headers).status_code == 403


def test_changing_the_email_needs_a_recent_password(ana: Client, settings: Settings) -> None:
    assert ana.api("PATCH", "/me", json={"email": "ana@example.org"})["email"] == "ana@example.org"
    _change(settings, sa.update(Session).values(started_at=clock.now() - timedelta(minutes=10, seconds=1)))
    refused = ana.api("PATCH", "/me", json={"email": "eve@example.org"}, expect=403)
    assert refused["code"] == "confirmation_needed"
    wrong = ana.api("POST", "/session/confirm", json={"password": "wrong wrong wrong"}, expect=422)
    assert wrong["code"] == "wrong_password"
    ana.api("PATCH", "/me", json={"email": "eve@example.org"}, expect=403)
    ana.api("POST", "/session/confirm", json={"password": "correct horse battery"}, expect=204)
    assert ana.api("PATCH", "/me", json={"email": "other@example.org"})["email"] == "other@example.org"


@pytest.mark.parametrize(
    ("address", "network"),
    [("192.0.2.7", "192.0.2.7"), ("2001:db8::1", "2001:db8::/64"), ("2001:db8:0:0:a:1:1:1", "2001:db8::/64"), ("", "")],
)
def test_ipv6_addresses_are_grouped_by_their_64_bit_prefix(address: str, network: str) -> None:
    assert network_of(address) == network


def test_sign_ins_are_recorded_in_the_audit_log(ana: Client, settings: Settings) -> None:
    engine = plain_engine(settings)
    with DbSession(engine) as session:
        entries = session.execute(sa.select(AuditLog.action, AuditLog.ip_address)).all()
    engine.dispose()
    assert ("session.start", "127.0.0.1") in entries


def _change(settings: Settings, statement: sa.Update) -> None:
    engine = plain_engine(settings)
    with engine.begin() as connection:
        connection.execute(statement)
    engine.dispose()
