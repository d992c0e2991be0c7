"""Open the configured database: a live one for the server, a plain engine for migrations and the command line."""

from collections.abc import Mapping

import sqlalchemy as sa

from tertulia.db.database import Database
from tertulia.db.postgres import SESSION_SETTINGS, PostgresDatabase
from tertulia.db.sqlite import SqliteDatabase, sqlite_engine
from tertulia.db.sqlite_file import remove_checksums, require_sound
from tertulia.settings import Settings


def open_database(settings: Settings) -> Database:
    if settings.sqlite_path is not None:
        return SqliteDatabase(settings.sqlite_path)
    assert settings.database_url is not None
    return PostgresDatabase(settings.database_url)


# A command waits for a busy server instead of failing.
PATIENCE_S = 30


def plain_engine(settings: Settings, *, writes: bool = True, while_serving: bool = False) -> sa.Engine:
    """Create a synchronous engine, which the caller disposes of. Raises DatabaseDamaged for a damaged SQLite file.

    One that only reads may run while the server does.

    With `while_serving`, its transactions have the time limits of the server, because others wait for them.
    """
    if settings.sqlite_path is not None:
        settings.sqlite_path.parent.mkdir(parents=True, exist_ok=True)
        require_sound(settings.sqlite_path, checks_pages=writes)
        if writes:
            remove_checksums(settings.sqlite_path)
        return sqlite_engine(settings.sqlite_path, writes=writes, busy_timeout_s=PATIENCE_S)
    assert settings.database_url is not None
    return sa.create_engine(
        settings.database_url.replace("postgresql://", "postgresql+psycopg://", 1),
        connect_args={"connect_timeout": 5} | ({"options": _as_options(SESSION_SETTINGS)} if while_serving else {}),
        poolclass=sa.NullPool,
        hide_parameters=True,  # what people wrote belongs into no log
    )


def _as_options(settings: Mapping[str, str]) -> str:
    return " ".join(f"-c {name}={value}" for name, value in settings.items())
