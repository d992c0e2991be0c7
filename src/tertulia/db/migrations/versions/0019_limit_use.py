"""Keep sums of usage, and limit it by quotas and plans."""

import sqlalchemy as sa
from alembic import op

from tertulia.db import types

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_REASONS = ("stop", "length", "content_filter", "tool_calls", "interrupted", "error", "other")
_STEP_COLUMNS = "id, run_id, number, request, usage, finish_reason, ended_at, created_at, updated_at"
_EVERYONE = {"sqlite": 1, "postgresql": 8}


def upgrade() -> None:
    op.create_table(
        "plan",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("description", sa.String(length=1000), nullable=True),
        sa.Column("price_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=True),
        sa.Column("interval", sa.String(length=10), nullable=True),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("is_offered", sa.Boolean(), nullable=False),
        sa.Column("models", types.JsonOf(), nullable=True),
        sa.Column("features", types.JsonOf(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan")),
        sa.UniqueConstraint("name", name=op.f("uq_plan_name")),
    )
    op.create_index(
        "ix_plan_default",
        "plan",
        ["is_default"],
        unique=True,
        sqlite_where=sa.text("is_default"),
        postgresql_where=sa.text("is_default"),
    )
    op.create_table(
        "usage_sum",
        sa.Column(
            "scope",
            sa.Enum(
                "everyone",
                "user",
                "chat",
                "token",
                "project",
                name="sum_scope",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column("scope_id", types.Id(), nullable=False),
        sa.Column("span_minutes", sa.SmallInteger(), nullable=False),
        sa.Column("starts_at", types.UtcTime(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("model", "tool", name="usage_kind", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("model_name", sa.String(length=100), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("replies", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=False),
        sa.Column("thinking_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_savings", types.MoneySum(), nullable=False),
        sa.Column("cost", types.MoneySum(), nullable=False),
        sa.Column("unknown_costs", sa.BigInteger(), nullable=False),
        sa.Column("estimated", sa.BigInteger(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint(
            "scope",
            "scope_id",
            "span_minutes",
            "starts_at",
            "user_id",
            "kind",
            "provider",
            "model_name",
            name=op.f("pk_usage_sum"),
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_usage_sum_scope_span_minutes_starts_at"),
        "usage_sum",
        ["scope", "span_minutes", "starts_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_usage_sum_user_id_scope_span_minutes_starts_at"),
        "usage_sum",
        ["user_id", "scope", "span_minutes", "starts_at"],
        unique=False,
    )
    op.create_table(
        "plan_product",
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("product_id", sa.String(length=100), nullable=False),
        sa.Column("plan_id", types.Id(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["plan_id"], ["plan.id"], name=op.f("fk_plan_product_plan_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("source", "product_id", name=op.f("pk_plan_product")),
    )
    op.create_index(op.f("ix_plan_product_plan_id"), "plan_product", ["plan_id"], unique=False)
    op.create_table(
        "user_plan",
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column(
            "source",
            sa.Enum("subscription", "hand", name="plan_source", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("plan_id", types.Id(), nullable=False),
        sa.Column("until", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["plan_id"], ["plan.id"], name=op.f("fk_user_plan_plan_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_user_plan_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "source", name=op.f("pk_user_plan")),
    )
    op.create_index(op.f("ix_user_plan_plan_id"), "user_plan", ["plan_id"], unique=False)
    op.create_table(
        "api_quota",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=True),
        sa.Column(
            "role", sa.Enum("user", "admin", name="user_role", native_enum=False, create_constraint=True), nullable=True
        ),
        sa.Column("plan_id", types.Id(), nullable=True),
        sa.Column("chat_id", types.Id(), nullable=True),
        sa.Column("api_token_id", types.Id(), nullable=True),
        sa.Column("owner_id", types.Id(), nullable=True),
        sa.Column(
            "window",
            sa.Enum("minute", "hour", "day", "month", name="quota_window", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("is_sliding", sa.Boolean(), nullable=False),
        sa.Column("max_requests", sa.BigInteger(), nullable=True),
        sa.Column("max_messages", sa.BigInteger(), nullable=True),
        sa.Column("max_tokens", sa.BigInteger(), nullable=True),
        sa.Column("max_input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("max_output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("max_cost", types.Money(), nullable=True),
        sa.Column("max_storage_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.CheckConstraint(
            "(CASE WHEN user_id IS NULL THEN 0 ELSE 1 END) + (CASE WHEN role IS NULL THEN 0 ELSE 1 END) + (CASE WHEN plan_id IS NULL THEN 0 ELSE 1 END) + (CASE WHEN chat_id IS NULL THEN 0 ELSE 1 END) + (CASE WHEN api_token_id IS NULL THEN 0 ELSE 1 END) = 1",
            name=op.f("ck_api_quota_one_subject"),
        ),
        sa.CheckConstraint(
            "coalesce(max_requests, max_messages, max_tokens, max_input_tokens, max_output_tokens, max_storage_bytes) IS NOT NULL OR max_cost IS NOT NULL",
            name=op.f("ck_api_quota_some_limit"),
        ),
        sa.ForeignKeyConstraint(
            ["api_token_id"], ["api_token.id"], name=op.f("fk_api_quota_api_token_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_api_quota_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["user.id"], name=op.f("fk_api_quota_owner_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["plan_id"], ["plan.id"], name=op.f("fk_api_quota_plan_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_api_quota_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_quota")),
    )
    op.create_index(op.f("ix_api_quota_api_token_id"), "api_quota", ["api_token_id"], unique=False)
    op.create_index(op.f("ix_api_quota_chat_id"), "api_quota", ["chat_id"], unique=False)
    op.create_index(op.f("ix_api_quota_owner_id"), "api_quota", ["owner_id"], unique=False)
    op.create_index(op.f("ix_api_quota_plan_id"), "api_quota", ["plan_id"], unique=False)
    op.create_index(op.f("ix_api_quota_role"), "api_quota", ["role"], unique=False)
    op.create_index(op.f("ix_api_quota_user_id"), "api_quota", ["user_id"], unique=False)
    op.create_table(
        "quota_notice",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("limit_key", sa.String(length=36), nullable=False),
        sa.Column("quota_id", types.Id(), nullable=True),
        sa.Column("measure", sa.String(length=20), nullable=False),
        sa.Column("starts_at", types.UtcTime(), nullable=False),
        sa.Column("ends_at", types.UtcTime(), nullable=True),
        sa.Column("percent", sa.SmallInteger(), nullable=False),
        sa.Column("limit", types.JsonOf(), nullable=False),
        sa.Column("seen_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["quota_id"], ["api_quota.id"], name=op.f("fk_quota_notice_quota_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_quota_notice_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quota_notice")),
        sa.UniqueConstraint(
            "user_id",
            "limit_key",
            "measure",
            "starts_at",
            "percent",
            name=op.f("uq_quota_notice_user_id_limit_key_measure_starts_at_percent"),
        ),
    )
    op.create_index(op.f("ix_quota_notice_quota_id"), "quota_notice", ["quota_id"], unique=False)
    op.create_index(
        "ix_quota_notice_unseen",
        "quota_notice",
        ["user_id", "id"],
        unique=False,
        sqlite_where=sa.text("seen_at IS NULL"),
        postgresql_where=sa.text("seen_at IS NULL"),
    )
    for table in ("run", "usage_log"):
        op.add_column(table, sa.Column("api_token_id", types.Id(), nullable=True))
    for name in ("thinking_tokens", "reserved_input_tokens", "reserved_output_tokens"):
        op.add_column("usage_log", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("usage_log", sa.Column("is_correction", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("usage_log", sa.Column("note", sa.String(length=200), nullable=True))
    op.drop_index(op.f("ix_usage_log_chat_id"), table_name="usage_log")
    op.create_index(op.f("ix_usage_log_api_token_id_created_at"), "usage_log", ["api_token_id", "created_at"])
    op.create_index(op.f("ix_usage_log_chat_id_created_at"), "usage_log", ["chat_id", "created_at"])
    op.create_index(
        "ix_usage_log_reserved",
        "usage_log",
        ["user_id"],
        sqlite_where=sa.text("status = 'reserved'"),
        postgresql_where=sa.text("status = 'reserved'"),
    )
    _set_finish_reasons((*_REASONS[:-1], "budget", "other"))
    _fill_sums()


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _set_finish_reasons(reasons: tuple[str, ...]) -> None:
    """Change the values that a step may have. SQLite needs the table to be rebuilt; no table refers to it."""
    if not _is_sqlite():
        op.drop_constraint(op.f("ck_step_finish_reason"), "step", type_="check")
        listed = ", ".join(f"'{reason}'" for reason in reasons)
        op.create_check_constraint(op.f("ck_step_finish_reason"), "step", f"finish_reason IN ({listed})")
        return
    op.rename_table("step", "step_before")
    op.create_table(
        "step",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("run_id", types.Id(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("request", types.JsonOf(), nullable=False),
        sa.Column("usage", types.JsonOf(), nullable=True),
        sa.Column(
            "finish_reason",
            sa.Enum(*reasons, name="finish_reason", native_enum=False, create_constraint=True),
            nullable=True,
        ),
        sa.Column("ended_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_step_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_step")),
        sa.UniqueConstraint("run_id", "number", name=op.f("uq_step_run_id_number")),
    )
    op.execute(f"INSERT INTO step ({_STEP_COLUMNS}) SELECT {_STEP_COLUMNS} FROM step_before")  # noqa: S608
    op.drop_table("step_before")


def _fill_sums() -> None:
    """Add up the settled ledger: about a second for each million entries and sum."""
    if _is_sqlite():
        no_chat = "zeroblob(16)"
        everyone = no_chat
        starts = {15: "created_at / 900000000 * 900000000", 1440: "created_at / 86400000000 * 86400000000"}
    else:
        no_chat = "CAST('00000000-0000-0000-0000-000000000000' AS uuid)"
        everyone = (
            "CAST('00000000-0000-0000-0000-00000000000' || "
            "(CAST(CAST('x' || right(CAST(user_id AS text), 4) AS bit(16)) AS integer) % 8) AS uuid)"
        )
        starts = {
            minutes: f"to_timestamp(floor(extract(epoch FROM created_at) / {minutes * 60}) * {minutes * 60})"
            for minutes in (15, 1440)
        }
    scopes = {
        "user": ("user_id", "user_id"),
        "chat": (f"coalesce(chat_id, {no_chat})", "user_id"),
        "everyone": (everyone, everyone),
    }
    reply = "kind = 'model' AND tool_execution_id IS NULL AND NOT is_summary"
    for scope, (scope_id, user_id) in scopes.items():
        for span, start in starts.items():
            op.execute(
                "INSERT INTO usage_sum (scope, scope_id, span_minutes, starts_at, user_id, kind, provider, model_name,"  # noqa: S608
                " requests, replies, input_tokens, output_tokens, cached_tokens, cache_write_tokens, thinking_tokens,"
                " cache_savings, cost, unknown_costs, estimated, created_at)"
                f" SELECT '{scope}', {scope_id}, {span}, {start}, {user_id}, kind, provider, model_name,"
                " sum(CASE WHEN kind = 'model' THEN 1 ELSE 0 END),"
                f" sum(CASE WHEN {reply} THEN 1 ELSE 0 END),"
                " sum(input_tokens), sum(output_tokens), sum(cached_tokens), sum(cache_write_tokens),"
                " sum(thinking_tokens), coalesce(sum(cache_savings), 0), coalesce(sum(cost), 0),"
                " sum(CASE WHEN cost IS NULL THEN 1 ELSE 0 END), sum(CASE WHEN is_estimated THEN 1 ELSE 0 END), min(created_at)"
                " FROM usage_log WHERE status = 'settled'"
                f" GROUP BY {scope_id}, {start}, {user_id}, kind, provider, model_name"
            )


def downgrade() -> None:
    if _is_sqlite():
        op.execute(
            "UPDATE message SET metadata = json_set(metadata, '$.finish_reason', 'length')"
            " WHERE json_extract(metadata, '$.finish_reason') = 'budget'"
        )
        op.execute(
            "UPDATE \"user\" SET preferences = json_remove(preferences, '$.time_zone')"
            " WHERE json_extract(preferences, '$.time_zone') IS NOT NULL"
        )
    else:
        op.execute(
            "UPDATE message SET metadata = jsonb_set(metadata, '{finish_reason}', '\"length\"')"
            " WHERE metadata ->> 'finish_reason' = 'budget'"
        )
        op.execute("UPDATE \"user\" SET preferences = preferences - 'time_zone'")
    op.execute("UPDATE step SET finish_reason = 'length' WHERE finish_reason = 'budget'")
    _set_finish_reasons(_REASONS)
    op.drop_index("ix_usage_log_reserved", table_name="usage_log")
    op.drop_index(op.f("ix_usage_log_chat_id_created_at"), table_name="usage_log")
    op.drop_index(op.f("ix_usage_log_api_token_id_created_at"), table_name="usage_log")
    op.create_index(op.f("ix_usage_log_chat_id"), "usage_log", ["chat_id"])
    names = ("note", "is_correction", "reserved_output_tokens", "reserved_input_tokens", "thinking_tokens")
    for name in (*names, "api_token_id"):
        op.execute(f"ALTER TABLE usage_log DROP COLUMN {name}")
    op.execute("ALTER TABLE run DROP COLUMN api_token_id")
    op.drop_index(op.f("ix_quota_notice_user_id_created_at"), table_name="quota_notice")
    op.drop_table("quota_notice")
    op.drop_index(op.f("ix_api_quota_user_id"), table_name="api_quota")
    op.drop_index(op.f("ix_api_quota_role"), table_name="api_quota")
    op.drop_index(op.f("ix_api_quota_plan_id"), table_name="api_quota")
    op.drop_index(op.f("ix_api_quota_owner_id"), table_name="api_quota")
    op.drop_index(op.f("ix_api_quota_chat_id"), table_name="api_quota")
    op.drop_index(op.f("ix_api_quota_api_token_id"), table_name="api_quota")
    op.drop_table("api_quota")
    op.drop_index(op.f("ix_user_plan_plan_id"), table_name="user_plan")
    op.drop_table("user_plan")
    op.drop_index(op.f("ix_plan_product_plan_id"), table_name="plan_product")
    op.drop_table("plan_product")
    op.drop_index(op.f("ix_usage_sum_user_id_scope_span_minutes_starts_at"), table_name="usage_sum")
    op.drop_index(op.f("ix_usage_sum_scope_span_minutes_starts_at"), table_name="usage_sum")
    op.drop_table("usage_sum")
    op.drop_index("ix_plan_default", table_name="plan")
    op.drop_table("plan")
