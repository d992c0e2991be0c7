"""`make bench`: CPU and latency of the hot calls at 1 and 32 connections, ours beside the limit, in turns."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from bench.load import Figure, measure, request_bytes
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import DeviceInfo, User, UserRole
from tertulia.accounts.sessions import SessionLife, start_session
from tertulia.chat.messages import append_message, lock_chat
from tertulia.chat.models import MessageRole, MessageStatus
from tertulia.chat.parts import TextPart
from tertulia.chat.schemas import ChatCreate
from tertulia.chat.service import create_chat
from tertulia.clock import now
from tertulia.db.migrate import upgrade_schema
from tertulia.db.opening import plain_engine
from tertulia.ids import ChatId, UserId, new_id
from tertulia.settings import Settings

TEXT = "A message of ordinary length, as people and models write them to one another all day. " * 4
ROUNDS = 3
SECONDS = 2.0


def seed(folder: Path) -> tuple[str, dict[str, str]]:
    """200 chats of 4 messages, one of 50 and one of 10,000; gives a session's token and the ids of the last two."""
    settings = Settings(data=folder)
    upgrade_schema(settings, now=now())
    engine = plain_engine(settings)
    with Session(engine) as session:
        owner = Actor(UserId(new_id()), UserRole.USER)
        session.add(User(id=owner.user_id, username="bench", username_key="bench", name="Bench"))
        session.flush()
        sizes = {**{f"chat {n}": 4 for n in range(200)}, "appended": 4, "50": 50, "10000": 10_000}
        ids = {}
        for title, size in sizes.items():
            chat_id = ids[title] = create_chat(session, ChatCreate(title=title), actor=owner)["id"]
            for number in range(size):
                chat = lock_chat(session, ChatId(chat_id), actor=owner)
                append_message(
                    session,
                    chat,
                    role=MessageRole.ASSISTANT if number % 2 else MessageRole.USER,
                    parts=[TextPart(text=TEXT)],
                    status=MessageStatus.SENT,
                    previous_message_id=chat.head_message_id,
                    author_id=None if number % 2 else owner.user_id,
                )
        life = SessionLife(timedelta(days=7), timedelta(days=30))
        device = DeviceInfo(user_agent="bench", platform="", browser="")
        token = start_session(session, owner.user_id, life=life, device=device)
        session.commit()
    engine.dispose()
    with closing(sqlite3.connect(folder / "tertulia.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return token, ids


@contextmanager
def serving(command: list[str], environment: dict[str, str], port: int) -> Iterator[int]:
    """A server as a process of its own; gives its id once it answers."""
    process = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ours").mkdir()
        print("Filling a database …", flush=True)
        token, ids = seed(folder / "ours")
        shutil.copytree(folder / "ours", folder / "limit")
        message = b'{"content": "' + TEXT.encode() + b'", "reply": false}'
        calls = {
            "list of 50 chats": request_bytes("GET", "/api/v1/chats", token),
            "newest page, chat of 50": request_bytes("GET", f"/api/v1/chats/{ids['50']}/messages", token),
            "newest page, chat of 10,000": request_bytes("GET", f"/api/v1/chats/{ids['10000']}/messages", token),
            "append a message": request_bytes("POST", f"/api/v1/chats/{ids['appended']}/messages", token, message),
        }
        port, bare_port = free_port(), free_port()
        ours_env = {"TERTULIA_DATA": str(folder / "ours"), "PORT": str(port), "TERTULIA_LOCAL_MODEL": "none"}
        limit_command = [sys.executable, "-m", "bench.limit", str(folder / "limit" / "tertulia.db"), str(bare_port)]
        with (
            serving([sys.executable, "-m", "tertulia", "serve"], ours_env, port) as ours,
            serving(limit_command, {}, bare_port) as limit,
        ):
            report(calls, (ours, port), (limit, bare_port))


def report(calls: dict[str, bytes], ours: tuple[int, int], limit: tuple[int, int]) -> None:
    print(f"{'':32}{'CPU ms a request':^30}{'p50 / p99 ms':^30}")
    print(f"{'call':24}{'conn.':>8}{'limit':>10}{'ours':>10}{'ratio':>10}{'limit':>15}{'ours':>15}")
    pages: dict[tuple[str, int], float] = {}
    for name, request in calls.items():
        for connections in (1, 32):
            pairs = [
                (
                    measure(*limit, request, connections=connections, seconds=SECONDS),
                    measure(*ours, request, connections=connections, seconds=SECONDS),
                )
                for _ in range(ROUNDS)
            ]
            bare, mine = (_median([pair[side] for pair in pairs]) for side in (0, 1))
            pages[name, connections] = mine.cpu_ms
            print(
                f"{name:28}{connections:>4}{bare.cpu_ms:>10.3f}{mine.cpu_ms:>10.3f}{mine.cpu_ms / bare.cpu_ms:>10.2f}"
                f"{bare.p50_ms:>9.2f}/{bare.p99_ms:<6.2f}{mine.p50_ms:>8.2f}/{mine.p99_ms:<6.2f}",
                flush=True,
            )
    for connections in (1, 32):
        ratio = pages["newest page, chat of 10,000", connections] / pages["newest page, chat of 50", connections]
        print(f"A page of 10,000 messages costs {ratio:.2f} times one of 50, at {connections} connections.")


def _median(figures: list[Figure]) -> Figure:
    return sorted(figures, key=lambda figure: figure.cpu_ms)[len(figures) // 2]


if __name__ == "__main__":
    main()
