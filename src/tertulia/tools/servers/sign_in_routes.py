"""Signing in to one's own MCP servers: there, and back."""

from fastapi import Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import CallerDep, CommandDep, is_over_tls
from tertulia.accounts.confirmation import require_confirmed
from tertulia.errors import Invalid, NotFound
from tertulia.http.answers import json_response
from tertulia.http.limits import TryLimit
from tertulia.http.routing import Access, Routes
from tertulia.ids import AnyId, ToolServerId
from tertulia.tools.catalogue import ToolCatalogue
from tertulia.tools.servers import service
from tertulia.tools.servers.grants import GivenClient
from tertulia.tools.servers.schemas import (
    OAuthClientDocument,
    ToolServerRead,
    ToolSignInCreate,
    ToolSignInFinish,
    ToolSignInRead,
)
from tertulia.tools.servers.sign_in import Wish, read_wish, sign_out

TRIES_A_MINUTE = 30
BACK = "/tool-servers/sign-in"  # the page that one comes back to
DOCUMENT = "/oauth/client"


def tool_sign_in_routes(catalogue: ToolCatalogue, public_url: str | None) -> Routes:
    routes = Routes("signing in to tool servers")
    tries = TryLimit(TRIES_A_MINUTE, 60)
    # Services read it over the web, and take no address without TLS for a name.
    document_url = f"{public_url}/api/v1{DOCUMENT}" if public_url and public_url.startswith("https://") else None

    def redirect_uri(request: Request) -> str:
        scheme = "https" if is_over_tls(request) else "http"
        return f"{public_url or f'{scheme}://{request.url.netloc}'}{BACK}"

    @routes.add(
        "POST",
        "/tool-servers/{server_id}/sign-in",
        access=Access.SIGNED_IN,
        gives=ToolSignInRead,
        problems=(404, 429),
    )
    async def post_sign_in(caller: CallerDep, server_id: AnyId, given: ToolSignInCreate, request: Request) -> Response:
        """Begin: ask the server who signs people in for it. The browser goes to `url`, and comes back within ten minutes."""
        if given.client_secret is not None and given.client_id is None:
            raise Invalid("A secret belongs to a client id: enter that too.", field="client_id")

        def look(session: Session, actor: Actor) -> Wish:
            wish = read_wish(session, server_id, catalogue.ring, actor=actor)
            require_confirmed(session, actor)
            return wish

        wish = await caller.read(look)
        actor = await caller.actor()
        tries.take(actor.user_id)
        known = GivenClient(client_id=given.client_id, client_secret=given.client_secret) if given.client_id else None
        begun = await catalogue.begin_sign_in(
            wish, known, redirect_uri=redirect_uri(request), metadata_url=document_url, actor=actor
        )
        return json_response(begun)

    @routes.add("POST", "/tool-servers/sign-in", access=Access.SIGNED_IN, gives=ToolServerRead, problems=(409, 429))
    async def post_back(caller: CallerDep, came: ToolSignInFinish) -> Response:
        """Back, with what the service put into the address. It counts once, and for whoever began it in this browser."""
        actor = await caller.actor()
        tries.take(actor.user_id)
        server_id = await catalogue.finish_sign_in(came, actor=actor)
        return json_response(
            await caller.read(
                lambda session, actor: service.read_server(
                    session, service.get_server(session, ToolServerId(server_id), actor=actor)
                )
            )
        )

    @routes.add(
        "DELETE",
        "/tool-servers/{server_id}/sign-in",
        access=Access.SIGNED_IN,
        gives=ToolServerRead,
        problems=(404,),
    )
    async def delete_sign_in(caller: CommandDep, server_id: AnyId) -> Response:
        """Forget the tokens. The service still lists this program among those it knows, until one removes it there."""
        return await caller.command(200, lambda session, actor: sign_out(session, server_id, actor=actor))

    @routes.add("GET", DOCUMENT, access=Access.PUBLIC, gives=OAuthClientDocument, problems=(404,))
    async def get_client_document() -> Response:
        """What this program says of itself to services that sign people in (Client ID Metadata Document)."""
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

    return routes
