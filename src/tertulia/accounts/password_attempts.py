"""Limit wrong passwords by account and network, so that attempts of others never keep the owner out."""

import time
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import ip_network

from tertulia.errors import TooMany

FREE_ATTEMPTS = 5
FIRST_DELAY_S = 60.0
MAX_DELAY_S = 3600.0
FORGET_AFTER_S = 24 * 3600.0
MAX_KEYS = 50_000


class TooManyPasswords(TooMany):
    code = "too_many_tries"

    def __init__(self, wait_s: int) -> None:
        super().__init__(
            f"Too many wrong passwords from your network or device. Wait {wait_s} seconds, then try again.",
            retry_after_s=wait_s,
        )


@dataclass(slots=True)
class _Attempts:
    count: int = 0
    last_at: float = 0.0


class PasswordAttempts:
    """Attempts of this process by account and source. After five, each further one waits twice as long as the last.

    The source is a network, or a device that signed in to this account before. The attempts of each are counted separately.
    """

    def __init__(self) -> None:
        self._attempts: OrderedDict[tuple[str, str], _Attempts] = OrderedDict()

    def take(self, account: str, source: str) -> None:
        """Count an attempt before the password is compared. Raises TooManyPasswords with the seconds to wait."""
        now = time.monotonic()
        attempts = self._attempts.setdefault((account, source), _Attempts())
        self._attempts.move_to_end((account, source))
        while len(self._attempts) > MAX_KEYS:
            self._attempts.popitem(last=False)
        if now - attempts.last_at > FORGET_AFTER_S:
            attempts.count = 0
        wait = attempts.last_at + _delay_s(attempts.count) - now
        if wait > 0:
            raise TooManyPasswords(int(wait) + 1)
        attempts.count += 1
        attempts.last_at = now

    def succeed(self, account: str, source: str) -> None:
        """Forget the attempts of a source that knew the password."""
        self._attempts.pop((account, source), None)


def _delay_s(count: int) -> float:
    """Return how long the next attempt has to wait after the last: nothing at first, then 60 s, 120 s, … 1 hour."""
    if count < FREE_ATTEMPTS:
        return 0.0
    return min(FIRST_DELAY_S * 2.0 ** min(count - FREE_ATTEMPTS, 10), MAX_DELAY_S)


def network_of(address: str) -> str:
    """Return the /64 network of an IPv6 address, because a household has a whole one. Return others unchanged."""
    try:
        return str(ip_network((address, 64), strict=False)) if ":" in address else address
    except ValueError:
        return address
