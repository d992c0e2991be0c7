"""Permission conditions of drafts in SQL: a draft belongs to its owner, and its shares widen that."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from tertulia.accounts.access import Column, actor_id, granted_to_actor, is_granted
from tertulia.accounts.models import Share


def owns_draft(owner_id: Column) -> ColumnElement[bool]:
    """Build the condition for what only the owner does: rename, delete, and list the draft."""
    return owner_id == actor_id()


def may_read_draft(draft_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | is_granted(is_share_of_draft(draft_id), Share.can_read)


def may_write_draft(draft_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | is_granted(is_share_of_draft(draft_id), Share.can_write)


def may_share_draft(draft_id: Column, owner_id: Column) -> ColumnElement[bool]:
    return (owner_id == actor_id()) | is_granted(is_share_of_draft(draft_id), Share.can_share)


def is_share_of_draft(draft_id: Column | str) -> ColumnElement[bool]:
    """Build the condition that a share is of the draft."""
    return Share.draft_id == draft_id


def shared_draft_ids() -> sa.Select[Any]:
    """Select the drafts that others let the actor read."""
    return sa.select(Share.draft_id).where(Share.draft_id.is_not(None), *granted_to_actor())
