"""The real app on a real port, in a thread of the test, so that streams work."""

import asyncio
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Any

import httpx
import uvicorn

from tertulia.app import create_app
from tertulia.features import Feature
from tertulia.http.protocol import LimitedHeadProtocol
from tertulia.settings import Settings
from tertulia.tools.protocol import Tool
from tests.fakes.closing_server import ClosingServer

HEADERS = {"X-Tertulia": "1"}
# No test uses TLS, and the default context of each client would load all root certificates.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class QuickServer(ClosingServer):
    """A server that checks every 10 ms whether to stop, because it is stopped in a thousand tests."""

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            ticks = (ticks + 1) % 864_000
            await asyncio.sleep(0.01)


class LiveServer:
    def __init__(
        self,
        settings: Settings,
        control_token: str | None = None,
        tools: Sequence[Tool] = (),
        features: Sequence[Feature] = (),
    ) -> None:
        self.settings = settings
        self.app = create_app(settings, control_token=control_token, tools=tools, features=features)
        config = uvicorn.Config(
            self.app,
            host="127.0.0.1",
            port=0,
            http=LimitedHeadProtocol,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = QuickServer(config)
        self._thread = threading.Thread(target=self._run, name="live-server", daemon=True)

    def start(self) -> "LiveServer":
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the server did not start")
            time.sleep(0.005)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        if self._thread.is_alive():
            self.app.state.services.stop()
            self._server.should_exit = True
            self._thread.join(20)
            assert not self._thread.is_alive(), "the server did not stop"

    def call(self, work: Any) -> Any:
        """Run a coroutine on the server's own event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _run(self) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._server.serve())
        finally:
            self._loop.close()


class Client(httpx.Client):
    """A client of the API that sends the same header as the web app."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(
            base_url=f"{url}/api/v1", headers=HEADERS, timeout=30, trust_env=False, verify=_NO_TLS, **options
        )
        self.user: dict[str, Any] = {}

    def api(self, method: str, path: str, *, expect: int = 200, **options: Any) -> Any:
        """Call the API, assert the status, and return the JSON, or None for an empty body."""
        response = self.request(method, path, **options)
        assert response.status_code == expect, f"{method} {path}: {response.status_code} {response.text}"
        return response.json() if response.content else None

    def chat(self, **fields: Any) -> dict[str, Any]:
        created: dict[str, Any] = self.api("POST", "/chats", json=fields, expect=201)
        return created

    def say(self, chat_id: str, content: str, **fields: Any) -> dict[str, Any]:
        sent: dict[str, Any] = self.api(
            "POST", f"/chats/{chat_id}/messages", json={"content": content, **fields}, expect=201
        )
        return sent

    def run_events(self, run_id: str, last_event_id: str | None = None) -> list[tuple[str | None, str, Any]]:
        """Return every event of a run until its stream ends."""
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        with self.stream("GET", f"/runs/{run_id}/events", headers=headers) as response:
            assert response.status_code == 200, response.read()
            return list(parse_events(response, within_s=240))

    def finished(self, run_id: str) -> dict[str, Any]:
        """Wait until a run has ended, and return it."""
        self.run_events(run_id)
        ended: dict[str, Any] = self.api("GET", f"/runs/{run_id}")
        return ended


def parse_events(response: httpx.Response, *, within_s: float | None = None) -> Any:
    """Yield (id, event, data) of each server-sent event. Fail if the stream has not ended after `within_s` seconds."""
    import json

    deadline = time.monotonic() + within_s if within_s is not None else None
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        assert deadline is None or time.monotonic() < deadline, "the stream did not end"
        if line == "":
            if "data" in fields:
                yield fields.get("id"), fields.get("event", "message"), json.loads(fields["data"])
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
