"""Test that what models refuse is kept over restarts, per key, for a time, and shared by processes."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.errors import RequestRefused
from tertulia.providers.models import ModelRefusal
from tertulia.providers.refusal_store import _read_refusals, _write_refusals
from tertulia.providers.refusals import KEPT, MAX_REMEMBERED, Refusals, RefusedParameters
from tertulia.providers.wire import Wire
from tests.conftest import ServerMaker
from tests.factories.tool_calls import signed_in
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import Finish, ScriptedProvider, Status, Text

REFUSED = Status(400, "Unsupported parameter: 'temperature' is not supported with this model.")
NO_TEMPERATURE = RequestRefused("Refused.", said="Unknown name temperature")


def say(client: Client, chat: str) -> None:
    run = client.finished(client.say(chat, "Hello")["run"]["id"])
    assert run["status"] == "completed"


def ignored(client: Client) -> Any:
    (model, *_) = client.api("GET", "/models")["items"]
    return model["ignores"]


def test_a_restart_keeps_what_a_model_refuses(start_server: ServerMaker, provider: ScriptedProvider) -> None:
    options = {"openai_base_url": provider.url, "openai_api_key": "sk-one", "provider_connect_s": 30.0}
    server = start_server(**options)
    client = signed_in(server)
    chat = client.chat()["id"]
    client.api("PATCH", f"/chats/{chat}", json={"settings": {"temperature": 0.5}})
    provider.play([REFUSED], [Text("Well."), Finish()])
    say(client, chat)
    assert ["temperature" in request for request in provider.requests] == [True, False]
    client.close()
    server.stop()
    again = _sign_in(start_server(**options))
    assert ignored(again) == ["temperature"]
    say(again, chat)
    assert len(provider.requests) == 3
    assert "temperature" not in provider.requests[-1]
    again.close()


def _sign_in(server: LiveServer) -> Client:
    client = Client(server.url)
    client.api("POST", "/session", json={"username": "ana", "password": "correct horse battery"}, expect=201)
    return client


def test_it_is_tried_again_after_thirty_days() -> None:
    refused, moment = RefusedParameters(), clock.now()
    with clock.frozen(moment):
        assert refused.learn("one", "m", NO_TEMPERATURE, ["temperature"], vendor_id="openai")
    for later, names in ((KEPT - timedelta(seconds=1), {"temperature"}), (KEPT, set())):
        with clock.frozen(moment + later):
            assert refused.of("one", "m") == names
            assert refused.ignored_by("openai", "m") == names
    with clock.frozen(moment + KEPT):
        assert refused.learn("one", "m", NO_TEMPERATURE, ["temperature"])
        assert refused.of("one", "m") == {"temperature"}


def test_what_one_key_may_not_ask_another_may() -> None:
    async def main() -> None:
        async with operator_client(Timeouts()) as client:
            wires = [Wire("Server", "https://example.org/v1", {}, client, Timeouts(), secret=key) for key in ("a", "b")]
            refused = RefusedParameters()
            refused.remember(wires[0].account, "m", "temperature")
            assert [refused.of(wire.account, "m") for wire in wires] == [{"temperature"}, set()]

    asyncio.run(main())


def test_the_models_used_last_are_remembered() -> None:
    refused = RefusedParameters()
    for number in range(MAX_REMEMBERED + 1):
        refused.remember("one", f"m{number}", "temperature")
    assert refused.of("one", "m0") == set()
    assert refused.of("one", "m1") == {"temperature"}


def test_two_processes_keep_what_both_have_learned(session: Session) -> None:
    key = ("one", "m")
    _write_refusals(session, {key: Refusals("openai", frozenset({"temperature"}), 64_000)})
    _write_refusals(session, {key: Refusals("openai", frozenset({"verbosity"}), 32_000)})
    ((stored, refusals),) = _read_refusals(session)
    assert stored == key
    assert set(refusals.names) == {"temperature", "verbosity"}
    assert refusals.longest == 32_000
    other = RefusedParameters()
    other.remember("one", "m", "top_p")
    other.load([(stored, refusals)])
    assert other.of("one", "m") == {"temperature", "verbosity", "top_p"}


@pytest.mark.parametrize(("age", "count"), [(KEPT - timedelta(minutes=1), 2), (KEPT + timedelta(minutes=1), 1)])
def test_rows_that_are_too_old_are_deleted(session: Session, age: timedelta, count: int) -> None:
    old = Refusals("openai", frozenset({"temperature"}), None, clock.now() - age)
    _write_refusals(session, {("one", "old"): old})
    _write_refusals(session, {("one", "new"): Refusals("openai", frozenset({"temperature"}))})
    session.flush()
    assert session.query(ModelRefusal).count() == count
