"""A few kills at random moments on each engine; kills.py has the script, which runs more of them on its own."""

from pathlib import Path

import pytest

from tests.faults.kills import Report, kill_many_times
from tests.transfer.test_backup import NewInstance, new_instance  # noqa: F401 - a fixture

ROUNDS = 4


def test_killed_a_few_times_on_sqlite_it_loses_nothing(tmp_path: Path) -> None:
    check(kill_many_times(tmp_path, rounds=ROUNDS))


def test_of_two_processes_on_postgresql_killed_a_few_times_nothing_is_lost(
    tmp_path: Path,
    new_instance: NewInstance,  # noqa: F811
) -> None:
    url = new_instance("postgresql").database_url
    check(kill_many_times(tmp_path, rounds=ROUNDS, database_url=url))


def check(report: Report) -> None:
    assert report.faults == []
    assert report.rounds == ROUNDS
    assert report.acknowledged > ROUNDS
    assert report.drafts >= ROUNDS // 2  # some kills come before there is one
    if report.interrupted == 0:
        pytest.fail("no kill met a reply: the test shows nothing")
