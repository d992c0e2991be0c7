"""Test which tool calls wait for a person, and what each decision does."""

from contextlib import closing
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.chat.models import Chat
from tertulia.db import Database
from tertulia.db.opening import plain_engine
from tertulia.runs.engine.executor import RunExecutor
from tertulia.tools.models import ToolExecution
from tests.conftest import ServerMaker, SignIn
from tests.factories.tool_calls import (
    ALL_TOOLS,
    decide,
    list_calls,
    script_calls,
    send_with_tools,
    set_approval_rules,
    signed_in,
    wait_for_approval,
    wait_for_pending_calls,
)
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import Call, Finish, ScriptedProvider, Text
from tests.fakes.tools import Recorder
from tests.waiting import Listener, until


def test_a_call_waits_for_approval_and_the_run_continues_with_its_result(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    """Record the times of the request, approval, execution and completion (conformance S001-054, S001-067)."""
    provider.play(script_calls(Call("record", {"text": "hi"}), text="I will look. "), [Text("It says hi."), Finish()])
    sent = send_with_tools(ana)
    (call,) = wait_for_pending_calls(ana)
    wait_for_approval(ana, sent)
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
    (done,) = list_calls(ana, sent)
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
    assert {tool["function"]["name"] for tool in provider.requests[0]["tools"]} == set(ALL_TOOLS)
    # Both requests are counted, but only one reply.
    assert (reply["usage"]["input_tokens"], reply["usage"]["output_tokens"]) == (14, 10)
    usage = ana.api("GET", "/usage", params={"group_by": "model"})
    assert (usage["total"]["replies"], usage["total"]["total_tokens"]) == (1, 24)


def test_rules_allow_or_refuse_calls_without_asking(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    set_approval_rules(
        ana, specific_tools={"record": [{"rule": "allow", "arguments": {"text": "ok*"}}], "other": [{"rule": "never"}]}
    )
    provider.play(
        script_calls(Call("record", {"text": "ok then"}), Call("other", {}), Call("nothing", {}), Call("record", "{")),
        [Text("Done."), Finish()],
    )
    sent = send_with_tools(ana)
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    outcomes = [(call["tool_name"], call["status"], call["reason"], call["decision"]) for call in list_calls(ana, sent)]
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
        script_calls(Call("record", {"text": "a"}), Call("record", {"text": "b"}), Call("record", {"text": "c"})),
        [Text("So be it."), Finish()],
    )
    sent = send_with_tools(ana)
    first, second, third = wait_for_pending_calls(ana, 3)
    wait_for_approval(ana, sent)
    decide(ana, second, "deny", note="Not that one.")
    decide(ana, first)
    assert ana.api("GET", f"/runs/{sent['run']['id']}")["status"] == "awaiting_approval"
    edited = decide(ana, third, arguments={"text": "C"})
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
    provider.play(script_calls(Call("record", {"text": "a"})), [Text("So."), Finish()])
    sent = send_with_tools(ana)
    (call,) = wait_for_pending_calls(ana)
    bob = sign_in("bob")
    decide(bob, call, expect=404)
    body = {"shared_with_username": "bob", "permissions": {"can_write": True}}
    ana.api("POST", f"/chats/{call['chat_id']}/shares", json=body, expect=201)
    for action in ("approve", "deny", "cancel"):
        assert decide(bob, call, action, expect=403)["code"] == "not_yours_to_decide"
    wrong = decide(ana, call, arguments={"text": 1}, expect=422)
    assert wrong["code"] == "arguments_invalid"
    decide(ana, call, "deny")
    late = decide(ana, call, expect=409)
    assert (late["code"], late["status_now"], late["decided_by"]) == ("already_decided", "denied", "Ana")
    assert late["decided_at"]
    assert decide(ana, call, "cancel", expect=409)["code"] == "already_decided"
    ana.finished(sent["run"]["id"])


def test_an_approval_that_is_remembered_in_a_chat_reaches_other_windows(
    ana: Client, provider: ScriptedProvider
) -> None:
    provider.play(script_calls(Call("record", {}), Call("record", {"text": "b"})), [Text("Done."), Finish()])
    sent = send_with_tools(ana)
    first, second = wait_for_pending_calls(ana, 2)
    listener = Listener(ana)
    decide(ana, first, remember="chat")  # the run still waits, so nothing else changes the chat
    listener.wait_for(lambda: ("chat", "updated") in listener.changes)
    decide(ana, second)
    ana.finished(sent["run"]["id"])


def test_an_approval_is_remembered_for_the_chat_or_always(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    provider.play(script_calls(Call("record", {})), [Text("One."), Finish()])
    sent = send_with_tools(ana)
    decide(ana, wait_for_pending_calls(ana)[0], remember="chat")
    ana.finished(sent["run"]["id"])
    here = ana.api("GET", f"/chats/{sent['message']['chat_id']}/auto-approval")
    assert here["specific_tools"]["record"][0]["rule"] == "allow"
    provider.play(script_calls(Call("record", {})), [Text("Two."), Finish()])
    again = ana.say(sent["message"]["chat_id"], "again")
    assert ana.finished(again["run"]["id"])["status"] == "completed"
    assert list_calls(ana, again)[0]["reason"] == "allowed"
    provider.play(script_calls(Call("record", {})), [Text("Elsewhere."), Finish()])
    elsewhere = send_with_tools(ana)
    (call,) = wait_for_pending_calls(ana)
    assert call["reason"] == "not_allowed"  # no longer new, but allowed only in the other chat
    decide(ana, call, remember="always")
    ana.finished(elsewhere["run"]["id"])
    provider.play(script_calls(Call("record", {})), [Text("Anywhere."), Finish()])
    assert ana.finished(send_with_tools(ana)["run"]["id"])["status"] == "completed"
    assert len(recorder.calls) == 4
    # Copying or sharing the chat clears its automatic approvals.
    copy = ana.api("POST", f"/messages/{sent['reply']['id']}/fork", expect=201)
    assert ana.api("GET", f"/chats/{copy['id']}/auto-approval")["specific_tools"] == {}
    (copied,) = ana.api("GET", f"/chats/{copy['id']}/tool-executions")["items"]
    assert (copied["status"], copied["run_id"], copied["requested_by"]) == ("completed", None, None)
    last = ana.api("GET", f"/chats/{copy['id']}/messages")["items"][0]
    assert last["parts"][0]["tool_execution_id"] == copied["id"] != list_calls(ana, sent)[0]["id"]
    provider.play([Text("From here."), Finish()])
    ana.finished(ana.say(copy["id"], "Go on")["run"]["id"])
    assert "done: " in str(provider.requests[-1]["messages"])
    ana.api("POST", f"/chats/{sent['message']['chat_id']}/shares", json={}, expect=201)
    assert ana.api("GET", f"/chats/{sent['message']['chat_id']}/auto-approval")["specific_tools"] == {}


def test_a_call_that_can_send_out_what_was_read_needs_approval(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    set_approval_rules(ana)
    recorder.sends_out = True
    secret = "the meeting is moved to the old mill at midnight"
    provider.play(
        script_calls(Call("record", {"text": secret})),
        script_calls(Call("record", {"text": "in other words"})),
        [Text("Told."), Finish()],
    )
    sent = send_with_tools(ana)
    (call,) = wait_for_pending_calls(ana)
    assert (call["reason"], call["sources"]) == ("untrusted", [{"kind": "tool", "names": ["record"], "count": 1}])
    assert len(recorder.calls) == 1
    decide(ana, call)
    ana.finished(sent["run"]["id"])


def test_a_run_awaiting_approval_continues_after_a_restart(
    start_server: ServerMaker, provider: ScriptedProvider
) -> None:
    tool = Recorder()
    options: dict[str, Any] = {"tools": [tool], "openai_base_url": provider.url, "openai_api_key": "sk"}
    first = start_server(**options, provider_connect_s=30.0)
    provider.play(script_calls(Call("record", {"text": "x"}), text="Before. "), [Text("After."), Finish()])
    with closing(signed_in(first)) as ana:
        sent = send_with_tools(ana, tools=["record"])
        (call,) = wait_for_pending_calls(ana)
        wait_for_approval(ana, sent)
        cookies = dict(ana.cookies)
    first.stop()
    second = start_server(**options, provider_connect_s=30.0)
    with Client(second.url, cookies=cookies) as ana:
        decide(ana, call)
        assert ana.finished(sent["run"]["id"])["status"] == "completed"
        reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
        assert "".join(part.get("text", "") for part in reply["parts"]) == "Before. After."
    assert tool.calls == [{"text": "x"}]


def test_an_undecided_call_expires_and_the_run_continues(
    ana: Client, server: LiveServer, provider: ScriptedProvider
) -> None:
    provider.play(script_calls(Call("record", {})), [Text("No answer."), Finish()])
    sent = send_with_tools(ana)
    (call,) = wait_for_pending_calls(ana)
    wait_for_approval(ana, sent)
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
    assert list_calls(ana, sent)[0]["error_code"] == "approval_expired"


def test_a_writer_in_a_shared_chat_does_not_use_the_rules_of_its_owner(
    ana: Client, sign_in: SignIn, server: LiveServer, provider: ScriptedProvider, recorder: Recorder
) -> None:
    bob = sign_in("bob")
    chat = ana.chat(settings={"tools": ["record"]})
    body = {"shared_with_username": "bob", "permissions": {"can_write": True}}
    ana.api("POST", f"/chats/{chat['id']}/shares", json=body, expect=201)
    set_approval_rules(ana)
    ana.api("PUT", f"/chats/{chat['id']}/auto-approval", json={"specific_tools": {"record": [{"rule": "ask"}]}})
    provider.play(script_calls(Call("record", {})), [Text("Done."), Finish()])
    sent = bob.say(chat["id"], "Do it")
    (call,) = wait_for_pending_calls(bob)
    assert wait_for_pending_calls(ana, 0) == []
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


def test_edited_arguments_are_checked_against_rules_and_limits(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    ana.api("PUT", "/auto-approval-settings", json={"specific_tools": {"record": NEVER_BAD}})
    provider.play(script_calls(Call("record", {"cost": "0.01"})), [Text("Done."), Finish()])
    sent = send_with_tools(ana)
    (call,) = wait_for_pending_calls(ana)
    too_expensive = decide(ana, call, arguments={"cost": "1.01"}, expect=409)
    assert (too_expensive["code"], "one call" in too_expensive["detail"]) == ("refused_by_rule", True)
    assert decide(ana, call, arguments={"text": "bad"}, expect=409)["code"] == "refused_by_rule"
    assert decide(ana, call, arguments={"cost": "0.40"})["estimated_cost"] == "0.400000"
    ana.finished(sent["run"]["id"])
    assert recorder.calls == [{"cost": "0.40"}]
    assert list_calls(ana, sent)[0]["cost"] == "0.400000"


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
        set_approval_rules(ana)
        provider.play(script_calls(Call("record", {"do": "wait"}), Call("other", {})), [Text("Well."), Finish()])
        sent = send_with_tools(ana, tools=["record", "other"])
        until(lambda: tool.running == 1)
        executor = first.app.state.services.get(RunExecutor)
        first.call(_interrupt_runs(executor))
        cookies = dict(ana.cookies)
    first.stop()
    second = start_server(**options, provider_connect_s=30.0)
    with Client(second.url, cookies=cookies) as ana:
        (waiting,) = wait_for_pending_calls(ana)
        assert waiting["tool_name"] == "other"
        assert ana.api("GET", f"/runs/{sent['run']['id']}")["status"] == "awaiting_approval"
        interrupted = next(call for call in list_calls(ana, sent) if call["tool_name"] == "record")
        assert (interrupted["status"], interrupted["error_code"]) == ("failed", "outcome_unknown")
        decide(ana, waiting)
        assert ana.finished(sent["run"]["id"])["status"] == "completed"


async def _interrupt_runs(executor: RunExecutor) -> None:
    """Interrupt all runs, as a stop does to replies that take longer than ten seconds."""
    for run_id in list(executor._working):
        executor._stop(run_id, "interrupted")


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
