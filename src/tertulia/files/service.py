"""What is done with files: taken in, listed, named by messages, deleted and brought back. Their bytes are uploads.py's."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.access import may_read_chat, may_write_chat
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User
from tertulia.db import Id, insert_if_absent, rowcount, table_of, wake
from tertulia.db.types import EPOCH, MICROSECOND
from tertulia.files.errors import (
    AttachmentGone,
    AttachmentNotFound,
    AttachmentNotReady,
    FileStoreUnavailable,
    StorageFull,
    TooManyAttachments,
)
from tertulia.files.kinds import SHOWN_INLINE
from tertulia.files.models import (
    Attachment,
    AttachmentMetadata,
    AttachmentStatus,
    Blob,
    BlobContent,
    MessageAttachment,
)
from tertulia.files.schemas import AttachmentMetadataRead, AttachmentRead, FileKind, FileOrder, StorageRead, UsedIn
from tertulia.ids import AttachmentId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

MAX_A_MESSAGE = 20
FILES = "files"  # the signal that there is a file to look into
# Light views of tables above: a file is readable where a message with it is.
_CHAT = sa.table(
    "chat",
    sa.column("id", Id()),
    sa.column("user_id", Id()),
    sa.column("title", sa.String()),
    sa.column("deleted_at", sa.Integer()),
)
_MESSAGE = sa.table("message", sa.column("id", Id()), sa.column("chat_id", Id()), sa.column("status", sa.String()))
_SEEN = Attachment.status != AttachmentStatus.UPLOADING
# A message that the actor may read.
_IN_SIGHT = (
    _CHAT.c.deleted_at.is_(None),
    _MESSAGE.c.status != "deleted",
    may_read_chat(_CHAT.c.id, _CHAT.c.user_id),
)
FileKey = tuple[int | str, str]


@dataclass(frozen=True)
class ReceivedFile:
    """A file whose bytes lie ready to be stored."""

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
    """Where the bytes of a file are, for whoever may have them."""

    storage_path: str
    mime_type: str
    file_name: str
    size_bytes: int


def begin_storing(
    session: Session,
    received: ReceivedFile,
    *,
    actor: Actor,
    limit_bytes: int,
    chat_id: str | None = None,
    import_id: str | None = None,
) -> StoringFile:
    """The rows of a file whose bytes come next; nobody sees it before `finish_storing`.

    Raises StorageFull, and AttachmentNotFound for a chat that the actor may not write to.

    The user's row is locked, so that files that arrive together are counted together.
    """
    if chat_id is not None and not session.scalar(
        sa.select(_is_in_reach(chat_id, may_write_chat)), {"actor_id": actor.user_id}
    ):
        raise AttachmentNotFound("There is no such chat, or it is not yours.")
    session.execute(sa.select(User.id).where(User.id == actor.user_id).with_for_update())
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
    # Locked, so that the sweep sees this reference or is seen to have removed the row.
    blob = session.execute(
        sa.select(Blob.id, Blob.storage_path).where(Blob.content_hash == received.content_hash).with_for_update()
    ).one_or_none()
    if blob is None:  # the sweep removed it at this very moment
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
    if _used_bytes(session, actor.user_id) > limit_bytes:
        raise StorageFull(limit_bytes)
    return StoringFile(attachment_id, blob.storage_path)


def finish_storing(session: Session, attachment_id: AttachmentId, *, actor: Actor) -> AttachmentRead:
    """The bytes are safe: from now on the file is there, and is looked into."""
    session.execute(
        sa.update(Attachment)
        .where(Attachment.id == attachment_id, Attachment.status == AttachmentStatus.UPLOADING)
        .values(status=AttachmentStatus.PROCESSING)
    )
    wake(session, FILES)
    return announce_attachment(session, attachment_id, Operation.CREATED)


def get_attachment(session: Session, attachment_id: AttachmentId, *, actor: Actor) -> AttachmentRead:
    """One's own, or one that a message of a readable chat has. Raises AttachmentNotFound."""
    _readable(session, attachment_id, actor=actor)
    return read_attachments(session, [attachment_id], for_id=actor.user_id)[0]


def find_stored(session: Session, attachment_id: AttachmentId, *, actor: Actor) -> StoredFile:
    """Raises AttachmentNotFound."""
    _readable(session, attachment_id, actor=actor)
    return stored_file(session, attachment_id)


def stored_file(session: Session, attachment_id: str) -> StoredFile:
    row = session.execute(
        sa.select(Blob.storage_path, Attachment.mime_type, Attachment.file_name, Attachment.file_size)
        .join(Blob, Blob.id == Attachment.blob_id)
        .where(Attachment.id == attachment_id)
    ).one()
    return StoredFile(*row)


def find_thumbnail(session: Session, attachment_id: AttachmentId, *, actor: Actor) -> bytes:
    """A small picture of it. Raises AttachmentNotFound, also where there is none."""
    _readable(session, attachment_id, actor=actor)
    return stored_thumbnail(session, attachment_id)


def stored_thumbnail(session: Session, attachment_id: str) -> bytes:
    found = session.scalar(
        sa.select(BlobContent.thumbnail)
        .join(Attachment, Attachment.blob_id == BlobContent.blob_id)
        .where(Attachment.id == attachment_id)
    )
    if found is None:
        raise AttachmentNotFound
    return found


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
    *,
    actor: Actor,
    chat_id: str | None = None,
    kind: FileKind | None = None,
    order: FileOrder = "newest",
    in_trash: bool = False,
    after: FileKey | None = None,
    limit: int = 50,
) -> list[AttachmentRead]:
    """One's own files, or those of a chat that one may read; after the key of the last one seen."""
    column, is_falling = _ORDERS[order]
    query = sa.select(Attachment.id).where(
        _SEEN, Attachment.deleted_at.is_not(None) if in_trash else Attachment.deleted_at.is_(None)
    )
    if chat_id is not None:
        # Of others' files those that a message shows; what they have not sent, or took back, is theirs.
        is_shown = _is_shown_in(chat_id) & Attachment.deleted_at.is_(None)
        query = query.where(
            Attachment.chat_id == chat_id,
            _is_in_reach(chat_id, may_read_chat),
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
        query = query.where(key < last if is_falling else key > last)
    ends = (column.desc(), Attachment.id.desc()) if is_falling else (column, Attachment.id)
    ids = session.scalars(query.order_by(*ends).limit(limit), {"actor_id": actor.user_id}).all()
    return read_attachments(session, ids, for_id=actor.user_id)


def file_key(attachment: AttachmentRead, order: FileOrder) -> FileKey:
    match order:
        case "newest":
            return (attachment["created_at"] - EPOCH) // MICROSECOND, attachment["id"]
        case "largest":
            return attachment["file_size"], attachment["id"]
        case "name":
            return attachment["file_name"], attachment["id"]


def get_storage(session: Session, *, actor: Actor, limit_bytes: int) -> StorageRead:
    files = session.scalar(
        sa.select(sa.func.count()).where(Attachment.user_id == actor.user_id, Attachment.deleted_at.is_(None), _SEEN)
    )
    return {"used_bytes": _used_bytes(session, actor.user_id), "limit_bytes": limit_bytes, "files": files or 0}


def delete_attachment(session: Session, attachment_id: AttachmentId, *, actor: Actor) -> None:
    """Into the trash: messages keep its name, and say that it is deleted. Raises AttachmentNotFound."""
    changed = sa.update(Attachment).where(
        Attachment.id == attachment_id, Attachment.user_id == actor.user_id, Attachment.deleted_at.is_(None), _SEEN
    )
    if rowcount(session, changed.values(deleted_at=clock.now())) == 0:
        raise AttachmentNotFound
    announce_attachment(session, attachment_id, Operation.DELETED)


def restore_attachment(session: Session, attachment_id: AttachmentId, *, actor: Actor) -> AttachmentRead:
    there = session.scalar(
        sa.select(Attachment.id).where(Attachment.id == attachment_id, Attachment.user_id == actor.user_id, _SEEN)
    )
    if there is None:
        raise AttachmentNotFound
    session.execute(sa.update(Attachment).where(Attachment.id == attachment_id).values(deleted_at=None))
    return announce_attachment(session, attachment_id, Operation.CREATED)


@dataclass(frozen=True)
class Attached:
    """A file as a message names it."""

    id: AttachmentId
    file_name: str
    mime_type: str
    file_size: int
    width: int | None
    height: int | None


def find_attachable(session: Session, ids: Sequence[str], *, chat_id: str, actor: Actor) -> list[Attached]:
    """The files that a message is to have, in the order of the ids: one's own, and those the chat has already.

    Raises AttachmentGone, AttachmentNotReady, TooManyAttachments.
    """
    wanted = list(dict.fromkeys(ids))
    if len(wanted) > MAX_A_MESSAGE:
        raise TooManyAttachments(MAX_A_MESSAGE)
    rows = {
        row.id: row
        for row in session.execute(
            sa.select(
                Attachment.id,
                Attachment.file_name,
                Attachment.mime_type,
                Attachment.file_size,
                Attachment.details,
                Attachment.status,
            ).where(
                Attachment.id.in_(wanted),
                (Attachment.user_id == actor.user_id) | _is_shown_in(chat_id),
                Attachment.deleted_at.is_(None),
                _SEEN,
            )
        )
    }
    attached: list[Attached] = []
    for one in wanted:
        row = rows.get(one)
        if row is None:
            raise AttachmentGone
        if row.status is AttachmentStatus.PROCESSING:
            raise AttachmentNotReady(row.file_name)
        measures = row.details.dimensions
        width, height = (measures.width, measures.height) if measures else (None, None)
        attached.append(Attached(AttachmentId(row.id), row.file_name, row.mime_type, row.file_size, width, height))
    return attached


def link_attachments(session: Session, attached: Sequence[Attached], *, message_id: str, chat_id: str) -> None:
    """Say where files are used; the first message that has one is its own."""
    now = clock.now()
    if not attached:
        return
    session.execute(
        sa.insert(table_of(MessageAttachment)),
        [
            {
                "id": new_id(),
                "message_id": message_id,
                "attachment_id": one.id,
                "file_name": one.file_name,
                "position": position,
                "indexed_at": None,
                "created_at": now,
            }
            for position, one in enumerate(attached)
        ],
    )
    session.execute(
        sa.update(Attachment)
        .where(Attachment.id.in_([one.id for one in attached]), Attachment.message_id.is_(None))
        .values(chat_id=chat_id, message_id=message_id)
    )


def unlink_attachments(session: Session, message_id: str) -> None:
    session.execute(sa.delete(MessageAttachment).where(MessageAttachment.message_id == message_id))


def copy_attachments(
    session: Session, ids: Iterable[str], *, chat_id: str, actor: Actor, limit_bytes: int
) -> dict[str, str]:
    """New rows on the same bytes, for a copy of messages; gives the new id of each. Raises StorageFull."""
    originals = session.scalars(
        sa.select(Attachment).where(
            Attachment.id.in_(list(ids)),
            Attachment.status.in_((AttachmentStatus.READY, AttachmentStatus.ERROR)),
            Attachment.deleted_at.is_(None),
        )
    ).all()
    now, copied = clock.now(), {original.id: new_id() for original in originals}
    for original in originals:
        values = {column.name: getattr(original, key) for key, column in sa.inspect(Attachment).c.items()}
        values |= {"id": copied[original.id], "user_id": actor.user_id, "chat_id": chat_id, "message_id": None}
        values |= {"download_count": 0, "import_id": None, "created_at": now, "updated_at": now}
        session.execute(sa.insert(table_of(Attachment)), values)
    if copied:
        session.execute(sa.select(User.id).where(User.id == actor.user_id).with_for_update())
        if _used_bytes(session, actor.user_id) > limit_bytes:
            raise StorageFull(limit_bytes)
    return copied


def release_files(session: Session, chat_ids: Sequence[str]) -> None:
    """Before chats go for good: files that other chats use, or that are others' than the owner's, do not go with them."""
    used_elsewhere = (
        sa.select(sa.literal(1))
        .select_from(MessageAttachment)
        .join(_MESSAGE, _MESSAGE.c.id == MessageAttachment.message_id)
        .where(MessageAttachment.attachment_id == Attachment.id, _MESSAGE.c.chat_id.not_in(list(chat_ids)))
        .correlate(Attachment)
        .exists()
    )
    owner = sa.select(_CHAT.c.user_id).where(_CHAT.c.id == Attachment.chat_id).scalar_subquery()
    session.execute(
        sa.update(Attachment)
        .where(Attachment.chat_id.in_(list(chat_ids)), used_elsewhere | (Attachment.user_id != owner))
        .values(chat_id=None, updated_at=Attachment.updated_at)
        .execution_options(synchronize_session=False)
    )


@dataclass(frozen=True)
class FileContent:
    """A file as models get it; its text is read when there is room for it."""

    attachment_id: str
    file_name: str
    is_picture: bool
    has_preview: bool
    has_text: bool


def files_of_messages(session: Session, message_ids: Sequence[str]) -> dict[str, list[FileContent]]:
    """The files of messages, in the order in which each message names them; without those that are deleted."""
    found: dict[str, list[FileContent]] = {}
    for start in range(0, len(message_ids), 500):
        rows = session.execute(
            sa.select(
                MessageAttachment.message_id,
                MessageAttachment.attachment_id,
                MessageAttachment.file_name,
                Attachment.mime_type,
                BlobContent.preview.is_not(None),
                BlobContent.text.is_not(None),
            )
            .join(Attachment, Attachment.id == MessageAttachment.attachment_id)
            .outerjoin(BlobContent, BlobContent.blob_id == Attachment.blob_id)
            .where(MessageAttachment.message_id.in_(message_ids[start : start + 500]), Attachment.deleted_at.is_(None))
            .order_by(MessageAttachment.message_id, MessageAttachment.position)
        )
        for message_id, attachment_id, name, mime_type, has_preview, has_text in rows:
            is_picture = mime_type in SHOWN_INLINE
            content = FileContent(attachment_id or "", name, is_picture, bool(has_preview), bool(has_text))
            found.setdefault(message_id, []).append(content)
    return found


def text_of_file(session: Session, attachment_id: str, most: int) -> str:
    """The beginning of what a file says: `most` characters."""
    found = session.scalar(
        sa.select(sa.func.substr(BlobContent.text, 1, most, type_=sa.Text()))
        .join(Attachment, Attachment.blob_id == BlobContent.blob_id)
        .where(Attachment.id == attachment_id)
    )
    return found or ""


def previews_of(session: Session, attachment_ids: Sequence[str]) -> dict[str, bytes]:
    rows = session.execute(
        sa.select(Attachment.id, BlobContent.preview)
        .join(BlobContent, BlobContent.blob_id == Attachment.blob_id)
        .where(Attachment.id.in_(list(attachment_ids)), BlobContent.preview.is_not(None))
    )
    return {row[0]: row[1] for row in rows if row[1] is not None}


def announce_attachment(session: Session, attachment_id: str, operation: Operation) -> AttachmentRead:
    """Raises AttachmentNotFound for one that was swept, as an upload of more than an hour is."""
    owner_id = session.scalars(sa.select(Attachment.user_id).where(Attachment.id == attachment_id)).one_or_none()
    if owner_id is None:
        raise AttachmentNotFound
    attachment = read_attachments(session, [attachment_id], for_id=owner_id)[0]
    publish(
        session,
        owner_id=owner_id,
        topic=f"user:{owner_id}",
        entity="attachment",
        entity_id=attachment_id,
        operation=operation,
        payload=attachment,
        chat_id=attachment["chat_id"],
    )
    return attachment


def read_attachments(session: Session, ids: Sequence[str], *, for_id: str) -> list[AttachmentRead]:
    """In the order of the ids; where they are used as far as this person may know it."""
    seen_uses = (
        sa.select(sa.func.count())
        .select_from(MessageAttachment)
        .join(_MESSAGE, _MESSAGE.c.id == MessageAttachment.message_id)
        .join(_CHAT, _CHAT.c.id == _MESSAGE.c.chat_id)
        .where(MessageAttachment.attachment_id == Attachment.id, *_IN_SIGHT)
        .correlate(Attachment)
        .scalar_subquery()
    )
    has_thumbnail = (
        sa.select(BlobContent.thumbnail.is_not(None))
        .where(BlobContent.blob_id == Attachment.blob_id)
        .correlate(Attachment)
        .scalar_subquery()
    )
    rows = {
        row[0].id: row
        for row in session.execute(
            sa.select(Attachment, seen_uses, has_thumbnail)
            .where(Attachment.id.in_(list(ids)))
            .execution_options(populate_existing=True),
            {"actor_id": for_id},
        )
    }
    places = _places(session, ids, for_id)
    return [
        _read(rows[one][0], rows[one][1], bool(rows[one][2]), places.get(one), is_own=rows[one][0].user_id == for_id)
        for one in ids
        if one in rows
    ]


def _read(one: Attachment, uses: int, has_thumbnail: bool, place: UsedIn | None, *, is_own: bool) -> AttachmentRead:
    return {
        "id": one.id,
        "chat_id": one.chat_id if is_own else place["chat_id"] if place else None,
        "message_id": one.message_id if is_own else place["message_id"] if place else None,
        "file_name": one.file_name,
        "mime_type": one.mime_type,
        "file_size": one.file_size,
        "metadata": _metadata(one.details),
        "status": one.status,
        "has_thumbnail": has_thumbnail,
        "uses": uses,
        "used_in": place,
        "download_count": one.download_count if is_own else 0,
        "deleted_at": one.deleted_at,
        "created_at": one.created_at,
        "updated_at": one.updated_at,
    }


def _metadata(details: AttachmentMetadata) -> AttachmentMetadataRead:
    dumped: AttachmentMetadataRead = details.model_dump(mode="json")  # type: ignore[assignment]
    return dumped


def _places(session: Session, ids: Sequence[str], for_id: str) -> dict[str, UsedIn]:
    """The newest message with each, of those that this person may read."""
    newest = (
        sa.select(MessageAttachment.id)
        .join(_MESSAGE, _MESSAGE.c.id == MessageAttachment.message_id)
        .join(_CHAT, _CHAT.c.id == _MESSAGE.c.chat_id)
        .where(MessageAttachment.attachment_id == Attachment.id, *_IN_SIGHT)
        .order_by(MessageAttachment.id.desc())
        .limit(1)
        .correlate(Attachment)
        .scalar_subquery()
    )
    rows = session.execute(
        sa.select(Attachment.id, MessageAttachment.message_id)
        .join(MessageAttachment, MessageAttachment.id == newest)
        .where(Attachment.id.in_(list(ids))),
        {"actor_id": for_id},
    ).all()
    message_of = {row[0]: row[1] for row in rows}
    titles = {
        row[0]: row
        for row in session.execute(
            sa.select(_MESSAGE.c.id, _CHAT.c.id, _CHAT.c.title)
            .join(_CHAT, _CHAT.c.id == _MESSAGE.c.chat_id)
            .where(_MESSAGE.c.id.in_(list(message_of.values())))
        )
    }
    return {
        one: {"chat_id": titles[message_id][1], "chat_title": titles[message_id][2], "message_id": message_id}
        for one, message_id in message_of.items()
    }


def _readable(session: Session, attachment_id: AttachmentId, *, actor: Actor) -> None:
    in_readable_chat = (
        sa.select(sa.literal(1))
        .select_from(MessageAttachment)
        .join(_MESSAGE, _MESSAGE.c.id == MessageAttachment.message_id)
        .join(_CHAT, _CHAT.c.id == _MESSAGE.c.chat_id)
        .where(MessageAttachment.attachment_id == Attachment.id, *_IN_SIGHT)
        .correlate(Attachment)
        .exists()
    )
    found = session.scalar(
        sa.select(Attachment.id).where(
            Attachment.id == attachment_id,
            _SEEN,
            (Attachment.user_id == actor.user_id) | (in_readable_chat & Attachment.deleted_at.is_(None)),
        ),
        {"actor_id": actor.user_id},
    )
    if found is None:
        raise AttachmentNotFound


def _is_shown_in(chat_id: str) -> sa.ColumnElement[bool]:
    """Whether a message of the chat has the file."""
    return (
        sa.select(sa.literal(1))
        .select_from(MessageAttachment)
        .join(_MESSAGE, _MESSAGE.c.id == MessageAttachment.message_id)
        .where(
            MessageAttachment.attachment_id == Attachment.id,
            _MESSAGE.c.chat_id == sa.literal(chat_id, Id()),
            _MESSAGE.c.status != "deleted",
        )
        .correlate(Attachment)
        .exists()
    )


def _is_in_reach(chat_id: str, may: Callable[..., sa.ColumnElement[bool]]) -> sa.ColumnElement[bool]:
    return (
        sa.select(sa.literal(1))
        .where(
            _CHAT.c.id == sa.literal(chat_id, Id()),
            _CHAT.c.deleted_at.is_(None),
            may(_CHAT.c.id, _CHAT.c.user_id),
        )
        .exists()
    )


def _used_bytes(session: Session, user_id: str) -> int:
    """Each of one's bytes once; what is in the trash counts until it is emptied, as it is still there."""
    own = sa.select(Attachment.blob_id, Attachment.file_size).where(Attachment.user_id == user_id).distinct().subquery()
    return int(session.scalar(sa.select(sa.func.sum(own.c.file_size))) or 0)
