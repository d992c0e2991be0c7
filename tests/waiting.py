"""Waiting for what happens by itself: until it is so, and not a moment longer."""

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.fakes.live_server import Client, parse_events


def until(
    condition: Callable[[], object], seconds: float = 10, say: Callable[[], str] = lambda: "it did not happen in time"
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, say()
        time.sleep(0.01)


class Listener:
    """Follows a stream of events in a thread and keeps what it hears."""

    def __init__(self, client: Client, last_event_id: str | None = None, path: str = "/events") -> None:
        self.heard: list[tuple[str | None, str, dict[str, Any]]] = []
        self.is_closed = threading.Event()
        self._client = client
        self._path = path
        self._headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self.wait_for(lambda: any(kind in ("ready", "reload") for _, kind, _ in self.heard))

    def _listen(self) -> None:
        try:
            with self._client.stream("GET", self._path, headers=self._headers) as response:
                for event in parse_events(response):
                    self.heard.append(event)
        except Exception:  # the server going away is how some tests end
            pass
        finally:
            self.is_closed.set()

    def wait_for(self, condition: Callable[[], object], seconds: float = 5) -> None:
        until(condition, seconds, lambda: f"not heard in time: {self.heard}")

    @property
    def changes(self) -> list[tuple[str, str]]:
        return [(data["entity"], data["operation"]) for _, kind, data in self.heard if kind == "change"]
