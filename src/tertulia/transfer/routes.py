"""Files out over HTTP."""

from typing import Annotated
from urllib.parse import quote

from fastapi import Query
from starlette.responses import Response

from tertulia.accounts.caller import CallerDep
from tertulia.http.routing import Access, Routes
from tertulia.ids import AnyId, ChatId
from tertulia.transfer.one_chat import Format, export_chat


def transfer_routes() -> Routes:
    routes = Routes("transfer")

    @routes.add("GET", "/chats/{chat_id}/export", access=Access.SIGNED_IN, problems=(404,))
    async def get_export(
        caller: CallerDep,
        chat_id: AnyId,
        format: Annotated[Format, Query(description="The branch on show to read, or all of it as JSON.")] = "markdown",
    ) -> Response:
        """The chat as a file to be saved."""
        exported = await caller.read_long(
            lambda session, actor: export_chat(session, ChatId(chat_id), format, actor=actor)
        )
        return Response(
            exported.content,
            media_type=exported.media_type,
            headers={
                "Content-Disposition": f"attachment; filename*=UTF-8''{quote(exported.file_name, safe='')}",
                # Were a browser to show it all the same, it would be a page of nobody's.
                "Content-Security-Policy": "sandbox; default-src 'none'",
            },
        )

    return routes
