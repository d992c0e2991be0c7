"""Test the defaults of a new account as they are stored and applied, through the API."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.orm import Session

from tertulia.billing.models import UsageKind
from tertulia.clock import now
from tertulia.db.opening import plain_engine
from tertulia.tools.protocol import Risk, Tool
from tests.factories.ledger import enter_usage
from tests.factories.tool_calls import list_calls, script_calls, send_with_tools, wait_for_pending_calls
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import Call, Finish, ScriptedProvider, Text
from tests.fakes.tools import Recorder


@pytest.fixture
def tools() -> Sequence[Tool]:
    return [Recorder("record", risk=Risk.READ_ONLY), Recorder("other", risk=Risk.LOW)]


DEFAULTS: dict[str, Any] = {
    "read_only_operations": False,
    "low_risk_operations": False,
    "specific_tools": {},
    "max_cost_per_tool": Decimal("1.00"),
    "max_cost_per_hour": Decimal("10.00"),
    "require_approval_for_new_tools": True,
    "spent_this_hour": Decimal(0),
}


def _amounts_as_numbers(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: Decimal(value) if isinstance(value, str) else value
        for name, value in settings.items()
        if name != "updated_at"
    }


def test_a_new_account_starts_with_cautious_approvals(ana: Client) -> None:
    assert _amounts_as_numbers(ana.api("GET", "/auto-approval-settings")) == DEFAULTS


def test_the_same_defaults_are_stored_with_the_first_change(ana: Client) -> None:
    assert _amounts_as_numbers(ana.api("PUT", "/auto-approval-settings", json={})) == DEFAULTS
    assert _amounts_as_numbers(ana.api("GET", "/auto-approval-settings")) == DEFAULTS


@pytest.mark.parametrize("stores_settings", [False, True])
def test_by_default_even_reading_tools_ask(ana: Client, provider: ScriptedProvider, stores_settings: bool) -> None:
    if stores_settings:
        ana.api("PUT", "/auto-approval-settings", json={})
    provider.play(script_calls(Call("record", {}), Call("other", {})), [Text("Done."), Finish()])
    sent = send_with_tools(ana)
    calls = wait_for_pending_calls(ana, 2)
    assert [call["reason"] for call in calls] == ["new", "new"]
    for call in calls:
        ana.api("POST", f"/tool-executions/{call['id']}/deny", json={})
    ana.finished(sent["run"]["id"])


@pytest.mark.parametrize(("cost", "reason"), [("1.00", "new"), ("1.000001", "cost_per_tool")])
def test_one_call_costs_at_most_one_dollar(ana: Client, provider: ScriptedProvider, cost: str, reason: str) -> None:
    provider.play(script_calls(Call("record", {"cost": cost})), [Text("Done."), Finish()])
    sent = send_with_tools(ana)
    if reason == "new":
        (call,) = wait_for_pending_calls(ana)
        ana.api("POST", f"/tool-executions/{call['id']}/deny", json={})
    ana.finished(sent["run"]["id"])
    assert list_calls(ana, sent)[0]["reason"] == reason


def _enter(server: LiveServer, user_id: str, *, minutes_ago: float, kind: UsageKind, call_id: str | None) -> None:
    """Enter 9.50 dollars in the ledger: of a tool, or of a model that reads the result of a tool."""
    moment = now() - timedelta(minutes=minutes_ago)
    engine = plain_engine(server.settings)
    with Session(engine) as session, session.begin():
        enter_usage(session, user_id, moment=moment, cost="9.50", kind=kind, tool_execution_id=call_id)
    engine.dispose()


@pytest.mark.parametrize(
    ("minutes_ago", "kind", "for_tool", "spent"),
    [
        (59, UsageKind.TOOL, True, "9.50"),
        (61, UsageKind.TOOL, True, "0"),  # the hour slides
        (59, UsageKind.MODEL, True, "9.50"),  # reading the result of a tool counts
        (59, UsageKind.MODEL, False, "0"),
    ],
)
def test_ten_dollars_in_a_sliding_hour_with_the_models_that_tools_cause(
    ana: Client,
    server: LiveServer,
    provider: ScriptedProvider,
    minutes_ago: int,
    kind: UsageKind,
    for_tool: bool,
    spent: str,
) -> None:
    provider.play(script_calls(Call("record", {"cost": "0.60"})), [Text("Done."), Finish()])
    first = send_with_tools(ana)
    (call,) = wait_for_pending_calls(ana)
    ana.api("POST", f"/tool-executions/{call['id']}/deny", json={})
    ana.finished(first["run"]["id"])
    _enter(server, ana.user["id"], minutes_ago=minutes_ago, kind=kind, call_id=call["id"] if for_tool else None)
    assert Decimal(ana.api("GET", "/auto-approval-settings")["spent_this_hour"]) == Decimal(spent)
    provider.play(script_calls(Call("record", {"cost": "0.60"})), [Text("Done."), Finish()])
    again = send_with_tools(ana)
    is_over = spent != "0"
    if not is_over:
        (call,) = wait_for_pending_calls(ana)
        ana.api("POST", f"/tool-executions/{call['id']}/deny", json={})
    ana.finished(again["run"]["id"])
    assert (list_calls(ana, again)[0]["reason"] == "cost_per_hour") is is_over


@pytest.mark.parametrize("email", ["ana", "ana@", "@example.org", "ana@example", "ana@@example.org", "a b@example.org"])
def test_what_is_no_e_mail_address_is_refused(ana: Client, email: str) -> None:
    assert ana.api("PATCH", "/me", json={"email": email}, expect=422)["errors"][0]["field"] == "email"


@pytest.mark.parametrize("title", ["", " ", "\t\n", "\u3000"])
def test_an_empty_title_of_a_chat_is_refused(ana: Client, title: str) -> None:
    assert ana.api("POST", "/chats", json={"title": title}, expect=422)["errors"][0]["field"] == "title"
    chat = ana.chat(title="A title")
    ana.api("PATCH", f"/chats/{chat['id']}", json={"title": title}, expect=422)
    assert ana.api("GET", f"/chats/{chat['id']}")["title"] == "A title"


def test_usage_counts_from_since(ana: Client) -> None:
    sent = ana.say(ana.chat()["id"], "hello")
    ana.finished(sent["run"]["id"])
    later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    assert ana.api("GET", "/usage")["total"]["replies"] == 1
    assert ana.api("GET", "/usage", params={"since": later, "until": "2100-01-01T00:00:00Z"})["total"]["replies"] == 0
