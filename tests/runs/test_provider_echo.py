"""Test whole conversations with vendors that refuse what they document: what they gave comes back to them only."""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError

from tertulia.providers.echo import MAX_ECHO, EchoTarget, ProviderEcho, model_family, rebuild_turn
from tertulia.providers.errors import MalformedReply
from tertulia.runs.request import build
from tertulia.tools.protocol import Tool
from tests.conftest import ServerMaker, SignIn
from tests.factories.tool_calls import decide, set_approval_rules, signed_in, wait_for_approval, wait_for_pending_calls
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.strict_vendors import CALLS, VENDORS, StrictVendors
from tests.fakes.tools import Recorder
from tests.transfer.test_imports import take

NAMES = [make().name for make in VENDORS]
# Vendors that give something with a turn.
GIVING = [name for name in NAMES if name not in ("custom", "mistral")]
# What is stored does not depend on the vendor, so the second database tries one.
STORED = [*(("sqlite", name) for name in GIVING), ("postgresql", "anthropic")]


@pytest.fixture
def vendors() -> Iterator[StrictVendors]:
    strict = StrictVendors()
    yield strict
    strict.close()


@pytest.fixture
def server(start_server: ServerMaker, vendors: StrictVendors, tools: Sequence[Tool]) -> LiveServer:
    return start_server(tools=[Recorder()], providers=tuple(vendors.configs()), provider_connect_s=30.0)


class Talk:
    """A chat in which each message names the vendor that answers it."""

    def __init__(self, client: Client, vendors: StrictVendors) -> None:
        self.client = client
        self.vendors = vendors
        self.chat_id: str = client.chat(settings={"tools": ["record"]})["id"]
        self.last: dict[str, Any] = {}

    def model(self, name: str, model: str | None = None) -> dict[str, str]:
        return {"provider": name, "model_name": model or self.vendors.vendors[name].model}

    def say(self, content: str, name: str, model: str | None = None) -> dict[str, Any]:
        self.last = self.client.say(self.chat_id, content, models=[self.model(name, model)])
        return self.finish(self.last)

    def finish(self, sent: dict[str, Any]) -> dict[str, Any]:
        run = self.client.finished(sent["run"]["id"])
        assert (run["status"], run["error"]) == ("completed", None), (run["error"], self.vendors.refusals)
        assert self.vendors.refusals == {}
        return sent


@pytest.fixture
def talk(ana: Client, vendors: StrictVendors) -> Talk:
    set_approval_rules(ana)
    return Talk(ana, vendors)


@pytest.mark.parametrize("engine_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", NAMES)
def test_a_conversation_with_tools_goes_on_through_every_turn(talk: Talk, name: str) -> None:
    vendor = talk.vendors.vendors[name]
    talk.say("Hello", name)
    talk.say(f"Please {CALLS}", name)
    talk.say("And now?", name)
    again = talk.say(f"Once more {CALLS}", name)
    edited = talk.client.api(
        "POST", f"/messages/{again['message']['id']}/edit", json={"content": f"Rather {CALLS}"}, expect=201
    )
    talk.finish(edited)
    talk.finish(
        talk.client.api(
            "POST",
            f"/messages/{edited['reply']['id']}/regenerate",
            json=talk.model(name, vendor.other_model),
            expect=201,
        )
    )
    talk.say("Thank you", name, vendor.other_model)
    if name in GIVING:
        assert vendor.returned > 8


@pytest.mark.parametrize("engine_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", NAMES)
def test_each_request_begins_with_the_whole_one_before_byte_for_byte(talk: Talk, name: str) -> None:
    """Keep the prefix, so that the vendor's cache serves it."""
    for content in ("Hello", f"Please {CALLS}", "And now?", f"Once more {CALLS}", "Thank you"):
        talk.say(content, name)
    requests = talk.vendors.vendors[name].requests
    assert len(requests) == 9
    for before, after in pairwise(requests):
        items = next(name for name in ("input", "contents", "messages") if name in before)
        assert {**before, items: None} == {**after, items: None}
        assert json.dumps(after[items]).startswith(json.dumps(before[items]).removesuffix("]"))


@pytest.mark.parametrize("engine_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("first", NAMES[:-1])
def test_a_chat_can_change_vendor_at_any_message(talk: Talk, first: str) -> None:
    """Change from each vendor to each later one and back, so that all ordered pairs are tried."""
    vendors = talk.vendors.vendors
    talk.say(f"Please {CALLS}", first)
    for second in NAMES[NAMES.index(first) + 1 :]:
        talk.say(f"Please {CALLS}", second)
        before = vendors[first].returned
        talk.say("Thank you", first)
        if first in GIVING:
            assert vendors[first].returned > before


@pytest.mark.parametrize("engine_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", GIVING)
def test_the_fakes_refuse_a_request_that_lacks_what_they_gave(
    talk: Talk, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_opened", lambda _echo: None)
    sent = talk.client.say(talk.chat_id, f"Please {CALLS}", models=[talk.model(name)])
    run = talk.client.finished(sent["run"]["id"])
    assert talk.vendors.refusals[name]
    assert (run["status"], run["error"]["code"]) == ("failed", "provider_request_refused")


@pytest.mark.parametrize(("engine_kind", "name"), STORED, indirect=["engine_kind"])
def test_what_a_vendor_gave_survives_approval_and_a_restart(
    start_server: ServerMaker, vendors: StrictVendors, name: str
) -> None:
    options = {"tools": [Recorder()], "providers": tuple(vendors.configs()), "provider_connect_s": 30.0}
    first = start_server(**options)
    talk = Talk(signed_in(first), vendors)
    sent = talk.client.say(talk.chat_id, f"Please {CALLS}", models=[talk.model(name)])
    wait_for_approval(talk.client, sent)
    talk.client.close()
    first.stop()
    again = Client(start_server(**options).url)
    again.api("POST", "/session", json={"username": "ana", "password": "correct horse battery"}, expect=201)
    set_approval_rules(again)
    for call in wait_for_pending_calls(again, 2):
        decide(again, call, arguments={"text": json.loads(call["arguments_json"])["text"]})
    talk.client = again
    talk.finish(sent)
    assert vendors.vendors[name].returned > 0
    again.close()


@pytest.mark.parametrize(("engine_kind", "name"), STORED, indirect=["engine_kind"])
def test_forks_exports_and_imports_keep_it_for_its_owner_only(
    talk: Talk, sign_in: SignIn, server: LiveServer, name: str
) -> None:
    vendor = talk.vendors.vendors[name]
    sent = talk.say(f"Please {CALLS}", name)
    talk.client.api("PATCH", f"/chats/{talk.chat_id}", json={"title": "Ours"})
    export = talk.client.get(f"/chats/{talk.chat_id}/export", params={"format": "json"}).content
    assert '"echo"' in export.decode()
    own, before = talk.chat_id, vendor.returned
    forked = talk.client.api("POST", f"/messages/{sent['reply']['id']}/fork", json={}, expect=201)
    talk.chat_id = forked["id"]
    talk.say(f"Please {CALLS}", name)
    assert vendor.returned > before
    bob = sign_in("bob")
    talk.client.api("POST", f"/chats/{own}/shares", json={"shared_with_username": "bob"}, expect=201)
    copy = bob.api("POST", f"/messages/{sent['reply']['id']}/fork", json={}, expect=201)
    for path in (f"/chats/{copy['id']}/export?format=json", f"/chats/{own}/export?format=json"):
        assert '"echo"' not in bob.get(path).text
    assert take(bob, "chat.json", export)["report"]["problems"] == []
    set_approval_rules(bob)
    bob_talk = Talk(bob, talk.vendors)
    imported = next(chat["id"] for chat in bob.api("GET", "/chats")["items"] if chat["title"] == "Ours")
    before, bob_talk.chat_id = vendor.returned, imported
    bob_talk.say(f"Please {CALLS}", name)
    assert vendor.returned > before


def test_an_edited_text_goes_without_what_came_with_the_first(talk: Talk) -> None:
    sent = talk.say("Hello", "anthropic")
    body = {"content": "I said something else.", "in_place": True}
    talk.client.api("POST", f"/messages/{sent['reply']['id']}/edit", json=body, expect=201)
    talk.say("And now?", "anthropic")
    blocks = talk.vendors.vendors["anthropic"].requests[-1]["messages"][1]["content"]
    assert blocks == [{"type": "text", "text": "I said something else."}]


def test_refused_thoughts_are_left_out_once(talk: Talk) -> None:
    """Refuse them as a vendor does whose other key encrypted them."""
    vendor = talk.vendors.vendors["anthropic"]
    talk.say(f"Please {CALLS}", "anthropic")
    vendor.given.clear()
    sent = talk.client.say(talk.chat_id, "And now?", models=[talk.model("anthropic")])
    assert talk.client.finished(sent["run"]["id"])["status"] == "completed"
    assert len(vendor.refusals) == 1


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("claude-opus-4-5", "claude-opus-4-5"),
        ("gpt-5.2-2026-01-15", "gpt-5.2"),
        ("gemini-3-pro-preview", "gemini-3-pro"),
        ("gemini-2.5-flash-preview-09-2025", "gemini-2.5-flash"),
        ("gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("anthropic/claude-opus-5:thinking", "anthropic/claude-opus-5"),
        ("claude-sonnet-4@20250514", "claude-sonnet-4"),
        ("DeepSeek-Chat", "deepseek-chat"),
    ],
)
def test_editions_of_a_model_are_one_family(name: str, family: str) -> None:
    assert model_family(name) == family


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [nested(2000), "x" * MAX_ECHO], ids=["depth", "length"])
def test_thoughts_that_could_not_be_sent_again_are_refused(value: Any) -> None:
    with pytest.raises(MalformedReply, match="cannot be kept"):
        EchoTarget("here", "model-a").mark(value)


@pytest.mark.parametrize("text", ["rubbish", '"\\ud800"', "[" * 2000 + "]" * 2000])
def test_an_imported_echo_is_json_that_can_be_sent_again(text: str) -> None:
    with pytest.raises(ValidationError):
        ProviderEcho(origin="here", family="m", turn=text)


def as_text(text: str, _place: object) -> dict[str, object]:
    return {"type": "text", "text": text}


@pytest.mark.parametrize("gap", ["", " ", "\n\n"])
def test_a_turn_is_rebuilt_in_its_first_order(gap: str) -> None:
    echo = [
        {"type": "thinking", "signature": "1", "forged": True},
        {"type": "text", "length": 3},
        {"type": "call"},
        {"type": "unknown"},
        {"type": "thinking", "signature": "2"},
        {"type": "text", "length": 4},
    ]
    kept = {"thinking": ("signature",)}
    turn = rebuild_turn(echo, f"One{gap}Four", [{"n": 1}, {"n": 2}], as_text=as_text, kept=kept)
    assert turn == [
        {"type": "thinking", "signature": "1"},
        {"type": "text", "text": "One"},
        {"n": 1},
        {"type": "thinking", "signature": "2"},
        {"type": "text", "text": "Four"},
        {"n": 2},
    ]


@pytest.mark.parametrize("echo", [None, "text", 5, [], [1, None], [{"type": ["a"]}], [{"type": "text", "length": "x"}]])
def test_an_odd_echo_leaves_the_text_and_the_calls(echo: object) -> None:
    assert rebuild_turn(echo, "One", [{"n": 1}], as_text=as_text, kept={}) == [
        {"type": "text", "text": "One"},
        {"n": 1},
    ]


def test_only_the_giver_gets_an_echo() -> None:
    target = EchoTarget("here", "model-a")
    echo = target.mark({"b": 1, "a": "\ud800\x00"})
    assert isinstance(echo, ProviderEcho)
    assert echo.turn == '{"b":1,"a":"?\\u0000"}'  # half a surrogate pair cannot be sent again
    assert target.accepts(echo)
    assert target.mark(None) is None
    others = [EchoTarget("there", "model-a"), EchoTarget("here", "model-b")]
    assert not any(other.accepts(echo) for other in others)
    assert not target.accepts(None)
