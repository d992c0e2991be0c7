"""Bringing the schema to this program's version: one history for both engines, one process at a time, backup first."""

import shutil
import sqlite3
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


def upgrade_schema(settings: Settings, *, now: datetime) -> State:
    """Migrate to this program's schema; gives the state that was found. Raises SettingsError for a newer schema."""
    engine = plain_engine(settings)
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                # Two servers that start at once: the second waits here, and finds the work done.
                connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
                connection.commit()
            state = schema_state(connection)
            connection.rollback()
            if state == "newer":
                raise SettingsError(
                    "The database was written by a newer Tertulia. Start that version, or restore a backup made by this one."
                )
            if state == "older" and settings.sqlite_path is not None:
                _back_up(settings.sqlite_path, now)
            if state != "current":
                command.upgrade(_config(connection), "head")
                connection.commit()
            return state
    finally:
        engine.dispose()


def schema_state(connection: sa.Connection) -> State:
    context = MigrationContext.configure(connection)
    found = context.get_current_revision()
    if found is None:
        return "empty"
    scripts = ScriptDirectory.from_config(_config(connection))
    known = {script.revision for script in scripts.walk_revisions()}
    if found not in known:
        return "newer"
    return "current" if found == scripts.get_current_head() else "older"


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _back_up(path: Path, now: datetime) -> Path:
    """A whole copy beside the database, made by SQLite itself, before anything is changed."""
    copy = path.with_name(f"{path.stem}.before-upgrade-{now:%Y%m%dT%H%M%S}{path.suffix}")
    if shutil.disk_usage(path.parent).free < 2 * path.stat().st_size:
        raise SettingsError(f"The upgrade makes a backup first, and {path.parent} has no room for it. Free some space.")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy
