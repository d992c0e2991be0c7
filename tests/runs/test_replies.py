"""Test replies over HTTP with a scripted provider, from the message to the end of the run."""

import threading
import time

import pytest

from tertulia.db import Database, wake
from tertulia.runs.engine import claims, executor
from tertulia.runs.engine.executor import RunExecutor
from tertulia.runs.reading import RUNS
from tests.conftest import SignIn
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import (
    Finish,
    Hold,
    Pause,
    Reasoning,
    Reset,
    ScriptedProvider,
    Status,
    Step,
    Text,
    words,
)
from tests.waiting import until


def test_a_message_and_its_reply_are_stored(ana: Client, provider: ScriptedProvider) -> None:
    chat = ana.chat()
    sent = ana.say(chat["id"], "Good evening")
    assert (sent["message"]["status"], sent["reply"]["status"], sent["run"]["status"]) == (
        "sent",
        "sending",
        "queued",
    )
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    page = ana.api("GET", f"/chats/{chat['id']}/messages")
    assert [(m["role"], m["content"], m["status"]) for m in page["items"]] == [
        ("assistant", "You said: Good evening", "sent"),
        ("user", "Good evening", "delivered"),
    ]
    reply = page["items"][0]
    assert reply["usage"] == {
        "input_tokens": 7,
        "output_tokens": 5,
        "total_tokens": 12,
        "cached_tokens": 0,
        "estimated": False,
    }
    assert (reply["provider"], reply["model_name"], reply["finish_reason"], reply["cost"]) == (
        "openai",
        "scripted",
        "stop",
        None,
    )
    stored = ana.api("GET", f"/chats/{chat['id']}")
    assert (stored["title"], stored["message_count"], stored["total_tokens"]) == ("Good evening", 2, 12)
    assert provider.requests[0]["_authorization"] == "Bearer sk-of-the-operator"


def test_a_run_stream_delivers_all_events_in_order(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Reasoning("hm, "), Reasoning("well"), *words(40)])
    sent = ana.say(ana.chat()["id"], "Count")
    events = ana.run_events(sent["run"]["id"])
    kinds = [kind for _, kind, _ in events]
    assert kinds[0] == "run.started"
    assert kinds[-2:] == ["message.finished", "run.finished"]
    assert "".join(d["text"] for _, k, d in events if k == "reasoning.delta") == "hm, well"
    text = "".join(d["text"] for _, k, d in events if k == "text.delta")
    assert text == "".join(f"w{n} " for n in range(40))
    finished = events[-2][2]["message"]
    assert [part["type"] for part in finished["parts"]] == ["reasoning", "text"]
    assert finished["content"] == text


def test_a_late_or_resumed_reader_gets_the_complete_reply(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([*words(20)[:-1], Hold(), Text("the end"), Finish()])
    sent = ana.say(ana.chat()["id"], "Count")
    run_id = sent["run"]["id"]
    whole = "".join(f"w{n} " for n in range(20)) + "the end"
    seen: list[tuple[str | None, str, dict[str, str]]] = []
    with ana.stream("GET", f"/runs/{run_id}/events") as response:
        from tests.fakes.live_server import parse_events

        for event in parse_events(response):
            seen.append(event)
            if "w19" in str(event):
                break
    threading.Timer(0.1, provider.release).start()
    rest = ana.run_events(run_id, last_event_id=seen[-1][0])
    assert "message.reset" not in [kind for _, kind, _ in rest]
    assert "".join(d["text"] for _, k, d in [*seen, *rest] if k == "text.delta") == whole
    afterwards = ana.run_events(run_id)
    assert "".join(d["text"] for _, k, d in afterwards if k == "text.delta") == whole
    unknown = ana.run_events(run_id, last_event_id="somewhere-17")
    assert unknown[0][1] == "message.reset"
    assert "".join(d["text"] for _, k, d in unknown if k == "text.delta") == whole


def test_closing_the_connection_does_not_stop_the_reply(ana: Client, provider: ScriptedProvider) -> None:
    provider.play(words(30, pause_s=0.01))
    sent = ana.say(ana.chat()["id"], "Count")
    with ana.stream("GET", f"/runs/{sent['run']['id']}/events") as response:
        next(response.iter_raw())
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
    assert reply["content"] == "".join(f"w{n} " for n in range(30))


def test_cancelling_keeps_the_received_text(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("So far "), Hold(), Text("never"), Finish()])
    sent = ana.say(ana.chat()["id"], "Go")
    until(lambda: ana.api("GET", f"/messages/{sent['reply']['id']}")["content"] == "So far ")
    cancelled = ana.api("POST", f"/runs/{sent['run']['id']}/cancel")
    assert cancelled["status"] == "cancelled"
    reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
    assert (reply["status"], reply["content"]) == ("interrupted", "So far ")
    until(lambda: provider.open_streams == 0)
    assert ana.run_events(sent["run"]["id"])[-1][2]["status"] == "cancelled"


def test_continuing_appends_to_the_same_message(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("Once upon "), Hold()], [Text("a time."), Finish()])
    sent = ana.say(ana.chat()["id"], "A story")
    until(lambda: ana.api("GET", f"/messages/{sent['reply']['id']}")["content"] != "")
    ana.api("POST", f"/runs/{sent['run']['id']}/cancel")
    again = ana.api("POST", f"/messages/{sent['reply']['id']}/continue", expect=201)
    assert again["reply"]["id"] == sent["reply"]["id"]
    events = ana.run_events(again["run"]["id"])
    assert "".join(d["text"] for _, k, d in events if k == "text.delta") == "Once upon a time."
    reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
    assert (reply["status"], reply["content"]) == ("sent", "Once upon a time.")
    assert reply["sibling_ids"] == [reply["id"]]
    messages = provider.requests[-1]["messages"]
    assert messages[-2] == {"role": "assistant", "content": "Once upon "}
    assert messages[-1]["role"] == "user"


def test_cancelling_a_continuation_immediately_loses_no_text(ana: Client, provider: ScriptedProvider) -> None:
    held: list[Step] = [Hold(), Finish()]
    provider.play([Text("Fifty characters that are stored already, and stay. "), *held], held, held, held, held, held)
    sent = ana.say(ana.chat()["id"], "A story")
    reply_id = sent["reply"]["id"]
    until(lambda: ana.api("GET", f"/messages/{reply_id}")["content"] != "")
    stored = ana.api("POST", f"/runs/{sent['run']['id']}/cancel") and ana.api("GET", f"/messages/{reply_id}")["content"]
    for _ in range(5):
        again = ana.api("POST", f"/messages/{reply_id}/continue", expect=201)
        ana.api("POST", f"/runs/{again['run']['id']}/cancel")
        ana.finished(again["run"]["id"])
        assert ana.api("GET", f"/messages/{reply_id}")["content"].startswith(stored)


def test_only_one_of_concurrent_continuations_runs(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("Once "), Hold()], [Text("more."), Finish()])
    sent = ana.say(ana.chat()["id"], "A story")
    until(lambda: ana.api("GET", f"/messages/{sent['reply']['id']}")["content"] != "")
    ana.api("POST", f"/runs/{sent['run']['id']}/cancel")
    answers: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(ana.post(f"/messages/{sent['reply']['id']}/continue").status_code)
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201, 409, 409, 409]


def test_a_token_count_too_large_to_store_still_ends_the_run(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("fine"), Finish(completion_tokens=2**63)])
    chat = ana.chat()
    sent = ana.say(chat["id"], "Hello")
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    following = ana.say(chat["id"], "And again")
    assert ana.finished(following["run"]["id"])["status"] == "completed"


def test_a_reply_is_cut_at_one_mebibyte(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("x" * 1_000_000), Text("y" * 3_000_000), Finish()])
    sent = ana.say(ana.chat()["id"], "Much")
    ana.finished(sent["run"]["id"])
    reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
    assert (len(reply["content"]), reply["finish_reason"]) == (1024 * 1024, "length")


def test_run_started_is_delivered_once_to_an_early_reader(ana: Client, provider: ScriptedProvider) -> None:
    for _ in range(5):
        sent = ana.say(ana.chat()["id"], "Hello")
        kinds = [kind for _, kind, _ in ana.run_events(sent["run"]["id"])]
        assert kinds.count("run.started") == 1


def test_an_event_id_of_another_run_resets_the_stream(ana: Client, provider: ScriptedProvider) -> None:
    first, second = (ana.say(ana.chat()["id"], f"chat {number}")["run"]["id"] for number in range(2))
    ids = [event_id for event_id, _, _ in ana.run_events(first)]
    ana.finished(second)
    assert ana.run_events(second, last_event_id=ids[0])[0][1] == "message.reset"


def test_regenerating_adds_a_sibling_and_keeps_the_first_reply(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("first"), Finish()], [Text("second"), Finish()])
    chat = ana.chat()
    sent = ana.say(chat["id"], "Choose")
    ana.finished(sent["run"]["id"])
    again = ana.api(
        "POST", f"/messages/{sent['reply']['id']}/regenerate", json={"model_name": "scripted-2"}, expect=201
    )
    ana.finished(again["run"]["id"])
    items = ana.api("GET", f"/chats/{chat['id']}/messages")["items"]
    assert [m["content"] for m in items] == ["second", "Choose"]
    assert items[0]["sibling_ids"] == [sent["reply"]["id"], again["reply"]["id"]]
    assert items[0]["model_name"] == "scripted-2"
    first = ana.api("GET", f"/chats/{chat['id']}/messages", params={"leaf": sent["reply"]["id"]})["items"]
    assert [m["content"] for m in first] == ["first", "Choose"]


def test_a_message_waits_for_the_reply_before_it(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("one"), Hold(), Finish()], [Text("two"), Finish()])
    chat = ana.chat()
    first = ana.say(chat["id"], "1")
    second = ana.say(chat["id"], "2")
    assert second["message"]["previous_message_id"] == first["reply"]["id"]
    assert ana.api("GET", f"/runs/{second['run']['id']}")["status"] == "queued"
    provider.release()
    ana.finished(second["run"]["id"])
    assert [m["content"] for m in provider.requests[1]["messages"]] == ["1", "one", "2"]


def test_two_users_do_not_wait_for_each_other(ana: Client, sign_in: SignIn, provider: ScriptedProvider) -> None:
    slow: list[Step] = [Text("held"), Hold(), Finish()]
    provider.play(slow, slow, slow, slow)
    held = [ana.say(ana.chat()["id"], "wait")["run"]["id"] for _ in range(5)]
    until(lambda: provider.open_streams == 4)
    assert ana.api("GET", f"/runs/{held[4]}")["status"] == "queued"
    bob = sign_in("bob")
    sent = bob.say(bob.chat()["id"], "me first")
    assert bob.finished(sent["run"]["id"])["status"] == "completed"
    provider.release()
    assert all(ana.finished(run_id)["status"] == "completed" for run_id in held)


def test_the_twenty_first_queued_run_is_refused_and_not_stored(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("held"), Hold(), Finish()])
    chat = ana.chat()
    ana.say(chat["id"], "first")
    until(lambda: provider.open_streams == 1)
    for number in range(20):
        ana.say(chat["id"], f"waiting {number}")
    before = ana.api("GET", f"/chats/{chat['id']}")["message_count"]
    refused = ana.post(f"/chats/{chat['id']}/messages", json={"content": "one too many"})
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_runs")
    assert refused.headers["retry-after"]
    assert ana.api("GET", f"/chats/{chat['id']}")["message_count"] == before
    provider.release()


def test_provider_errors_are_reported_and_stored(ana: Client, provider: ScriptedProvider) -> None:
    scripts: list[tuple[list[Step], str]] = [
        ([Status(401)], "provider_key_refused"),
        ([Status(429, headers=(("Retry-After", "21"),))], "provider_rate_limited"),
        ([Text("half"), Reset()], "provider_unavailable"),
        ([Finish()], "empty_reply"),
    ]
    for script, code in scripts:
        provider.play(script)
        chat = ana.chat()
        sent = ana.say(chat["id"], "Hello")
        last = ana.run_events(sent["run"]["id"])[-1]
        assert (last[1], last[2]["code"]) == ("run.failed", code)
        reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
        assert (reply["status"], reply["error"]["code"]) == ("error", code)
        assert reply["content"] == ("half" if Text("half") in script else "")


def test_a_chat_longer_than_the_window_is_truncated_and_counts_left_out_messages(
    ana: Client, provider: ScriptedProvider
) -> None:
    chat = ana.chat()
    ana.api("PATCH", f"/chats/{chat['id']}", json={"context_window_size": 512, "system_prompt": "Be brief."})
    for number in range(6):
        ana.say(chat["id"], f"{number} " + "x" * 300, reply=False)
    sent = ana.say(chat["id"], "And now?")
    ana.finished(sent["run"]["id"])
    system, question = provider.requests[-1]["messages"]
    *earlier, last = question["content"].split("\n\n")  # messages of a person that follow each other arrive as one
    assert (system["role"], last) == ("system", "And now?")
    assert ana.api("GET", f"/messages/{sent['reply']['id']}")["left_out"] == 6 - len(earlier)


def test_a_request_too_long_for_the_provider_is_truncated_and_retried(ana: Client, provider: ScriptedProvider) -> None:
    too_long = [Status(400, "context is too long", "context_length_exceeded")]
    provider.play(too_long, [Text("fits"), Finish()])
    chat = ana.chat()
    for number in range(6):
        ana.say(chat["id"], f"{number} " + "y" * 4500, reply=False)
    sent = ana.say(chat["id"], "And now?")
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    first, second = (len(request["messages"][-1]["content"]) for request in provider.requests[:2])
    assert second < first


def test_a_run_of_a_dead_process_is_interrupted_and_keeps_its_text(
    ana: Client, server: LiveServer, provider: ScriptedProvider, start_server, settings
) -> None:
    from sqlalchemy.orm import Session

    from tertulia.db.opening import plain_engine
    from tertulia.runs.models import Run

    provider.play([Text("before the crash"), Hold(), Finish()])
    sent = ana.say(ana.chat()["id"], "Hello")
    until(lambda: ana.api("GET", f"/messages/{sent['reply']['id']}")["content"] == "before the crash")
    engine = plain_engine(settings)
    with Session(engine) as session:  # simulate a dead process: the lease has expired
        run = session.get_one(Run, sent["run"]["id"])
        run.lease_owner, run.lease_expires_at = "dead", run.created_at
        session.commit()
    engine.dispose()
    if settings.sqlite_path is not None:
        from tertulia.runs.engine.abandoned import interrupt_abandoned

        server.call(server.app.state.services.get(Database).write(interrupt_abandoned, everything=True))
    until(lambda: ana.api("GET", f"/runs/{sent['run']['id']}")["status"] == "interrupted", seconds=30)
    reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
    assert (reply["status"], reply["content"]) == ("interrupted", "before the crash")
    provider.release()
    time.sleep(0.3)  # the old process notices that the lease is lost, and must not write
    assert ana.api("GET", f"/messages/{sent['reply']['id']}")["status"] == "interrupted"


def test_a_slow_reply_is_stored_each_second(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("a"), Pause(0.2), Text("b"), Pause(1.2), Hold(), Finish()])
    sent = ana.say(ana.chat()["id"], "Slowly")
    until(lambda: ana.api("GET", f"/messages/{sent['reply']['id']}")["content"] == "ab")
    assert ana.api("GET", f"/messages/{sent['reply']['id']}")["status"] == "streaming"
    provider.release()


def test_four_runs_of_a_user_execute_at_once_without_blocking_other_users(
    ana: Client, provider: ScriptedProvider, sign_in: SignIn
) -> None:
    bob = sign_in("bob")
    held: list[Step] = [Text("held"), Hold(), Finish()]
    provider.play(*[held] * 4)
    sent = [ana.say(ana.chat()["id"], str(number)) for number in range(6)]
    deadline = time.monotonic() + 10
    while len(provider.requests) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    states = [ana.api("GET", f"/runs/{answer['run']['id']}")["status"] for answer in sent]
    assert states == ["running"] * 4 + ["queued"] * 2
    other = bob.say(bob.chat()["id"], "Hello")
    assert bob.finished(other["run"]["id"])["status"] == "completed"
    provider.release()
    assert [ana.finished(answer["run"]["id"])["status"] for answer in sent] == ["completed"] * 6


def test_all_queued_runs_within_the_limits_start(
    server: LiveServer,
    ana: Client,
    provider: ScriptedProvider,
    sign_in: SignIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Queue more runs than one claim takes. A single wake-up starts all that the limits allow."""
    for module in (claims, executor):
        monkeypatch.setattr(module, "MAX_CLAIMED", 1)
    provider.default = [Text("held"), Hold(), Finish()]
    sent = [ana.say(ana.chat()["id"], str(number)) for number in range(16)]
    until(lambda: provider.open_streams == 4)
    bob = sign_in("bob")
    other = bob.say(bob.chat()["id"], "Hello")
    until(lambda: provider.open_streams == 5)
    runs = server.app.state.services.get(RunExecutor)
    monkeypatch.setattr(runs, "_at_once", 20)
    server.call(server.app.state.services.get(Database).write(lambda session: wake(session, RUNS)))
    until(lambda: provider.open_streams == 17)
    provider.release()
    for client, answer in [(bob, other), *((ana, answer) for answer in sent)]:
        assert client.finished(answer["run"]["id"])["status"] == "completed"
