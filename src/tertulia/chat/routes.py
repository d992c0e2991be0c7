"""Routes for chats and messages. Routes that start a run (send, edit, regenerate) are in runs/routes.py."""

from typing import Annotated

from fastapi import Path, Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.accounts.row_limits import RowLimits, StorageLimit
from tertulia.chat import branches, messages, reactions, service, state
from tertulia.chat.project_chats import list_project_chats, require_place
from tertulia.chat.schemas import (
    ChatCreate,
    ChatRead,
    ChatTree,
    ChatUpdate,
    HeadUpdate,
    MessageRead,
    MessageUpdate,
    MessageWithHistory,
    Shown,
    StateRead,
)
from tertulia.chat.state import StateWrite
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.ids import AnyId, ChatId, MessageId, ProjectId
from tertulia.providers.model_catalogue import ModelCatalogue

Emoji = Annotated[str, Path(min_length=1, max_length=32)]


routes = Routes("chats")


@routes.add("GET", "/chats", access=Access.SIGNED_IN, gives=Page[ChatRead])
async def get_chats(
    caller: CallerDep,
    archived: Annotated[bool, Query(description="Archived chats instead.")] = False,
    trash: Annotated[bool, Query(description="Chats in the trash instead.")] = False,
    pinned: Annotated[bool, Query(description="Only pinned chats.")] = False,
    tag: Annotated[AnyId | None, Query(description="Only chats with this tag.")] = None,
    project_id: Annotated[
        AnyId | None, Query(description="The chats of this project instead, with those that others opened to you.")
    ] = None,
    limit: Limit = 50,
    cursor: CursorText = None,
) -> Response:
    cursors = caller.service(Cursors)
    shown: Shown = "trash" if trash else "archived" if archived else "pinned" if pinned else "active"
    kind = f"chats.{shown}.{tag or project_id or ''}"
    key = cursors.decode(kind, cursor)
    after = (int(key[0]), str(key[1])) if key else None
    if project_id is not None:
        chats = await caller.read(list_project_chats, ProjectId(project_id), after=after, limit=limit + 1)
    else:
        chats = await caller.read(service.list_chats, shown=shown, tag_id=tag, after=after, limit=limit + 1)
    more = len(chats) > limit
    chats = chats[:limit]
    next_cursor = cursors.encode(kind, service.chat_key(chats[-1])) if more else None
    return json_response({"items": chats, "next_cursor": next_cursor})


@routes.add("POST", "/chats", access=Access.SIGNED_IN, gives=ChatRead, status=201)
async def post_chat(caller: CommandDep, new: ChatCreate) -> Response:
    def create(session: Session, actor: Actor) -> ChatRead:
        caller.service(ModelCatalogue).check_choice(session, actor, new.provider, new.model_name)
        if new.project_id is not None:
            require_place(session, actor, new.project_id, is_open=bool(new.is_open_to_project))
        return service.create_chat(session, new, caller.service(RowLimits), owner_id=actor.user_id)

    return await caller.command(201, create)


@routes.add("GET", "/chats/{chat_id}", access=Access.SIGNED_IN, gives=ChatRead, problems=(404,))
async def get_chat(caller: CallerDep, chat_id: ChatId) -> Response:
    return json_response(await caller.read(service.get_chat, chat_id))


@routes.add("PATCH", "/chats/{chat_id}", access=Access.SIGNED_IN, gives=ChatRead, problems=(404,))
async def patch_chat(caller: CommandDep, chat_id: ChatId, update: ChatUpdate) -> Response:
    def change(session: Session, actor: Actor) -> ChatRead:
        caller.service(ModelCatalogue).check_choice(session, actor, update.provider, update.model_name)
        return service.update_chat(session, actor, chat_id, update)

    return await caller.command(200, change)


@routes.add("DELETE", "/chats/{chat_id}", access=Access.SIGNED_IN, status=204, problems=(404,))
async def delete_chat(caller: CommandDep, chat_id: ChatId) -> Response:
    return await caller.command(204, service.delete_chat, chat_id)


@routes.add("POST", "/chats/{chat_id}/restore", access=Access.SIGNED_IN, gives=ChatRead, problems=(404,))
async def restore_chat(caller: CommandDep, chat_id: ChatId) -> Response:
    return await caller.command(200, service.restore_chat, chat_id)


@routes.add("PUT", "/chats/{chat_id}/head", access=Access.SIGNED_IN, gives=ChatRead, problems=(404,))
async def put_head(caller: CommandDep, chat_id: ChatId, head: HeadUpdate) -> Response:
    return await caller.command(200, service.set_head, chat_id, MessageId(head.message_id))


@routes.add("GET", "/chats/{chat_id}/messages", access=Access.SIGNED_IN, gives=Page[MessageRead], problems=(404,))
async def get_messages(
    caller: CallerDep,
    chat_id: ChatId,
    leaf: Annotated[
        AnyId | None, Query(description="The newest message of the page. Default: the chat's head.")
    ] = None,
    through: Annotated[
        AnyId | None, Query(description="Instead of `leaf`: start from the newest leaf below this message.")
    ] = None,
    parent: Annotated[AnyId | None, Query(description="Return the thread below this message instead.")] = None,
    limit: Limit = 50,
    cursor: CursorText = None,
) -> Response:
    cursors = caller.service(Cursors)
    key = cursors.decode("messages", cursor)
    start = MessageId(str(key[0])) if key else MessageId(leaf) if leaf else None
    through_id = MessageId(through) if through and not start else None
    messages, older = await caller.read(
        service.list_messages,
        chat_id,
        leaf=start,
        through=through_id,
        parent=MessageId(parent) if parent else None,
        limit=limit,
    )
    return json_response({"items": messages, "next_cursor": cursors.encode("messages", [older]) if older else None})


@routes.add("GET", "/messages/{message_id}", access=Access.SIGNED_IN, gives=MessageWithHistory, problems=(404,))
async def get_message(caller: CallerDep, message_id: MessageId) -> Response:
    return json_response(await caller.read(service.get_message_with_history, message_id))


@routes.add("PATCH", "/messages/{message_id}", access=Access.SIGNED_IN, gives=MessageRead, problems=(404,))
async def patch_message(caller: CommandDep, message_id: MessageId, update: MessageUpdate) -> Response:
    """Set whether models receive the message."""
    return await caller.command(200, messages.set_context_rule, message_id, update.context_rule)


@routes.add("GET", "/chats/{chat_id}/tree", access=Access.SIGNED_IN, gives=ChatTree, problems=(404,))
async def get_tree(caller: CallerDep, chat_id: ChatId) -> Response:
    """Return the map of a chat as segments without a fork."""
    segments = await caller.read_long(branches.read_tree, chat_id)
    return json_response({"segments": segments})


@routes.add("POST", "/messages/{message_id}/fork", access=Access.SIGNED_IN, gives=ChatRead, status=201, problems=(404,))
async def fork_chat(caller: CommandDep, message_id: MessageId) -> Response:
    """Create a chat that continues from a message."""
    return await caller.command(
        201,
        branches.fork_chat,
        message_id,
        caller.service(RowLimits),
        storage=caller.service(StorageLimit),
    )


@routes.add("POST", "/messages/{message_id}/restore", access=Access.SIGNED_IN, gives=MessageRead, problems=(404,))
async def restore_message(caller: CommandDep, message_id: MessageId) -> Response:
    return await caller.command(200, branches.restore_message, message_id)


@routes.add(
    "PUT", "/messages/{message_id}/reactions/{emoji}", access=Access.SIGNED_IN, gives=MessageRead, problems=(404,)
)
async def put_reaction(caller: CommandDep, message_id: MessageId, emoji: Emoji) -> Response:
    return await caller.command(200, reactions.add_reaction, message_id, emoji)


@routes.add(
    "DELETE", "/messages/{message_id}/reactions/{emoji}", access=Access.SIGNED_IN, gives=MessageRead, problems=(404,)
)
async def delete_reaction(caller: CommandDep, message_id: MessageId, emoji: Emoji) -> Response:
    return await caller.command(200, reactions.remove_reaction, message_id, emoji)


@routes.add("GET", "/chats/{chat_id}/state", access=Access.SIGNED_IN, gives=StateRead, problems=(404,))
async def get_state(caller: CallerDep, chat_id: ChatId) -> Response:
    return json_response(await caller.read(state.get_state, chat_id))


@routes.add("PUT", "/chats/{chat_id}/state", access=Access.SIGNED_IN, gives=StateRead, problems=(404,))
async def put_state(caller: CommandDep, chat_id: ChatId, write: StateWrite) -> Response:
    """Replace the stored state of the chat's task, checked against its schema."""
    return await caller.command(200, state.put_state, chat_id, write)
