"""Permission conditions of chats in SQL: a chat belongs to its owner, and its shares and those of its draft widen that."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from tertulia.accounts.access import Column, actor_id, granted_to_actor, is_granted
from tertulia.accounts.models import Share
from tertulia.chat.models import DraftChat


def owns_chat(owner_id: Column) -> ColumnElement[bool]:
    """Build the condition for what only the owner does: rename, archive, delete, and list the chat."""
    return owner_id == actor_id()


def may_read_chat(chat_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | is_granted(is_share_of_chat(chat_id), Share.can_read)


def may_write_chat(chat_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | is_granted(is_share_of_chat(chat_id), Share.can_write)


def may_share_chat(chat_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | is_granted(is_share_of_chat(chat_id), Share.can_share)


def is_share_of_chat(chat_id: Column | str) -> ColumnElement[bool]:
    """Build the condition that a share is of the chat, or of the draft that the chat is about."""
    link = DraftChat.__table__
    draft_id = sa.select(link.c.draft_id).where(link.c.chat_id == chat_id).correlate_except(link).scalar_subquery()
    return (Share.chat_id == chat_id) | (Share.draft_id == draft_id)


def shared_chat_ids() -> sa.CompoundSelect[Any]:
    """Select the chats that others let the actor read, those of shared drafts included."""
    of_drafts = sa.select(DraftChat.chat_id).join(Share, Share.draft_id == DraftChat.draft_id)
    return sa.union_all(
        sa.select(Share.chat_id).where(Share.chat_id.is_not(None), *granted_to_actor()),
        of_drafts.where(*granted_to_actor()),
    )
