"""Routes of notes."""

from starlette.responses import Response
from tertulia.notes import service
from tertulia.notes.schemas import NoteCreate, NoteRead

from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.accounts.schemas import ShareCreate, ShareCreated
from tertulia.http.paging import Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.ids import AnyId

routes = Routes("notes")


@routes.add("POST", "/notes", access=Access.SIGNED_IN, gives=NoteRead, status=201)
async def post_note(caller: CommandDep, new: NoteCreate) -> Response:
    return await caller.command(201, service.create_note, new)


@routes.add("GET", "/notes", access=Access.SIGNED_IN, gives=Page[NoteRead])
async def get_notes(caller: CallerDep) -> Response:
    return json_response({"items": await caller.read(service.list_notes), "next_cursor": None})


@routes.add("POST", "/notes/{note_id}/shares", access=Access.SIGNED_IN, gives=ShareCreated, status=201, problems=(404,))
async def post_share(caller: CommandDep, note_id: AnyId, new: ShareCreate) -> Response:
    return await caller.command_with_secret(201, "token", service.share_note, note_id, new)
