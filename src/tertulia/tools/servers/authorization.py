"""Start the OAuth flow of an MCP server: find its authorization server and register there. tokens.py finishes it.

The `mcp` package parses and checks the responses (RFC 9728, 8414, 7591, 8707). Its flow waits in one process for the
person to return. Here the flow has two halves, so that any process can finish it, also after a restart.
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
from tertulia.tools.servers.grants import EnteredClient, OAuthClient
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
class SignInStart:
    """A started sign-in: the URL to send the person to, and the state needed when they return."""

    url: str
    state: str
    flow: Flow


def client_metadata(redirect_uri: str) -> OAuthClientMetadata:
    """Return the metadata with which this program registers as a client (RFC 7591)."""
    is_web = urlsplit(redirect_uri).scheme == "https"
    return OAuthClientMetadata(
        redirect_uris=[AnyUrl(redirect_uri)],
        client_name=CLIENT_NAME,
        token_endpoint_auth_method="none",  # noqa: S106 - a program that people run themselves cannot keep a secret
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
    registered_client: EnteredClient | None,
    scope_before: str | None,
) -> SignInStart:
    """Find the server's authorization server and register there. Raises ToolSignInFailed, AddressRefused.

    `headers` are sent to the server only. `metadata_url` is the public URL of this program's client metadata, if there
    is one. It replaces registration where the service supports that.
    """
    hidden = [*headers.values(), *filter(None, [registered_client.client_secret if registered_client else None])]
    async with issuer_calls(client, name, server_url, hidden) as http:
        probe = {**headers, "Accept": "application/json, text/event-stream"}
        async with http.stream("POST", server_url, json=_PROBE, headers=probe) as challenge:
            is_challenged = challenge.status_code in (401, 403)  # the details are in its headers
        resource = await _resource_metadata(http, challenge, server_url)
        if resource is None and not is_challenged:
            raise ToolSignInFailed(f"{name} does not require a sign-in. You can use its tools directly.")
        issuer_url = str(resource.authorization_servers[0]) if resource else None
        metadata, issuer = await _issuer_metadata(http, issuer_url, server_url)
        own_metadata = client_metadata(redirect_uri)
        challenged = get_client_metadata_scopes(
            extract_scope_from_www_auth(challenge) if is_challenged else None,
            resource,
            metadata,
            own_metadata.grant_types,
        )
        own_metadata.scope = scope = plain_scope(union_scopes(scope_before, challenged))
        base = _origin(server_url)
        token_endpoint = str(metadata.token_endpoint) if metadata else f"{base}/token"
        authorization_url = str(metadata.authorization_endpoint) if metadata else f"{base}/authorize"
        _check_service(server_url, metadata, (issuer, token_endpoint, authorization_url))
        registration = await _known_as(http, name, metadata, own_metadata, base, metadata_url, registered_client)
    if len(registration.client_id) > MAX_CLIENT_ID or len(registration.client_secret or "") > MAX_SECRET:
        raise ToolSignInFailed(f"Signing in to {name} failed: the client ID or secret that it issued is too long.")
    oauth_client = OAuthClient(
        client_id=registration.client_id,
        client_secret=registration.client_secret,
        auth_method=cast(Literal["none"], registration.token_endpoint_auth_method or "none"),
        token_endpoint=token_endpoint,
        resource=_resource(resource, server_url),
    )
    pkce = PKCEParameters.generate()
    flow = Flow(
        client=oauth_client,
        issuer=issuer,
        metadata=_what_counts_later(metadata),
        redirect_uri=redirect_uri,
        code_verifier=pkce.code_verifier,
        scope=scope,
    )
    return _start_of(flow, authorization_url, pkce.code_challenge)


def _check_service(server_url: str, metadata: OAuthMetadata | None, urls: tuple[str, ...]) -> None:
    """Check that the service's URLs are safe to call and that it protects the authorization code."""
    for url in urls:
        require_safe(server_url, url)
    methods = metadata.code_challenge_methods_supported if metadata else None
    if methods is not None and "S256" not in methods:
        raise OAuthFlowError("it does not support PKCE with S256, which protects the authorization code")


def _start_of(flow: Flow, authorization_url: str, code_challenge: str) -> SignInStart:
    """Return the URL to send the person to, with a new state that the callback must repeat."""
    state = secrets.token_urlsafe(32)
    query = {
        "response_type": "code",
        "client_id": flow.client.client_id,
        "redirect_uri": flow.redirect_uri,
        "state": state,
        "code_challenge": code_challenge,
        "code_challenge_method": "S256",
        "resource": flow.client.resource,
    }
    if flow.scope:
        query["scope"] = flow.scope
        if "offline_access" in flow.scope.split():
            query["prompt"] = "consent"  # OpenID Connect requires it for offline access
    separator = "&" if urlsplit(authorization_url).query else "?"
    return SignInStart(url=f"{authorization_url}{separator}{urlencode(query)}", state=state, flow=flow)


async def _resource_metadata(
    http: httpx2.AsyncClient, challenge: httpx2.Response, server_url: str
) -> ProtectedResourceMetadata | None:
    hinted_url = extract_resource_metadata_from_www_auth(challenge)
    is_unavailable = False
    for url in build_protected_resource_metadata_discovery_urls(hinted_url, server_url):
        answer = await http.send(create_oauth_metadata_request(url))
        is_unavailable = is_unavailable or answer.status_code >= 500 or answer.status_code == 429
        metadata = await handle_protected_resource_response(answer)
        if metadata is not None:
            server_resource = resource_url_from_server_url(server_url)
            if not check_resource_allowed(
                requested_resource=server_resource, configured_resource=str(metadata.resource)
            ):
                raise OAuthFlowError(f"its metadata is for {metadata.resource}, which is another address")
            return metadata
    if is_unavailable:
        raise OAuthFlowError("its sign-in metadata is not available at the moment; try again later")
    return None


async def _issuer_metadata(
    http: httpx2.AsyncClient, issuer_url: str | None, server_url: str
) -> tuple[OAuthMetadata | None, str]:
    """Return the metadata of the authorization server, or None if it has none, and the issuer."""
    issuer = issuer_url or _origin(server_url)
    for url in build_oauth_authorization_server_metadata_discovery_urls(issuer_url, server_url):
        should_continue, metadata = await handle_auth_metadata_response(
            await http.send(create_oauth_metadata_request(url))
        )
        if metadata is not None:
            if issuer_url is None and issuers_match(str(metadata.issuer), issuer):
                issuer = str(metadata.issuer)
            validate_metadata_issuer(metadata, issuer)
            return metadata, issuer
        if not should_continue:
            break
    if issuer_url is not None:
        raise OAuthFlowError(f"{issuer_url} does not publish authorization server metadata")
    return None, issuer


async def _known_as(
    http: httpx2.AsyncClient,
    name: str,
    metadata: OAuthMetadata | None,
    own_metadata: OAuthClientMetadata,
    base: str,
    metadata_url: str | None,
    registered_client: EnteredClient | None,
) -> OAuthClientInformationFull:
    if registered_client is not None:
        method = "none"
        if registered_client.client_secret is not None:
            methods = (metadata.token_endpoint_auth_methods_supported if metadata else None) or ["client_secret_basic"]
            method = "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"
        return OAuthClientInformationFull(
            client_id=registered_client.client_id,
            client_secret=registered_client.client_secret,
            token_endpoint_auth_method=method,
        )
    if metadata_url is not None and should_use_client_metadata_url(metadata, metadata_url):
        return create_client_info_from_metadata_url(metadata_url, redirect_uris=own_metadata.redirect_uris)
    if metadata is not None and metadata.registration_endpoint is None:
        host, redirect_uri = (
            urlsplit(str(metadata.issuer)).netloc,
            own_metadata.redirect_uris[0] if own_metadata.redirect_uris else "",
        )
        raise ToolSignInFailed(
            f"{name} uses {host} for sign-in, which does not register clients automatically. Register a client there "
            f"with the redirect URL {redirect_uri}, and enter its client ID here.",
            field="client_id",
        )
    answer = await http.send(create_client_registration_request(metadata, own_metadata, base))
    registration = await handle_registration_response(answer)
    check_registration_usable(registration)
    return registration


def _resource(metadata: ProtectedResourceMetadata | None, server_url: str) -> str:
    return str(metadata.resource) if metadata else resource_url_from_server_url(server_url)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _what_counts_later(metadata: OAuthMetadata | None) -> OAuthMetadata | None:
    """Keep only the metadata fields that the second half needs: the rest may be long."""
    if metadata is None:
        return None
    return OAuthMetadata(
        issuer=metadata.issuer,
        authorization_endpoint=metadata.authorization_endpoint,
        token_endpoint=metadata.token_endpoint,
        authorization_response_iss_parameter_supported=metadata.authorization_response_iss_parameter_supported,
    )
