"""Statements of hot paths: written in SQLAlchemy, compiled once, and run directly on the driver on SQLite."""

import sqlite3
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Session

from tertulia.db.types import Id, Money, UtcTime, decimal_from_millionths, time_from_microseconds
from tertulia.ids import format_id

DRIVER = "driver"  # key in session.info of the connection for prepared statements
_SQLITE = sqlite.dialect(paramstyle="named")
Convert = Callable[[Any], Any]


class Prepared:
    """A select, update or delete with named bind parameters, or an insert into a table by its columns.

    On SQLite the compiled text goes to the standard library's driver, past layers that cost more than the query itself
    (docs/adr/0003). Values have the Python types of the columns on both engines: ids are text, times are datetimes.
    """

    def __init__(
        self, statement: sa.Select[*tuple[Any, ...]] | sa.CompoundSelect[Any] | sa.Insert | sa.Update | sa.Delete
    ) -> None:
        self.statement = statement

    def all(self, session: Session, **values: object) -> Sequence[Sequence[Any]]:
        """Return every row, with its values in the order of the selected columns."""
        driver = session.info.get(DRIVER) or _driver(session)
        if driver is None:
            return session.execute(self.statement, values).all()
        rows: list[tuple[Any, ...]] = driver.execute(self._text, self._bound(values)).fetchall()
        if not rows:
            return rows
        converted = []
        for row in rows:
            values_of_row = list(row)
            for index, convert in self._converts:
                value = values_of_row[index]
                if value is not None:
                    values_of_row[index] = convert(value)
            converted.append(values_of_row)
        return converted

    def first(self, session: Session, **values: object) -> Sequence[Any] | None:
        rows = self.all(session, **values)
        return rows[0] if rows else None

    def run(self, session: Session, **values: object) -> int:
        """Run the statement and return the number of affected rows."""
        driver = session.info.get(DRIVER) or _driver(session)
        if driver is None:
            return session.execute(self.statement, values).rowcount  # type: ignore[attr-defined,no-any-return]
        return driver.execute(self._text, self._bound(values)).rowcount

    @cached_property
    def _compiled(self) -> sa.sql.compiler.SQLCompiler:
        compiled = self.statement.compile(dialect=_SQLITE, column_keys=self._insert_keys)
        assert isinstance(compiled, sa.sql.compiler.SQLCompiler)
        return compiled

    @property
    def _insert_keys(self) -> list[str] | None:
        """List the columns of an insert that the database does not fill, because Python defaults do not run here."""
        if not isinstance(self.statement, sa.Insert):
            return None
        table = self.statement.table
        filled = getattr(table, "autoincrement_column", None)
        return [column.key for column in table.columns if column.server_default is None and column is not filled]

    @cached_property
    def _text(self) -> str:
        return str(self._compiled)

    @cached_property
    def _binds(self) -> list[tuple[str, str, Convert | None, Any]]:
        """List for each placeholder: its name in the text, the caller's key, the converter, and the bind parameter."""
        return [
            (name, bind.key, bind.type.dialect_impl(_SQLITE).bind_processor(_SQLITE), bind)
            for bind, name in self._compiled.bind_names.items()
        ]

    @cached_property
    def _converts(self) -> list[tuple[int, Convert]]:
        """List the index and converter of each column whose stored form is not its value."""
        columns = getattr(self.statement, "selected_columns", None) or self.statement.exported_columns
        converts = [(index, _reader_of(column.type)) for index, column in enumerate(columns)]
        return [(index, convert) for index, convert in converts if convert is not None]

    def _bound(self, values: dict[str, object]) -> dict[str, object]:
        """Convert the values for the driver. Raises KeyError for a missing one."""
        bound = {}
        for name, key, convert, bind in self._binds:
            value = values[key] if bind.required or key in values else bind.effective_value
            bound[name] = value if convert is None else convert(value)
        return bound


def _driver(session: Session) -> sqlite3.Connection | None:
    """Return the driver's connection in the session's transaction, or None on PostgreSQL. Cached in the session."""
    if session.get_bind().dialect.name != "sqlite":
        return None
    driver = session.connection().connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    session.info[DRIVER] = driver
    return driver


def _reader_of(kind: sa.types.TypeEngine[Any]) -> Convert | None:
    """Return the converter from SQLite's stored form to the value, or None if they are the same."""
    match kind:
        case Id():
            return format_id
        case UtcTime():
            return time_from_microseconds
        case Money():
            return decimal_from_millionths
        case sa.Boolean():
            return bool
        case sa.Enum() if kind.enum_class is not None:
            return {member.value: member for member in kind.enum_class}.__getitem__
    return kind.dialect_impl(_SQLITE).result_processor(_SQLITE, None)
