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

import httpx

from tertulia.errors import Invalid
from tertulia.http.transport import HttpTransport

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
        transport=HttpTransport(_look_up),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(timeouts.first_byte_s, connect=timeouts.connect_s),
        cookies=_no_cookies(),
    )


def guarded_client(timeouts: Timeouts, allowed: Iterable[str] = ()) -> httpx.AsyncClient:
    """For every address that somebody named; `allowed` are origins inside that the operator lists."""
    return httpx.AsyncClient(
        transport=HttpTransport(_Guard(allowed).find_addresses),
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


class _Guard:
    """Looks up where to connect to; what it gives is what is called, so that a name cannot change in between."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(_host_and_port(origin) for origin in allowed)

    async def find_addresses(self, host: str, port: int) -> list[str]:
        """Raises AddressRefused if any of the addresses of a name lies inside."""
        addresses = await _look_up(host, port)
        if (host.lower(), port) not in self._allowed and not all(map(is_public, addresses)):
            scheme = "https" if port == 443 else "http"
            raise AddressRefused(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        return addresses


async def _look_up(host: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise httpx.ConnectError(f"{host} is not known") from error
    return [str(entry[4][0]) for entry in found]
