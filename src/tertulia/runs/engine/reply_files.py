"""Read the files that a request sends as they are, and keep the pictures and sounds that a model makes."""

import asyncio
import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from mimetypes import guess_extension
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.models import UserRole
from tertulia.accounts.row_limits import RowLimits, StorageLimit
from tertulia.chat.message_files import AttachedFile, link_attachments
from tertulia.chat.parts import FilePart, ImagePart
from tertulia.db import Database
from tertulia.files.errors import FileStoreUnavailable
from tertulia.files.kinds import HEAD_BYTES, SHOWN_INLINE
from tertulia.files.models import Attachment, AttachmentMetadata, AttachmentStatus, MessageAttachment
from tertulia.files.schemas import AttachmentRead
from tertulia.files.store import FileStore
from tertulia.files.uploads import ReceivedForm, store_upload
from tertulia.files.uses import FileUses
from tertulia.ids import AttachmentId, UserId, new_id
from tertulia.providers.errors import MalformedReply
from tertulia.providers.protocol import FileOutput, InputFile, ModelRequest
from tertulia.runs.lease import ClaimedRun, hold_lease

READ_PAUSE_S, READ_TRIES = 0.1, 30
PIECE = 512 * 1024  # characters of base64; whole groups of four


@dataclass(frozen=True)
class Size:
    """The size of a picture in pixels; None if it is unknown."""

    width: int | None = None
    height: int | None = None


class ReplyFiles:
    """Service: the files of requests and replies. What models make counts as the requester's storage."""

    def __init__(
        self, db: Database, store: FileStore, uses: FileUses, limits: RowLimits, *, storage: StorageLimit
    ) -> None:
        self._db = db
        self._store = store
        self._uses = uses
        self._limits = limits
        self._storage = storage

    async def keep(self, run: ClaimedRun, output: FileOutput) -> ImagePart | FilePart:
        """Store a picture or sound, and return the part that shows it.

        Raises LeaseLost, MalformedReply, FileTypeNotAllowed, FileStoreUnavailable, StorageFull and TooManyRows.
        """
        kind, _, subtype = output.media_type.partition("/")
        name = f"{'picture' if kind == 'image' else kind}{guess_extension(output.media_type) or f'.{subtype}'}"
        path = self._store.uploads / new_id()
        try:
            try:
                received = await asyncio.to_thread(_write, path, name, output.content)
            except ValueError as error:
                raise MalformedReply("The model sent a picture or sound that cannot be read. Try again.") from error
            except OSError as error:
                raise FileStoreUnavailable from error
            stored = await store_upload(
                self._db,
                self._store,
                received,
                self._uses,
                self._limits,
                actor=Actor(UserId(run.payer_id), UserRole.USER),
                storage=self._storage,
                chat_id=run.chat_id,
            )
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        # Linked last: a run that is stopped before has a file of the person, and none that is hidden in the message.
        size = await self._size_of(stored["id"]) if stored["mime_type"] in SHOWN_INLINE else Size()
        await self._db.write(_link, run, stored)
        if stored["mime_type"] in SHOWN_INLINE:
            return ImagePart(attachment_id=stored["id"], width=size.width, height=size.height)
        return FilePart(
            attachment_id=stored["id"],
            file_name=stored["file_name"],
            file_type=stored["mime_type"],
            file_size=stored["file_size"],
        )

    async def load(self, request: ModelRequest) -> ModelRequest:
        """Return a request with the bytes of the files that it sends as they are. Raises FileStoreUnavailable."""
        if not any(message.files for message in request.messages):
            return request
        messages = []
        for message in request.messages:
            files = [replace(file, url=await self._data_url(file)) for file in message.files]
            messages.append(replace(message, files=tuple(files)) if files else message)
        return replace(request, messages=tuple(messages))

    async def _data_url(self, file: InputFile) -> str:
        encoded = await asyncio.to_thread(_encode, await self._store.read(file.path))
        return f"data:{file.media_type};base64,{encoded}"

    async def _size_of(self, attachment_id: str) -> Size:
        """Wait a moment until the picture was read, so that its place is known and its thumbnail is there."""
        for _ in range(READ_TRIES):
            status, details = await self._db.read(_read_state, attachment_id)
            if status is not AttachmentStatus.PROCESSING:
                return Size(details.dimensions.width, details.dimensions.height) if details.dimensions else Size()
            await asyncio.sleep(READ_PAUSE_S)
        return Size()


def _read_state(session: Session, attachment_id: str) -> tuple[AttachmentStatus, AttachmentMetadata]:
    row = session.execute(sa.select(Attachment.status, Attachment.details).where(Attachment.id == attachment_id)).one()
    return row.status, row.details


def _write(path: Path, name: str, content: bytes | str) -> ReceivedForm:
    """Write a file, from base64 if it is text. Raises OSError, and ValueError if it cannot be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size, head = hashlib.sha256(), 0, b""
    with path.open("wb") as file:
        for piece in _decoded(content) if isinstance(content, str) else (content,):
            file.write(piece)
            digest.update(piece)
            size += len(piece)
            head = head or piece[:HEAD_BYTES]
    return ReceivedForm(path, name, size, digest.hexdigest(), head)


def _decoded(encoded: str) -> Iterator[bytes]:
    """Yield the bytes in pieces: each holds the interpreter for its whole time, and other requests wait."""
    for start in range(0, len(encoded), PIECE):
        yield base64.b64decode(encoded[start : start + PIECE], validate=True)


def _encode(content: bytes) -> str:
    """Return base64, made in pieces like `_decoded`."""
    size = PIECE // 4 * 3
    return "".join(base64.b64encode(content[at : at + size]).decode() for at in range(0, len(content), size))


def _link(session: Session, run: ClaimedRun, stored: AttachmentRead) -> None:
    hold_lease(session, run)
    position = session.scalar(
        sa.select(sa.func.coalesce(sa.func.max(MessageAttachment.position) + 1, 0)).where(
            MessageAttachment.message_id == run.message_id
        )
    )
    file = AttachedFile(
        AttachmentId(stored["id"]), stored["file_name"], stored["mime_type"], stored["file_size"], None, None
    )
    link_attachments(session, [file], message_id=run.message_id, chat_id=run.chat_id, first=position or 0)
