"""Permission conditions in SQL. Every getter puts one into its own query, so that no caller can forget it.

They are written over columns and the bind parameter `actor_id`. An object belongs to its owner, and shares widen that. The
domains add what their objects need, such as `chat.access`.
"""

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from tertulia.accounts.models import MemberAccess, Membership, Share
from tertulia.db.types import Id, utc_now

Column = ColumnElement[str] | sa.orm.InstrumentedAttribute[str]


def actor_id() -> sa.BindParameter[str]:
    """Return the bind parameter of the user who asks."""
    return sa.bindparam("actor_id", type_=Id())


def is_valid_share() -> ColumnElement[bool]:
    """Build the condition that a share is active and not expired."""
    return Share.is_active & (Share.expires_at.is_(None) | (Share.expires_at > utc_now()))


def granted_to_actor() -> tuple[ColumnElement[bool] | sa.orm.InstrumentedAttribute[bool], ...]:
    """Build the conditions that a valid share lets the actor read."""
    return (Share.shared_with_user_id == actor_id(), Share.can_read, is_valid_share())


def may_as_member(*, writes: bool = False) -> ColumnElement[bool]:
    """Build the condition that a membership lets its user read, or write, in the project."""
    return Membership.access == MemberAccess.WRITE if writes else Membership.access != MemberAccess.NONE


def is_granted(is_share_of: ColumnElement[bool], permission: sa.orm.InstrumentedAttribute[bool]) -> ColumnElement[bool]:
    """Build the condition that a valid share that `is_share_of` selects gives the actor this permission."""
    return (
        sa.select(sa.literal(1))
        .where(is_share_of, Share.shared_with_user_id == actor_id(), permission, is_valid_share())
        .exists()
    )
