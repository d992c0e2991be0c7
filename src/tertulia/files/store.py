"""Where bytes are kept: a folder or a bucket, by obstore. Objects are written once and never changed."""

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
    """Paths are ours, relative, with slashes. What the store itself raises becomes FileStoreUnavailable."""

    def __init__(self, settings: Settings) -> None:
        self.uploads = settings.data / "uploads"  # what is on its way in, or looked into
        self._folder: Path | None = None
        url = settings.files_url
        if url is None or url.startswith("file://"):
            self._folder = settings.data / "files" if url is None else Path(url.removeprefix("file://"))
        try:
            self._store = LocalStore(self._folder, mkdir=True) if self._folder else from_url(url or "")
        except (BaseError, ValueError, OSError) as error:
            raise SettingsError(f"TERTULIA_FILES_URL: files cannot be kept there: {error}") from None

    async def put(self, path: str, source: Path) -> None:
        """Whole or not at all, and on the disk when it returns."""
        try:
            await obstore.put_async(self._store, path, source)
        except (BaseError, OSError) as error:
            raise FileStoreUnavailable from error
        if self._folder is not None:
            await asyncio.to_thread(_sync, self._folder / path)

    async def read(self, path: str) -> bytes:
        """Raises AttachmentNotFound when the object is gone, which no sweep of ours does while it is referred to."""
        try:
            found = await obstore.get_async(self._store, path)
            return bytes(await found.bytes_async())
        except (NotFoundError, FileNotFoundError) as error:
            raise AttachmentNotFound from error
        except BaseError as error:
            raise FileStoreUnavailable from error

    async def stream(self, path: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to and without `end`, in pieces."""
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
        """The whole object, in pieces."""
        try:
            found = await obstore.get_async(self._store, path)
            async for piece in found.stream(CHUNK_BYTES * 4):
                yield bytes(piece)
        except (NotFoundError, FileNotFoundError) as error:
            raise AttachmentNotFound from error
        except BaseError as error:
            raise FileStoreUnavailable from error

    async def fetch(self, path: str, target: Path) -> None:
        """A copy of an object as a file of ours."""
        content = await self.read(path)
        await asyncio.to_thread(target.write_bytes, content)

    def list_paths(self) -> Iterator[str]:
        """Every object, for who copies all of them."""
        for some in obstore.list(self._store):
            yield from sorted(str(one["path"]) for one in some)

    def read_pieces(self, path: str) -> Iterator[bytes]:
        for piece in obstore.get(self._store, path).stream(CHUNK_BYTES * 4):
            yield bytes(piece)

    def write_file(self, path: str, source: IO[bytes]) -> None:
        """Whole, and on the disk when it returns."""
        obstore.put(self._store, path, source)
        if self._folder is not None:
            _sync(self._folder / path)

    async def delete(self, path: str) -> None:
        """What is not there is deleted already."""
        try:
            await obstore.delete_async(self._store, path)
        except (NotFoundError, FileNotFoundError):
            return
        except BaseError as error:
            raise FileStoreUnavailable from error


def _sync(path: Path) -> None:
    for one in (path, path.parent, path.parent.parent):
        descriptor = os.open(one, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
