"""Web pages for tests: an answer per path, a list of the requested paths, and an optional wait."""

import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Pages:
    """Serves a status, headers and a body per path. With `held`, it answers only once `released` is set."""

    def __init__(self, answers: Mapping[str, tuple[int, dict[str, str], bytes]], *, held: bool = False) -> None:
        self.asked: list[str] = []
        self.released = threading.Event()
        if not held:
            self.released.set()
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pages.asked.append(self.path)
                pages.released.wait(30)
                status, headers, body = answers.get(self.path, (404, {}, b"nothing"))
                with suppress(ConnectionError):  # the caller may be gone
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(body)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
