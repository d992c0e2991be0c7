"""Routes for shares of chats and for presence. Routes for strangers are in links/routes.py."""

from starlette.responses import Response

from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.accounts.schemas import ShareCreate, ShareCreated, ShareRead
from tertulia.chat import service, shared_chats
from tertulia.chat.schemas import ChatRead, PresenceTold
from tertulia.http.paging import Page
from tertulia.http.responses import json_response, no_content
from tertulia.http.routing import Access, Routes
from tertulia.ids import ChatId
from tertulia.realtime.feed import ChangeFeed

routes = Routes("shares")


@routes.add("GET", "/shared-chats", access=Access.SIGNED_IN, gives=Page[ChatRead])
async def get_shared_chats(caller: CallerDep) -> Response:
    """List the chats that others share with the caller."""
    chats = await caller.read_long(service.list_shared_chats)
    return json_response({"items": chats, "next_cursor": None})


@routes.add("GET", "/chats/{chat_id}/shares", access=Access.SIGNED_IN, gives=Page[ShareRead], problems=(404,))
async def get_shares(caller: CallerDep, chat_id: ChatId) -> Response:
    items = await caller.read(shared_chats.list_shares, chat_id)
    return json_response({"items": items, "next_cursor": None})


@routes.add("POST", "/chats/{chat_id}/shares", access=Access.SIGNED_IN, gives=ShareCreated, status=201, problems=(404,))
async def post_share(caller: CommandDep, chat_id: ChatId, new: ShareCreate) -> Response:
    return await caller.command_with_secret(201, "token", shared_chats.create_share, chat_id, new)


@routes.add("PUT", "/chats/{chat_id}/presence", access=Access.SIGNED_IN, status=204, problems=(404,))
async def put_presence(caller: CallerDep, chat_id: ChatId, presence: PresenceTold) -> Response:
    """Report that the caller has the chat open. Repeat it every 15 seconds; nothing is stored."""

    owner_id, user_id, name = await caller.read(shared_chats.find_presence, chat_id)
    await caller.service(ChangeFeed).tell_presence(
        chat_id=chat_id,
        owner_id=owner_id,
        user_id=user_id,
        name=name,
        is_typing=presence.is_typing,
        is_leaving=presence.is_leaving,
    )
    return no_content()
