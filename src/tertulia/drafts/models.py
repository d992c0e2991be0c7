"""A draft, its versions in a tree, and what is being typed."""

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.db import Base, Created, Id, Timestamps, closed
from tertulia.ids import new_id

MAX_CONTENT = 500_000  # characters
MAX_TITLE = 255
MAX_DESCRIPTION = 2000


class GenerationSource(StrEnum):
    USER = "user"
    AI_GENERATION = "ai_generation"
    AI_EDIT = "ai_edit"


class Draft(Timestamps, Base):
    """`updated_at` moves with each new version and each change of title or description."""

    __tablename__ = "draft"
    __table_args__ = (
        # Checked at commit: draft and first version are inserted one after the other.
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
        # Few wait to be indexed for search.
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
    version_count: Mapped[int] = mapped_column(default=0)  # also the number of the newest: there is no gap
    indexed_number: Mapped[int] = mapped_column(default=0)  # the version_count when search last took its text
    revision: Mapped[int] = mapped_column(default=1)  # of title and description, for If-Match
    deleted_at: Mapped[datetime | None]
    import_id: Mapped[str | None] = mapped_column(sa.String(200))  # its id in the Tertulia that it came from


class DraftVersion(Created, Base):
    """One immutable state. `content` and `authorship` are packed, see drafts/packing.py."""

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
        # By which a version is found that another one is made from, also when a draft is deleted.
        *(sa.Index(None, "draft_id", column) for column in ("parent_version_id", "base_version_id", "delta_of_id")),
        sa.Index(None, "author_id"),
        sa.Index(None, "message_id"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    draft_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("draft.id", ondelete="CASCADE"))
    version_number: Mapped[int]
    parent_version_id: Mapped[str | None] = mapped_column(Id())
    base_version_id: Mapped[str | None] = mapped_column(Id())  # of a merge: what the other side was written on
    generation_source: Mapped[GenerationSource] = mapped_column(closed(GenerationSource))
    author_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="SET NULL"))
    message_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="SET NULL"))
    provider: Mapped[str | None] = mapped_column(sa.String(50))
    model_name: Mapped[str | None] = mapped_column(sa.String(100))
    name: Mapped[str | None] = mapped_column(sa.String(MAX_TITLE))
    length: Mapped[int]  # characters
    words: Mapped[int]
    delta_of_id: Mapped[str | None] = mapped_column(Id())  # null: `content` is whole
    delta_depth: Mapped[int] = mapped_column(default=0)
    content: Mapped[bytes] = mapped_column(sa.LargeBinary)
    authorship: Mapped[bytes | None] = mapped_column(sa.LargeBinary)  # of a whole one; others follow from their changes


class DraftWorkingCopy(Timestamps, Base):
    """What one person is typing, stored within a second; a version takes it up."""

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
    revision: Mapped[int] = mapped_column(sa.BigInteger)  # never used twice for one draft and person
    window_id: Mapped[str] = mapped_column(sa.String(40))  # that stored it


class DraftChat(Created, Base):
    """A chat about a draft. It goes with the draft, which the service sees to, as a chat may also be of none."""

    __tablename__ = "draft_chat"

    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"), primary_key=True)
    draft_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("draft.id", ondelete="CASCADE"), index=True)


class AttachedDraft(Created, Base):
    """A draft that the models of a chat are told of, though the chat is not about it."""

    __tablename__ = "attached_draft"

    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"), primary_key=True)
    draft_id: Mapped[str] = mapped_column(
        Id(), sa.ForeignKey("draft.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class ProposalStatus(StrEnum):
    WRITING = "writing"  # the model has not ended
    OPEN = "open"
    DECIDED = "decided"
    FAILED = "failed"


class Proposal(Timestamps, Base):
    """What a model proposes to change, place by place, in the text of one version."""

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
    user_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="SET NULL"))  # who asked
    # The reply that has the model's own words; with it go tokens and cost.
    message_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="SET NULL"), unique=True)
    instruction: Mapped[str] = mapped_column(sa.Text)
    selection_start: Mapped[int | None]  # characters into the base version; null: all of it
    selection_end: Mapped[int | None]
    status: Mapped[ProposalStatus] = mapped_column(closed(ProposalStatus), default=ProposalStatus.WRITING)
    problem: Mapped[str | None] = mapped_column(sa.Text)  # a sentence for people


class EditStatus(StrEnum):
    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    MISPLACED = "misplaced"  # what it would change is not, or no longer, there


class ProposalEdit(Created, Base):
    __tablename__ = "proposal_edit"
    __table_args__ = (
        sa.UniqueConstraint("proposal_id", "position"),
        sa.CheckConstraint("start_at <= end_at", name="place"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    proposal_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("proposal.id", ondelete="CASCADE"))
    position: Mapped[int]
    start_at: Mapped[int]  # characters into the base version
    end_at: Mapped[int]
    old_text: Mapped[str] = mapped_column(sa.Text)
    new_text: Mapped[str] = mapped_column(sa.Text)
    status: Mapped[EditStatus] = mapped_column(closed(EditStatus), default=EditStatus.OPEN)
    decided_at: Mapped[datetime | None]
