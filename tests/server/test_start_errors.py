"""Tests that a database that cannot be used is one sentence and exit code 1, at start and in these commands."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.process import Process, run_cli

COMMANDS = [("serve",), ("db", "check"), ("db", "upgrade"), ("user", "create", "ada"), ("keys", "rotate")]


@pytest.fixture
def locked_environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Yield the environment of a folder whose SQLite file another program holds locked."""
    environment = Process.environment_for(tmp_path)
    assert run_cli(environment, "db", "upgrade").returncode == 0
    with closing(sqlite3.connect(tmp_path / "tertulia.db", isolation_level=None)) as other_program:
        other_program.execute("PRAGMA locking_mode = EXCLUSIVE")
        other_program.execute("BEGIN EXCLUSIVE")
        yield environment


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_locked_sqlite_file_is_one_sentence(locked_environment: dict[str, str], command: tuple[str, ...]) -> None:
    result = run_cli(locked_environment, *command, stdin="another long password\n")
    assert (result.returncode, len(result.stderr.strip().splitlines())) == (1, 1), result.stderr
    assert result.stderr.startswith("The database is locked by another program.")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_postgresql_that_is_down_is_one_sentence(tmp_path: Path, command: tuple[str, ...]) -> None:
    # Port 1 is reserved: nothing listens on it.
    environment = Process.environment_for(tmp_path) | {
        "TERTULIA_DATABASE_URL": "postgresql://tertulia:secret@127.0.0.1:1/tertulia"
    }
    result = run_cli(environment, *command, stdin="another long password\n")
    assert (result.returncode, len(result.stderr.strip().splitlines())) == (1, 1), result.stderr
    assert result.stderr.startswith("The database cannot be reached: ")
    assert "secret" not in result.stderr
