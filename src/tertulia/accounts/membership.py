"""Ask whether a user belongs to a project, and what they may do there."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.models import MemberAccess, Membership
from tertulia.errors import Invalid


def find_access(session: Session, actor: Actor, project_id: str | None, *, locks: bool = False) -> MemberAccess | None:
    """Return what the actor may do in a project, or None for strangers, and for everybody while it is in the trash.

    With `locks`, it cannot change until the transaction ends.
    """
    if project_id is None:
        return None
    query = sa.select(Membership.access).where(Membership.project_id == project_id, Membership.user_id == actor.user_id)
    access = session.scalar(query.with_for_update(read=True) if locks else query)
    return None if access is MemberAccess.NONE else access


def require_member(session: Session, actor: Actor, project_id: str, *, writes: bool = False) -> None:
    """Check a project that a body or a query names. Raises Invalid for `project_id`; unknown ones look the same."""
    access = find_access(session, actor, project_id, locks=writes)
    if access is None:
        raise Invalid("This project does not exist, or you do not belong to it.", field="project_id")
    if writes and access is not MemberAccess.WRITE:
        raise Invalid("You may only read in this project.", field="project_id")
