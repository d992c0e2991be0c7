"""Routes for MCP servers: the user's own, and those that the operator provides to all users."""

from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.accounts.confirmation import require_confirmed
from tertulia.http.limits import RateLimit, RateLimits
from tertulia.http.paging import Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.ids import ToolServerId
from tertulia.keyring import KeyRing
from tertulia.tools.servers import service
from tertulia.tools.servers.schemas import ToolServerCreate, ToolServerRead, ToolServerUpdate
from tertulia.tools.tool_catalogue import ToolCatalogue

READS_A_MINUTE = 30


routes = Routes("tool servers")


READS = RateLimit("tool server reads", READS_A_MINUTE, 60)


@routes.add("GET", "/tool-servers", access=Access.SIGNED_IN, gives=Page[ToolServerRead])
async def get_tool_servers(caller: CallerDep) -> Response:
    """List the operator's servers, which have no id, then the caller's own servers, oldest first."""
    catalogue = caller.service(ToolCatalogue)
    await catalogue.first_read()
    own = await caller.read(service.list_servers)
    return json_response({"items": [*catalogue.operators(), *own], "next_cursor": None})


@routes.add("POST", "/tool-servers", access=Access.SIGNED_IN, gives=ToolServerRead, status=201, problems=(409, 429))
async def post_tool_server(caller: CommandDep, new: ToolServerCreate) -> Response:
    """Add a server, then ask for its tools. A later GET returns the result in `tools` and `last_error`."""
    catalogue = caller.service(ToolCatalogue)
    caller.service(RateLimits).take(READS, (await caller.actor()).user_id)
    created_ids: list[str] = []

    def create(session: Session, actor: Actor) -> ToolServerRead:
        require_confirmed(session, actor)
        server = service.create_server(session, actor, new, caller.service(KeyRing), catalogue.names_taken())
        created_ids[:] = [server["id"] or ""]
        return server

    answer = await caller.command(201, create)
    if created_ids:
        await catalogue.read_server(created_ids[0], actor=await caller.actor())
    return answer


@routes.add(
    "PATCH", "/tool-servers/{server_id}", access=Access.SIGNED_IN, gives=ToolServerRead, problems=(404, 409, 429)
)
async def patch_tool_server(caller: CommandDep, server_id: ToolServerId, update: ToolServerUpdate) -> Response:
    catalogue = caller.service(ToolCatalogue)
    is_moved = bool(update.model_fields_set & {"url", "headers"})
    if is_moved:
        caller.service(RateLimits).take(READS, (await caller.actor()).user_id)

    def change(session: Session, actor: Actor) -> ToolServerRead:
        service.get_server(session, actor, server_id)
        if is_moved:
            require_confirmed(session, actor)
        taken = catalogue.names_taken()
        return service.update_server(session, actor, server_id, update, caller.service(KeyRing), taken)

    answer = await caller.command(200, change)
    if is_moved:
        await catalogue.read_server(server_id, actor=await caller.actor())
    return answer


@routes.add("DELETE", "/tool-servers/{server_id}", access=Access.SIGNED_IN, status=204, problems=(404,))
async def delete_tool_server(caller: CommandDep, server_id: ToolServerId) -> Response:
    return await caller.command(204, service.delete_server, server_id)


@routes.add(
    "POST", "/tool-servers/{server_id}/refresh", access=Access.SIGNED_IN, gives=ToolServerRead, problems=(404, 429)
)
async def refresh_tool_server(caller: CallerDep, server_id: ToolServerId) -> Response:
    """Ask the server for its tools again. Changed tools are not used before they are accepted."""
    actor = await caller.actor()
    caller.service(RateLimits).take(READS, actor.user_id)
    await caller.service(ToolCatalogue).read_server(server_id, actor=actor)
    return json_response(await caller.read(service.read_own_server, server_id))
