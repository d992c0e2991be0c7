"""Tool calls with their approvals, standing permissions for tools, and the state of a chat"""

import sqlalchemy as sa
from alembic import op

import tertulia.db.types as types

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_LEDGER_INDEXES = (
    ("chat_id",),
    ("message_id",),
    ("provider", "model_name", "created_at"),
    ("run_id",),
    ("user_id", "kind", "created_at"),
)
_LEDGER_COLUMNS = (
    "id, user_id, chat_id, message_id, run_id, kind, status, provider, model_name, input_tokens, output_tokens, cached_tokens, "
    "is_estimated, cost, reserved_cost, created_at, updated_at"
)


def upgrade() -> None:
    op.create_table(
        "auto_approval_setting",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("read_only_operations", sa.Boolean(), nullable=False),
        sa.Column("low_risk_operations", sa.Boolean(), nullable=False),
        sa.Column("specific_tools", types.JsonOf(), nullable=False),
        sa.Column("max_cost_per_tool", types.Money(), nullable=False),
        sa.Column("max_cost_per_hour", types.Money(), nullable=False),
        sa.Column("require_approval_for_new_tools", sa.Boolean(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_auto_approval_setting_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_auto_approval_setting")),
        sa.UniqueConstraint("user_id", name=op.f("uq_auto_approval_setting_user_id")),
    )
    op.create_table(
        "chat_state",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("chat_id", types.Id(), nullable=False),
        sa.Column("state", types.JsonOf(), nullable=False),
        sa.Column("schema", types.JsonOf(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_chat_state_chat_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_state")),
        sa.UniqueConstraint("chat_id", name=op.f("uq_chat_state_chat_id")),
    )
    op.create_table(
        "tool_execution",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("chat_id", types.Id(), nullable=False),
        sa.Column("message_id", types.Id(), nullable=False),
        sa.Column("run_id", types.Id(), nullable=True),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("requested_by", types.Id(), nullable=True),
        sa.Column("tool_call_id", sa.String(length=200), nullable=False),
        sa.Column("tool_name", sa.String(length=100), nullable=False),
        sa.Column("server", sa.String(length=100), nullable=True),
        sa.Column(
            "risk",
            sa.Enum("read_only", "low", "high", name="risk", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("parameters", types.JsonOf(), nullable=False),
        sa.Column("edited_parameters", types.JsonOf(), nullable=True),
        sa.Column("definition_digest", sa.String(length=64), nullable=False),
        sa.Column("arguments_digest", sa.String(length=64), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "pending",
                "approved",
                "executing",
                "completed",
                "failed",
                "timeout",
                "denied",
                "cancelled",
                name="tool_status",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column(
            "decision",
            sa.Enum("person", "rule", name="decided_by", native_enum=False, create_constraint=True),
            nullable=True,
        ),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("untrusted_sources", types.JsonOf(), nullable=False),
        sa.Column("decided_by", types.Id(), nullable=True),
        sa.Column("deny_note", sa.String(length=1000), nullable=True),
        sa.Column("approval_requested_at", types.UtcTime(), nullable=True),
        sa.Column("approved_at", types.UtcTime(), nullable=True),
        sa.Column("decided_at", types.UtcTime(), nullable=True),
        sa.Column("expires_at", types.UtcTime(), nullable=True),
        sa.Column("executed_at", types.UtcTime(), nullable=True),
        sa.Column("completed_at", types.UtcTime(), nullable=True),
        sa.Column("execution_time_ms", sa.Integer(), nullable=True),
        sa.Column("estimated_cost", types.Money(), nullable=False),
        sa.Column("cost", types.Money(), nullable=True),
        sa.Column("result", types.JsonOf(), nullable=True),
        sa.Column("is_untrusted", sa.Boolean(), nullable=False),
        sa.Column("error_code", sa.String(length=40), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["chat_id"], ["chat.id"], name=op.f("fk_tool_execution_chat_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["decided_by"], ["user.id"], name=op.f("fk_tool_execution_decided_by"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_tool_execution_message_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["requested_by"], ["user.id"], name=op.f("fk_tool_execution_requested_by"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_tool_execution_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tool_execution")),
    )
    op.create_index(op.f("ix_tool_execution_chat_id_id"), "tool_execution", ["chat_id", "id"], unique=False)
    op.create_index(op.f("ix_tool_execution_decided_by"), "tool_execution", ["decided_by"], unique=False)
    op.create_index(op.f("ix_tool_execution_message_id"), "tool_execution", ["message_id"], unique=False)
    op.create_index(
        op.f("ix_tool_execution_requested_by_status_id"),
        "tool_execution",
        ["requested_by", "status", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_tool_execution_requested_by_tool_name_definition_digest"),
        "tool_execution",
        ["requested_by", "tool_name", "definition_digest"],
        unique=False,
    )
    op.create_index(op.f("ix_tool_execution_run_id_status"), "tool_execution", ["run_id", "status"], unique=False)
    op.create_index(
        op.f("ix_tool_execution_status_created_at"), "tool_execution", ["status", "created_at"], unique=False
    )
    op.create_index(op.f("ix_tool_execution_tool_name"), "tool_execution", ["tool_name"], unique=False)
    op.add_column("chat", sa.Column("auto_approval", types.JsonOf(), nullable=True))
    _add_call_to_ledger()
    op.create_index(op.f("ix_usage_log_tool_execution_id"), "usage_log", ["tool_execution_id"], unique=False)


def _add_call_to_ledger() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _make_ledger_again(with_call=True)
        return
    op.add_column("usage_log", sa.Column("tool_execution_id", types.Id(), nullable=True))
    op.create_foreign_key(
        op.f("fk_usage_log_tool_execution_id"),
        "usage_log",
        "tool_execution",
        ["tool_execution_id"],
        ["id"],
        ondelete="SET NULL",
    )


def _make_ledger_again(*, with_call: bool) -> None:
    """Rebuild the table on SQLite, which cannot add a key. No table refers to it."""
    for columns in _LEDGER_INDEXES:
        op.drop_index(_index(columns), table_name="usage_log")
    op.rename_table("usage_log", "usage_log_before")
    key = sa.ForeignKeyConstraint(
        ["tool_execution_id"], ["tool_execution.id"], name=op.f("fk_usage_log_tool_execution_id"), ondelete="SET NULL"
    )
    op.create_table(
        "usage_log",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("chat_id", types.Id(), nullable=True),
        sa.Column("message_id", types.Id(), nullable=True),
        sa.Column("run_id", types.Id(), nullable=True),
        *([sa.Column("tool_execution_id", types.Id(), nullable=True)] if with_call else []),
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
        *([key] if with_call else []),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_usage_log_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_log")),
    )
    op.execute(f"INSERT INTO usage_log ({_LEDGER_COLUMNS}) SELECT {_LEDGER_COLUMNS} FROM usage_log_before")  # noqa: S608
    op.drop_table("usage_log_before")
    for columns in _LEDGER_INDEXES:
        op.create_index(_index(columns), "usage_log", list(columns), unique=False)


def _index(columns: tuple[str, ...]) -> str:
    return op.f(f"ix_usage_log_{'_'.join(columns)}")


def downgrade() -> None:
    op.drop_index(op.f("ix_usage_log_tool_execution_id"), table_name="usage_log")
    if op.get_bind().dialect.name == "sqlite":
        _make_ledger_again(with_call=False)
    else:
        op.drop_constraint(op.f("fk_usage_log_tool_execution_id"), "usage_log", type_="foreignkey")
        op.drop_column("usage_log", "tool_execution_id")
    op.drop_column("chat", "auto_approval")
    op.drop_index(op.f("ix_tool_execution_tool_name"), table_name="tool_execution")
    op.drop_index(op.f("ix_tool_execution_status_created_at"), table_name="tool_execution")
    op.drop_index(op.f("ix_tool_execution_run_id_status"), table_name="tool_execution")
    op.drop_index(op.f("ix_tool_execution_requested_by_tool_name_definition_digest"), table_name="tool_execution")
    op.drop_index(op.f("ix_tool_execution_requested_by_status_id"), table_name="tool_execution")
    op.drop_index(op.f("ix_tool_execution_message_id"), table_name="tool_execution")
    op.drop_index(op.f("ix_tool_execution_decided_by"), table_name="tool_execution")
    op.drop_index(op.f("ix_tool_execution_chat_id_id"), table_name="tool_execution")
    op.drop_table("tool_execution")
    op.drop_table("chat_state")
    op.drop_table("auto_approval_setting")
