"""Measure what money costs: a reservation with its settlement, webhooks, and the usage page over a long ledger."""

import asyncio
import base64
import hashlib
import hmac
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import orjson
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import DeviceInfo, User, UserRole
from tertulia.accounts.row_limits import RowLimits
from tertulia.accounts.sessions import SessionLifetime, start_session
from tertulia.billing.ledger import Reason, RequestUsage, record_usage, reserve_request
from tertulia.billing.limits import Need, Payer
from tertulia.billing.models import QuotaSubject, QuotaWindow
from tertulia.billing.quotas import ChatOwnership, create_quota
from tertulia.billing.schemas import QuotaCreate
from tertulia.chat.schemas import ChatCreate
from tertulia.chat.service import create_chat, lock_accounts
from tertulia.db import Database
from tertulia.db.migrate import migrate_to, upgrade_schema
from tertulia.db.opening import open_database, plain_engine
from tertulia.ids import UserId, new_id
from tertulia.settings import Settings

TIMES = 300
LEDGER_ROWS = 10_000_000
BEFORE_SUMS = "0018"  # the schema whose ledger has no sums, so that the upgrade makes them
PAYERS = 500
MODELS = 12
CHATS = 200  # of a payer
BURST = 20  # requests that a payer makes to a model one after another
DELIVERIES = 3000
SENDERS = 16
SECRET = b"s" * 32
PAGE = (
    "/usage?group_by=day",
    "/usage?group_by=provider,model",
    "/usage?group_by=chat",
    "/usage?group_by=tool",
    "/usage?group_by=token",
    "/usage?group_by=project",
)
EVERYBODY = (
    "/usage?of=everyone&group_by=day",
    "/usage?of=everyone&group_by=provider,model",
    "/usage?of=everyone&group_by=user",
    "/usage?of=everyone&group_by=project",
)


@dataclass(frozen=True)
class Reserving:
    """Milliseconds of a transaction that records a request: without reserving, with it, and with three quotas."""

    bare_ms: list[float]
    reserved_ms: list[float]
    limited_ms: list[float]


def measure_reserving(folder: Path) -> Reserving:
    """Measure alternately on the server's own writer: first only the record of the usage, then with its reservation."""
    return asyncio.run(_measure_reserving(Settings(data=folder)))


async def _measure_reserving(settings: Settings) -> Reserving:
    upgrade_schema(settings, now=clock.now())
    db = open_database(settings)
    await db.start()
    free, limited = [await db.write(_payer, f"payer{number}") for number in range(2)]
    await db.write(_limit, limited)
    took = Reserving([], [], [])
    for _ in range(TIMES):
        took.bare_ms.append(await _record(db, free, reserves=False))
        took.reserved_ms.append(await _record(db, free, reserves=True))
        took.limited_ms.append(await _record(db, limited, reserves=True))
    await db.close()
    return took


def _payer(session: Session, name: str) -> Payer:
    user_id = new_id()
    session.add(User(id=user_id, username=name, username_key=name, name=name))
    session.flush()
    chat = create_chat(session, ChatCreate(title=name), RowLimits(), owner_id=user_id)
    return Payer(user_id, chat["id"])


def _limit(session: Session, payer: Payer) -> None:
    owner = Actor(UserId(payer.user_id), UserRole.USER, session_id=new_id())
    for window in (QuotaWindow.HOUR, QuotaWindow.DAY, QuotaWindow.MONTH):
        quota = QuotaCreate(
            subject_kind=QuotaSubject.USER, subject_id=payer.user_id, window=window, max_cost=Decimal(100_000)
        )
        create_quota(session, owner, quota, ChatOwnership(lambda _session, _actor, _chat_id: True))


async def _record(db: Database, payer: Payer, *, reserves: bool) -> float:
    """Return the milliseconds of the transactions of a request without their commits, which both kinds have."""
    used = RequestUsage("openai", "gpt-4o", 1000, 300, 0, is_estimated=False, cost=Decimal("0.0055"))
    need = Need(1100, 1024, price=lambda tokens, answer: Decimal(tokens * 25 + answer * 100) / 10_000_000)

    def reserve(session: Session) -> tuple[float, str]:
        lock_accounts(session, str(payer.chat_id), payer.user_id)
        began = time.perf_counter()
        granted = reserve_request(
            session, payer, Reason(), need, provider="openai", model_name="gpt-4o", longest_answer=4096
        )
        session.flush()
        return time.perf_counter() - began, granted.reservation_id

    def record(session: Session, reservation_id: str | None) -> float:
        lock_accounts(session, str(payer.chat_id), payer.user_id)
        began = time.perf_counter()
        record_usage(session, used, payer, Reason(), reservation_id=reservation_id)
        session.flush()
        return time.perf_counter() - began

    took, reservation_id = await db.write(reserve) if reserves else (0.0, None)
    return (took + await db.write(record, reservation_id)) * 1000


# ---- webhooks


def webhook_environment() -> dict[str, str]:
    return {"TERTULIA_POLAR_WEBHOOK_SECRETS": "whsec_" + base64.b64encode(SECRET).decode()}


def send_webhooks(port: int) -> tuple[float, float]:
    """Return how many deliveries a second were stored and answered, and the slowest answer in seconds."""
    requests = [_delivery(number) for number in range(DELIVERIES)]
    slowest = 0.0

    async def send(mine: list[bytes]) -> None:
        nonlocal slowest
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in mine:
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
            await reader.readexactly(length)
            if b" 20" not in head[:15]:
                raise RuntimeError(head.decode())
            slowest = max(slowest, time.perf_counter() - began)
        writer.close()

    async def main() -> float:
        began = time.perf_counter()
        await asyncio.gather(*(send(requests[start::SENDERS]) for start in range(SENDERS)))
        return DELIVERIES / (time.perf_counter() - began)

    return asyncio.run(main()), slowest


def _delivery(number: int) -> bytes:
    body = orjson.dumps(
        {
            "type": "order.updated",
            "timestamp": "2026-11-01T00:00:00Z",
            "data": {"id": f"order_{number}", "customer": {"id": f"customer_{number % 100}"}, "status": "paid"},
        }
    )
    sender_id, moment = f"msg_{number}", str(int(time.time()))
    signed = f"{sender_id}.{moment}.".encode() + body
    signature = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    head = (
        "POST /api/v1/webhooks/polar HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"webhook-id: {sender_id}\r\nwebhook-timestamp: {moment}\r\nwebhook-signature: v1,{signature}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


# ---- the usage page


def fill_ledger(folder: Path) -> tuple[str, float]:
    """Fill a year of usage by many payers, and add it up. Return an administrator's token and the upgrade's seconds."""
    settings = Settings(data=folder)
    migrate_to(settings, BEFORE_SUMS)
    payers = [new_id() for _ in range(PAYERS)]
    with closing(sqlite3.connect(folder / "tertulia.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -500000")
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'usage_log' AND type = 'index' AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in indexes:  # they are made again when all rows are there, which is faster
            connection.execute(f'DROP INDEX "{name}"')
        connection.execute("BEGIN")
        now = int(time.time() * 1_000_000)
        connection.executemany(
            "INSERT INTO user (id, username, username_key, name, role, status, email_verified, preferences, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, 'active', 0, '{}', ?, ?)",
            [
                (_stored(payer), f"p{number}", f"p{number}", "P", "user" if number else "admin", now, now)
                for number, payer in enumerate(payers)
            ],
        )
        connection.executemany(
            "INSERT INTO usage_log (id, user_id, chat_id, kind, status, provider, model_name, input_tokens, output_tokens,"
            " cached_tokens, is_estimated, cost, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, 'settled', ?, ?, ?, ?, 0, 0, ?, ?, ?)",
            _entries([_stored(payer) for payer in payers], now),
        )
        connection.execute("COMMIT")
        for _, statement in indexes:
            connection.execute(statement)
    began = time.perf_counter()
    upgrade_schema(settings, now=clock.now())
    took = time.perf_counter() - began
    engine = plain_engine(settings)
    with Session(engine) as session:
        life = SessionLifetime(timedelta(days=7), timedelta(days=30))
        token = start_session(
            session, UserId(payers[0]), life=life, device=DeviceInfo(user_agent="bench", platform="", browser="")
        )
        session.commit()
    engine.dispose()
    return token, took


def _stored(id_: str) -> bytes:
    return bytes.fromhex(id_.replace("-", ""))


def _entries(payers: list[bytes], now: int) -> Iterator[tuple[object, ...]]:
    chance = random.Random(5)  # noqa: S311 - the same ledger in each run
    payer, chat, model = payers[0], b"", ""
    step = 365 * 86_400_000_000 // LEDGER_ROWS
    for number in range(LEDGER_ROWS):
        if number % BURST == 0:
            number_of_payer = chance.randrange(PAYERS)
            payer, model = payers[number_of_payer], f"model-{chance.randrange(MODELS)}"
            chat = (1 + number_of_payer * CHATS + chance.randrange(CHATS)).to_bytes(16)
        moment = now - (LEDGER_ROWS - number) * step
        tokens = chance.randrange(100, 4000)
        is_tool = number % 10 == 0
        yield (
            number.to_bytes(16),
            payer,
            chat,
            "tool" if is_tool else "model",
            "tools" if is_tool else "openai",
            "fetch_page" if is_tool else model,
            0 if is_tool else tokens,
            0 if is_tool else tokens // 3,
            tokens * 5,
            moment,
            moment,
        )
