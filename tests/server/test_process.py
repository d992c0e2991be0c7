"""Test the server process: start, stop, kill, settings and recovery."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from tertulia.errors import SettingsError
from tertulia.server import bind
from tertulia.settings import Settings, load_settings
from tests.fakes.live_server import Client
from tests.fakes.pages import Pages
from tests.fakes.process import Process, run_cli
from tests.fakes.scripted_provider import Call, Finish, Hold, ScriptedProvider, Step, Text, words
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
ADA = {"username": "ada", "name": "Ada", "password": "correct horse battery"}


@pytest.fixture
def started() -> Iterator[list[Process]]:
    """Collect started processes and kill those that still run at the end."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        if process.process.poll() is None:
            process.kill()


def start(started: list[Process], folder: Path, **environment: str) -> Process:
    process = Process(folder, **environment)
    started.append(process)
    return process


def signed_in(process: Process) -> Client:
    client = Client(process.url)
    if client.api("GET", "/setup")["required"]:
        client.api("POST", "/setup", json=ADA, expect=201)
    else:
        client.api("POST", "/session", json={"username": "ada", "password": ADA["password"]}, expect=201)
    return client


def test_a_reply_interrupted_by_a_kill_is_kept_and_can_be_continued(
    tmp_path: Path, started: list[Process], provider: ScriptedProvider
) -> None:
    provider.play([Text("Before the "), Text("power went "), Hold(), Finish()], [Text("and after."), Finish()])
    first = start(started, tmp_path, TERTULIA_OPENAI_BASE_URL=provider.url)
    with closing(signed_in(first)) as client:
        sent = client.say(client.chat()["id"], "Tell me")
        reply_id = sent["reply"]["id"]
        until(lambda: client.api("GET", f"/messages/{reply_id}")["content"] == "Before the power went ")
        queued = client.say(client.chat()["id"], "And you")["run"]["id"]
        waiting = client.say(sent["message"]["chat_id"], "This one waits")["run"]["id"]
    first.kill()
    second = start(started, tmp_path, TERTULIA_OPENAI_BASE_URL=provider.url)
    with closing(signed_in(second)) as client:
        reply = client.api("GET", f"/messages/{reply_id}")
        assert (reply["status"], reply["content"]) == ("interrupted", "Before the power went ")
        assert client.finished(waiting)["status"] == "completed"  # queued runs survive the kill
        assert client.api("GET", f"/runs/{queued}")["status"] in ("completed", "interrupted")
        again = client.api("POST", f"/messages/{reply_id}/continue", expect=201)
        client.finished(again["run"]["id"])
        assert client.api("GET", f"/messages/{reply_id}")["content"].startswith("Before the power went ")
    assert second.terminate() == 0
    assert run_cli(second.environment, "db", "check").returncode == 0


def test_a_tool_call_interrupted_by_a_kill_is_not_repeated_without_approval(
    tmp_path: Path, started: list[Process], provider: ScriptedProvider
) -> None:
    """Kill the server between approval and result: the second request needs a new approval."""
    news = b"<html><title>News</title><script>alert(1)</script><p>Bread is cheaper.</p></html>"
    page = Pages({"/news": (200, {"Content-Type": "text/html"}, news)}, held=True)
    environment = {"TERTULIA_OPENAI_BASE_URL": provider.url, "TERTULIA_OUTBOUND_ALLOW": page.url}
    script: list[Step] = [Call("fetch_page", {"url": f"{page.url}/news"}), Finish("tool_calls")]
    provider.play(script, script, [Text("Here is the news."), Finish()])

    def pending(client: Client) -> Any:
        calls: list[Any] = []

        def is_there() -> bool:
            calls[:] = client.api("GET", "/tool-executions", params={"status": "pending"})["items"]
            return bool(calls)

        until(is_there)
        return calls[0]

    with closing(page):
        first = start(started, tmp_path, **environment)
        with closing(signed_in(first)) as client:
            sent = client.say(client.chat(settings={"tools": ["fetch_page"]})["id"], "What is new?")
            call = pending(client)
            assert page.asked == []
            client.api("POST", f"/tool-executions/{call['id']}/approve", json={"remember": "always"})
            until(lambda: len(page.asked) == 1)
        first.kill()
        page.released.set()
        second = start(started, tmp_path, **environment)
        with closing(signed_in(second)) as client:
            second_call = pending(client)
            assert (second_call["id"] != call["id"], second_call["reason"], len(page.asked)) == (
                True,
                "outcome_unknown",
                1,
            )
            first_call = client.api("GET", f"/tool-executions/{call['id']}")
            assert (first_call["status"], first_call["error_code"]) == ("failed", "outcome_unknown")
            client.api("POST", f"/tool-executions/{second_call['id']}/approve")
            assert client.finished(sent["run"]["id"])["status"] == "completed"
            assert len(page.asked) == 2
            finished_call = client.api("GET", f"/tool-executions/{second_call['id']}")
        assert "Bread is cheaper." in finished_call["result"]["content"]
    assert second.terminate() == 0
    assert run_cli(second.environment, "db", "check").returncode == 0


def test_terminating_the_server_lets_a_reply_finish(
    tmp_path: Path, started: list[Process], provider: ScriptedProvider
) -> None:
    provider.play(words(30, pause_s=0.05))
    process = start(started, tmp_path, TERTULIA_OPENAI_BASE_URL=provider.url)
    with closing(signed_in(process)) as client:
        sent = client.say(client.chat()["id"], "Slowly")
        until(lambda: client.api("GET", f"/runs/{sent['run']['id']}")["status"] == "running")
    assert process.terminate() == 0
    again = start(started, tmp_path, TERTULIA_OPENAI_BASE_URL=provider.url)
    with closing(signed_in(again)) as client:
        reply = client.api("GET", f"/messages/{sent['reply']['id']}")
    assert (reply["status"], reply["content"]) == ("sent", "".join(f"w{n} " for n in range(30)))


def test_a_second_start_in_the_same_folder_names_the_running_server(tmp_path: Path, started: list[Process]) -> None:
    first = start(started, tmp_path)
    url = first.url
    second = start(started, tmp_path)
    assert second.wait() == 1
    assert f"already running at {url}" in second.text


def test_a_busy_configured_port_stops_the_start_with_a_message(tmp_path: Path, started: list[Process]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        process = start(started, tmp_path, PORT=str(port))
        assert process.wait() == 2
    assert f"Cannot listen on 127.0.0.1:{port}" in process.text
    assert "Traceback" not in process.text


def test_only_the_default_port_moves_to_the_next_free_one() -> None:
    first, second = bind(Settings()), bind(Settings())
    try:
        ports = [sock.getsockname()[1] for sock in (first, second)]
        assert 8000 <= ports[0] < ports[1] < 8100
        with pytest.raises(SettingsError):
            bind(Settings(port=ports[0]))
    finally:
        first.close()
        second.close()


def test_environment_variables_override_the_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "tertulia.toml"
    file.write_text('host = "0.0.0.0"\nruns_at_once = 2\ntrusted_proxies = ["10.0.0.1"]\n')
    settings = load_settings({"TERTULIA_RUNS_AT_ONCE": "3", "TERTULIA_OPENAI_MODELS": "a, b"}, file)
    assert (settings.host, settings.runs_at_once, settings.trusted_proxies) == ("0.0.0.0", 3, ("10.0.0.1",))
    assert settings.openai_models == ("a", "b")
    file.write_text('colour = "red"\n')
    with pytest.raises(SettingsError, match="is not a setting"):
        load_settings({}, file)


def test_imported_packages_are_all_in_the_lock_file() -> None:
    """Compare the modules that the program imports for both databases with requirements.lock."""
    program = (
        "import sys, tempfile; from pathlib import Path; import tertulia.cli; from tertulia.app import create_app;"
        "from tertulia.settings import Settings; from tertulia.db.opening import plain_engine, open_database;"
        "url='postgresql://u@localhost/x'; create_app(Settings(data=Path(tempfile.mkdtemp())));"
        "open_database(Settings(database_url=url)); plain_engine(Settings(database_url=url));"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    owners = packages_distributions()
    used = {owner.lower().replace("_", "-") for name in modules.split() for owner in owners.get(name, [])} - {
        "tertulia"
    }
    locked = set(re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==", (ROOT / "requirements.lock").read_text(), re.M))
    assert used - {"setuptools"} <= locked
    assert {"sqlalchemy", "greenlet", "asyncpg"} <= used


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TERTULIA_COLOUR", "red", "TERTULIA_COLOUR is not a setting"),
        ("TERTULIA_RUNS_AT_ONCE", "none", "TERTULIA_RUNS_AT_ONCE:"),
        ("TERTULIA_LOCAL_MODEL", "gpt-9", "TERTULIA_LOCAL_MODEL: must be one of"),
        ("TERTULIA_DATABASE_URL", "mysql://x", "must begin with sqlite:/// or postgresql://"),
        ("TERTULIA_SECRET_KEYS", "c2hvcnQ=", "keys of 32 bytes"),
        ("PORT", "99999", "PORT:"),
    ],
)
def test_an_invalid_setting_stops_the_start_with_a_message(tmp_path: Path, name: str, value: str, message: str) -> None:
    answer = run_cli(Process.environment_for(tmp_path) | {name: value}, "serve")
    assert answer.returncode == 2
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr


def test_users_are_created_by_the_command_line_with_and_without_a_running_server(
    tmp_path: Path, started: list[Process]
) -> None:
    environment = Process.environment_for(tmp_path)
    without_server = run_cli(environment, "user", "create", "ada", "--admin", stdin="correct horse battery\n")
    assert without_server.returncode == 0, without_server.stderr
    process = start(started, tmp_path)
    with closing(signed_in(process)):
        with_server = run_cli(environment, "user", "create", "berta", stdin="another long password\n")
        assert with_server.returncode == 0, with_server.stderr
        with Client(process.url) as berta:
            berta.api("POST", "/session", json={"username": "berta", "password": "another long password"}, expect=201)
        again = run_cli(environment, "user", "create", "berta", stdin="another long password\n")
        assert again.returncode != 0
        assert "Choose another" in again.stderr
        weak = run_cli(environment, "user", "create", "carla", stdin="short\n")
        assert weak.returncode != 0
        assert "12 to 256 characters" in weak.stderr


def test_stored_files_are_readable_by_the_owner_only(tmp_path: Path, started: list[Process]) -> None:
    folder = tmp_path / "data"
    assert start(started, folder).url
    for path in (folder / "tertulia.db", folder / "secret_keys", folder / "server.json"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_demo_creates_a_user_who_can_sign_in(started: list[Process], tmp_path: Path) -> None:
    environment = Process.environment_for(tmp_path)
    demo = run_cli(environment, "demo")
    assert demo.returncode == 0, demo.stderr
    created = re.search(r"The user sample can sign in with the password (\S+)", demo.stdout)
    assert created is not None
    assert "sample has 4 sample chats" in demo.stdout
    again = run_cli(environment, "demo")
    assert again.returncode == 1
    assert "taken" in again.stderr
    with Client(start(started, tmp_path).url) as client:
        client.api("POST", "/session", json={"username": "sample", "password": created[1]}, expect=201)
        me = client.api("GET", "/me")
        assert (me["email"], me["preferences"]["theme"]) == ("sample@example.com", "dark")
        assert (me["preferences"]["default_model"], me["preferences"]["enable_notifications"]) == ("openai/gpt-4", True)
        assert len(client.api("GET", "/chats")["items"]) == 4
