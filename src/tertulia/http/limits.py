"""Limit how often something may be tried, in a sliding window held in the memory of this process."""

import time
from collections import OrderedDict, deque
from dataclasses import dataclass

from tertulia.errors import TooMany

MAX_KEYS = 10_000


class TooManyAttempts(TooMany):
    code = "too_many_tries"


@dataclass(frozen=True)
class RateLimit:
    """At most `tries` in `window_s` seconds for each key."""

    name: str
    tries: int
    window_s: float


class RateLimits:
    """The tries of one app. Of each limit, the keys that were used longest ago are dropped beyond `MAX_KEYS`."""

    def __init__(self) -> None:
        self._seen: dict[RateLimit, OrderedDict[str, deque[float]]] = {}

    def take(self, limit: RateLimit, key: str) -> None:
        """Count one try. Raises TooManyAttempts with the seconds to wait if none is left."""
        now = time.monotonic()
        keys = self._seen.setdefault(limit, OrderedDict())
        moments = keys.setdefault(key, deque())
        keys.move_to_end(key)
        while len(keys) > MAX_KEYS:
            keys.popitem(last=False)
        while moments and now - moments[0] >= limit.window_s:
            moments.popleft()
        if len(moments) >= limit.tries:
            wait = int(limit.window_s - (now - moments[0])) + 1
            raise TooManyAttempts(f"Too many tries. Wait {wait} seconds, then try again.", retry_after_s=wait)
        moments.append(now)
