"""Migrate the schema to this version: one history for both engines, one process at a time, backup first."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from tertulia.db.opening import plain_engine
from tertulia.errors import SettingsError
from tertulia.settings import Settings

LOCK = 0x74657274  # "tert": the key of PostgreSQL's advisory lock
State = Literal["empty", "current", "older", "newer"]
MakeBackup = Callable[[Path], object]


def is_managed_by_models(name: str | None, type_: str, _parents: object = None) -> bool:
    """Return False for the search tables, column and index that only migrations create. For Alembic's comparison."""
    return not (
        (type_ == "table" and (name or "").startswith("search_index"))
        or (type_, name) in (("column", "vector"), ("index", "ix_search_document_vector"))
    )


def upgrade_schema(settings: Settings, *, now: datetime, back_up: MakeBackup | None = None) -> State:
    """Migrate to the schema of this version and return the previous state. Raises SettingsError for a newer schema.

    An older database is backed up first: on SQLite by a copy, on PostgreSQL by `back_up(path)`, if passed.
    """
    engine = plain_engine(settings)
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                # When two servers start at once, the second waits here and finds the schema current.
                connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
                connection.commit()
            state = schema_state(connection)
            connection.rollback()
            if state == "newer":
                raise SettingsError(
                    "A newer Tertulia wrote the database. Start that version, or restore a backup of this version."
                )
            if state == "older":
                stamp = f"before-upgrade-{now:%Y%m%dT%H%M%S}"
                if settings.sqlite_path is not None:
                    _copy(settings.sqlite_path, f".{stamp}")
                elif back_up is not None:
                    back_up(settings.data / f"tertulia.{stamp}.zip")
            if state != "current":
                command.upgrade(_config(connection), "head")
                connection.commit()
            return state
    finally:
        engine.dispose()


def migrate_to(settings: Settings, revision: str) -> None:
    """Build the schema of a certain revision. Drops all existing tables first."""
    engine = plain_engine(settings)
    try:
        with engine.connect() as connection:
            if schema_state(connection) != "empty":
                connection.rollback()
                command.downgrade(_config(connection), "base")
                connection.commit()
            command.upgrade(_config(connection), revision)
            connection.commit()
    finally:
        engine.dispose()


def known_revisions() -> list[str]:
    """List every schema revision that this version can start from, oldest first."""
    scripts = ScriptDirectory(str(_SCRIPTS))
    return [script.revision for script in scripts.walk_revisions()][::-1]


def schema_state(connection: sa.Connection) -> State:
    context = MigrationContext.configure(connection)
    revision = context.get_current_revision()
    if revision is None:
        return "empty"
    known = known_revisions()
    if revision not in known:
        return "newer"
    return "current" if revision == known[-1] else "older"


_SCRIPTS = Path(__file__).parent / "migrations"


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    return config


def _copy(path: Path, mark: str) -> Path:
    """Copy the database into the same folder with SQLite's own backup. Raises SettingsError if space is short."""
    copy = path.with_name(f"{path.stem}{mark}{path.suffix}")
    if shutil.disk_usage(path.parent).free < 2 * path.stat().st_size:
        raise SettingsError(
            f"The upgrade makes a backup first, and {path.parent} has too little space for it. Free some space."
        )
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy
