"""Store bytes in a folder or a bucket, through obstore. Objects are written once and never changed."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, from_url

from tertulia.errors import SettingsError
from tertulia.files.errors import AttachmentNotFound, FileStoreUnavailable
from tertulia.settings import Settings

CHUNK_BYTES = 256 * 1024


class FileStore:
    """Paths are chosen by us, relative, with slashes. Errors of the store become FileStoreUnavailable."""

    def __init__(self, settings: Settings) -> None:
        self.uploads = settings.data / "uploads"  # files being received or read
        self._folder: Path | None = None
        url = settings.files_url
        if url is None or url.startswith("file://"):
            self._folder = settings.data / "files" if url is None else Path(url.removeprefix("file://"))
        try:
            self._store = LocalStore(self._folder, mkdir=True) if self._folder else from_url(url or "")
        except (BaseError, ValueError, OSError) as error:
            raise SettingsError(f"TERTULIA_FILES_URL: files cannot be stored there: {error}") from None

    async def put(self, path: str, source: Path) -> None:
        """Store a whole file or nothing. In a folder, it is synced to disk when this returns."""
        try:
            await obstore.put_async(self._store, path, source)
        except (BaseError, OSError) as error:
            raise FileStoreUnavailable from error
        if self._folder is not None:
            await asyncio.to_thread(_sync, self._folder / path)

    async def read(self, path: str) -> bytes:
        """Return an object's bytes. Raises AttachmentNotFound if it is missing. Sweeps keep referenced objects."""
        try:
            response = await obstore.get_async(self._store, path)
            return bytes(await response.bytes_async())
        except (NotFoundError, FileNotFoundError) as error:
            raise AttachmentNotFound from error
        except BaseError as error:
            raise FileStoreUnavailable from error

    async def stream(self, path: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to but excluding `end`, in pieces."""
        try:
            at = start
            while at < end:
                size = min(CHUNK_BYTES * 4, end - at)
                piece = bytes(await obstore.get_range_async(self._store, path, start=at, length=size))
                yield piece
                at += len(piece)
        except (NotFoundError, FileNotFoundError) as error:
            raise AttachmentNotFound from error
        except BaseError as error:
            raise FileStoreUnavailable from error

    async def stream_all(self, path: str) -> AsyncIterator[bytes]:
        """Yield the whole object, in pieces."""
        try:
            response = await obstore.get_async(self._store, path)
            async for piece in response.stream(CHUNK_BYTES * 4):
                yield bytes(piece)
        except (NotFoundError, FileNotFoundError) as error:
            raise AttachmentNotFound from error
        except BaseError as error:
            raise FileStoreUnavailable from error

    async def fetch(self, path: str, target: Path) -> None:
        """Copy an object to a local file."""
        content = await self.read(path)
        await asyncio.to_thread(target.write_bytes, content)

    def list_paths(self) -> Iterator[str]:
        """Yield the paths of all objects, for copying them."""
        for entries in obstore.list(self._store):
            yield from sorted(str(entry["path"]) for entry in entries)

    def read_pieces(self, path: str) -> Iterator[bytes]:
        for piece in obstore.get(self._store, path).stream(CHUNK_BYTES * 4):
            yield bytes(piece)

    def write_file(self, path: str, source: IO[bytes]) -> None:
        """Store a whole file. In a folder, it is synced to disk when this returns."""
        obstore.put(self._store, path, source)
        if self._folder is not None:
            _sync(self._folder / path)

    async def delete(self, path: str) -> None:
        """Delete an object. A missing object is ignored."""
        try:
            await obstore.delete_async(self._store, path)
        except (NotFoundError, FileNotFoundError):
            return
        except BaseError as error:
            raise FileStoreUnavailable from error


def _sync(path: Path) -> None:
    for target in (path, path.parent, path.parent.parent):
        descriptor = os.open(target, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
