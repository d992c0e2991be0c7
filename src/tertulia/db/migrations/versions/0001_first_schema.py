"""The first schema: accounts, chats, messages, runs, live updates"""

import sqlalchemy as sa
from alembic import op

import tertulia.db.types as types

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "change",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(always=False), nullable=False
        ),
        sa.Column("xid", types.Xid(), server_default=types.current_xid(), nullable=False),
        sa.Column("owner_id", types.Id(), nullable=False),
        sa.Column("chat_id", types.Id(), nullable=True),
        sa.Column("topic", sa.String(length=60), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=False),
        sa.Column("entity_id", types.Id(), nullable=False),
        sa.Column(
            "operation",
            sa.Enum("created", "updated", "deleted", name="operation", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("payload", sa.Text(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_change")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_change_chat_id_xid_seq"), "change", ["chat_id", "xid", "seq"], unique=False)
    op.create_index(op.f("ix_change_created_at"), "change", ["created_at"], unique=False)
    op.create_index(op.f("ix_change_owner_id_xid_seq"), "change", ["owner_id", "xid", "seq"], unique=False)
    op.create_index(op.f("ix_change_xid_seq"), "change", ["xid", "seq"], unique=False)
    op.create_table(
        "lease",
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("owner", sa.String(length=60), nullable=False),
        sa.Column("expires_at", types.UtcTime(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )
    op.create_table(
        "user",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("username", sa.String(length=50), nullable=False),
        sa.Column("username_key", sa.String(length=50), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("email_key", sa.String(length=254), nullable=True),
        sa.Column("email_verified", sa.Boolean(), nullable=False),
        sa.Column("image", sa.Text(), nullable=True),
        sa.Column("password_hash", sa.String(length=255), nullable=True),
        sa.Column(
            "role",
            sa.Enum("user", "admin", name="user_role", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("token_identifier", sa.String(length=255), nullable=True),
        sa.Column("preferences", types.JsonOf(), nullable=False),
        sa.Column(
            "status",
            sa.Enum("active", "inactive", "suspended", name="user_status", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("last_active_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user")),
        sa.UniqueConstraint("email_key", name=op.f("uq_user_email_key")),
        sa.UniqueConstraint("token_identifier", name=op.f("uq_user_token_identifier")),
        sa.UniqueConstraint("username_key", name=op.f("uq_user_username_key")),
    )
    op.create_index(op.f("ix_user_status_created_at"), "user", ["status", "created_at"], unique=False)
    op.create_table(
        "verification",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("identifier", sa.String(length=255), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column(
            "purpose",
            sa.Enum("email", "password_reset", name="verification_purpose", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("expires_at", types.UtcTime(), nullable=False),
        sa.Column("used_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verification")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_verification_token_hash")),
    )
    op.create_index(op.f("ix_verification_expires_at"), "verification", ["expires_at"], unique=False)
    op.create_index(op.f("ix_verification_identifier"), "verification", ["identifier"], unique=False)
    op.create_table(
        "api_token",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("prefix", sa.String(length=12), nullable=False),
        sa.Column("scopes", types.JsonOf(), nullable=False),
        sa.Column("last_used_at", types.UtcTime(), nullable=True),
        sa.Column("expires_at", types.UtcTime(), nullable=True),
        sa.Column("revoked_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_api_token_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_api_token_token_hash")),
    )
    op.create_index(op.f("ix_api_token_user_id"), "api_token", ["user_id"], unique=False)
    op.create_table(
        "audit_log",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=True),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=True),
        sa.Column("entity_id", types.Id(), nullable=True),
        sa.Column("ip_address", sa.String(length=45), nullable=True),
        sa.Column("details", types.JsonOf(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_audit_log_user_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index(op.f("ix_audit_log_created_at"), "audit_log", ["created_at"], unique=False)
    op.create_index(op.f("ix_audit_log_user_id_created_at"), "audit_log", ["user_id", "created_at"], unique=False)
    op.create_table(
        "chat",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("direct", "channel", "draft", name="chat_kind", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("provider", sa.String(length=50), nullable=True),
        sa.Column("model_name", sa.String(length=100), nullable=True),
        sa.Column("system_prompt", sa.String(length=2000), nullable=True),
        sa.Column("context_window_size", sa.Integer(), nullable=True),
        sa.Column("settings", types.JsonOf(), nullable=False),
        sa.Column("metadata", types.JsonOf(), nullable=False),
        sa.Column(
            "visibility",
            sa.Enum("private", "public", name="visibility", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("is_archived", sa.Boolean(), nullable=False),
        sa.Column("head_message_id", types.Id(), nullable=True),
        sa.Column("message_count", sa.Integer(), nullable=False),
        sa.Column("last_message_at", types.UtcTime(), nullable=False),
        sa.Column("total_tokens", sa.BigInteger(), nullable=False),
        sa.Column("total_cost", types.Money(), nullable=False),
        sa.Column("pinned_at", types.UtcTime(), nullable=True),
        sa.Column("deleted_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["id", "head_message_id"],
            ["message.chat_id", "message.id"],
            name="fk_chat_head_message",
            ondelete="NO ACTION",
            initially="DEFERRED",
            deferrable=True,
            use_alter=True,
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_chat_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat")),
    )
    op.create_index(op.f("ix_chat_created_at"), "chat", ["created_at"], unique=False)
    op.create_index(op.f("ix_chat_deleted_at"), "chat", ["deleted_at"], unique=False)
    op.create_index(
        op.f("ix_chat_user_id_is_archived_last_message_at_id"),
        "chat",
        ["user_id", "is_archived", "last_message_at", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_chat_user_id_last_message_at_id"), "chat", ["user_id", "last_message_at", "id"], unique=False
    )
    op.create_table(
        "idempotency_key",
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("method", sa.String(length=10), nullable=False),
        sa.Column("path", sa.String(length=500), nullable=False),
        sa.Column("body_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_idempotency_key_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "key", name=op.f("pk_idempotency_key")),
    )
    op.create_index(op.f("ix_idempotency_key_created_at"), "idempotency_key", ["created_at"], unique=False)
    op.create_table(
        "identity",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("provider_account_id", sa.String(length=255), nullable=False),
        sa.Column("access_token", sa.Text(), nullable=True),
        sa.Column("refresh_token", sa.Text(), nullable=True),
        sa.Column("id_token", sa.Text(), nullable=True),
        sa.Column("access_token_expires_at", types.UtcTime(), nullable=True),
        sa.Column("refresh_token_expires_at", types.UtcTime(), nullable=True),
        sa.Column("scope", sa.Text(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_identity_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity")),
        sa.UniqueConstraint("provider", "provider_account_id", name=op.f("uq_identity_provider_provider_account_id")),
    )
    op.create_index(op.f("ix_identity_user_id"), "identity", ["user_id"], unique=False)
    op.create_table(
        "session",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("expires_at", types.UtcTime(), nullable=False),
        sa.Column("device_info", types.JsonOf(), nullable=True),
        sa.Column("started_at", types.UtcTime(), nullable=False),
        sa.Column("last_active_at", types.UtcTime(), nullable=False),
        sa.Column("ended_at", types.UtcTime(), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_session_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_session_token_hash")),
    )
    op.create_index(op.f("ix_session_expires_at"), "session", ["expires_at"], unique=False)
    op.create_index(
        op.f("ix_session_is_active_last_active_at"), "session", ["is_active", "last_active_at"], unique=False
    )
    op.create_index(op.f("ix_session_user_id_is_active"), "session", ["user_id", "is_active"], unique=False)
    op.create_table(
        "message",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("chat_id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=True),
        sa.Column(
            "role",
            sa.Enum("user", "assistant", "system", name="message_role", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "sending",
                "streaming",
                "sent",
                "delivered",
                "interrupted",
                "error",
                "deleted",
                name="message_status",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column("previous_message_id", types.Id(), nullable=True),
        sa.Column("parent_message_id", types.Id(), nullable=True),
        sa.Column("thread_level", sa.Integer(), nullable=False),
        sa.Column("token_count", sa.Integer(), nullable=True),
        sa.Column("metadata", types.JsonOf(), nullable=False),
        sa.Column("provider_metadata", types.JsonOf(), nullable=True),
        sa.Column("edit_history", types.JsonOf(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("parts", types.JsonOf(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.CheckConstraint("role = 'assistant' OR length(content) <= 100000", name=op.f("ck_message_written_length")),
        sa.CheckConstraint("thread_level BETWEEN 0 AND 10", name=op.f("ck_message_thread_level")),
        sa.ForeignKeyConstraint(
            ["chat_id", "parent_message_id"],
            ["message.chat_id", "message.id"],
            name="fk_message_parent_in_chat",
            ondelete="NO ACTION",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["chat_id", "previous_message_id"],
            ["message.chat_id", "message.id"],
            name="fk_message_previous",
            ondelete="NO ACTION",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_message_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["parent_message_id"], ["message.id"], name=op.f("fk_message_parent_message_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_message_user_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
        sa.UniqueConstraint("chat_id", "id", name=op.f("uq_message_chat_id_id")),
    )
    op.create_index(
        op.f("ix_message_chat_id_previous_message_id_parent_message_id"),
        "message",
        ["chat_id", "previous_message_id", "parent_message_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_message_chat_id_role_created_at"), "message", ["chat_id", "role", "created_at"], unique=False
    )
    op.create_index(
        op.f("ix_message_parent_message_id_thread_level"),
        "message",
        ["parent_message_id", "thread_level"],
        unique=False,
        sqlite_where=sa.text("parent_message_id IS NOT NULL"),
        postgresql_where=sa.text("parent_message_id IS NOT NULL"),
    )
    op.create_index(op.f("ix_message_user_id_created_at"), "message", ["user_id", "created_at"], unique=False)
    op.create_table(
        "run",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("chat_id", types.Id(), nullable=False),
        sa.Column("message_id", types.Id(), nullable=False),
        sa.Column("requested_by", types.Id(), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "queued",
                "running",
                "awaiting_approval",
                "completed",
                "failed",
                "cancelled",
                "interrupted",
                name="run_status",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("model_name", sa.String(length=100), nullable=False),
        sa.Column("continues", sa.Boolean(), nullable=False),
        sa.Column("lease_owner", sa.String(length=60), nullable=True),
        sa.Column("lease_number", sa.Integer(), nullable=False),
        sa.Column("lease_expires_at", types.UtcTime(), nullable=True),
        sa.Column("cancel_requested_at", types.UtcTime(), nullable=True),
        sa.Column("started_at", types.UtcTime(), nullable=True),
        sa.Column("ended_at", types.UtcTime(), nullable=True),
        sa.Column("error", types.JsonOf(), nullable=True),
        sa.Column("usage", types.JsonOf(), nullable=True),
        sa.Column("cost", types.Money(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_run_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_run_message_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["requested_by"], ["user.id"], name=op.f("fk_run_requested_by"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_index(op.f("ix_run_chat_id_status"), "run", ["chat_id", "status"], unique=False)
    op.create_index(op.f("ix_run_message_id"), "run", ["message_id"], unique=False)
    op.create_index(op.f("ix_run_requested_by_status"), "run", ["requested_by", "status"], unique=False)
    op.create_index(op.f("ix_run_status_created_at"), "run", ["status", "created_at"], unique=False)
    op.create_table(
        "step",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("run_id", types.Id(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("request", types.JsonOf(), nullable=False),
        sa.Column("usage", types.JsonOf(), nullable=True),
        sa.Column(
            "finish_reason",
            sa.Enum(
                "stop",
                "length",
                "content_filter",
                "tool_calls",
                "interrupted",
                "error",
                "other",
                name="finish_reason",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=True,
        ),
        sa.Column("ended_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_step_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_step")),
        sa.UniqueConstraint("run_id", "number", name=op.f("uq_step_run_id_number")),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Chat and message refer to each other. SQLite creates the key with the table, PostgreSQL after both tables.
        op.create_foreign_key(
            "fk_chat_head_message",
            "chat",
            "message",
            ["id", "head_message_id"],
            ["chat_id", "id"],
            ondelete="NO ACTION",
            deferrable=True,
            initially="DEFERRED",
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("fk_chat_head_message", "chat", type_="foreignkey")
    op.drop_table("step")
    op.drop_index(op.f("ix_run_status_created_at"), table_name="run")
    op.drop_index(op.f("ix_run_requested_by_status"), table_name="run")
    op.drop_index(op.f("ix_run_message_id"), table_name="run")
    op.drop_index(op.f("ix_run_chat_id_status"), table_name="run")
    op.drop_table("run")
    op.drop_index(op.f("ix_message_user_id_created_at"), table_name="message")
    op.drop_index(
        op.f("ix_message_parent_message_id_thread_level"),
        table_name="message",
        sqlite_where=sa.text("parent_message_id IS NOT NULL"),
        postgresql_where=sa.text("parent_message_id IS NOT NULL"),
    )
    op.drop_index(op.f("ix_message_chat_id_role_created_at"), table_name="message")
    op.drop_index(op.f("ix_message_chat_id_previous_message_id_parent_message_id"), table_name="message")
    op.drop_table("message")
    op.drop_index(op.f("ix_session_user_id_is_active"), table_name="session")
    op.drop_index(op.f("ix_session_is_active_last_active_at"), table_name="session")
    op.drop_index(op.f("ix_session_expires_at"), table_name="session")
    op.drop_table("session")
    op.drop_index(op.f("ix_identity_user_id"), table_name="identity")
    op.drop_table("identity")
    op.drop_index(op.f("ix_idempotency_key_created_at"), table_name="idempotency_key")
    op.drop_table("idempotency_key")
    op.drop_index(op.f("ix_chat_user_id_last_message_at_id"), table_name="chat")
    op.drop_index(op.f("ix_chat_user_id_is_archived_last_message_at_id"), table_name="chat")
    op.drop_index(op.f("ix_chat_deleted_at"), table_name="chat")
    op.drop_index(op.f("ix_chat_created_at"), table_name="chat")
    op.drop_table("chat")
    op.drop_index(op.f("ix_audit_log_user_id_created_at"), table_name="audit_log")
    op.drop_index(op.f("ix_audit_log_created_at"), table_name="audit_log")
    op.drop_table("audit_log")
    op.drop_index(op.f("ix_api_token_user_id"), table_name="api_token")
    op.drop_table("api_token")
    op.drop_index(op.f("ix_verification_identifier"), table_name="verification")
    op.drop_index(op.f("ix_verification_expires_at"), table_name="verification")
    op.drop_table("verification")
    op.drop_index(op.f("ix_user_status_created_at"), table_name="user")
    op.drop_table("user")
    op.drop_table("lease")
    op.drop_index(op.f("ix_change_xid_seq"), table_name="change")
    op.drop_index(op.f("ix_change_owner_id_xid_seq"), table_name="change")
    op.drop_index(op.f("ix_change_created_at"), table_name="change")
    op.drop_index(op.f("ix_change_chat_id_xid_seq"), table_name="change")
    op.drop_table("change")
