"""Routes to sign in to and out of the user's own MCP servers."""

from fastapi import Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import CallerDep, CommandDep, is_over_tls
from tertulia.accounts.confirmation import require_confirmed
from tertulia.errors import Invalid, NotFound
from tertulia.http.limits import RateLimit, RateLimits
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes, service_of
from tertulia.ids import AnyId, ToolServerId
from tertulia.keyring import KeyRing
from tertulia.settings import Settings
from tertulia.tools.servers import service
from tertulia.tools.servers.grants import EnteredClient
from tertulia.tools.servers.schemas import (
    OAuthClientDocument,
    ToolServerRead,
    ToolSignInCreate,
    ToolSignInFinish,
    ToolSignInRead,
)
from tertulia.tools.servers.sign_in import SignInRequest, read_sign_in_request, sign_out
from tertulia.tools.tool_catalogue import ToolCatalogue

TRIES_A_MINUTE = 30
BACK = "/tool-servers/sign-in"  # the page that the browser returns to
DOCUMENT = "/oauth/client"


routes = Routes("signing in to tool servers")


TRIES = RateLimit("tool server sign-ins", TRIES_A_MINUTE, 60)


def _document_url(request: Request) -> str | None:
    """Return the address of the client document. None without TLS: authorization servers read it over the web."""
    public_url = service_of(request, Settings).public_url
    return f"{public_url}/api/v1{DOCUMENT}" if public_url and public_url.startswith("https://") else None


def redirect_uri(request: Request) -> str:
    scheme = "https" if is_over_tls(request) else "http"
    return f"{service_of(request, Settings).public_url or f'{scheme}://{request.url.netloc}'}{BACK}"


@routes.add(
    "POST", "/tool-servers/{server_id}/sign-in", access=Access.SIGNED_IN, gives=ToolSignInRead, problems=(404, 429)
)
async def post_sign_in(caller: CallerDep, server_id: AnyId, body: ToolSignInCreate, request: Request) -> Response:
    """Start signing in. The browser opens `url`, the authorization server, and must return within ten minutes."""
    if body.client_secret is not None and body.client_id is None:
        raise Invalid("A client secret needs a client id. Enter both.", field="client_id")

    def look(session: Session, actor: Actor) -> SignInRequest:
        sign_in = read_sign_in_request(session, actor, server_id, caller.service(KeyRing))
        require_confirmed(session, actor)
        return sign_in

    sign_in = await caller.read(look)
    actor = await caller.actor()
    caller.service(RateLimits).take(TRIES, actor.user_id)
    client = EnteredClient(client_id=body.client_id, client_secret=body.client_secret) if body.client_id else None
    start = await caller.service(ToolCatalogue).begin_sign_in(
        sign_in, client, actor=actor, redirect_uri=redirect_uri(request), metadata_url=_document_url(request)
    )
    return json_response(start)


@routes.add("POST", "/tool-servers/sign-in", access=Access.SIGNED_IN, gives=ToolServerRead, problems=(409, 429))
async def post_back(caller: CallerDep, body: ToolSignInFinish) -> Response:
    """Finish signing in with the parameters of the redirect. Works once, for the user who started it."""
    actor = await caller.actor()
    caller.service(RateLimits).take(TRIES, actor.user_id)
    server_id = await caller.service(ToolCatalogue).finish_sign_in(body, actor=actor)
    return json_response(await caller.read(service.read_own_server, ToolServerId(server_id)))


@routes.add(
    "DELETE", "/tool-servers/{server_id}/sign-in", access=Access.SIGNED_IN, gives=ToolServerRead, problems=(404,)
)
async def delete_sign_in(caller: CommandDep, server_id: AnyId) -> Response:
    """Delete the tokens. The service may list Tertulia as connected until the user removes it there."""
    return await caller.command(200, sign_out, server_id)


@routes.add("GET", DOCUMENT, access=Access.PUBLIC, gives=OAuthClientDocument, problems=(404,))
async def get_client_document(request: Request) -> Response:
    """Return the OAuth Client ID Metadata Document, which describes Tertulia to authorization servers."""
    document_url, public_url = _document_url(request), service_of(request, Settings).public_url
    if document_url is None:
        raise NotFound
    return json_response(
        {
            "client_id": document_url,
            "client_name": "Tertulia",
            "client_uri": public_url,
            "redirect_uris": [f"{public_url}{BACK}"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "web",
        }
    )
