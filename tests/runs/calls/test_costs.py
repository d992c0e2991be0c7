"""Test the costs of tool calls: reserved, settled, limited and recorded once."""

from contextlib import closing
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.billing.models import UsageLog
from tertulia.chat.counters import find_wrong_totals
from tertulia.db.opening import plain_engine
from tests.conftest import ServerMaker
from tests.factories.tool_calls import list_calls, script_calls, send_with_tools, set_approval_rules, signed_in
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import Call, Finish, ScriptedProvider, Status, Text
from tests.fakes.tools import Recorder
from tests.waiting import until


def test_tool_costs_are_reserved_settled_and_limited(
    ana: Client, server: LiveServer, provider: ScriptedProvider, recorder: Recorder
) -> None:
    set_approval_rules(ana, max_cost_per_tool="0.50", max_cost_per_hour="1.20")
    provider.play(
        script_calls(
            Call("record", {"cost": "0.51"}), Call("record", {"cost": "0.50"}), Call("record", {"cost": "unknown"})
        ),
        script_calls(Call("record", {"cost": "0.20"}), Call("record", {"cost": "0.21"})),
        [Text("Paid."), Finish()],
    )
    sent = send_with_tools(ana)
    ana.finished(sent["run"]["id"])
    outcomes = [
        (call["parameters"]["cost"], call["status"], call["reason"], call["cost"]) for call in list_calls(ana, sent)
    ]
    assert outcomes == [
        ("0.51", "denied", "cost_per_tool", None),
        ("0.50", "completed", "allowed", "0.500000"),
        ("unknown", "completed", "allowed", "0.500000"),
        ("0.20", "completed", "allowed", "0.200000"),
        ("0.21", "denied", "cost_per_hour", None),
    ]
    assert ana.api("GET", "/auto-approval-settings")["spent_this_hour"] == "1.200000"
    chat = ana.api("GET", f"/chats/{sent['message']['chat_id']}")
    assert chat["total_cost"] == "1.200000"
    assert ana.api("GET", "/usage", params={"group_by": "model"})["total"]["cost"] == "1.200000"
    engine = plain_engine(server.settings)
    with Session(engine) as session:
        assert find_wrong_totals(session) == []
    engine.dispose()
    # Deleting the chat does not reduce the amount spent.
    ana.api("DELETE", f"/chats/{chat['id']}", expect=204)
    assert ana.api("GET", "/auto-approval-settings")["spent_this_hour"] == "1.200000"


def test_concurrent_calls_never_exceed_the_cost_limit(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    set_approval_rules(ana, max_cost_per_hour="1.00")
    provider.play(*[script_calls(*[Call("record", {"do": "pause", "cost": "0.09"})] * 8)] * 4)
    sent = [send_with_tools(ana, f"chat {number}") for number in range(4)]
    for answer in sent:
        ana.finished(answer["run"]["id"])
    calls = [call for answer in sent for call in list_calls(ana, answer)]
    assert len(calls) == 32
    assert len(recorder.calls) == 11
    assert recorder.most_running > 1
    assert ana.api("GET", "/auto-approval-settings")["spent_this_hour"] == "0.990000"


def list_ledger_rows(server: LiveServer, chat_id: str) -> list[Any]:
    """Return the ledger rows of a chat, after checking that the ledger agrees with the totals."""
    engine = plain_engine(server.settings)
    with Session(engine) as session:
        assert find_wrong_totals(session) == []
        rows = session.scalars(sa.select(UsageLog).where(UsageLog.chat_id == chat_id).order_by(UsageLog.id)).all()
    engine.dispose()
    return list(rows)


def test_a_request_is_counted_once_when_its_run_is_cancelled_during_a_call(
    ana: Client, server: LiveServer, provider: ScriptedProvider, recorder: Recorder
) -> None:
    set_approval_rules(ana)
    provider.play(script_calls(Call("record", {"do": "wait"})))
    sent = send_with_tools(ana)
    until(lambda: recorder.running == 1)
    ana.api("POST", f"/runs/{sent['run']['id']}/cancel")
    until(lambda: ana.api("GET", f"/runs/{sent['run']['id']}")["status"] == "cancelled")
    run = ana.api("GET", f"/runs/{sent['run']['id']}")
    assert (run["usage"]["input_tokens"], run["usage"]["output_tokens"]) == (7, 5)
    assert len(list_ledger_rows(server, sent["message"]["chat_id"])) == 1


def test_a_retried_request_is_recorded_once_in_the_ledger(
    start_server: ServerMaker, provider: ScriptedProvider
) -> None:
    provider.models = ["gpt-4o"]
    server = start_server(
        tools=[Recorder()], openai_base_url=provider.url, openai_api_key="sk", provider_connect_s=30.0
    )
    with closing(signed_in(server)) as ana:
        set_approval_rules(ana)
        provider.play(script_calls(Call("record", {})), [Status(503)], [Text("At last."), Finish()])
        sent = send_with_tools(ana, tools=["record"])
        run = ana.finished(sent["run"]["id"])
        rows = list_ledger_rows(server, sent["message"]["chat_id"])
        assert [(row.status.value, row.input_tokens) for row in rows if row.status.value == "settled"] == [
            ("settled", 7),
            ("settled", 7),
        ]
        assert sum(row.cost for row in rows if row.cost is not None) == Decimal(run["cost"])


def test_costs_reported_by_tools_are_recorded_in_the_ledger(
    ana: Client, server: LiveServer, provider: ScriptedProvider
) -> None:
    set_approval_rules(ana)
    provider.play(
        script_calls(
            Call("record", {"do": "expensive"}), Call("record", {"do": "odd"}), Call("record", {"do": "give up"})
        ),
        [Text("Well."), Finish()],
    )
    sent = send_with_tools(ana)
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    outcomes = [(call["status"], call["cost"]) for call in list_calls(ana, sent)]
    assert outcomes == [("completed", "5.000000"), ("completed", "0.010000"), ("failed", "0.000000")]
    assert ana.api("GET", "/auto-approval-settings")["spent_this_hour"] == "5.010000"
    assert len(list_ledger_rows(server, sent["message"]["chat_id"])) == 4
