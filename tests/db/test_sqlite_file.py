"""Test that a damaged SQLite file or a foreign log is found, at the start and by `tertulia db check`."""

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.db import sqlite_file
from tertulia.db.sqlite import SqliteDatabase
from tertulia.db.sqlite_file import DatabaseDamaged, find_changed_pages, has_checksums, require_sound, write_checksums
from tests.fakes.process import Process, run_cli

ROWS = 400


def _insert(session: Session, values: dict[str, str]) -> None:
    session.execute(sa.text("INSERT INTO t VALUES (:a, :b)"), values)


async def _fill(path: Path) -> None:
    db = SqliteDatabase(path)
    await db.start()
    try:
        await db.write(lambda session: session.execute(sa.text("CREATE TABLE IF NOT EXISTS t (a TEXT, b TEXT)")))
        for number in range(ROWS):
            values = {"a": f"{number}", "b": "words " * (number % 50)}
            await db.write(_insert, values)
    finally:
        await db.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "own.db"
    asyncio.run(_fill(path))
    return path


def flip(path: Path, place: int) -> None:
    """Flip one bit of the file."""
    with path.open("r+b") as file:
        file.seek(place // 8)
        byte = file.read(1)[0]
        file.seek(place // 8)
        file.write(bytes([byte ^ (1 << place % 8)]))


def test_every_single_flipped_bit_is_found(path: Path) -> None:
    chance = random.Random(14)
    bits = path.stat().st_size * 8
    for _ in range(300):
        place = chance.randrange(bits)
        flip(path, place)
        assert find_changed_pages(path) == [place // 8 // 4096 + 1]
        with pytest.raises(DatabaseDamaged):
            require_sound(path, checks_pages=True)
        flip(path, place)
    assert find_changed_pages(path) == []


@pytest.mark.parametrize(("spare", "is_checked"), [(0, True), (-1, False)])
def test_pages_are_checked_at_the_start_up_to_a_size(
    path: Path, monkeypatch: pytest.MonkeyPatch, spare: int, is_checked: bool
) -> None:
    flip(path, (path.stat().st_size - 100) * 8)
    monkeypatch.setattr(sqlite_file, "CHECKED_AT_START_BYTES", path.stat().st_size + spare)
    if is_checked:
        with pytest.raises(DatabaseDamaged):
            require_sound(path, checks_pages=True)
    else:
        require_sound(path, checks_pages=True)
    require_sound(path)


def test_a_damaged_file_is_refused_before_anything_is_written(path: Path) -> None:
    flip(path, path.stat().st_size * 4)
    before = path.read_bytes()
    with pytest.raises(DatabaseDamaged, match="tertulia restore"):
        asyncio.run(_fill(path))
    assert path.read_bytes() == before


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4096])


def _overwrite(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def _break_schema(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:110] = b"\xff" * 10
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_cut, _overwrite, _break_schema])
def test_damage_is_found_without_checksums_too(path: Path, damage: Callable[[Path], None]) -> None:
    path.with_name(f"{path.name}-checksums").unlink()
    damage(path)
    with pytest.raises(DatabaseDamaged):
        require_sound(path)


def log_of_another(tmp_path: Path) -> Path:
    """Return a log with committed pages of another database."""
    other = tmp_path / "other.db"
    asyncio.run(_fill(other))
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        for _ in range(ROWS):
            connection.execute("INSERT INTO t VALUES (?, ?)", ("other", "x" * 1000))
        connection.commit()
        return Path(shutil.copy(tmp_path / "other.db-wal", tmp_path / "copy-wal"))


@pytest.mark.parametrize("closed_cleanly", [True, False])
def test_the_log_of_another_database_is_refused(path: Path, tmp_path: Path, closed_cleanly: bool) -> None:
    shutil.copy(log_of_another(tmp_path), f"{path}-wal")
    if not closed_cleanly:
        path.with_name(f"{path.name}-checksums").unlink()
    before = path.read_bytes()
    with pytest.raises(DatabaseDamaged, match=r"own\.db-wal belongs to another database"):
        asyncio.run(_fill(path))
    assert path.read_bytes() == before


def test_a_log_that_sqlite_ignores_is_accepted(path: Path) -> None:
    path.with_name(f"{path.name}-checksums").unlink()
    Path(f"{path}-wal").write_bytes(b"rubbish" * 1000)
    asyncio.run(_fill(path))


def crash_of(path: Path) -> Path:
    """Return a copy of the database with committed rows that are only in its log."""
    crashed = path.with_name("crashed.db")
    path.with_name(f"{path.name}-checksums").unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        for _ in range(ROWS):
            connection.execute("INSERT INTO t VALUES ('new', ?)", ("x" * 1000,))
        connection.commit()
        shutil.copy(path, crashed)
        shutil.copy(f"{path}-wal", f"{crashed}-wal")
    return crashed


def test_its_own_log_is_read_after_a_crash(path: Path) -> None:
    crashed = crash_of(path)
    require_sound(crashed, checks_pages=True)
    asyncio.run(_fill(crashed))
    with closing(sqlite3.connect(crashed)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (3 * ROWS,)


def test_a_file_in_the_middle_of_a_checkpoint_is_sound(path: Path) -> None:
    """Copy only the first page of the log into the file, as a crash within a checkpoint can leave it."""
    crashed = crash_of(path)
    log = Path(f"{crashed}-wal").read_bytes()
    frames = [log[at : at + 24 + 4096] for at in range(32, len(log), 24 + 4096)]
    first_page = next(frame[24:] for frame in reversed(frames) if frame[:4] == b"\x00\x00\x00\x01")
    with crashed.open("r+b") as file:
        file.write(first_page)
    require_sound(crashed, checks_pages=True)
    asyncio.run(_fill(crashed))


def test_an_empty_or_missing_file_is_no_new_database(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(DatabaseDamaged, match="missing or empty"):
        asyncio.run(_fill(path))
    path.unlink()
    with pytest.raises(DatabaseDamaged, match="missing or empty"):
        asyncio.run(_fill(path))


def test_an_intact_copy_may_take_the_place_of_the_file(path: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(path, tmp_path / "copy.db"))
    asyncio.run(_fill(path))
    copy.rename(path)
    require_sound(path, checks_pages=True)
    asyncio.run(_fill(path))


@pytest.mark.parametrize("name", ["50%41.db", "c#50.db", "a b?c.db"])
def test_special_characters_in_the_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    asyncio.run(_fill(path))
    require_sound(path, checks_pages=True)
    assert sorted(item.name for item in tmp_path.iterdir()) == [name, f"{name}-checksums"]


def test_checksums_exist_only_while_nothing_writes(path: Path) -> None:
    assert has_checksums(path)

    async def look() -> bool:
        db = SqliteDatabase(path)
        await db.start()
        try:
            return has_checksums(path)
        finally:
            await db.close()

    assert asyncio.run(look()) is False
    assert has_checksums(path)


COMMANDS = [
    ("serve",),
    ("db", "upgrade"),
    ("db", "check"),
    ("backup", "/nowhere/all.zip"),
    ("user", "deactivate", "ada"),
    ("keys", "rotate"),
]


def test_every_command_says_in_one_sentence_that_the_file_is_damaged(tmp_path: Path) -> None:
    process = Process(tmp_path)
    assert process.url
    assert process.terminate() == 0
    database = tmp_path / "tertulia.db"
    assert run_cli(process.environment, "db", "check").returncode == 0
    # In the free space of a page, so that the server can work with it once the operator accepts it.
    flip(database, (database.read_bytes().index(bytes(300), 8192) + 100) * 8)
    before = database.read_bytes()
    for command in COMMANDS:
        answer = run_cli(process.environment, *command)
        said = answer.stderr + answer.stdout
        assert (answer.returncode != 0, "Traceback" in said) == (True, False), (command, said)
        if command[0] != "backup":  # it only reads, and finds that its target does not exist
            assert "pages changed after it was closed" in said, command
        assert database.read_bytes() == before
    assert run_cli(process.environment, "db", "accept").returncode == 0
    again = Process(tmp_path)
    assert again.url
    assert again.terminate() == 0, again.text


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    process = Process(tmp_path)
    assert process.url
    assert process.terminate() == 0
    database = tmp_path / "tertulia.db"
    for content in (b"rubbish" * 5000, database.read_bytes()[:100] + b"\xff" * 40_000):
        database.write_bytes(content)
        for command in COMMANDS:
            answer = run_cli(process.environment, *command)
            said = answer.stderr + answer.stdout
            assert (answer.returncode != 0, "Traceback" in said) == (True, False), (command, said)
            assert command[0] == "backup" or "tertulia restore" in said, command
            assert database.read_bytes() == content


@pytest.mark.parametrize("missing", [1, 4096])
def test_a_file_that_lost_its_end_is_refused_without_checksums(path: Path, missing: int) -> None:
    for checksums in path.parent.glob("*checksums*"):
        checksums.unlink()
    require_sound(path)
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(DatabaseDamaged, match="shorter than it should be"):
        require_sound(path)


def test_an_empty_or_missing_file_gets_no_checksums(tmp_path: Path) -> None:
    path = tmp_path / "tertulia.db"
    write_checksums(path)
    assert list(tmp_path.iterdir()) == []
    path.touch()
    write_checksums(path)
    assert list(tmp_path.iterdir()) == [path]
