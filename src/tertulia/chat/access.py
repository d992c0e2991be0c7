"""Permission conditions of chats in SQL: a chat belongs to its owner.

Its shares, those of its draft, and the members of its project widen that.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from tertulia.accounts.access import Column, actor_id, granted_to_actor, is_granted, may_as_member
from tertulia.accounts.models import Membership, Share
from tertulia.chat.models import Chat, DraftChat


def owns_chat(owner_id: Column) -> ColumnElement[bool]:
    """Build the condition for what only the owner does: rename, archive, delete, and list the chat."""
    return owner_id == actor_id()


def may_read_chat(chat_id: Column, owner_id: Column) -> ColumnElement[bool]:
    shared = is_granted(is_share_of_chat(chat_id), Share.can_read)
    return (owner_id == actor_id()) | shared | is_open_to_actor(chat_id)


def may_write_chat(chat_id: Column, owner_id: Column) -> ColumnElement[bool]:
    shared = is_granted(is_share_of_chat(chat_id), Share.can_write)
    return (owner_id == actor_id()) | shared | is_open_to_actor(chat_id, writes=True)


def is_open_to_actor(chat_id: Column, *, writes: bool = False) -> ColumnElement[bool]:
    """Build the condition that a chat is open to the members of its project, and that the actor is one."""
    chat = Chat.__table__.alias("open_chat")
    return (
        sa.select(sa.literal(1))
        .select_from(chat.join(Membership.__table__, Membership.project_id == chat.c.project_id))
        .where(
            chat.c.id == chat_id,
            chat.c.is_open_to_project,
            Membership.user_id == actor_id(),
            may_as_member(writes=writes),
        )
        .exists()
    )


def may_share_chat(chat_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | is_granted(is_share_of_chat(chat_id), Share.can_share)


def is_share_of_chat(chat_id: Column | str) -> ColumnElement[bool]:
    """Build the condition that a share is of the chat, or of the draft that the chat is about."""
    link = DraftChat.__table__
    draft_id = sa.select(link.c.draft_id).where(link.c.chat_id == chat_id).correlate_except(link).scalar_subquery()
    return (Share.chat_id == chat_id) | (Share.draft_id == draft_id)


def open_chat_ids() -> sa.Select[Any]:
    """Select the chats that are open to the members of the actor's projects."""
    return (
        sa.select(Chat.id)
        .join(Membership, Membership.project_id == Chat.project_id)
        .where(Chat.is_open_to_project, Chat.deleted_at.is_(None), Membership.user_id == actor_id(), may_as_member())
    )


def handed_over_chat_ids() -> sa.Select[Any]:
    """Select the actor's chats that were another person's. The search index still names that person."""
    return sa.select(Chat.id).where(Chat.user_id == actor_id(), sa.text("chat.is_handed_over"))


def shared_chat_ids() -> sa.CompoundSelect[Any]:
    """Select the chats that others let the actor read, those of shared drafts included."""
    of_drafts = sa.select(DraftChat.chat_id).join(Share, Share.draft_id == DraftChat.draft_id)
    return sa.union_all(
        sa.select(Share.chat_id).where(Share.chat_id.is_not(None), *granted_to_actor()),
        of_drafts.where(*granted_to_actor()),
    )
