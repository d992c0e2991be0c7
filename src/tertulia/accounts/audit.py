"""Keep and read the audit log: who did what to which object, when, and from which address."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from tertulia import clock
from tertulia.accounts.actor import OPERATOR_ID, Actor, require_admin
from tertulia.accounts.models import AuditLog, User
from tertulia.accounts.names import name_key
from tertulia.accounts.revocations import ACTIONS, Revocation
from tertulia.accounts.schemas import AuditEntry
from tertulia.db import Id, UtcTime, wake
from tertulia.exports import plain_cell
from tertulia.ids import UserId

After = tuple[datetime, str]  # time and id of the last entry of the previous page
EXPORT_PAGE = 500  # entries that are read at a time


def write_audit(
    session: Session,
    user_id: UserId | None,
    action: str,
    *,
    entity: str | None = None,
    entity_id: str | None = None,
    ip_address: str | None = None,
) -> None:
    """Record an action. If it ends sessions or tokens, their streams are told after the commit."""
    session.execute(
        sa.insert(AuditLog).values(
            user_id=None if user_id == OPERATOR_ID else user_id,
            action=action,
            entity=entity,
            entity_id=entity_id,
            ip_address=ip_address,
        )
    )
    if action in ACTIONS and entity_id is not None:
        wake(session, Revocation(action, entity_id, clock.now()).signal())


@dataclass(frozen=True)
class AuditFilter:
    """Which entries to list; None means any. `username` is who acted.

    `action` is an action, or a group of actions such as `share`.
    """

    username: str | None = None
    action: str | None = None
    ip_address: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_audit_log(
    session: Session, actor: Actor, wanted: AuditFilter, *, after: After | None, limit: int
) -> list[AuditEntry]:
    """List entries, newest first. Raises AdminOnly."""
    require_admin(actor)
    conditions = _conditions(session, wanted)
    if after is not None:
        last = sa.tuple_(sa.literal(after[0], UtcTime()), sa.literal(after[1], Id()))
        conditions.append(sa.tuple_(AuditLog.created_at, AuditLog.id) < last)
    if wanted.action is None:
        return _newest(session, conditions, limit)
    # Each action is read from its index in order, and the lists are joined: together they could not be read in order.
    entries = [
        entry
        for action in list_actions(session, actor)
        if action == wanted.action or action.startswith(f"{wanted.action}.")
        for entry in _newest(session, [*conditions, AuditLog.action == action], limit)
    ]
    return sorted(entries, key=lambda entry: (entry["created_at"], entry["id"]), reverse=True)[:limit]


def _newest(session: Session, conditions: Sequence[sa.ColumnElement[bool]], limit: int) -> list[AuditEntry]:
    target = aliased(User)
    query = (
        sa.select(AuditLog, User.username, User.name, target.username)
        .outerjoin(User, User.id == AuditLog.user_id)
        .outerjoin(target, (target.id == AuditLog.entity_id) & (AuditLog.entity == "user"))
        .where(*conditions)
        .order_by(AuditLog.created_at.desc(), AuditLog.id.desc())
        .limit(limit)
    )
    return [_entry(*row) for row in session.execute(query)]


def _conditions(session: Session, wanted: AuditFilter) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.username is not None:
        user_id = session.scalar(sa.select(User.id).where(User.username_key == name_key(wanted.username)))
        conditions.append((AuditLog.user_id == user_id) if user_id is not None else sa.false())
    if wanted.ip_address is not None:
        conditions.append(AuditLog.ip_address == wanted.ip_address)
    if wanted.since is not None:
        conditions.append(AuditLog.created_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(AuditLog.created_at < wanted.until)
    return conditions


def list_actions(session: Session, actor: Actor) -> list[str]:
    """List the actions that were ever recorded, in alphabetical order. Raises AdminOnly."""
    require_admin(actor)
    # Each is found in the index after the one before: what is stored in between costs nothing.
    actions: list[str] = []
    action = session.scalar(sa.select(sa.func.min(AuditLog.action)))
    while action is not None:
        actions.append(action)
        action = session.scalar(sa.select(sa.func.min(AuditLog.action)).where(AuditLog.action > action))
    return actions


def next_after(entries: Sequence[AuditEntry], limit: int) -> After | None:
    """Return where the page after these entries begins; None if they are the last, because they are fewer than the limit."""
    return (entries[-1]["created_at"], entries[-1]["id"]) if entries and len(entries) >= limit else None


def note_export(session: Session, actor: Actor) -> None:
    """Record that the audit log was exported. Raises AdminOnly."""
    require_admin(actor)
    write_audit(session, actor.user_id, "export.audit_log")


def as_csv(entries: Sequence[AuditEntry], *, with_head: bool) -> bytes:
    """Return entries as lines of CSV. A text that a spreadsheet would run as a formula gets an apostrophe."""
    text = io.StringIO()
    lines = csv.writer(text)
    if with_head:
        lines.writerow(_CELLS)
    for entry in entries:
        cells = [_cell(entry, name) for name in _CELLS]
        lines.writerow([plain_cell(cell) for cell in cells])
    return text.getvalue().encode()


def as_json_lines(entries: Sequence[AuditEntry]) -> bytes:
    return b"".join(orjson.dumps(entry, option=orjson.OPT_UTC_Z) + b"\n" for entry in entries)


def as_text(entries: Sequence[AuditEntry]) -> bytes:
    """Return entries as lines of words separated by spaces, with a hyphen for what is missing."""
    lines = [" ".join(_cell(entry, name) or "-" for name in _CELLS if name != "entity_id") for entry in entries]
    return "".join(f"{line}\n" for line in lines).encode()


def _cell(entry: AuditEntry, name: str) -> str:
    return _CELLS[name](entry) or ""


# How a column is written, in order.
_CELLS: dict[str, Callable[[AuditEntry], str | None]] = {
    "created_at": lambda entry: entry["created_at"].isoformat().replace("+00:00", "Z"),
    "username": lambda entry: entry["user"]["username"] if entry["user"] else None,
    "action": lambda entry: entry["action"],
    "entity": lambda entry: entry["entity"],
    "entity_id": lambda entry: entry["entity_id"],
    "entity_name": lambda entry: entry["entity_name"],
    "ip_address": lambda entry: entry["ip_address"],
}


def _entry(row: AuditLog, username: str | None, name: str | None, target_username: str | None) -> AuditEntry:
    return {
        "id": row.id,
        "created_at": row.created_at,
        "user": {"id": row.user_id, "username": username, "name": name} if row.user_id and username and name else None,
        "action": row.action,
        "entity": row.entity,
        "entity_id": row.entity_id,
        "entity_name": target_username,
        "ip_address": row.ip_address,
    }
