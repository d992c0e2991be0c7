"""OAuth as MCP servers ask for it: finding who signs people in, being known there, and getting and renewing tokens.

What is told is read and checked by the `mcp` package (RFC 9728, 8414, 7591, 8707, 9207). Its own flow waits in one process
for the person to come back; here it is cut in two, so that any process can go on with it, also after a restart.
"""

import asyncio
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, cast
from urllib.parse import quote, urlencode, urlsplit

import httpx
import httpx2
import orjson
from mcp.client.auth import OAuthFlowError, OAuthRegistrationError, OAuthTokenError, PKCEParameters
from mcp.client.auth.oauth2 import check_registration_usable
from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    build_protected_resource_metadata_discovery_urls,
    create_client_info_from_metadata_url,
    create_client_registration_request,
    create_oauth_metadata_request,
    extract_field_from_www_auth,
    extract_resource_metadata_from_www_auth,
    extract_scope_from_www_auth,
    get_client_metadata_scopes,
    handle_auth_metadata_response,
    handle_protected_resource_response,
    handle_registration_response,
    issuers_match,
    should_use_client_metadata_url,
    union_scopes,
    validate_authorization_response_iss,
    validate_metadata_issuer,
)
from mcp.shared.auth import (
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthMetadata,
    OAuthToken,
    ProtectedResourceMetadata,
)
from mcp.shared.auth_utils import check_resource_allowed, resource_url_from_server_url
from mcp_types import LATEST_PROTOCOL_VERSION
from pydantic import AnyUrl, BaseModel, ValidationError

from tertulia import clock
from tertulia.errors import AppError
from tertulia.tools.errors import ToolSignInFailed
from tertulia.tools.servers.grants import GivenClient, Grant, GrantRefused, OAuthClient
from tertulia.tools.servers.guarded import GuardedTransport
from tertulia.tools.servers.port import ServerFailed
from tertulia.tools.servers.redaction import redact

WHOLE_S = 30.0  # of everything that is asked before the person is sent there, and after they are back
MAX_LIFE_S = 10 * 365 * 24 * 3600
MAX_URL = 2000
MAX_SCOPE = 2000
MAX_CLIENT_ID = 2000
MAX_SECRET = 4000
CLIENT_NAME = "Tertulia"
# Of RFC 6749, 5.2, and of services that answer so with status 200: the sign-in is over, or was never ours.
_OVER = (["invalid_grant"], ["invalid_client"], ["unauthorized_client"], ["bad_refresh_token"])
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
_PROBE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "tertulia", "version": "1"},
    },
}


class Flow(BaseModel):
    """A sign-in between the two halves."""

    client: OAuthClient
    issuer: str
    metadata: OAuthMetadata | None
    redirect_uri: str
    code_verifier: str
    scope: str | None


@dataclass(frozen=True)
class Begun:
    """Where the person goes, and what is needed when they come back."""

    url: str
    state: str
    flow: Flow


def client_metadata(redirect_uri: str) -> OAuthClientMetadata:
    """What this program says of itself (RFC 7591)."""
    is_web = urlsplit(redirect_uri).scheme == "https"
    return OAuthClientMetadata(
        redirect_uris=[AnyUrl(redirect_uri)],
        client_name=CLIENT_NAME,
        token_endpoint_auth_method="none",  # noqa: S106 - no program that people run keeps a secret of its own
        application_type="web" if is_web else "native",
    )


async def begin(
    client: httpx.AsyncClient,
    name: str,
    server_url: str,
    headers: Mapping[str, str],
    *,
    redirect_uri: str,
    metadata_url: str | None,
    given: GivenClient | None,
    scope_before: str | None,
) -> Begun:
    """Ask a server who signs people in for it, and be known there. Raises ToolSignInFailed, AddressRefused.

    `headers` are the server's own, and go nowhere else. `metadata_url` is where this program describes itself, where the web can read it: then it needs no registration.
    """
    hidden = [*headers.values(), *filter(None, [given.client_secret if given else None])]
    async with _calls(client, name, server_url, hidden) as http:
        probe = {**headers, "Accept": "application/json, text/event-stream"}
        async with http.stream("POST", server_url, json=_PROBE, headers=probe) as challenge:
            asks = challenge.status_code in (401, 403)  # what it says besides is in its headers
        resource = await _resource_metadata(http, challenge, server_url)
        if resource is None and not asks:
            raise ToolSignInFailed(f"{name} asks nobody to sign in: its tools can be used as they are.")
        issuer_url = str(resource.authorization_servers[0]) if resource else None
        metadata, issuer = await _issuer_metadata(http, issuer_url, server_url)
        about = client_metadata(redirect_uri)
        challenged = get_client_metadata_scopes(
            extract_scope_from_www_auth(challenge) if asks else None, resource, metadata, about.grant_types
        )
        about.scope = scope = _plain_scope(union_scopes(scope_before, challenged))
        base = _origin(server_url)
        token_endpoint = str(metadata.token_endpoint) if metadata else f"{base}/token"
        page = str(metadata.authorization_endpoint) if metadata else f"{base}/authorize"
        for url in (issuer, token_endpoint, page):
            _require_safe(server_url, url)
        methods = metadata.code_challenge_methods_supported if metadata else None
        if methods is not None and "S256" not in methods:
            raise OAuthFlowError("it does not take the proof (PKCE, S256) that the code is brought by who asked for it")
        known = await _known_as(http, name, metadata, about, base, metadata_url, given)
    pkce = PKCEParameters.generate()
    state = secrets.token_urlsafe(32)
    query = {
        "response_type": "code",
        "client_id": known.client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": pkce.code_challenge,
        "code_challenge_method": "S256",
        "resource": _resource(resource, server_url),
    }
    if scope:
        query["scope"] = scope
        if "offline_access" in scope.split():
            query["prompt"] = "consent"  # OpenID Connect asks for it there
    if len(known.client_id) > MAX_CLIENT_ID or len(known.client_secret or "") > MAX_SECRET:
        raise ToolSignInFailed(f"Signing in to {name} failed: it gave this program a name that is too long.")
    oauth_client = OAuthClient(
        client_id=known.client_id,
        client_secret=known.client_secret,
        auth_method=cast(Literal["none"], known.token_endpoint_auth_method or "none"),
        token_endpoint=token_endpoint,
        resource=query["resource"],
    )
    flow = Flow(
        client=oauth_client,
        issuer=issuer,
        metadata=_what_counts_later(metadata),
        redirect_uri=redirect_uri,
        code_verifier=pkce.code_verifier,
        scope=scope,
    )
    return Begun(url=f"{page}{'&' if urlsplit(page).query else '?'}{urlencode(query)}", state=state, flow=flow)


async def finish(client: httpx.AsyncClient, name: str, flow: Flow, *, code: str, iss: str | None) -> Grant:
    """The code that the person came back with, for tokens. Raises ToolSignInFailed."""
    hidden = [code, flow.code_verifier, *filter(None, [flow.client.client_secret])]
    async with _calls(client, name, flow.client.resource or flow.client.token_endpoint, hidden) as http:
        validate_authorization_response_iss(iss, flow.metadata)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": flow.redirect_uri,
            "code_verifier": flow.code_verifier,
        }
        answer = await _ask_for_token(http, flow.client, form)
        if answer.status_code != 200:
            raise OAuthTokenError(f"the answer has the status {answer.status_code} {' '.join(_error_of(answer))}")
        return _grant(answer, flow.scope, None)


async def renew(
    client: httpx.AsyncClient, name: str, known: OAuthClient, refresh_token: str, scope: str | None
) -> Grant:
    """The next tokens. Raises GrantRefused where there are none to be had, ServerFailed where it cannot be asked."""
    try:
        hidden = [refresh_token, *filter(None, [known.client_secret])]
        async with _calls(client, name, known.resource or known.token_endpoint, hidden) as http:
            answer = await _ask_for_token(http, known, {"grant_type": "refresh_token", "refresh_token": refresh_token})
            if _error_of(answer)[:1] in _OVER:
                raise GrantRefused(f"{name} does not renew your sign-in.")
            if answer.status_code != 200:
                raise ServerFailed(f"{name} cannot renew your sign-in at the moment (status {answer.status_code}).")
            return _grant(answer, scope, refresh_token)
    except ToolSignInFailed as error:
        raise ServerFailed(error.detail) from error


def wanted_scope(response: httpx2.Response) -> str | None:
    """What more a server wants to be allowed, where it knows who calls and that is not enough (RFC 6750, 3.1)."""
    if response.status_code != 403 or extract_field_from_www_auth(response, "error") != "insufficient_scope":
        return None
    return (extract_scope_from_www_auth(response) or "")[:2000]


def is_challenge(response: httpx2.Response) -> bool:
    """Whether a server asks to sign in, and not for a header that it wants."""
    said = response.headers.get("www-authenticate", "").lower()
    return response.status_code == 401 and said.startswith("bearer")


@asynccontextmanager
async def _calls(
    client: httpx.AsyncClient, name: str, server_url: str, secrets: Sequence[str]
) -> AsyncIterator[httpx2.AsyncClient]:
    """The guarded client, for addresses as safe as the server's own, with what goes wrong made a sentence without `secrets`."""

    async def check(request: httpx2.Request) -> None:
        _require_safe(server_url, str(request.url))

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


async def _resource_metadata(
    http: httpx2.AsyncClient, challenge: httpx2.Response, server_url: str
) -> ProtectedResourceMetadata | None:
    told = extract_resource_metadata_from_www_auth(challenge)
    is_away = False
    for url in build_protected_resource_metadata_discovery_urls(told, server_url):
        answer = await http.send(create_oauth_metadata_request(url))
        is_away = is_away or answer.status_code >= 500 or answer.status_code == 429
        found = await handle_protected_resource_response(answer)
        if found is not None:
            wanted = resource_url_from_server_url(server_url)
            if not check_resource_allowed(requested_resource=wanted, configured_resource=str(found.resource)):
                raise OAuthFlowError(f"it says that it is {found.resource}, which is another address")
            return found
    if is_away:
        raise OAuthFlowError("it does not say who signs people in at the moment")
    return None


async def _issuer_metadata(
    http: httpx2.AsyncClient, issuer_url: str | None, server_url: str
) -> tuple[OAuthMetadata | None, str]:
    """What who signs people in says of itself, and its name."""
    issuer = issuer_url or _origin(server_url)
    for url in build_oauth_authorization_server_metadata_discovery_urls(issuer_url, server_url):
        goes_on, found = await handle_auth_metadata_response(await http.send(create_oauth_metadata_request(url)))
        if found is not None:
            if issuer_url is None and issuers_match(str(found.issuer), issuer):
                issuer = str(found.issuer)
            validate_metadata_issuer(found, issuer)
            return found, issuer
        if not goes_on:
            break
    if issuer_url is not None:
        raise OAuthFlowError(f"{issuer_url} does not say how people sign in there")
    return None, issuer


async def _known_as(
    http: httpx2.AsyncClient,
    name: str,
    metadata: OAuthMetadata | None,
    about: OAuthClientMetadata,
    base: str,
    metadata_url: str | None,
    given: GivenClient | None,
) -> OAuthClientInformationFull:
    if given is not None:
        method = "none"
        if given.client_secret is not None:
            offered = (metadata.token_endpoint_auth_methods_supported if metadata else None) or ["client_secret_basic"]
            method = "client_secret_basic" if "client_secret_basic" in offered else "client_secret_post"
        return OAuthClientInformationFull(
            client_id=given.client_id, client_secret=given.client_secret, token_endpoint_auth_method=method
        )
    if metadata_url is not None and should_use_client_metadata_url(metadata, metadata_url):
        return create_client_info_from_metadata_url(metadata_url, redirect_uris=about.redirect_uris)
    if metadata is not None and metadata.registration_endpoint is None:
        where, back = urlsplit(str(metadata.issuer)).netloc, about.redirect_uris[0] if about.redirect_uris else ""
        raise ToolSignInFailed(
            f"{name} has people sign in at {where}, which registers no programs by itself. Register one there with the "
            f"address {back} to come back to, and enter its client id here.",
            field="client_id",
        )
    answer = await http.send(create_client_registration_request(metadata, about, base))
    made = await handle_registration_response(answer)
    check_registration_usable(made)
    return made


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
    """Who is not told otherwise has what they asked for, and keeps the refresh token that they have (RFC 6749, 5.1 and 6)."""
    try:
        token = OAuthToken.model_validate_json(answer.content)
    except ValidationError:
        raise OAuthTokenError("the answer is no token") from None
    for value in (token.access_token, token.refresh_token or "x"):
        if not value or not value.isascii() or not value.isprintable() or len(value) > 16_000:
            raise OAuthTokenError("the answer is no token that can be sent")
    life_s = min(max(token.expires_in, 0), MAX_LIFE_S) if token.expires_in is not None else None
    return Grant(
        access_token=token.access_token,
        token_type=token.token_type,
        refresh_token=token.refresh_token or refresh_token,
        scope=_plain_scope(token.scope) or asked_scope,
        expires_at=clock.now() + timedelta(seconds=life_s) if life_s is not None else None,
    )


def _error_of(answer: httpx2.Response) -> list[str]:
    """Its own words for why, where it has any: a code of RFC 6749 and a sentence."""
    try:
        told = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return []
    words = [told.get(key) for key in ("error", "error_description")] if isinstance(told, dict) else []
    return [word[:200] for word in words if isinstance(word, str)]


def _resource(found: ProtectedResourceMetadata | None, server_url: str) -> str:
    return str(found.resource) if found else resource_url_from_server_url(server_url)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _plain_scope(scope: str | None) -> str | None:
    """The words of a scope, of the characters that such may have (RFC 6749, 3.3), as many as one would look at."""
    kept = ""
    for word in (scope or "").split():
        longer = f"{kept} {word}".strip()
        if word.isascii() and word.isprintable() and len(longer) <= MAX_SCOPE:
            kept = longer
    return kept or None


def _what_counts_later(metadata: OAuthMetadata | None) -> OAuthMetadata | None:
    """What says who signed the person in; the rest may be long, and is not kept."""
    if metadata is None:
        return None
    return OAuthMetadata(
        issuer=metadata.issuer,
        authorization_endpoint=metadata.authorization_endpoint,
        token_endpoint=metadata.token_endpoint,
        authorization_response_iss_parameter_supported=metadata.authorization_response_iss_parameter_supported,
    )


def _require_safe(server_url: str, url: str) -> None:
    """Passwords and tokens go over TLS, unless the server itself is spoken to without; and to the host that one sees."""
    parts = urlsplit(url)
    if len(url) > MAX_URL:
        raise OAuthFlowError("it names an address that is too long")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise OAuthFlowError("it names an address that looks like another")
    if parts.scheme != "https" and (parts.scheme != "http" or urlsplit(server_url).scheme != "http"):
        raise OAuthFlowError(f"{url[:200]} is not reached over https")
