"""Drafts, their versions, working copies, and proposals by models"""

import sqlalchemy as sa
from alembic import op

import tertulia.db.types as types

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "draft",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("title", sa.String(length=255), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("current_version_id", types.Id(), nullable=False),
        sa.Column("version_count", sa.Integer(), nullable=False),
        sa.Column("indexed_number", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("deleted_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["id", "current_version_id"],
            ["draft_version.draft_id", "draft_version.id"],
            name="fk_draft_current_version",
            ondelete="NO ACTION",
            initially="DEFERRED",
            deferrable=True,
            use_alter=True,
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_draft_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draft")),
    )
    op.create_index(op.f("ix_draft_deleted_at"), "draft", ["deleted_at"], unique=False)
    op.create_index(
        "ix_draft_unindexed",
        "draft",
        ["updated_at"],
        sqlite_where=sa.text("indexed_number < version_count"),
        postgresql_where=sa.text("indexed_number < version_count"),
    )
    op.create_index(op.f("ix_draft_user_id_updated_at_id"), "draft", ["user_id", "updated_at", "id"], unique=False)
    op.create_table(
        "draft_chat",
        sa.Column("chat_id", types.Id(), nullable=False),
        sa.Column("draft_id", types.Id(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_draft_chat_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["draft_id"], ["draft.id"], name=op.f("fk_draft_chat_draft_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("chat_id", name=op.f("pk_draft_chat")),
    )
    op.create_index(op.f("ix_draft_chat_draft_id"), "draft_chat", ["draft_id"], unique=False)
    op.create_table(
        "draft_version",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("draft_id", types.Id(), nullable=False),
        sa.Column("version_number", sa.Integer(), nullable=False),
        sa.Column("parent_version_id", types.Id(), nullable=True),
        sa.Column("base_version_id", types.Id(), nullable=True),
        sa.Column(
            "generation_source",
            sa.Enum(
                "user", "ai_generation", "ai_edit", name="generation_source", native_enum=False, create_constraint=True
            ),
            nullable=False,
        ),
        sa.Column("author_id", types.Id(), nullable=True),
        sa.Column("message_id", types.Id(), nullable=True),
        sa.Column("provider", sa.String(length=50), nullable=True),
        sa.Column("model_name", sa.String(length=100), nullable=True),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("words", sa.Integer(), nullable=False),
        sa.Column("delta_of_id", types.Id(), nullable=True),
        sa.Column("delta_depth", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("authorship", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.CheckConstraint("length BETWEEN 0 AND 500000", name=op.f("ck_draft_version_length")),
        sa.CheckConstraint("version_number >= 1", name=op.f("ck_draft_version_version_number")),
        sa.ForeignKeyConstraint(
            ["author_id"], ["user.id"], name=op.f("fk_draft_version_author_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["draft_id", "base_version_id"],
            ["draft_version.draft_id", "draft_version.id"],
            name="fk_draft_version_base_version",
            ondelete="NO ACTION",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["draft_id", "delta_of_id"],
            ["draft_version.draft_id", "draft_version.id"],
            name="fk_draft_version_delta_of",
            ondelete="NO ACTION",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["draft_id", "parent_version_id"],
            ["draft_version.draft_id", "draft_version.id"],
            name="fk_draft_version_parent_version",
            ondelete="NO ACTION",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(["draft_id"], ["draft.id"], name=op.f("fk_draft_version_draft_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_draft_version_message_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draft_version")),
        sa.UniqueConstraint("draft_id", "id", name=op.f("uq_draft_version_draft_id_id")),
        sa.UniqueConstraint("draft_id", "version_number", name=op.f("uq_draft_version_draft_id_version_number")),
    )
    op.create_index(op.f("ix_draft_version_author_id"), "draft_version", ["author_id"], unique=False)
    op.create_index(
        op.f("ix_draft_version_draft_id_parent_version_id"),
        "draft_version",
        ["draft_id", "parent_version_id"],
        unique=False,
    )
    for column in ("base_version_id", "delta_of_id"):
        op.create_index(
            op.f(f"ix_draft_version_draft_id_{column}"), "draft_version", ["draft_id", column], unique=False
        )
    op.create_index(op.f("ix_draft_version_message_id"), "draft_version", ["message_id"], unique=False)
    op.create_table(
        "draft_working_copy",
        sa.Column("draft_id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("base_version_id", types.Id(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("window_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["draft_id", "base_version_id"],
            ["draft_version.draft_id", "draft_version.id"],
            name="fk_draft_working_copy_base",
            ondelete="NO ACTION",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["draft_id"], ["draft.id"], name=op.f("fk_draft_working_copy_draft_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_draft_working_copy_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("draft_id", "user_id", name=op.f("pk_draft_working_copy")),
    )
    op.create_index(op.f("ix_draft_working_copy_updated_at"), "draft_working_copy", ["updated_at"], unique=False)
    op.create_index(op.f("ix_draft_working_copy_user_id"), "draft_working_copy", ["user_id"], unique=False)
    op.create_table(
        "proposal",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("draft_id", types.Id(), nullable=False),
        sa.Column("base_version_id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=True),
        sa.Column("message_id", types.Id(), nullable=True),
        sa.Column("instruction", sa.Text(), nullable=False),
        sa.Column("selection_start", sa.Integer(), nullable=True),
        sa.Column("selection_end", sa.Integer(), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "writing",
                "open",
                "decided",
                "failed",
                name="proposal_status",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.CheckConstraint("selection_start <= selection_end", name=op.f("ck_proposal_selection")),
        sa.ForeignKeyConstraint(
            ["draft_id", "base_version_id"],
            ["draft_version.draft_id", "draft_version.id"],
            name="fk_proposal_base_version",
            ondelete="NO ACTION",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(["draft_id"], ["draft.id"], name=op.f("fk_proposal_draft_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_proposal_message_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_proposal_user_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposal")),
        sa.UniqueConstraint("message_id", name=op.f("uq_proposal_message_id")),
    )
    op.create_index(
        op.f("ix_proposal_draft_id_created_at_id"), "proposal", ["draft_id", "created_at", "id"], unique=False
    )
    op.create_index(op.f("ix_proposal_user_id"), "proposal", ["user_id"], unique=False)
    op.create_table(
        "proposal_edit",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("proposal_id", types.Id(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("start_at", sa.Integer(), nullable=False),
        sa.Column("end_at", sa.Integer(), nullable=False),
        sa.Column("old_text", sa.Text(), nullable=False),
        sa.Column("new_text", sa.Text(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "open",
                "accepted",
                "rejected",
                "misplaced",
                name="edit_status",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column("decided_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.CheckConstraint("start_at <= end_at", name=op.f("ck_proposal_edit_place")),
        sa.ForeignKeyConstraint(
            ["proposal_id"], ["proposal.id"], name=op.f("fk_proposal_edit_proposal_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposal_edit")),
        sa.UniqueConstraint("proposal_id", "position", name=op.f("uq_proposal_edit_proposal_id_position")),
    )
    if op.get_bind().dialect.name == "postgresql":  # SQLite created it with the table
        op.create_foreign_key(
            "fk_draft_current_version",
            "draft",
            "draft_version",
            ["id", "current_version_id"],
            ["draft_id", "id"],
            ondelete="NO ACTION",
            initially="DEFERRED",
            deferrable=True,
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("fk_draft_current_version", "draft", type_="foreignkey")
    op.drop_table("proposal_edit")
    op.drop_index(op.f("ix_proposal_user_id"), table_name="proposal")
    op.drop_index(op.f("ix_proposal_draft_id_created_at_id"), table_name="proposal")
    op.drop_table("proposal")
    op.drop_index(op.f("ix_draft_working_copy_user_id"), table_name="draft_working_copy")
    op.drop_index(op.f("ix_draft_working_copy_updated_at"), table_name="draft_working_copy")
    op.drop_table("draft_working_copy")
    for column in ("base_version_id", "delta_of_id"):
        op.drop_index(op.f(f"ix_draft_version_draft_id_{column}"), table_name="draft_version")
    op.drop_index(op.f("ix_draft_version_message_id"), table_name="draft_version")
    op.drop_index(op.f("ix_draft_version_draft_id_parent_version_id"), table_name="draft_version")
    op.drop_index(op.f("ix_draft_version_author_id"), table_name="draft_version")
    op.drop_table("draft_version")
    op.drop_index(op.f("ix_draft_chat_draft_id"), table_name="draft_chat")
    op.drop_table("draft_chat")
    op.drop_index("ix_draft_unindexed", table_name="draft")
    op.drop_index(op.f("ix_draft_user_id_updated_at_id"), table_name="draft")
    op.drop_index(op.f("ix_draft_deleted_at"), table_name="draft")
    op.drop_table("draft")
