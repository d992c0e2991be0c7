"""Prepared read queries of chats and messages. Their cost depends on what is shown, not on what is stored."""

from collections.abc import Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, aliased

from tertulia.accounts.models import User
from tertulia.accounts.sharing import OWNER_PERMISSIONS
from tertulia.chat.access import may_read_chat, may_write_chat, owns_chat
from tertulia.chat.models import (
    Chat,
    ChatKind,
    ChatSettings,
    ChatTag,
    Message,
    MessageStatus,
    Reaction,
    Tag,
)
from tertulia.chat.schemas import (
    ChatRead,
    LastMessage,
    MessageRead,
    ReactionRead,
    SettingsRead,
    UsageRead,
)
from tertulia.db import Id, Prepared, UtcTime
from tertulia.files.models import MessageAttachment
from tertulia.ids import format_id
from tertulia.tools.models import ToolExecution

EXCERPT = 160


def _json_text(column: sa.orm.InstrumentedAttribute[Any]) -> sa.ColumnElement[str]:
    """Return the stored JSON as text, to pass it on or parse it without building the declared classes."""
    return sa.cast(sa.type_coerce(column, sa.Text()), sa.Text())


class id_list(sa.sql.functions.FunctionElement[str]):
    """The ids of a group as text that `_ids` parses."""

    type = sa.Text()
    inherit_cache = True


@compiles(id_list, "sqlite")
def _id_list_on_sqlite(element: id_list, compiler: sa.sql.compiler.SQLCompiler, **kw: Any) -> str:
    return f"group_concat(hex({compiler.process(element.clauses, **kw)}), ',')"


@compiles(id_list, "postgresql")
def _id_list_on_postgresql(element: id_list, compiler: sa.sql.compiler.SQLCompiler, **kw: Any) -> str:
    return f"string_agg(CAST({compiler.process(element.clauses, **kw)} AS text), ',')"


class reaction_list(sa.sql.functions.FunctionElement[str]):
    """The users and emoji of reactions as text that `_reactions` parses."""

    type = sa.Text()
    inherit_cache = True


@compiles(reaction_list, "sqlite")
def _reaction_list_on_sqlite(element: reaction_list, compiler: sa.sql.compiler.SQLCompiler, **kw: Any) -> str:
    user_id, emoji = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"group_concat(hex({user_id}) || {emoji}, char(31))"


@compiles(reaction_list, "postgresql")
def _reaction_list_on_postgresql(element: reaction_list, compiler: sa.sql.compiler.SQLCompiler, **kw: Any) -> str:
    user_id, emoji = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"string_agg(replace(CAST({user_id} AS text), '-', '') || {emoji}, chr(31))"


def _reactions(joined: str) -> list[ReactionRead]:
    """Parse the text of `reaction_list`, most common emoji first."""
    user_ids: dict[str, list[str]] = {}
    for item in joined.split("\x1f"):
        user_ids.setdefault(item[32:], []).append(format_id(bytes.fromhex(item[:32])))
    return [
        {"emoji": emoji, "user_ids": sorted(user_ids[emoji])}
        for emoji in sorted(user_ids, key=lambda emoji: (-len(user_ids[emoji]), emoji))
    ]


def _ids(joined: str) -> list[str]:
    """Parse the text of `id_list`, oldest first: version 7 ids sort by time."""
    if len(joined) == 32:
        return [format_id(bytes.fromhex(joined))]
    return sorted(format_id(bytes.fromhex(part)) if len(part) == 32 else part for part in joined.split(","))


# ---- chats

_HEAD = aliased(Message)
_CHAT_COLUMNS = (
    Chat.id,
    Chat.kind,
    Chat.title,
    Chat.provider,
    Chat.model_name,
    Chat.system_prompt,
    _json_text(Chat.settings),
    Chat.context_window_size,
    Chat.visibility,
    Chat.is_archived,
    Chat.head_message_id,
    Chat.message_count,
    Chat.last_message_at,
    Chat.total_tokens,
    Chat.total_cost,
    Chat.pinned_at,
    Chat.deleted_at,
    Chat.created_at,
    Chat.updated_at,
    Chat.project_id,
    Chat.is_open_to_project,
    _HEAD.role,
    sa.func.substr(_HEAD.content, 1, EXCERPT, type_=sa.Text()),
    sa.select(id_list(ChatTag.tag_id))
    .join(Tag, Tag.id == ChatTag.tag_id)
    .where(ChatTag.chat_id == Chat.id, Tag.deleted_at.is_(None))
    .correlate(Chat)
    .scalar_subquery(),
    Chat.user_id,
)
_WITH_HEAD = sa.select(*_CHAT_COLUMNS).outerjoin(_HEAD, _HEAD.id == Chat.head_message_id)


def _bind(name: str, column: sa.orm.InstrumentedAttribute[Any]) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=column.type)


def _chat_list(*conditions: sa.ColumnElement[bool], after_cursor: bool) -> Prepared:
    # Chats about a draft are listed with the draft, and channels with their project.
    return _paged(owns_chat(Chat.user_id), Chat.kind == ChatKind.DIRECT, *conditions, after_cursor=after_cursor)


def _paged(*conditions: sa.ColumnElement[bool], after_cursor: bool) -> Prepared:
    query = _WITH_HEAD.where(*conditions)
    if after_cursor:
        before = sa.tuple_(_bind("moment", Chat.last_message_at), _bind("last_id", Chat.id), types=[UtcTime(), Id()])
        query = query.where(sa.tuple_(Chat.last_message_at, Chat.id) < before)
    query = query.order_by(Chat.last_message_at.desc(), Chat.id.desc())
    return Prepared(query.limit(sa.bindparam("limit", type_=sa.Integer())))


_SHOWN = {
    "active": (Chat.is_archived.is_(False), Chat.deleted_at.is_(None)),
    "pinned": (Chat.pinned_at.is_not(None), Chat.is_archived.is_(False), Chat.deleted_at.is_(None)),
    "archived": (Chat.is_archived.is_(True), Chat.deleted_at.is_(None)),
    "trash": (Chat.deleted_at.is_not(None),),
}
CHAT_LISTS = {
    (shown, after): _chat_list(*conditions, after_cursor=after)
    for shown, conditions in _SHOWN.items()
    for after in (False, True)
}
_TAGGED = sa.select(ChatTag.chat_id).where(ChatTag.tag_id == _bind("tag_id", ChatTag.tag_id)).scalar_subquery()
TAGGED_CHATS = {
    after: _chat_list(*_SHOWN["active"], Chat.id.in_(_TAGGED), after_cursor=after) for after in (False, True)
}
# The actor's own chats in a project, and those that others opened to its members. The caller has checked membership.
PROJECT_CHATS = {
    after: _paged(
        Chat.project_id == _bind("project_id", Chat.project_id),
        owns_chat(Chat.user_id) | Chat.is_open_to_project,
        Chat.kind == ChatKind.DIRECT,
        *_SHOWN["active"],
        after_cursor=after,
    )
    for after in (False, True)
}
ONE_CHAT = Prepared(_WITH_HEAD.where(Chat.id == _bind("chat_id", Chat.id), may_read_chat(Chat.id, Chat.user_id)))
CHAT_BY_ID = Prepared(_WITH_HEAD.where(Chat.id == _bind("chat_id", Chat.id)))
# Locks the row while the head and the counters change; SQLite has only one writer anyway. Writers of rows that
# only reference the chat, such as ledger entries, do not wait: they may hold a lock that this writer needs next.
LOCK_CHAT = Prepared(
    sa.select(
        Chat.id,
        Chat.user_id,
        Chat.head_message_id,
        Chat.title,
        Chat.message_count,
        Chat.provider,
        Chat.model_name,
        Chat.kind,
        Chat.project_id,
    )
    .where(Chat.id == _bind("chat_id", Chat.id), Chat.deleted_at.is_(None), may_write_chat(Chat.id, Chat.user_id))
    .with_for_update(of=Chat, key_share=True)
)
READABLE_CHAT = Prepared(
    sa.select(Chat.head_message_id).where(
        Chat.id == _bind("chat_id", Chat.id), Chat.deleted_at.is_(None), may_read_chat(Chat.id, Chat.user_id)
    )
)


def read_chat_row(row: Sequence[Any]) -> ChatRead:
    """Read the values of `_CHAT_COLUMNS`. Unpacking costs less than access by index or attribute."""
    (
        id_,
        kind,
        title,
        provider,
        model_name,
        system_prompt,
        settings,
        context_window_size,
        visibility,
        is_archived,
        head_message_id,
        message_count,
        last_message_at,
        total_tokens,
        total_cost,
        pinned_at,
        deleted_at,
        created_at,
        updated_at,
        project_id,
        is_open_to_project,
        head_role,
        head_excerpt,
        tag_ids,
        _owner_id,
    ) = row
    last: LastMessage | None = None
    if head_message_id is not None and head_role is not None:
        last = {"id": head_message_id, "role": head_role, "excerpt": head_excerpt or ""}
    return {
        "id": id_,
        "kind": kind,
        "title": title,
        "provider": provider,
        "model_name": model_name,
        "system_prompt": system_prompt,
        "settings": _settings(settings),
        "context_window_size": context_window_size,
        "visibility": visibility,
        "is_archived": is_archived,
        "head_message_id": head_message_id,
        "message_count": message_count,
        "last_message_at": last_message_at,
        "total_tokens": total_tokens,
        "total_cost": total_cost,
        "pinned_at": pinned_at,
        "tag_ids": _ids(tag_ids) if tag_ids else [],
        "deleted_at": deleted_at,
        "created_at": created_at,
        "updated_at": updated_at,
        "project_id": project_id,
        "is_open_to_project": is_open_to_project,
        "last_message": last,
        "owner": None,
        "permissions": OWNER_PERMISSIONS,
    }


_NO_SETTINGS: SettingsRead = {name: None for name in ChatSettings.model_fields}  # type: ignore[assignment]


def _settings(text: str) -> SettingsRead:
    return _NO_SETTINGS if text == "{}" else _NO_SETTINGS | orjson.loads(text)


# ---- messages

_SIBLING = aliased(Message)
_REPLY = aliased(Message)


def _siblings(same_previous: sa.ColumnElement[bool]) -> sa.ScalarSelect[str]:
    return (
        sa.select(id_list(_SIBLING.id))
        .where(
            _SIBLING.chat_id == Message.chat_id,
            same_previous,
            _SIBLING.parent_message_id.is_not_distinct_from(Message.parent_message_id),
            # A reply whose parent was deleted permanently is in no thread, but it is not a root of the chat either.
            _SIBLING.thread_level == Message.thread_level,
            _SIBLING.status != MessageStatus.DELETED,
        )
        .correlate(Message)
        .scalar_subquery()
    )


_MESSAGE_COLUMNS = (
    Message.id,
    Message.chat_id,
    Message.role,
    Message.content,
    _json_text(Message.parts),
    Message.status,
    Message.user_id,
    User.name,
    Message.previous_message_id,
    Message.parent_message_id,
    Message.thread_level,
    Message.token_count,
    _json_text(Message.details),
    Message.created_at,
    Message.updated_at,
    # Two equalities instead of "is not distinct from", for which PostgreSQL cannot use an index.
    sa.case(
        (Message.previous_message_id.is_(None), _siblings(_SIBLING.previous_message_id.is_(None))),
        else_=_siblings(_SIBLING.previous_message_id == Message.previous_message_id),
    ),
    sa.select(sa.func.count())
    .where(_REPLY.parent_message_id == Message.id, _REPLY.status != MessageStatus.DELETED)
    .correlate(Message)
    .scalar_subquery(),
    sa.select(reaction_list(Reaction.user_id, Reaction.emoji))
    .where(Reaction.message_id == Message.id)
    .correlate(Message)
    .scalar_subquery(),
    Message.imported,
    Message.context_rule,
)


def _branch() -> sa.CTE:
    """Return a CTE of the ids from `leaf` back to the root with their distance from it, at most `links` links."""
    start = sa.select(_bind("leaf", Message.id).label("id"), sa.literal(0, sa.Integer()).label("depth")).cte(
        "branch", recursive=True
    )
    step = sa.select(Message.previous_message_id, start.c.depth + 1).where(
        Message.id == start.c.id,
        Message.previous_message_id.is_not(None),
        start.c.depth < sa.bindparam("links", type_=sa.Integer()),
    )
    return start.union_all(step)


_PAGE_CTE = _branch()
BRANCH_PAGE = Prepared(
    sa.select(*_MESSAGE_COLUMNS)
    .select_from(_PAGE_CTE.join(Message, Message.id == _PAGE_CTE.c.id).outerjoin(User, User.id == Message.user_id))
    # No visible message follows a deleted one, so only `leaf` itself can be deleted.
    .where(Message.chat_id == _bind("chat_id", Message.chat_id), Message.status != MessageStatus.DELETED)
    .order_by(_PAGE_CTE.c.depth)
)
ONE_MESSAGE = Prepared(
    sa.select(*_MESSAGE_COLUMNS)
    .outerjoin(User, User.id == Message.user_id)
    .where(Message.id == _bind("message_id", Message.id), Message.status != MessageStatus.DELETED)
)
BRANCH_IDS = Prepared(
    sa.select(Message.id)
    .select_from(_PAGE_CTE.join(Message, Message.id == _PAGE_CTE.c.id))
    .where(Message.chat_id == _bind("chat_id", Message.chat_id))
    .order_by(_PAGE_CTE.c.depth)
)
# The fields of each message that a step needs, newest first.
BRANCH_TEXTS = Prepared(
    sa.select(
        Message.id,
        Message.role,
        Message.content,
        Message.status,
        # The first message of a thread follows the message that it answers.
        sa.func.coalesce(Message.previous_message_id, Message.parent_message_id, type_=Id()),
        Message.context_rule,
        sa.exists().where(ToolExecution.message_id == Message.id),
        # A reply may be a picture only.
        (Message.content == "") & sa.exists().where(MessageAttachment.message_id == Message.id),
    )
    .select_from(_PAGE_CTE.join(Message, Message.id == _PAGE_CTE.c.id))
    .order_by(_PAGE_CTE.c.depth)
)
# The same without the text, to count the messages further back.
BRANCH_RULES = Prepared(
    sa.select(
        Message.id,
        (Message.content != "") & (Message.status != MessageStatus.DELETED),
        sa.func.coalesce(Message.previous_message_id, Message.parent_message_id, type_=Id()),
    )
    .select_from(_PAGE_CTE.join(Message, Message.id == _PAGE_CTE.c.id))
    .order_by(_PAGE_CTE.c.depth)
)


def _branch_to(oldest: sa.BindParameter[str]) -> sa.CTE:
    """Return a CTE of the ids from `leaf` back to the first one as old as `oldest`, through threads too.

    Ids ascend with time.
    """
    start = sa.select(_bind("leaf", Message.id).label("id"), sa.literal(0, sa.Integer()).label("depth")).cte(
        "walk", recursive=True
    )
    before = sa.func.coalesce(Message.previous_message_id, Message.parent_message_id, type_=Id())
    step = sa.select(before, start.c.depth + 1).where(
        Message.id == start.c.id, Message.id > oldest, before.is_not(None)
    )
    return start.union_all(step)


BRANCH_SCAN = _branch_to(_bind("oldest", Message.id))
_IS_PINNED = Message.context_rule == sa.literal_column("'pinned'")
# The pinned messages of a chat that are on a branch, newest first. The database scans the branch, which costs little.
PINNED_ON_BRANCH = Prepared(
    sa.select(BRANCH_SCAN.c.id)
    .where(
        BRANCH_SCAN.c.id.in_(
            sa.select(Message.id).where(Message.chat_id == _bind("chat_id", Message.chat_id), _IS_PINNED)
        )
    )
    .order_by(BRANCH_SCAN.c.depth)
)
PINNED_TEXTS = Prepared(
    sa.select(Message.id, Message.role, Message.content)
    .where(
        Message.chat_id == _bind("chat_id", Message.chat_id),
        _IS_PINNED,
        Message.id <= _bind("upto", Message.id),
        Message.status != MessageStatus.DELETED,
    )
    .order_by(Message.id)
)


def read_message_row(row: Sequence[Any]) -> MessageRead:
    """Read the values of `_MESSAGE_COLUMNS`. Unpacking costs less than access by index or attribute."""
    (
        id_,
        chat_id,
        role,
        content,
        parts,
        status,
        user_id,
        user_name,
        previous_message_id,
        parent_message_id,
        thread_level,
        token_count,
        details,
        created_at,
        updated_at,
        sibling_ids,
        reply_count,
        reactions,
        imported,
        context_rule,
    ) = row
    details = orjson.loads(details) if details != "{}" else {}
    return {
        "id": id_,
        "chat_id": chat_id,
        "role": role,
        "content": content,
        "parts": orjson.Fragment(parts),  # type: ignore[typeddict-item]
        "status": status,
        "user": {"id": user_id, "name": user_name} if user_id is not None else None,
        "agent_id": None,
        "provider": details.get("provider"),
        "model_name": details.get("model"),
        "previous_message_id": previous_message_id,
        "parent_message_id": parent_message_id,
        "thread_level": thread_level,
        "context_rule": context_rule,
        "sibling_ids": _ids(sibling_ids) if sibling_ids else [],
        "reply_count": reply_count,
        "token_count": token_count,
        "usage": _usage(details.get("tokens")),
        "cost": details.get("cost"),
        "finish_reason": details.get("finish_reason"),
        "error": details.get("error"),
        "reactions": _reactions(reactions) if reactions else [],
        "run_id": details.get("run_id"),
        "left_out": details.get("left_out") or 0,
        "omissions": details.get("omissions") or [],
        "edited": bool(details.get("edited")),
        "imported": bool(imported),
        "created_at": created_at,
        "updated_at": updated_at,
    }


def _usage(tokens: dict[str, int] | None) -> UsageRead | None:
    if tokens is None:
        return None
    return {
        "input_tokens": tokens["prompt"],
        "output_tokens": tokens["completion"],
        "total_tokens": tokens["total"],
        "cached_tokens": tokens.get("cached", 0),
        "estimated": bool(tokens.get("estimated", False)),
    }


def newest_in_thread(session: Session, parent_message_id: str) -> str | None:
    """Return the newest message of a thread, which is the leaf of its shown branch; None if there is none."""
    return session.scalar(
        sa.select(Message.id)
        .where(Message.parent_message_id == parent_message_id, Message.status != MessageStatus.DELETED)
        .order_by(Message.id.desc())
        .limit(1)
    )


def newest_leaf_below(session: Session, chat_id: str, message_id: str) -> str:
    """Return the newest message below a message, or itself. It is a leaf: a child is newer than what it follows."""
    start = sa.select(sa.literal(message_id, Id()).label("id")).cte("below", recursive=True)
    below = start.union_all(
        sa.select(Message.id).where(
            Message.chat_id == chat_id,
            Message.previous_message_id == start.c.id,
            Message.status != MessageStatus.DELETED,
        )
    )
    ids = session.scalars(sa.select(sa.type_coerce(below.c.id, Id()))).all()
    return max(ids)
