"""MCP servers added by users, and questions that tool calls ask while they run"""

import sqlalchemy as sa
from alembic import op

import tertulia.db.types as types

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tool_server",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("url", sa.String(length=2000), nullable=False),
        sa.Column("headers", sa.Text(), nullable=True),
        sa.Column("header_names", types.JsonOf(), nullable=False),
        sa.Column("cost_per_call", types.Money(), nullable=False),
        sa.Column("definitions", types.JsonOf(), nullable=False),
        sa.Column("definitions_digest", sa.String(length=64), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("listed_at", types.UtcTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_tool_server_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tool_server")),
        sa.UniqueConstraint("user_id", "name", name=op.f("uq_tool_server_user_id_name")),
    )
    op.add_column("tool_execution", sa.Column("question", types.JsonOf(), nullable=True))
    op.add_column("tool_execution", sa.Column("reply", types.JsonOf(), nullable=True))


def downgrade() -> None:
    op.drop_column("tool_execution", "reply")
    op.drop_column("tool_execution", "question")
    op.drop_table("tool_server")
