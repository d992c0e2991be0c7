"""Receive an upload: write a multipart form to a temporary file as it arrives, count and hash it, and store it."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from tertulia.accounts.actor import Actor
from tertulia.accounts.row_limits import RowLimits, StorageLimit
from tertulia.db import Database
from tertulia.files.errors import FileEmpty, FileMissing, FileStoreUnavailable, FileTooLarge
from tertulia.files.kinds import HEAD_BYTES, kind_of, safe_name
from tertulia.files.models import MAX_FILE_BYTES
from tertulia.files.schemas import AttachmentRead
from tertulia.files.service import ReceivedFile, begin_storing, finish_storing
from tertulia.files.store import FileStore
from tertulia.files.uses import FileUses
from tertulia.ids import new_id

WRITE_BYTES = 1024 * 1024
MAX_PARTS = 64
MAX_PART_HEADER = 8 * 1024
MAX_FIELD = 4 * 1024
BODY_S = 30.0
BYTES_A_SECOND = 64 * 1024  # the minimum speed of a slow connection


@dataclass
class ReceivedForm:
    """A temporary file, and the other fields of the form."""

    path: Path
    name: str
    size_bytes: int
    content_hash: str
    head: bytes
    fields: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def receive_form(
    chunks: AsyncIterator[bytes], content_type: str, folder: Path, *, most_bytes: int = MAX_FILE_BYTES
) -> AsyncIterator[ReceivedForm]:
    """Receive the only file of a form. The temporary file is always deleted at the end.

    Raises FileTooLarge, FileEmpty, and FileMissing, also for a form that is malformed or too slow.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise FileMissing
    path = folder / new_id()
    try:
        try:
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
            with await asyncio.to_thread(path.open, "xb") as file:
                form = _Form(file, boundary, most_bytes)
                await _read_all(form, chunks)
                received = await asyncio.to_thread(form.finish, path)
        except FormParserError as error:
            raise FileMissing("The form is malformed. Send one file as the field `file`.") from error
        except OSError as error:  # the disk is full or unavailable, or the folder cannot be made
            raise FileStoreUnavailable from error
        yield received
    finally:
        with suppress(NotADirectoryError):  # the folder could not be made
            await asyncio.to_thread(path.unlink, missing_ok=True)


async def _read_all(form: "_Form", chunks: AsyncIterator[bytes]) -> None:
    started, size = asyncio.get_running_loop().time(), 0
    try:
        async with asyncio.timeout(BODY_S) as limit:
            async for chunk in chunks:
                size += len(chunk)
                if size > form.most_bytes + MAX_PARTS * (MAX_PART_HEADER + MAX_FIELD):
                    raise FileTooLarge(form.most_bytes)
                form.take(chunk)
                if form.is_full:
                    await asyncio.to_thread(form.write)
                limit.reschedule(started + BODY_S + size / BYTES_A_SECOND)
    except ClientDisconnect as error:  # no client receives this; the partial file is deleted
        raise FileMissing("The connection closed before the file was complete. Send it again.") from error
    except TimeoutError:
        raise FileMissing("The file took too long to arrive. Send it again.") from None


class _Form:
    """Handles the parser's callbacks, part by part. Raises errors as soon as they are known."""

    def __init__(self, file: IO[bytes], boundary: bytes, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._file = file
        self._digest = hashlib.sha256()
        self._size = 0
        self._head = bytearray()
        self._waiting = bytearray()
        self._name: str | None = None
        self._fields: dict[str, bytearray] = {}
        self._parts = 0
        self._header, self._value, self._headers = bytearray(), bytearray(), dict[bytes, bytes]()
        self._target: bytearray | None = None  # value of the current plain field
        self._is_file = False
        self._is_whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_field,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_end": self._on_end,
            },
        )

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= WRITE_BYTES

    def take(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def write(self) -> None:
        """Write the received bytes to disk and hash them. Call it in a thread, because both are slow."""
        self._file.write(self._waiting)
        self._digest.update(self._waiting)
        self._waiting.clear()

    def finish(self, path: Path) -> ReceivedForm:
        self._parser.finalize()
        if not self._is_whole:
            raise FileMissing("The form is incomplete. Send it again.")
        if self._name is None:
            raise FileMissing
        if self._size == 0:
            raise FileEmpty
        self.write()
        self._file.flush()
        os.fsync(self._file.fileno())
        fields = {name: bytes(value).decode("utf-8", "replace") for name, value in self._fields.items()}
        return ReceivedForm(path, self._name, self._size, self._digest.hexdigest(), bytes(self._head), fields)

    def _on_end(self) -> None:
        self._is_whole = True

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise FileMissing(f"The form has more than {MAX_PARTS} parts.")
        self._headers.clear()
        self._header.clear()
        self._value.clear()

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._check_header()

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_header()

    def _check_header(self) -> None:
        if len(self._header) + len(self._value) > MAX_PART_HEADER:
            raise FileMissing(f"A part of the form has a header of more than {MAX_PART_HEADER:,} bytes.")

    def _on_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = name == "file" and b"filename" in options
        if self._is_file:
            if self._name is not None:
                raise FileMissing("Send one file at a time.")
            self._name = options[b"filename"].decode("utf-8", "replace")
        else:
            self._target = self._fields.setdefault(name, bytearray())

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            assert self._target is not None
            self._target += data[start:end]
            if len(self._target) > MAX_FIELD:
                raise FileMissing(f"A field of the form has more than {MAX_FIELD:,} bytes.")
            return
        self._size += end - start
        if self._size > self.most_bytes:
            raise FileTooLarge(self.most_bytes)
        self._waiting += data[start:end]
        if len(self._head) < HEAD_BYTES:
            self._head += data[start : min(end, start + HEAD_BYTES - len(self._head))]


async def store_upload(
    db: Database,
    store: FileStore,
    received: ReceivedForm,
    uses: FileUses,
    limits: RowLimits,
    *,
    actor: Actor,
    storage: StorageLimit,
    chat_id: str | None = None,
) -> AttachmentRead:
    """Insert rows, store bytes, update rows. If this is killed in between, the sweep removes the invisible file."""
    name = safe_name(received.name)
    file = ReceivedFile(
        name,
        received.name.replace("\x00", ""),
        kind_of(received.head, name),
        received.size_bytes,
        received.content_hash,
    )
    storing = await db.write(begin_storing, actor, file, uses, limits, storage=storage, chat_id=chat_id)
    await store.put(storing.storage_path, received.path)
    return await db.write(finish_storing, actor, storing.attachment_id, uses)
