"""Sending a person's token with what goes to their server, and another one when it is refused."""

from collections.abc import AsyncGenerator, Awaitable, Callable

import httpx2
import orjson
from mcp.client.auth.utils import extract_field_from_www_auth, extract_scope_from_www_auth

from tertulia.errors import AppError
from tertulia.tools.servers.port import ScopeWanted, SignInWanted

Tokens = Callable[[str | None], Awaitable[str | None]]  # the token that counts, another than the given one


class Bearer(httpx2.Auth):
    """Why nothing can be sent is kept, because the package that calls makes another error of it."""

    requires_request_body = True

    def __init__(self, name: str, tokens: Tokens, secrets: list[str]) -> None:
        """`secrets` hears of each token, so that it can be taken out of what the server says."""
        self.refused: AppError | None = None  # of the call, or of what came before it
        self._has_called = False
        self._was_let_in = False  # whether a call got through: then nobody can say that nothing was done
        self._name = name
        self._tokens = tokens
        self._secrets = secrets
        self._token: str | None = None

    async def renew(self, rejected: str | None) -> str | None:
        """Raises ServerFailed, SignInWanted."""
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
        """What is refused while a call goes on, such as an answer to what it asked, says nothing of the call itself."""
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
        sent = orjson.loads(request.content)
    except orjson.JSONDecodeError:
        return False
    return isinstance(sent, dict) and sent.get("method") == "tools/call"


def _wanted_scope(response: httpx2.Response) -> str | None:
    """What more a server wants to be allowed, where it knows who calls and that is not enough (RFC 6750, 3.1)."""
    if response.status_code != 403 or extract_field_from_www_auth(response, "error") != "insufficient_scope":
        return None
    return (extract_scope_from_www_auth(response) or "")[:2000]


def _is_challenge(response: httpx2.Response) -> bool:
    """Whether a server asks to sign in, and not for a header that it wants."""
    said = response.headers.get("www-authenticate", "").lower()
    return response.status_code == 401 and said.startswith("bearer")
