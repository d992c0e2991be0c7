"""Test the execution of tool calls: results, failures, limits, cancelling and restarts."""

import gzip
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.db.opening import plain_engine
from tertulia.runs.models import Run, RunStatus
from tertulia.tools.models import ToolExecution
from tests.conftest import ServerMaker
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
from tests.fakes.live_server import Client
from tests.fakes.pages import Pages
from tests.fakes.scripted_provider import Call, Finish, ScriptedProvider, Text
from tests.fakes.tools import Recorder
from tests.waiting import until


def test_live_and_replayed_streams_contain_the_call_and_the_whole_text(ana: Client, provider: ScriptedProvider) -> None:
    provider.play(script_calls(Call("record", {"text": "hi"}), text="First. "), [Text("Then."), Finish()])
    sent = send_with_tools(ana)
    (call,) = wait_for_pending_calls(ana)
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


def test_failing_tools_do_not_end_the_run(ana: Client, provider: ScriptedProvider, recorder: Recorder) -> None:
    set_approval_rules(ana)
    provider.play(
        script_calls(
            Call("record", {"do": "refuse"}), Call("record", {"do": "crash"}), Call("record", {"do": "flood"})
        ),
        [Text("Well."), Finish()],
    )
    sent = send_with_tools(ana)
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    refused, crashed, flooded = list_calls(ana, sent)
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
        set_approval_rules(ana, specific_tools={"slow": [{"rule": "allow"}]})
        provider.play(script_calls(Call("slow", {"do": "wait"})), [Text("Never mind."), Finish()])
        sent = send_with_tools(ana, tools=["slow"])
        assert ana.finished(sent["run"]["id"])["status"] == "completed"
        (call,) = list_calls(ana, sent)
        assert (call["status"], call["error_code"]) == ("timeout", "tool_timeout")
        assert slow.cancelled == 1


def test_cancelling_a_running_call_lets_the_run_continue(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    set_approval_rules(ana)
    provider.play(script_calls(Call("record", {"do": "wait"})), [Text("Stopped, then."), Finish()])
    sent = send_with_tools(ana)
    until(lambda: recorder.running == 1)
    (call,) = list_calls(ana, sent)
    assert call["status"] == "executing"
    assert decide(ana, call, "cancel")["status"] == "cancelled"
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    assert recorder.cancelled == 1
    assert "may have had its effect" in list_calls(ana, sent)[0]["error_message"]


def test_cancelling_a_run_cancels_its_running_and_pending_calls(
    ana: Client, provider: ScriptedProvider, recorder: Recorder
) -> None:
    set_approval_rules(ana)
    provider.play(script_calls(Call("record", {"do": "wait"}), Call("other", {})))
    sent = send_with_tools(ana)
    until(lambda: recorder.running == 1)
    ana.api("POST", f"/runs/{sent['run']['id']}/cancel")
    until(lambda: ana.api("GET", f"/runs/{sent['run']['id']}")["status"] == "cancelled")
    assert {call["status"] for call in list_calls(ana, sent)} == {"cancelled"}
    assert recorder.cancelled == 1
    # A run that awaits a decision ends immediately and keeps its text.
    provider.play(script_calls(Call("other", {}), text="Let me see."))
    waiting = ana.say(sent["message"]["chat_id"], "again")
    wait_for_approval(ana, waiting)
    ana.api("POST", f"/runs/{waiting['run']['id']}/cancel")
    assert ana.api("GET", f"/runs/{waiting['run']['id']}")["status"] == "cancelled"
    assert list_calls(ana, waiting)[0]["status"] == "cancelled"
    assert ana.api("GET", f"/messages/{waiting['reply']['id']}")["content"] == "Let me see."
    # Continuing tells the model that the call was cancelled.
    provider.play([Text("Without it, then."), Finish()])
    more = ana.api("POST", f"/messages/{waiting['reply']['id']}/continue", expect=201)
    ana.finished(more["run"]["id"])
    reply = ana.api("GET", f"/messages/{waiting['reply']['id']}")
    assert [part["type"] for part in reply["parts"]] == ["text", "tool_call", "text"]
    assert provider.requests[-1]["messages"][-1]["content"] == "[cancelled: Cancelled.]"


def test_a_run_fails_after_25_tool_calls(ana: Client, provider: ScriptedProvider, recorder: Recorder) -> None:
    set_approval_rules(ana)
    provider.default = script_calls(Call("record", {"text": "a"}), Call("record", {"text": "b"}))
    sent = send_with_tools(ana)
    run = ana.finished(sent["run"]["id"])
    assert (run["status"], run["error"]["code"]) == ("failed", "too_many_tool_calls")
    assert len(recorder.calls) == 25
    calls = list_calls(ana, sent)
    assert [call["reason"] for call in calls[24:]] == ["allowed", "too_many_calls"]
    provider.default = None
    provider.play([Text("That was enough."), Finish()])
    more = ana.api("POST", f"/messages/{sent['reply']['id']}/continue", expect=201)
    assert ana.finished(more["run"]["id"])["status"] == "completed"


def test_a_call_of_a_dead_process_is_not_repeated_without_approval(
    start_server: ServerMaker, provider: ScriptedProvider
) -> None:
    """Mark the call `outcome_unknown`. The same call, proposed again, needs approval."""
    tool = Recorder()
    options: dict[str, Any] = {"tools": [tool], "openai_base_url": provider.url, "openai_api_key": "sk"}
    first = start_server(**options, provider_connect_s=30.0)
    provider.play(script_calls(Call("record", {"cost": "0.25"})))
    with closing(signed_in(first)) as ana:
        set_approval_rules(ana, specific_tools={})
        sent = send_with_tools(ana, tools=["record"])
        (call,) = wait_for_pending_calls(ana)
        wait_for_approval(ana, sent)
        set_approval_rules(ana)
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
    provider.play(script_calls(Call("record", {"cost": "0.25"})), [Text("Once."), Finish()])
    second = start_server(**options, provider_connect_s=30.0)
    with Client(second.url, cookies=cookies) as ana:
        (second_call,) = wait_for_pending_calls(ana)
        assert second_call["reason"] == "outcome_unknown"
        first_call = next(item for item in list_calls(ana, sent) if item["id"] == call["id"])
        assert (first_call["status"], first_call["error_code"], first_call["cost"]) == (
            "failed",
            "outcome_unknown",
            "0.250000",
        )
        assert tool.calls == []
        decide(ana, second_call)
        ana.finished(sent["run"]["id"])
    assert len(tool.calls) == 1


def test_call_history_and_tool_usage_list_each_tool(ana: Client, provider: ScriptedProvider) -> None:
    set_approval_rules(ana)
    provider.play(
        script_calls(
            Call("record", {"text": "a"}), Call("record", {"do": "refuse"}), Call("calculate", {"expression": "6*7"})
        ),
        [Text("Done."), Finish()],
    )
    sent = send_with_tools(ana)
    (call,) = wait_for_pending_calls(ana)
    other_chat = ana.chat()["id"]
    for filters, expected in (
        ({"tool": call["tool_name"]}, 1),
        ({"tool": "read_chat"}, 0),
        ({"chat_id": other_chat}, 0),
    ):
        pending = ana.api("GET", "/tool-executions", params={"status": "pending", **filters})["items"]
        assert len(pending) == expected, filters
    decide(ana, call)
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
    set_approval_rules(ana, specific_tools={"write_state": [{"rule": "allow"}], "read_state": [{"rule": "allow"}]})
    chat = ana.chat(settings={"tools": ["write_state", "read_state"]})
    assert ana.api("GET", f"/chats/{chat['id']}/state")["state"] == {}
    ana.api("PUT", f"/chats/{chat['id']}/state", json={"state": {}, "schema": schema})
    provider.play(
        script_calls(Call("write_state", {"changes": {"pending_flight_request": {"origin": "PRG"}}})),
        script_calls(Call("write_state", {"changes": {"nonsense": 1}}), Call("read_state")),
        [Text("Where to?"), Finish()],
    )
    sent = ana.say(chat["id"], "A flight from Prague")
    ana.finished(sent["run"]["id"])
    kept = ana.api("GET", f"/chats/{chat['id']}/state")
    assert kept["state"] == {"pending_flight_request": {"origin": "PRG"}}
    failed = list_calls(ana, sent)[1]
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
        set_approval_rules(ana, specific_tools={"fetch_page": [{"rule": "allow"}]})
        paths = ["/moved", "/elsewhere", "/inside", "/round", "/picture", "/large", "/packed", "/latin", "/nothing"]
        fetches = [Call("fetch_page", {"url": f"{pages.url}{path}"}) for path in paths]
        provider.play(script_calls(*fetches, Call("fetch_page", {"url": inside.url})), [Text("Read."), Finish()])
        sent = send_with_tools(ana, " ".join([inside.url, *(f"{pages.url}{path}" for path in paths)]))
        ana.finished(sent["run"]["id"])
        calls = {call["parameters"]["url"]: call for call in list_calls(ana, sent)}
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


@pytest.mark.parametrize("engine_kind", ["sqlite"])  # this does not depend on the database
def test_calls_are_sent_back_with_valid_names_and_unique_ids(ana: Client, provider: ScriptedProvider) -> None:
    provider.play(
        script_calls(Call("functions.calc tool", {}, id="same"), Call("nothing", {}, id="same")),
        [Text("Oh."), Finish()],
    )
    sent = send_with_tools(ana)
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
    chat = ana.chat(settings={"tools": ALL_TOOLS})
    ana.api("PATCH", f"/chats/{chat['id']}", json={"context_window_size": 4096})
    ana.finished(ana.say(chat["id"], "words " * 4000)["run"]["id"])
    request = provider.requests[-1]
    whole = sum(len(message["content"]) for message in request["messages"]) + len(str(request["tools"]))
    assert whole / 3.5 <= 4096 - 1024  # what is kept for the reply
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
