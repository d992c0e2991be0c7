"""Measure the side bar of a user with 10,000 chats, a chat opened by a stranger, and uploads."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy.orm import Session

from bench.load import Figure, measure, request_bytes
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import DeviceInfo, User, UserRole
from tertulia.accounts.row_limits import RowLimits
from tertulia.accounts.schemas import ShareCreate
from tertulia.accounts.sessions import SessionLifetime, start_session
from tertulia.chat.schemas import ChatCreate
from tertulia.chat.service import create_chat
from tertulia.chat.shared_chats import create_share
from tertulia.db.opening import plain_engine
from tertulia.ids import ChatId, UserId, new_id
from tertulia.settings import Settings

MANY = 10_000
FILE_MIB = 64
ROUNDS = 3


@dataclass(frozen=True)
class Seeded:
    few: str  # the session token of a user with 50 chats
    many: str  # the session token of a user with 10,000 chats
    share: str  # the token of a public link to the chat of 50 messages


def fill(folder: Path, life: SessionLifetime, chat_id: str) -> Seeded:
    """Add two users, and a public link to the chat."""
    engine = plain_engine(Settings(data=folder))
    device = DeviceInfo(user_agent="bench", platform="", browser="")
    tokens = []
    with Session(engine) as session:
        for name, count in (("few", 50), ("many", MANY)):
            actor = Actor(UserId(new_id()), UserRole.USER)
            session.add(User(id=actor.user_id, username=name, username_key=name, name=name))
            session.flush()
            for number in range(count):
                create_chat(session, ChatCreate(title=f"Chat {number}"), RowLimits(), owner_id=actor.user_id)
            tokens.append(start_session(session, actor.user_id, life=life, device=device))
        owner = session.query(User).filter(User.username == "bench").one()
        share = create_share(session, Actor(UserId(owner.id), UserRole.USER), ChatId(chat_id), ShareCreate())
        session.commit()
    engine.dispose()
    return Seeded(tokens[0], tokens[1], share["token"] or "")


def calls(seeded: Seeded, own_page: bytes) -> dict[str, bytes]:
    return {
        "side bar, 50 chats": request_bytes("GET", "/api/v1/chats", seeded.few),
        "side bar, 10,000 chats": request_bytes("GET", "/api/v1/chats", seeded.many),
        "own page of 50 messages": own_page,
        "a stranger opens the chat": request_bytes("GET", f"/api/v1/shared/{seeded.share}", ""),
        "a stranger reads its page": request_bytes("GET", f"/api/v1/shared/{seeded.share}/messages", ""),
    }


def measure_calls(pid: int, port: int, wanted: dict[str, bytes]) -> dict[str, Figure]:
    """Measure with one client. Strangers' requests are limited per minute, so only few are timed."""
    return {
        name: measure(pid, port, request, connections=1, seconds=0.4 if "stranger" in name else 2.0)
        for name, request in wanted.items()
    }


def measure_uploads(port: int, token: str, folder: Path) -> list[tuple[float, float]]:
    """Return the seconds to write and sync a file of 64 MiB, and to upload it, measured alternately."""
    took = []
    for number in range(ROUNDS):
        content = os.urandom(FILE_MIB * 2**20 // 2).hex().encode()
        began = time.perf_counter()
        path = folder / f"bare-{number}"
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        bare = time.perf_counter() - began
        path.unlink()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            began = time.perf_counter()
            answer = client.post(
                "/api/v1/attachments",
                files={"file": ("big.txt", content)},
                headers={"X-Tertulia": "1", "Cookie": f"tertulia_session={token}"},
            )
            took.append((bare, time.perf_counter() - began))
            answer.raise_for_status()
    return took
