"""The one client for calls to elsewhere: no proxies from the environment, no redirects, limits of time."""

from dataclasses import dataclass

import httpx


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
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(timeouts.first_byte_s, connect=timeouts.connect_s),
        limits=httpx.Limits(max_connections=200, max_keepalive_connections=20),
    )
