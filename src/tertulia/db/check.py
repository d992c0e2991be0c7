"""Check the database. Findings are faults, notes are information. Only reads, so the server may keep running."""

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.db.base import Base
from tertulia.db.migrate import schema_state
from tertulia.db.sqlite_file import describe_pages, find_changed_pages, has_checksums

SAFE_SQLITE = (3, 51, 3)
Recount = Callable[[Session], list[str]]


@dataclass
class Report:
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_database(engine: sa.Engine, recounts: Iterable[Recount], *, sqlite_path: Path | None = None) -> Report:
    """Check schema version, foreign keys, indexes, the engine's own check and the counters, in one transaction.

    With `sqlite_path`, also check the file page by page.
    """
    report = Report()
    if sqlite_path is not None:
        _check_pages(sqlite_path, report)
    try:
        _check_content(engine, recounts, report)
    except (sa.exc.DatabaseError, sqlite3.DatabaseError) as error:
        problem = getattr(error, "orig", None) or error
        if type(problem) is not sqlite3.DatabaseError:  # such as a locked file
            raise
        report.findings.append(f"The database is damaged: {problem}.")
    return report


def _check_pages(path: Path, report: Report) -> None:
    if not has_checksums(path):
        report.notes.append(
            "There are no checksums of the pages, so a flipped bit in a text is not found. They are written when the "
            "server stops. Stop it, and check again."
        )
    elif pages := find_changed_pages(path):
        report.findings.append(describe_pages(pages))


def _check_content(engine: sa.Engine, recounts: Iterable[Recount], report: Report) -> None:
    with engine.connect() as connection:
        state = schema_state(connection)
        if state != "current":
            report.findings.append(f"The schema is {state}: run `tertulia db upgrade` with the right version.")
            return
        _check_structure(connection, report)
        if connection.dialect.name == "sqlite":
            _check_sqlite(connection, report)
        _note_sizes(connection, report)
        session = Session(connection)
        for recount in recounts:
            report.findings += recount(session)


def _check_structure(connection: sa.Connection, report: Report) -> None:
    """Check that every foreign key and index of the models exists."""
    inspector = sa.inspect(connection)
    for table in Base.metadata.sorted_tables:
        existing = {tuple(key["constrained_columns"]) for key in inspector.get_foreign_keys(table.name)}
        for key in table.foreign_key_constraints:
            if tuple(column.name for column in key.columns) not in existing:
                report.findings.append(f"{table.name} lacks its foreign key {key.name}.")
        names = {index["name"] for index in inspector.get_indexes(table.name)}
        report.findings += [f"{table.name} lacks its index {i.name}." for i in table.indexes if i.name not in names]


def _note_sizes(connection: sa.Connection, report: Report) -> None:
    """Add a note with the size of each table and its indexes, largest first, and of the database."""
    if connection.dialect.name == "postgresql":
        query = "SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables ORDER BY 2 DESC, 1"
        whole = connection.scalar(sa.text("SELECT pg_database_size(current_database())"))
    else:
        # An index counts for its table. Free pages count for none.
        query = (
            "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat AS s JOIN sqlite_schema AS m ON m.name = s.name "
            "WHERE s.aggregate = TRUE GROUP BY m.tbl_name ORDER BY 2 DESC, 1"
        )
        whole = connection.scalar(sa.text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"))
    try:
        sizes = [f"{name} {_readable(int(size))}" for name, size in connection.execute(sa.text(query))]
    except sa.exc.OperationalError:  # this SQLite was built without dbstat
        sizes = ["this SQLite cannot tell the size of each table"]
    report.notes.append(f"The database has {_readable(int(whole or 0))}: {', '.join(sizes)}.")


def _readable(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _check_sqlite(connection: sa.Connection, report: Report) -> None:
    for (result,) in connection.exec_driver_sql("PRAGMA integrity_check(20)"):
        if result != "ok":
            report.findings.append(f"integrity_check: {result}")
    for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        report.findings.append(f"{table} row {row} points at a missing row of {parent}.")
    if sqlite3.sqlite_version_info < SAFE_SQLITE:
        report.notes.append(
            f"SQLite {sqlite3.sqlite_version} is older than 3.51.3, which fixes a rare bug of its log. Tertulia's "
            "single writer avoids it."
        )
