"""Whatever a provider does, a reply is whole or its failure is told; what is safe is tried again; nothing grows without end."""

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

WHOLE = (
    b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":" you"}}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)


@pytest.fixture
def server(start_server: ServerMaker, provider: ScriptedProvider) -> LiveServer:
    """Impatient with its provider, so that the tests need not be patient."""
    return start_server(
        openai_base_url=provider.url,
        openai_api_key="sk-of-the-operator",
        provider_first_byte_s=5.0,
        provider_idle_s=1.0,
        provider_whole_s=6.0,
        runs_at_once=16,
    )


def ended(client: Client, run_id: str) -> tuple[str, Any]:
    """The last event of a run; the stream must end by itself."""
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
def test_a_fault_is_told_or_the_reply_is_whole(ana: Client, provider: ScriptedProvider, name: str) -> None:
    script, outcome, content = SCRIPTS[name]
    provider.play(script)
    sent = ana.say(ana.chat()["id"], "Hello")
    kind, data = ended(ana, sent["run"]["id"])
    assert outcome in (kind, data.get("code")), data
    reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
    assert content is None or reply["content"] == content
    assert reply["status"] in ("sent", "error")


def test_a_provider_that_is_busy_or_away_for_a_moment_is_asked_again(ana: Client, provider: ScriptedProvider) -> None:
    for faults in ([[Status(500)]], [[Status(429, headers=(("Retry-After", "1"),))], [Status(503)]], [[Reset()]]):
        provider.play(*faults, [Text("whole"), Finish()])
        sent = ana.say(ana.chat()["id"], "Hello")
        assert ended(ana, sent["run"]["id"])[0] == "run.finished"
        assert ana.api("GET", f"/messages/{sent['reply']['id']}")["content"] == "whole"


def test_it_is_not_asked_for_ever_and_never_after_the_first_word(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Status(500)], [Status(500)], [Status(500)], [Text("too late"), Finish()])
    sent = ana.say(ana.chat()["id"], "Hello")
    assert ended(ana, sent["run"]["id"])[1]["code"] == "provider_unavailable"
    assert len(provider.requests) == 3
    provider.play([Text("half"), Reset()])  # before it stands what nobody asked for any more
    sent = ana.say(ana.chat()["id"], "Hello")
    ended(ana, sent["run"]["id"])
    provider.play([Text("half"), Raw(b""), Reset()], [Text("twice"), Finish()])
    sent = ana.say(ana.chat()["id"], "Hello")
    assert ended(ana, sent["run"]["id"])[1]["code"] == "provider_unavailable"
    assert ana.api("GET", f"/messages/{sent['reply']['id']}")["content"] == "half"


def test_a_person_who_stops_a_waiting_retry_is_heard(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Status(429, headers=(("Retry-After", "15"),))])
    sent = ana.say(ana.chat()["id"], "Hello")
    deadline = time.monotonic() + 5
    while not provider.requests and time.monotonic() < deadline:
        time.sleep(0.02)
    began = time.monotonic()
    ana.api("POST", f"/runs/{sent['run']['id']}/cancel")
    assert ended(ana, sent["run"]["id"])[1]["status"] == "cancelled"
    assert time.monotonic() - began < 5


# How a stream is read does not know the database.
@pytest.mark.parametrize("engine_kind", ["sqlite"], indirect=True)
def test_a_connection_cut_at_each_byte_gives_a_told_error_or_the_whole(ana: Client, provider: ScriptedProvider) -> None:
    """Cut before anything of the reply came, it is safe to ask again; then the provider echoes."""
    chat_ids = [ana.chat()["id"] for _ in range(16)]
    sent: list[dict[str, Any]] = []
    for cut in range(len(WHOLE) + 1):
        provider.play_for(f"cut {cut}", [Raw(WHOLE[:cut]), Reset()])
        if cut >= len(chat_ids):  # sixteen at a time: more would wait, and twenty may
            ended(ana, sent[cut - len(chat_ids)]["run"]["id"])
        sent.append(ana.say(chat_ids[cut % len(chat_ids)], f"cut {cut}"))
    for cut, one in enumerate(sent):
        kind, data = ended(ana, one["run"]["id"])
        content = ana.api("GET", f"/messages/{one['reply']['id']}")["content"]
        if kind == "run.finished":
            assert data["status"] == "completed"
            assert content in ("Hi you", f"You said: cut {cut}"), (cut, content)
        else:
            assert data["code"] in ("provider_unavailable", "provider_malformed_reply"), (cut, data)
            assert "Hi you".startswith(content), (cut, content)


def test_a_reply_without_end_stops_at_its_longest(ana: Client, provider: ScriptedProvider) -> None:
    """A million tokens: what is stored is a mebibyte, and says that it is not the end."""
    piece = _delta("tok " * 1000)
    provider.play([*[Raw(piece)] * 1000, Finish()])
    sent = ana.say(ana.chat()["id"], "Tell me everything")
    assert ended(ana, sent["run"]["id"])[0] == "run.finished"
    reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
    assert (reply["finish_reason"], len(reply["content"])) == ("length", 1024 * 1024)


def test_a_token_of_a_megabyte_is_taken(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Raw(_delta("x" * 1_000_000)), Finish()])
    sent = ana.say(ana.chat()["id"], "One token, please")
    assert ended(ana, sent["run"]["id"])[0] == "run.finished"
    assert len(ana.api("GET", f"/messages/{sent['reply']['id']}")["content"]) == 1_000_000


def _delta(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


def test_readers_that_leave_at_any_point_find_the_reply_whole(
    ana: Client, provider: ScriptedProvider, server: LiveServer
) -> None:
    """Five hundred leave in the middle of a stream; each reply is whole by its hash afterwards, and each reader can return."""
    wanted = hashlib.sha256("".join(f"w{n} " for n in range(60)).encode()).hexdigest()
    runs = []
    for _ in range(10):
        provider.play(words(60, pause_s=0.02))
        runs.append(ana.say(ana.chat()["id"], "Count"))
        deadline = time.monotonic() + 5
        while len(provider.requests) < len(runs) and time.monotonic() < deadline:
            time.sleep(0.002)
    faults: list[str] = []
    left: list[int] = []

    def leave_often(number: int) -> None:
        with Client(server.url, cookies=dict(ana.cookies)) as reader:
            for turn in range(80):
                run = runs[(number + turn) % len(runs)]
                with reader.stream("GET", f"/runs/{run['run']['id']}/events") as response:
                    if response.status_code == 429:
                        time.sleep(0.02)  # those who left a moment ago still count until the server has noticed
                        continue
                    if response.status_code != 200:
                        faults.append(response.read().decode())
                        continue
                    for lines, _ in enumerate(response.iter_lines()):
                        if lines > (number * 7 + turn * 13) % 90:
                            break
                    left.append(number)

    threads = [threading.Thread(target=leave_often, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(left) >= 500
    for run in runs:
        assert ended(ana, run["run"]["id"])[0] == "run.finished"
        content = ana.api("GET", f"/messages/{run['reply']['id']}")["content"]
        assert hashlib.sha256(content.encode()).hexdigest() == wanted


def test_a_run_whose_end_was_not_stored_does_not_stay_for_ever(
    ana: Client, server: LiveServer, provider: ScriptedProvider
) -> None:
    """As when the disk was full for longer than its end was tried: its lease runs out, and the chat goes on."""
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
