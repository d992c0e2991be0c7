"""Measure search in a million messages, compared with a bare FTS5 query."""

import random
import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User, UserRole
from tertulia.accounts.row_limits import RowLimits
from tertulia.chat.indexing import index_message
from tertulia.chat.models import Message, MessageRole, MessageStatus
from tertulia.chat.parts import TextPart
from tertulia.chat.schemas import ChatCreate
from tertulia.chat.service import create_chat
from tertulia.db import table_of
from tertulia.db.migrate import upgrade_schema
from tertulia.db.opening import plain_engine
from tertulia.ids import UserId, new_id
from tertulia.search.meaning.models import DIMENSIONS, SearchPassage
from tertulia.search.meaning.nearest import Meanings, code_of
from tertulia.search.meaning.passages import newest_document
from tertulia.search.service import Meaning, SearchFilters, search
from tertulia.settings import Settings

MESSAGES = 1_000_000
PASSAGES = 300_000  # of the newest messages, with random vectors
A_CHAT = 1000
COMMON, RARE, EVERY = "table", "zebra", 10_000  # the rare word is in every ten-thousandth message


@dataclass(frozen=True)
class Timed:
    name: str
    ours_ms: list[float]
    bare_ms: list[float]


def fill(folder: Path) -> tuple[Settings, Actor]:
    settings = Settings(data=folder)
    upgrade_schema(settings, now=clock.now())
    chance = random.Random(1)  # noqa: S311 - the same words in each run
    vocabulary = [f"w{number}" for number in range(20_000)] + [COMMON] * 4000
    engine = plain_engine(settings)
    actor = Actor(UserId(new_id()), UserRole.USER)
    with Session(engine) as session:
        session.add(User(id=actor.user_id, username="bench", username_key="bench", name="Bench"))
        session.commit()
    for start in range(0, MESSAGES, A_CHAT):
        with Session(engine) as session:
            chat_id = create_chat(session, ChatCreate(title=f"chat {start}"), RowLimits(), owner_id=actor.user_id)["id"]
            now, rows = clock.now(), []
            for number in range(start, start + A_CHAT):
                words = chance.choices(vocabulary, k=12) + ([RARE] if number % EVERY == 0 else [])
                rows.append(
                    {
                        "id": new_id(),
                        "chat_id": chat_id,
                        "user_id": actor.user_id,
                        "role": MessageRole.USER,
                        "status": MessageStatus.SENT,
                        "previous_message_id": None,
                        "thread_level": 0,
                        "content": " ".join(words),
                        "parts": [TextPart(text=" ".join(words))],
                        "created_at": now,
                        "updated_at": now,
                    }
                )
            session.execute(table_of(Message).insert(), rows)
            for row in rows:
                index_message(
                    session,
                    message_id=str(row["id"]),
                    chat_id=chat_id,
                    owner_id=actor.user_id,
                    role=MessageRole.USER,
                    content=str(row["content"]),
                    created_at=now,
                )
            session.commit()
    fill_passages(engine, actor)
    engine.dispose()
    return settings, actor


def fill_passages(engine: sa.Engine, actor: Actor) -> None:
    chance = random.Random(2)  # noqa: S311 - the same vectors in each run
    with Session(engine) as session:
        newest = newest_document(session)
        for start in range(newest - PASSAGES + 1, newest + 1, 10_000):
            rows = []
            for document_id in range(start, start + 10_000):
                vector = chance.randbytes(DIMENSIONS)
                rows.append(
                    {
                        "document_id": document_id,
                        "owner_id": actor.user_id,
                        "position": 0,
                        "start": 0,
                        "code": code_of(vector),
                        "embedding": vector,
                        "created_at": clock.now(),
                    }
                )
            session.execute(table_of(SearchPassage).insert(), rows)
            session.commit()


@dataclass(frozen=True)
class TimedMeaning:
    first_ms: float  # includes loading the codes
    again_ms: list[float]
    words_ms: list[float]  # the same search by text alone


def measure_meaning(settings: Settings, actor: Actor, times: int = 40) -> TimedMeaning:
    engine = plain_engine(settings, writes=False)
    chance = random.Random(3)  # noqa: S311
    meanings, took, words = Meanings(), [], []
    with Session(engine) as session:
        for _ in range(times):
            meaning = Meaning(chance.randbytes(DIMENSIONS), meanings)
            began = time.perf_counter()
            search(session, actor, RARE, SearchFilters(), meaning=meaning)
            took.append((time.perf_counter() - began) * 1000)
            began = time.perf_counter()
            search(session, actor, RARE, SearchFilters())
            words.append((time.perf_counter() - began) * 1000)
    engine.dispose()
    return TimedMeaning(took[0], took[1:], words)


def measure(settings: Settings, actor: Actor, times: int = 40) -> list[Timed]:
    engine = plain_engine(settings, writes=False)
    results = []
    with Session(engine) as session:
        driver = session.connection().connection.driver_connection
        assert driver is not None
        for name, typed in (
            ("a rare word", RARE),
            ("a common word", COMMON),
            ("two words", f"{COMMON} w17"),
            ("the beginning of words", "w1"),
        ):
            ours, bare = [], []
            match = " AND ".join(f'"{word}"*' for word in typed.split())
            for _ in range(times):
                began = time.perf_counter()
                search(session, actor, typed, SearchFilters())
                ours.append((time.perf_counter() - began) * 1000)
                began = time.perf_counter()
                driver.execute(
                    "SELECT rowid FROM search_index WHERE search_index MATCH ? ORDER BY rowid DESC LIMIT 50",
                    (match,),
                ).fetchall()
                bare.append((time.perf_counter() - began) * 1000)
            results.append(Timed(name, ours, bare))
    engine.dispose()
    return results
