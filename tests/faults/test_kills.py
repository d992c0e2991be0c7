"""Kill the server a few times on each engine. The script in kills.py runs more rounds."""

from pathlib import Path

import pytest

from tests.faults.kills import Report, kill_many_times
from tests.transfer.test_backup import NewInstance, new_instance  # noqa: F401 - a fixture

ROUNDS = 4


def test_kills_on_sqlite_lose_nothing(tmp_path: Path) -> None:
    check(kill_many_times(tmp_path, rounds=ROUNDS))


def test_kills_of_two_processes_on_postgresql_lose_nothing(
    tmp_path: Path,
    new_instance: NewInstance,  # noqa: F811
) -> None:
    url = new_instance("postgresql").database_url
    check(kill_many_times(tmp_path, rounds=ROUNDS, database_url=url))


def check(report: Report) -> None:
    assert report.faults == []
    assert report.rounds == ROUNDS
    assert report.acknowledged > ROUNDS
    assert report.drafts >= ROUNDS // 2  # some kills come before a draft exists
    if report.interrupted == 0:
        pytest.fail("no kill interrupted a reply, so the test proves nothing")
