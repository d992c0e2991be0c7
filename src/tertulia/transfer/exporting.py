"""Limit how many exports of a user run at the same time in this process."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tertulia.accounts.actor import Actor
from tertulia.transfer.errors import TooManyExports


class Exporting:
    """The exports that run now, counted by user."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._running: Counter[str] = Counter()

    @contextmanager
    def of(self, actor: Actor) -> Iterator[None]:
        """Hold a place for an export. Raises TooManyExports."""
        if self._running[actor.user_id] >= self._at_once:
            raise TooManyExports(self._at_once)
        self._running[actor.user_id] += 1
        try:
            yield
        finally:
            self._running[actor.user_id] -= 1
            if not self._running[actor.user_id]:
                del self._running[actor.user_id]
