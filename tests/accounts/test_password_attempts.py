"""Test the delay after wrong passwords, by account and source."""

import pytest

from tertulia.accounts import password_attempts
from tertulia.accounts.password_attempts import FORGET_AFTER_S, PasswordAttempts, TooManyPasswords


class Clock:
    """A clock that tests move."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(password_attempts, "time", clock)
    return clock


def attempts_after(attempts: PasswordAttempts, count: int) -> None:
    for _ in range(count):
        attempts.take("ana", "192.0.2.1")


def test_the_delay_grows_with_each_attempt_up_to_an_hour(clock: Clock) -> None:
    attempts = PasswordAttempts()
    attempts_after(attempts, 5)
    for delay in (60, 120, 240, 480, 960, 1920, 3600, 3600):
        clock.now += delay - 1
        with pytest.raises(TooManyPasswords) as refused:
            attempts.take("ana", "192.0.2.1")
        assert refused.value.retry_after_s == 2
        clock.now += 1
        attempts.take("ana", "192.0.2.1")


def test_attempts_from_other_networks_do_not_count(clock: Clock) -> None:
    attempts = PasswordAttempts()
    attempts_after(attempts, 5)
    attempts.take("ana", "192.0.2.2")
    attempts.take("ben", "192.0.2.1")
    with pytest.raises(TooManyPasswords):
        attempts.take("ana", "192.0.2.1")
    assert clock.now == 1000


def test_the_right_password_and_a_day_clear_the_attempts(clock: Clock) -> None:
    attempts = PasswordAttempts()
    attempts_after(attempts, 5)
    attempts.succeed("ana", "192.0.2.1")
    attempts_after(attempts, 5)
    clock.now += 24 * 3600 + 1
    attempts_after(attempts, 5)


@pytest.mark.parametrize(("passed", "is_forgotten"), [(FORGET_AFTER_S, False), (FORGET_AFTER_S + 1, True)])
def test_attempts_are_forgotten_after_a_day(clock: Clock, passed: float, is_forgotten: bool) -> None:
    attempts = PasswordAttempts()
    attempts_after(attempts, 5)
    clock.now += passed
    attempts_after(attempts, 1)
    if is_forgotten:
        attempts_after(attempts, 4)
    with pytest.raises(TooManyPasswords):
        attempts_after(attempts, 1)


def test_the_oldest_sources_are_forgotten_if_there_are_too_many(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_attempts, "MAX_KEYS", 2)
    attempts = PasswordAttempts()
    attempts_after(attempts, 5)
    attempts.take("ana", "192.0.2.2")
    with pytest.raises(TooManyPasswords):  # two are kept
        attempts_after(attempts, 1)
    attempts.take("ana", "192.0.2.2")
    attempts.take("ana", "192.0.2.3")
    attempts_after(attempts, 5)
