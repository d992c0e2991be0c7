"""HTTP/1.1 with limits on the head of a request: 10 seconds, 64 KiB and 100 headers, checked before they are kept."""

import asyncio

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tertulia.http.middleware import SECURITY_HEADERS
from tertulia.http.problems import problem

HEAD_S = 10.0
MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
MAX_PIPELINED = 10  # requests of a connection that wait for the answer to an earlier one


class HeadTooLarge(Exception):
    """The head of a request is beyond a limit. Raised inside the parser, to stop it."""


class TooManyPipelined(Exception):
    """A connection sent more requests than it waits for. Raised inside the parser, to stop it."""


class LimitedHeadProtocol(HttpToolsProtocol):
    """Closes a connection whose head takes too long, and answers 431 to one that is too large."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0  # of the complete parts of the current head: the target, names and values
    _header_count = 0
    _bytes_without_body = 0  # received since the last byte of a body or the end of a head

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_S, self._give_up)

    def data_received(self, data: bytes) -> None:
        # The first bytes of the next request on a connection restart the timer. Within a head it keeps running.
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._head_timer = self.loop.call_later(HEAD_S, self._give_up)
        self._bytes_without_body += len(data)
        super().data_received(data)
        # The parser keeps an unfinished name or value, and does not report it.
        if self._bytes_without_body > MAX_HEAD_BYTES + len(data):
            self._refuse_head()

    def send_400_response(self, msg: str) -> None:
        """Answer a head that the parser refused, or that `_count` stopped, with a problem document."""
        if self._is_too_large():
            self._refuse_head()
        else:
            self._refuse(problem(400, "bad_request", f"{msg} Send HTTP/1.1.", title="Bad request"), b"Bad Request")

    def on_message_begin(self) -> None:
        self._head_bytes = self._header_count = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        self._count(len(name) + len(value) + 4)  # with ": " and the end of the line
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            raise TooManyPipelined
        self._cancel_timer()
        self._bytes_without_body = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._bytes_without_body = 0
        super().on_body(body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        super().connection_lost(exc)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._is_too_large():
            raise HeadTooLarge

    def _is_too_large(self) -> bool:
        return self._head_bytes > MAX_HEAD_BYTES or self._header_count > MAX_HEADERS

    def _refuse_head(self) -> None:
        detail = f"The request line and headers have at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers."
        title = "Request header fields too large"
        self._refuse(problem(431, "head_too_large", detail, title=title), b"Request Header Fields Too Large")

    def _refuse(self, answer: Response, reason: bytes) -> None:
        """Send an answer and close the connection. Nothing is sent into an answer that has begun."""
        self._cancel_timer()
        if self.transport.is_closing():
            return
        is_answering = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not is_answering and not self.pipeline:
            lines = [b"HTTP/1.1 %d %s" % (answer.status_code, reason), b"connection: close"]
            lines += [b"%s: %s" % header for header in [*answer.raw_headers, *SECURITY_HEADERS]]
            self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.close()

    def _cancel_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()
