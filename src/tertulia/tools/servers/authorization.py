"""OAuth as MCP servers ask for it: finding who signs people in, and being known there. tokens.py is what comes after.

What is told is read and checked by the `mcp` package (RFC 9728, 8414, 7591, 8707). Its own flow waits in one process for the
person to come back; here it is cut in two, so that any process can go on with it, also after a restart.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import urlencode, urlsplit

import httpx
import httpx2
from mcp.client.auth import OAuthFlowError, PKCEParameters
from mcp.client.auth.oauth2 import check_registration_usable
from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    build_protected_resource_metadata_discovery_urls,
    create_client_info_from_metadata_url,
    create_client_registration_request,
    create_oauth_metadata_request,
    extract_resource_metadata_from_www_auth,
    extract_scope_from_www_auth,
    get_client_metadata_scopes,
    handle_auth_metadata_response,
    handle_protected_resource_response,
    handle_registration_response,
    issuers_match,
    should_use_client_metadata_url,
    union_scopes,
    validate_metadata_issuer,
)
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthMetadata, ProtectedResourceMetadata
from mcp.shared.auth_utils import check_resource_allowed, resource_url_from_server_url
from pydantic import AnyUrl

from tertulia.tools.errors import ToolSignInFailed
from tertulia.tools.servers.grants import GivenClient, OAuthClient
from tertulia.tools.servers.issuer_calls import issuer_calls, plain_scope, require_safe
from tertulia.tools.servers.tokens import Flow

MAX_CLIENT_ID = 2000
MAX_SECRET = 4000
CLIENT_NAME = "Tertulia"
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

    `headers` are the server's own, and go nowhere else. `metadata_url` is where this program describes itself, where the web can
    read it: then it needs no registration.
    """
    hidden = [*headers.values(), *filter(None, [given.client_secret if given else None])]
    async with issuer_calls(client, name, server_url, hidden) as http:
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
        about.scope = scope = plain_scope(union_scopes(scope_before, challenged))
        base = _origin(server_url)
        token_endpoint = str(metadata.token_endpoint) if metadata else f"{base}/token"
        page = str(metadata.authorization_endpoint) if metadata else f"{base}/authorize"
        for url in (issuer, token_endpoint, page):
            require_safe(server_url, url)
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


def _resource(found: ProtectedResourceMetadata | None, server_url: str) -> str:
    return str(found.resource) if found else resource_url_from_server_url(server_url)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


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
