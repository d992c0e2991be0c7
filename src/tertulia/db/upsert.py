"""Insert unless it is there: one statement that two can run at once, on either engine."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tertulia.db.base import Base


def insert_if_absent(session: Session, table: type[Base], **values: Any) -> bool:
    """Whether the row was inserted; false if a unique key was taken. On PostgreSQL it waits for a concurrent holder."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    result = session.execute(insert(table).values(**values).on_conflict_do_nothing())
    return bool(result.rowcount)  # type: ignore[attr-defined]


def rowcount(session: Session, statement: sa.Update | sa.Delete) -> int:
    """How many rows a guarded statement moved."""
    return session.execute(statement).rowcount  # type: ignore[attr-defined,no-any-return]
