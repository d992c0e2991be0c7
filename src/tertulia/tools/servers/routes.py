"""MCP servers over HTTP: those of the person, and those that the operator gives to everybody."""

from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.accounts.confirmation import require_confirmed
from tertulia.http.answers import json_response
from tertulia.http.limits import TryLimit, TryLimits
from tertulia.http.paging import Page
from tertulia.http.routing import Access, Routes
from tertulia.ids import ToolServerId
from tertulia.keyring import KeyRing
from tertulia.tools.catalogue import ToolCatalogue
from tertulia.tools.servers import service
from tertulia.tools.servers.schemas import ToolServerCreate, ToolServerRead, ToolServerUpdate

READS_A_MINUTE = 30


routes = Routes("tool servers")


READS = TryLimit("tool server reads", READS_A_MINUTE, 60)


@routes.add("GET", "/tool-servers", access=Access.SIGNED_IN, gives=Page[ToolServerRead])
async def get_tool_servers(caller: CallerDep) -> Response:
    """One's own, oldest first, after those of the operator, which have no id."""
    catalogue = caller.service(ToolCatalogue)
    await catalogue.first_read()
    own = await caller.read(service.list_servers)
    return json_response({"items": [*catalogue.operators(), *own], "next_cursor": None})


@routes.add("POST", "/tool-servers", access=Access.SIGNED_IN, gives=ToolServerRead, status=201, problems=(409, 429))
async def post_tool_server(caller: CommandDep, new: ToolServerCreate) -> Response:
    """Added first and asked what it offers then: see `tools` and `last_error` of what GET gives afterwards."""
    catalogue = caller.service(ToolCatalogue)
    caller.service(TryLimits).take(READS, (await caller.actor()).user_id)
    made: list[str] = []

    def create(session: Session, actor: Actor) -> ToolServerRead:
        require_confirmed(session, actor)
        server = service.create_server(session, actor, new, caller.service(KeyRing), catalogue.names_taken())
        made[:] = [server["id"] or ""]
        return server

    answer = await caller.command(201, create)
    if made:
        await catalogue.read_server(made[0], actor=await caller.actor())
    return answer


@routes.add(
    "PATCH",
    "/tool-servers/{server_id}",
    access=Access.SIGNED_IN,
    gives=ToolServerRead,
    problems=(404, 409, 429),
)
async def patch_tool_server(caller: CommandDep, server_id: ToolServerId, update: ToolServerUpdate) -> Response:
    catalogue = caller.service(ToolCatalogue)
    is_moved = bool(update.model_fields_set & {"url", "headers"})
    if is_moved:
        caller.service(TryLimits).take(READS, (await caller.actor()).user_id)

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
    "POST",
    "/tool-servers/{server_id}/refresh",
    access=Access.SIGNED_IN,
    gives=ToolServerRead,
    problems=(404, 429),
)
async def refresh_tool_server(caller: CallerDep, server_id: ToolServerId) -> Response:
    """Ask it anew what it offers. What changed is not taken over before it is accepted."""
    actor = await caller.actor()
    caller.service(TryLimits).take(READS, actor.user_id)
    await caller.service(ToolCatalogue).read_server(server_id, actor=actor)
    return json_response(await caller.read(service.read_own_server, server_id))
