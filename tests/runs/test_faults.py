"""Test provider failures: a reply is complete or its error reported, safe requests are retried, sizes are limited."""

import hashlib
import json
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tertulia import clock
from tertulia.db.opening import plain_engine
from tertulia.runs.models import Run
from tests.conftest import ServerMaker
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import (
    Finish,
    Pause,
    Raw,
    Reset,
    ScriptedProvider,
    Status,
    Step,
    Text,
    words,
)
from tests.waiting import until

WHOLE = (
    b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":" you"}}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)


@pytest.fixture
def server(start_server: ServerMaker, provider: ScriptedProvider) -> LiveServer:
    """Start a server with short provider timeouts, so that the tests are fast."""
    return start_server(
        openai_base_url=provider.url,
        openai_api_key="sk-of-the-operator",
        openai_models=("scripted",),  # on a busy machine its list may take longer than a pause within a reply may
        provider_first_byte_s=5.0,
        provider_idle_s=1.0,
        provider_whole_s=6.0,
        runs_at_once=16,
    )


def ended(client: Client, run_id: str) -> tuple[str, Any]:
    """Return the type and data of the last event of a run, after its stream has ended."""
    return client.run_events(run_id)[-1][1:]


SLOW: list[Step] = [Text("slow "), Pause(0.6), Text("but "), Pause(0.6), Text("whole"), Finish()]
SCRIPTS: dict[str, tuple[list[Step], str, str]] = {
    "slow": (SLOW, "run.finished", "slow but whole"),
    "hanging at once": ([Pause(3)], "provider_timeout", ""),
    "hanging in the middle": ([Text("half"), Pause(3), Finish()], "provider_timeout", "half"),
    "429 with a long wait": ([Status(429, headers=(("Retry-After", "120"),))], "provider_rate_limited", ""),
    "refused": ([Status(400, "no")], "provider_request_refused", ""),
    "half a stream": ([Text("half"), Raw(b""), Reset()], "provider_unavailable", "half"),
    "a malformed chunk": ([Text("a"), Raw(b"data: {oops\n\n"), Finish()], "provider_malformed_reply", "a"),
    "bytes that are no UTF-8": (
        [Raw(b'data: {"choices":[{"delta":{"content":"a\xff\xfeb"}}]}\n\n'), Finish()],
        "run.finished",
        "a\ufffd\ufffdb",
    ),
    "an empty reply": ([Finish()], "empty_reply", ""),
    "U+0000": ([Text("a\x00b"), Finish()], "run.finished", "a\ufffdb"),
    "half a character": (
        [Raw(b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n'), Text("x"), Finish()],
        "run.finished",
        None,  # type: ignore[dict-item]
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_provider_failure_is_reported_or_the_reply_is_complete(
    ana: Client, provider: ScriptedProvider, name: str
) -> None:
    script, outcome, content = SCRIPTS[name]
    provider.play(script)
    sent = ana.say(ana.chat()["id"], "Hello")
    kind, data = ended(ana, sent["run"]["id"])
    assert outcome in (kind, data.get("code")), data
    reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
    assert content is None or reply["content"] == content
    assert reply["status"] in ("sent", "error")


def test_a_temporary_provider_failure_is_retried(ana: Client, provider: ScriptedProvider) -> None:
    for faults in ([[Status(500)]], [[Status(429, headers=(("Retry-After", "1"),))], [Status(503)]], [[Reset()]]):
        provider.play(*faults, [Text("whole"), Finish()])
        sent = ana.say(ana.chat()["id"], "Hello")
        assert ended(ana, sent["run"]["id"])[0] == "run.finished"
        assert ana.api("GET", f"/messages/{sent['reply']['id']}")["content"] == "whole"


def test_retries_are_limited_and_stop_after_the_first_text(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Status(500)], [Status(500)], [Status(500)], [Text("too late"), Finish()])
    sent = ana.say(ana.chat()["id"], "Hello")
    assert ended(ana, sent["run"]["id"])[1]["code"] == "provider_unavailable"
    assert len(provider.requests) == 3
    provider.play([Text("half"), Reset()])  # the unused script above is played first
    sent = ana.say(ana.chat()["id"], "Hello")
    ended(ana, sent["run"]["id"])
    provider.play([Text("half"), Raw(b""), Reset()], [Text("twice"), Finish()])
    sent = ana.say(ana.chat()["id"], "Hello")
    assert ended(ana, sent["run"]["id"])[1]["code"] == "provider_unavailable"
    assert ana.api("GET", f"/messages/{sent['reply']['id']}")["content"] == "half"


def test_a_run_waiting_to_retry_can_be_cancelled(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Status(429, headers=(("Retry-After", "15"),))])
    sent = ana.say(ana.chat()["id"], "Hello")
    until(lambda: provider.requests)
    ana.api("POST", f"/runs/{sent['run']['id']}/cancel")
    assert ended(ana, sent["run"]["id"])[1]["status"] == "cancelled"
    assert len(provider.requests) == 1


# Reading a stream does not depend on the database.
@pytest.mark.parametrize("engine_kind", ["sqlite"], indirect=True)
def test_a_connection_cut_at_any_byte_gives_an_error_or_the_complete_reply(
    ana: Client, provider: ScriptedProvider
) -> None:
    """Retry if the cut comes before any part of the reply. The provider then echoes the message."""
    chat_ids = [ana.chat()["id"] for _ in range(16)]
    sent: list[dict[str, Any]] = []
    for cut in range(len(WHOLE) + 1):
        provider.play_for(f"cut {cut}", [Raw(WHOLE[:cut]), Reset()])
        if cut >= len(chat_ids):  # sixteen at a time: more would be queued, and the queue has a limit
            ended(ana, sent[cut - len(chat_ids)]["run"]["id"])
        sent.append(ana.say(chat_ids[cut % len(chat_ids)], f"cut {cut}"))
    for cut, answer in enumerate(sent):
        kind, data = ended(ana, answer["run"]["id"])
        content = ana.api("GET", f"/messages/{answer['reply']['id']}")["content"]
        if kind == "run.finished":
            assert data["status"] == "completed"
            assert content in ("Hi you", f"You said: cut {cut}"), (cut, content)
        else:
            assert data["code"] in ("provider_unavailable", "provider_malformed_reply"), (cut, data)
            assert "Hi you".startswith(content), (cut, content)


def test_an_endless_reply_is_cut_at_the_size_limit(ana: Client, provider: ScriptedProvider) -> None:
    """Store one mebibyte of a million tokens, with the finish reason `length`."""
    piece = _delta("tok " * 1000)
    provider.play([*[Raw(piece)] * 1000, Finish()])
    sent = ana.say(ana.chat()["id"], "Tell me everything")
    assert ended(ana, sent["run"]["id"])[0] == "run.finished"
    reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
    assert (reply["finish_reason"], len(reply["content"])) == ("length", 1024 * 1024)


def test_a_one_megabyte_token_is_stored(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Raw(_delta("x" * 1_000_000)), Finish()])
    sent = ana.say(ana.chat()["id"], "One token, please")
    assert ended(ana, sent["run"]["id"])[0] == "run.finished"
    assert len(ana.api("GET", f"/messages/{sent['reply']['id']}")["content"]) == 1_000_000


def _delta(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


def test_readers_that_disconnect_do_not_affect_the_reply(
    ana: Client, provider: ScriptedProvider, server: LiveServer
) -> None:
    """Disconnect at least 500 readers during a stream, then compare the hash of each stored reply."""
    wanted = hashlib.sha256("".join(f"w{n} " for n in range(60)).encode()).hexdigest()
    runs = []
    for _ in range(10):
        provider.play(words(60, pause_s=0.02))
        runs.append(ana.say(ana.chat()["id"], "Count"))
        until(lambda: len(provider.requests) >= len(runs))
    faults: list[str] = []
    disconnects: list[int] = []

    def leave_often(number: int) -> None:
        with Client(server.url, cookies=dict(ana.cookies)) as reader:
            for turn in range(80):
                run = runs[(number + turn) % len(runs)]
                with reader.stream("GET", f"/runs/{run['run']['id']}/events") as response:
                    if response.status_code == 429:
                        time.sleep(0.02)  # recent disconnects count until the server notices them
                        continue
                    if response.status_code != 200:
                        faults.append(response.read().decode())
                        continue
                    for lines, _ in enumerate(response.iter_lines()):
                        if lines > (number * 7 + turn * 13) % 90:
                            break
                    disconnects.append(number)

    threads = [threading.Thread(target=leave_often, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(disconnects) >= 500
    for run in runs:
        assert ended(ana, run["run"]["id"])[0] == "run.finished"
        content = ana.api("GET", f"/messages/{run['reply']['id']}")["content"]
        assert hashlib.sha256(content.encode()).hexdigest() == wanted


def test_a_run_whose_end_was_not_stored_is_interrupted(
    ana: Client, server: LiveServer, provider: ScriptedProvider
) -> None:
    """Interrupt a run left in `running`, as by a full disk, once its lease expires. The chat continues."""
    chat = ana.chat()
    sent = ana.say(chat["id"], "Hello")
    ana.finished(sent["run"]["id"])
    engine = plain_engine(server.settings)
    with engine.begin() as connection:
        past = clock.now() - timedelta(seconds=30)
        connection.execute(sa.update(Run).values(status="running", lease_expires_at=past, lease_owner="gone"))
    engine.dispose()
    again = ana.say(chat["id"], "And now?")
    assert ana.finished(again["run"]["id"])["status"] == "completed"
    assert ana.api("GET", f"/runs/{sent['run']['id']}")["status"] == "interrupted"
