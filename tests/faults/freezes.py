"""Freeze one of two busy processes at random moments (SIGSTOP), and check that the other is not held up.

`make test` runs a dozen freezes. For more: `python -m tests.faults.freezes --rounds 50`.
"""

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.fakes.live_server import Client, parse_events
from tests.fakes.process import Process
from tests.fakes.scripted_provider import ScriptedProvider

ANA = {"username": "ana", "name": "Ana", "password": "correct horse battery"}
BOB = {"username": "bob", "name": "Bob", "password": "correct horse battery"}
KEYS = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
MAX_LATE_S = 6.0
WRITERS = 4


@dataclass
class Report:
    rounds: int = 0
    late_s: list[float] = field(default_factory=list)  # of the first message after each freeze
    sent: set[str] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    breaks: list[str] = field(default_factory=list)  # of Bob's stream, which he opens again


class Freezes:
    """Ana writes through the process that is frozen. Bob writes and listens through the other."""

    def __init__(self, folder: Path, database_url: str, provider_url: str, *, seed: int = 20261128) -> None:
        environment = {
            "TERTULIA_DATABASE_URL": database_url,
            "TERTULIA_SECRET_KEYS": KEYS,
            "TERTULIA_OPENAI_BASE_URL": provider_url,
        }
        self.chance = random.Random(seed)
        self.report = Report()
        self.frozen, self.other = (Process(folder / str(number), **environment) for number in range(2))

    def run(self, rounds: int) -> Report:
        over = threading.Event()
        threads: list[threading.Thread] = []
        try:
            with ExitStack() as stack:
                ana = stack.enter_context(Client(self.frozen.url))
                ana.api("POST", "/setup", json=ANA, expect=201)
                ana.api("POST", "/users", json=BOB, expect=201)
                bob = stack.enter_context(Client(self.other.url))
                bob.api("POST", "/session", json={"username": "bob", "password": BOB["password"]}, expect=201)
                chat_id = bob.chat()["id"]
                threads = [
                    threading.Thread(target=self._listen, args=(dict(bob.cookies), over)),
                    *(threading.Thread(target=self._write, args=(dict(ana.cookies), over)) for _ in range(WRITERS)),
                ]
                for thread in threads:
                    thread.start()
                self._expect(bob, chat_id, "first")
                for number in range(rounds):
                    self._round(bob, chat_id, number)
                    self.report.rounds += 1
                time.sleep(1)  # an event that arrives twice would arrive by now
        finally:
            over.set()
            for process in (self.frozen, self.other):
                process.process.send_signal(signal.SIGCONT)
                process.kill()
            for thread in threads:
                thread.join(10)
        self._check()
        return self.report

    def _round(self, bob: Client, chat_id: str, number: int) -> None:
        time.sleep(self.chance.uniform(0.05, 0.3))
        self.frozen.process.send_signal(signal.SIGSTOP)
        try:
            self.report.late_s.append(self._expect(bob, chat_id, f"freeze {number}"))
        finally:
            self.frozen.process.send_signal(signal.SIGCONT)

    def _expect(self, bob: Client, chat_id: str, text: str) -> float:
        """Send a message, and return how long its event takes."""
        message_id = bob.say(chat_id, text, reply=False)["message"]["id"]
        self.report.sent.add(message_id)
        began = time.monotonic()
        while self.report.seen[message_id] == 0 and time.monotonic() - began < 20:
            time.sleep(0.005)
        return time.monotonic() - began

    def _write(self, cookies: dict[str, str], over: threading.Event) -> None:
        with Client(self.frozen.url, cookies=cookies) as client:
            chat_id = client.chat()["id"]
            while not over.is_set():
                try:
                    client.post(f"/chats/{chat_id}/messages", json={"content": "busy", "reply": False})
                except httpx.HTTPError:
                    time.sleep(0.05)

    def _listen(self, cookies: dict[str, str], over: threading.Event) -> None:
        with Client(self.other.url, cookies=cookies) as client:
            last: dict[str, str] = {}
            while not over.is_set():
                try:
                    with client.stream("GET", "/events", headers=last) as response:
                        for event_id, kind, data in parse_events(response):
                            if event_id:
                                last = {"Last-Event-ID": event_id}
                            if kind == "change" and data["entity"] == "message" and data["operation"] == "created":
                                self.report.seen[data["entity_id"]] += 1
                            if over.is_set():
                                return
                except httpx.HTTPError as error:
                    self.report.breaks.append(f"{type(error).__name__}: {error}")
                    time.sleep(0.05)

    def _check(self) -> None:
        report = self.report
        if late := [round(seconds, 1) for seconds in report.late_s if seconds > MAX_LATE_S]:
            report.faults.append(f"events were late by {late} s")
        if lost := report.sent - set(report.seen):
            report.faults.append(f"{len(lost)} events were lost")
        if twice := [message_id for message_id in report.sent if report.seen[message_id] > 1]:
            report.faults.append(f"{len(twice)} events arrived twice")


def freeze_many_times(folder: Path, database_url: str, *, rounds: int) -> Report:
    provider = ScriptedProvider()
    try:
        return Freezes(folder, database_url, provider.url).run(rounds)
    finally:
        provider.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--database-url", required=True, help="an empty PostgreSQL database")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = freeze_many_times(Path(folder), arguments.database_url, rounds=arguments.rounds)
    print(
        f"{report.rounds} freezes; the latest event came after {max(report.late_s):.2f} s; {report.faults or 'no faults'}"
    )
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
