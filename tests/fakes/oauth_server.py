"""An MCP server with its authorization server at the same address. Both come from the `mcp` package.

A refresh token works once. Using it again ends the whole sign-in, as in many services.
"""

import secrets
import socket
import threading
import time
from typing import Any, cast
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import uvicorn
from mcp.server.auth.provider import AccessToken, AuthorizationCode, AuthorizationParams, RefreshToken
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from tests.fakes.closing_server import ClosingServer


class _Issuer:
    """The authorization server."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.asked: dict[str, tuple[OAuthClientInformationFull, AuthorizationParams]] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.tokens: dict[str, AccessToken] = {}
        self.refreshes: dict[str, RefreshToken] = {}
        self.used: set[str] = set()
        self.renewals = 0
        self.life_s: int | None = 3600
        self.gives_refresh = True

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        key = secrets.token_urlsafe(24)
        self.asked[key] = (client, params)
        return f"{self.origin}/consent?key={key}"

    def allow(self, key: str) -> str:
        """Issue a code for a consent request, and return the address that the browser is redirected to."""
        client, params = self.asked.pop(key)
        code = AuthorizationCode(
            code=secrets.token_urlsafe(24),
            scopes=params.scopes or [],
            expires_at=time.time() + 60,
            client_id=client.client_id,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=True,
            resource=params.resource,
        )
        self.codes[code.code] = code
        return f"{params.redirect_uri}?{urlencode({'code': code.code, 'state': params.state, 'iss': self.origin})}"

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        return self._give(client.client_id, authorization_code.scopes, authorization_code.resource)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        if refresh_token in self.used:
            self.end()
        return self.refreshes.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        self.renewals += 1
        self.used.add(refresh_token.token)
        del self.refreshes[refresh_token.token]
        return self._give(client.client_id, refresh_token.scopes, refresh_token.resource)

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.tokens.get(token)

    async def revoke_token(self, token: Any) -> None:
        self.end()

    def end(self) -> None:
        """Revoke all tokens."""
        self.tokens.clear()
        self.refreshes.clear()

    def _give(self, client_id: str, scopes: list[str], resource: str | None) -> OAuthToken:
        access, refresh = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self.tokens[access] = AccessToken(token=access, client_id=client_id, scopes=scopes, resource=resource)
        if self.gives_refresh:
            self.refreshes[refresh] = RefreshToken(token=refresh, client_id=client_id, scopes=scopes, resource=resource)
        return OAuthToken(
            access_token=access,
            expires_in=self.life_s,
            scope=" ".join(scopes),
            refresh_token=refresh if self.gives_refresh else None,
        )


class SignedServer:
    """Runs over HTTP in a thread. `balance` needs the scope `read`, and `spend` also needs the scope `spend`."""

    def __init__(self, *, registers: bool = True) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.url = f"{self.origin}/mcp"
        self.issuer = _Issuer(self.origin)
        self.spent: list[int] = []
        self.authorizations: list[str | None] = []
        self.rejects: set[str] = set()  # tokens to refuse although they were issued
        self.answers: dict[str, tuple[int, bytes]] = {}  # status and body by path, instead of the real answer
        self._mcp: MCPServer[Any] = MCPServer(
            "bank",
            auth_server_provider=cast(Any, self.issuer),
            auth=AuthSettings(
                issuer_url=cast(Any, self.origin),  # a string, because a URL object gets a trailing slash
                resource_server_url=cast(Any, self.url),
                required_scopes=["read"],
                validate_token_resource=True,
                client_registration_options=ClientRegistrationOptions(
                    enabled=registers, valid_scopes=["read", "spend"], default_scopes=["read", "spend"]
                ),
            ),
        )
        self._mcp.add_tool(self._balance, name="balance", description="What there is.")
        self._mcp.add_tool(self._spend, name="spend", description="Spend some of it.")
        self._mcp.custom_route("/consent", ["GET"])(self._consent)
        self._mcp.custom_route("/allow", ["GET"])(self._allow)
        app = self._mcp.streamable_http_app()

        async def seen(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                headers = {name.decode(): value.decode() for name, value in scope["headers"]}
                refused = self._refused(scope["path"], headers)
                if refused is not None:
                    await refused(scope, receive, send)
                    return
            await app(scope, receive, send)

        self._server = ClosingServer(uvicorn.Config(seen, log_config=None, timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    def allowed(self, url: str) -> dict[str, str]:
        """Follow a sign-in address, allow the request, and return the parameters of the redirect back."""
        with httpx.Client() as browser:
            page = browser.get(url)
            assert page.status_code == 302, page.text
            key = parse_qs(urlsplit(page.headers["location"]).query)["key"][0]
            back = browser.get(f"{self.origin}/allow", params={"key": key}).headers["location"]
        return {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}

    def _refused(self, path: str, headers: dict[str, str]) -> Response | None:
        if path in self.answers:
            status, body = self.answers[path]
            return Response(body, status, media_type="application/json")
        if path != "/mcp":
            return None
        self.authorizations.append(headers.get("authorization"))
        token = (headers.get("authorization") or "").removeprefix("Bearer ")
        if token in self.rejects:
            return Response(status_code=401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        known = self.issuer.tokens.get(token)
        if headers.get("mcp-name") == "spend" and known is not None and "spend" not in known.scopes:
            challenge = 'Bearer error="insufficient_scope", scope="spend"'
            return Response(status_code=403, headers={"WWW-Authenticate": challenge})
        return None

    def _balance(self) -> str:
        return f"There are {100 - sum(self.spent)} left."

    def _spend(self, amount: int) -> str:
        self.spent.append(amount)
        return f"Spent {amount}."

    async def _consent(self, request: Request) -> Response:
        key = request.query_params["key"]
        _, params = self.issuer.asked[key]
        return HTMLResponse(
            f"<h1>Bank</h1><p>Tertulia asks for: {' '.join(params.scopes or [])}</p>"
            f'<a href="/allow?key={key}">Allow</a> '
            f'<a href="{params.redirect_uri}?{urlencode({"error": "access_denied", "state": params.state})}">Deny</a>'
        )

    async def _allow(self, request: Request) -> Response:
        return RedirectResponse(self.issuer.allow(request.query_params["key"]), 302)
