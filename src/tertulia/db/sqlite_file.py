"""Check the SQLite file without opening it for writing: its header, its log, and a checksum of each page.

The checksums are written next to the database when it closes cleanly, and are removed before anything writes to it. So
as long as they exist, each page must match. They find every single flipped bit, also in free space and in indexes.
"""

import os
import sqlite3
import struct
import zlib
from array import array
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from tertulia.errors import SettingsError

MAGIC = b"SQLite format 3\x00"
WAL_MAGICS = (0x377F0682, 0x377F0683)
WAL_HEADER, FRAME_HEADER = 32, 24
APPLICATION_ID = slice(68, 72)  # in page 1: a random number that identifies the database
PAGES_AT_ONCE = 4096
# Errors that are not about the content of the file.
NOT_DAMAGE = ("SQLITE_CANTOPEN", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PERM", "SQLITE_READONLY")
INODE = ">Q"  # begins the checksums: the file that they belong to
# Larger files are not checked page by page at each start, only by `tertulia db check`.
CHECKED_AT_START_BYTES = 512 * 1024 * 1024


class DatabaseDamaged(SettingsError):
    """The file or its log is not what the database wrote."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"The database {path} is damaged: {problem} Nothing was written. Restore a backup with `tertulia restore` "
            "into an empty data folder, or put a copy of the file in its place. To go on with the file as it is, run "
            "`tertulia db accept`."
        )


def require_sound(path: Path, *, checks_pages: bool = False) -> None:
    """Raise DatabaseDamaged if the file or its log cannot belong to this database. A missing file is sound.

    Reads the header and the log, and with `checks_pages` every page of a file that is not very large.
    """
    if not path.exists() or path.stat().st_size == 0:
        if has_checksums(path):
            raise DatabaseDamaged(path, "it is missing or empty.")
        return
    with path.open("rb") as file:
        header = file.read(100)
    if not header.startswith(MAGIC):
        raise DatabaseDamaged(path, "it is not an SQLite file.")
    if _has_foreign_log(path, header):
        log = _log_of(path).name
        raise DatabaseDamaged(path, f"{log} belongs to another database or another state of this one. Move it away.")
    if not _has_log(path):  # with a log, the file may be in the middle of a checkpoint, and SQLite completes it
        _require_complete(path, header)
    if checks_pages and path.stat().st_size <= CHECKED_AT_START_BYTES and (pages := find_changed_pages(path)):
        raise DatabaseDamaged(path, f"{describe_pages(pages)}")


def _require_complete(path: Path, header: bytes) -> None:
    """Raise DatabaseDamaged if a file without a log is too short, or its schema cannot be read."""
    page_size = _page_size(header)
    if path.stat().st_size % page_size or path.stat().st_size < _page_count(header) * page_size:
        raise DatabaseDamaged(path, "it is shorter than it should be.")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname.startswith(NOT_DAMAGE):
            raise
        raise DatabaseDamaged(path, f"{error}.") from None


def describe_pages(pages: list[int]) -> str:
    shown = ", ".join(map(str, pages[:10])) + (", …" if len(pages) > 10 else "")
    return f"{len(pages)} of its pages changed after it was closed ({shown})."


def has_checksums(path: Path) -> bool:
    """Return whether there are checksums of this very file. Those of a file that was replaced since do not count."""
    checksums = _checksums_of(path)
    if not checksums.exists():
        return False
    inode = struct.unpack(INODE, checksums.read_bytes()[: struct.calcsize(INODE)])[0]
    return not path.exists() or inode == path.stat().st_ino


def find_changed_pages(path: Path) -> list[int]:
    """Return the numbers of the pages that do not match their checksum. Empty if there are no checksums."""
    if not has_checksums(path):
        return []
    expected = array("I", _checksums_of(path).read_bytes()[struct.calcsize(INODE) :])
    actual = array("I", (zlib.crc32(page) for page in _pages(path)))
    changed = [
        number for number, (before, now) in enumerate(zip(expected, actual, strict=False), start=1) if before != now
    ]
    return changed + list(range(min(len(expected), len(actual)) + 1, max(len(expected), len(actual)) + 1))


def write_checksums(path: Path) -> None:
    """Write the checksum of each page. Only for a database that no process has open, and whose log is empty."""
    if not path.exists() or path.stat().st_size == 0 or _has_log(path):
        return
    partial = _checksums_of(path).with_suffix(".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(struct.pack(INODE, path.stat().st_ino))
        file.write(array("I", (zlib.crc32(page) for page in _pages(path))).tobytes())
        file.flush()
        os.fsync(file.fileno())
    partial.rename(_checksums_of(path))
    _sync_folder(path)


def remove_checksums(path: Path) -> None:
    """Remove the checksums, before anything writes to the database."""
    if _checksums_of(path).exists():
        _checksums_of(path).unlink()
        _sync_folder(path)  # checksums that come back after a power cut would call the log foreign


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _pages(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        page_size = _page_size(file.read(100))
        file.seek(0)
        while pages := file.read(page_size * PAGES_AT_ONCE):
            for start in range(0, len(pages), page_size):
                yield pages[start : start + page_size]


def _page_size(header: bytes) -> int:
    size: int = struct.unpack(">H", header[16:18])[0]
    return 65536 if size == 1 else max(size, 512)


def _page_count(header: bytes) -> int:
    """Return the size in the header, or 0 if an old version wrote the file without updating it."""
    count, changes, valid_for = struct.unpack(">I", header[28:32])[0], header[24:28], header[92:96]
    return count if changes == valid_for else 0


def _has_foreign_log(path: Path, header: bytes) -> bool:
    """Return whether the log has another page size or database id, or lies next to a database that closed cleanly."""
    log = _log_of(path)
    if not log.exists() or log.stat().st_size <= WAL_HEADER:
        return False
    if has_checksums(path):
        return True
    with log.open("rb") as file:
        magic, _, page_size, _, *salts = struct.unpack(">6I", file.read(24))
        if magic not in WAL_MAGICS:
            return False  # SQLite ignores it
        if page_size != _page_size(header):
            return True
        file.seek(WAL_HEADER)
        while len(frame := file.read(FRAME_HEADER)) == FRAME_HEADER:
            number, _, *frame_salts = struct.unpack(">4I", frame[:16])
            if frame_salts != salts:
                return False  # the rest is from before the log was reset
            if number == 1:
                page = file.read(page_size)
                own, other = header[APPLICATION_ID], page[APPLICATION_ID]
                return own != other and any(own) and any(other)
            file.seek(page_size, os.SEEK_CUR)
    return False


def _has_log(path: Path) -> bool:
    log = _log_of(path)
    return log.exists() and log.stat().st_size > 0


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _checksums_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-checksums")
