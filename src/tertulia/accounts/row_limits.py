"""Limit how many rows each user may have in a table, such as chats and drafts."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from tertulia.accounts.models import User
from tertulia.errors import Conflict

MAX_KEYS = 10_000
# Of the room that a count finds, this part is used before the next count, so that 20 processes never pass the limit.
SHARE_OF_ROOM = 20


class TooManyRows(Conflict):
    """A user has as many of something as the operator allows."""

    code = "limit_reached"

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(
            f"Each user may have {limit:,} {name} on this server, including those in the trash. Delete some for good, or "
            f"ask the administrator to raise the limit ({name}_per_user).",
            limit=limit,
        )


class RowLimits:
    """The largest number of rows by table, of which 0 means no limit.

    Counting costs time in proportion to the rows, so it is repeated only after a part of the room is used.
    """

    def __init__(self, limits: Mapping[str, int] | None = None) -> None:
        self._limits = dict(limits or {})
        self._uncounted: OrderedDict[tuple[str, str], int] = OrderedDict()

    def take(
        self, session: Session, owner: InstrumentedAttribute[Any], user_id: str, name: str, count: int = 1
    ) -> None:
        """Check that a user may add rows to the table of `owner`, its column of user ids. Raises TooManyRows.

        `name` is the plural that the message shows, and the setting is named after it.
        """
        limit = self._limits.get(name, 0)
        if limit == 0:
            return
        key = (name, user_id)
        left = self._uncounted.get(key, 0) - count
        if left < 0:
            left = self._count(session, owner, user_id, limit, name, count) // SHARE_OF_ROOM - count
        self._uncounted[key] = max(left, 0)
        self._uncounted.move_to_end(key)
        while len(self._uncounted) > MAX_KEYS:
            self._uncounted.popitem(last=False)

    def _count(
        self, session: Session, owner: InstrumentedAttribute[Any], user_id: str, limit: int, name: str, count: int
    ) -> int:
        """Return how many rows the user may still add. Their row is locked, so that others count after this."""
        session.execute(sa.select(User.id).where(User.id == user_id).with_for_update())
        rows = sa.select(owner).where(owner == user_id).limit(limit).subquery()
        room = limit - (session.scalar(sa.select(sa.func.count()).select_from(rows)) or 0)
        if room < count:
            raise TooManyRows(name, limit)
        return room
