"""HTTP/1.1 for httpx directly on the event loop, parsed by httptools: this is most of the cost of a streamed token.

A connection reads once and then pauses until more is requested, so that a slower caller gets everything that arrived
meanwhile in one piece (docs/adr/0014). No redirects, no compression, no trailers: see outbound.py. Through a proxy each
connection is a tunnel to the address that was checked.
"""

import asyncio
import re
import select
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from typing import cast

import httptools
import httpx

from tertulia.http.proxies import Proxies, Proxy

MAX_HEAD_BYTES = 64 * 1024
KEEP_IDLE_S = 15.0
MAX_IDLE = 8  # connections kept for each origin
_PROXY_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_NO_CREDENTIALS = 407
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(rb"[\x21-\x7e]+")
Origin = tuple[str, str, int]
# Returns the addresses to connect to, in order. Raises if one of them may not be called.
FindAddresses = Callable[[str, int], Awaitable[list[str]]]


class HttpTransport(httpx.AsyncBaseTransport):
    """Connections by origin. Each carries one call at a time, and is kept for the next if the call ended cleanly."""

    def __init__(self, find_addresses: FindAddresses, proxies: Proxies | None = None, *, is_checked: bool) -> None:
        """Create a transport. `is_checked`: a proxy gets the address that was checked, not the name."""
        self._find_addresses = find_addresses
        self._proxies = proxies
        self._is_checked = is_checked
        self._tls = _tls()
        self._idle: dict[Origin, deque[tuple[float, _Connection]]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its response. Raises httpx errors, and what `find_addresses` raises."""
        timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
        encoded = _encode(request, await request.aread())
        # As in the Host header: an internationalised name has two spellings, which may be two domains.
        host = request.url.raw_host.decode("ascii")
        origin = (request.url.scheme, host, request.url.port or (443 if _is_tls(request) else 80))
        connection = self._take_idle(origin) or await self._connect(origin, timeouts.get("connect"))
        reply = _Reply(self, origin, connection, timeouts.get("read"))
        try:
            connection.write(encoded)
            await reply.read_head()
        except BaseException:
            connection.close()
            raise
        return httpx.Response(reply.status, headers=reply.headers, stream=reply, request=request)

    async def aclose(self) -> None:
        for kept in self._idle.values():
            for _, connection in kept:
                connection.close()
        self._idle.clear()

    def keep(self, origin: Origin, connection: "_Connection") -> None:
        kept = self._idle.setdefault(origin, deque())
        kept.append((asyncio.get_running_loop().time(), connection))
        if len(kept) > MAX_IDLE:
            kept.popleft()[1].close()

    def _take_idle(self, origin: Origin) -> "_Connection | None":
        """Return the most recently used connection that is still usable, or None. Close those that are not."""
        self._close_old()
        kept = self._idle.get(origin)
        while kept:
            _, connection = kept.pop()
            if connection.is_reusable:
                return connection
            connection.close()
        return None

    def _close_old(self) -> None:
        oldest = asyncio.get_running_loop().time() - KEEP_IDLE_S
        for origin, kept in list(self._idle.items()):
            while kept and kept[0][0] < oldest:
                kept.popleft()[1].close()
            if not kept:
                del self._idle[origin]

    async def _connect(self, origin: Origin, limit_s: float | None) -> "_Connection":
        scheme, host, port = origin
        failure: Exception | None = None
        proxy = self._proxies.find(scheme, host) if self._proxies is not None else None
        if proxy is not None:
            return await self._connect_through(proxy, origin, limit_s)
        try:
            async with asyncio.timeout(limit_s):
                addresses = await self._find_addresses(host, port)
                # Each address gets a share of the time, so that one that never answers leaves time for the others.
                share_s = limit_s / max(1, len(addresses)) if limit_s is not None else None
                for address in addresses:
                    try:
                        async with asyncio.timeout(share_s):
                            return await self._connect_to(address, port, host if scheme == "https" else None)
                    except OSError as error:  # includes invalid certificates and timeouts
                        failure = error
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"{host} did not answer in time") from error
        if isinstance(failure, TimeoutError):
            raise httpx.ConnectTimeout(f"{host} did not answer in time") from failure
        raise httpx.ConnectError(f"{host} cannot be reached: {failure or 'it has no address'}") from failure

    async def _connect_through(self, proxy: Proxy, origin: Origin, limit_s: float | None) -> "_Connection":
        """Open a tunnel through a proxy. Raises ProxyError, ConnectTimeout, and what `find_addresses` raises."""
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limit_s):
                target = await self._target_of(host, port)
                _, connection = await loop.create_connection(
                    _Connection,
                    proxy.host,
                    proxy.port,
                    ssl=self._tls if proxy.is_tls else None,
                    server_hostname=proxy.host if proxy.is_tls else None,
                )
                try:
                    await connection.open_tunnel(target, port, proxy.authorization)
                    if scheme == "https":
                        await connection.start_tls(self._tls, host)
                except BaseException:
                    connection.close()
                    raise
                return connection
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"{host} did not answer in time through the proxy") from error
        except OSError as error:
            raise httpx.ProxyError(f"the proxy {proxy.host}:{proxy.port} cannot be used: {error}") from error

    async def _target_of(self, host: str, port: int) -> str:
        """Return what the proxy connects to: the checked address, so that it cannot resolve the name to another."""
        if not self._is_checked:
            return host
        return (await self._find_addresses(host, port))[0]

    async def _connect_to(self, address: str, port: int, server_name: str | None) -> "_Connection":
        _, connection = await asyncio.get_running_loop().create_connection(
            _Connection,
            address,
            port,
            ssl=self._tls if server_name is not None else None,
            server_hostname=server_name,
        )
        return connection


class _Connection(asyncio.Protocol):
    """A connection that pauses reading after each arrival, until the next `read`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received: list[bytes] = []
        self._ended = False
        self._failure: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received.append(data)
        if self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended, self._failure = True, exc
        self._wake()

    @property
    def is_reusable(self) -> bool:
        """Return whether nothing unexpected arrived, such as a close, including what the loop has not read yet."""
        if self._ended or self._received or self._transport is None or self._transport.is_closing():
            return False
        socket = self._transport.get_extra_info("socket").fileno()
        if socket < 0:
            return False
        poller = select.poll()
        poller.register(socket, select.POLLIN)
        return not poller.poll(0)

    def write(self, data: bytes) -> None:
        if self._transport is None or self._ended:
            raise httpx.WriteError("the connection is closed")
        self._transport.write(data)

    async def read(self, limit_s: float | None) -> bytes:
        """Wait for data and return all that arrived since the last read, empty at the end. Raises httpx errors."""
        if not self._received and not self._ended:
            self._waiting = asyncio.get_running_loop().create_future()
            if self._transport is not None:
                self._transport.resume_reading()
            try:
                async with asyncio.timeout(limit_s):
                    await self._waiting
            except TimeoutError as error:
                raise httpx.ReadTimeout(f"no data arrived for {limit_s} s") from error
            finally:
                self._waiting = None
        if not self._received and isinstance(self._failure, OSError):
            raise httpx.ReadError(str(self._failure)) from self._failure
        received = b"".join(self._received)
        self._received.clear()
        return received

    async def open_tunnel(self, host: str, port: int, authorization: str | None) -> None:
        """Ask the proxy at the other end for a tunnel. Raises ProxyError."""
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        lines += [f"Proxy-Authorization: {authorization}"] if authorization else []
        self.write("\r\n".join([*lines, "", ""]).encode("ascii"))
        head = b""
        while b"\r\n\r\n" not in head:
            received = await self.read(None)
            head += received
            if not received or len(head) > MAX_HEAD_BYTES:
                raise httpx.ProxyError("the proxy did not answer with HTTP")
        match = _PROXY_STATUS.match(head)
        if match is None or head[head.index(b"\r\n\r\n") + 4 :]:
            raise httpx.ProxyError("the proxy did not answer with HTTP")
        status = int(match[1])
        if status == _NO_CREDENTIALS:
            raise httpx.ProxyError("the proxy wants a user name and password in TERTULIA_HTTP_PROXY")
        if not 200 <= status < 300:
            raise httpx.ProxyError(f"the proxy refuses to connect (status {status})")

    async def start_tls(self, context: ssl.SSLContext, server_name: str) -> None:
        """Encrypt the connection from here on, and check the certificate. Raises OSError."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        encrypted = await loop.start_tls(self._transport, self, context, server_hostname=server_name)
        self._transport = cast(asyncio.Transport, encrypted)

    def listen(self) -> None:
        """Keep reading while idle, so that a close by the server is noticed."""
        if self._transport is not None and not self._ended:
            self._transport.resume_reading()

    def close(self) -> None:
        """Close the connection at once: a peer that hangs must not delay the caller, who needs nothing more."""
        if self._transport is not None:
            self._transport.abort()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class _Reply(httpx.AsyncByteStream):
    """One response: first its head, then its body as a stream of pieces, each of all that arrived."""

    def __init__(
        self, transport: HttpTransport, origin: Origin, connection: _Connection, idle_limit_s: float | None
    ) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._transport = transport
        self._origin = origin
        self._connection = connection
        self._idle_limit_s = idle_limit_s
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._has_head = False
        self._is_complete = False
        self._bytes_without_body = 0  # bytes since the last body byte: heads, chunk sizes, trailers
        self._can_reuse = False  # the connection can be used for another call
        self._is_released = False

    async def read_head(self) -> None:
        size = 0
        while not self._has_head:
            received = await self._connection.read(self._idle_limit_s)
            if not received:
                raise httpx.RemoteProtocolError("the connection was closed without an answer")
            size += len(received)
            self._feed(received)
            if not self._has_head and size > MAX_HEAD_BYTES:
                raise httpx.RemoteProtocolError(f"the head of the answer is longer than {MAX_HEAD_BYTES} bytes")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if self._pieces:
                piece = b"".join(self._pieces)
                self._pieces.clear()
                yield piece
            if self._is_complete:
                return
            received = await self._connection.read(self._idle_limit_s)
            if received:
                self._feed(received)
            elif self._ends_by_closing():
                self._is_complete = True
            else:
                raise httpx.RemoteProtocolError("the connection was closed before the answer was complete")

    async def aclose(self) -> None:
        if self._is_released:
            return
        self._is_released = True
        if self._can_reuse:
            self._connection.listen()
            self._transport.keep(self._origin, self._connection)
        else:
            self._connection.close()

    def _feed(self, received: bytes) -> None:
        self._bytes_without_body += len(received)
        try:
            self._parser.feed_data(received)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._is_complete:  # ignore data after a complete answer, and do not reuse the connection
                self._can_reuse = False
                return
            raise httpx.RemoteProtocolError(f"the answer is not HTTP: {error}") from error
        if self._has_head and not self._is_complete and self._bytes_without_body > MAX_HEAD_BYTES:
            raise httpx.RemoteProtocolError(f"more than {MAX_HEAD_BYTES} bytes arrived that are not part of the answer")

    def _ends_by_closing(self) -> bool:
        names = {name.lower() for name, _ in self.headers}
        return b"content-length" not in names and b"transfer-encoding" not in names

    def on_message_begin(self) -> None:
        if self._is_complete:  # a second answer was not requested
            self._can_reuse = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and not self._has_head:
            self.status, self._has_head = status, True

    def on_body(self, body: bytes) -> None:
        self._bytes_without_body = 0
        if not self._is_complete:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if not self._has_head:  # 100 Continue or 103 Early Hints: the answer itself follows
            self.headers.clear()
        elif not self._is_complete:
            self._is_complete, self._can_reuse = True, self._parser.should_keep_alive()


@cache
def _tls() -> ssl.SSLContext:
    """Create the TLS context once for all connections: loading the CA certificates takes longer than a call."""
    context = httpx.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _is_tls(request: httpx.Request) -> bool:
    if request.url.scheme not in ("http", "https"):
        raise httpx.UnsupportedProtocol("Only http and https can be called.")
    return request.url.scheme == "https"


def _encode(request: httpx.Request, body: bytes) -> bytes:
    """Encode the request as bytes. Raises LocalProtocolError, for example for a header with a hidden line break."""
    target = request.url.raw_path
    if request.method not in ("GET", "POST", "PUT", "PATCH", "DELETE") or not _TARGET.fullmatch(target):
        raise httpx.LocalProtocolError(f"{request.method} {target!r} cannot be requested.")
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), target)]
    for name, value in request.headers.raw:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or name.lower() == b"transfer-encoding":
            raise httpx.LocalProtocolError(f"The header {name!r} cannot be sent.")
        lines.append(b"%s: %s" % (name, value))
    return b"\r\n".join([*lines, b"", body])
