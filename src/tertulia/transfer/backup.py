"""Back up a whole instance to one file, and restore it on SQLite or PostgreSQL, regardless of which made it.

The file is a zip: `manifest.json`, and one file per table with a row per line, each a JSON list. Rows are read in one
transaction, so they are consistent while the server runs. The manifest has the hash of every part, which is checked
before anything is restored. The key ring is not included, so a lost backup reveals no provider key.
"""

import base64
import hashlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import orjson
import sqlalchemy as sa

from tertulia import __version__
from tertulia.accounts.models import Share
from tertulia.accounts.revocations import (
    FILE_NAME,
    Revocation,
    end_sessions_and_tokens,
    read_revocations,
    repeat_revocations,
)
from tertulia.chat.indexing import SETTING
from tertulia.db.check import Recount, check_database
from tertulia.db.migrate import known_revisions, migrate_to, upgrade_schema
from tertulia.db.opening import plain_engine
from tertulia.db.types import Id, JsonOf, Money, UtcTime, Xid
from tertulia.drafts.models import Draft
from tertulia.errors import SettingsError
from tertulia.files.store import FileStore
from tertulia.jobs.models import InstanceSetting
from tertulia.keyring import find_keyring, key_id_of, ring_path
from tertulia.secret_rotation import SEALED, drop_secrets
from tertulia.settings import Settings
from tertulia.tables import metadata

FORMAT = 1
ROWS_AT_ONCE = 500
BYTES_AT_ONCE = 1024 * 1024
# Transient rows: leases and recent changes. Clients that listen start over.
# And derived rows: the search index is rebuilt.
NOT_KEPT = ("alembic_version", "change", "lease", "search_document", "search_passage")
# Errors of reading a damaged zip. ValueError comes from JSON and UTF-8.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    OSError,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
)
Kind = Literal["id", "time", "json", "money", "bytes", "date", "plain"]
_TYPES: dict[Kind, sa.types.TypeEngine[Any]] = {
    "id": Id(),
    "time": UtcTime(),
    "json": JsonOf(),
    "money": Money(),
    "bytes": sa.LargeBinary(),
    "date": sa.Date(),
    "plain": sa.types.NullType(),
}


@dataclass(frozen=True)
class Summary:
    """The contents of a backup: rows by table, and the number of files."""

    path: Path
    revision: str
    made_at: datetime
    rows: dict[str, int]
    files: int


class BackupError(SettingsError):
    """A backup that cannot be made or used. The message says why."""


def back_up(settings: Settings, path: Path, *, now: datetime) -> Summary:
    """Write everything to a new file, which is complete or absent. The server may run. Raises BackupError."""
    if path.exists():
        raise BackupError(f"{path} already exists. Choose another name.")
    if not path.parent.is_dir():
        raise BackupError(f"The folder {path.parent} does not exist.")
    partial = path.with_name(f"{path.name}.partial")
    engine = plain_engine(settings, writes=False)
    try:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
                manifest = _write_tables(engine, archive) | {"made_at": now.isoformat()}
                manifest["files"] = _write_files(settings, archive)
                archive.writestr("manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
            file.flush()
            os.fsync(file.fileno())
        summary = verify_backup(partial)
        partial.rename(path)
        return Summary(path, summary.revision, summary.made_at, summary.rows, summary.files)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)
        engine.dispose()


def verify_backup(path: Path) -> Summary:
    """Read every part and compare its hash and row count. Raises BackupError with the reason."""
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _read_manifest(archive, path)
            for table, entry in manifest["tables"].items():
                digest, rows = _digest(archive, f"tables/{table}.jsonl")
                if (digest, rows) != (entry["sha256"], entry["rows"]):
                    raise BackupError(f"{path} is damaged: the table {table} does not match the manifest.")
            for name, entry in manifest["files"].items():
                if _digest(archive, f"files/{name}")[0] != entry:
                    raise BackupError(f"{path} is damaged: the file {name} does not match the manifest.")
    except DAMAGE as error:
        raise BackupError(f"{path} is not a complete backup: {error}.") from error
    counts = {table: entry["rows"] for table, entry in manifest["tables"].items()}
    made_at = datetime.fromisoformat(manifest["made_at"])
    return Summary(path, manifest["revision"], made_at, counts, len(manifest["files"]))


@dataclass(frozen=True)
class Restored:
    """The backup that was restored, what was revoked since it was made, and how many public links work again."""

    summary: Summary
    revocations: list[Revocation]
    has_journal: bool
    links: int


def restore(
    settings: Settings,
    path: Path,
    recounts: Sequence[Recount],
    *,
    now: datetime,
    journal: Path | None = None,
    drops_secrets: bool = False,
) -> Restored:
    """Fill an empty instance from a backup, upgrade it to this version, end all access, and check it.

    `journal` is the revocation journal, by default the one in the data folder. Raises BackupError. The key ring must have
    the keys of the secrets in the backup, unless `drops_secrets` removes those secrets.
    """
    summary = verify_backup(path)
    journal = journal or settings.data / FILE_NAME
    revocations = read_revocations(journal, since=summary.made_at)
    missing = _key_ids(path) - set(_ring_ids(settings))
    if missing and not drops_secrets:
        raise BackupError(
            f"The backup has secrets that are encrypted with the key {min(missing)}, which is not in the key ring. Put the "
            "key ring (`secret_keys` or TERTULIA_SECRET_KEYS) in place first. If it is lost, add --drop-secrets: provider "
            "keys and sign-ins to tool servers must then be entered again."
        )
    engine = plain_engine(settings)
    try:
        if summary.revision not in known_revisions():
            raise BackupError(
                f"{path} was made by a newer version of Tertulia ({summary.revision}). Restore it with that version."
            )
        _refuse_unless_empty(engine, settings)
        migrate_to(settings, summary.revision)
        with zipfile.ZipFile(path) as archive:
            manifest = _read_manifest(archive, path)
            with engine.begin() as connection:
                _load_tables(connection, archive, manifest["tables"])
                end_sessions_and_tokens(connection)  # in the same transaction: a restore can stop at any point
            for name in manifest["files"]:
                _restore_file(settings, archive, name)
    finally:
        engine.dispose()
    upgrade_schema(settings, now=now)
    links = _end_access(settings, revocations, missing)
    _rebuild_index(settings)
    checked = plain_engine(settings, writes=False)
    try:
        findings = check_database(checked, list(recounts)).findings
    finally:
        checked.dispose()
    if findings:
        raise BackupError("The restored database is inconsistent:\n" + "\n".join(findings))
    return Restored(summary, revocations, journal.exists(), links)


def try_restore(
    settings: Settings, path: Path, recounts: Sequence[Recount], *, now: datetime, drops_secrets: bool = False
) -> Summary:
    """Restore into an SQLite database in a temporary folder, check it, and delete it. Raises BackupError.

    The folder is next to the data folder's files, because it needs as much space as they do.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="restore-test-", dir=settings.data) as temporary:
        folder = Path(temporary)
        ring = ring_path(settings.data)
        if ring.exists():
            ring_path(folder).write_bytes(ring.read_bytes())
            ring_path(folder).chmod(0o600)
        trial = settings.model_copy(update={"data": folder, "database_url": None, "files_url": None})
        return restore(trial, path, recounts, now=now, drops_secrets=drops_secrets).summary


def _ring_ids(settings: Settings) -> tuple[str, ...]:
    ring = find_keyring(settings.secret_keys, settings.data)
    return ring.key_ids if ring is not None else ()


def _key_ids(path: Path) -> set[str]:
    """Return the ids of the keys that the secrets in a backup are encrypted with."""
    key_ids: set[str] = set()
    with zipfile.ZipFile(path) as archive:
        tables = _read_manifest(archive, path)["tables"]
        for sealed in SEALED:
            name, column = sealed.model.__tablename__, sealed.column.key
            if name not in tables or column not in tables[name]["columns"]:
                continue
            place = list(tables[name]["columns"]).index(column)
            with archive.open(f"tables/{name}.jsonl") as part:
                key_ids.update(key_id_of(value) for line in part if (value := orjson.loads(line)[place]) is not None)
    return key_ids


def _end_access(settings: Settings, revocations: Sequence[Revocation], missing_keys: Collection[str]) -> int:
    """End all sessions and tokens, repeat revocations, and drop secrets without a key. Return the number of links."""
    engine = plain_engine(settings)
    with engine.begin() as connection:
        repeat_revocations(connection, revocations)
        drop_secrets(connection, missing_keys)
        is_link = Share.is_active & Share.shared_with_user_id.is_(None)
        links = connection.scalar(sa.select(sa.func.count()).select_from(Share).where(is_link))
    engine.dispose()
    return links or 0


def _rebuild_index(settings: Settings) -> None:
    """Reset the search indexes, which no backup includes. The server rebuilds them in the background."""
    engine = plain_engine(settings)
    with engine.begin() as connection:
        connection.execute(sa.delete(InstanceSetting).where(InstanceSetting.name == SETTING))
        connection.execute(sa.update(Draft).values(indexed_number=0, updated_at=Draft.updated_at))
    engine.dispose()


def _write_tables(engine: sa.Engine, archive: zipfile.ZipFile) -> dict[str, Any]:
    with engine.connect().execution_options(
        **({"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {})
    ) as connection:
        revision = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        tables = {}
        for name, columns in _tables(connection).items():
            digest, rows = hashlib.sha256(), 0
            with archive.open(f"tables/{name}.jsonl", "w", force_zip64=True) as part:
                for line in _lines(connection, name, columns):
                    part.write(line)
                    digest.update(line)
                    rows += 1
            tables[name] = {"columns": columns, "rows": rows, "sha256": digest.hexdigest()}
    return {"format": FORMAT, "version": __version__, "revision": revision, "tables": tables}


def _tables(connection: sa.Connection) -> dict[str, dict[str, Kind]]:
    """Return the kinds of the columns of every table, each table after those that it references.

    On PostgreSQL kinds come from the columns, regardless of the schema's version. On SQLite they come from the models.
    """
    inspector = sa.inspect(connection)
    existing = set(inspector.get_table_names())
    order = [table.name for table in metadata.sorted_tables if table.name in existing]
    order += sorted(existing - set(order))
    tables: dict[str, dict[str, Kind]] = {}
    for name in order:
        if name in NOT_KEPT or name.startswith("search_index"):  # FTS5 creates several tables
            continue
        model = metadata.tables.get(name)
        tables[str.__str__(name)] = {
            # A plain str: the engine's subclass for names cannot be a JSON key.
            str.__str__(column["name"]): _kind(
                column["type"]
                if connection.dialect.name == "postgresql" or model is None
                else model.columns[column["name"]].type
            )
            for column in inspector.get_columns(name)
        }
    return tables


def _kind(column_type: sa.types.TypeEngine[Any]) -> Kind:
    match column_type:
        case Id() | sa.UUID():
            return "id"
        case UtcTime() | sa.DateTime():
            return "time"
        case JsonOf() | sa.JSON():
            return "json"
        case Money() | sa.Numeric(scale=6):
            return "money"
        case sa.LargeBinary() | Xid():
            return "bytes"
        case sa.Date():
            return "date"
    return "plain"


def _lines(connection: sa.Connection, name: str, columns: dict[str, Kind]) -> Iterator[bytes]:
    table = _table(name, columns)
    query = sa.select(table)
    if "id" in columns:
        query = query.order_by(table.c.id)  # by time, so that a message comes before its replies
    result = connection.execution_options(stream_results=True, yield_per=ROWS_AT_ONCE).execute(query)
    for row in result:
        yield orjson.dumps([_out(value) for value in row]) + b"\n"


def _table(name: str, columns: dict[str, Kind]) -> sa.Table:
    return sa.Table(name, sa.MetaData(), *(sa.Column(column, _TYPES[kind]) for column, kind in columns.items()))


def _out(value: Any) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case Decimal():
            return format(value, "f")
        case bytes():
            return base64.b64encode(value).decode()
    return value


def _in(kind: Kind, value: Any) -> Any:
    match kind:
        case _ if value is None:
            return None
        case "time":
            return datetime.fromisoformat(value)
        case "money":
            return Decimal(value)
        case "bytes":
            return base64.b64decode(value)
        case "date":
            return datetime.fromisoformat(value).date()
    return value


def _load_tables(connection: sa.Connection, archive: zipfile.ZipFile, tables: dict[str, Any]) -> None:
    """Load all tables in one transaction. Circular foreign keys are checked at its end."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    for name in tables:
        # A migration may have inserted rows. The backup has its own.
        connection.execute(sa.delete(sa.table(name)))
    for name, entry in tables.items():
        columns: dict[str, Kind] = entry["columns"]
        # A plain kind uses the database's own type: text, number or boolean.
        reflected = sa.Table(name, sa.MetaData(), autoload_with=connection, resolve_fks=False)
        table = sa.Table(
            name,
            sa.MetaData(),
            *(
                sa.Column(column, _TYPES[kind] if kind != "plain" else reflected.columns[column].type)
                for column, kind in columns.items()
            ),
        )
        batch: list[dict[str, Any]] = []
        with archive.open(f"tables/{name}.jsonl") as part:
            for line in part:
                values = orjson.loads(line)
                batch.append(
                    {column: _in(kind, value) for (column, kind), value in zip(columns.items(), values, strict=True)}
                )
                if len(batch) == ROWS_AT_ONCE:
                    connection.execute(sa.insert(table), batch)
                    batch = []
        if batch:
            connection.execute(sa.insert(table), batch)


def _refuse_unless_empty(engine: sa.Engine, settings: Settings) -> None:
    with engine.connect() as connection:
        existing = set(sa.inspect(connection).get_table_names())
        if "user" in existing and connection.scalar(sa.text('SELECT 1 FROM "user" LIMIT 1')) is not None:
            raise BackupError(
                "This instance is not empty. Set TERTULIA_DATA or TERTULIA_DATABASE_URL to a new location."
            )
    if any(FileStore(settings).list_paths()):
        raise BackupError("The file storage is not empty. Restore to a new instance.")


def _write_files(settings: Settings, archive: zipfile.ZipFile) -> dict[str, str]:
    """Write files after the rows: a referenced file is removed only after its row, and newer files do no harm."""
    digests = {}
    store = FileStore(settings)
    for name in store.list_paths():
        digest = hashlib.sha256()
        with archive.open(f"files/{name}", "w", force_zip64=True) as part:
            for piece in store.read_pieces(name):
                digest.update(piece)
                part.write(piece)
        digests[name] = digest.hexdigest()
    return digests


def _restore_file(settings: Settings, archive: zipfile.ZipFile, name: str) -> None:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise BackupError(f"The file {name!r} would be written outside the file storage.")
    with archive.open(f"files/{name}") as part:
        FileStore(settings).write_file(name, part)


def _digest(archive: zipfile.ZipFile, name: str) -> tuple[str, int]:
    digest, lines = hashlib.sha256(), 0
    with archive.open(name) as part:
        while chunk := part.read(BYTES_AT_ONCE):
            digest.update(chunk)
            lines += chunk.count(b"\n")
    return digest.hexdigest(), lines


def _read_manifest(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = orjson.loads(archive.read("manifest.json"))
    if manifest.get("format") != FORMAT:
        raise BackupError(f"{path} has a format that this version does not know.")
    return manifest
