"""Keep invitations, which reservations are near a limit, and what joins the events about one payment."""

import sqlalchemy as sa
from alembic import op

from tertulia.db import types

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "invitation",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column(
            "role",
            sa.Enum("user", "admin", name="user_role", native_enum=False, create_constraint=True, length=5),
            nullable=False,
        ),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("plan_id", types.Id(), nullable=True),
        sa.Column("makes_account", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("created_by", types.Id(), nullable=True),
        sa.Column("expires_at", types.UtcTime(), nullable=False),
        sa.Column("accepted_at", types.UtcTime(), nullable=True),
        sa.Column("user_id", types.Id(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["created_by"], ["user.id"], name=op.f("fk_invitation_created_by"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["plan_id"], ["plan.id"], name=op.f("fk_invitation_plan_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_invitation_user_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitation")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitation_token_hash")),
    )
    for column in ("plan_id", "created_by", "user_id"):
        op.create_index(op.f(f"ix_invitation_{column}"), "invitation", [column], unique=False)
    op.create_index(op.f("ix_user_plan_until"), "user_plan", ["until"], unique=False)
    op.add_column("webhook_event", sa.Column("link_id", sa.String(length=100), nullable=True))
    op.create_index(op.f("ix_webhook_event_source_link_id"), "webhook_event", ["source", "link_id"], unique=False)
    # What is reserved already was not compared with limits, so it is when it is settled.
    op.add_column("usage_log", sa.Column("is_near_limit", sa.Boolean(), nullable=False, server_default=sa.true()))


def downgrade() -> None:
    op.drop_column("usage_log", "is_near_limit")
    op.drop_index(op.f("ix_webhook_event_source_link_id"), table_name="webhook_event")
    op.drop_column("webhook_event", "link_id")
    op.drop_index(op.f("ix_user_plan_until"), table_name="user_plan")
    op.drop_table("invitation")
