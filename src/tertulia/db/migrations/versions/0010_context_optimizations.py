"""Compactions of a chat's context, and the cost of summaries"""

import sqlalchemy as sa
from alembic import op

import tertulia.db.types as types

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "context_optimization",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("chat_id", types.Id(), nullable=False),
        sa.Column("created_by", types.Id(), nullable=True),
        sa.Column(
            "trigger_reason",
            sa.Enum(
                "token_limit", "user_request", "auto", name="trigger_reason", native_enum=False, create_constraint=True
            ),
            nullable=False,
        ),
        sa.Column(
            "optimization_type",
            sa.Enum(
                "truncation",
                "summarization",
                "compression",
                name="optimization_type",
                native_enum=False,
                create_constraint=True,
            ),
            nullable=False,
        ),
        sa.Column("boundary_message_id", types.Id(), nullable=False),
        sa.Column("leaf_message_id", types.Id(), nullable=False),
        sa.Column("tokens_before", sa.Integer(), nullable=False),
        sa.Column("tokens_after", sa.Integer(), nullable=False),
        sa.Column("window", sa.Integer(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.Column("summary_id", types.Id(), nullable=True),
        sa.Column("oldest_told_id", types.Id(), nullable=True),
        sa.Column("is_edited", sa.Boolean(), nullable=False),
        sa.Column("affected_messages", types.JsonOf(), nullable=False),
        sa.Column("provider", sa.String(length=100), nullable=True),
        sa.Column("model_name", sa.String(length=100), nullable=True),
        sa.Column("cost", types.Money(), nullable=True),
        sa.Column("saved_cost", types.Money(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("stale_at", types.UtcTime(), nullable=True),
        sa.Column("undone_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.CheckConstraint("tokens_after <= tokens_before", name=op.f("ck_context_optimization_tokens")),
        sa.ForeignKeyConstraint(
            ["boundary_message_id"],
            ["message.id"],
            name=op.f("fk_context_optimization_boundary_message_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["chat_id"], ["chat.id"], name=op.f("fk_context_optimization_chat_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["created_by"], ["user.id"], name=op.f("fk_context_optimization_created_by"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["leaf_message_id"],
            ["message.id"],
            name=op.f("fk_context_optimization_leaf_message_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["summary_id"],
            ["context_optimization.id"],
            name=op.f("fk_context_optimization_summary_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_context_optimization")),
    )
    op.create_index(
        op.f("ix_context_optimization_boundary_message_id"),
        "context_optimization",
        ["boundary_message_id"],
        unique=False,
    )
    op.create_index(op.f("ix_context_optimization_chat_id_id"), "context_optimization", ["chat_id", "id"], unique=False)
    op.create_index(op.f("ix_context_optimization_created_by"), "context_optimization", ["created_by"], unique=False)
    op.create_index(
        op.f("ix_context_optimization_leaf_message_id"), "context_optimization", ["leaf_message_id"], unique=False
    )
    op.create_index(op.f("ix_context_optimization_summary_id"), "context_optimization", ["summary_id"], unique=False)
    op.add_column("usage_log", sa.Column("is_summary", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    op.drop_column("usage_log", "is_summary")
    op.drop_index(op.f("ix_context_optimization_summary_id"), table_name="context_optimization")
    op.drop_index(op.f("ix_context_optimization_leaf_message_id"), table_name="context_optimization")
    op.drop_index(op.f("ix_context_optimization_created_by"), table_name="context_optimization")
    op.drop_index(op.f("ix_context_optimization_chat_id_id"), table_name="context_optimization")
    op.drop_index(op.f("ix_context_optimization_boundary_message_id"), table_name="context_optimization")
    op.drop_table("context_optimization")
