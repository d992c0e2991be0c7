"""Import jobs and what they imported."""

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.chat.import_sources import ImportSource
from tertulia.db import Base, CreatedAt, Id, JsonOf, Timestamps, closed
from tertulia.ids import new_id


class ImportStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"  # the file as a whole could not be read; what was taken before stays
    CANCELLED = "cancelled"
    UNDONE = "undone"


class ImportReport(BaseModel):
    """What was taken, and what was not and why; at most a hundred sentences."""

    chats: int = 0
    messages: int = 0
    files: int = 0
    drafts: int = 0
    already_there: int = 0
    refused: int = 0  # chats that could not be understood
    problems: list[str] = []


class ImportJob(Timestamps, Base):
    __tablename__ = "import_job"
    __table_args__ = (sa.Index(None, "user_id", "created_at", "id"), sa.Index(None, "status", "created_at"))

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    source: Mapped[ImportSource | None] = mapped_column(closed(ImportSource))  # null: not yet known
    file_name: Mapped[str] = mapped_column(sa.String(255))
    size_bytes: Mapped[int] = mapped_column(sa.BigInteger)
    storage_path: Mapped[str] = mapped_column(sa.String(500))
    status: Mapped[ImportStatus] = mapped_column(closed(ImportStatus), default=ImportStatus.QUEUED)
    done_bytes: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    report: Mapped[ImportReport] = mapped_column(JsonOf(ImportReport), default=ImportReport)
    error: Mapped[str | None] = mapped_column(sa.Text)
    cancel_requested_at: Mapped[datetime | None]
    held_until: Mapped[datetime | None]  # by the process that reads it
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class ImportJobChat(CreatedAt, Base):
    """A chat that an import created, so that the import can be undone."""

    __tablename__ = "import_job_chat"

    import_job_id: Mapped[str] = mapped_column(
        Id(), sa.ForeignKey("import_job.id", ondelete="CASCADE"), primary_key=True
    )
    chat_id: Mapped[str] = mapped_column(
        Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class ImportJobDraft(CreatedAt, Base):
    """The drafts that an import made."""

    __tablename__ = "import_job_draft"

    import_job_id: Mapped[str] = mapped_column(
        Id(), sa.ForeignKey("import_job.id", ondelete="CASCADE"), primary_key=True
    )
    draft_id: Mapped[str] = mapped_column(
        Id(), sa.ForeignKey("draft.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    version_count: Mapped[int]  # when it was made: what comes later was written since
