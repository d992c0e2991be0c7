"""Revoke shares of any kind of object. The domains have the routes that create and list their own."""

from starlette.responses import Response

from tertulia.accounts.caller import CommandDep
from tertulia.accounts.sharing import Shareables, revoke_share
from tertulia.http.routing import Access, Routes
from tertulia.ids import ShareId

routes = Routes("shares")


@routes.add("DELETE", "/shares/{share_id}", access=Access.SIGNED_IN, status=204, problems=(404,))
async def delete_share(caller: CommandDep, share_id: ShareId) -> Response:
    return await caller.command(204, revoke_share, share_id, caller.service(Shareables))
