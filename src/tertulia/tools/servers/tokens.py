"""Exchange an authorization code for tokens, and renew tokens (RFC 6749, 7636, 9207)."""

from base64 import b64encode
from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import quote

import httpx
import httpx2
import orjson
from mcp.client.auth import OAuthTokenError
from mcp.client.auth.utils import validate_authorization_response_iss
from mcp.shared.auth import OAuthMetadata, OAuthToken
from mcp_types import LATEST_PROTOCOL_VERSION
from pydantic import BaseModel, ValidationError

from tertulia import clock
from tertulia.tools.errors import ToolSignInFailed
from tertulia.tools.servers.grants import Grant, GrantRefused, OAuthClient
from tertulia.tools.servers.issuer_calls import issuer_calls, plain_scope
from tertulia.tools.servers.port import ServerFailed

MAX_LIFE_S = 10 * 365 * 24 * 3600
# Error codes of RFC 6749, 5.2, also from services that send them with status 200: the sign-in is not valid.
_OVER = (["invalid_grant"], ["invalid_client"], ["unauthorized_client"], ["bad_refresh_token"])


class Flow(BaseModel):
    """The state of a sign-in between its two halves."""

    client: OAuthClient
    issuer: str
    metadata: OAuthMetadata | None
    redirect_uri: str
    code_verifier: str
    scope: str | None


async def finish(client: httpx.AsyncClient, name: str, flow: Flow, *, code: str, iss: str | None) -> Grant:
    """Exchange the code that the person returned with for tokens. Raises ToolSignInFailed."""
    hidden = [code, flow.code_verifier, *filter(None, [flow.client.client_secret])]
    async with issuer_calls(client, name, flow.client.resource or flow.client.token_endpoint, hidden) as http:
        validate_authorization_response_iss(iss, flow.metadata)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": flow.redirect_uri,
            "code_verifier": flow.code_verifier,
        }
        answer = await _ask_for_token(http, flow.client, form)
        if answer.status_code != 200:
            raise OAuthTokenError(f"the response has status {answer.status_code} {' '.join(_error_of(answer))}")
        return _grant(answer, flow.scope, None)


async def renew(
    client: httpx.AsyncClient, name: str, known: OAuthClient, refresh_token: str, scope: str | None
) -> Grant:
    """Renew tokens. Raises GrantRefused if the sign-in has ended, ServerFailed for any other failure."""
    try:
        hidden = [refresh_token, *filter(None, [known.client_secret])]
        async with issuer_calls(client, name, known.resource or known.token_endpoint, hidden) as http:
            answer = await _ask_for_token(http, known, {"grant_type": "refresh_token", "refresh_token": refresh_token})
            if _error_of(answer)[:1] in _OVER:
                raise GrantRefused(f"{name} refused to renew your sign-in. Sign in again.")
            if answer.status_code != 200:
                raise ServerFailed(f"{name} cannot renew your sign-in at the moment (status {answer.status_code}).")
            return _grant(answer, scope, refresh_token)
    except ToolSignInFailed as error:
        raise ServerFailed(error.detail) from error


async def _ask_for_token(http: httpx2.AsyncClient, client: OAuthClient, form: Mapping[str, str]) -> httpx2.Response:
    data = {**form, "client_id": client.client_id}
    headers = {"Accept": "application/json", "MCP-Protocol-Version": LATEST_PROTOCOL_VERSION}
    if client.resource is not None:
        data["resource"] = client.resource
    if client.client_secret is not None and client.auth_method == "client_secret_basic":
        pair = f"{quote(client.client_id, safe='')}:{quote(client.client_secret, safe='')}"
        headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    elif client.client_secret is not None and client.auth_method == "client_secret_post":
        data["client_secret"] = client.client_secret
    answer = await http.post(client.token_endpoint, data=data, headers=headers)
    await answer.aread()
    return answer


def _grant(answer: httpx2.Response, asked_scope: str | None, refresh_token: str | None) -> Grant:
    """Parse a token response. A scope or refresh token that it omits stays as passed (RFC 6749, 5.1 and 6)."""
    try:
        token = OAuthToken.model_validate_json(answer.content)
    except ValidationError:
        raise OAuthTokenError("the response is not a token") from None
    for value in (token.access_token, token.refresh_token or "x"):
        if not value or not value.isascii() or not value.isprintable() or len(value) > 16_000:
            raise OAuthTokenError("the response has a token that cannot be sent")
    life_s = min(max(token.expires_in, 0), MAX_LIFE_S) if token.expires_in is not None else None
    return Grant(
        access_token=token.access_token,
        token_type=token.token_type,
        refresh_token=token.refresh_token or refresh_token,
        scope=plain_scope(token.scope) or asked_scope,
        expires_at=clock.now() + timedelta(seconds=life_s) if life_s is not None else None,
    )


def _error_of(answer: httpx2.Response) -> list[str]:
    """Return the error code (RFC 6749) and description of a response, as far as it has them."""
    try:
        body = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return []
    values = [body.get(key) for key in ("error", "error_description")] if isinstance(body, dict) else []
    return [value[:200] for value in values if isinstance(value, str)]
