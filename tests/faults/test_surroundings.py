"""Tests for the environment of the server: slow readers, unfinished requests, a full disk, and a changed clock."""

import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.models import DeviceInfo
from tertulia.accounts.sessions import SessionLifetime, start_session
from tertulia.chat.counters import find_wrong_counters
from tertulia.db.migrate import upgrade_schema
from tertulia.db.opening import plain_engine
from tertulia.settings import Settings
from tests.factories.accounts import make_user
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.process import Process
from tests.fakes.scripted_provider import ScriptedProvider

MIB = 1024 * 1024
READERS, HALF_OPEN, USERS = 1000, 1000, 100
LIFE = SessionLifetime(timedelta(days=7), timedelta(days=30))


def memory_of(process: Process) -> int:
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert match
    return int(match[1]) * 1024


def sign_in_many(settings: Settings, count: int) -> list[str]:
    """Create signed-in users and return their session tokens."""
    upgrade_schema(settings, now=datetime.now(UTC))
    engine = plain_engine(settings)
    device = DeviceInfo(user_agent="test", platform="", browser="")
    with Session(engine) as session, session.begin():
        people = [make_user(session, username=f"user{number}") for number in range(count)]
        tokens = [start_session(session, person.user_id, life=LIFE, device=device) for person in people]
    engine.dispose()
    return tokens


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[tuple[Process, list[str]]]:
    tokens = sign_in_many(Settings(data=tmp_path), USERS)
    process = Process(tmp_path)
    yield process, tokens
    process.kill()


def open_socket(process: Process, data: bytes) -> socket.socket:
    port = int(process.url.rpartition(":")[2])
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # unread data stays at the server
    connection.connect(("127.0.0.1", port))
    connection.sendall(data)
    return connection


def test_slow_readers_and_unfinished_requests_do_not_slow_other_users(
    crowded: tuple[Process, list[str]],
) -> None:
    process, tokens = crowded
    with ExitStack() as stack, Client(process.url) as other:
        other.cookies.set("tertulia_session", tokens[0])
        other.api("GET", "/me")
        before = memory_of(process)
        for number in range(READERS - 5):
            request = (
                "GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Cookie: tertulia_session={tokens[number % USERS]}\r\n\r\n"
            )
            stack.enter_context(closing(open_socket(process, request.encode())))
        for _ in range(HALF_OPEN):
            stack.enter_context(
                closing(open_socket(process, b"POST /api/v1/chats HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Ter"))
            )
        slowest = 0.0
        threads = [threading.Thread(target=fill, args=(process, tokens[at::4])) for at in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            began = time.perf_counter()
            other.api("GET", "/me")
            slowest = max(slowest, time.perf_counter() - began)
        for thread in threads:
            thread.join()
        grown = memory_of(process) - before
        assert grown < 200 * MIB, f"{grown / MIB:.0f} MiB"
        assert slowest < 5, f"a request took {slowest:.1f} s"


def fill(process: Process, tokens: list[str]) -> None:
    """Send each user more events than the server keeps for a reader that does not read."""
    for token in tokens:
        with Client(process.url) as client:
            client.cookies.set("tertulia_session", token)
            chat_id = client.chat()["id"]
            for _ in range(24):
                client.say(chat_id, "x" * 6500, reply=False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Create a disk of 12 MiB and yield its path. Skip the test without permission to mount it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], check=False, capture_output=True
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("A full disk is not tested: only root can mount a small one. CI tests it.")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_reported_loses_nothing_and_can_be_freed(small_disk: Path, provider: ScriptedProvider) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 3 * MIB)
    process = Process(small_disk, TERTULIA_OPENAI_BASE_URL=provider.url)
    try:
        with Client(process.url) as client:
            account = {"username": "ada", "name": "Ada", "password": "correct horse battery"}
            client.api("POST", "/setup", json=account, expect=201)
            chat_id = client.chat()["id"]
            acknowledged, refused = [], None
            for number in range(200):
                answer = client.post(
                    f"/chats/{chat_id}/messages", json={"content": f"{number} " + "x" * 90_000, "reply": False}
                )
                if answer.status_code != 201:
                    refused = answer
                    break
                acknowledged.append(answer.json()["message"]["id"])
            assert refused is not None
            assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
            assert len(acknowledged) > 5
            for message_id in acknowledged:
                assert len(client.api("GET", f"/messages/{message_id}")["content"]) > 90_000
            filler.unlink()
            again = client.say(chat_id, "There is room again")
            assert client.finished(again["run"]["id"])["status"] == "completed"
            assert client.api("GET", f"/chats/{chat_id}")["message_count"] == len(acknowledged) + 2
    finally:
        process.terminate()


@pytest.mark.parametrize("days", [-2, 3])
def test_a_changed_clock_keeps_messages_in_order(
    ana: Client, server: LiveServer, provider: ScriptedProvider, days: int
) -> None:
    chat = ana.chat()
    ana.finished(ana.say(chat["id"], "Before")["run"]["id"])
    with clock.frozen(datetime.now(UTC) + timedelta(days=days)):
        sent = ana.say(chat["id"], "Meanwhile")
        assert ana.finished(sent["run"]["id"])["status"] == "completed"  # leases use the database's clock
    sent = ana.say(chat["id"], "After")
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    page = ana.api("GET", f"/chats/{chat['id']}/messages")["items"]
    assert [message["content"] for message in page[::-1]][::2] == ["Before", "Meanwhile", "After"]
    engine = plain_engine(server.settings)
    with Session(engine) as session:
        assert find_wrong_counters(session) == []
    engine.dispose()


def test_a_clock_far_in_the_future_ends_sessions(ana: Client) -> None:
    with clock.frozen(datetime.now(UTC) + timedelta(days=31)):
        assert ana.api("GET", "/me", expect=401)["code"] == "not_signed_in"
        ana.api("POST", "/session", json={"username": "ana", "password": "correct horse battery"}, expect=201)
        ana.api("GET", "/me")
