"""Uploaded files, reactions, shares, and imports"""

import sqlalchemy as sa
from alembic import op

import tertulia.db.types as types

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blob",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("storage_path", sa.String(length=500), nullable=False),
        sa.Column("mime_type", sa.String(length=127), nullable=False),
        sa.Column("unreferenced_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blob")),
        sa.UniqueConstraint("content_hash", name=op.f("uq_blob_content_hash")),
    )
    op.create_index(op.f("ix_blob_created_at"), "blob", ["created_at"], unique=False)
    op.create_index(op.f("ix_blob_unreferenced_at"), "blob", ["unreferenced_at"], unique=False)
    op.create_table(
        "blob_content",
        sa.Column("blob_id", types.Id(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("thumbnail", sa.LargeBinary(), nullable=True),
        sa.Column("preview", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blob.id"], name=op.f("fk_blob_content_blob_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("blob_id", name=op.f("pk_blob_content")),
    )
    op.create_table(
        "import_job",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column(
            "source",
            sa.Enum(
                "tertulia",
                "chatgpt",
                "claude",
                "openwebui",
                "librechat",
                name="import_source",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=True,
        ),
        sa.Column("file_name", sa.String(length=255), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("storage_path", sa.String(length=500), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "queued",
                "running",
                "completed",
                "failed",
                "cancelled",
                "undone",
                name="import_status",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column("done_bytes", sa.BigInteger(), nullable=False),
        sa.Column("report", types.JsonOf(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("cancel_requested_at", types.UtcTime(), nullable=True),
        sa.Column("held_until", types.UtcTime(), nullable=True),
        sa.Column("started_at", types.UtcTime(), nullable=True),
        sa.Column("ended_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_import_job_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_job")),
    )
    op.create_index(op.f("ix_import_job_status_created_at"), "import_job", ["status", "created_at"], unique=False)
    op.create_index(
        op.f("ix_import_job_user_id_created_at_id"), "import_job", ["user_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "import_job_chat",
        sa.Column("import_job_id", types.Id(), nullable=False),
        sa.Column("chat_id", types.Id(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_import_job_chat_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["import_job_id"], ["import_job.id"], name=op.f("fk_import_job_chat_import_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("import_job_id", "chat_id", name=op.f("pk_import_job_chat")),
    )
    op.create_index(op.f("ix_import_job_chat_chat_id"), "import_job_chat", ["chat_id"], unique=False)
    op.create_table(
        "share",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("chat_id", types.Id(), nullable=False),
        sa.Column("owner_id", types.Id(), nullable=False),
        sa.Column("shared_with_user_id", types.Id(), nullable=True),
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("can_read", sa.Boolean(), nullable=False),
        sa.Column("can_write", sa.Boolean(), nullable=False),
        sa.Column("can_share", sa.Boolean(), nullable=False),
        sa.Column("expires_at", types.UtcTime(), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("access_count", sa.Integer(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.CheckConstraint(
            "shared_with_user_id IS NOT NULL OR NOT (can_write OR can_share)", name=op.f("ck_share_links_read_only")
        ),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_share_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["user.id"], name=op.f("fk_share_owner_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["shared_with_user_id"], ["user.id"], name=op.f("fk_share_shared_with_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_share")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_share_token_hash")),
    )
    op.create_index(op.f("ix_share_chat_id_is_active"), "share", ["chat_id", "is_active"], unique=False)
    op.create_index(op.f("ix_share_expires_at_is_active"), "share", ["expires_at", "is_active"], unique=False)
    op.create_index(op.f("ix_share_owner_id_is_active"), "share", ["owner_id", "is_active"], unique=False)
    op.create_index(
        op.f("ix_share_shared_with_user_id_is_active"), "share", ["shared_with_user_id", "is_active"], unique=False
    )
    op.create_table(
        "attachment",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("chat_id", types.Id(), nullable=True),
        sa.Column("message_id", types.Id(), nullable=True),
        sa.Column("blob_id", types.Id(), nullable=False),
        sa.Column("file_name", sa.String(length=255), nullable=False),
        sa.Column("original_name", sa.Text(), nullable=False),
        sa.Column("mime_type", sa.String(length=127), nullable=False),
        sa.Column("file_size", sa.BigInteger(), nullable=False),
        sa.Column("metadata", types.JsonOf(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "uploading",
                "processing",
                "ready",
                "error",
                name="attachment_status",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("download_count", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("held_until", types.UtcTime(), nullable=True),
        sa.Column("deleted_at", types.UtcTime(), nullable=True),
        sa.Column("import_id", sa.String(length=200), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.CheckConstraint("file_size BETWEEN 1 AND 104857600", name=op.f("ck_attachment_file_size")),
        sa.ForeignKeyConstraint(["blob_id"], ["blob.id"], name=op.f("fk_attachment_blob_id"), ondelete="NO ACTION"),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_attachment_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_attachment_message_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_attachment_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachment")),
    )
    op.create_index(op.f("ix_attachment_blob_id"), "attachment", ["blob_id"], unique=False)
    op.create_index(
        op.f("ix_attachment_chat_id_created_at_id"), "attachment", ["chat_id", "created_at", "id"], unique=False
    )
    op.create_index(op.f("ix_attachment_deleted_at"), "attachment", ["deleted_at"], unique=False)
    op.create_index(op.f("ix_attachment_message_id"), "attachment", ["message_id"], unique=False)
    op.create_index(op.f("ix_attachment_mime_type_created_at"), "attachment", ["mime_type", "created_at"], unique=False)
    op.create_index(op.f("ix_attachment_status_created_at"), "attachment", ["status", "created_at"], unique=False)
    op.create_index(
        op.f("ix_attachment_user_id_created_at_id"), "attachment", ["user_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "reaction",
        sa.Column("message_id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("emoji", sa.String(length=32), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_reaction_message_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_reaction_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("message_id", "user_id", "emoji", name=op.f("pk_reaction")),
    )
    op.create_index(op.f("ix_reaction_user_id"), "reaction", ["user_id"], unique=False)
    op.create_table(
        "message_attachment",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("message_id", types.Id(), nullable=False),
        sa.Column("attachment_id", types.Id(), nullable=True),
        sa.Column("file_name", sa.String(length=255), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("indexed_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["attachment_id"], ["attachment.id"], name=op.f("fk_message_attachment_attachment_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_message_attachment_message_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message_attachment")),
        sa.UniqueConstraint("message_id", "position", name=op.f("uq_message_attachment_message_id_position")),
    )
    op.create_index(op.f("ix_message_attachment_attachment_id"), "message_attachment", ["attachment_id"], unique=False)
    op.create_index(
        "ix_message_attachment_unindexed",
        "message_attachment",
        ["id"],
        unique=False,
        sqlite_where=sa.text("indexed_at IS NULL"),
        postgresql_where=sa.text("indexed_at IS NULL"),
    )
    op.add_column("chat", sa.Column("import_source", sa.String(length=20), nullable=True))
    op.add_column("chat", sa.Column("import_id", sa.String(length=200), nullable=True))
    op.create_index(
        "uq_chat_import",
        "chat",
        ["user_id", "import_source", "import_id"],
        unique=True,
        sqlite_where=sa.text("import_id IS NOT NULL"),
        postgresql_where=sa.text("import_id IS NOT NULL"),
    )
    op.add_column("message", sa.Column("imported", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("message", sa.Column("import_id", sa.String(length=200), nullable=True))


def downgrade() -> None:
    op.drop_column("message", "import_id")
    op.drop_column("message", "imported")
    op.drop_index(
        "uq_chat_import",
        table_name="chat",
        sqlite_where=sa.text("import_id IS NOT NULL"),
        postgresql_where=sa.text("import_id IS NOT NULL"),
    )
    op.drop_column("chat", "import_id")
    op.drop_column("chat", "import_source")
    op.drop_index(
        "ix_message_attachment_unindexed",
        table_name="message_attachment",
        sqlite_where=sa.text("indexed_at IS NULL"),
        postgresql_where=sa.text("indexed_at IS NULL"),
    )
    op.drop_index(op.f("ix_message_attachment_attachment_id"), table_name="message_attachment")
    op.drop_table("message_attachment")
    op.drop_index(op.f("ix_reaction_user_id"), table_name="reaction")
    op.drop_table("reaction")
    op.drop_index(op.f("ix_attachment_user_id_created_at_id"), table_name="attachment")
    op.drop_index(op.f("ix_attachment_status_created_at"), table_name="attachment")
    op.drop_index(op.f("ix_attachment_mime_type_created_at"), table_name="attachment")
    op.drop_index(op.f("ix_attachment_message_id"), table_name="attachment")
    op.drop_index(op.f("ix_attachment_deleted_at"), table_name="attachment")
    op.drop_index(op.f("ix_attachment_chat_id_created_at_id"), table_name="attachment")
    op.drop_index(op.f("ix_attachment_blob_id"), table_name="attachment")
    op.drop_table("attachment")
    op.drop_index(op.f("ix_share_shared_with_user_id_is_active"), table_name="share")
    op.drop_index(op.f("ix_share_owner_id_is_active"), table_name="share")
    op.drop_index(op.f("ix_share_expires_at_is_active"), table_name="share")
    op.drop_index(op.f("ix_share_chat_id_is_active"), table_name="share")
    op.drop_table("share")
    op.drop_index(op.f("ix_import_job_chat_chat_id"), table_name="import_job_chat")
    op.drop_table("import_job_chat")
    op.drop_index(op.f("ix_import_job_user_id_created_at_id"), table_name="import_job")
    op.drop_index(op.f("ix_import_job_status_created_at"), table_name="import_job")
    op.drop_table("import_job")
    op.drop_table("blob_content")
    op.drop_index(op.f("ix_blob_unreferenced_at"), table_name="blob")
    op.drop_index(op.f("ix_blob_created_at"), table_name="blob")
    op.drop_table("blob")
