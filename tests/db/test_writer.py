"""Tests for the SQLite writer: acknowledged writes are stored, and a failing unit harms no other."""

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.orm import Session

from tertulia.accounts.models import User
from tertulia.chat.models import Chat
from tertulia.db import wake
from tertulia.db.sqlite import SqliteDatabase
from tertulia.errors import StorageUnavailable
from tertulia.ids import new_id
from tests.factories.accounts import make_user


@pytest.fixture
def path(tmp_path: Path, sqlite_template: Path) -> Path:
    target = tmp_path / "tertulia.db"
    shutil.copy(sqlite_template, target)
    return target


def run(path: Path, scenario: Callable[[SqliteDatabase], Any]) -> Any:
    async def main() -> Any:
        db = SqliteDatabase(path)
        await db.start()
        try:
            return await scenario(db)
        finally:
            await db.close()

    return asyncio.run(main())


async def gathered(db: SqliteDatabase, works: list[Callable[[Session], Any]]) -> list[Any]:
    """Hold the writer until all units are queued, so that they run as one batch."""
    free = threading.Event()
    held = asyncio.create_task(db.write(lambda session: free.wait(5)))
    await asyncio.sleep(0.05)
    waiting = [asyncio.create_task(db.write(work)) for work in works]
    await asyncio.sleep(0.05)
    free.set()
    await held
    return await asyncio.gather(*waiting, return_exceptions=True)


def names(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT username FROM user ORDER BY username")]


def add(username: str) -> Callable[[Session], str]:
    def work(session: Session) -> str:
        make_user(session, username=username)
        return username

    return work


def test_a_failing_unit_harms_no_other_in_its_batch(path: Path) -> None:
    def fail(session: Session) -> None:
        make_user(session, username="never")
        raise ValueError("no")

    works = [add(f"u{n:02}") for n in range(63)]
    results = run(path, lambda db: gathered(db, [*works[:31], fail, *works[31:]]))
    assert isinstance(results[31], ValueError)
    assert [r for r in results if not isinstance(r, Exception)] == [f"u{n:02}" for n in range(63)]
    assert names(path) == [f"u{n:02}" for n in range(63)]


def test_a_unit_that_breaks_the_commit_fails_alone(path: Path) -> None:
    """Use a deferred key: it is checked at the COMMIT of the batch, which it could make fail."""

    def dangle(session: Session) -> None:
        owner = make_user(session, username="dangling")
        session.add(Chat(user_id=owner.user_id, head_message_id=new_id()))

    works = [add(f"u{n:02}") for n in range(63)]
    results = run(path, lambda db: gathered(db, [*works[:40], dangle, *works[40:]]))
    assert isinstance(results[40], exc.IntegrityError)
    assert names(path) == [f"u{n:02}" for n in range(63)]


def test_on_a_full_disk_only_stored_units_are_acknowledged(path: Path) -> None:
    def fill(session: Session) -> None:
        pages = session.connection().exec_driver_sql("PRAGMA page_count").scalar()
        session.connection().exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        session.connection().exec_driver_sql("CREATE TABLE filler (x)")
        session.connection().exec_driver_sql("INSERT INTO filler VALUES (zeroblob(10000000))")

    works = [add(f"u{n:02}") for n in range(63)]
    results = run(path, lambda db: gathered(db, [*works[:31], fill, *works[31:]]))
    assert isinstance(results[31], StorageUnavailable)
    acknowledged = [r for r in results if isinstance(r, str)]
    refused = [r for r in results if not isinstance(r, str)]
    assert sorted(acknowledged) == names(path)
    assert all(isinstance(r, StorageUnavailable) for r in refused)


def test_concurrent_read_modify_writes_lose_no_update(path: Path) -> None:
    def count(session: Session) -> None:
        user = session.scalars(sa.select(User).where(User.username == "counter")).one()
        user.name = str(int(user.name) + 1)

    async def scenario(db: SqliteDatabase) -> None:
        await db.write(lambda session: make_user(session, username="counter", name="0") and None)
        await asyncio.gather(*(db.write(count) for _ in range(200)))

    run(path, scenario)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM user").fetchone() == ("200",)


def test_readers_see_committed_data_and_cannot_write(path: Path) -> None:
    async def scenario(db: SqliteDatabase) -> tuple[Any, Any]:
        await db.write(add("ana"))
        seen = await db.read(lambda session: session.scalar(sa.select(sa.func.count()).select_from(User)))
        with pytest.raises(StorageUnavailable):
            await db.read(lambda session: session.execute(sa.delete(User)))
        return seen, None

    assert run(path, scenario)[0] == 1
    assert names(path) == ["ana"]


def test_signals_are_sent_only_after_the_commit(path: Path) -> None:
    async def scenario(db: SqliteDatabase) -> list[str]:
        signals: list[str] = []
        db.on_wake(lambda signal: signals.append(f"{signal} {len(names(path))}"))

        def tell(session: Session) -> None:
            make_user(session, username="ana")
            wake(session, "changes")

        def tell_and_fail(session: Session) -> None:
            wake(session, "never")
            raise ValueError

        await gathered(db, [tell, tell_and_fail])
        return signals

    assert run(path, scenario) == ["changes 1"]


def test_cancelling_the_caller_does_not_undo_its_write(path: Path) -> None:
    async def scenario(db: SqliteDatabase) -> None:
        free = threading.Event()
        held = asyncio.create_task(db.write(lambda session: free.wait(5)))
        cancelled = asyncio.create_task(db.write(add("ana")))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        free.set()
        await held
        await asyncio.gather(cancelled, return_exceptions=True)

    run(path, scenario)
    assert names(path) == ["ana"]


def test_writer_and_reader_connections_have_their_pragmas(path: Path) -> None:
    async def scenario(db: SqliteDatabase) -> tuple[dict[str, Any], dict[str, Any]]:
        def pragmas(session: Session) -> dict[str, Any]:
            wanted = (
                "journal_mode",
                "foreign_keys",
                "synchronous",
                "temp_store",
                "query_only",
                "busy_timeout",
            )
            return {n: session.connection().exec_driver_sql(f"PRAGMA {n}").scalar() for n in wanted}

        return await db.write(pragmas), await db.read(pragmas)

    writer, reader = run(path, scenario)
    common = {"journal_mode": "wal", "foreign_keys": 1, "temp_store": 2, "busy_timeout": 5000}
    assert writer == common | {"synchronous": 2, "query_only": 0}
    assert reader == common | {"synchronous": 1, "query_only": 1}
