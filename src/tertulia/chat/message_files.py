"""Attach files to messages, copy them with a branch, and load their content for models and search."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User
from tertulia.accounts.row_limits import RowLimits, StorageLimit
from tertulia.chat.models import Chat, Message
from tertulia.chat.used_in import is_used_in
from tertulia.db import table_of
from tertulia.files.errors import AttachmentGone, AttachmentNotReady, StorageFull, TooManyAttachments
from tertulia.files.kinds import SHOWN_INLINE
from tertulia.files.models import Attachment, AttachmentStatus, Blob, BlobContent, MessageAttachment
from tertulia.files.queries import SEEN
from tertulia.ids import AttachmentId, new_id

MAX_A_MESSAGE = 20


@dataclass(frozen=True)
class AttachedFile:
    """A file as a message refers to it."""

    id: AttachmentId
    file_name: str
    mime_type: str
    file_size: int
    width: int | None
    height: int | None


def find_attachable(session: Session, actor: Actor, ids: Sequence[str], *, chat_id: str) -> list[AttachedFile]:
    """Return the files for a new message, in the order of the ids: the actor's own, and those used in the chat.

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
                (Attachment.user_id == actor.user_id) | is_used_in(chat_id),
                Attachment.deleted_at.is_(None),
                SEEN,
            )
        )
    }
    attached: list[AttachedFile] = []
    for file_id in wanted:
        row = rows.get(file_id)
        if row is None:
            raise AttachmentGone
        if row.status is AttachmentStatus.PROCESSING:
            raise AttachmentNotReady(row.file_name)
        dimensions = row.details.dimensions
        width, height = (dimensions.width, dimensions.height) if dimensions else (None, None)
        attached.append(AttachedFile(AttachmentId(row.id), row.file_name, row.mime_type, row.file_size, width, height))
    return attached


def link_attachments(
    session: Session, attached: Sequence[AttachedFile], *, message_id: str, chat_id: str, first: int = 0
) -> None:
    """Record that a message uses files, from the place `first` on. A file belongs to the first message that uses it."""
    now = clock.now()
    if not attached:
        return
    session.execute(
        sa.insert(table_of(MessageAttachment)),
        [
            {
                "id": new_id(),
                "message_id": message_id,
                "attachment_id": file.id,
                "file_name": file.file_name,
                "position": position,
                "indexed_at": None,
                "created_at": now,
            }
            for position, file in enumerate(attached, first)
        ],
    )
    session.execute(
        sa.update(Attachment)
        .where(Attachment.id.in_([file.id for file in attached]), Attachment.message_id.is_(None))
        .values(chat_id=chat_id, message_id=message_id)
    )


def unlink_attachments(session: Session, message_id: str) -> None:
    session.execute(sa.delete(MessageAttachment).where(MessageAttachment.message_id == message_id))


def copy_attachments(
    session: Session, actor: Actor, ids: Iterable[str], limits: RowLimits, *, chat_id: str, storage: StorageLimit
) -> dict[str, str]:
    """Copy files for copied messages, with the same bytes. Return the new id by old id.

    Raises StorageFull and TooManyRows.
    """
    originals = session.scalars(
        sa.select(Attachment).where(
            Attachment.id.in_(list(ids)),
            Attachment.status.in_((AttachmentStatus.READY, AttachmentStatus.ERROR)),
            Attachment.deleted_at.is_(None),
        )
    ).all()
    if originals:
        limits.take(session, Attachment.user_id, actor.user_id, "files", len(originals))
    now, copied = clock.now(), {original.id: new_id() for original in originals}
    for original in originals:
        values = {column.name: getattr(original, key) for key, column in sa.inspect(Attachment).c.items()}
        values |= {"id": copied[original.id], "user_id": actor.user_id, "chat_id": chat_id, "message_id": None}
        values |= {"download_count": 0, "import_id": None, "created_at": now, "updated_at": now}
        session.execute(sa.insert(table_of(Attachment)), values)
    if copied:
        session.execute(sa.select(User.id).where(User.id == actor.user_id).with_for_update())
        if (limit := storage.exceeded(session, actor.user_id)) is not None:
            raise StorageFull(limit)
    return copied


def release_files(session: Session, chat_ids: Sequence[str]) -> None:
    """Keep files when chats are deleted permanently, if other chats use them or another user owns them."""
    used_elsewhere = (
        sa.select(sa.literal(1))
        .select_from(MessageAttachment)
        .join(Message, Message.id == MessageAttachment.message_id)
        .where(MessageAttachment.attachment_id == Attachment.id, Message.chat_id.not_in(list(chat_ids)))
        .correlate(Attachment)
        .exists()
    )
    owner = sa.select(Chat.user_id).where(Chat.id == Attachment.chat_id).scalar_subquery()
    session.execute(
        sa.update(Attachment)
        .where(Attachment.chat_id.in_(list(chat_ids)), used_elsewhere | (Attachment.user_id != owner))
        .values(chat_id=None, updated_at=Attachment.updated_at)
        .execution_options(synchronize_session=False)
    )


@dataclass(frozen=True)
class FileContent:
    """A file as models get it. Its text is loaded if there is room for it."""

    attachment_id: str
    file_name: str
    is_picture: bool
    has_preview: bool
    has_text: bool
    media_type: str = ""
    size_bytes: int = 0
    pages: int | None = None
    duration_s: float | None = None
    is_damaged: bool = False
    text_length: int | None = None  # None: unknown


def files_of_messages(session: Session, message_ids: Sequence[str]) -> dict[str, list[FileContent]]:
    """Return the files by message id, in the order of each message, without deleted files."""
    files: dict[str, list[FileContent]] = {}
    for start in range(0, len(message_ids), 500):
        rows = session.execute(
            sa.select(
                MessageAttachment.message_id,
                MessageAttachment.attachment_id,
                MessageAttachment.file_name,
                Attachment.mime_type,
                BlobContent.preview.is_not(None),
                BlobContent.text.is_not(None),
                Attachment.file_size,
                Attachment.details,
            )
            .join(Attachment, Attachment.id == MessageAttachment.attachment_id)
            .outerjoin(BlobContent, BlobContent.blob_id == Attachment.blob_id)
            .where(MessageAttachment.message_id.in_(message_ids[start : start + 500]), Attachment.deleted_at.is_(None))
            .order_by(MessageAttachment.message_id, MessageAttachment.position)
        )
        for message_id, attachment_id, name, mime_type, has_preview, has_text, size, details in rows:
            content = FileContent(
                attachment_id or "",
                name,
                mime_type in SHOWN_INLINE,
                bool(has_preview),
                bool(has_text),
                mime_type,
                size,
                details.pages,
                details.duration,
                details.problem is not None,
                details.text_length,
            )
            files.setdefault(message_id, []).append(content)
    return files


def has_long_file(session: Session, chat_id: str, characters: float) -> bool:
    """Return whether a file of the chat has more text than this."""
    details = session.scalars(
        sa.select(Attachment.details).where(Attachment.chat_id == chat_id, Attachment.deleted_at.is_(None))
    )
    return any((file.text_length or 0) > characters for file in details)


def text_of_file(session: Session, attachment_id: str, most: int) -> str:
    """Return the first `most` characters of a file's text, or "" if it has none."""
    text = session.scalar(
        sa.select(sa.func.substr(BlobContent.text, 1, most, type_=sa.Text()))
        .join(Attachment, Attachment.blob_id == BlobContent.blob_id)
        .where(Attachment.id == attachment_id)
    )
    return text or ""


def ends_of_file(session: Session, attachment_id: str, most: int) -> tuple[str, str, int]:
    """Return the beginning, the end and the length of a file's text, in characters.

    A text of at most `most` characters is returned whole as the beginning, and the end is then empty. Of a longer one
    each end has half of `most`.
    """
    text, length = BlobContent.text, sa.func.length(BlobContent.text, type_=sa.Integer())
    is_long = length > most
    half = most // 2
    row = session.execute(
        sa.select(
            sa.func.substr(text, 1, sa.case((is_long, half), else_=most), type_=sa.Text()),
            sa.case((is_long, sa.func.substr(text, length - half + 1, half, type_=sa.Text())), else_=""),
            length,
        )
        .join(Attachment, Attachment.blob_id == BlobContent.blob_id)
        .where(Attachment.id == attachment_id, text.is_not(None))
    ).first()
    return (row[0], row[1], row[2]) if row is not None else ("", "", 0)


def list_file_names(session: Session, chat_id: str) -> list[str]:
    """Return the names of the files of a chat, including those of its messages, each once."""
    used = sa.select(MessageAttachment.attachment_id).join(Message, Message.id == MessageAttachment.message_id)
    names = sa.select(Attachment.file_name).where(
        (Attachment.chat_id == chat_id) | Attachment.id.in_(used.where(Message.chat_id == chat_id))
    )
    return list(session.scalars(names.distinct()))


def stored_paths(session: Session, attachment_ids: Sequence[str]) -> dict[str, str]:
    """Return where the bytes of files are stored, by attachment id."""
    rows = session.execute(
        sa.select(Attachment.id, Blob.storage_path)
        .join(Blob, Blob.id == Attachment.blob_id)
        .where(Attachment.id.in_(list(attachment_ids)), Attachment.deleted_at.is_(None))
    )
    return {attachment_id: path for attachment_id, path in rows}


def previews_of(session: Session, attachment_ids: Sequence[str]) -> dict[str, bytes]:
    rows = session.execute(
        sa.select(Attachment.id, BlobContent.preview)
        .join(BlobContent, BlobContent.blob_id == Attachment.blob_id)
        .where(Attachment.id.in_(list(attachment_ids)), BlobContent.preview.is_not(None))
    )
    return {attachment_id: preview for attachment_id, preview in rows if preview is not None}
