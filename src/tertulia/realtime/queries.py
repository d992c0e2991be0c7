"""Read the change log in the order in which changes became visible. On PostgreSQL this is not the order of `seq`."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.db import rowcount
from tertulia.db.types import Id, UtcTime
from tertulia.realtime.models import Change

PAGE = 500


class Position(NamedTuple):
    """A place in the log: everything at or before it has been delivered. Ordered by (xid, seq)."""

    xid: int
    seq: int

    def __str__(self) -> str:
        return f"{self.xid}-{self.seq}"


class LoggedChange(NamedTuple):
    position: Position
    owner_id: str
    shared_id: str | None
    topic: str
    entity: str
    entity_id: str
    operation: str
    payload: str | None  # JSON text, sent unchanged


def parse_position(text: str) -> Position | None:
    """Parse a position. Return None if the text is not one."""
    xid, _, seq = text.partition("-")
    return Position(int(xid), int(seq)) if xid.isascii() and xid.isdigit() and seq.isascii() and seq.isdigit() else None


# A transaction gets its number at its first write, and its rows appear when it commits. A reader that continued after
# the highest seq it saw would miss the rows of a slower transaction. So it reads only below the oldest running
# transaction, where no rows can appear any more, ordered by (xid, seq).
_VISIBLE = "xid < pg_snapshot_xmin(pg_current_snapshot())"
_COLUMNS = "CAST(CAST(xid AS text) AS bigint), seq, owner_id, shared_id, topic, entity, entity_id, operation, payload"
_SINCE = {
    "postgresql": f"SELECT {_COLUMNS} FROM change WHERE (xid, seq) > (CAST(CAST(:xid AS text) AS xid8), :seq) AND {_VISIBLE}",  # noqa: S608 - constants
    "sqlite": "SELECT xid, seq, owner_id, shared_id, topic, entity, entity_id, operation, payload FROM change WHERE (xid, seq) > (:xid, :seq)",
}
_TYPES: dict[str, dict[str, sa.types.TypeEngine[Any]]] = {
    "postgresql": {"xid": sa.Text(), "seq": sa.BigInteger()},
    "sqlite": {"xid": sa.Integer(), "seq": sa.Integer()},
}


def list_changes(
    session: Session,
    since: Position,
    *,
    owner_id: str | None = None,
    shared_ids: Collection[str] = (),
    limit: int = PAGE,
) -> list[LoggedChange]:
    """Return the changes after a position, oldest first: of one owner and of the shared things, or all."""
    dialect = session.get_bind().dialect.name
    mine = "owner_id = :owner_id OR shared_id IN :shared_ids" if shared_ids else "owner_id = :owner_id"
    statement = _SINCE[dialect] + (f" AND ({mine})" if owner_id else "") + " ORDER BY xid, seq LIMIT :limit"
    types: dict[str, sa.types.TypeEngine[Any]] = _TYPES[dialect] | ({"owner_id": Id()} if owner_id else {})
    text = sa.text(statement).bindparams(*(sa.bindparam(name, type_=kind) for name, kind in types.items()))
    if owner_id and shared_ids:
        text = text.bindparams(sa.bindparam("shared_ids", list(shared_ids), type_=Id(), expanding=True))
    columns = {"owner_id": Id(), "shared_id": Id(), "entity_id": Id()}
    rows = session.execute(
        text.columns(
            *(
                sa.column(name, columns.get(name))
                for name in (
                    "x",
                    "seq",
                    "owner_id",
                    "shared_id",
                    "topic",
                    "entity",
                    "entity_id",
                    "operation",
                    "payload",
                )
            )
        ),
        {"xid": str(since.xid) if dialect == "postgresql" else since.xid, "seq": since.seq, "limit": limit}
        | ({"owner_id": owner_id} if owner_id else {}),
    )
    return [LoggedChange(Position(xid, seq), *change) for xid, seq, *change in rows]


def newest_position(session: Session) -> Position:
    """Return the position after which a reader gets only new changes."""
    return _end(session, "DESC") or Position(0, 0)


def oldest_position(session: Session) -> Position | None:
    return _end(session, "ASC")


def _end(session: Session, direction: str) -> Position | None:
    if session.get_bind().dialect.name == "postgresql":
        columns, condition = "CAST(CAST(xid AS text) AS bigint), seq", f"WHERE {_VISIBLE}"
    else:
        columns, condition = "xid, seq", ""
    row = session.execute(
        sa.text(f"SELECT {columns} FROM change {condition} ORDER BY xid {direction}, seq {direction} LIMIT 1")  # noqa: S608
    ).first()
    return Position(*row) if row else None


def has_hidden(session: Session) -> bool:
    """Return whether committed changes wait for an older transaction to end. Always False on SQLite."""
    if session.get_bind().dialect.name != "postgresql":
        return False
    row = session.execute(
        sa.text("SELECT 1 FROM change WHERE xid >= pg_snapshot_xmin(pg_current_snapshot()) LIMIT 1")
    ).first()
    return row is not None


STUCK_S = 2


def end_stuck_transactions(session: Session) -> int:
    """End transactions of our processes that wait for their process within a statement. Return how many there were.

    The server ends transactions that are idle between two statements, but not those of a process that was frozen while it
    sent a statement in several messages.
    """
    return len(
        session.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND usename = current_user AND application_name = 'tertulia' AND backend_xid IS NOT NULL "
                "AND wait_event = 'ClientRead' AND state_change < now() - make_interval(secs => :seconds)"
            ),
            {"seconds": STUCK_S},
        ).all()
    )


def can_resume(session: Session, since: Position) -> bool:
    """Return whether the position belongs to this log, and all changes after it are still stored."""
    if since > newest_position(session):
        return False
    oldest = oldest_position(session)
    # prune_changes keeps the newest change that it could delete, so nothing after the oldest row is missing.
    return oldest is None or since >= oldest or oldest.seq == 1


def prune_changes(session: Session, before: datetime) -> int:
    """Delete changes older than `before`, except the newest of them. Return the number deleted."""
    last = session.scalar(
        sa.select(Change.seq)
        .where(Change.created_at < before)
        .order_by(Change.created_at.desc(), Change.seq.desc())
        .limit(1)
    )
    if last is None:
        return 0
    statement = sa.delete(Change).where(
        Change.created_at < sa.bindparam("moment", before, UtcTime()), Change.seq != last
    )
    return rowcount(session, statement)
