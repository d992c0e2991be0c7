"""Keep in the data folder when the last backup was made and when a restore was last tested."""

from datetime import datetime
from pathlib import Path
from typing import Literal

import orjson
from typing_extensions import TypedDict

from tertulia.data_folder import replace_file

FILE_NAME = "backups.json"


class BackupNote(TypedDict):
    """A backup file, and when it was made or its restore was tested."""

    at: datetime
    file: str
    made_at: datetime  # when its contents were read
    rows: int
    files: int


class BackupRecord(TypedDict, total=False):
    """The latest of each kind."""

    last_backup: BackupNote
    last_tested_restore: BackupNote


def read_backup_record(folder: Path) -> BackupRecord:
    """Return what was noted in the data folder. A missing or damaged file is an empty record."""
    try:
        record: BackupRecord = orjson.loads((folder / FILE_NAME).read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return record


def note_backup(
    folder: Path,
    kind: Literal["last_backup", "last_tested_restore"],
    path: Path,
    *,
    at: datetime,
    made_at: datetime,
    rows: int,
    files: int,
) -> None:
    """Note a backup that was made, or one whose restore was tested."""
    note: BackupNote = {
        "at": at,
        "file": path.name,
        "made_at": made_at,
        "rows": rows,
        "files": files,
    }
    record = read_backup_record(folder)
    record[kind] = note
    replace_file(folder / FILE_NAME, orjson.dumps(record))
