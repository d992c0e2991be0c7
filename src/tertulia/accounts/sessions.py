"""Sessions: find the user of a token, start and end sessions, and list devices."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session as DbSession

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.audit import write_audit
from tertulia.accounts.errors import SessionNotFound, WrongCredentials
from tertulia.accounts.events import SESSION
from tertulia.accounts.models import AuditLog, DeviceInfo, Session, User, UserStatus
from tertulia.accounts.names import name_key
from tertulia.accounts.schemas import FailedSignIns, SessionRead
from tertulia.accounts.tokens import hash_token, new_token
from tertulia.db import Prepared, rowcount
from tertulia.ids import SessionId, UserId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

REFUSED = "session.refused"  # the action in the audit log
MAX_FAILED_COUNTED = 1000


@dataclass(frozen=True)
class SessionLifetime:
    """A session ends after `idle` without use, and after `absolute` in any case."""

    idle: timedelta
    absolute: timedelta


# The only check of a session token. The query itself refuses ended, expired and idle sessions and inactive users, even
# before a sweep has cleaned up.
_VALID = (
    Session.is_active.is_(True),
    Session.expires_at > sa.bindparam("now", type_=Session.expires_at.type),
    Session.last_active_at > sa.bindparam("idle_since", type_=Session.last_active_at.type),
    User.status == UserStatus.ACTIVE,
)
_BY_TOKEN = Prepared(
    sa.select(Session.user_id, User.role, Session.id)
    .join(User, User.id == Session.user_id)
    .where(Session.token_hash == sa.bindparam("token_hash", type_=sa.LargeBinary()), *_VALID)
)


def find_actor(session: DbSession, token_hash: bytes, life: SessionLifetime) -> Actor | None:
    now = clock.now()
    row = _BY_TOKEN.first(session, token_hash=token_hash, now=now, idle_since=now - life.idle)
    return Actor(*row) if row else None


def list_valid_sessions(session: DbSession, session_ids: Iterable[str], life: SessionLifetime) -> set[str]:
    """Return which of these sessions are still valid. Open streams call this every few seconds."""
    now = clock.now()
    query = (
        sa.select(Session.id).join(User, User.id == Session.user_id).where(Session.id.in_(list(session_ids)), *_VALID)
    )
    return set(session.scalars(query, {"now": now, "idle_since": now - life.idle}))


@dataclass(frozen=True)
class Credentials:
    user_id: UserId
    password_hash: str | None


def find_credentials(session: DbSession, name: str) -> Credentials | None:
    """Find an active user by user name or e-mail address."""
    key = name_key(name)
    row = session.execute(
        sa.select(User.id, User.password_hash).where(
            (User.username_key == key) | (User.email_key == key), User.status == UserStatus.ACTIVE
        )
    ).first()
    if row is None:
        return None
    user_id, password_hash = row
    return Credentials(UserId(user_id), password_hash)


def require_unchanged(session: DbSession, compared: Credentials) -> None:
    """Lock the user's row until the transaction ends. Raises WrongCredentials if the password or status changed."""
    unchanged = session.scalar(
        sa.select(User.id)
        .where(
            User.id == compared.user_id,
            User.status == UserStatus.ACTIVE,
            User.password_hash == compared.password_hash,
        )
        .with_for_update()
    )
    if unchanged is None:
        raise WrongCredentials


def count_failed_sign_ins(session: DbSession, actor: Actor) -> FailedSignIns:
    """Count wrong passwords for the actor's account in the last 30 days, up to 1,000, and describe the latest."""
    rows = session.execute(
        sa.select(AuditLog.created_at, AuditLog.ip_address)
        .where(
            AuditLog.user_id == actor.user_id,
            AuditLog.action == REFUSED,
            AuditLog.created_at > clock.now() - timedelta(days=30),
        )
        .order_by(AuditLog.created_at.desc())
        .limit(MAX_FAILED_COUNTED)
    ).all()
    last_at, last_address = rows[0] if rows else (None, None)
    return {"count": len(rows), "last_at": last_at, "last_address": last_address}


def find_password_hash(session: DbSession, user_id: UserId) -> str | None:
    return session.scalars(sa.select(User.password_hash).where(User.id == user_id)).one_or_none()


def start_session(
    session: DbSession,
    user_id: UserId,
    *,
    life: SessionLifetime,
    device: DeviceInfo,
    replaces: bytes | None = None,
) -> str:
    """Start a session and return its token, which is not stored. `replaces` is the token hash of a session to end."""
    now = clock.now()
    if replaces is not None:
        end_sessions(session, Session.token_hash == replaces)
    token = new_token()
    session_id = new_id()
    session.execute(
        sa.insert(Session).values(
            id=session_id,
            user_id=user_id,
            token_hash=hash_token(token),
            expires_at=now + life.absolute,
            device_info=device,
            started_at=now,
            last_active_at=now,
            is_active=True,
        )
    )
    write_audit(session, user_id, "session.start", ip_address=device.ip_address)
    _announce(session, session_id, user_id, Operation.CREATED)
    return token


def list_sessions(
    session: DbSession, actor: Actor, life: SessionLifetime, *, after: str | None = None, limit: int = 50
) -> list[SessionRead]:
    """List the devices on which this user is signed in, newest session first."""
    now = clock.now()
    query = (
        sa.select(Session)
        .join(User, User.id == Session.user_id)
        .where(Session.user_id == actor.user_id, *_VALID)
        .order_by(Session.id.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(Session.id < after)
    rows = session.scalars(query, {"now": now, "idle_since": now - life.idle})
    return [_read_session(row, actor) for row in rows]


def revoke_session(session: DbSession, actor: Actor, session_id: SessionId) -> None:
    """Sign a device out. Raises SessionNotFound."""
    mine = (Session.id == session_id, Session.user_id == actor.user_id)
    if not end_sessions(session, *mine):
        raise SessionNotFound
    write_audit(session, actor.user_id, "session.revoke", entity="session", entity_id=session_id)


def end_session(session: DbSession, token_hash: bytes) -> None:
    end_sessions(session, Session.token_hash == token_hash)


def end_sessions(session: DbSession, *which: sa.ColumnElement[bool]) -> int:
    """End the sessions that match all conditions and notify their users' clients. Return how many ended."""
    rows = session.execute(
        sa.select(Session.id, Session.user_id).where(*which, Session.is_active).with_for_update()
    ).all()
    for session_id, user_id in rows:
        session.execute(
            sa.update(Session).where(Session.id == session_id).values(is_active=False, ended_at=clock.now())
        )
        _announce(session, session_id, user_id, Operation.DELETED)
    return len(rows)


def _announce(session: DbSession, session_id: str, user_id: str, operation: Operation) -> None:
    publish(
        session,
        owner_id=user_id,
        topic=f"user:{user_id}",
        entity=SESSION,
        entity_id=session_id,
        operation=operation,
    )


def _read_session(row: Session, actor: Actor) -> SessionRead:
    device = row.device_info
    return {
        "id": row.id,
        "platform": device.platform if device else None,
        "browser": device.browser if device else None,
        "user_agent": device.user_agent if device else None,
        "ip_address": device.ip_address if device else None,
        "is_current": row.id == actor.session_id,
        "started_at": row.started_at,
        "last_active_at": row.last_active_at,
        "expires_at": row.expires_at,
    }


def touch_sessions(session: DbSession, seen: dict[str, datetime]) -> None:
    """Write when sessions and their users were last active. Collected in memory, because reads must not write."""
    for session_id, moment in seen.items():
        session.execute(sa.update(Session).where(Session.id == session_id).values(last_active_at=moment))
        of_session = sa.select(Session.user_id).where(Session.id == session_id).scalar_subquery()
        session.execute(
            sa.update(User).where(User.id == of_session).values(last_active_at=moment, updated_at=User.updated_at)
        )


def sweep_sessions(session: DbSession, life: SessionLifetime) -> int:
    """Mark expired and idle sessions as ended, and delete old ones. Return how many were ended."""
    now = clock.now()
    session.execute(sa.delete(Session).where(Session.expires_at < now - life.absolute))
    run_out = sa.or_(Session.expires_at <= now, Session.last_active_at <= now - life.idle)
    return rowcount(session, sa.update(Session).where(Session.is_active, run_out).values(is_active=False, ended_at=now))


_BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_PLATFORMS = (
    ("Android", "Android"),
    ("iPhone|iPad", "iOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def describe_device(user_agent: str, ip_address: str | None) -> DeviceInfo:
    """Derive browser and platform from the user agent, so that a person recognises the device."""
    browser = next((name for pattern, name in _BROWSERS if pattern in user_agent), "Other")
    platform = next((name for pattern, name in _PLATFORMS if re.search(pattern, user_agent)), "Other")
    return DeviceInfo(user_agent=user_agent[:300], platform=platform, browser=browser, ip_address=ip_address)
