"""Chats over HTTP. What starts a run (sending, editing, regenerating) is in runs/routes.py."""

from typing import Annotated

from fastapi import Path, Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.chat import branches, messages, reactions, service, state
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
)
from tertulia.chat.state import StateRead, StateWrite
from tertulia.http.answers import json_response
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.routing import Access, Routes
from tertulia.ids import AnyId, ChatId, MessageId
from tertulia.providers.catalogue import ModelCatalogue

Emoji = Annotated[str, Path(min_length=1, max_length=32)]


def chat_routes(cursors: Cursors, catalogue: ModelCatalogue, *, limit_bytes: int) -> Routes:
    routes = Routes("chats")

    @routes.add("GET", "/chats", access=Access.SIGNED_IN, gives=Page[ChatRead])
    async def get_chats(
        caller: CallerDep,
        archived: Annotated[bool, Query(description="Those in the archive instead.")] = False,
        trash: Annotated[bool, Query(description="Those in the trash instead.")] = False,
        pinned: Annotated[bool, Query(description="Only those that are pinned.")] = False,
        tag: Annotated[AnyId | None, Query(description="Only those with this tag.")] = None,
        limit: Limit = 50,
        cursor: CursorText = None,
    ) -> Response:
        shown: Shown = "trash" if trash else "archived" if archived else "pinned" if pinned else "active"
        kind = f"chats.{shown}.{tag or ''}"
        key = cursors.decode(kind, cursor)
        after = (int(key[0]), str(key[1])) if key else None
        chats = await caller.read(
            lambda session, actor: service.list_chats(
                session, shown=shown, tag_id=tag, after=after, limit=limit + 1, actor=actor
            )
        )
        more = len(chats) > limit
        chats = chats[:limit]
        next_cursor = cursors.encode(kind, service.chat_key(chats[-1])) if more else None
        return json_response({"items": chats, "next_cursor": next_cursor})

    @routes.add("POST", "/chats", access=Access.SIGNED_IN, gives=ChatRead, status=201)
    async def post_chat(caller: CommandDep, new: ChatCreate) -> Response:
        def create(session: Session, actor: Actor) -> ChatRead:
            catalogue.check_choice(session, new.provider, new.model_name, actor=actor)
            return service.create_chat(session, new, owner_id=actor.user_id)

        return await caller.command(201, create)

    @routes.add("GET", "/chats/{chat_id}", access=Access.SIGNED_IN, gives=ChatRead, problems=(404,))
    async def get_chat(caller: CallerDep, chat_id: AnyId) -> Response:
        return json_response(
            await caller.read(lambda session, actor: service.get_chat(session, ChatId(chat_id), actor=actor))
        )

    @routes.add("PATCH", "/chats/{chat_id}", access=Access.SIGNED_IN, gives=ChatRead, problems=(404,))
    async def patch_chat(caller: CommandDep, chat_id: AnyId, update: ChatUpdate) -> Response:
        def change(session: Session, actor: Actor) -> ChatRead:
            catalogue.check_choice(session, update.provider, update.model_name, actor=actor)
            return service.update_chat(session, ChatId(chat_id), update, actor=actor)

        return await caller.command(200, change)

    @routes.add("DELETE", "/chats/{chat_id}", access=Access.SIGNED_IN, status=204, problems=(404,))
    async def delete_chat(caller: CommandDep, chat_id: AnyId) -> Response:
        return await caller.command(
            204, lambda session, actor: service.delete_chat(session, ChatId(chat_id), actor=actor)
        )

    @routes.add("POST", "/chats/{chat_id}/restore", access=Access.SIGNED_IN, gives=ChatRead, problems=(404,))
    async def restore_chat(caller: CommandDep, chat_id: AnyId) -> Response:
        return await caller.command(
            200, lambda session, actor: service.restore_chat(session, ChatId(chat_id), actor=actor)
        )

    @routes.add("PUT", "/chats/{chat_id}/head", access=Access.SIGNED_IN, gives=ChatRead, problems=(404,))
    async def put_head(caller: CommandDep, chat_id: AnyId, head: HeadUpdate) -> Response:
        return await caller.command(
            200,
            lambda session, actor: service.set_head(session, ChatId(chat_id), MessageId(head.message_id), actor=actor),
        )

    @routes.add("GET", "/chats/{chat_id}/messages", access=Access.SIGNED_IN, gives=Page[MessageRead], problems=(404,))
    async def get_messages(
        caller: CallerDep,
        chat_id: AnyId,
        leaf: Annotated[
            AnyId | None, Query(description="The message that the page ends with; else the chat's head.")
        ] = None,
        through: Annotated[
            AnyId | None, Query(description="Instead of `leaf`: the page ends with the newest leaf below this message.")
        ] = None,
        parent: Annotated[AnyId | None, Query(description="The thread below this message instead.")] = None,
        limit: Limit = 50,
        cursor: CursorText = None,
    ) -> Response:
        key = cursors.decode("messages", cursor)
        start = MessageId(str(key[0])) if key else MessageId(leaf) if leaf else None
        passed = MessageId(through) if through and not start else None
        messages, older = await caller.read(
            lambda session, actor: service.list_messages(
                session,
                ChatId(chat_id),
                leaf=start,
                through=passed,
                parent=MessageId(parent) if parent else None,
                limit=limit,
                actor=actor,
            )
        )
        return json_response({"items": messages, "next_cursor": cursors.encode("messages", [older]) if older else None})

    @routes.add("GET", "/messages/{message_id}", access=Access.SIGNED_IN, gives=MessageWithHistory, problems=(404,))
    async def get_message(caller: CallerDep, message_id: AnyId) -> Response:
        return json_response(
            await caller.read(
                lambda session, actor: service.get_message_with_history(session, MessageId(message_id), actor=actor)
            )
        )

    @routes.add("PATCH", "/messages/{message_id}", access=Access.SIGNED_IN, gives=MessageRead, problems=(404,))
    async def patch_message(caller: CommandDep, message_id: AnyId, update: MessageUpdate) -> Response:
        """Whether models are sent it."""
        return await caller.command(
            200,
            lambda session, actor: messages.set_context_rule(
                session, MessageId(message_id), update.context_rule, actor=actor
            ),
        )

    @routes.add("GET", "/chats/{chat_id}/tree", access=Access.SIGNED_IN, gives=ChatTree, problems=(404,))
    async def get_tree(caller: CallerDep, chat_id: AnyId) -> Response:
        """The map of a chat: its stretches without a fork."""
        segments = await caller.read_long(
            lambda session, actor: branches.read_tree(session, ChatId(chat_id), actor=actor)
        )
        return json_response({"segments": segments})

    @routes.add(
        "POST", "/messages/{message_id}/fork", access=Access.SIGNED_IN, gives=ChatRead, status=201, problems=(404,)
    )
    async def fork_chat(caller: CommandDep, message_id: AnyId) -> Response:
        """A new chat that goes on from a message."""
        return await caller.command(
            201,
            lambda session, actor: branches.fork_chat(
                session, MessageId(message_id), actor=actor, limit_bytes=limit_bytes
            ),
        )

    @routes.add("POST", "/messages/{message_id}/restore", access=Access.SIGNED_IN, gives=MessageRead, problems=(404,))
    async def restore_message(caller: CommandDep, message_id: AnyId) -> Response:
        return await caller.command(
            200, lambda session, actor: branches.restore_message(session, MessageId(message_id), actor=actor)
        )

    @routes.add(
        "PUT", "/messages/{message_id}/reactions/{emoji}", access=Access.SIGNED_IN, gives=MessageRead, problems=(404,)
    )
    async def put_reaction(caller: CommandDep, message_id: AnyId, emoji: Emoji) -> Response:
        return await caller.command(
            200, lambda session, actor: reactions.add_reaction(session, MessageId(message_id), emoji, actor=actor)
        )

    @routes.add(
        "DELETE",
        "/messages/{message_id}/reactions/{emoji}",
        access=Access.SIGNED_IN,
        gives=MessageRead,
        problems=(404,),
    )
    async def delete_reaction(caller: CommandDep, message_id: AnyId, emoji: Emoji) -> Response:
        return await caller.command(
            200, lambda session, actor: reactions.remove_reaction(session, MessageId(message_id), emoji, actor=actor)
        )

    @routes.add("GET", "/chats/{chat_id}/state", access=Access.SIGNED_IN, gives=StateRead, problems=(404,))
    async def get_state(caller: CallerDep, chat_id: AnyId) -> Response:
        return json_response(
            await caller.read(lambda session, actor: state.get_state(session, ChatId(chat_id), actor=actor))
        )

    @routes.add("PUT", "/chats/{chat_id}/state", access=Access.SIGNED_IN, gives=StateRead, problems=(404,))
    async def put_state(caller: CommandDep, chat_id: AnyId, write: StateWrite) -> Response:
        """What is remembered of the chat's task, checked against its schema."""
        return await caller.command(
            200, lambda session, actor: state.put_state(session, ChatId(chat_id), write, actor=actor)
        )

    return routes
