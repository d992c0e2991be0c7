"""Store what models refuse, so that it is known after a restart."""

import sqlalchemy as sa
from alembic import op

from tertulia.db import types

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_refusal",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("account", sa.String(16), nullable=False),
        sa.Column("model_name", sa.String(100), nullable=False),
        sa.Column("names", types.JsonOf(), nullable=False),
        sa.Column("longest_reply", sa.Integer(), nullable=True),
        sa.Column("learned_at", types.UtcTime(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_refusal")),
        sa.UniqueConstraint("account", "model_name", name=op.f("uq_model_refusal_account_model_name")),
    )
    op.create_index(op.f("ix_model_refusal_learned_at"), "model_refusal", ["learned_at"])


def downgrade() -> None:
    op.drop_table("model_refusal")
