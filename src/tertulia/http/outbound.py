"""The clients for calls to elsewhere: no proxies from the environment, no redirects, limits of time.

An address that a person or a model named is looked up once, checked, and connected to as it was checked, so that a name
cannot point at this network between the check and the call.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit

import httpcore
import httpx

from tertulia.errors import Invalid
from tertulia.http.asyncio_backend import AsyncioBackend

_LIMITS = httpx.Limits(max_connections=400, max_keepalive_connections=20)
# IPv4 addresses within IPv6: what is behind them is not what they look like.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_TRANSLATED = tuple(
    ipaddress.IPv6Network(network) for network in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


class AddressRefused(Invalid):
    """An address inside the server's network, which people may not reach through it unless the operator lists it."""

    code = "address_refused"

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"{origin} lies inside the server's own network, which it does not call for people. The operator can allow "
            f"exactly this address: TERTULIA_OUTBOUND_ALLOW={origin}",
            field="base_url",
        )


@dataclass(frozen=True)
class Timeouts:
    """Seconds: to connect, to the first byte of the reply, between two bytes, for the whole."""

    connect_s: float = 5
    first_byte_s: float = 60
    idle_s: float = 60
    whole_s: float = 900


def operator_client(timeouts: Timeouts) -> httpx.AsyncClient:
    """For addresses that the operator configured, which may lie inside; never for one that a person or model named."""
    return httpx.AsyncClient(
        transport=_Transport(AsyncioBackend()),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(timeouts.first_byte_s, connect=timeouts.connect_s),
        cookies=_no_cookies(),
    )


def guarded_client(timeouts: Timeouts, allowed: Iterable[str] = ()) -> httpx.AsyncClient:
    """For every address that somebody named; `allowed` are origins inside that the operator lists."""
    return httpx.AsyncClient(
        transport=_Transport(_GuardedBackend(frozenset(_host_and_port(origin) for origin in allowed))),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(timeouts.first_byte_s, connect=timeouts.connect_s),
        cookies=_no_cookies(),
    )


def _no_cookies() -> CookieJar:
    """Calls of different people share a client, and what one's answer sets must not go out with another's call."""
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))


def is_public(address: str) -> bool:
    """Whether an IP address is a global unicast one, also when it is wrapped in another."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        elif parsed not in _GLOBAL_UNICAST or any(parsed in network for network in _TRANSLATED):
            return False
    return parsed.is_global and not parsed.is_multicast


def _host_and_port(origin: str) -> tuple[str, int]:
    parts = urlsplit(origin)
    return (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


class _Transport(httpx.AsyncHTTPTransport):
    """httpx's own, over a backend of ours: what a token of a reply costs is mostly what one read costs."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        super().__init__(trust_env=False, limits=_LIMITS)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=_LIMITS.max_connections,
            max_keepalive_connections=_LIMITS.max_keepalive_connections,
            keepalive_expiry=_LIMITS.keepalive_expiry,
            network_backend=backend,
        )


class _GuardedBackend(AsyncioBackend):
    def __init__(self, allowed: frozenset[tuple[str, int]]) -> None:
        self._allowed = allowed

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface of httpcore
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in await self._checked_addresses(host, port):
            try:
                return await super().connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
        raise failure

    async def _checked_addresses(self, host: str, port: int) -> list[str]:
        """Raises AddressRefused if any of the addresses of a name lies inside."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} is not known") from error
        addresses = [str(entry[4][0]) for entry in found]
        if (host.lower(), port) not in self._allowed and not all(map(is_public, addresses)):
            scheme = "https" if port == 443 else "http"
            raise AddressRefused(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        return addresses
