"""Keep prices that are entered, bills of providers, and when an account is deleted."""

import sqlalchemy as sa
from alembic import op

from tertulia.db import types

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deleted_user",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deleted_user")),
    )
    op.create_table(
        "model_price",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("model_name", sa.String(length=100), nullable=True),
        sa.Column("input_price", types.Money(), nullable=False),
        sa.Column("output_price", types.Money(), nullable=False),
        sa.Column("cached_price", types.Money(), nullable=True),
        sa.Column("cache_write_price", types.Money(), nullable=True),
        sa.Column("hour_price", types.Money(), nullable=True),
        sa.Column("valid_from", types.UtcTime(), nullable=False),
        sa.Column("valid_until", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.CheckConstraint("valid_until IS NULL OR valid_until > valid_from", name=op.f("ck_model_price_order")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_price")),
    )
    op.create_index(
        op.f("ix_model_price_provider_model_name_valid_from"),
        "model_price",
        ["provider", "model_name", "valid_from"],
        unique=False,
    )
    op.create_table(
        "price_list",
        sa.Column("edition", sa.String(length=100), nullable=False),
        sa.Column("packed", sa.Text(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("edition", name=op.f("pk_price_list")),
    )
    op.create_index(op.f("ix_price_list_created_at"), "price_list", ["created_at"], unique=False)
    op.create_table(
        "unknown_price",
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column(
            "rule",
            sa.Enum("allow", "count", "refuse", name="unknown_price_rule", native_enum=False, create_constraint=True),
            nullable=False,
        ),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("provider", name=op.f("pk_unknown_price")),
    )
    op.create_table(
        "usage_reconciliation",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("user_id", types.Id(), nullable=False),
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("is_everyone", sa.Boolean(), nullable=False),
        sa.Column("since", sa.Date(), nullable=False),
        sa.Column("until", sa.Date(), nullable=False),
        sa.Column("lines", sa.Text(), nullable=False),
        sa.Column("corrected", types.JsonOf(), nullable=False),
        sa.Column("their_cost", types.MoneySum(), nullable=False),
        sa.Column("our_cost", types.MoneySum(), nullable=False),
        sa.Column("corrected_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_usage_reconciliation_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_reconciliation")),
    )
    op.create_index(
        op.f("ix_usage_reconciliation_user_id_created_at"),
        "usage_reconciliation",
        ["user_id", "created_at"],
        unique=False,
    )
    op.add_column("user", sa.Column("former_zone", sa.String(length=64), nullable=True))
    op.add_column("user", sa.Column("former_zone_until", types.UtcTime(), nullable=True))
    op.add_column("user", sa.Column("deletes_at", types.UtcTime(), nullable=True))
    op.create_index(op.f("ix_user_deletes_at"), "user", ["deletes_at"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_user_deletes_at"), table_name="user")
    op.drop_column("user", "deletes_at")
    op.drop_column("user", "former_zone_until")
    op.drop_column("user", "former_zone")
    op.drop_index(op.f("ix_usage_reconciliation_user_id_created_at"), table_name="usage_reconciliation")
    op.drop_table("usage_reconciliation")
    op.drop_table("unknown_price")
    op.drop_index(op.f("ix_price_list_created_at"), table_name="price_list")
    op.drop_table("price_list")
    op.drop_index(op.f("ix_model_price_provider_model_name_valid_from"), table_name="model_price")
    op.drop_table("model_price")
    op.drop_table("deleted_user")
