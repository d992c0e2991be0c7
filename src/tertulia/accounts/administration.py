"""Change the roles, status and passwords of users, for administrators, the operator and users themselves."""

import sqlalchemy as sa
from sqlalchemy.orm import Session as DbSession

from tertulia import clock
from tertulia.accounts.actor import Actor, SignInNeeded, require_admin
from tertulia.accounts.audit import write_audit
from tertulia.accounts.errors import LastAdmin, UserNotFound
from tertulia.accounts.models import ApiToken, DeviceInfo, Session, User, UserRole, UserStatus
from tertulia.accounts.names import name_key
from tertulia.accounts.schemas import UserRead, UserUpdate
from tertulia.accounts.service import announce_user, read_user
from tertulia.accounts.sessions import SessionLifetime, end_sessions, start_session
from tertulia.ids import UserId


def update_user(session: DbSession, actor: Actor, user_id: UserId, update: UserUpdate) -> UserRead:
    """Change name, role or status of a user. Raises LastAdmin if no administrator would be left."""
    require_admin(actor)
    admins = lock_admins(session)
    user = session.get(User, user_id, with_for_update=True, populate_existing=True)
    if user is None:
        raise UserNotFound
    role = update.role or user.role
    status = update.status or user.status
    stays_admin = role is UserRole.ADMIN and status is UserStatus.ACTIVE
    is_admin = user.role is UserRole.ADMIN and user.status is UserStatus.ACTIVE
    if is_admin and not stays_admin and not admins - {user.id}:
        raise LastAdmin
    if (role, status) != (user.role, user.status):
        # Their permissions changed, so every open session ends and they sign in again.
        end_sessions(session, Session.user_id == user_id)
        if role is not user.role:
            write_audit(session, actor.user_id, "user.role", entity="user", entity_id=user_id)
        if status is not user.status:
            write_audit(session, actor.user_id, f"user.{status}", entity="user", entity_id=user_id)
    user.role, user.status, user.name = role, status, update.name or user.name
    session.flush()
    return announce_user(session, user)


def change_password(
    session: DbSession,
    actor: Actor,
    *,
    old_hash: str | None,
    new_hash: str,
    life: SessionLifetime,
    device: DeviceInfo,
) -> tuple[UserRead, str]:
    """Set a new password, end every session, and return the user with the token of a new session.

    The caller has compared the current password with `old_hash`.
    """
    if actor.session_id is None:
        raise SignInNeeded
    user = session.get(User, actor.user_id, with_for_update=True, populate_existing=True)
    if user is None or user.password_hash != old_hash:
        raise UserNotFound  # deleted, or changed by another window meanwhile, which wins
    _set_password(session, user, new_hash, by=actor)
    return read_user(user), start_session(session, actor.user_id, life=life, device=device)


def reset_password(session: DbSession, actor: Actor, username: str, *, new_hash: str) -> UserRead:
    """Set a password for a user who is locked out or whose account was taken over. Also revokes API tokens."""
    require_admin(actor)
    user = find_by_name(session, username)
    _set_password(session, user, new_hash, by=actor)
    session.execute(
        sa.update(ApiToken)
        .where(ApiToken.user_id == user.id, ApiToken.revoked_at.is_(None))
        .values(revoked_at=clock.now())
    )
    return read_user(user)


def deactivate_user(session: DbSession, actor: Actor, username: str) -> UserRead:
    user = find_by_name(session, username)
    return update_user(session, actor, UserId(user.id), UserUpdate(status=UserStatus.INACTIVE))


def find_by_name(session: DbSession, username: str) -> User:
    user = session.scalars(sa.select(User).where(User.username_key == name_key(username))).one_or_none()
    if user is None:
        raise UserNotFound(f"There is no user {username}.")
    return user


def _set_password(session: DbSession, user: User, new_hash: str, *, by: Actor) -> None:
    user.password_hash = new_hash
    session.flush()
    end_sessions(session, Session.user_id == user.id)
    write_audit(session, by.user_id, "user.password", entity="user", entity_id=user.id)


def lock_admins(session: DbSession) -> set[str]:
    """Lock the active administrators and return the ids of those who stay: their account will not be deleted.

    Two can then neither demote each other nor leave at the same time.
    """
    admins = session.execute(
        sa.select(User.id, User.deletes_at)
        .where(User.role == UserRole.ADMIN, User.status == UserStatus.ACTIVE)
        .order_by(User.id)
        .with_for_update()
    )
    return {user_id for user_id, deletes_at in admins if deletes_at is None}
