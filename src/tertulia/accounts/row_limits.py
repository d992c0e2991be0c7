"""Limit how many rows each user may have in a table, such as chats and drafts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from tertulia.accounts.models import User
from tertulia.errors import Conflict


@dataclass(frozen=True)
class StorageQuota:
    """Service: the lowest number of bytes that a quota lets a user store, or None. Billing provides it.

    `note(session, user_id, used, most)` notifies the user of the share of their limit that they reached.
    """

    find: Callable[[Session, str], int | None] = lambda _session, _user_id: None
    note: Callable[[Session, str, int, int], None] = lambda _session, _user_id, _used, _most: None


@dataclass(frozen=True)
class StorageLimit:
    """Service: how many bytes of files each user may store, and how many a user has stored. Files provide it."""

    operator_bytes: int
    used: Callable[[Session, str], int]
    quota: StorageQuota = StorageQuota()

    def of(self, session: Session, user_id: str) -> int:
        """Return the limit of a user: the operator's, or a lower one by a quota."""
        quota = self.quota.find(session, user_id)
        return self.operator_bytes if quota is None else min(quota, self.operator_bytes)

    def exceeded(self, session: Session, user_id: str) -> int | None:
        """Return the limit if what a user stores is above it. Otherwise, notify them of the share that they reached."""
        used, most = self.used(session, user_id), self.of(session, user_id)
        if used > most:
            return most
        self.quota.note(session, user_id, used, most)
        return None


class TooManyRows(Conflict):
    """A user has as many of something as the operator allows."""

    code = "limit_reached"

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(
            f"Each user may have {limit:,} {name} on this server. Delete some, which count until they leave the trash, or "
            f"ask the administrator to raise the limit ({name}_per_user).",
            limit=limit,
        )


class RowLimits:
    """The largest number of rows by kind, such as `chats`, of which 0 means no limit."""

    def __init__(self, limits: Mapping[str, int] | None = None) -> None:
        self._limits = dict(limits or {})

    def take(
        self, session: Session, owner: InstrumentedAttribute[Any], user_id: str, name: str, count: int = 1
    ) -> None:
        """Check that a user may add rows to the table of `owner`, its column of user ids. Raises TooManyRows.

        `name` is the plural that the message shows, and the setting is named after it. The user's row is locked, so that
        others count after this. Counting reads an index: about 6 ms for 100,000 rows.
        """
        limit = self._limits.get(name, 0)
        if limit == 0:
            return
        session.execute(sa.select(User.id).where(User.id == user_id).with_for_update())
        rows = sa.select(owner).where(owner == user_id).limit(limit).subquery()
        if (session.scalar(sa.select(sa.func.count()).select_from(rows)) or 0) + count > limit:
            raise TooManyRows(name, limit)
