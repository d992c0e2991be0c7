"""Calls to authorization servers: guarded, limited in time, and with readable errors."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import httpx2
from mcp.client.auth import OAuthFlowError, OAuthRegistrationError, OAuthTokenError

from tertulia.errors import AppError
from tertulia.tools.errors import ToolSignInFailed
from tertulia.tools.servers.guarded import GuardedTransport
from tertulia.tools.servers.redaction import redact

WHOLE_S = 30.0  # for all requests before the person is redirected, and again after they return
MAX_URL = 2000
MAX_SCOPE = 2000
_WRONG = (
    OAuthFlowError,
    OAuthRegistrationError,
    OAuthTokenError,
    ValueError,
    RecursionError,
    httpx2.HTTPError,
    httpx2.InvalidURL,
    httpx.InvalidURL,
)


@asynccontextmanager
async def issuer_calls(
    client: httpx.AsyncClient, name: str, server_url: str, secrets: Sequence[str]
) -> AsyncIterator[httpx2.AsyncClient]:
    """Open the guarded client for URLs as safe as the server's. Raises ToolSignInFailed with `secrets` redacted."""

    async def check(request: httpx2.Request) -> None:
        require_safe(server_url, str(request.url))

    transport = GuardedTransport(client, {}, idle_s=15)
    try:
        async with (
            asyncio.timeout(WHOLE_S),
            httpx2.AsyncClient(
                transport=transport,
                follow_redirects=False,
                trust_env=False,
                timeout=15,
                event_hooks={"request": [check]},
            ) as http,
        ):
            yield http
    except AppError:
        raise
    except TimeoutError:
        raise ToolSignInFailed(
            f"Signing in to {name} did not finish within {WHOLE_S:.0f} seconds. Try again."
        ) from None
    except _WRONG as error:
        if transport.refused is not None:
            raise transport.refused from None
        reason = redact(" ".join(str(error).split()), secrets)[:300] or type(error).__name__
        raise ToolSignInFailed(f"Signing in to {name} failed: {reason}") from None


def require_safe(server_url: str, url: str) -> None:
    """Require HTTPS, unless the server itself uses HTTP, and a URL that does not mislead. Raises OAuthFlowError."""
    parts = urlsplit(url)
    if len(url) > MAX_URL:
        raise OAuthFlowError("it names a URL that is too long")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise OAuthFlowError("it names a URL with a user name, password or fragment")
    if parts.scheme != "https" and (parts.scheme != "http" or urlsplit(server_url).scheme != "http"):
        raise OAuthFlowError(f"{url[:200]} does not use HTTPS")


def plain_scope(scope: str | None) -> str | None:
    """Return the valid entries of a scope (RFC 6749, 3.3), up to MAX_SCOPE characters. None if there are none."""
    kept = ""
    for entry in (scope or "").split():
        longer = f"{kept} {entry}".strip()
        if entry.isascii() and entry.isprintable() and len(longer) <= MAX_SCOPE:
            kept = longer
    return kept or None
