"""HTTP clients for outgoing calls: a proxy only if the operator names one, no redirects, time limits.

A host from a user or a model is resolved once, checked, and connected to at the checked address, so that its name
cannot point at this network between the check and the call.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import httpx
from typing_extensions import override

from tertulia.errors import Invalid
from tertulia.http.proxies import Proxies
from tertulia.http.transport import HttpTransport

# IPv6 ranges that embed IPv4 addresses, which may be private.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_TRANSLATED = tuple(
    ipaddress.IPv6Network(network) for network in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


class AddressRefused(Invalid):
    """An address inside the server's network. Users may not call it unless the operator lists it."""

    code = "address_refused"

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"{origin} is inside the server's own network, which it does not call for users. The operator can allow "
            f"this address: TERTULIA_OUTBOUND_ALLOW={origin}",
            field="base_url",
        )


@dataclass(frozen=True)
class Timeouts:
    """Seconds: to connect, to the first byte of the reply, between two bytes, in total."""

    connect_s: float = 5
    first_byte_s: float = 60
    idle_s: float = 60
    whole_s: float = 900


def operator_client(timeouts: Timeouts, proxies: Proxies | None = None) -> httpx.AsyncClient:
    """Create a client for addresses of the operator, which may be internal. Never for those of users or models."""
    return CheckedClient(
        transport=HttpTransport(_look_up, proxies, is_checked=False),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(timeouts.first_byte_s, connect=timeouts.connect_s),
        cookies=_no_cookies(),
    )


def guarded_client(
    timeouts: Timeouts, allowed: Iterable[str] = (), proxies: Proxies | None = None
) -> httpx.AsyncClient:
    """Create a client for addresses of users and models. `allowed` are internal origins that the operator lists."""
    return CheckedClient(
        transport=HttpTransport(
            _Guard(allowed, has_proxy=proxies is not None and proxies.has_any).find_addresses, proxies, is_checked=True
        ),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(timeouts.first_byte_s, connect=timeouts.connect_s),
        cookies=_no_cookies(),
    )


class CheckedClient(httpx.AsyncClient):
    """A client that reports a broken domain name as an error of the address, which httpx itself fails to read."""

    @override
    def build_request(self, method: str, url: httpx.URL | str, **options: Any) -> httpx.Request:
        """Build a request. Raises LocalProtocolError if the host is no domain name, such as `xn--a`."""
        address = httpx.URL(url)
        raw_host = address.raw_host.decode("ascii", "replace")
        try:
            is_valid = ":" in raw_host or all(0 < len(label) < 64 for label in address.host.rstrip(".").split("."))
        except UnicodeError:
            is_valid = False
        if not is_valid:
            raise httpx.LocalProtocolError(f"{raw_host[:100]} is not a valid domain name. Check the address")
        return super().build_request(method, url, **options)


def _no_cookies() -> CookieJar:
    """Create a jar that stores no cookies, because calls of different users share a client."""
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))


def is_public(address: str) -> bool:
    """Return whether an IP address is global unicast, including an IPv4 address embedded in IPv6."""
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
    """Resolves hosts and refuses internal addresses. The caller connects to the returned addresses, not to the name."""

    def __init__(self, allowed: Iterable[str], *, has_proxy: bool = False) -> None:
        self._has_proxy = has_proxy
        self._allowed = frozenset(_host_and_port(origin) for origin in allowed)

    async def find_addresses(self, host: str, port: int) -> list[str]:
        """Resolve a host. Raises AddressRefused if any of its addresses is internal."""
        is_allowed = (host.lower(), port) in self._allowed
        try:
            addresses = await _look_up(host, port)
        except httpx.ConnectError:
            if is_allowed and self._has_proxy:
                return [host]  # only the proxy can resolve it
            raise
        if not is_allowed and not all(map(is_public, addresses)):
            scheme = "https" if port == 443 else "http"
            raise AddressRefused(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        return addresses


async def _look_up(host: str, port: int) -> list[str]:
    try:
        entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise httpx.ConnectError(f"{host} cannot be resolved") from error
    return [str(entry[4][0]) for entry in entries]
