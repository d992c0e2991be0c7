"""Per-user providers, the usage ledger, confirmed sessions"""

# ruff: noqa: S608 - the statement is built from constants

import sqlalchemy as sa
from alembic import op

import tertulia.db.types as types

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "instance_setting",
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_instance_setting")),
    )
    op.create_table(
        "provider_model",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("model_name", sa.String(length=100), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=False),
        sa.Column("context_window", sa.Integer(), nullable=True),
        sa.Column("max_output", sa.Integer(), nullable=True),
        sa.Column("input_price", types.Money(), nullable=True),
        sa.Column("output_price", types.Money(), nullable=True),
        sa.Column("cached_price", types.Money(), nullable=True),
        sa.Column("capabilities", types.JsonOf(), nullable=False),
        sa.Column("is_deprecated", sa.Boolean(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_model")),
        sa.UniqueConstraint("provider", "model_name", name=op.f("uq_provider_model_provider_model_name")),
    )
    op.create_table(
        "message_usage",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("message_count", sa.Integer(), nullable=False),
        sa.Column("reset_at", types.UtcTime(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.CheckConstraint("message_count >= 0", name=op.f("ck_message_usage_count")),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_message_usage_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message_usage")),
        sa.UniqueConstraint("user_id", "date", name=op.f("uq_message_usage_user_id_date")),
    )
    op.create_table(
        "provider_config",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("key_hint", sa.String(length=4), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("last_used_at", types.UtcTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("models", types.JsonOf(), nullable=False),
        sa.Column("models_read_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_provider_config_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_config")),
        sa.UniqueConstraint("user_id", "provider", "name", name=op.f("uq_provider_config_user_id_provider_name")),
    )
    op.create_index(
        "ix_provider_config_default",
        "provider_config",
        ["user_id"],
        unique=True,
        sqlite_where=sa.text("is_default"),
        postgresql_where=sa.text("is_default"),
    )
    op.create_table(
        "usage_log",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("chat_id", types.Id(), nullable=True),
        sa.Column("message_id", types.Id(), nullable=True),
        sa.Column("run_id", types.Id(), nullable=True),
        sa.Column(
            "kind",
            sa.Enum("model", "tool", name="usage_kind", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum("reserved", "settled", "released", name="usage_status", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("model_name", sa.String(length=100), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("is_estimated", sa.Boolean(), nullable=False),
        sa.Column("cost", types.Money(), nullable=True),
        sa.Column("reserved_cost", types.Money(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_usage_log_chat_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_usage_log_message_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_usage_log_run_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_usage_log_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_log")),
    )
    op.create_index(op.f("ix_usage_log_chat_id"), "usage_log", ["chat_id"], unique=False)
    op.create_index(op.f("ix_usage_log_message_id"), "usage_log", ["message_id"], unique=False)
    op.create_index(
        op.f("ix_usage_log_provider_model_name_created_at"),
        "usage_log",
        ["provider", "model_name", "created_at"],
        unique=False,
    )
    op.create_index(op.f("ix_usage_log_run_id"), "usage_log", ["run_id"], unique=False)
    op.create_index(
        op.f("ix_usage_log_user_id_kind_created_at"), "usage_log", ["user_id", "kind", "created_at"], unique=False
    )
    op.add_column("session", sa.Column("confirmed_at", types.UtcTime(), nullable=True))
    # Add earlier usage to the ledger, because the totals of chats are its sums.
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    prompt, completion = (
        ("CAST(run.usage ->> 'prompt' AS bigint)", "CAST(run.usage ->> 'completion' AS bigint)")
        if on_postgresql
        else ("json_extract(run.usage, '$.prompt')", "json_extract(run.usage, '$.completion')")
    )
    op.execute(
        "INSERT INTO usage_log (id, user_id, chat_id, message_id, run_id, kind, status, provider, model_name, input_tokens, "
        "output_tokens, cached_tokens, is_estimated, cost, created_at, updated_at) "
        "SELECT run.id, COALESCE(run.requested_by, chat.user_id), run.chat_id, run.message_id, run.id, 'model', 'settled', "
        f"run.provider, run.model_name, {prompt}, {completion}, 0, {'false' if on_postgresql else '0'}, run.cost, "
        "run.updated_at, run.updated_at FROM run JOIN chat ON chat.id = run.chat_id WHERE run.usage IS NOT NULL"
    )


def downgrade() -> None:
    op.drop_column("session", "confirmed_at")
    op.drop_index(op.f("ix_usage_log_user_id_kind_created_at"), table_name="usage_log")
    op.drop_index(op.f("ix_usage_log_run_id"), table_name="usage_log")
    op.drop_index(op.f("ix_usage_log_provider_model_name_created_at"), table_name="usage_log")
    op.drop_index(op.f("ix_usage_log_message_id"), table_name="usage_log")
    op.drop_index(op.f("ix_usage_log_chat_id"), table_name="usage_log")
    op.drop_table("usage_log")
    op.drop_index(
        "ix_provider_config_default",
        table_name="provider_config",
        sqlite_where=sa.text("is_default"),
        postgresql_where=sa.text("is_default"),
    )
    op.drop_table("provider_config")
    op.drop_table("message_usage")
    op.drop_table("provider_model")
    op.drop_table("instance_setting")
