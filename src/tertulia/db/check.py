"""Is the database whole? Findings are faults; notes are worth knowing. Reads only, so it may run beside the server."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.db.base import Base
from tertulia.db.migrate import schema_state

SAFE_SQLITE = (3, 51, 3)
Recount = Callable[[Session], list[str]]


@dataclass
class Report:
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_database(engine: sa.Engine, recounts: list[Recount]) -> Report:
    """Schema version, foreign keys, indexes, the engine's own check, and counters recounted in one transaction."""
    report = Report()
    with engine.connect() as connection:
        state = schema_state(connection)
        if state != "current":
            report.findings.append(f"The schema is {state}: run `tertulia db upgrade` with the right version.")
            return report
        _check_structure(connection, report)
        if connection.dialect.name == "sqlite":
            _check_sqlite(connection, report)
        session = Session(connection)
        for recount in recounts:
            report.findings += recount(session)
    return report


def _check_structure(connection: sa.Connection, report: Report) -> None:
    """Every foreign key and index that the models ask for is there."""
    inspector = sa.inspect(connection)
    for table in Base.metadata.sorted_tables:
        there = {tuple(key["constrained_columns"]) for key in inspector.get_foreign_keys(table.name)}
        for key in table.foreign_key_constraints:
            if tuple(column.name for column in key.columns) not in there:
                report.findings.append(f"{table.name} lacks its foreign key {key.name}.")
        names = {index["name"] for index in inspector.get_indexes(table.name)}
        report.findings += [f"{table.name} lacks its index {i.name}." for i in table.indexes if i.name not in names]


def _check_sqlite(connection: sa.Connection, report: Report) -> None:
    for (said,) in connection.exec_driver_sql("PRAGMA integrity_check(20)"):
        if said != "ok":
            report.findings.append(f"integrity_check: {said}")
    for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        report.findings.append(f"{table} row {row} points at a missing row of {parent}.")
    if sqlite3.sqlite_version_info < SAFE_SQLITE:
        report.notes.append(
            f"SQLite {sqlite3.sqlite_version} is older than 3.51.3, which mends a rare fault of its log; Tertulia's single "
            "writer keeps clear of it."
        )
