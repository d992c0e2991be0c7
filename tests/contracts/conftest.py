"""Fixtures of the tests of what the code promises."""

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteDialect


@pytest.fixture(autouse=True)
def read_actions_of_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read ON DELETE from SQLite itself. SQLAlchemy reads it from the text of CREATE TABLE, and misses added columns."""
    reflect: Any = SQLiteDialect.get_foreign_keys

    def read(self: SQLiteDialect, connection: sa.Connection, table_name: str, *args: Any, **kw: Any) -> Any:
        rows = connection.exec_driver_sql(f"PRAGMA foreign_key_list('{table_name}')").all()
        actions = {row[3]: row[6] for row in rows}  # the first column of a key, and its action
        keys = reflect(self, connection, table_name, *args, **kw)
        for key in keys:
            action = actions[key["constrained_columns"][0]]
            if action != "NO ACTION":
                key["options"]["ondelete"] = action
        return keys

    monkeypatch.setattr(SQLiteDialect, "get_foreign_keys", read)
