"""Keep a journal of revoked access outside the database, so that a restored backup does not bring it back.

The journal is a file in the data folder with one JSON object on each line. It is not part of backups.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import orjson
import sqlalchemy as sa

from tertulia import clock
from tertulia.accounts.models import ApiToken, Session, Share, User, UserStatus
from tertulia.db import Database, table_of

FILE_NAME = "revocations.jsonl"
SIGNAL = "revoked:"
# Actions of the audit log that end someone's access.
ACTIONS = (
    "session.revoke",
    "api_token.revoke",
    "share.revoke",
    "user.inactive",
    "user.suspended",
    "user.active",  # not a revocation, but it ends one
    "user.role",
    "user.password",
)


@dataclass(frozen=True)
class Revocation:
    """An action of the audit log that ended access: of a session, token, share or user."""

    action: str
    entity_id: str
    at: datetime

    def signal(self) -> str:
        """Return the signal that is sent when the revocation is committed."""
        return SIGNAL + orjson.dumps(self).decode()


class RevocationJournal:
    """Appends each committed revocation to the journal, also those of other processes."""

    def __init__(self, db: Database, data_folder: Path) -> None:
        self._path = data_folder / FILE_NAME
        db.on_wake(self._on_wake)

    def _on_wake(self, signal: str) -> None:
        if signal.startswith(SIGNAL):
            with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
                file.write(signal.removeprefix(SIGNAL) + "\n")
                file.flush()
                os.fsync(file.fileno())


def read_revocations(path: Path, *, since: datetime) -> list[Revocation]:
    """Return the revocations after a moment, oldest first. A line that a crash cut off is skipped."""
    return sorted(
        (revocation for revocation in _read_lines(path) if revocation.at > since), key=lambda revocation: revocation.at
    )


def _read_lines(path: Path) -> Iterator[Revocation]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                fields = orjson.loads(line)
                yield Revocation(fields["action"], fields["entity_id"], datetime.fromisoformat(fields["at"]))
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                continue


def end_sessions_and_tokens(connection: sa.Connection) -> None:
    """End all sessions and API tokens of a database of any version that is being restored."""
    now = clock.now()
    session, token = table_of(Session), table_of(ApiToken)
    connection.execute(sa.update(session).where(session.c.is_active).values(is_active=False, ended_at=now))
    if sa.inspect(connection).has_table(token.name):
        connection.execute(sa.update(token).where(token.c.revoked_at.is_(None)).values(revoked_at=now))


def repeat_revocations(connection: sa.Connection, revocations: Iterable[Revocation]) -> None:
    """Repeat the revocations made since the backup, oldest first."""
    for revocation in revocations:
        match revocation.action:
            case "share.revoke":
                share = sa.update(Share).where(Share.id == revocation.entity_id)
                connection.execute(share.values(is_active=False))
            case "user.inactive" | "user.suspended" | "user.active":
                status = UserStatus(revocation.action.partition(".")[2])
                connection.execute(sa.update(User).where(User.id == revocation.entity_id).values(status=status))
            case "user.password":  # the old password must not work; the operator sets a new one
                connection.execute(sa.update(User).where(User.id == revocation.entity_id).values(password_hash=None))
