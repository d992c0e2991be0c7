"""Tables of drafts, their version trees, working copies and proposals."""

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.db import Base, CreatedAt, Id, Timestamps, closed
from tertulia.ids import new_id

MAX_CONTENT = 500_000  # characters
MAX_TITLE = 255
MAX_DESCRIPTION = 2000


class GenerationSource(StrEnum):
    USER = "user"
    AI_GENERATION = "ai_generation"
    AI_EDIT = "ai_edit"


class Draft(Timestamps, Base):
    """`updated_at` changes with each new version and each change of title or description."""

    __tablename__ = "draft"
    __table_args__ = (
        # Checked at commit, because draft and first version are inserted one after the other.
        sa.ForeignKeyConstraint(
            ["id", "current_version_id"],
            ["draft_version.draft_id", "draft_version.id"],
            name="fk_draft_current_version",
            use_alter=True,
            deferrable=True,
            initially="DEFERRED",
            ondelete="NO ACTION",
        ),
        sa.Index(None, "user_id", "updated_at", "id"),
        sa.Index(None, "deleted_at"),
        sa.Index("ix_draft_import", "user_id", "import_id", unique=True),
        # Partial, because few drafts wait to be indexed.
        sa.Index(
            "ix_draft_unindexed",
            "updated_at",
            sqlite_where=sa.text("indexed_number < version_count"),
            postgresql_where=sa.text("indexed_number < version_count"),
        ),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    title: Mapped[str | None] = mapped_column(sa.String(MAX_TITLE))
    description: Mapped[str | None] = mapped_column(sa.Text)
    current_version_id: Mapped[str] = mapped_column(Id())
    version_count: Mapped[int] = mapped_column(default=0)  # also the number of the newest version: there are no gaps
    indexed_number: Mapped[int] = mapped_column(default=0)  # the version_count when its text was last indexed
    revision: Mapped[int] = mapped_column(default=1)  # of title and description, for If-Match
    deleted_at: Mapped[datetime | None]
    import_id: Mapped[str | None] = mapped_column(sa.String(200))  # its id in the Tertulia it was exported from


class DraftVersion(CreatedAt, Base):
    """One immutable state of a draft. `content` and `authorship` are packed, see drafts/packing.py."""

    __tablename__ = "draft_version"
    __table_args__ = (
        sa.UniqueConstraint("draft_id", "version_number"),
        sa.UniqueConstraint("draft_id", "id"),
        *(
            sa.ForeignKeyConstraint(
                ["draft_id", column],
                ["draft_version.draft_id", "draft_version.id"],
                name=f"fk_draft_version_{column.removesuffix('_id')}",
                deferrable=True,
                initially="DEFERRED",
                ondelete="NO ACTION",
            )
            for column in ("parent_version_id", "base_version_id", "delta_of_id")
        ),
        sa.CheckConstraint("version_number >= 1", name="version_number"),
        sa.CheckConstraint(f"length BETWEEN 0 AND {MAX_CONTENT}", name="length"),
        # For finding the versions that refer to a version, also when a draft is deleted.
        *(sa.Index(None, "draft_id", column) for column in ("parent_version_id", "base_version_id", "delta_of_id")),
        sa.Index(None, "author_id"),
        sa.Index(None, "message_id"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    draft_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("draft.id", ondelete="CASCADE"))
    version_number: Mapped[int]
    parent_version_id: Mapped[str | None] = mapped_column(Id())
    base_version_id: Mapped[str | None] = mapped_column(Id())  # of a merge: the base of the saved text
    generation_source: Mapped[GenerationSource] = mapped_column(closed(GenerationSource))
    author_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="SET NULL"))
    message_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="SET NULL"))
    provider: Mapped[str | None] = mapped_column(sa.String(50))
    model_name: Mapped[str | None] = mapped_column(sa.String(100))
    name: Mapped[str | None] = mapped_column(sa.String(MAX_TITLE))
    length: Mapped[int]  # characters
    words: Mapped[int]
    delta_of_id: Mapped[str | None] = mapped_column(Id())  # null: `content` is the whole text
    delta_depth: Mapped[int] = mapped_column(default=0)
    content: Mapped[bytes] = mapped_column(sa.LargeBinary)
    authorship: Mapped[bytes | None] = mapped_column(sa.LargeBinary)  # null: derived from the changes


class DraftWorkingCopy(Timestamps, Base):
    """Unsaved text of one person, stored within a second, until a version contains it."""

    __tablename__ = "draft_working_copy"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["draft_id", "base_version_id"],
            ["draft_version.draft_id", "draft_version.id"],
            name="fk_draft_working_copy_base",
            deferrable=True,
            initially="DEFERRED",
            ondelete="NO ACTION",
        ),
        sa.Index(None, "user_id"),
        sa.Index(None, "updated_at"),
    )

    draft_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("draft.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True)
    base_version_id: Mapped[str] = mapped_column(Id())
    content: Mapped[str] = mapped_column(sa.Text)
    revision: Mapped[int] = mapped_column(sa.BigInteger)  # never reused for the same draft and person
    window_id: Mapped[str] = mapped_column(sa.String(40))  # of the window that stored it


class AttachedDraft(CreatedAt, Base):
    """A draft that is included in the prompts of a chat that is not about it."""

    __tablename__ = "attached_draft"

    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"), primary_key=True)
    draft_id: Mapped[str] = mapped_column(
        Id(), sa.ForeignKey("draft.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class ProposalStatus(StrEnum):
    WRITING = "writing"  # the model has not finished
    OPEN = "open"
    DECIDED = "decided"
    FAILED = "failed"


class Proposal(Timestamps, Base):
    """Changes that a model proposes for the text of one version, as separate edits."""

    __tablename__ = "proposal"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["draft_id", "base_version_id"],
            ["draft_version.draft_id", "draft_version.id"],
            name="fk_proposal_base_version",
            deferrable=True,
            initially="DEFERRED",
            ondelete="NO ACTION",
        ),
        sa.CheckConstraint("selection_start <= selection_end", name="selection"),
        sa.Index(None, "draft_id", "created_at", "id"),
        sa.Index(None, "user_id"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    draft_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("draft.id", ondelete="CASCADE"))
    base_version_id: Mapped[str] = mapped_column(Id())
    user_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="SET NULL"))  # who requested it
    # The model's reply, which also has the tokens and the cost.
    message_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="SET NULL"), unique=True)
    instruction: Mapped[str] = mapped_column(sa.Text)
    selection_start: Mapped[int | None]  # character offset in the base version; null: the whole text
    selection_end: Mapped[int | None]
    status: Mapped[ProposalStatus] = mapped_column(closed(ProposalStatus), default=ProposalStatus.WRITING)
    problem: Mapped[str | None] = mapped_column(sa.Text)  # a sentence shown to people


class EditStatus(StrEnum):
    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    MISPLACED = "misplaced"  # the text to change is not, or no longer, in the draft


class ProposalEdit(CreatedAt, Base):
    __tablename__ = "proposal_edit"
    __table_args__ = (
        sa.UniqueConstraint("proposal_id", "position"),
        sa.CheckConstraint("start_at <= end_at", name="place"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    proposal_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("proposal.id", ondelete="CASCADE"))
    position: Mapped[int]
    start_at: Mapped[int]  # character offset in the base version
    end_at: Mapped[int]
    old_text: Mapped[str] = mapped_column(sa.Text)
    new_text: Mapped[str] = mapped_column(sa.Text)
    status: Mapped[EditStatus] = mapped_column(closed(EditStatus), default=EditStatus.OPEN)
    decided_at: Mapped[datetime | None]
