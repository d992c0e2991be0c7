"""A provider that answers each request with given bytes, as servers that deviate from the wire do."""

import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class RawProvider:
    """Answers with `pieces`, with or without saying where the body ends, and keeps the requests."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {"Content-Type": "text/event-stream"}
        self.pieces: Sequence[bytes] = ()
        self.framing = "length"  # `length`, `chunked`, or `close`: the body ends with the connection
        self.requests: list[Any] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                provider.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                with suppress(ConnectionError):
                    provider.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(self.status)
        handler.send_header("Connection", "close")
        for name, value in self.headers.items():
            handler.send_header(name, value)
        if self.framing == "length":
            handler.send_header("Content-Length", str(sum(map(len, self.pieces))))
        elif self.framing == "chunked":
            handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in self.pieces:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if self.framing == "chunked" else piece)
            handler.wfile.flush()
        if self.framing == "chunked":
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
