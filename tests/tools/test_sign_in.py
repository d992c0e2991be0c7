"""Test signing in to MCP servers: the OAuth flow, token renewal, refusals, scopes and accounts."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.db.opening import plain_engine
from tertulia.settings import Settings
from tertulia.tools.protocol import Environment
from tertulia.tools.servers.authorization import MAX_CLIENT_ID
from tertulia.tools.servers.bearer import Bearer
from tertulia.tools.servers.issuer_calls import MAX_SCOPE, MAX_URL
from tertulia.tools.servers.models import ToolCredential, ToolSignIn
from tertulia.tools.servers.port import ScopeWanted, SignInWanted
from tests.conftest import ServerMaker, SignIn
from tests.factories.tool_calls import decide, list_calls, wait_for_pending_calls
from tests.fakes.live_server import Client
from tests.fakes.oauth_server import SignedServer
from tests.fakes.scripted_provider import ScriptedProvider
from tests.tools.test_servers import ON_SQLITE, Use, add, ask_for, run, server_named, use  # noqa: F401 - a fixture


@pytest.fixture
def bank() -> Iterator[SignedServer]:
    server = SignedServer()
    yield server
    server.close()


@pytest.fixture
def owner(use: Use, bank: SignedServer) -> Client:  # noqa: F811
    return use(outbound_allow=(bank.origin,))


class Stored:
    """Access to the server's database in short transactions, as a long one blocks the server."""

    def __init__(self, settings: Settings) -> None:
        self._engine = plain_engine(settings)

    def all(self, query: Any) -> Sequence[Any]:
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            return session.scalars(query).all()

    def change(self, statement: Any) -> None:
        with Session(self._engine) as session, session.begin():
            session.execute(statement)

    def close(self) -> None:
        self._engine.dispose()


@pytest.fixture
def database(settings: Settings) -> Iterator[Stored]:
    stored = Stored(settings)
    yield stored
    stored.close()


def begin(client: Client, server: dict[str, Any], expect: int = 200, **options: Any) -> Any:
    return client.api("POST", f"/tool-servers/{server['id']}/sign-in", json=options, expect=expect)


def come_back(client: Client, answer: dict[str, str], expect: int = 200) -> Any:
    return client.api("POST", "/tool-servers/sign-in", json=answer, expect=expect)


def sign_in(client: Client, bank: SignedServer, server: dict[str, Any]) -> dict[str, Any]:
    signed: dict[str, Any] = come_back(client, bank.allowed(begin(client, server)["url"]))
    return signed


def expire(database: Stored) -> None:
    database.change(sa.update(ToolCredential).values(expires_at=clock.now() - timedelta(seconds=1)))


def test_signing_in_stores_a_token_and_lists_the_tools(
    owner: Client, bank: SignedServer, provider: ScriptedProvider, database: Stored
) -> None:
    """Store a sealed token with type, expiry and account (conformance S002-073 to S002-075, S002-095, S002-100)."""
    server = add(owner, bank.url, "bank")
    assert (server["requires_sign_in"], server["tools"], server["sign_in"]) == (True, [], None)
    assert "requires you to sign in" in server["last_error"]
    started = begin(owner, server)
    assert started["host"] == urlsplit(bank.origin).netloc
    query = {name: values[0] for name, values in parse_qs(urlsplit(started["url"]).query).items()}
    assert (query["code_challenge_method"], query["resource"]) == ("S256", bank.url)
    assert query["redirect_uri"] == f"{owner.base_url.scheme}://{owner.base_url.netloc.decode()}/tool-servers/sign-in"
    signed = come_back(owner, bank.allowed(started["url"]))
    assert [tool["name"] for tool in signed["tools"]] == ["balance", "spend"]
    assert (signed["requires_sign_in"], signed["last_error"]) == (False, None)
    assert signed["sign_in"]["issuer"].rstrip("/") == bank.origin
    assert (signed["sign_in"]["scope"], signed["sign_in"]["is_renewed"]) == ("read", True)
    done = run(owner, provider, "bank/balance", {})
    assert (done["status"], done["result"]["content"]) == ("completed", "There are 100 left.")
    (row,) = database.all(sa.select(ToolCredential))
    assert (row.service, row.environment, row.token_type) == (bank.url, Environment.PROD, "Bearer")
    assert row.expires_at is not None
    (access,), (refresh,) = bank.issuer.tokens, bank.issuer.refreshes
    stored = [row.access_token, row.refresh_token or "", row.client]
    assert not any(secret in text for secret in (access, refresh) for text in stored)
    assert database.all(sa.select(ToolSignIn)) == []
    # After signing out, the tools remain and report the missing sign-in.
    out = owner.api("DELETE", f"/tool-servers/{server['id']}/sign-in")
    assert out["sign_in"] is None
    failed = run(owner, provider, "bank/balance", {})
    assert (failed["status"], failed["error_code"]) == ("failed", "tool_server_sign_in")
    assert server_named(owner, "bank")["requires_sign_in"] is True


def test_an_authorization_answer_is_accepted_once_in_time_by_the_same_session(
    owner: Client, bank: SignedServer, sign_in: SignIn, database: Stored
) -> None:
    server = add(owner, bank.url, "bank")
    answer = bank.allowed(begin(owner, server)["url"])
    stranger = sign_in("eva")
    body = {"username": "ana", "password": "correct horse battery"}
    with Client(str(owner.base_url).removesuffix("/api/v1/").removesuffix("/api/v1")) as phone:
        phone.api("POST", "/session", json=body, expect=201)
        for other in (stranger, phone):
            assert come_back(other, answer, expect=409)["code"] == "tool_sign_in_gone"
    assert come_back(owner, answer | {"state": "another"}, expect=409)["code"] == "tool_sign_in_gone"
    come_back(owner, answer)
    assert come_back(owner, answer, expect=409)["code"] == "tool_sign_in_gone"
    first = bank.allowed(begin(owner, server)["url"])
    begin(owner, server)  # restarted in another tab
    come_back(owner, first, expect=409)
    late = bank.allowed(begin(owner, server)["url"])
    database.change(sa.update(ToolSignIn).values(expires_at=clock.now() - timedelta(seconds=1)))
    come_back(owner, late, expect=409)
    # If the server was changed during the sign-in, no token is stored.
    before = database.all(sa.select(ToolCredential.id))
    moved = [bank.allowed(begin(owner, server)["url"])]
    owner.api("PATCH", f"/tool-servers/{server['id']}", json={"environment": "test"})
    assert database.all(sa.select(ToolCredential.id)) == []  # the earlier token is also unused
    assert len(before) == 1
    moved.append(bank.allowed(begin(owner, server)["url"]))
    owner.api("PATCH", f"/tool-servers/{server['id']}", json={"url": f"{bank.origin}/another"})
    for answer in moved:
        assert come_back(owner, answer, expect=409)["code"] == "tool_sign_in_gone"
    assert database.all(sa.select(ToolCredential.id)) == []


@ON_SQLITE
def test_a_failed_sign_in_is_reported_and_stores_nothing(owner: Client, bank: SignedServer, database: Stored) -> None:
    server = add(owner, bank.url, "bank")

    def state() -> str:
        url: str = begin(owner, server)["url"]
        return parse_qs(urlsplit(url).query)["state"][0]

    denied = come_back(owner, {"state": state(), "error": "access_denied"}, expect=422)
    assert (denied["code"], "declined the sign-in" in denied["detail"]) == ("tool_sign_in_failed", True)
    wrong = come_back(owner, {"state": state(), "code": "made-up"}, expect=422)
    assert "invalid_grant" in wrong["detail"]
    mixed_up = bank.allowed(begin(owner, server)["url"]) | {"iss": "https://elsewhere.example"}
    assert "iss" in come_back(owner, mixed_up, expect=422)["detail"]
    assert database.all(sa.select(ToolCredential)) == []
    # The metadata names another resource, another issuer or misleading pages, or is missing.
    about = "/.well-known/oauth-protected-resource/mcp"
    at = "/.well-known/oauth-authorization-server"
    for path, status, body, message in (
        (
            about,
            200,
            '{"resource":"https://bank.example/mcp","authorization_servers":["https://a.example"]}',
            "another",
        ),
        (about, 503, "{}", "at the moment"),
        (
            at,
            200,
            '{"issuer":"https://a.example","authorization_endpoint":"https://a.example/a",'
            '"token_endpoint":"https://a.example/t"}',
            "issuer mismatch",
        ),
        (at, 404, "{}", "does not publish"),
        ("/register", 400, '{"error":"invalid_client_metadata"}', "Registration failed: 400"),
    ):
        bank.answers = {path: (status, body.encode())}
        refused = begin(owner, server, expect=422)
        assert (refused["code"], message in refused["detail"]) == ("tool_sign_in_failed", True), refused
    for page, message in (
        ("https://accounts.example:443@evil.example/a", "user name, password or fragment"),
        ("https://evil.example/a#b", "user name, password or fragment"),
        ("http://[::1", "Signing in to bank failed"),
    ):
        metadata = {"issuer": bank.origin, "authorization_endpoint": page, "token_endpoint": f"{bank.origin}/token"}
        bank.answers = {at: (200, json.dumps(metadata).encode())}
        assert message in begin(owner, server, expect=422)["detail"]
    metadata = {
        "issuer": bank.origin,
        "authorization_endpoint": f"{bank.origin}/a",
        "token_endpoint": f"{bank.origin}/token",
    }
    bank.answers = {at: (200, json.dumps({**metadata, "code_challenge_methods_supported": ["plain"]}).encode())}
    assert "PKCE" in begin(owner, server, expect=422)["detail"]
    bank.answers = {about: (200, b'{"resource":"%s","authorization_servers":["http://10.1.2.3"]}' % bank.url.encode())}
    assert begin(owner, server, expect=422)["code"] == "address_refused"
    assert database.all(sa.select(ToolSignIn)) == []


@ON_SQLITE
def test_overlong_metadata_is_cut_or_refused(owner: Client, bank: SignedServer) -> None:
    server = add(owner, bank.url, "bank")
    about, at = "/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-authorization-server"
    resource = {"resource": bank.url, "authorization_servers": [bank.origin]}
    bank.answers = {"/mcp": (401, b"{}"), "/register": (201, b'{"client_id": "mine", "redirect_uris": []}')}
    fits = "x" * (MAX_SCOPE - len("read "))
    for long, kept in ((fits, f"read {fits}"), (f"{fits}x", "read")):  # a scope is kept whole or dropped
        scopes = {**resource, "scopes_supported": ["read", "\0bad", long]}
        bank.answers[about] = (200, json.dumps(scopes).encode())
        assert begin(owner, server)["scope"] == kept
    bank.answers["/register"] = (201, json.dumps({"client_id": "c" * MAX_CLIENT_ID}).encode())
    begin(owner, server)
    bank.answers["/register"] = (201, json.dumps({"client_id": "c" * (MAX_CLIENT_ID + 1)}).encode())
    assert "too long" in begin(owner, server, expect=422)["detail"]
    page = f"{bank.origin}/".ljust(MAX_URL, "a")
    pages = {"issuer": bank.origin, "authorization_endpoint": page, "token_endpoint": f"{bank.origin}/token"}
    bank.answers = {at: (200, json.dumps(pages | {"registration_endpoint": f"{bank.origin}/register"}).encode())}
    assert begin(owner, server)["url"].startswith(page)
    bank.answers = {at: (200, json.dumps(pages | {"authorization_endpoint": page + "a"}).encode())}
    assert "too long" in begin(owner, server, expect=422)["detail"]


@ON_SQLITE
def test_an_issuer_without_registration_uses_the_users_own_client(use: Use) -> None:  # noqa: F811
    bank = SignedServer(registers=False)
    try:
        owner = use(outbound_allow=(bank.origin,))
        server = add(owner, bank.url, "bank")
        refused = begin(owner, server, expect=422)
        assert (refused["code"], refused["errors"][0]["field"]) == ("tool_sign_in_failed", "client_id")
        back = f"{owner.base_url.scheme}://{owner.base_url.netloc.decode()}/tool-servers/sign-in"
        assert back in refused["detail"]
        begin(owner, server, expect=422, client_secret="shh")
        for method, secret in (("none", None), ("client_secret_basic", "shh and more"), ("client_secret_post", "shh")):
            from mcp.shared.auth import OAuthClientInformationFull

            bank.issuer.clients["mine"] = OAuthClientInformationFull.model_validate(
                {
                    "client_id": "mine",
                    "client_secret": secret,
                    "redirect_uris": [back],
                    "token_endpoint_auth_method": method,
                    "scope": "read spend",
                }
            )
            options: dict[str, Any] = {"client_id": "mine"} | ({"client_secret": secret} if secret else {})
            if method == "client_secret_post":
                bank.answers = {"/.well-known/oauth-authorization-server": (200, _metadata(bank, method))}
            signed = come_back(owner, bank.allowed(begin(owner, server, **options)["url"]))
            assert signed["sign_in"] is not None
    finally:
        bank.close()


def _metadata(bank: SignedServer, method: str) -> bytes:
    return (
        f'{{"issuer":"{bank.origin}","authorization_endpoint":"{bank.origin}/authorize",'
        f'"token_endpoint":"{bank.origin}/token","token_endpoint_auth_methods_supported":["{method}"]}}'
    ).encode()


@ON_SQLITE
def test_a_server_with_a_header_or_without_sign_in_refuses_the_sign_in(owner: Client, bank: SignedServer) -> None:
    known = add(owner, bank.url, "known", headers={"Authorization": "Bearer of-my-own"})
    assert (known["requires_sign_in"], known["sign_in"]) == (False, None)
    assert begin(owner, known, expect=422)["errors"][0]["field"] == "headers"
    bank.answers = {path: (200, b"{}") for path in ("/mcp",)} | {
        path: (404, b"{}")
        for path in ("/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource")
    }
    open_to_all = add(owner, bank.url, "open")
    assert "does not require" in begin(owner, open_to_all, expect=422)["detail"]


# ---- expiry and renewal of tokens


def test_an_expired_token_is_renewed_once_for_concurrent_requests(
    owner: Client, bank: SignedServer, provider: ScriptedProvider, database: Stored
) -> None:
    server = add(owner, bank.url, "bank")
    sign_in(owner, bank, server)
    expire(database)
    with ThreadPoolExecutor(6) as pool:
        refreshed = list(pool.map(lambda _: owner.api("POST", f"/tool-servers/{server['id']}/refresh"), range(6)))
    assert [server_row["last_error"] for server_row in refreshed] == [None] * 6
    assert bank.issuer.renewals == 1
    assert run(owner, provider, "bank/balance", {})["status"] == "completed"
    assert bank.issuer.renewals == 1
    # The process that was renewing died: after its lease, another one renews.
    expire(database)
    database.change(sa.update(ToolCredential).values(refreshing_until=clock.now() - timedelta(seconds=1)))
    assert run(owner, provider, "bank/balance", {})["status"] == "completed"
    assert bank.issuer.renewals == 2
    (row,) = database.all(sa.select(ToolCredential))
    assert row.refreshing_until is None
    assert row.expires_at is not None
    assert row.expires_at > clock.now()


def test_a_token_refused_early_is_renewed_and_the_call_made_once(
    owner: Client, bank: SignedServer, provider: ScriptedProvider
) -> None:
    server = add(owner, bank.url, "bank")
    sign_in(owner, bank, server)
    bank.rejects = set(bank.issuer.tokens)
    done = run(owner, provider, "bank/balance", {})
    assert (done["status"], bank.issuer.renewals) == ("completed", 1)


def test_an_ended_sign_in_asks_for_a_new_one_and_costs_nothing(
    owner: Client, bank: SignedServer, provider: ScriptedProvider, database: Stored
) -> None:
    server = add(owner, bank.url, "bank")
    sign_in(owner, bank, server)
    bank.issuer.end()
    failed = run(owner, provider, "bank/balance", {})
    assert (failed["status"], failed["error_code"]) == ("failed", "tool_server_sign_in")
    assert "Sign in to it again" in failed["error_message"]
    assert failed["cost"] in (None, "0.000000")
    shown = server_named(owner, "bank")
    assert (shown["requires_sign_in"], shown["sign_in"]) == (True, None)
    assert [tool["name"] for tool in shown["tools"]] == ["balance", "spend"]
    assert database.all(sa.select(ToolCredential)) == []
    sign_in(owner, bank, server)
    assert run(owner, provider, "bank/balance", {})["status"] == "completed"


@ON_SQLITE
def test_a_token_without_a_refresh_token_is_used_until_it_expires(
    owner: Client, bank: SignedServer, provider: ScriptedProvider, database: Stored
) -> None:
    bank.issuer.gives_refresh, bank.issuer.life_s = False, 30
    server = add(owner, bank.url, "bank")
    assert sign_in(owner, bank, server)["sign_in"]["is_renewed"] is False
    assert run(owner, provider, "bank/balance", {})["status"] == "completed"
    expire(database)
    assert run(owner, provider, "bank/balance", {})["error_code"] == "tool_server_sign_in"
    bank.issuer.life_s = None  # no expiry is given
    assert sign_in(owner, bank, server)["sign_in"]["expires_at"] is None


@ON_SQLITE
def test_a_temporary_renewal_failure_keeps_the_sign_in(
    owner: Client, bank: SignedServer, provider: ScriptedProvider, database: Stored
) -> None:
    server = add(owner, bank.url, "bank")
    sign_in(owner, bank, server)
    expire(database)
    bank.answers = {"/token": (503, b"{}")}
    failed = run(owner, provider, "bank/balance", {})
    assert (failed["status"], failed["error_code"]) == ("failed", "tool_server_failed")
    for status, body in (
        (200, b'{"no": "token"}'),
        (400, b'{"error": "temporarily_unavailable"}'),
        (400, b"[" * 100_000),
    ):
        bank.answers = {"/token": (status, body)}
        assert run(owner, provider, "bank/balance", {})["error_code"] == "tool_server_failed"
    bank.answers = {}
    assert run(owner, provider, "bank/balance", {})["status"] == "completed"


@ON_SQLITE
def test_a_call_that_needs_a_wider_scope_asks_for_it(
    owner: Client, bank: SignedServer, provider: ScriptedProvider
) -> None:
    server = add(owner, bank.url, "bank")
    sign_in(owner, bank, server)
    failed = run(owner, provider, "bank/spend", {"amount": 5})
    assert (failed["status"], failed["error_code"], bank.spent) == ("failed", "tool_server_sign_in", [])
    shown = server_named(owner, "bank")
    assert shown["requires_sign_in"] is True
    assert "needs more permissions" in shown["last_error"]
    # That it says what it offers does not mean that more may be done.
    assert owner.api("POST", f"/tool-servers/{server['id']}/refresh")["requires_sign_in"] is True
    started = begin(owner, server)
    assert set(started["scope"].split()) == {"read", "spend"}
    come_back(owner, bank.allowed(started["url"]))
    assert run(owner, provider, "bank/spend", {"amount": 5})["status"] == "completed"
    assert bank.spent == [5]


@ON_SQLITE
def test_two_servers_with_the_same_address_and_account_share_a_sign_in(owner: Client, bank: SignedServer) -> None:
    first, second = (add(owner, bank.url, name) for name in ("first", "second"))
    sign_in(owner, bank, first)
    shown = server_named(owner, "second")
    assert (shown["requires_sign_in"], shown["last_error"]) == (False, None)
    assert shown["sign_in"] == server_named(owner, "first")["sign_in"]
    owner.api("DELETE", f"/tool-servers/{first['id']}", expect=204)
    assert owner.api("POST", f"/tool-servers/{second['id']}/refresh")["last_error"] is None  # still in use


@ON_SQLITE
def test_two_accounts_of_a_server_have_separate_tokens_and_rules(
    owner: Client, bank: SignedServer, provider: ScriptedProvider, database: Stored
) -> None:
    """Keep tokens and rules of `test` and `prod` accounts separate (conformance S002-076)."""
    trying = add(owner, bank.url, "trying", environment="test")
    sign_in(owner, bank, trying)
    real = add(owner, bank.url, "real")
    assert (real["requires_sign_in"], real["sign_in"]) == (True, None)
    sign_in(owner, bank, real)
    assert {row.environment for row in database.all(sa.select(ToolCredential))} == set(Environment)
    sent = ask_for(owner, provider, "trying/balance", {})
    (call,) = wait_for_pending_calls(owner)
    assert call["environment"] == "test"
    decide(owner, call, remember="always")
    owner.finished(sent["run"]["id"])
    sent = ask_for(owner, provider, "trying/balance", {})
    owner.finished(sent["run"]["id"])
    assert list_calls(owner, sent)[0]["decision"] == "rule"
    # Switch to the prod account: the rule for the test account does not apply.
    owner.api("DELETE", f"/tool-servers/{real['id']}", expect=204)
    owner.api("PATCH", f"/tool-servers/{trying['id']}", json={"environment": "prod"})
    assert database.all(sa.select(ToolCredential)) == []
    sent = ask_for(owner, provider, "trying/balance", {})
    (call,) = wait_for_pending_calls(owner)
    assert (call["reason"], call["environment"]) == ("changed", "prod")


@ON_SQLITE
def test_the_token_is_redacted_from_texts_of_the_server(
    owner: Client, bank: SignedServer, provider: ScriptedProvider
) -> None:
    server = add(owner, bank.url, "bank")
    sign_in(owner, bank, server)
    (token,) = bank.issuer.tokens
    bank._mcp.add_tool(lambda: f"You sent {token}", name="tell", description=f"Tell {token}.")
    listed = owner.api("POST", f"/tool-servers/{server['id']}/refresh")["tools"]
    assert [tool["description"] for tool in listed if tool["name"] == "tell"] == ["Tell …."]
    assert run(owner, provider, "bank/tell", {})["result"]["content"] == "You sent …"


@ON_SQLITE
def test_client_metadata_is_published_with_a_public_url_only(start_server: ServerMaker) -> None:
    """Publish the metadata for services that accept its URL as client id. Without a public URL, there is none."""
    for url, status in (("https://chat.example", 200), (None, 404)):
        server = start_server(public_url=url)
        with Client(server.url) as client:
            metadata = client.api("GET", "/oauth/client", expect=status)
            if status == 200:
                assert metadata["client_id"] == f"{url}/api/v1/oauth/client"
                assert metadata["redirect_uris"] == [f"{url}/tool-servers/sign-in"]


CHALLENGE = {"WWW-Authenticate": 'Bearer resource_metadata="https://bank.example/about"'}
MORE = {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="spend"'}


@pytest.mark.parametrize(
    ("methods", "answers", "refused"),
    [
        (["initialize"], [(401, CHALLENGE), (401, CHALLENGE)], SignInWanted),
        (["initialize", "tools/call"], [(200, {}), (401, {}), (200, {})], None),  # renewed
        (["initialize", "tools/call"], [(200, {}), (401, CHALLENGE), (401, CHALLENGE)], SignInWanted),
        (["tools/call"], [(403, MORE)], ScopeWanted),
        (["tools/call"], [(403, {})], None),
        # The call was accepted. Only a later message or request was refused.
        (["tools/call", "notifications/answer"], [(200, {}), (401, CHALLENGE), (401, CHALLENGE)], None),
        (["tools/call", "tools/call"], [(200, {}), (401, CHALLENGE), (401, CHALLENGE)], None),
    ],
)
def test_only_a_call_refused_before_it_was_accepted_counts_as_refused(
    methods: list[str], answers: list[tuple[int, dict[str, str]]], refused: type[Exception] | None
) -> None:
    responses = iter(answers)
    sent: list[str | None] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.headers.get("authorization"))
        status, headers = next(responses)
        return httpx2.Response(status, headers=headers)

    async def tokens(rejected: str | None) -> str | None:
        return "second" if rejected else "first"

    async def call() -> Bearer:
        secrets: list[str] = []
        bearer = Bearer("bank", tokens, secrets)
        await bearer.renew(None)
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer), auth=bearer) as client:
            for method in methods:
                await client.post("https://bank.example/mcp", json={"method": method})
        assert set(secrets) == {header.removeprefix("Bearer ") for header in sent if header}
        return bearer

    bearer = asyncio.run(call())
    assert type(bearer.refused) is (refused or type(None))
    assert next(responses, None) is None


def test_a_refused_stream_next_to_a_call_does_not_mark_it_refused() -> None:
    """Ignore a refused stream that the MCP package opens while the call is already sent."""
    sent, may_answer = asyncio.Event(), asyncio.Event()

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            sent.set()
            await may_answer.wait()
            raise httpx2.ReadError("cut off")
        await sent.wait()
        return httpx2.Response(401, headers=CHALLENGE)

    async def tokens(rejected: str | None) -> str | None:
        return "first"

    async def call() -> Bearer:
        bearer = Bearer("bank", tokens, [])
        await bearer.renew(None)
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer), auth=bearer) as client:
            listening = asyncio.create_task(client.get("https://bank.example/mcp"))
            await asyncio.sleep(0)
            calling_it = asyncio.create_task(client.post("https://bank.example/mcp", json={"method": "tools/call"}))
            await listening
            may_answer.set()
            with pytest.raises(httpx2.ReadError):
                await calling_it
        return bearer

    assert asyncio.run(call()).refused is None


@pytest.mark.parametrize(
    ("status", "error"), [(400, "invalid_grant"), (401, "invalid_client"), (200, "bad_refresh_token")]
)
@ON_SQLITE
def test_a_permanently_refused_renewal_asks_for_a_new_sign_in(
    owner: Client, bank: SignedServer, provider: ScriptedProvider, database: Stored, status: int, error: str
) -> None:
    server = add(owner, bank.url, "bank")
    sign_in(owner, bank, server)
    expire(database)
    bank.answers = {"/token": (status, json.dumps({"error": error}).encode())}
    assert run(owner, provider, "bank/balance", {})["error_code"] == "tool_server_sign_in"
    assert server_named(owner, "bank")["requires_sign_in"] is True
    assert database.all(sa.select(ToolCredential)) == []
