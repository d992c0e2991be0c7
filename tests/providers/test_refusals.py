"""Test that what models refuse is kept over restarts, per key, for a time, and shared by processes."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.adapters import Access, build_adapter
from tertulia.providers.errors import ProviderError, RequestRefused
from tertulia.providers.models import ModelRefusal
from tertulia.providers.protocol import ModelRequest, RequestMessage
from tertulia.providers.refusal_store import _read_refusals, _write_refusals
from tertulia.providers.refusals import KEPT, LONGEST, MAX_REMEMBERED, Refusals, RefusedParameters
from tertulia.providers.vendors import BY_ID
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
        assert refused.learn("one", "m", NO_TEMPERATURE, ["temperature"])
    for later, names in ((KEPT - timedelta(seconds=1), {"temperature"}), (KEPT, set())):
        with clock.frozen(moment + later):
            assert refused.of("one", "m") == names
            assert refused.ignored_by("one", "m") == names
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
            assert [refused.ignored_by(wire.account, "m") for wire in wires] == [{"temperature"}, set()]

    asyncio.run(main())


@pytest.mark.parametrize("vendor_id", ["bedrock", "azure", "google", "cohere", "anthropic"])
def test_what_a_route_learns_is_shown_for_the_provider(provider: ScriptedProvider, vendor_id: str) -> None:
    """Try vendors with several routes, or with another path than the configured one."""
    provider.play([Status(400, "Unknown parameter: 'temperature' is not supported")] * 2)
    request = ModelRequest("m", (RequestMessage("user", "Hi"),), 10, temperature=0.5)
    refused = RefusedParameters()

    async def main() -> str:
        async with operator_client(Timeouts()) as client:
            access = Access("key", provider.url, {})
            adapter = build_adapter(BY_ID[vendor_id], access, client, Timeouts(), shown_as="V", refused=refused)
            with contextlib.suppress(ProviderError):
                async for _ in adapter.stream(request):
                    pass
            return adapter.account

    assert refused.ignored_by(asyncio.run(main()), "m") == {"temperature"}


def test_the_models_used_last_are_remembered() -> None:
    refused = RefusedParameters()
    for number in range(MAX_REMEMBERED + 1):
        refused.remember("one", f"m{number}", "temperature")
    assert refused.of("one", "m0") == set()
    assert refused.of("one", "m1") == {"temperature"}


def test_two_processes_keep_what_both_have_learned(session: Session) -> None:
    key = ("one", "m")
    early, late = clock.now() - timedelta(days=1), clock.now()
    _write_refusals(session, {key: Refusals({"temperature": early, LONGEST: early}, 32_000)})
    _write_refusals(session, {key: Refusals({"verbosity": late, LONGEST: late}, 64_000)})
    ((stored, refusals),) = _read_refusals(session)
    assert stored == key
    assert refusals.names == {"temperature": early, "verbosity": late, LONGEST: late}
    assert refusals.longest == 64_000
    other = RefusedParameters()
    other.remember("one", "m", "top_p")
    other.load([(stored, refusals)])
    assert other.of("one", "m") == {"temperature", "verbosity", "top_p", LONGEST}


@pytest.mark.parametrize(("age", "count"), [(KEPT - timedelta(minutes=1), 2), (KEPT + timedelta(minutes=1), 1)])
def test_rows_that_are_too_old_are_deleted(session: Session, age: timedelta, count: int) -> None:
    old = Refusals({"temperature": clock.now() - age})
    _write_refusals(session, {("one", "old"): old})
    _write_refusals(session, {("one", "new"): Refusals({"temperature": clock.now()})})
    session.flush()
    assert session.query(ModelRefusal).count() == count


def test_each_name_is_tried_again_after_its_own_thirty_days() -> None:
    refused, moment = RefusedParameters(), clock.now()
    with clock.frozen(moment):
        refused.remember("one", "m", "temperature")
    with clock.frozen(moment + timedelta(days=29)):
        refused.remember("one", "m", "verbosity")
        refused.load([(("one", "m"), Refusals({"top_p": moment - KEPT}))])
    with clock.frozen(moment + timedelta(days=31)):
        assert refused.of("one", "m") == {"verbosity"}


@pytest.mark.parametrize(
    ("said", "sent", "name"),
    [
        (
            "tool_choice 'required' is not supported when thinking is enabled",
            ["thinking", "tool_choice"],
            "tool_choice",
        ),
        ("Thinking may not be enabled when tool_choice forces tool use.", ["thinking", "tool_choice"], "tool_choice"),
        ("This model does not support file input. Please include text instead.", ["include", "text"], None),
        ("The file you sent is not supported. Supported: text, pdf", ["text"], None),
        ("Unknown parameter: 'include'.", ["include"], "include"),
        ("include: Extra inputs are not permitted", ["include"], "include"),
        ("Web search is temporarily not available. Try again later.", ["web_search"], None),
        ("The web_search tool is supported, but 'user_location.country' must be a code", ["web_search"], None),
        ("Invalid value for web search 'search_context_size'. Supported values are: low", ["web_search"], None),
        ("Web search is not enabled for this organization", ["web_search"], "web_search"),
        ("Your organization must be verified to stream this model.", ["image_generation"], None),
        (
            "Your organization must be verified to use the model `gpt-image-1`.",
            ["image_generation"],
            "image_generation",
        ),
        ("System role not supported", ["system"], "system"),
        ("Developer instruction is not enabled for models/gemma-3-27b-it", ["system"], "system"),
        ("Qwen3-8B is not a multimodal model", ["pictures"], "pictures"),
        ("messages[0].content must be a string", ["pictures"], "pictures"),
        ("Image input modality is not enabled for models/gemma-3-1b-it", ["pictures"], "pictures"),
    ],
)
def test_what_a_refusal_is_about(said: str, sent: list[str], name: str | None) -> None:
    refused = RefusedParameters()
    assert refused.learn("one", "m", RequestRefused("Refused.", said=said), sent) is (name is not None)
    assert refused.of("one", "m") == ({name} if name else set())


@pytest.mark.parametrize(
    ("said", "longest"),
    [
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 8192),
        ("Range of max_tokens should be [1, 8192]", 8192),
        (
            "a maxOutputTokens value of 100000 but the supported range is from 1 (inclusive) to 65537 (exclusive)",
            65_536,
        ),
        ("max tokens must be less than or equal to 4096, the maximum output for this model - received 100000", 4096),
        ("The maximum tokens you requested exceeds the model limit of 4096. Try again with a lower value", 4096),
        ("input length and `max_tokens` exceed context limit: 90000 + 100000 > 180000", 100_000),
    ],
)
def test_how_long_a_reply_may_be_is_read_from_a_refusal(said: str, longest: int) -> None:
    refused = RefusedParameters()
    refused.longest_reply("one", "m", 100_000)
    refused.learn("one", "m", RequestRefused("Refused.", said=said), [])
    assert refused.longest_reply("one", "m", 100_000) == longest
