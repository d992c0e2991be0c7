"""Test the command line with and without a running server: users, keys, catalogue, backup, export and import."""

import csv
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.live_server import Client
from tests.fakes.process import Process, run_cli

ADA = {"username": "ada", "name": "Ada", "password": "correct horse battery"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    with Client(process.url) as client:
        client.api("POST", "/setup", json=ADA, expect=201)
    yield process
    if process.process.poll() is None:
        process.kill()


def signed_in(process: Process, password: str = ADA["password"]) -> Client:
    client = Client(process.url)
    client.api("POST", "/session", json={"username": "ada", "password": password}, expect=201)
    return client


def test_resetting_a_password_ends_every_session_and_token(running: Process) -> None:
    with closing(signed_in(running)) as before:
        token = before.api("POST", "/api-tokens", json={"name": "script"}, expect=201)["token"]
        done = run_cli(running.environment, "user", "reset-password", "ada", stdin="another long password\n")
        assert done.returncode == 0, done.stderr
        before.api("GET", "/me", expect=401)
        before.cookies.clear()
        before.headers["Authorization"] = f"Bearer {token}"
        before.api("GET", "/me", expect=401)
    signed_in(running, "another long password").close()
    weak = run_cli(running.environment, "user", "reset-password", "ada", stdin="short\n")
    assert weak.returncode == 1
    unknown = run_cli(running.environment, "user", "reset-password", "zoe", stdin="another long password\n")
    assert (unknown.returncode, unknown.stderr.strip()) == (1, "There is no user zoe.")


def test_a_user_is_deactivated_with_and_without_a_running_server(running: Process) -> None:
    last = run_cli(running.environment, "user", "deactivate", "ada")
    assert (last.returncode, "only administrator" in last.stderr) == (1, True)
    assert run_cli(running.environment, "user", "create", "eva", stdin="another long password\n").returncode == 0
    with Client(running.url) as eva:
        eva.api("POST", "/session", json={"username": "eva", "password": "another long password"}, expect=201)
        assert run_cli(running.environment, "user", "deactivate", "eva").returncode == 0
        eva.api("GET", "/me", expect=401)
    assert run_cli(running.environment, "user", "create", "otto", stdin="another long password\n").returncode == 0
    running.terminate()
    assert run_cli(running.environment, "user", "deactivate", "otto").returncode == 0


def test_the_catalogue_is_refreshed_while_the_server_runs(running: Process) -> None:
    done = run_cli(running.environment, "models", "refresh")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 500


def test_newer_prices_are_read_from_a_file_while_the_server_runs(running: Process, tmp_path: Path) -> None:
    new = {"id": "gpt-9", "match": {"equals": "gpt-9"}, "prices": {"input_mtok": 1, "output_mtok": 2}}
    names = ("openai", "anthropic", "google")
    providers = [{"id": name, "name": name, "api_pattern": f"https://{name}", "models": []} for name in names]
    path = tmp_path / "data.json"
    path.write_text(json.dumps([providers[0] | {"models": [new]}, *providers[1:]]))
    done = run_cli(running.environment, "models", "refresh", "--from", str(path))
    assert (done.returncode, done.stdout) == (0, "1 models.\n"), done.stderr
    path.write_text("nothing")
    refused = run_cli(running.environment, "models", "refresh", "--from", str(path))
    assert (refused.returncode, "no list of prices" in refused.stderr) == (2, True), refused.stderr


def test_limits_are_set_listed_and_deleted_with_and_without_a_running_server(running: Process) -> None:
    def quota(*arguments: str) -> tuple[int, str]:
        done = run_cli(running.environment, "quota", *arguments)
        return done.returncode, done.stdout + done.stderr

    code, line = quota("set", "--user", "ada", "--cost", "20", "--requests", "500")
    assert (code, "user ada: 500 requests, $20.00 a month" in line) == (0, True), line
    with closing(signed_in(running)) as client:
        items = client.api("GET", "/limits")["items"]
        assert {item["measure"] for item in items if item["quota_id"]} == {"cost", "requests"}
        (entry,) = client.api("GET", "/audit-log", params={"action": "quota.create"})["items"]
        assert entry["entity_id"] == items[0]["quota_id"]
    assert quota("set", "--role", "user", "--plan", "x", "--cost", "1")[1].startswith("Name exactly one of")
    assert quota("set", "--user", "zoe", "--cost", "1")[1] == "There is no user zoe.\n"
    assert quota("set", "--plan", "Gold", "--cost", "1")[1] == "There is no plan Gold.\n"
    assert "is no amount" in quota("set", "--user", "ada", "--cost", "much")[1]
    assert "Set at least one limit" in quota("set", "--user", "ada")[1]
    assert "is no id" in quota("delete", "5")[1]
    running.terminate()
    assert quota("set", "--role", "user", "--window", "day", "--messages", "50")[0] == 0
    listed = quota("list")[1].splitlines()
    assert [line.partition("  ")[2] for line in listed] == [
        "role user: 50 messages a day",
        "user ada: 500 requests, $20.00 a month",
    ]
    for line in listed:
        assert quota("delete", line.split()[0]) == (0, "The limit is deleted.\n")
    assert quota("list") == (0, "")


def test_the_audit_log_is_printed_filtered_and_exported(running: Process) -> None:
    signed_in(running).close()

    def audit(*arguments: str) -> str:
        done = run_cli(running.environment, "audit", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "session.start" in audit()
    assert len(audit("--limit", "1").splitlines()) == 1
    assert audit("--user", "ada", "--action", "session", "--until", "2020-01-01") == ""
    rows = list(csv.DictReader(audit("--action", "session", "--format", "csv").splitlines()))
    lines = [json.loads(line) for line in audit("--action", "session", "--format", "jsonl").splitlines()]
    assert [row["action"] for row in rows] == [line["action"] for line in lines] != []
    unknown = run_cli(running.environment, "audit", "--user", "zoe")
    assert (unknown.returncode, unknown.stderr) == (2, "There is no user zoe.\n")


def test_keys_are_rotated_and_old_keys_are_removed(running: Process, tmp_path: Path) -> None:
    with closing(signed_in(running)) as client:
        for number in range(3):
            body = {"provider": "mistral", "name": str(number), "api_key": f"key-number-{number}"}
            client.api("POST", "/provider-configs", json=body, expect=201)
    busy = run_cli(running.environment, "keys", "rotate")
    assert (busy.returncode, "already running" in busy.stderr) == (1, True)
    running.terminate()
    first = (tmp_path / "secret_keys").read_text().split()
    done = run_cli(running.environment, "keys", "rotate")
    assert done.returncode == 0, done.stderr
    assert "3 secrets use the key" in done.stdout
    second = (tmp_path / "secret_keys").read_text().split()
    assert second[1:] == first
    assert run_cli(running.environment, "keys", "forget").returncode == 0
    assert (tmp_path / "secret_keys").read_text().split() == second[:1]
    again = Process(tmp_path)
    with closing(signed_in(again)) as client:
        assert [config["key_hint"] for config in client.api("GET", "/provider-configs")["items"]] == ["key-"[:3]] * 3
    assert again.terminate() == 0


def test_a_wrong_or_missing_key_ring_stops_the_start_and_writes_nothing(running: Process, tmp_path: Path) -> None:
    with closing(signed_in(running)) as client:
        body = {"provider": "mistral", "api_key": "key-of-ada-0123"}
        client.api("POST", "/provider-configs", json=body, expect=201)
    running.terminate()
    ring = (tmp_path / "secret_keys").read_bytes()
    (tmp_path / "secret_keys").unlink()
    before = (tmp_path / "tertulia.db").read_bytes()
    missing = run_cli(running.environment, "serve")
    assert (missing.returncode, "which is not in the key ring" in missing.stderr) == (2, True)
    assert not (tmp_path / "secret_keys").exists()
    other = {"TERTULIA_SECRET_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}
    wrong = run_cli(running.environment | other, "serve")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
    assert (tmp_path / "tertulia.db").read_bytes() == before
    (tmp_path / "secret_keys").write_bytes(ring)
    (tmp_path / "secret_keys").chmod(0o600)
    again = Process(tmp_path)
    signed_in(again).close()
    assert again.terminate() == 0


def test_a_backup_of_a_running_server_is_restored_in_another_folder(running: Process, tmp_path: Path) -> None:
    with closing(signed_in(running)) as client:
        client.chat(title="To be kept")
    file, there = tmp_path / "all.zip", tmp_path / "there"
    backup = run_cli(running.environment, "backup", str(file))
    assert backup.returncode == 0, backup.stderr
    assert "verified" in backup.stdout
    refused = run_cli(running.environment, "restore", str(file))
    assert refused.returncode == 1
    restored = run_cli(Process.environment_for(there), "restore", str(file))
    assert restored.returncode == 0, restored.stderr
    other = Process(there)
    with closing(signed_in(other)) as client:
        assert [chat["title"] for chat in client.api("GET", "/chats")["items"]] == ["To be kept"]
    assert other.terminate() == 0
    assert run_cli(other.environment, "db", "check").returncode == 0


def test_an_export_is_imported_by_the_command_line_without_duplicates(running: Process, tmp_path: Path) -> None:
    with closing(signed_in(running)) as ada:
        chat = ada.chat(title="Ours")
        ada.say(chat["id"], "the walrus", reply=False)
    file = tmp_path / "everything.zip"
    done = run_cli(running.environment, "export", "ada", str(file))
    assert done.returncode == 0, done.stderr
    assert run_cli(running.environment, "export", "zoe", str(tmp_path / "no.zip")).returncode == 2
    refused = run_cli(running.environment, "import", "ada", str(file))
    assert refused.returncode != 0  # the running server holds the folder
    running.terminate()
    done = run_cli(running.environment, "import", "ada", str(file))
    assert (done.returncode, "1 chats with 1 messages" in done.stdout) == (0, True), done.stdout + done.stderr
    again = run_cli(running.environment, "import", "ada", str(file))
    assert "1 already existed" in again.stdout
    demo = run_cli(running.environment, "demo", "ada")
    assert (demo.returncode, demo.stdout.startswith("ada has 4 sample chats.")) == (0, True), demo.stderr
