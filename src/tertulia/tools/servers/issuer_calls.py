"""Calls to who signs people in for a server: guarded, bounded, and told as sentences when they go wrong."""

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

WHOLE_S = 30.0  # of everything that is asked before the person is sent there, and after they are back
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
    """The guarded client, for addresses as safe as the server's own, with what goes wrong made a sentence without `secrets`."""

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
        raise ToolSignInFailed(f"Signing in to {name} was not answered within {WHOLE_S:.0f} seconds.") from None
    except _WRONG as error:
        if transport.refused is not None:
            raise transport.refused from None
        said = redact(" ".join(str(error).split()), secrets)[:300] or type(error).__name__
        raise ToolSignInFailed(f"Signing in to {name} failed: {said}") from None


def require_safe(server_url: str, url: str) -> None:
    """Passwords and tokens go over TLS, unless the server itself is spoken to without; and to the host that one sees."""
    parts = urlsplit(url)
    if len(url) > MAX_URL:
        raise OAuthFlowError("it names an address that is too long")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise OAuthFlowError("it names an address that looks like another")
    if parts.scheme != "https" and (parts.scheme != "http" or urlsplit(server_url).scheme != "http"):
        raise OAuthFlowError(f"{url[:200]} is not reached over https")


def plain_scope(scope: str | None) -> str | None:
    """The words of a scope, of the characters that such may have (RFC 6749, 3.3), as many as one would look at."""
    kept = ""
    for word in (scope or "").split():
        longer = f"{kept} {word}".strip()
        if word.isascii() and word.isprintable() and len(longer) <= MAX_SCOPE:
            kept = longer
    return kept or None
