"""Measure saving, opening, comparing and merging drafts of 100 kB, and the disk size of 1,000 versions."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User, UserRole
from tertulia.accounts.row_limits import RowLimits
from tertulia.db.migrate import upgrade_schema
from tertulia.db.opening import plain_engine
from tertulia.drafts.models import DraftVersion
from tertulia.drafts.schemas import DraftCreate, VersionCreate
from tertulia.drafts.service import create_draft, create_version, get_draft, list_versions
from tertulia.drafts.text import changes_between, merge_texts
from tertulia.ids import DraftId, UserId, new_id
from tertulia.settings import Settings

LENGTH = 100_000
TIMES = 40


@dataclass(frozen=True)
class Measured:
    save_ms: list[float]
    open_few_ms: list[float]  # with 10 versions
    open_many_ms: list[float]  # with 1,000
    diff_ms: list[float]
    merge_ms: list[float]
    disk_bytes: int  # of the packed contents and spans of 1,000 versions
    text_bytes: int


def measure(folder: Path) -> Measured:
    settings = Settings(data=folder)
    upgrade_schema(settings, now=clock.now())
    engine = plain_engine(settings)
    actor = Actor(UserId(new_id()), UserRole.USER)
    chance = random.Random(1)  # noqa: S311 - the same texts in each run
    with Session(engine) as session:
        session.add(User(id=actor.user_id, username="bench", username_key="bench", name="Bench"))
        session.commit()
    text = _text(chance)
    few, _, _ = _draft(engine, actor, text, 10, chance)
    many, last, saved = _draft(engine, actor, text, 1000, chance)
    with Session(engine) as session:
        disk = session.execute(
            sa.select(
                sa.func.sum(sa.func.length(DraftVersion.content)), sa.func.sum(sa.func.length(DraftVersion.authorship))
            ).where(DraftVersion.draft_id == many)
        ).one()

        def opened(draft_id: DraftId) -> None:
            get_draft(session, actor, draft_id)
            list_versions(session, actor, draft_id, limit=50)

        mine, theirs = _edited(text, chance), _edited(text, chance)
        measured = Measured(
            saved[-TIMES:],
            _timed(lambda: opened(few)),
            _timed(lambda: opened(many)),
            _timed(lambda: changes_between(text, last)),
            _timed(lambda: merge_texts(text, mine, theirs)),
            disk[0] + disk[1],
            len(last.encode()),
        )
    engine.dispose()
    return measured


def _draft(
    engine: sa.Engine, actor: Actor, text: str, versions: int, chance: random.Random
) -> tuple[DraftId, str, list[float]]:
    with Session(engine) as session:
        draft_id = DraftId(create_draft(session, actor, DraftCreate(title="Bench", content=text), RowLimits())["id"])
        session.commit()
    took = []
    for number in range(1, versions):
        text = _edited(text, chance)
        began = time.perf_counter()
        with Session(engine) as session:
            create_version(session, actor, draft_id, VersionCreate(content=text, parent_version_number=number))
            session.commit()
        took.append((time.perf_counter() - began) * 1000)
    return draft_id, text, took


def _text(chance: random.Random) -> str:
    vocabulary = [f"word{number}" for number in range(4000)]
    paragraphs, length = [], 0
    while length < LENGTH:
        paragraphs.append(" ".join(chance.choices(vocabulary, k=60)))
        length += len(paragraphs[-1]) + 2
    return "\n\n".join(paragraphs)[:LENGTH]


def _edited(text: str, chance: random.Random) -> str:
    """Make three small changes, as between two saves."""
    for _ in range(3):
        at = chance.randrange(len(text))
        text = f"{text[:at]} a few new words {text[at + chance.randrange(20) :]}"
    return text[: LENGTH + 50_000]


def _timed(work: Callable[[], object]) -> list[float]:
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return took
