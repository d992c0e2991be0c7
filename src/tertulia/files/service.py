"""Create, list, delete and restore files. Receiving their bytes is in uploads.py."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User
from tertulia.accounts.row_limits import RowLimits, StorageLimit
from tertulia.db import Id, insert_if_absent, rowcount, wake
from tertulia.db.types import EPOCH, MICROSECOND
from tertulia.errors import Invalid
from tertulia.files.errors import (
    AttachmentNotFound,
    FileStoreUnavailable,
    StorageFull,
)
from tertulia.files.events import ATTACHMENT
from tertulia.files.models import (
    Attachment,
    AttachmentStatus,
    Blob,
    BlobContent,
)
from tertulia.files.queries import SEEN, read_attachments, used_bytes
from tertulia.files.schemas import AttachmentRead, FileKind, FileOrder, StorageRead
from tertulia.files.uses import FileUses
from tertulia.ids import AttachmentId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

FILES = "files"  # the signal that a file waits to be read
FileKey = tuple[int | str, str]


@dataclass(frozen=True)
class ReceivedFile:
    """A file whose bytes are ready to be stored."""

    file_name: str
    original_name: str
    mime_type: str
    size_bytes: int
    content_hash: str


@dataclass(frozen=True)
class StoringFile:
    attachment_id: AttachmentId
    storage_path: str


@dataclass(frozen=True)
class StoredFile:
    """Where the bytes of a file are stored."""

    attachment_id: str
    storage_path: str
    mime_type: str
    file_name: str
    size_bytes: int


def begin_storing(
    session: Session,
    actor: Actor,
    received: ReceivedFile,
    uses: FileUses,
    limits: RowLimits,
    *,
    storage: StorageLimit,
    chat_id: str | None = None,
    import_id: str | None = None,
) -> StoringFile:
    """Insert the rows of a file before its bytes are stored. It is not visible before `finish_storing`.

    Raises StorageFull, TooManyRows, and AttachmentNotFound for a chat that the actor may not write to.

    The user's row is locked, so that concurrent uploads are counted together.
    """
    if chat_id is not None and not session.scalar(sa.select(uses.may_write(chat_id)), {"actor_id": actor.user_id}):
        raise AttachmentNotFound("The chat does not exist, or you cannot write in it.")
    session.execute(sa.select(User.id).where(User.id == actor.user_id).with_for_update())
    limits.take(session, Attachment.user_id, actor.user_id, "files")
    now, blob_id = clock.now(), new_id()
    insert_if_absent(
        session,
        Blob,
        id=blob_id,
        content_hash=received.content_hash,
        size_bytes=received.size_bytes,
        storage_path=f"{received.content_hash[:2]}/{received.content_hash}-{blob_id}",
        mime_type=received.mime_type,
        created_at=now,
        updated_at=now,
    )
    # Locked, so that the sweep sees this reference, or this sees that the sweep removed the row.
    blob = session.execute(
        sa.select(Blob.id, Blob.storage_path).where(Blob.content_hash == received.content_hash).with_for_update()
    ).one_or_none()
    if blob is None:  # the sweep has just removed it
        raise FileStoreUnavailable
    session.execute(sa.update(Blob).where(Blob.id == blob.id).values(unreferenced_at=None))
    attachment_id = AttachmentId(new_id())
    session.execute(
        sa.insert(Attachment).values(
            id=attachment_id,
            user_id=actor.user_id,
            blob_id=blob.id,
            file_name=received.file_name,
            original_name=received.original_name,
            mime_type=received.mime_type,
            file_size=received.size_bytes,
            chat_id=chat_id,
            import_id=import_id,
        )
    )
    if (limit := storage.exceeded(session, actor.user_id)) is not None:
        raise StorageFull(limit)
    return StoringFile(attachment_id, blob.storage_path)


def finish_storing(session: Session, actor: Actor, attachment_id: AttachmentId, uses: FileUses) -> AttachmentRead:
    """Make a file visible once its bytes are stored, and queue it for reading."""
    session.execute(
        sa.update(Attachment)
        .where(
            Attachment.id == attachment_id,
            Attachment.user_id == actor.user_id,
            Attachment.status == AttachmentStatus.UPLOADING,
        )
        .values(status=AttachmentStatus.PROCESSING)
    )
    wake(session, FILES)
    return announce_attachment(session, attachment_id, uses, Operation.CREATED)


def get_attachment(session: Session, actor: Actor, attachment_id: AttachmentId, uses: FileUses) -> AttachmentRead:
    """Return the actor's own file, or a file of a chat that they may read. Raises AttachmentNotFound."""
    _readable(session, actor, attachment_id, uses)
    return read_attachments(session, [attachment_id], uses, for_id=actor.user_id)[0]


def find_stored(session: Session, actor: Actor, attachment_id: AttachmentId, uses: FileUses) -> StoredFile:
    """Return where a readable file is stored. Raises AttachmentNotFound."""
    _readable(session, actor, attachment_id, uses)
    return stored_file(session, attachment_id)


def stored_file(session: Session, attachment_id: str) -> StoredFile:
    row = session.execute(
        sa.select(Blob.storage_path, Attachment.mime_type, Attachment.file_name, Attachment.file_size)
        .join(Blob, Blob.id == Attachment.blob_id)
        .where(Attachment.id == attachment_id)
    ).one()
    return StoredFile(attachment_id, *row)


def find_thumbnail(session: Session, actor: Actor, attachment_id: AttachmentId, uses: FileUses) -> bytes:
    """Return the thumbnail of a readable file. Raises AttachmentNotFound also if there is none."""
    _readable(session, actor, attachment_id, uses)
    return stored_thumbnail(session, attachment_id)


def stored_thumbnail(session: Session, attachment_id: str) -> bytes:
    thumbnail = session.scalar(
        sa.select(BlobContent.thumbnail)
        .join(Attachment, Attachment.blob_id == BlobContent.blob_id)
        .where(Attachment.id == attachment_id)
    )
    if thumbnail is None:
        raise AttachmentNotFound
    return thumbnail


_KINDS: dict[FileKind, sa.ColumnElement[bool]] = {
    "image": Attachment.mime_type.startswith("image/") & (Attachment.mime_type != "image/svg+xml"),
    "text": Attachment.mime_type.startswith("text/")
    | Attachment.mime_type.in_(("application/json", "application/yaml", "application/xml", "image/svg+xml")),
    "audio": Attachment.mime_type.startswith("audio/"),
    "video": Attachment.mime_type.startswith("video/"),
    "archive": Attachment.mime_type == "application/zip",
    "document": Attachment.mime_type.in_(("application/pdf", "application/rtf", "application/epub+zip"))
    | Attachment.mime_type.startswith("application/vnd."),
}
_ORDERS: dict[FileOrder, tuple[Any, bool]] = {
    "newest": (Attachment.created_at, True),
    "largest": (Attachment.file_size, True),
    "name": (Attachment.file_name, False),
}


def list_attachments(
    session: Session,
    actor: Actor,
    uses: FileUses,
    *,
    chat_id: str | None = None,
    kind: FileKind | None = None,
    order: FileOrder = "newest",
    in_trash: bool = False,
    after: FileKey | None = None,
    limit: int = 50,
) -> list[AttachmentRead]:
    """Return the actor's files, or those of a chat that they may read, after the key of the last file seen.

    Raises Invalid for a chat that they may not read.
    """
    column, is_descending = _ORDERS[order]
    query = sa.select(Attachment.id).where(
        SEEN, Attachment.deleted_at.is_not(None) if in_trash else Attachment.deleted_at.is_(None)
    )
    if chat_id is not None:
        if not session.scalar(sa.select(uses.may_read(chat_id)), {"actor_id": actor.user_id}):
            raise Invalid("This chat does not exist, or you do not have access to it.", field="chat_id")
        # Include other users' files only if a message shows them. Unsent and deleted files stay private.
        is_shown = uses.is_used_in(chat_id) & Attachment.deleted_at.is_(None)
        query = query.where(
            Attachment.chat_id == chat_id,
            (Attachment.user_id == actor.user_id) | is_shown,
        )
    else:
        query = query.where(Attachment.user_id == actor.user_id)
    if kind is not None:
        query = query.where(_KINDS[kind])
    if after is not None:
        value = EPOCH + timedelta(microseconds=int(after[0])) if order == "newest" else after[0]
        last = sa.tuple_(sa.literal(value, column.type), sa.literal(after[1], Id()))
        key = sa.tuple_(column, Attachment.id)
        query = query.where(key < last if is_descending else key > last)
    ordering = (column.desc(), Attachment.id.desc()) if is_descending else (column, Attachment.id)
    ids = session.scalars(query.order_by(*ordering).limit(limit), {"actor_id": actor.user_id}).all()
    return read_attachments(session, ids, uses, for_id=actor.user_id)


def file_key(attachment: AttachmentRead, order: FileOrder) -> FileKey:
    match order:
        case "newest":
            return (attachment["created_at"] - EPOCH) // MICROSECOND, attachment["id"]
        case "largest":
            return attachment["file_size"], attachment["id"]
        case "name":
            return attachment["file_name"], attachment["id"]


def get_storage(session: Session, actor: Actor, *, storage: StorageLimit) -> StorageRead:
    files = session.scalar(
        sa.select(sa.func.count()).where(Attachment.user_id == actor.user_id, Attachment.deleted_at.is_(None), SEEN)
    )
    return {
        "used_bytes": used_bytes(session, actor.user_id),
        "limit_bytes": storage.of(session, actor.user_id),
        "files": files or 0,
    }


def delete_attachment(session: Session, actor: Actor, attachment_id: AttachmentId, uses: FileUses) -> None:
    """Move a file to the trash. Messages keep its name and show it as deleted. Raises AttachmentNotFound."""
    changed = sa.update(Attachment).where(
        Attachment.id == attachment_id, Attachment.user_id == actor.user_id, Attachment.deleted_at.is_(None), SEEN
    )
    if rowcount(session, changed.values(deleted_at=clock.now())) == 0:
        raise AttachmentNotFound
    announce_attachment(session, attachment_id, uses, Operation.DELETED)
    uses.on_changed(session, attachment_id)


def restore_attachment(session: Session, actor: Actor, attachment_id: AttachmentId, uses: FileUses) -> AttachmentRead:
    """Bring a file back from the trash. Raises AttachmentNotFound."""
    own_id = session.scalar(
        sa.select(Attachment.id).where(Attachment.id == attachment_id, Attachment.user_id == actor.user_id, SEEN)
    )
    if own_id is None:
        raise AttachmentNotFound
    session.execute(sa.update(Attachment).where(Attachment.id == attachment_id).values(deleted_at=None))
    restored = announce_attachment(session, attachment_id, uses, Operation.CREATED)
    uses.on_changed(session, attachment_id)
    return restored


def announce_attachment(session: Session, attachment_id: str, uses: FileUses, operation: Operation) -> AttachmentRead:
    """Publish a file. Raises AttachmentNotFound if it was swept, as an upload of more than an hour is."""
    owner_id = session.scalars(sa.select(Attachment.user_id).where(Attachment.id == attachment_id)).one_or_none()
    if owner_id is None:
        raise AttachmentNotFound
    attachment = read_attachments(session, [attachment_id], uses, for_id=owner_id)[0]
    publish(
        session,
        owner_id=owner_id,
        topic=f"user:{owner_id}",
        entity=ATTACHMENT,
        entity_id=attachment_id,
        operation=operation,
        payload=attachment,
        shared_id=attachment["chat_id"],
    )
    return attachment


def _readable(session: Session, actor: Actor, attachment_id: AttachmentId, uses: FileUses) -> None:
    readable_id = session.scalar(
        sa.select(Attachment.id).where(
            Attachment.id == attachment_id,
            SEEN,
            (Attachment.user_id == actor.user_id) | (uses.is_readable() & Attachment.deleted_at.is_(None)),
        ),
        {"actor_id": actor.user_id},
    )
    if readable_id is None:
        raise AttachmentNotFound
