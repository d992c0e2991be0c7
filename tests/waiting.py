"""Wait for a condition or an event, and fail when it takes too long."""

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.fakes.live_server import Client, parse_events


def until(
    condition: Callable[[], object], seconds: float = 30, say: Callable[[], str] = lambda: "the condition was not met"
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, say()
        time.sleep(0.01)


class Listener:
    """Collects the events of a stream in a thread."""

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
        except Exception:  # some tests end by stopping the server
            pass
        finally:
            self.is_closed.set()

    def wait_for(self, condition: Callable[[], object], seconds: float = 20) -> None:
        until(condition, seconds, lambda: f"not received in time: {self.heard}")

    @property
    def changes(self) -> list[tuple[str, str]]:
        return [(data["entity"], data["operation"]) for _, kind, data in self.heard if kind == "change"]
