"""Tables of files: bytes that are stored once, users' attachments, extracted content, and uses in messages."""

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.db import Base, CreatedAt, Id, JsonOf, Timestamps, closed
from tertulia.ids import new_id

MAX_FILE_BYTES = 100 * 1024 * 1024
MAX_FILE_NAME = 255


class AttachmentStatus(StrEnum):
    UPLOADING = "uploading"  # its bytes are being stored, and it is not visible yet
    PROCESSING = "processing"  # its text, dimensions and thumbnail are being extracted
    READY = "ready"
    ERROR = "error"  # stored and served, but could not be read; metadata says why


class Dimensions(BaseModel):
    width: int
    height: int


class AttachmentMetadata(BaseModel):
    """Properties of the content. `problem` is a sentence shown to people."""

    dimensions: Dimensions | None = None
    duration: float | None = None  # seconds
    pages: int | None = None
    encoding: str | None = None
    text_length: int | None = None  # characters that models can read
    is_text_cut: bool | None = None
    problem: str | None = None


class Blob(Timestamps, Base):
    """Bytes, identified by their hash. Deleting a file keeps them, and a sweep deletes unreferenced ones."""

    __tablename__ = "blob"
    __table_args__ = (
        sa.Index(None, "unreferenced_at"),
        sa.Index(None, "created_at"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    content_hash: Mapped[str] = mapped_column(sa.String(64), unique=True)  # SHA-256, hexadecimal
    size_bytes: Mapped[int] = mapped_column(sa.BigInteger)
    storage_path: Mapped[str] = mapped_column(sa.String(500))
    mime_type: Mapped[str] = mapped_column(sa.String(127))
    unreferenced_at: Mapped[datetime | None]


class Attachment(Timestamps, Base):
    __tablename__ = "attachment"
    __table_args__ = (
        sa.CheckConstraint(f"file_size BETWEEN 1 AND {MAX_FILE_BYTES}", name="file_size"),
        sa.Index(None, "user_id", "created_at", "id"),
        sa.Index(None, "chat_id", "created_at", "id"),
        sa.Index(None, "message_id"),
        sa.Index(None, "mime_type", "created_at"),
        sa.Index(None, "status", "created_at"),
        sa.Index(None, "blob_id"),
        sa.Index(None, "deleted_at"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    chat_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"))
    message_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="SET NULL"))  # its first
    blob_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("blob.id", ondelete="NO ACTION"))
    file_name: Mapped[str] = mapped_column(sa.String(MAX_FILE_NAME))  # sanitised
    original_name: Mapped[str] = mapped_column(sa.Text)
    mime_type: Mapped[str] = mapped_column(sa.String(127))  # detected from its bytes
    file_size: Mapped[int] = mapped_column(sa.BigInteger)
    details: Mapped[AttachmentMetadata] = mapped_column(
        "metadata", JsonOf(AttachmentMetadata), default=AttachmentMetadata
    )
    status: Mapped[AttachmentStatus] = mapped_column(closed(AttachmentStatus), default=AttachmentStatus.UPLOADING)
    is_public: Mapped[bool] = mapped_column(default=False)
    download_count: Mapped[int] = mapped_column(default=0)
    tries: Mapped[int] = mapped_column(default=0)  # at reading it: a file that crashes its reader is given up
    held_until: Mapped[datetime | None]  # by the process that reads it
    deleted_at: Mapped[datetime | None]
    import_id: Mapped[str | None] = mapped_column(sa.String(200))


class BlobContent(Base):
    """Content extracted from a blob, once for all its files. Separate, because lists never read it."""

    __tablename__ = "blob_content"

    blob_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("blob.id", ondelete="CASCADE"), primary_key=True)
    text: Mapped[str | None] = mapped_column(sa.Text)
    thumbnail: Mapped[bytes | None] = mapped_column(sa.LargeBinary)  # WebP, 320 pixels at most
    preview: Mapped[bytes | None] = mapped_column(sa.LargeBinary)  # JPEG, for models
    created_at: Mapped[datetime]


class MessageAttachment(CreatedAt, Base):
    """A use of a file in a message. If the file is deleted, its name stays."""

    __tablename__ = "message_attachment"
    __table_args__ = (
        sa.UniqueConstraint("message_id", "position"),
        sa.Index(None, "attachment_id"),
        # Partial, because few wait to be indexed.
        sa.Index(
            "ix_message_attachment_unindexed",
            "id",
            sqlite_where=sa.text("indexed_at IS NULL"),
            postgresql_where=sa.text("indexed_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    message_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="CASCADE"))
    attachment_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("attachment.id", ondelete="SET NULL"))
    file_name: Mapped[str] = mapped_column(sa.String(MAX_FILE_NAME))
    position: Mapped[int]
    indexed_at: Mapped[datetime | None]  # when its text was indexed for search; null: not yet
