"""Factories for attachments without bytes."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.files.models import Attachment, AttachmentStatus, Blob, BlobContent
from tertulia.ids import new_id


def make_attachment(
    session: Session, *, owner: Actor, name: str = "a.txt", size: int = 1, text: str | None = None
) -> str:
    """Store a file that is ready. `text` is what was read of it."""
    blob_id, attachment_id = new_id(), new_id()
    session.execute(
        sa.insert(Blob).values(
            id=blob_id, content_hash=blob_id, size_bytes=size, storage_path=blob_id, mime_type="text/plain"
        )
    )
    if text is not None:
        session.add(BlobContent(blob_id=blob_id, text=text, created_at=clock.now()))
    session.execute(
        sa.insert(Attachment).values(
            id=attachment_id,
            user_id=owner.user_id,
            blob_id=blob_id,
            file_name=name,
            original_name=name,
            mime_type="text/plain",
            file_size=size,
            status=AttachmentStatus.READY,
        )
    )
    return attachment_id
