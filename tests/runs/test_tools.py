"""Test tool calls: rules, approvals, single execution, results for the model, costs and records."""

import gzip
from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.models import UsageLog
from tertulia.chat.counters import find_wrong_totals
from tertulia.chat.models import Chat
from tertulia.db import Database
from tertulia.db.opening import plain_engine
from tertulia.runs.engine.executor import RunExecutor
from tertulia.runs.models import Run, RunStatus
from tertulia.tools.models import ToolExecution
from tertulia.tools.protocol import Risk, Tool
from tests.conftest import ServerMaker, SignIn
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.pages import Pages
from tests.fakes.scripted_provider import Call, Finish, ScriptedProvider, Status, Text
from tests.fakes.tools import Recorder
from tests.waiting import until

ALL = ["record", "other", "calculate", "current_time", "read_state", "write_state", "read_chat", "fetch_page"]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def tools(recorder: Recorder) -> Sequence[Tool]:
    return [recorder, Recorder("other", risk=Risk.LOW)]


def calling(*calls: Call, text: str = "") -> list[Any]:
    return [*([Text(text)] if text else []), *calls, Finish("tool_calls")]


def ask(client: Client, content: str = "Do it", **settings: Any) -> dict[str, Any]:
    chat = client.chat(settings={"tools": ALL} | settings)
    return client.say(chat["id"], content)


def pending(client: Client, count: int = 1) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def are_there() -> bool:
        calls[:] = client.api("GET", "/tool-executions", params={"status": "pending"})["items"]
        return len(calls) == count

    until(are_there)
    return calls


def calls_of(client: Client, sent: dict[str, Any]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.api("GET", f"/messages/{sent['reply']['id']}/tool-executions")["items"]
    return items


def decide(client: Client, call: dict[str, Any], decision: str = "approve", expect: int = 200, **body: Any) -> Any:
    return client.api("POST", f"/tool-executions/{call['id']}/{decision}", json=body, expect=expect)


def waits(client: Client, sent: dict[str, Any]) -> None:
    until(lambda: client.api("GET", f"/runs/{sent['run']['id']}")["status"] == "awaiting_approval")


def allow(client: Client, **changes: Any) -> None:
    rules = {"specific_tools": {"record": [{"rule": "allow"}]}} | changes
    client.api("PUT", "/auto-approval-settings", json=rules)


def test_a_call_waits_for_approval_and_the_run_continues_with_its_result(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    """Record the times of the request, approval, execution and completion (conformance S001-054, S001-067)."""
    provider.play(calling(Call("record", {"text": "hi"}), text="I will look. "), [Text("It says hi."), Finish()])
    sent = ask(ana)
    (call,) = pending(ana)
    waits(ana, sent)
    assert (call["tool_name"], call["parameters"], call["reason"], call["risk"]) == (
        "record",
        {"text": "hi"},
        "new",
        "high",
    )
    assert call["chat_title"]
    assert recorder.calls == []
    approved = decide(ana, call)
    assert approved["status"] in ("approved", "executing", "completed")
    run = ana.finished(sent["run"]["id"])
    assert run["status"] == "completed"
    (done,) = calls_of(ana, sent)
    assert (done["status"], done["decision"], done["decided_by"]["name"]) == ("completed", "person", "Ana")
    assert done["result"]["content"] == "done: hi"
    times = [done[name] for name in ("approval_requested_at", "approved_at", "executed_at", "completed_at")]
    assert times == sorted(times)
    assert done["execution_time_ms"] is not None
    assert recorder.calls == [{"text": "hi"}]
    reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
    assert [part["type"] for part in reply["parts"]] == ["text", "tool_call", "text"]
    assert reply["content"].split() == ["I", "will", "look.", "It", "says", "hi."]
    assert reply["status"] == "sent"
    messages = provider.requests[-1]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool"]
    assert messages[2]["tool_calls"][0]["function"] == {"name": "record", "arguments": '{"text":"hi"}'}
    assert messages[3]["content"] == '<tool_result from="untrusted">\ndone: hi\n</tool_result>'
    assert {tool["function"]["name"] for tool in provider.requests[0]["tools"]} == set(ALL)
    # Both requests are counted, but only one reply.
    assert (reply["usage"]["input_tokens"], reply["usage"]["output_tokens"]) == (14, 10)
    usage = ana.api("GET", "/usage", params={"group_by": "model"})
    assert (usage["total"]["replies"], usage["total"]["total_tokens"]) == (1, 24)


def test_live_and_replayed_streams_contain_the_call_and_the_whole_text(ana: Client, provider: ScriptedProvider) -> None:
    provider.play(calling(Call("record", {"text": "hi"}), text="First. "), [Text("Then."), Finish()])
    sent = ask(ana)
    (call,) = pending(ana)
    with ana.stream("GET", f"/runs/{sent['run']['id']}/events") as response:
        from tests.fakes.live_server import parse_events

        events = []
        for _, kind, data in parse_events(response):
            events.append((kind, data))
            if kind == "tool.requested" and not any(kind == "run.finished" for kind, _ in events):
                decide(ana, call) if ana.api("GET", f"/tool-executions/{call['id']}")["status"] == "pending" else None
    kinds = [kind for kind, _ in events]
    assert kinds[-2:] == ["message.finished", "run.finished"]
    text = ""
    for kind, data in events:
        if kind == "message.reset":
            text = ""
        elif kind == "text.delta":
            text += data["text"]
    assert text == "First. Then."
    again = ana.run_events(sent["run"]["id"])
    assert [kind for _, kind, _ in again if kind == "tool.requested"] == ["tool.requested"]


def test_rules_allow_or_refuse_calls_without_asking(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    allow(
        ana, specific_tools={"record": [{"rule": "allow", "arguments": {"text": "ok*"}}], "other": [{"rule": "never"}]}
    )
    provider.play(
        calling(Call("record", {"text": "ok then"}), Call("other", {}), Call("nothing", {}), Call("record", "{")),
        [Text("Done."), Finish()],
    )
    sent = ask(ana)
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    outcomes = [(call["tool_name"], call["status"], call["reason"], call["decision"]) for call in calls_of(ana, sent)]
    assert outcomes == [
        ("record", "completed", "allowed", "rule"),
        ("other", "denied", "never", "rule"),
        ("nothing", "denied", "unknown_tool", "rule"),
        ("record", "denied", "arguments_invalid", "rule"),
    ]
    results = [message["content"] for message in provider.requests[-1]["messages"] if message["role"] == "tool"]
    assert results[1] == "[denied: A rule of the person refuses this tool.]"
    assert "not valid JSON" in results[3]
    assert recorder.calls == [{"text": "ok then"}]


def test_calls_of_a_step_are_decided_separately_and_the_last_decision_resumes_the_run(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    provider.play(
        calling(Call("record", {"text": "a"}), Call("record", {"text": "b"}), Call("record", {"text": "c"})),
        [Text("So be it."), Finish()],
    )
    sent = ask(ana)
    first, second, third = pending(ana, 3)
    waits(ana, sent)
    decide(ana, second, "deny", note="Not that one.")
    decide(ana, first)
    assert ana.api("GET", f"/runs/{sent['run']['id']}")["status"] == "awaiting_approval"
    edited = decide(ana, third, parameters={"text": "C"})
    assert edited["edited_parameters"] == {"text": "C"}
    ana.finished(sent["run"]["id"])
    assert sorted(call["text"] for call in recorder.calls) == ["C", "a"]
    results = [message["content"] for message in provider.requests[-1]["messages"] if message["role"] == "tool"]
    assert "done: a" in results[0]
    assert results[1] == "[The person refused this call. They say: Not that one.]"
    assert results[2].startswith("[The person changed the arguments")
    sent_calls = provider.requests[-1]["messages"][2]["tool_calls"]
    assert [call["function"]["arguments"] for call in sent_calls] == ['{"text":"a"}', '{"text":"b"}', '{"text":"C"}']


def test_a_decision_is_final_and_only_the_requester_decides(
    ana: Client, sign_in: SignIn, provider: ScriptedProvider
) -> None:
    provider.play(calling(Call("record", {"text": "a"})), [Text("So."), Finish()])
    sent = ask(ana)
    (call,) = pending(ana)
    bob = sign_in("bob")
    decide(bob, call, expect=404)
    body = {"shared_with_username": "bob", "permissions": {"can_write": True}}
    ana.api("POST", f"/chats/{call['chat_id']}/shares", json=body, expect=201)
    for action in ("approve", "deny", "cancel"):
        assert decide(bob, call, action, expect=403)["code"] == "not_yours_to_decide"
    wrong = decide(ana, call, parameters={"text": 1}, expect=422)
    assert wrong["code"] == "arguments_invalid"
    decide(ana, call, "deny")
    late = decide(ana, call, expect=409)
    assert (late["code"], late["status_now"], late["decided_by"]) == ("already_decided", "denied", "Ana")
    assert late["decided_at"]
    assert decide(ana, call, "cancel", expect=409)["code"] == "already_decided"
    ana.finished(sent["run"]["id"])


def test_an_approval_is_remembered_for_the_chat_or_always(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    provider.play(calling(Call("record", {})), [Text("One."), Finish()])
    sent = ask(ana)
    decide(ana, pending(ana)[0], remember="chat")
    ana.finished(sent["run"]["id"])
    here = ana.api("GET", f"/chats/{sent['message']['chat_id']}/auto-approval")
    assert here["specific_tools"]["record"][0]["rule"] == "allow"
    provider.play(calling(Call("record", {})), [Text("Two."), Finish()])
    again = ana.say(sent["message"]["chat_id"], "again")
    assert ana.finished(again["run"]["id"])["status"] == "completed"
    assert calls_of(ana, again)[0]["reason"] == "allowed"
    provider.play(calling(Call("record", {})), [Text("Elsewhere."), Finish()])
    elsewhere = ask(ana)
    (call,) = pending(ana)
    assert call["reason"] == "not_allowed"  # no longer new, but allowed only in the other chat
    decide(ana, call, remember="always")
    ana.finished(elsewhere["run"]["id"])
    provider.play(calling(Call("record", {})), [Text("Anywhere."), Finish()])
    assert ana.finished(ask(ana)["run"]["id"])["status"] == "completed"
    assert len(recorder.calls) == 4
    # Copying or sharing the chat clears its automatic approvals.
    copy = ana.api("POST", f"/messages/{sent['reply']['id']}/fork", expect=201)
    assert ana.api("GET", f"/chats/{copy['id']}/auto-approval")["specific_tools"] == {}
    (copied,) = ana.api("GET", f"/chats/{copy['id']}/tool-executions")["items"]
    assert (copied["status"], copied["run_id"], copied["requested_by"]) == ("completed", None, None)
    last = ana.api("GET", f"/chats/{copy['id']}/messages")["items"][0]
    assert last["parts"][0]["tool_execution_id"] == copied["id"] != calls_of(ana, sent)[0]["id"]
    provider.play([Text("From here."), Finish()])
    ana.finished(ana.say(copy["id"], "Go on")["run"]["id"])
    assert "done: " in str(provider.requests[-1]["messages"])
    ana.api("POST", f"/chats/{sent['message']['chat_id']}/shares", json={}, expect=201)
    assert ana.api("GET", f"/chats/{sent['message']['chat_id']}/auto-approval")["specific_tools"] == {}


def test_failing_tools_do_not_end_the_run(ana: Client, provider: ScriptedProvider, recorder: Recorder) -> None:
    allow(ana)
    provider.play(
        calling(Call("record", {"do": "refuse"}), Call("record", {"do": "crash"}), Call("record", {"do": "flood"})),
        [Text("Well."), Finish()],
    )
    sent = ask(ana)
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    refused, crashed, flooded = calls_of(ana, sent)
    assert (refused["status"], refused["error_message"]) == ("failed", "No such thing is to be had.")
    assert (crashed["status"], crashed["error_code"]) == ("failed", "tool_failed")
    assert "secret" not in crashed["error_message"]
    assert (flooded["status"], flooded["result"]["is_cut"], flooded["result"]["size_bytes"]) == (
        "completed",
        True,
        400_002,
    )
    assert flooded["result"]["content"] is None
    whole = ana.api("GET", f"/tool-executions/{flooded['id']}")
    assert len(whole["result"]["content"]) == 256 * 1024 - 2
    # The results sent to the model fit its window of 8,192 tokens.
    assert sum(len(message["content"]) for message in provider.requests[-1]["messages"]) < 8192 * 4


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # this does not depend on the database
def test_a_call_that_exceeds_its_timeout_is_stopped(start_server: ServerMaker, provider: ScriptedProvider) -> None:
    slow = Recorder("slow", timeout_s=0.05)
    server = start_server(tools=[slow], openai_base_url=provider.url, openai_api_key="sk", provider_connect_s=30.0)
    with closing(signed_in(server)) as ana:
        allow(ana, specific_tools={"slow": [{"rule": "allow"}]})
        provider.play(calling(Call("slow", {"do": "wait"})), [Text("Never mind."), Finish()])
        sent = ask(ana, tools=["slow"])
        assert ana.finished(sent["run"]["id"])["status"] == "completed"
        (call,) = calls_of(ana, sent)
        assert (call["status"], call["error_code"]) == ("timeout", "tool_timeout")
        assert slow.cancelled == 1


def signed_in(server: LiveServer) -> Client:
    from tests.factories.accounts import PASSWORD_HASH, make_user

    engine = plain_engine(server.settings)
    with Session(engine) as session:
        make_user(session, username="ana", name="Ana", password_hash=PASSWORD_HASH)
        session.commit()
    engine.dispose()
    client = Client(server.url)
    client.user = client.api(
        "POST", "/session", json={"username": "ana", "password": "correct horse battery"}, expect=201
    )
    return client


def test_cancelling_a_running_call_lets_the_run_continue(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    allow(ana)
    provider.play(calling(Call("record", {"do": "wait"})), [Text("Stopped, then."), Finish()])
    sent = ask(ana)
    until(lambda: recorder.running == 1)
    (call,) = calls_of(ana, sent)
    assert call["status"] == "executing"
    assert decide(ana, call, "cancel")["status"] == "cancelled"
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    assert recorder.cancelled == 1
    assert "may have had its effect" in calls_of(ana, sent)[0]["error_message"]


def test_cancelling_a_run_cancels_its_running_and_pending_calls(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    allow(ana)
    provider.play(calling(Call("record", {"do": "wait"}), Call("other", {})))
    sent = ask(ana)
    until(lambda: recorder.running == 1)
    ana.api("POST", f"/runs/{sent['run']['id']}/cancel")
    until(lambda: ana.api("GET", f"/runs/{sent['run']['id']}")["status"] == "cancelled")
    assert {call["status"] for call in calls_of(ana, sent)} == {"cancelled"}
    assert recorder.cancelled == 1
    # A run that awaits a decision ends immediately and keeps its text.
    provider.play(calling(Call("other", {}), text="Let me see."))
    waiting = ana.say(sent["message"]["chat_id"], "again")
    waits(ana, waiting)
    ana.api("POST", f"/runs/{waiting['run']['id']}/cancel")
    assert ana.api("GET", f"/runs/{waiting['run']['id']}")["status"] == "cancelled"
    assert calls_of(ana, waiting)[0]["status"] == "cancelled"
    assert ana.api("GET", f"/messages/{waiting['reply']['id']}")["content"] == "Let me see."
    # Continuing tells the model that the call was cancelled.
    provider.play([Text("Without it, then."), Finish()])
    more = ana.api("POST", f"/messages/{waiting['reply']['id']}/continue", expect=201)
    ana.finished(more["run"]["id"])
    reply = ana.api("GET", f"/messages/{waiting['reply']['id']}")
    assert [part["type"] for part in reply["parts"]] == ["text", "tool_call", "text"]
    assert provider.requests[-1]["messages"][-1]["content"] == "[cancelled: Cancelled.]"


def test_a_run_fails_after_25_tool_calls(ana: Client, provider: ScriptedProvider, recorder: Recorder) -> None:
    allow(ana)
    provider.default = calling(Call("record", {"text": "a"}), Call("record", {"text": "b"}))
    sent = ask(ana)
    run = ana.finished(sent["run"]["id"])
    assert (run["status"], run["error"]["code"]) == ("failed", "too_many_tool_calls")
    assert len(recorder.calls) == 25
    calls = calls_of(ana, sent)
    assert [call["reason"] for call in calls[24:]] == ["allowed", "too_many_calls"]
    provider.default = None
    provider.play([Text("That was enough."), Finish()])
    more = ana.api("POST", f"/messages/{sent['reply']['id']}/continue", expect=201)
    assert ana.finished(more["run"]["id"])["status"] == "completed"


def test_a_call_that_sends_untrusted_text_out_needs_approval(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    allow(ana)
    secret = "the meeting is moved to the old mill at midnight"
    provider.play(
        calling(Call("record", {"text": secret})),
        calling(Call("record", {"text": f"tell them that {secret}"})),
        [Text("Told."), Finish()],
    )
    sent = ask(ana)
    (call,) = pending(ana)
    assert (call["reason"], call["untrusted_sources"]) == ("untrusted", ["record"])
    assert len(recorder.calls) == 1
    decide(ana, call)
    ana.finished(sent["run"]["id"])


def test_tool_costs_are_reserved_settled_and_limited(
    ana: Client, server: LiveServer, provider: ScriptedProvider, recorder: Recorder
) -> None:
    allow(ana, max_cost_per_tool="0.50", max_cost_per_hour="1.20")
    provider.play(
        calling(
            Call("record", {"cost": "0.51"}), Call("record", {"cost": "0.50"}), Call("record", {"cost": "unknown"})
        ),
        calling(Call("record", {"cost": "0.20"}), Call("record", {"cost": "0.21"})),
        [Text("Paid."), Finish()],
    )
    sent = ask(ana)
    ana.finished(sent["run"]["id"])
    outcomes = [
        (call["parameters"]["cost"], call["status"], call["reason"], call["cost"]) for call in calls_of(ana, sent)
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
    allow(ana, max_cost_per_hour="1.00")
    provider.play(*[calling(*[Call("record", {"do": "pause", "cost": "0.09"})] * 8)] * 4)
    sent = [ask(ana, f"chat {number}") for number in range(4)]
    for answer in sent:
        ana.finished(answer["run"]["id"])
    calls = [call for answer in sent for call in calls_of(ana, answer)]
    assert len(calls) == 32
    assert len(recorder.calls) == 11
    assert recorder.most_running > 1
    assert ana.api("GET", "/auto-approval-settings")["spent_this_hour"] == "0.990000"


def test_a_run_awaiting_approval_continues_after_a_restart(
    start_server: ServerMaker, provider: ScriptedProvider
) -> None:
    tool = Recorder()
    options: dict[str, Any] = {"tools": [tool], "openai_base_url": provider.url, "openai_api_key": "sk"}
    first = start_server(**options, provider_connect_s=30.0)
    provider.play(calling(Call("record", {"text": "x"}), text="Before. "), [Text("After."), Finish()])
    with closing(signed_in(first)) as ana:
        sent = ask(ana, tools=["record"])
        (call,) = pending(ana)
        waits(ana, sent)
        cookies = dict(ana.cookies)
    first.stop()
    second = start_server(**options, provider_connect_s=30.0)
    with Client(second.url, cookies=cookies) as ana:
        decide(ana, call)
        assert ana.finished(sent["run"]["id"])["status"] == "completed"
        reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
        assert "".join(part.get("text", "") for part in reply["parts"]) == "Before. After."
    assert tool.calls == [{"text": "x"}]


def test_a_call_of_a_dead_process_is_not_repeated_without_approval(
    start_server: ServerMaker, provider: ScriptedProvider
) -> None:
    """Mark the call `outcome_unknown`. The same call, proposed again, needs approval."""
    tool = Recorder()
    options: dict[str, Any] = {"tools": [tool], "openai_base_url": provider.url, "openai_api_key": "sk"}
    first = start_server(**options, provider_connect_s=30.0)
    provider.play(calling(Call("record", {"cost": "0.25"})))
    with closing(signed_in(first)) as ana:
        allow(ana, specific_tools={})
        sent = ask(ana, tools=["record"])
        (call,) = pending(ana)
        waits(ana, sent)
        allow(ana)
        cookies = dict(ana.cookies)
    first.stop()
    engine = plain_engine(first.settings)
    with Session(engine) as session:
        # Simulate a process that died between approval and result.
        session.execute(
            sa.update(ToolExecution).values(status="executing", approved_at=clock.now(), executed_at=clock.now())
        )
        session.execute(
            sa.update(Run).values(status=RunStatus.RUNNING, lease_owner="gone", lease_expires_at=clock.now())
        )
        session.commit()
    engine.dispose()
    provider.play(calling(Call("record", {"cost": "0.25"})), [Text("Once."), Finish()])
    second = start_server(**options, provider_connect_s=30.0)
    with Client(second.url, cookies=cookies) as ana:
        (second_call,) = pending(ana)
        assert second_call["reason"] == "outcome_unknown"
        first_call = next(item for item in calls_of(ana, sent) if item["id"] == call["id"])
        assert (first_call["status"], first_call["error_code"], first_call["cost"]) == (
            "failed",
            "outcome_unknown",
            "0.250000",
        )
        assert tool.calls == []
        decide(ana, second_call)
        ana.finished(sent["run"]["id"])
    assert len(tool.calls) == 1


def test_an_undecided_call_expires_and_the_run_continues(
    ana: Client, server: LiveServer, provider: ScriptedProvider
) -> None:
    provider.play(calling(Call("record", {})), [Text("No answer."), Finish()])
    sent = ask(ana)
    (call,) = pending(ana)
    waits(ana, sent)
    engine = plain_engine(server.settings)
    with Session(engine) as session:
        from datetime import timedelta

        past = clock.now() - timedelta(hours=24, seconds=1)
        session.execute(sa.update(ToolExecution).values(created_at=past, expires_at=clock.now()))
        session.commit()
    engine.dispose()
    late = decide(ana, call, expect=409)
    assert (late["code"], late["status_now"]) == ("already_decided", "timeout")
    from tertulia.runs.calls.approvals import expire_approvals, has_expired

    assert server.call(server.app.state.services.get(Database).read(has_expired))
    assert server.call(server.app.state.services.get(Database).write(expire_approvals)) == 1
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    assert calls_of(ana, sent)[0]["error_code"] == "approval_expired"


def test_a_writer_in_a_shared_chat_does_not_use_the_rules_of_its_owner(
    ana: Client, sign_in: SignIn, server: LiveServer, provider: ScriptedProvider, recorder: Recorder
) -> None:
    bob = sign_in("bob")
    chat = ana.chat(settings={"tools": ["record"]})
    body = {"shared_with_username": "bob", "permissions": {"can_write": True}}
    ana.api("POST", f"/chats/{chat['id']}/shares", json=body, expect=201)
    allow(ana)
    ana.api("PUT", f"/chats/{chat['id']}/auto-approval", json={"specific_tools": {"record": [{"rule": "ask"}]}})
    provider.play(calling(Call("record", {})), [Text("Done."), Finish()])
    sent = bob.say(chat["id"], "Do it")
    (call,) = pending(bob)
    assert pending(ana, 0) == []
    assert decide(ana, call, expect=403)["code"] == "not_yours_to_decide"
    assert recorder.calls == []
    decide(bob, call, remember="chat")
    bob.finished(sent["run"]["id"])
    # Only Ana decides what runs automatically in her chat.
    engine = plain_engine(server.settings)
    with Session(engine) as session:
        stored = session.scalars(sa.select(Chat.auto_approval).where(Chat.id == chat["id"])).one()
    engine.dispose()
    assert stored is not None
    assert [rule.rule for rule in stored.specific_tools["record"]] == ["ask"]


def test_call_history_and_tool_usage_list_each_tool(ana: Client, provider: ScriptedProvider) -> None:
    allow(ana)
    provider.play(
        calling(
            Call("record", {"text": "a"}), Call("record", {"do": "refuse"}), Call("calculate", {"expression": "6*7"})
        ),
        [Text("Done."), Finish()],
    )
    sent = ask(ana)
    decide(ana, pending(ana)[0])
    ana.finished(sent["run"]["id"])
    usage = {item["tool_name"]: item for item in ana.api("GET", "/tools/usage")["items"]}
    assert (usage["record"]["calls"], usage["record"]["completed"], usage["record"]["failed"]) == (2, 1, 1)
    assert usage["calculate"]["completed"] == 1
    newest = ana.api("GET", "/tool-executions", params={"tool": "calculate"})["items"]
    assert [item["result"]["content"] for item in newest] == ["42"]
    page = ana.api("GET", f"/chats/{sent['message']['chat_id']}/tool-executions", params={"limit": 2})
    assert [item["tool_name"] for item in page["items"]] == ["calculate", "record"]
    rest = ana.api(
        "GET",
        f"/chats/{sent['message']['chat_id']}/tool-executions",
        params={"limit": 2, "cursor": page["next_cursor"]},
    )
    assert [item["tool_name"] for item in rest["items"]] == ["record"]


def test_chat_state_is_stored_validated_and_limited(ana: Client, provider: ScriptedProvider) -> None:
    """Store a partly filled flight request (conformance S002-048 to S002-055)."""
    schema = {
        "type": "object",
        "properties": {
            "pending_flight_request": {
                "type": "object",
                "properties": {"origin": {"type": "string"}, "destination": {"type": "string"}},
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
    }
    allow(ana, specific_tools={"write_state": [{"rule": "allow"}], "read_state": [{"rule": "allow"}]})
    chat = ana.chat(settings={"tools": ["write_state", "read_state"]})
    assert ana.api("GET", f"/chats/{chat['id']}/state")["state"] == {}
    ana.api("PUT", f"/chats/{chat['id']}/state", json={"state": {}, "schema": schema})
    provider.play(
        calling(Call("write_state", {"changes": {"pending_flight_request": {"origin": "PRG"}}})),
        calling(Call("write_state", {"changes": {"nonsense": 1}}), Call("read_state")),
        [Text("Where to?"), Finish()],
    )
    sent = ana.say(chat["id"], "A flight from Prague")
    ana.finished(sent["run"]["id"])
    kept = ana.api("GET", f"/chats/{chat['id']}/state")
    assert kept["state"] == {"pending_flight_request": {"origin": "PRG"}}
    failed = calls_of(ana, sent)[1]
    assert (failed["status"], failed["error_code"]) == ("failed", "state_invalid")
    refused = ana.api("PUT", f"/chats/{chat['id']}/state", json={"state": {"x": 1}}, expect=422)
    assert refused["code"] == "state_invalid"
    big: dict[str, Any] = {"state": {"a": "x" * (256 * 1024 - 8)}, "schema": None}
    assert ana.api("PUT", f"/chats/{chat['id']}/state", json=big)["schema"] is None
    big["state"]["a"] += "x"
    assert ana.api("PUT", f"/chats/{chat['id']}/state", json=big, expect=422)["code"] == "state_too_large"


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # this does not depend on the database
def test_fetch_page_returns_text_and_refuses_private_addresses(
    start_server: ServerMaker, provider: ScriptedProvider
) -> None:
    inside = Pages({"/": (200, {"Content-Type": "text/plain"}, b"secret")})
    html = "<title>Bäckerei</title><nav>menu</nav><main><h2>Brot</h2><p>frisch</p></main>".encode()
    pages = Pages(
        {
            "/bread": (200, {"Content-Type": "text/html; charset=utf-8"}, html),
            "/moved": (302, {"Location": "/bread"}, b""),
            "/inside": (302, {"Location": f"{inside.url}/"}, b""),
            "/round": (302, {"Location": "/round"}, b""),
            "/picture": (200, {"Content-Type": "image/png"}, b"x"),
            "/large": (200, {"Content-Type": "text/plain"}, b"x" * (10 * 1024 * 1024 + 1)),
            "/elsewhere": (302, {"Location": "http://elsewhere.example/bread?q=all+you+know"}, b""),
            "/packed": (
                200,
                {"Content-Type": "text/html", "Content-Encoding": "gzip"},
                gzip.compress(b"x" * 10_000_000),
            ),
            "/latin": (200, {"Content-Type": "text/plain"}, "Grüße aus der Küche, schöne Brötchen".encode("latin-1")),
        }
    )
    server = start_server(
        openai_base_url=provider.url, openai_api_key="sk", provider_connect_s=30.0, outbound_allow=(pages.url,)
    )
    with closing(inside), closing(pages), closing(signed_in(server)) as ana:
        allow(ana, specific_tools={"fetch_page": [{"rule": "allow"}]})
        paths = ["/moved", "/elsewhere", "/inside", "/round", "/picture", "/large", "/packed", "/latin", "/nothing"]
        fetches = [Call("fetch_page", {"url": f"{pages.url}{path}"}) for path in paths]
        provider.play(calling(*fetches, Call("fetch_page", {"url": inside.url})), [Text("Read."), Finish()])
        sent = ask(ana, " ".join([inside.url, *(f"{pages.url}{path}" for path in paths)]))
        ana.finished(sent["run"]["id"])
        calls = {call["parameters"]["url"]: call for call in calls_of(ana, sent)}
        moved = calls[f"{pages.url}/moved"]["result"]["content"]
        assert moved == f"{pages.url}/bread\n\n# Bäckerei\n\n## Brot\n\nfrisch"
        assert calls[f"{pages.url}/latin"]["result"]["content"].endswith("schöne Brötchen")
        errors = {url.removeprefix(pages.url): call["error_message"] for url, call in calls.items()}
        assert "own network" in errors["/inside"]
        assert "own network" in errors[inside.url]
        assert "another site: http://elsewhere.example/bread" in errors["/elsewhere"]
        assert "is compressed" in errors["/packed"]
        assert "more than 3 times" in errors["/round"]
        assert "image/png" in errors["/picture"]
        assert "10 MiB" in errors["/large"]
        assert "404" in errors["/nothing"]
        assert inside.asked == []


def ledger_of(server: LiveServer, chat_id: str) -> list[Any]:
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
    allow(ana)
    provider.play(calling(Call("record", {"do": "wait"})))
    sent = ask(ana)
    until(lambda: recorder.running == 1)
    ana.api("POST", f"/runs/{sent['run']['id']}/cancel")
    until(lambda: ana.api("GET", f"/runs/{sent['run']['id']}")["status"] == "cancelled")
    run = ana.api("GET", f"/runs/{sent['run']['id']}")
    assert (run["usage"]["input_tokens"], run["usage"]["output_tokens"]) == (7, 5)
    assert len(ledger_of(server, sent["message"]["chat_id"])) == 1


def test_a_retried_request_is_recorded_once_in_the_ledger(
    start_server: ServerMaker, provider: ScriptedProvider
) -> None:
    provider.models = ["gpt-4o"]
    server = start_server(
        tools=[Recorder()], openai_base_url=provider.url, openai_api_key="sk", provider_connect_s=30.0
    )
    with closing(signed_in(server)) as ana:
        allow(ana)
        provider.play(calling(Call("record", {})), [Status(503)], [Text("At last."), Finish()])
        sent = ask(ana, tools=["record"])
        run = ana.finished(sent["run"]["id"])
        rows = ledger_of(server, sent["message"]["chat_id"])
        assert [(row.status.value, row.input_tokens) for row in rows if row.status.value == "settled"] == [
            ("settled", 7),
            ("settled", 7),
        ]
        assert sum(row.cost for row in rows if row.cost is not None) == Decimal(run["cost"])


def test_costs_reported_by_tools_are_recorded_in_the_ledger(
    ana: Client, server: LiveServer, provider: ScriptedProvider
) -> None:
    allow(ana)
    provider.play(
        calling(Call("record", {"do": "expensive"}), Call("record", {"do": "odd"}), Call("record", {"do": "give up"})),
        [Text("Well."), Finish()],
    )
    sent = ask(ana)
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    outcomes = [(call["status"], call["cost"]) for call in calls_of(ana, sent)]
    assert outcomes == [("completed", "5.000000"), ("completed", "0.010000"), ("failed", "0.000000")]
    assert ana.api("GET", "/auto-approval-settings")["spent_this_hour"] == "5.010000"
    assert len(ledger_of(server, sent["message"]["chat_id"])) == 4


def test_edited_arguments_are_checked_against_rules_and_limits(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    ana.api("PUT", "/auto-approval-settings", json={"specific_tools": {"record": NEVER_BAD}})
    provider.play(calling(Call("record", {"cost": "0.01"})), [Text("Done."), Finish()])
    sent = ask(ana)
    (call,) = pending(ana)
    too_expensive = decide(ana, call, parameters={"cost": "1.01"}, expect=409)
    assert (too_expensive["code"], "one call" in too_expensive["detail"]) == ("refused_by_rule", True)
    assert decide(ana, call, parameters={"text": "bad"}, expect=409)["code"] == "refused_by_rule"
    assert decide(ana, call, parameters={"cost": "0.40"})["estimated_cost"] == "0.400000"
    ana.finished(sent["run"]["id"])
    assert recorder.calls == [{"cost": "0.40"}]
    assert calls_of(ana, sent)[0]["cost"] == "0.400000"


NEVER_BAD = [{"rule": "never", "arguments": {"text": "*bad*"}}]


def test_stopping_the_server_keeps_pending_calls(start_server: ServerMaker, provider: ScriptedProvider) -> None:
    """Mark the executing call `outcome_unknown`. The pending call stays pending."""
    tool = Recorder()
    options: dict[str, Any] = {
        "tools": [tool, Recorder("other")],
        "openai_base_url": provider.url,
        "openai_api_key": "k",
    }
    first = start_server(**options, provider_connect_s=30.0)
    with closing(signed_in(first)) as ana:
        allow(ana)
        provider.play(calling(Call("record", {"do": "wait"}), Call("other", {})), [Text("Well."), Finish()])
        sent = ask(ana, tools=["record", "other"])
        until(lambda: tool.running == 1)
        executor = first.app.state.services.get(RunExecutor)
        first.call(_stop_soon(executor))
        cookies = dict(ana.cookies)
    first.stop()
    second = start_server(**options, provider_connect_s=30.0)
    with Client(second.url, cookies=cookies) as ana:
        (waiting,) = pending(ana)
        assert waiting["tool_name"] == "other"
        assert ana.api("GET", f"/runs/{sent['run']['id']}")["status"] == "awaiting_approval"
        interrupted = next(call for call in calls_of(ana, sent) if call["tool_name"] == "record")
        assert (interrupted["status"], interrupted["error_code"]) == ("failed", "outcome_unknown")
        decide(ana, waiting)
        assert ana.finished(sent["run"]["id"])["status"] == "completed"


async def _stop_soon(executor: RunExecutor) -> None:
    """Interrupt all runs, as a stop does to replies that take longer than ten seconds."""
    for run_id in list(executor._working):
        executor._stop(run_id, "interrupted")


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # this does not depend on the database
def test_calls_are_sent_back_with_valid_names_and_unique_ids(ana: Client, provider: ScriptedProvider) -> None:
    provider.play(
        calling(Call("functions.calc tool", {}, id="same"), Call("nothing", {}, id="same")), [Text("Oh."), Finish()]
    )
    sent = ask(ana)
    ana.finished(sent["run"]["id"])
    messages = provider.requests[-1]["messages"]
    calls = messages[2]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["functions_calc_tool", "nothing"]
    assert [call["id"] for call in calls] == [message["tool_call_id"] for message in messages[3:]]
    assert len({call["id"] for call in calls}) == 2
    # Without offered tools, earlier calls are sent as text.
    ana.api("PATCH", f"/chats/{sent['message']['chat_id']}", json={"settings": {"tools": []}})
    ana.finished(ana.say(sent["message"]["chat_id"], "And now?")["run"]["id"])
    request = provider.requests[-1]
    assert "tools" not in request
    assert [message["role"] for message in request["messages"]] == ["user", "assistant", "user"]
    assert "[called nothing with {}]" in request["messages"][1]["content"]


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # this does not depend on the database
def test_tool_descriptions_count_towards_the_context_window(ana: Client, provider: ScriptedProvider) -> None:
    chat = ana.chat(settings={"tools": ALL})
    ana.api("PATCH", f"/chats/{chat['id']}", json={"context_window_size": 4096})
    ana.finished(ana.say(chat["id"], "words " * 4000)["run"]["id"])
    request = provider.requests[-1]
    whole = sum(len(message["content"]) for message in request["messages"]) + len(str(request["tools"]))
    assert whole / 3.5 < 4096
    used = ana.api("GET", f"/chats/{chat['id']}/context")
    assert used["system_tokens"] > 200
    assert used["used"] <= used["window"] - used["reserve"]


@pytest.mark.parametrize("engine_kind", ["postgresql"])  # the database that refuses more values
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/chats/{chat}", {"settings": {"tools": ["a\x00"]}}),
        ("PATCH", "/chats/{chat}", {"settings": {"tools": ["a"] * 51}}),
        ("PUT", "/auto-approval-settings", {"specific_tools": {"a\x00": []}}),
        ("PUT", "/auto-approval-settings", {"specific_tools": {"a": [{"rule": "ask", "arguments": {"x": "\x00"}}]}}),
        ("PUT", "/auto-approval-settings", {"specific_tools": {"a": [{"rule": "ask", "arguments": {"x": "x" * 201}}]}}),
        ("PUT", "/auto-approval-settings", {"max_cost_per_hour": "-0.01"}),
        ("PUT", "/auto-approval-settings", {"max_cost_per_hour": "NaN"}),
        ("PUT", "/chats/{chat}/auto-approval", {"specific_tools": {"a": [{"rule": "perhaps"}]}}),
        ("PUT", "/chats/{chat}/state", {"state": {"a": "\x00"}}),
        ("PUT", "/chats/{chat}/state", {"state": {}, "schema": {"type": "array"}}),
    ],
)
def test_values_that_cannot_be_stored_are_refused_with_a_message(
    ana: Client, method: str, path: str, body: dict[str, Any]
) -> None:
    refused = ana.api(method, path.format(chat=ana.chat()["id"]), json=body, expect=422)
    assert refused["detail"]


def test_the_number_of_rules_is_limited(ana: Client) -> None:
    most = {f"tool{number}": [{"rule": "ask"}] for number in range(200)}
    ana.api("PUT", "/auto-approval-settings", json={"specific_tools": most})
    ana.api("PUT", "/auto-approval-settings", json={"specific_tools": most | {"more": []}}, expect=422)
    many = {"tool": [{"rule": "ask"}] * 50}
    ana.api("PUT", "/auto-approval-settings", json={"specific_tools": many})
    many["tool"].append({"rule": "ask"})
    assert (
        ana.api("PUT", "/auto-approval-settings", json={"specific_tools": many}, expect=409)["code"] == "too_many_rules"
    )
