"""Delete an account: requested by its owner, undone within seven days, and then complete, part by part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session as DbSession

from tertulia import clock
from tertulia.accounts.actor import Actor, require_session
from tertulia.accounts.administration import lock_admins
from tertulia.accounts.audit import write_audit
from tertulia.accounts.confirmation import require_confirmed
from tertulia.accounts.errors import LastAdmin, UserNotFound
from tertulia.accounts.models import AuditLog, DeletedUser, Session, User, UserRole, UserStatus
from tertulia.accounts.schemas import UserRead
from tertulia.accounts.service import announce_user
from tertulia.accounts.sessions import end_sessions
from tertulia.db import Base, Id, JsonOf, rowcount
from tertulia.realtime.models import Change

WAITS = timedelta(days=7)
AT_ONCE = 500  # small rows that are deleted in one transaction


@dataclass(frozen=True)
class OwnedData:
    """Contribution of a feature: data of a user that is too much for one transaction.

    `delete_part(session, user_id)` deletes a part, and returns whether there was something to delete. What others keep of
    the user is given to them before everything else goes: `gives_away`.
    """

    delete_part: Callable[[DbSession, str], bool]
    gives_away: bool = False


@dataclass(frozen=True)
class DeletionCheck:
    """Service: raises if something must be ended before an account goes. Billing, a package above, provides it."""

    check: Callable[[DbSession, Actor], None]


def request_deletion(session: DbSession, actor: Actor, check: DeletionCheck | None = None) -> UserRead:
    """Let the actor's account be deleted in seven days.

    Raises ConfirmationNeeded, SignInNeeded, LastAdmin, and what `check` raises.
    """
    require_session(actor)
    require_confirmed(session, actor)
    if check is not None:
        check.check(session, actor)
    admins = lock_admins(session)
    user = session.get(User, actor.user_id, with_for_update=True, populate_existing=True)
    if user is None:
        raise UserNotFound
    if user.role is UserRole.ADMIN and not admins - {user.id}:
        raise LastAdmin
    user.deletes_at = user.deletes_at or clock.now() + WAITS
    session.flush()
    write_audit(session, actor.user_id, "user.delete_request", entity="user", entity_id=user.id)
    return announce_user(session, user)


def cancel_deletion(session: DbSession, actor: Actor) -> UserRead:
    """Keep the actor's account after all."""
    require_session(actor)
    user = session.get(User, actor.user_id, with_for_update=True, populate_existing=True)
    if user is None:
        raise UserNotFound
    if user.deletes_at is not None:
        user.deletes_at = None
        session.flush()
        write_audit(session, actor.user_id, "user.delete_cancel", entity="user", entity_id=user.id)
    return announce_user(session, user)


def has_due_deletion(session: DbSession) -> bool:
    return session.scalar(_due().limit(1)) is not None


def _due() -> sa.Select[str]:
    return sa.select(User.id).where(User.deletes_at <= clock.now())


def delete_next_part(session: DbSession, owned: Sequence[OwnedData]) -> bool:
    """Delete a part of an account that is due. Return whether anything was due: then call it again."""
    user_id = session.scalar(_due().order_by(User.deletes_at).limit(1))
    if user_id is None:
        return False
    user = session.get_one(User, user_id, with_for_update=True, populate_existing=True)
    if user.deletes_at is None or user.deletes_at > clock.now():
        return True
    if user.status is UserStatus.ACTIVE:  # first, nothing new may begin
        user.status = UserStatus.INACTIVE
        end_sessions(session, Session.user_id == user_id)
        session.flush()
        return True
    parts = [_delete_changes, _clear_audit_log, *(data.delete_part for data in owned)]
    if any(delete(session, user_id) for delete in parts):
        return True
    session.add(DeletedUser(id=user_id))
    session.delete(user)
    session.flush()
    write_audit(session, None, "user.delete")
    return True


def _delete_changes(session: DbSession, user_id: str) -> bool:
    old = sa.select(Change.seq).where(Change.owner_id == user_id).limit(AT_ONCE)
    return rowcount(session, sa.delete(Change).where(Change.seq.in_(old))) > 0


def _clear_audit_log(session: DbSession, user_id: str) -> bool:
    """Keep what happened, without the person."""
    entries = sa.select(AuditLog.id).where((AuditLog.user_id == user_id) | (AuditLog.entity_id == user_id))
    changed = sa.update(AuditLog).where(AuditLog.id.in_(entries.limit(AT_ONCE)))
    return rowcount(session, changed.values(user_id=None, entity_id=None, ip_address=None)) > 0


# Kept for the books, with the payment provider's own data; and changes, which windows read for some days.
KEPT = {"deleted_user", "payment", "subscription", "change"}


def find_leftovers(session: DbSession) -> list[str]:
    """Return a sentence for each column in which a deleted account is still named, for `tertulia db check`.

    Ids are looked for in columns of ids, and within names, structures and stored bodies. Texts of others are not read.
    """
    findings: list[str] = []
    deleted = list(session.scalars(sa.select(DeletedUser.id)))
    for table in Base.metadata.sorted_tables:
        for column in () if table.name in KEPT or not deleted else table.columns:
            count = 0
            for start in range(0, len(deleted), IDS_AT_ONCE):
                condition = _names(column, deleted[start : start + IDS_AT_ONCE], session.get_bind().dialect.name)
                if condition is not None:
                    count += session.scalar(sa.select(sa.func.count()).select_from(table).where(condition)) or 0
            if count:
                findings.append(f"{table.name}.{column.name} names deleted accounts in {count} rows")
    return findings


IDS_AT_ONCE = 50


def _names(column: sa.Column[Any], ids: Sequence[str], dialect: str) -> sa.ColumnElement[bool] | None:
    """Build the condition that a column holds one of these ids, or contains one. None for columns of other kinds."""
    kind = column.type
    if isinstance(kind, Id):
        return column.in_(ids)
    if isinstance(kind, sa.LargeBinary):
        wanted: Any = [sa.literal(user_id.encode(), sa.LargeBinary()) for user_id in ids]
        return sa.or_(*(_position(column, value, dialect) > 0 for value in wanted))
    if isinstance(kind, JsonOf) or (isinstance(kind, sa.String) and not isinstance(kind, sa.Text)):
        text = sa.cast(sa.type_coerce(column, sa.Text()) if dialect == "sqlite" else column, sa.Text())
        return sa.or_(*(_position(text, sa.literal(user_id, sa.Text()), dialect) > 0 for user_id in ids))
    return None


def _position(column: Any, value: Any, dialect: str) -> Any:
    if dialect == "sqlite":
        return sa.func.instr(column, value)
    return sa.func.position(value.op("IN")(column))
