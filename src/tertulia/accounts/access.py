"""May this actor? Conditions in SQL that every getter puts into its own query, so that no caller must remember them.

They are written over columns and the bind parameter `actor_id`, not over the tables of chats, so that packages below chat
can ask too. A chat is its owner's; shares widen that, here and nowhere else. Projects will, when they come.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from tertulia.accounts.models import Share
from tertulia.db.types import Id, utc_now

Column = ColumnElement[str] | sa.orm.InstrumentedAttribute[str]


def actor_id() -> sa.BindParameter[str]:
    return sa.bindparam("actor_id", type_=Id())


def owns_chat(owner_id: Column) -> ColumnElement[bool]:
    """What only the owner does: renaming, archiving, deleting, and seeing it in lists."""
    return owner_id == actor_id()


def may_read_chat(chat_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | _is_shared(chat_id, Share.can_read)


def may_write_chat(chat_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | _is_shared(chat_id, Share.can_write)


def may_share_chat(chat_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | _is_shared(chat_id, Share.can_share)


def owns_draft(owner_id: Column) -> ColumnElement[bool]:
    """Reading and writing alike: drafts are not shared yet."""
    return owner_id == actor_id()


def is_valid_share() -> ColumnElement[bool]:
    return Share.is_active & (Share.expires_at.is_(None) | (Share.expires_at > utc_now()))


def shared_chat_ids() -> sa.Select[Any]:
    """The chats that others let the actor read."""
    return sa.select(Share.chat_id).where(Share.shared_with_user_id == actor_id(), Share.can_read, is_valid_share())


def find_shared_chats(session: Session, user_ids: Iterable[str]) -> dict[str, dict[str, datetime | None]]:
    """The chats that others let each of these people read, with the end of the longest such leave; None: it has none."""
    found: dict[str, dict[str, datetime | None]] = {}
    rows = session.execute(
        sa.select(Share.shared_with_user_id, Share.chat_id, Share.expires_at).where(
            Share.shared_with_user_id.in_(list(user_ids)), Share.can_read, is_valid_share()
        )
    )
    for user_id, chat_id, end in rows:
        chats = found.setdefault(user_id or "", {})
        known = chats.get(chat_id, end)
        chats[chat_id] = None if known is None or end is None else max(known, end)
    return found


def _is_shared(chat_id: Column, permission: sa.orm.InstrumentedAttribute[bool]) -> ColumnElement[bool]:
    return (
        sa.select(sa.literal(1))
        .where(Share.chat_id == chat_id, Share.shared_with_user_id == actor_id(), permission, is_valid_share())
        .exists()
    )
