"""Send a person's access token with requests to their server, and renew it when it is refused."""

from collections.abc import AsyncGenerator, Awaitable, Callable

import httpx2
import orjson
from mcp.client.auth.utils import extract_field_from_www_auth, extract_scope_from_www_auth

from tertulia.errors import AppError
from tertulia.tools.servers.port import ScopeWanted, SignInWanted

Tokens = Callable[[str | None], Awaitable[str | None]]  # takes a rejected token or None, returns the current one


class Bearer(httpx2.Auth):
    """Authentication with an access token. Keeps refusals, because the `mcp` package replaces the error."""

    requires_request_body = True

    def __init__(self, name: str, tokens: Tokens, secrets: list[str]) -> None:
        """Add each token to `secrets`, so that it is redacted from the server's text."""
        self.refused: AppError | None = None  # of the call, or of a request before it
        self._has_called = False
        self._was_let_in = False  # whether a call got through, and may have taken effect
        self._name = name
        self._tokens = tokens
        self._secrets = secrets
        self._token: str | None = None

    async def renew(self, rejected: str | None) -> str | None:
        """Load the current token, which is not `rejected`. Raises ServerFailed, SignInWanted."""
        self._token = await self._tokens(rejected)
        if self._token is not None and self._token not in self._secrets:
            self._secrets.append(self._token)
        return self._token

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        is_call = _is_call(request)
        self._has_called = self._has_called or is_call
        self._tell(None, is_call=is_call)
        sent = self._put(request, self._token)
        response = yield request
        if response.status_code == 401 and sent is not None:
            try:
                self._put(request, await self.renew(sent))
            except AppError as error:
                self._tell(error, is_call=is_call)
                raise httpx2.ConnectError(error.detail) from None
            response = yield request
        self._tell(self._refusal(response), is_call=is_call)
        self._was_let_in = self._was_let_in or (is_call and response.status_code < 400)

    def _tell(self, refused: AppError | None, *, is_call: bool) -> None:
        """Record a refusal, or None. After a call was sent, other requests (replies to questions) do not count."""
        if not self._was_let_in if is_call else not self._has_called:
            self.refused = refused

    def _refusal(self, response: httpx2.Response) -> AppError | None:
        scope = _wanted_scope(response)
        if scope is not None:
            return ScopeWanted(self._name, scope)
        return SignInWanted(self._name, again=self._token is not None) if _is_challenge(response) else None

    def _put(self, request: httpx2.Request, token: str | None) -> str | None:
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        return token


def _is_call(request: httpx2.Request) -> bool:
    try:
        body = orjson.loads(request.content)
    except orjson.JSONDecodeError:
        return False
    return isinstance(body, dict) and body.get("method") == "tools/call"


def _wanted_scope(response: httpx2.Response) -> str | None:
    """Return the scope that an authenticated caller lacks (RFC 6750, 3.1), "" if unnamed. None for other responses."""
    if response.status_code != 403 or extract_field_from_www_auth(response, "error") != "insufficient_scope":
        return None
    return (extract_scope_from_www_auth(response) or "")[:2000]


def _is_challenge(response: httpx2.Response) -> bool:
    """Return whether the server asks for a sign-in, and not for a missing header."""
    challenge = response.headers.get("www-authenticate", "").lower()
    return response.status_code == 401 and challenge.startswith("bearer")
