"""Insert a row unless it exists, in one statement that is safe to run concurrently, on both engines."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tertulia.db.base import Base


def insert_if_absent(session: Session, table: type[Base], **values: Any) -> bool:
    """Insert a row. Return False if a unique key is taken. On PostgreSQL it waits for a concurrent insert."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    # PostgreSQL's driver counts no rows here, so the key of the new row is returned.
    statement = insert(table).values(**values).on_conflict_do_nothing().returning(*sa.inspect(table).primary_key)
    return session.execute(statement).first() is not None


def rowcount(session: Session, statement: sa.Update | sa.Delete) -> int:
    """Run the statement and return the number of affected rows."""
    return session.execute(statement).rowcount  # type: ignore[attr-defined,no-any-return]
