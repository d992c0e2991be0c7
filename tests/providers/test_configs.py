"""Test per-user provider configurations: sealed keys, tests, defaults, permissions and key rotation."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.models import Session as SignIn
from tertulia.db.opening import plain_engine
from tertulia.http.outbound import Timeouts, guarded_client, is_public, operator_client
from tertulia.keyring import KeyRing, SealBroken, SealedFor, UnknownKey
from tertulia.providers import model_catalogue
from tertulia.providers.models import ProviderConfig, ProviderModel
from tertulia.providers.registry import refresh_catalogue
from tertulia.providers.vendors import BY_ID
from tertulia.secret_rotation import SEALED, require_keys, rewrap, rewrap_secrets
from tertulia.settings import OperatorConfig, Settings
from tests import conftest
from tests.conftest import ServerMaker
from tests.factories.tool_calls import signed_in
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import Hold, ScriptedProvider, Status, words

KEY = "sk-of-ana-0123456789"
PLACE = SealedFor("provider_config", "config", "row", "owner")


@pytest.fixture
def own() -> Iterator[ScriptedProvider]:
    """Return the provider of Ana's own key, at a different address than the operator's."""
    provider = ScriptedProvider(models=["mine", "mine-2"])
    yield provider
    provider.close()


@pytest.fixture
def server(start_server: ServerMaker, provider: ScriptedProvider, own: ScriptedProvider) -> LiveServer:
    return start_server(
        openai_base_url=provider.url,
        openai_api_key="sk-of-the-operator",
        outbound_allow=(own.url.removesuffix("/v1"),),
    )


def add(client: Client, own: ScriptedProvider, **fields: Any) -> dict[str, Any]:
    body = {"provider": "mistral", "api_key": KEY, "base_url": own.url} | fields
    config: dict[str, Any] = client.api("POST", "/provider-configs", json=body, expect=201)
    return config


def stored(settings: Settings) -> list[str]:
    engine = plain_engine(settings)
    with Session(engine) as session:
        configs = list(session.scalars(sa.select(ProviderConfig.config)))
    engine.dispose()
    return configs


def test_a_key_is_write_only_and_stored_sealed(ana: Client, own: ScriptedProvider, settings: Settings) -> None:
    config = add(ana, own)
    assert config["key_hint"] == "sk-o"
    assert KEY not in ana.get("/provider-configs").text + ana.get("/models").text
    assert KEY not in stored(settings)[0]
    assert stored(settings)[0].count(".") == 3


def test_a_reply_uses_the_users_own_provider_and_key(
    ana: Client, own: ScriptedProvider, provider: ScriptedProvider
) -> None:
    add(ana, own)
    chat = ana.chat(provider="mistral", model_name="mine")
    sent = ana.say(chat["id"], "Hello")
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    assert own.requests[-1]["_authorization"] == f"Bearer {KEY}"
    assert provider.requests == []
    assert ana.api("GET", "/provider-configs")["items"][0]["last_used_at"] is not None


def test_the_first_provider_becomes_the_default_and_there_is_at_most_one(ana: Client, own: ScriptedProvider) -> None:
    first, second = add(ana, own), add(ana, own, name="work")
    assert (first["is_default"], second["is_default"]) == (True, False)
    ana.api("PATCH", f"/provider-configs/{second['id']}", json={"is_default": True})
    listed = ana.api("GET", "/provider-configs")["items"]
    assert [config["is_default"] for config in listed] == [False, True]
    default = next(model for model in ana.api("GET", "/models")["items"] if model["is_default"])
    assert (default["provider"], default["model_name"], default["source"]) == ("mistral:work", "mine", "own")
    ana.api("PATCH", f"/provider-configs/{second['id']}", json={"is_active": False})
    default = next(model for model in ana.api("GET", "/models")["items"] if model["is_default"])
    assert default["source"] == "operator"


def test_concurrent_default_changes_leave_one_default(ana: Client, own: ScriptedProvider) -> None:
    configs = [add(ana, own, name=str(number)) for number in range(4)]
    threads = [
        threading.Thread(
            target=ana.api, args=("PATCH", f"/provider-configs/{config['id']}"), kwargs={"json": {"is_default": True}}
        )
        for config in configs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [config["is_default"] for config in ana.api("GET", "/provider-configs")["items"]].count(True) == 1


def test_testing_a_provider_reports_success_or_the_error(ana: Client, own: ScriptedProvider) -> None:
    config = add(ana, own)
    fine = ana.api("POST", f"/provider-configs/{config['id']}/test")
    assert (fine["ok"], fine["model_count"]) == (True, 2)
    own.close()
    wrong = ana.api("POST", f"/provider-configs/{config['id']}/test")
    assert (wrong["ok"], wrong["code"]) == (False, "provider_unavailable")
    assert "cannot be reached" in wrong["detail"]
    kept = ana.api("GET", "/provider-configs")["items"][0]
    assert (kept["model_count"], kept["last_error"]) == (2, wrong["detail"])


def test_changing_the_address_requires_the_key_again(ana: Client, own: ScriptedProvider) -> None:
    config = add(ana, own)
    elsewhere = {"base_url": "https://elsewhere.example/v1"}
    refused = ana.api("PATCH", f"/provider-configs/{config['id']}", json=elsewhere, expect=422)
    assert refused["errors"][0]["field"] == "api_key"
    changed = ana.api("PATCH", f"/provider-configs/{config['id']}", json=elsewhere | {"api_key": "another-key-12345"})
    assert (changed["base_url"], changed["key_hint"], changed["model_count"]) == (elsewhere["base_url"], "anot", 0)


def test_changing_keys_requires_a_fresh_password(ana: Client, own: ScriptedProvider, settings: Settings) -> None:
    config = add(ana, own)
    engine = plain_engine(settings)
    with engine.begin() as connection:
        connection.execute(sa.update(SignIn).values(started_at=clock.now() - timedelta(minutes=11)))
    engine.dispose()
    body = {"provider": "groq", "api_key": "gsk_0123456789"}
    assert ana.api("POST", "/provider-configs", json=body, expect=403)["code"] == "confirmation_needed"
    assert ana.api("PATCH", f"/provider-configs/{config['id']}", json={"api_key": "x" * 20}, expect=403)
    ana.api("PATCH", f"/provider-configs/{config['id']}", json={"is_default": False})  # no secret in it
    ana.api("POST", "/session/confirm", json={"password": "correct horse battery"}, expect=204)
    ana.api("POST", "/provider-configs", json=body, expect=201)


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # it is refused before any database access
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"provider": "unknown", "api_key": "x"}, "provider"),
        ({"provider": "mistral"}, "api_key"),
        ({"provider": "azure", "api_key": "x"}, "settings.resource"),
        ({"provider": "custom"}, "base_url"),
        ({"provider": "custom", "base_url": "ftp://x"}, "base_url"),
        ({"provider": "mistral", "api_key": "with space"}, "api_key"),
        ({"provider": "mistral", "api_key": "x", "name": "n" * 41}, "name"),
        ({"provider": "mistral", "api_key": "x", "name": "a:b"}, "name"),
        ({"provider": "mistral", "api_key": "x", "settings": {"other": "x"}}, "settings.other"),
    ],
)
def test_a_missing_or_invalid_field_is_named(ana: Client, body: dict[str, Any], field: str) -> None:
    refused = ana.api("POST", "/provider-configs", json=body, expect=422)
    assert refused["errors"][0]["field"] == field


def test_the_same_provider_twice_needs_a_name(ana: Client, own: ScriptedProvider) -> None:
    add(ana, own)
    body = {"provider": "mistral", "api_key": KEY}
    assert ana.api("POST", "/provider-configs", json=body, expect=409)["code"] == "provider_config_exists"


def test_private_addresses_are_not_called_for_users(ana: Client, provider: ScriptedProvider) -> None:
    config = ana.api("POST", "/provider-configs", json={"provider": "custom", "base_url": provider.url}, expect=201)
    result = ana.api("POST", f"/provider-configs/{config['id']}/test")
    assert (result["ok"], result["code"]) == (False, "address_refused")
    assert "TERTULIA_OUTBOUND_ALLOW=http://127.0.0.1:" in result["detail"]
    sent = ana.say(ana.chat(provider="custom", model_name="anything")["id"], "Hello")
    assert ana.finished(sent["run"]["id"])["error"]["code"] == "address_refused"
    assert provider.requests == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:0:127.0.0.1", False),
        ("fec0::1", False),
        ("4000::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_only_globally_routable_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_silent_provider_does_not_block_other_users(
    start_server: ServerMaker, provider: ScriptedProvider, sign_in: conftest.SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_catalogue, "FIRST_READ_S", 3600)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        origin = f"http://127.0.0.1:{silent.getsockname()[1]}"
        server = start_server(openai_base_url=provider.url, outbound_allow=(origin,))
        with (
            Client(server.url, cookies=dict(sign_in("ana").cookies)) as ana,
            Client(server.url, cookies=dict(sign_in("bob").cookies)) as bob,
        ):
            ana.api("POST", "/provider-configs", json={"provider": "custom", "base_url": f"{origin}/v1"}, expect=201)
            held, _ = silent.accept()
            # Ana's list is being read and never arrives. If Bob's calls waited for it, they would not end.
            with held:
                sent = bob.say(bob.chat()["id"], "Hello")
                assert bob.finished(sent["run"]["id"])["status"] == "completed"
                bob.api("GET", "/models")


def test_cookies_of_a_response_are_not_sent_with_later_requests() -> None:
    """Send no cookies: users share a client, and a cookie would link the calls of one to another."""
    cookie_headers: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        cookie_headers.append(next((line for line in head.split("\r\n") if line.startswith("cookie")), ""))
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: who=ana\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, guarded_client(Timeouts(), (origin,)) as guarded, operator_client(Timeouts()) as own:
            for client in (guarded, own):
                for _ in range(2):
                    await client.get(origin)

    asyncio.run(main())
    assert cookie_headers == [""] * 4


def test_a_provider_name_fits_the_provider_column_of_chats(ana: Client) -> None:
    body = {"provider": "huggingface", "api_key": "hf_0123456789"}
    ana.api("POST", "/provider-configs", json=body | {"name": "n" * 39}, expect=422)
    config = ana.api("POST", "/provider-configs", json=body | {"name": "n" * 38}, expect=201)
    ana.api("PATCH", f"/provider-configs/{config['id']}", json={"name": "n" * 39}, expect=422)


def test_the_catalogue_lists_models_when_the_provider_list_was_not_read(ana: Client) -> None:
    body = {"provider": "anthropic", "api_key": "sk-ant-0123456789", "base_url": "http://127.0.0.1:9/v1"}
    ana.api("POST", "/provider-configs", json=body, expect=201)
    models = [model for model in ana.api("GET", "/models")["items"] if model["provider"] == "anthropic"]
    known = next(model for model in models if model["model_name"] == "claude-sonnet-4-5")
    assert known["input_price"] == "3.000000"
    assert known["capabilities"] == {
        "vision": True,
        "tools": True,
        "reasoning": True,
        "efforts": ["none", "low", "medium", "high"],
        "verbosity": False,
        "web_search": "offered",
        "inputs": ["pdf"],
        "pictures": "no",
    }
    assert not any(model["deprecated"] for model in models)
    assert ana.chat(provider="anthropic", model_name="claude-next")["model_name"] == "claude-next"


def test_a_catalogue_refresh_writes_only_when_forced_or_changed(session: Session) -> None:
    session.execute(sa.delete(ProviderModel))
    assert refresh_catalogue(session) == 0
    assert refresh_catalogue(session, is_forced=True) > 500
    names = {tuple(row) for row in session.execute(sa.select(ProviderModel.provider, ProviderModel.model_name))}
    assert ("openai", "gpt-4o") in names


def test_a_user_sees_no_provider_configs_of_others(
    ana: Client, own: ScriptedProvider, sign_in: conftest.SignIn
) -> None:
    config = add(ana, own)
    bob = sign_in("bob")
    assert bob.api("GET", "/provider-configs")["items"] == []
    assert all(model["source"] == "operator" for model in bob.api("GET", "/models")["items"])
    bob.api("POST", "/chats", json={"provider": "mistral", "model_name": "mine"}, expect=422)
    bob.api("POST", f"/provider-configs/{config['id']}/test", expect=404)


def test_deleting_a_provider_fails_later_runs_and_keeps_messages(ana: Client, own: ScriptedProvider) -> None:
    config = add(ana, own)
    chat = ana.chat(provider="mistral", model_name="mine")
    own.play([Hold(), *words(3)])
    first = ana.say(chat["id"], "One")
    second = ana.say(chat["id"], "Two")
    deadline = time.monotonic() + 10
    while not own.requests and time.monotonic() < deadline:
        time.sleep(0.01)
    ana.api("DELETE", f"/provider-configs/{config['id']}", expect=204)
    own.release()
    assert ana.finished(first["run"]["id"])["status"] == "completed"  # it started with the key
    assert ana.finished(second["run"]["id"])["error"]["code"] == "model_unknown"
    assert [m["content"] for m in ana.api("GET", f"/chats/{chat['id']}/messages")["items"]][1::2] == ["Two", "One"]


def test_rotation_can_be_stopped_at_any_point(ana: Client, own: ScriptedProvider, settings: Settings) -> None:
    for number in range(5):
        add(ana, own, name=str(number))
    old = (settings.data / "secret_keys").read_bytes()
    ring = _ring(old, 1)
    engine = plain_engine(settings)
    try:
        require_keys(engine, ring)
        with Session(engine) as session, session.begin():  # rewrap two of five, then stop
            assert rewrap(session, SEALED[0], ring, after=None, limit=2)[0] == 2
        assert {sealed.split(".")[1] for sealed in stored(settings)} == set(ring.key_ids)
        assert rewrap_secrets(engine, ring, lambda _: None) == 3
        assert {sealed.split(".")[1] for sealed in stored(settings)} == {ring.key_ids[0]}
        with pytest.raises(UnknownKey):
            require_keys(engine, _ring(old, 0))
    finally:
        engine.dispose()


def _ring(old: bytes, new: int) -> KeyRing:
    import base64

    keys = tuple(base64.b64decode(line) for line in old.split())
    return KeyRing((bytes(range(32)),) * new + keys)


def test_a_sealed_value_opens_only_in_its_own_place() -> None:
    ring = KeyRing((bytes(32),))
    sealed = ring.seal(b"secret", PLACE)
    assert ring.open(sealed, PLACE) == b"secret"
    assert sealed != ring.seal(b"secret", PLACE)
    for other in (
        SealedFor("identity", "config", "row", "owner"),
        SealedFor("provider_config", "other", "row", "owner"),
        SealedFor("provider_config", "config", "another", "owner"),
        SealedFor("provider_config", "config", "row", "another"),
    ):
        with pytest.raises(SealBroken):
            ring.open(sealed, other)
    with pytest.raises(SealBroken):
        ring.open(sealed[:-3] + ("AAA" if not sealed.endswith("AAA") else "BBB"), PLACE)
    with pytest.raises(UnknownKey):
        KeyRing((bytes(range(32)),)).open(sealed, PLACE)


def test_a_refused_key_is_reported_on_the_run(ana: Client, own: ScriptedProvider) -> None:
    add(ana, own)
    own.play([Status(401, f"wrong key {KEY}")])
    sent = ana.say(ana.chat(provider="mistral", model_name="mine")["id"], "Hello")
    failed = ana.finished(sent["run"]["id"])
    assert failed["error"]["code"] == "provider_key_refused"
    assert KEY not in str(failed)


def test_a_service_that_has_ended_says_so_to_those_who_have_it(
    start_server: ServerMaker, provider: ScriptedProvider
) -> None:
    """Start a server whose settings name GitHub Models: stored settings lead to a sentence instead of an error."""
    ended = OperatorConfig(provider="github", api_key=KEY, models=("openai/gpt-5",))
    server = start_server(openai_base_url=provider.url, providers=(ended,))
    ana = signed_in(server)
    assert "github" not in {vendor["id"] for vendor in ana.api("GET", "/providers")["items"]}
    refused = ana.api("POST", "/provider-configs", json={"provider": "github", "api_key": KEY}, expect=422)
    assert "ended on 30 July 2026" in refused["errors"][0]["message"]
    config = ana.api("POST", "/provider-configs", json={"provider": "mistral", "api_key": KEY}, expect=201)
    engine = plain_engine(server.settings)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE provider_config SET provider = 'github'"))
    engine.dispose()
    assert [row["id"] for row in ana.api("GET", "/provider-configs")["items"]] == [config["id"]]
    assert "github" not in {model["provider"] for model in ana.api("GET", "/models")["items"]}
    chat = ana.chat()
    sent = ana.say(chat["id"], "Hello", models=[{"provider": "github", "model_name": "openai/gpt-5"}])
    run = ana.finished(sent["run"]["id"])
    assert run["error"] == {"code": "provider_ended", "detail": BY_ID["github"].ended}
    ana.api("DELETE", f"/provider-configs/{config['id']}", expect=204)
    ana.close()
