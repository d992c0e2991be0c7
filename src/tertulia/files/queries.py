"""Query files: who may read them, where they are used, and how many bytes a user has."""

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.access import may_read_chat
from tertulia.db import Id
from tertulia.files.models import Attachment, AttachmentMetadata, AttachmentStatus, BlobContent, MessageAttachment
from tertulia.files.schemas import AttachmentMetadataRead, AttachmentRead, UsedIn

# Partial copies of tables of a higher layer: a file is readable where a message with it is.
CHAT = sa.table(
    "chat",
    sa.column("id", Id()),
    sa.column("user_id", Id()),
    sa.column("title", sa.String()),
    sa.column("deleted_at", sa.Integer()),
)
MESSAGE = sa.table("message", sa.column("id", Id()), sa.column("chat_id", Id()), sa.column("status", sa.String()))
SEEN = Attachment.status != AttachmentStatus.UPLOADING
# A message that the actor may read.
IN_SIGHT = (
    CHAT.c.deleted_at.is_(None),
    MESSAGE.c.status != "deleted",
    may_read_chat(CHAT.c.id, CHAT.c.user_id),
)


def read_attachments(session: Session, ids: Sequence[str], *, for_id: str) -> list[AttachmentRead]:
    """Return attachments in the order of the ids, with the uses that this user may read."""
    seen_uses = (
        sa.select(sa.func.count())
        .select_from(MessageAttachment)
        .join(MESSAGE, MESSAGE.c.id == MessageAttachment.message_id)
        .join(CHAT, CHAT.c.id == MESSAGE.c.chat_id)
        .where(MessageAttachment.attachment_id == Attachment.id, *IN_SIGHT)
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
        _read(rows[id_][0], rows[id_][1], bool(rows[id_][2]), places.get(id_), is_own=rows[id_][0].user_id == for_id)
        for id_ in ids
        if id_ in rows
    ]


def _read(file: Attachment, uses: int, has_thumbnail: bool, place: UsedIn | None, *, is_own: bool) -> AttachmentRead:
    return {
        "id": file.id,
        "chat_id": file.chat_id if is_own else place["chat_id"] if place else None,
        "message_id": file.message_id if is_own else place["message_id"] if place else None,
        "file_name": file.file_name,
        "mime_type": file.mime_type,
        "file_size": file.file_size,
        "metadata": _metadata(file.details),
        "status": file.status,
        "has_thumbnail": has_thumbnail,
        "uses": uses,
        "used_in": place,
        "download_count": file.download_count if is_own else 0,
        "deleted_at": file.deleted_at,
        "created_at": file.created_at,
        "updated_at": file.updated_at,
    }


def _metadata(details: AttachmentMetadata) -> AttachmentMetadataRead:
    dumped: AttachmentMetadataRead = details.model_dump(mode="json")  # type: ignore[assignment]
    return dumped


def _places(session: Session, ids: Sequence[str], for_id: str) -> dict[str, UsedIn]:
    """Return the newest message with each attachment that this user may read, by attachment id."""
    newest = (
        sa.select(MessageAttachment.id)
        .join(MESSAGE, MESSAGE.c.id == MessageAttachment.message_id)
        .join(CHAT, CHAT.c.id == MESSAGE.c.chat_id)
        .where(MessageAttachment.attachment_id == Attachment.id, *IN_SIGHT)
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
            sa.select(MESSAGE.c.id, CHAT.c.id, CHAT.c.title)
            .join(CHAT, CHAT.c.id == MESSAGE.c.chat_id)
            .where(MESSAGE.c.id.in_(list(message_of.values())))
        )
    }
    return {
        attachment_id: {"chat_id": titles[message_id][1], "chat_title": titles[message_id][2], "message_id": message_id}
        for attachment_id, message_id in message_of.items()
    }


def is_shown_in(chat_id: str) -> sa.ColumnElement[bool]:
    """Build the condition that a message of the chat has the file."""
    return (
        sa.select(sa.literal(1))
        .select_from(MessageAttachment)
        .join(MESSAGE, MESSAGE.c.id == MessageAttachment.message_id)
        .where(
            MessageAttachment.attachment_id == Attachment.id,
            MESSAGE.c.chat_id == sa.literal(chat_id, Id()),
            MESSAGE.c.status != "deleted",
        )
        .correlate(Attachment)
        .exists()
    )


def is_in_reach(chat_id: str, may: Callable[..., sa.ColumnElement[bool]]) -> sa.ColumnElement[bool]:
    return (
        sa.select(sa.literal(1))
        .where(
            CHAT.c.id == sa.literal(chat_id, Id()),
            CHAT.c.deleted_at.is_(None),
            may(CHAT.c.id, CHAT.c.user_id),
        )
        .exists()
    )


def used_bytes(session: Session, user_id: str) -> int:
    """Sum the bytes of a user's files, counting equal content once. Files in the trash count until deleted."""
    own = sa.select(Attachment.blob_id, Attachment.file_size).where(Attachment.user_id == user_id).distinct().subquery()
    return int(session.scalar(sa.select(sa.func.sum(own.c.file_size))) or 0)
