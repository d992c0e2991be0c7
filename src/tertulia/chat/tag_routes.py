"""Routes for tags."""

from starlette.responses import Response

from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.chat import tags
from tertulia.chat.schemas import ChatRead, TagCreate, TagMerge, TagRead, TagUpdate
from tertulia.http.paging import Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.ids import ChatId, TagId

routes = Routes("tags")


@routes.add("GET", "/tags", access=Access.SIGNED_IN, gives=Page[TagRead])
async def get_tags(caller: CallerDep) -> Response:
    items = await caller.read(tags.list_tags)
    return json_response({"items": items, "next_cursor": None})


@routes.add("POST", "/tags", access=Access.SIGNED_IN, gives=TagRead, status=201, problems=(409,))
async def post_tag(caller: CommandDep, new: TagCreate) -> Response:
    return await caller.command(201, tags.create_tag, new)


@routes.add("PATCH", "/tags/{tag_id}", access=Access.SIGNED_IN, gives=TagRead, problems=(404, 409))
async def patch_tag(caller: CommandDep, tag_id: TagId, update: TagUpdate) -> Response:
    return await caller.command(200, tags.update_tag, tag_id, update)


@routes.add("DELETE", "/tags/{tag_id}", access=Access.SIGNED_IN, status=204, problems=(404,))
async def delete_tag(caller: CommandDep, tag_id: TagId) -> Response:
    return await caller.command(204, tags.delete_tag, tag_id)


@routes.add("POST", "/tags/{tag_id}/restore", access=Access.SIGNED_IN, gives=TagRead, problems=(404, 409))
async def restore_tag(caller: CommandDep, tag_id: TagId) -> Response:
    return await caller.command(200, tags.restore_tag, tag_id)


@routes.add("POST", "/tags/{tag_id}/merge", access=Access.SIGNED_IN, gives=TagRead, problems=(404,))
async def merge_tag(caller: CommandDep, tag_id: TagId, merge: TagMerge) -> Response:
    """Add another tag to all chats of this tag, then delete this tag."""
    return await caller.command(200, tags.merge_tag, tag_id, TagId(merge.into_id))


@routes.add("PUT", "/chats/{chat_id}/tags/{tag_id}", access=Access.SIGNED_IN, gives=ChatRead, problems=(404,))
async def put_chat_tag(caller: CommandDep, chat_id: ChatId, tag_id: TagId) -> Response:
    return await caller.command(200, tags.tag_chat, chat_id, tag_id)


@routes.add("DELETE", "/chats/{chat_id}/tags/{tag_id}", access=Access.SIGNED_IN, gives=ChatRead, problems=(404,))
async def delete_chat_tag(caller: CommandDep, chat_id: ChatId, tag_id: TagId) -> Response:
    return await caller.command(200, tags.untag_chat, chat_id, tag_id)
