"""Choose the HTTP proxy for an outgoing call, by the operator's setting or the environment."""

import base64
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from tertulia.errors import SettingsError

FROM_ENVIRONMENT = "env"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Proxy:
    """A proxy that opens tunnels (CONNECT). `authorization` is the value of Proxy-Authorization."""

    host: str
    port: int
    is_tls: bool
    authorization: str | None = field(default=None, repr=False)


class Proxies:
    """The proxies of a server. Loopback addresses and those of NO_PROXY are called directly."""

    def __init__(self, setting: str | None, environment: Mapping[str, str] = os.environ) -> None:
        """Read `TERTULIA_HTTP_PROXY`: an address, `env`, or None for no proxy. Raises SettingsError."""
        self._urls: dict[str, str] = {}
        self._no_proxy = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        if setting == FROM_ENVIRONMENT:
            variables = getproxies_environment() if environment is os.environ else _from(environment)
            both = variables.get("all")
            self._urls = {scheme: url for scheme in _PORTS if (url := variables.get(scheme) or both)}
        elif setting:
            self._urls = dict.fromkeys(_PORTS, setting)
        self._proxies = {scheme: _parse(url) for scheme, url in self._urls.items()}

    @property
    def has_any(self) -> bool:
        return bool(self._proxies)

    def find(self, scheme: str, host: str) -> Proxy | None:
        """Return the proxy for a host, or None to call it directly."""
        proxy = self._proxies.get(scheme)
        if proxy is None or _is_loopback(host):
            return None
        return None if proxy_bypass_environment(host, {"no": self._no_proxy}) else proxy


def _from(environment: Mapping[str, str]) -> dict[str, str]:
    lowered = {name.lower(): value for name, value in environment.items() if value}
    return {name.removesuffix("_proxy"): value for name, value in lowered.items() if name.endswith("_proxy")}


def _parse(url: str) -> Proxy:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        usual = _PORTS[parts.scheme]
        port = parts.port or usual
    except (KeyError, ValueError):
        raise SettingsError("TERTULIA_HTTP_PROXY: write an address such as http://proxy.example:3128.") from None
    if not parts.hostname:
        raise SettingsError(
            "TERTULIA_HTTP_PROXY: the address has no host. Write one such as http://proxy.example:3128."
        )
    credentials = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        credentials = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Proxy(parts.hostname, port, parts.scheme == "https", credentials)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
