"""How often something may be tried: a sliding window in the memory of this process."""

import time
from collections import OrderedDict, deque

from tertulia.errors import TooMany

MAX_KEYS = 10_000


class TooManyTries(TooMany):
    code = "too_many_tries"


class TryLimit:
    """At most `tries` in `window_s` seconds for each key; the oldest keys are forgotten first."""

    def __init__(self, tries: int, window_s: float) -> None:
        self.tries = tries
        self.window_s = window_s
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, key: str) -> None:
        """Count one try. Raises TooManyTries with the time to wait when there is none left."""
        now = time.monotonic()
        moments = self._seen.setdefault(key, deque())
        self._seen.move_to_end(key)
        while len(self._seen) > MAX_KEYS:
            self._seen.popitem(last=False)
        while moments and now - moments[0] >= self.window_s:
            moments.popleft()
        if len(moments) >= self.tries:
            wait = int(self.window_s - (now - moments[0])) + 1
            raise TooManyTries(f"Too many tries. Wait {wait} seconds, then try again.", retry_after_s=wait)
        moments.append(now)
