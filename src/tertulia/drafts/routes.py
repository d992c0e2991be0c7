"""Routes for drafts. Requests for a model's edits start a run and are in runs/draft_routes.py."""

from typing import Annotated

from fastapi import Header, Path, Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import CallerDep, CommandDep, StatusOverride
from tertulia.accounts.row_limits import RowLimits
from tertulia.accounts.schemas import ShareCreate, ShareCreated, ShareRead
from tertulia.chat.schemas import ChatRead
from tertulia.drafts import attached, service, shared_drafts, working_copies
from tertulia.drafts.errors import DraftChanged, IfMatchMissing
from tertulia.drafts.schemas import (
    Authorship,
    DiffRead,
    DraftCreate,
    DraftListed,
    DraftRead,
    DraftUpdate,
    VersionCreate,
    VersionListed,
    VersionMade,
    VersionRead,
    VersionUpdate,
    WorkingCopyPut,
    WorkingCopyStored,
)
from tertulia.drafts.versions import lock_draft
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.ids import ChatId, DraftId

Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="The version's number.")]


draft_routes = Routes("drafts")


@draft_routes.add("GET", "/drafts", access=Access.SIGNED_IN, gives=Page[DraftListed])
async def get_drafts(
    caller: CallerDep,
    trash: Annotated[bool, Query(description="List drafts in the trash instead.")] = False,
    limit: Limit = 50,
    cursor: CursorText = None,
) -> Response:
    cursors = caller.service(Cursors)
    kind = f"drafts.{trash}"
    key = cursors.decode(kind, cursor)
    after = (int(key[0]), str(key[1])) if key else None
    drafts = await caller.read(service.list_drafts, shown="trash" if trash else "active", after=after, limit=limit + 1)
    more = len(drafts) > limit
    drafts = drafts[:limit]
    next_cursor = cursors.encode(kind, service.draft_key(drafts[-1])) if more else None
    return json_response({"items": drafts, "next_cursor": next_cursor})


@draft_routes.add("POST", "/drafts", access=Access.SIGNED_IN, gives=DraftRead, status=201, problems=(404,))
async def post_draft(caller: CommandDep, new: DraftCreate) -> Response:
    return await caller.command(201, service.create_draft, new, caller.service(RowLimits))


@draft_routes.add("GET", "/drafts/{draft_id}", access=Access.SIGNED_IN, gives=DraftRead, problems=(404,))
async def get_draft(caller: CallerDep, draft_id: DraftId) -> Response:
    draft = await caller.read(service.get_draft, draft_id)
    return json_response(draft, headers={"ETag": f'"{draft["revision"]}"'})


@draft_routes.add("PATCH", "/drafts/{draft_id}", access=Access.SIGNED_IN, gives=DraftRead, problems=(404, 409, 428))
async def patch_draft(
    caller: CommandDep,
    draft_id: DraftId,
    update: DraftUpdate,
    if_match: Annotated[str | None, Header(max_length=100, description="The ETag of the draft as read.")] = None,
) -> Response:
    """Update title and description, unless they were changed since they were read."""

    def change(session: Session, actor: Actor) -> DraftRead:
        service.own_draft(session, actor, draft_id)
        if if_match is None:
            raise IfMatchMissing
        read = if_match.strip().removeprefix("W/").strip('"')
        if not (read.isascii() and read.isdigit() and len(read) < 10):
            raise DraftChanged
        return service.update_draft(session, actor, draft_id, update, revision=int(read))

    return await caller.command(200, change)


@draft_routes.add("DELETE", "/drafts/{draft_id}", access=Access.SIGNED_IN, status=204, problems=(404,))
async def delete_draft(caller: CommandDep, draft_id: DraftId) -> Response:
    return await caller.command(204, service.delete_draft, draft_id)


@draft_routes.add("POST", "/drafts/{draft_id}/restore", access=Access.SIGNED_IN, gives=DraftRead, problems=(404,))
async def restore_draft(caller: CommandDep, draft_id: DraftId) -> Response:
    return await caller.command(200, service.restore_draft, draft_id)


@draft_routes.add(
    "PUT", "/drafts/{draft_id}/working-copy", access=Access.SIGNED_IN, gives=WorkingCopyStored, problems=(404, 409)
)
async def put_working_copy(caller: CommandDep, draft_id: DraftId, put: WorkingCopyPut) -> Response:
    """Store unsaved text, merged with what another window of the same user has stored since."""
    return await caller.command(200, working_copies.store_working_copy, draft_id, put)


version_routes = Routes("versions")


@version_routes.add(
    "GET", "/drafts/{draft_id}/versions", access=Access.SIGNED_IN, gives=Page[VersionListed], problems=(404,)
)
async def get_versions(caller: CallerDep, draft_id: DraftId, limit: Limit = 50, cursor: CursorText = None) -> Response:
    """Return the tree of versions without their texts, newest first."""
    cursors = caller.service(Cursors)
    kind = f"draft_versions.{draft_id}"
    key = cursors.decode(kind, cursor)
    versions = await caller.read(service.list_versions, draft_id, before=int(key[0]) if key else None, limit=limit + 1)
    more = len(versions) > limit
    versions = versions[:limit]
    next_cursor = cursors.encode(kind, [versions[-1]["version_number"]]) if more else None
    return json_response({"items": versions, "next_cursor": next_cursor})


@version_routes.add(
    "POST", "/drafts/{draft_id}/versions", access=Access.SIGNED_IN, gives=VersionMade, status=201, problems=(404, 409)
)
async def post_version(caller: CommandDep, draft_id: DraftId, new: VersionCreate) -> Response:
    """Save a text. Returns 200 if the current version already contains it, and 409 with both sides on conflict."""

    def save(session: Session, actor: Actor) -> object:
        version, is_new = service.create_version(session, actor, draft_id, new)
        return version if is_new else StatusOverride(200, version)

    return await caller.command(201, save)


@version_routes.add(
    "GET", "/drafts/{draft_id}/versions/{number}", access=Access.SIGNED_IN, gives=VersionRead, problems=(404,)
)
async def get_version(caller: CallerDep, draft_id: DraftId, number: Number) -> Response:
    return json_response(await caller.read(service.get_version, draft_id, number))


@version_routes.add(
    "PATCH", "/drafts/{draft_id}/versions/{number}", access=Access.SIGNED_IN, gives=VersionRead, problems=(404,)
)
async def patch_version(caller: CommandDep, draft_id: DraftId, number: Number, update: VersionUpdate) -> Response:
    return await caller.command(200, service.update_version, draft_id, number, update)


@version_routes.add(
    "POST",
    "/drafts/{draft_id}/versions/{number}/restore",
    access=Access.SIGNED_IN,
    gives=VersionRead,
    status=201,
    problems=(404,),
)
async def restore_version(caller: CommandDep, draft_id: DraftId, number: Number) -> Response:
    return await caller.command(201, service.restore_version, draft_id, number)


@version_routes.add(
    "GET", "/drafts/{draft_id}/versions/{number}/authorship", access=Access.SIGNED_IN, gives=Authorship, problems=(404,)
)
async def get_authorship(caller: CallerDep, draft_id: DraftId, number: Number) -> Response:
    """Return the version that each part of the text came from."""
    return json_response(await caller.read_long(service.get_authorship, draft_id, number))


@version_routes.add(
    "GET", "/drafts/{draft_id}/versions/{number}/diff", access=Access.SIGNED_IN, gives=DiffRead, problems=(404,)
)
async def get_diff(
    caller: CallerDep,
    draft_id: DraftId,
    number: Number,
    against: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="The version to compare with. Defaults to the parent.")
    ] = None,
) -> Response:
    """Return the unchanged, removed and added text from the version `against` to this one."""
    return json_response(await caller.read_long(service.diff_versions, draft_id, number, against))


draft_sharing_routes = Routes("drafts")


@draft_sharing_routes.add(
    "GET", "/drafts/{draft_id}/chats", access=Access.SIGNED_IN, gives=Page[ChatRead], problems=(404,)
)
async def get_draft_chats(caller: CallerDep, draft_id: DraftId) -> Response:
    chats = await caller.read(service.list_chats, draft_id)
    return json_response({"items": chats, "next_cursor": None})


@draft_sharing_routes.add(
    "POST", "/drafts/{draft_id}/chats", access=Access.SIGNED_IN, gives=ChatRead, status=201, problems=(404,)
)
async def post_draft_chat(caller: CommandDep, draft_id: DraftId) -> Response:
    """Create another chat about the draft."""

    def add(session: Session, actor: Actor) -> ChatRead:
        draft = lock_draft(session, actor, draft_id)
        return service.add_chat(session, actor, draft, caller.service(RowLimits))

    return await caller.command(201, add)


@draft_sharing_routes.add(
    "GET", "/chats/{chat_id}/drafts", access=Access.SIGNED_IN, gives=Page[DraftListed], problems=(404,)
)
async def get_attached(caller: CallerDep, chat_id: ChatId) -> Response:
    """Return the drafts attached to the chat. Its prompts include their text."""
    drafts = await caller.read(attached.list_attached, chat_id)
    return json_response({"items": drafts, "next_cursor": None})


@draft_sharing_routes.add(
    "PUT", "/chats/{chat_id}/drafts/{draft_id}", access=Access.SIGNED_IN, gives=Page[DraftListed], problems=(404,)
)
async def put_attached(caller: CommandDep, chat_id: ChatId, draft_id: DraftId) -> Response:
    def attach(session: Session, actor: Actor) -> object:
        drafts = attached.attach_draft(session, actor, chat_id, draft_id)
        return {"items": drafts, "next_cursor": None}

    return await caller.command(200, attach)


@draft_sharing_routes.add(
    "DELETE", "/chats/{chat_id}/drafts/{draft_id}", access=Access.SIGNED_IN, status=204, problems=(404,)
)
async def delete_attached(caller: CommandDep, chat_id: ChatId, draft_id: DraftId) -> Response:
    return await caller.command(204, attached.detach_draft, chat_id, draft_id)


@draft_sharing_routes.add("GET", "/shared-drafts", access=Access.SIGNED_IN, gives=Page[DraftListed])
async def get_shared_drafts(caller: CallerDep) -> Response:
    """Return the drafts that other users share with the caller."""
    drafts = await caller.read(shared_drafts.list_shared_drafts)
    return json_response({"items": drafts, "next_cursor": None})


@draft_sharing_routes.add(
    "GET", "/drafts/{draft_id}/shares", access=Access.SIGNED_IN, gives=Page[ShareRead], problems=(404,)
)
async def get_draft_shares(caller: CallerDep, draft_id: DraftId) -> Response:
    items = await caller.read(shared_drafts.list_shares, draft_id)
    return json_response({"items": items, "next_cursor": None})


@draft_sharing_routes.add(
    "POST", "/drafts/{draft_id}/shares", access=Access.SIGNED_IN, gives=ShareCreated, status=201, problems=(404,)
)
async def post_draft_share(caller: CommandDep, draft_id: DraftId, new: ShareCreate) -> Response:
    return await caller.command_with_secret(201, "token", shared_drafts.create_share, draft_id, new)
