"""Query files and how many bytes a user has."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.files.models import Attachment, AttachmentMetadata, AttachmentStatus, BlobContent
from tertulia.files.schemas import AttachmentMetadataRead, AttachmentRead, UsedIn
from tertulia.files.uses import FileUses

SEEN = Attachment.status != AttachmentStatus.UPLOADING


def read_attachments(session: Session, ids: Sequence[str], uses: FileUses, *, for_id: str) -> list[AttachmentRead]:
    """Return attachments in the order of the ids, with the uses that this user may read."""
    has_thumbnail = (
        sa.select(BlobContent.thumbnail.is_not(None))
        .where(BlobContent.blob_id == Attachment.blob_id)
        .correlate(Attachment)
        .scalar_subquery()
    )
    rows = {
        attachment.id: (attachment, count, bool(has_small))
        for attachment, count, has_small in session.execute(
            sa.select(Attachment, uses.count_readable(), has_thumbnail)
            .where(Attachment.id.in_(list(ids)))
            .execution_options(populate_existing=True),
            {"actor_id": for_id},
        )
    }
    places = uses.find_newest(session, ids, for_id)
    return [
        _read(attachment, count, has_small, places.get(attachment.id), is_own=attachment.user_id == for_id)
        for attachment, count, has_small in (rows[id_] for id_ in ids if id_ in rows)
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


def used_bytes(session: Session, user_id: str) -> int:
    """Sum the bytes of a user's files, counting equal content once. Files in the trash count until deleted."""
    own = sa.select(Attachment.blob_id, Attachment.file_size).where(Attachment.user_id == user_id).distinct().subquery()
    return int(session.scalar(sa.select(sa.func.sum(own.c.file_size))) or 0)
