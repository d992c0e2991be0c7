"""Run the benchmarks: hot calls and the limit, concurrent replies and the bare provider, idle streams, start, size.

Absolute figures depend on this machine. Compare only figures of one run, which are measured alternately.
`make bench` runs all parts; `python -m bench calls streams idle start` runs some.
"""

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

from bench import context, drafts, money, search, tools, whole, wires
from bench.load import Figure, cpu_seconds, measure, request_bytes
from bench.streams import PAUSE_MS, TOKENS, Asker, Reply, listen_idly, relay_bare, resident_kib, stream
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import DeviceInfo, User, UserRole
from tertulia.accounts.row_limits import RowLimits
from tertulia.accounts.sessions import SessionLifetime, start_session
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


PEOPLE = 100  # each may run four replies and hold ten streams at once


def seed(folder: Path) -> tuple[str, dict[str, str], list[Asker]]:
    """Create 200 chats of 4 messages, one of 50 and one of 10,000, and users with two chats each for replies.

    Return a session's token, the ids of the chats by title, and the users' tokens with their chats.
    """
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
            chat_id = ids[title] = create_chat(session, ChatCreate(title=title), RowLimits(), owner_id=owner.user_id)[
                "id"
            ]
            for number in range(size):
                chat = lock_chat(session, owner, ChatId(chat_id))
                append_message(
                    session,
                    chat,
                    role=MessageRole.ASSISTANT if number % 2 else MessageRole.USER,
                    parts=[TextPart(text=TEXT)],
                    status=MessageStatus.SENT,
                    previous_message_id=chat.head_message_id,
                    author_id=None if number % 2 else owner.user_id,
                )
        life = SessionLifetime(timedelta(days=7), timedelta(days=30))
        device = DeviceInfo(user_agent="bench", platform="", browser="")
        token = start_session(session, owner.user_id, life=life, device=device)
        askers = []
        for number in range(PEOPLE):
            person = Actor(UserId(new_id()), UserRole.USER)
            session.add(User(id=person.user_id, username=f"p{number}", username_key=f"p{number}", name="P"))
            session.flush()
            own = start_session(session, person.user_id, life=life, device=device)
            askers += [
                Asker(
                    own, create_chat(session, ChatCreate(title=f"{turn}"), RowLimits(), owner_id=person.user_id)["id"]
                )
                for turn in range(2)
            ]
        session.commit()
    engine.dispose()
    with closing(sqlite3.connect(folder / "tertulia.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return token, ids, askers


@contextmanager
def serving(command: list[str], environment: dict[str, str], port: int) -> Iterator[int]:
    """Run a server as a child process. Yield its process id once it answers."""
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


PARTS = ("calls", "whole", "streams", "idle", "start", "search", "drafts", "context", "tools", "money", "wires")


def main() -> None:
    parts = sys.argv[1:] or list(PARTS)
    if not set(parts) <= set(PARTS):
        raise SystemExit(f"The parts are {', '.join(PARTS)}.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ours").mkdir()
        print("Filling a database …", flush=True)
        token, ids, askers = seed(folder / "ours")
        shutil.copytree(folder / "ours", folder / "limit")
        life = SessionLifetime(timedelta(days=7), timedelta(days=30))
        seeded = whole.fill(folder / "ours", life, ids["50"]) if "whole" in parts else None
        port, bare_port, provider_port = free_port(), free_port(), free_port()
        environment = {
            "TERTULIA_DATA": str(folder / "ours"),
            "PORT": str(port),
            "TERTULIA_LOCAL_MODEL": "none",
            "TERTULIA_EMBEDDING_MODEL": "none",
            "TERTULIA_MESSAGES_PER_MINUTE": "0",
            "TERTULIA_OPENAI_BASE_URL": f"http://127.0.0.1:{provider_port}/v1",
        }
        command = [sys.executable, "-m", "tertulia", "serve"]
        if "start" in parts:
            report_start(command, environment, port, folder / "ours")
        relay_port = free_port()
        relay_command = [sys.executable, "-m", "bench.relay", str(relay_port), str(provider_port)]
        limit_command = [sys.executable, "-m", "bench.limit", str(folder / "limit" / "tertulia.db"), str(bare_port)]
        provider_command = [sys.executable, "-m", "bench.provider", str(provider_port), str(TOKENS), str(PAUSE_MS)]
        with (
            serving(provider_command, {}, provider_port),
            serving(command, environment, port) as ours,
            serving(limit_command, {}, bare_port) as limit,
            serving(relay_command, {}, relay_port) as relay,
        ):
            calls = hot_calls(token, ids)
            if "calls" in parts:
                report(calls, (ours, port), (limit, bare_port))
            if seeded is not None:
                report_whole((ours, port), seeded, calls["newest page, chat of 50"], folder)
            if "streams" in parts:
                report_streams((ours, port), (relay, relay_port), provider_port, askers, calls)
            if "idle" in parts:
                report_idle(ours, port, askers)
        if "search" in parts:
            (folder / "search").mkdir()
            report_search(folder / "search")
        if "drafts" in parts:
            (folder / "drafts").mkdir()
            report_drafts(folder / "drafts")
        if "context" in parts:
            (folder / "context").mkdir()
            report_context(folder / "context")
        if "tools" in parts:
            (folder / "tools").mkdir()
            report_tools(folder / "tools")
        if "money" in parts:
            report_money(folder)
        if "wires" in parts:
            report_wires()


def report_money(folder: Path) -> None:
    for name in ("reserving", "webhooks", "ledger"):
        (folder / name).mkdir()
    took = money.measure_reserving(folder / "reserving")
    print("\nRecording a request, ms without the commits (p50 / p99): alone, with a reservation, within three quotas")
    print(f"     {_spread(took.bare_ms)}   {_spread(took.reserved_ms)}   {_spread(took.limited_ms)}", flush=True)
    port = free_port()
    environment = {"PORT": str(port), "TERTULIA_LOCAL_MODEL": "none", "TERTULIA_EMBEDDING_MODEL": "none"}
    command = [sys.executable, "-m", "tertulia", "serve"]
    own = environment | {"TERTULIA_DATA": str(folder / "webhooks")} | money.webhook_environment()
    with serving(command, own, port):
        per_second, slowest_s = money.send_webhooks(port)
    print(
        f"{per_second:.0f} webhooks a second are stored and answered, the slowest in {slowest_s * 1000:.0f} ms",
        flush=True,
    )
    print(f"Filling a ledger of {money.LEDGER_ROWS:,} requests of {money.PAYERS} people …", flush=True)
    token, upgrade_s = money.fill_ledger(folder / "ledger")
    print(
        f"Its sums are made by the upgrade in {upgrade_s:.0f} s. Calls of the usage page, ms (p50 / p95):", flush=True
    )
    with serving(command, environment | {"TERTULIA_DATA": str(folder / "ledger")}, port) as pid:
        for path in (*money.PAGE, *money.EVERYBODY):
            figure = measure(pid, port, request_bytes("GET", f"/api/v1{path}", token), connections=1, seconds=SECONDS)
            print(f"     {path:<48} {figure.p50_ms:8.1f} / {figure.p95_ms:.1f}", flush=True)


def report_wires() -> None:
    port = free_port()
    print(f"\n{'wire at 50 streams':32}{'CPU us a token':>16}{'first token ms':>16}")
    with serving([sys.executable, "-m", "bench.wires", str(port)], {}, port):
        for name, (cpu_us, first_ms) in wires.cpu_us_per_token(port).items():
            print(f"{name:32}{cpu_us:>16.1f}{first_ms:>16.1f}", flush=True)
    plain, cached = wires.cost_of_long_chat()
    print(f"input of 40 turns at Anthropic: {plain:,.0f} tokens, priced as {cached:,.0f} with the cache", flush=True)


def report_whole(ours: tuple[int, int], seeded: whole.Seeded, own_page: bytes, folder: Path) -> None:
    print(f"\n{'call':32}{'CPU ms':>10}{'p50 / p99 ms':>18}")
    for name, figure in whole.measure_calls(*ours, whole.calls(seeded, own_page)).items():
        print(f"{name:32}{figure.cpu_ms:>10.3f}{figure.p50_ms:>11.2f}/{figure.p99_ms:<6.2f}", flush=True)
    took = whole.measure_uploads(ours[1], seeded.few, folder)
    timings = ", ".join(f"{bare:.2f} and {ours_s:.2f}" for bare, ours_s in took)
    print(f"A file of {whole.FILE_MIB} MiB, seconds to write and sync it, and to upload it: {timings}", flush=True)


def report_search(folder: Path) -> None:
    print(f"\nFilling {search.MESSAGES:,} messages to search in …", flush=True)
    settings, actor = search.fill(folder)
    print("Search, ms (p50 / p95): ours, and a bare FTS5 query for the newest 50")
    for timed in search.measure(settings, actor):
        columns = [
            f"{sorted(took)[len(took) // 2]:.1f} / {sorted(took)[int(len(took) * 0.95)]:.1f}"
            for took in (timed.ours_ms, timed.bare_ms)
        ]
        print(f"     {timed.name:<24} {columns[0]:>16} {columns[1]:>16}", flush=True)

    by_meaning = search.measure_meaning(settings, actor)
    columns = [
        f"{sorted(took)[len(took) // 2]:.1f} / {sorted(took)[int(len(took) * 0.95)]:.1f}"
        for took in (by_meaning.again_ms, by_meaning.words_ms)
    ]
    print(
        f"Search by text and meaning over {search.PASSAGES:,} passages, and by text alone: {columns[0]}, {columns[1]}"
    )
    print(f"The first search, which loads the codes: {by_meaning.first_ms:.0f}", flush=True)


def report_drafts(folder: Path) -> None:
    measured = drafts.measure(folder)
    print("\nDrafts of 100 kB, ms (p50 / p95)")
    for name, took in (
        ("save a version", measured.save_ms),
        ("open, 10 versions", measured.open_few_ms),
        ("open, 1,000 versions", measured.open_many_ms),
        ("compare the first and the last of 1,000", measured.diff_ms),
        ("merge two sides", measured.merge_ms),
    ):
        print(f"     {name:<40} {sorted(took)[len(took) // 2]:>8.1f} / {sorted(took)[int(len(took) * 0.95)]:.1f}")
    share = measured.disk_bytes / measured.text_bytes
    print(f"1,000 versions are {measured.disk_bytes:,} bytes in their rows, {share:.1f} times the text", flush=True)


def report_tools(folder: Path) -> None:
    ran, lists = tools.measure(folder)
    print(f"\nThe overhead of an automatically allowed tool call, ms (p50 / p99): {_spread(ran)}")
    for count, took in lists:
        print(f"The first 50 of {count:>5,} pending approvals: {_spread(took)}")


def report_context(folder: Path) -> None:
    print(
        f"\nPreparing a step for a window of {context.WINDOW:,} tokens, ms (p50 / p95), and with the first message pinned"
    )
    for length, *both in context.measure(folder):
        columns = [f"{sorted(took)[len(took) // 2]:.1f} / {sorted(took)[int(len(took) * 0.95)]:.1f}" for took in both]
        print(f"     {f'{length:,} messages':<24} {columns[0]:>16} {columns[1]:>16}", flush=True)


def hot_calls(token: str, ids: dict[str, str]) -> dict[str, bytes]:
    message = b'{"content": "' + TEXT.encode() + b'", "reply": false}'
    return {
        "list of 50 chats": request_bytes("GET", "/api/v1/chats", token),
        "newest page, chat of 50": request_bytes("GET", f"/api/v1/chats/{ids['50']}/messages", token),
        "newest page, chat of 10,000": request_bytes("GET", f"/api/v1/chats/{ids['10000']}/messages", token),
        "append a message": request_bytes("POST", f"/api/v1/chats/{ids['appended']}/messages", token, message),
    }


def report_start(command: list[str], environment: dict[str, str], port: int, folder: Path) -> None:
    """Measure the time from the command to the first answer, and the idle memory and CPU."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        with serving(command, environment, port) as pid:
            took.append(time.perf_counter() - began)
            time.sleep(3)
            memory, cpu = resident_kib(pid) / 1024, cpu_seconds(pid)
            time.sleep(2)
            idle_cpu = (cpu_seconds(pid) - cpu) / 2 * 100
    size = (folder / "tertulia.db").stat().st_size
    with closing(sqlite3.connect(folder / "tertulia.db")) as connection:
        (messages,) = connection.execute("SELECT count(*) FROM message").fetchone()
    print(f"Cold start {sorted(took)[len(took) // 2]:.2f} s; idle {memory:.0f} MiB and {idle_cpu:.1f} % of a core.")
    print(
        f"On disk {size / messages:.0f} bytes per message, including its text ({len(TEXT)} bytes, stored twice) and everything else.\n"
    )


def report_streams(
    ours: tuple[int, int],
    relay: tuple[int, int],
    provider_port: int,
    askers: list[Asker],
    calls: dict[str, bytes],
) -> None:
    pid, port = ours
    print(
        f"\nReplies of {TOKENS} tokens at {1000 / PAUSE_MS:.0f} a second (medians; added: ours minus the provider directly)"
    )
    print(
        f"{'at once':>8}{'limit us/token':>16}{'CPU us/token':>14}{'added first ms':>16}{'added end ms':>14}{'frames/token':>14}{'bytes/token':>13}{'lost':>6}{'failed':>8}"
    )
    for count in (1, 50, 200):
        # The first chat of every user, then the second ones.
        chosen = (askers[::2] + askers[1::2])[:count]
        bare = relay_bare(*relay, count)
        done = stream(pid, port, provider_port, chosen)
        tokens = sum(reply.tokens for reply in done.replies) or 1
        print(
            f"{count:>8}{bare:>16.0f}{done.cpu_us_per_token:>14.0f}{_added(done.replies, done.direct, 'first_s'):>16.0f}"
            f"{_added(done.replies, done.direct, 'end_s'):>14.0f}{sum(r.frames for r in done.replies) / tokens:>14.2f}"
            f"{sum(r.size_bytes for r in done.replies) / tokens:>13.0f}{done.lost:>6}{done.failed:>8}",
            flush=True,
        )
    print("\nCalls during replies, ms (p50 / p99): while all of them begin at once, and while they stream")
    for count in (50, 200):
        chosen = (askers[::2] + askers[1::2])[:count]
        done = stream(pid, port, provider_port, chosen, calls)
        print(f"{count:>4} replies ({done.lost} tokens lost, {done.failed} failed)")
        for name, took in done.beside_streaming.items():
            print(
                f"     {name:<28} beginning {_spread(done.beside_beginning[name])}   streaming {_spread(took)}",
                flush=True,
            )


def _spread(took: list[float]) -> str:
    return f"{sorted(took)[len(took) // 2]:6.1f} / {sorted(took)[int(len(took) * 0.99)]:6.1f}" if took else "none"


def _added(ours: list[Reply], direct: list[Reply], which: str) -> float:
    middle = [sorted(getattr(reply, which) for reply in side)[len(side) // 2] for side in (ours, direct)]
    return float((middle[0] - middle[1]) * 1000)


def report_idle(pid: int, port: int, askers: list[Asker]) -> None:
    tokens = [asker.token for asker in askers[::2] for _ in range(10)]
    change = request_bytes("PATCH", f"/api/v1/chats/{askers[0].chat_id}", askers[0].token, b'{"title": "Another"}')
    each, cpu_ms = listen_idly(pid, port, tokens, change)
    print(
        f"\n{len(tokens)} idle event streams: {each:.1f} KiB each; a change sent to ten takes {cpu_ms:.2f} ms of CPU, including its call."
    )


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
        print(
            f"A page of the chat of 10,000 costs {ratio:.2f} times one of the chat of 50, at {connections} connections."
        )


def _median(figures: list[Figure]) -> Figure:
    return sorted(figures, key=lambda figure: figure.cpu_ms)[len(figures) // 2]


if __name__ == "__main__":
    main()
