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
# Which draft a chat is about; the table is a package's above.
_DRAFT_CHAT = sa.table("draft_chat", sa.column("chat_id", Id()), sa.column("draft_id", Id()))


def actor_id() -> sa.BindParameter[str]:
    return sa.bindparam("actor_id", type_=Id())


def owns_chat(owner_id: Column) -> ColumnElement[bool]:
    """What only the owner does: renaming, archiving, deleting, and seeing it in lists."""
    return owner_id == actor_id()


def may_read_chat(chat_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | _given(covers_chat(chat_id), Share.can_read)


def may_write_chat(chat_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | _given(covers_chat(chat_id), Share.can_write)


def may_share_chat(chat_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | _given(covers_chat(chat_id), Share.can_share)


def owns_draft(owner_id: Column) -> ColumnElement[bool]:
    """Naming, deleting, and seeing it in one's list."""
    return owner_id == actor_id()


def may_read_draft(draft_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | _given(covers_draft(draft_id), Share.can_read)


def may_write_draft(draft_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | _given(covers_draft(draft_id), Share.can_write)


def may_share_draft(draft_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | _given(covers_draft(draft_id), Share.can_share)


def is_valid_share() -> ColumnElement[bool]:
    return Share.is_active & (Share.expires_at.is_(None) | (Share.expires_at > utc_now()))


def covers_chat(chat_id: Column | str) -> ColumnElement[bool]:
    """Of shares: those of the chat, and those of the draft that it is about."""
    about = sa.select(_DRAFT_CHAT.c.draft_id).where(_DRAFT_CHAT.c.chat_id == chat_id)
    draft_id = about.correlate_except(_DRAFT_CHAT).scalar_subquery()
    return (Share.chat_id == chat_id) | (Share.draft_id == draft_id)


def covers_draft(draft_id: Column | str) -> ColumnElement[bool]:
    return Share.draft_id == draft_id


def shared_chat_ids() -> sa.CompoundSelect[Any]:
    """The chats that others let the actor read, those of shared drafts among them."""
    given = (Share.shared_with_user_id == actor_id(), Share.can_read, is_valid_share())
    of_drafts = sa.select(_DRAFT_CHAT.c.chat_id).join(Share, Share.draft_id == _DRAFT_CHAT.c.draft_id)
    return sa.union_all(sa.select(Share.chat_id).where(Share.chat_id.is_not(None), *given), of_drafts.where(*given))


def shared_draft_ids() -> sa.Select[Any]:
    """The drafts that others let the actor read."""
    return sa.select(Share.draft_id).where(
        Share.shared_with_user_id == actor_id(), Share.draft_id.is_not(None), Share.can_read, is_valid_share()
    )


def find_shared(session: Session, user_ids: Iterable[str]) -> dict[str, dict[str, datetime | None]]:
    """The chats and drafts that others let each of these people read, with the end of the longest such leave; None: it has none."""
    given = (Share.shared_with_user_id.in_(list(user_ids)), Share.can_read, is_valid_share())
    itself = sa.func.coalesce(Share.chat_id, Share.draft_id, type_=Id())
    of_drafts = sa.select(Share.shared_with_user_id, _DRAFT_CHAT.c.chat_id, Share.expires_at)
    rows = session.execute(
        sa.union_all(
            sa.select(Share.shared_with_user_id, itself, Share.expires_at).where(*given),
            of_drafts.join(_DRAFT_CHAT, _DRAFT_CHAT.c.draft_id == Share.draft_id).where(*given),
        )
    )
    found: dict[str, dict[str, datetime | None]] = {}
    for user_id, shared_id, end in rows:
        known = found.setdefault(user_id, {})
        longest = known.get(shared_id, end)
        known[shared_id] = None if longest is None or end is None else max(longest, end)
    return found


def _given(covering: ColumnElement[bool], permission: sa.orm.InstrumentedAttribute[bool]) -> ColumnElement[bool]:
    return (
        sa.select(sa.literal(1))
        .where(covering, Share.shared_with_user_id == actor_id(), permission, is_valid_share())
        .exists()
    )
