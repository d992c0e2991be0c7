"""Lock the data folder, and tell the command line how to reach a running server."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import orjson

from tertulia.errors import SettingsError
from tertulia.settings import Settings


@dataclass(frozen=True)
class RunningServer:
    """Content of `server.json`, which a server writes for the command line. Only its own user can read the file."""

    address: str
    pid: int
    control_token: str


class DataFolderInUse(SettingsError):
    def __init__(self, running: RunningServer | None) -> None:
        self.running = running
        where = f"at {running.address}" if running else "with this data folder"
        super().__init__(f"Tertulia is already running {where}.")


@contextmanager
def locked_data_folder(settings: Settings) -> Iterator[None]:
    """Lock a SQLite folder for one process. Raises DataFolderInUse. PostgreSQL allows many, so it needs no lock."""
    settings.data.mkdir(parents=True, exist_ok=True)
    if settings.sqlite_path is None:
        yield
        return
    settings.sqlite_path.parent.mkdir(parents=True, exist_ok=True)
    with (settings.sqlite_path.parent / "lock").open("a") as file:
        _lock(file, settings)
        yield


def replace_file(path: Path, content: bytes) -> None:
    """Write a small file of the data folder, which is complete or unchanged. Only its own user can read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _lock(file: IO[str], settings: Settings) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataFolderInUse(read_running(settings)) from None


def read_running(settings: Settings) -> RunningServer | None:
    path = settings.data / "server.json"
    return RunningServer(**orjson.loads(path.read_bytes())) if path.is_file() else None


def write_running(settings: Settings, running: RunningServer) -> Path:
    path = settings.data / "server.json"
    replace_file(path, orjson.dumps(asdict(running)))
    return path
