"""Test that a frozen process does not stop the others, and does not write when it goes on."""

import signal
from contextlib import closing
from pathlib import Path

from tests.fakes.live_server import Client
from tests.fakes.process import Process
from tests.fakes.scripted_provider import Finish, Hold, ScriptedProvider, Text
from tests.faults.freezes import ANA, KEYS, freeze_many_times
from tests.transfer.test_backup import NewInstance, new_instance  # noqa: F401 - a fixture
from tests.waiting import until


def test_a_frozen_process_does_not_hold_up_the_live_updates_of_others(
    new_instance: NewInstance,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Freeze it at 50 random moments while it writes. Events arrive within 6 seconds, none is lost, none comes twice."""
    settings = new_instance("postgresql")
    assert settings.database_url is not None
    report = freeze_many_times(tmp_path, settings.database_url, rounds=50)
    assert report.faults == []
    assert report.rounds == 50


def test_a_run_that_was_continued_elsewhere_is_not_written_by_the_thawed_process(
    new_instance: NewInstance,  # noqa: F811
    provider: ScriptedProvider,
    tmp_path: Path,
) -> None:
    settings = new_instance("postgresql")
    environment = {
        "TERTULIA_DATABASE_URL": settings.database_url or "",
        "TERTULIA_OPENAI_BASE_URL": provider.url,
        "TERTULIA_SECRET_KEYS": KEYS,
    }
    provider.play([Text("Before. "), Hold(), Text("Too late."), Finish()], [Text("After."), Finish()])
    processes = [Process(tmp_path / "0", **environment)]  # the first executes the run
    try:
        with closing(Client(processes[0].url)) as first:
            first.api("POST", "/setup", json=ANA, expect=201)
            sent = first.say(first.chat()["id"], "Tell me")
            reply_id = sent["reply"]["id"]
            until(lambda: first.api("GET", f"/messages/{reply_id}")["content"] == "Before. ")
            processes.append(Process(tmp_path / "1", **environment))
            with closing(Client(processes[1].url, cookies=first.cookies)) as second:
                processes[0].process.send_signal(signal.SIGSTOP)
                until(lambda: second.api("GET", f"/messages/{reply_id}")["status"] == "interrupted", 25)
                again = second.api("POST", f"/messages/{reply_id}/continue", expect=201)
                second.finished(again["run"]["id"])
                processes[0].process.send_signal(signal.SIGCONT)
                provider.release()
                until(lambda: provider.open_streams == 0)
                # The thawed process answers again, and has noticed that its run is over.
                until(lambda: first.api("GET", f"/runs/{sent['run']['id']}")["status"] == "interrupted")
                assert second.api("GET", f"/messages/{reply_id}")["content"] == "Before. After."
    finally:
        for process in processes:
            process.process.send_signal(signal.SIGCONT)
            process.kill()
