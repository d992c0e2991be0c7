"""Store what payment providers send, and the subscriptions and payments that follow."""

import sqlalchemy as sa
from alembic import op

from tertulia.db import types

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhook_event",
        sa.Column("id", types.Id(), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("sender_id", sa.String(length=255), nullable=False),
        sa.Column("type", sa.String(length=100), nullable=True),
        sa.Column("api_version", sa.String(length=40), nullable=True),
        sa.Column("object_id", sa.String(length=100), nullable=True),
        sa.Column("customer_id", sa.String(length=100), nullable=True),
        sa.Column("customer_external_id", sa.String(length=100), nullable=True),
        sa.Column("sent_at", types.UtcTime(), nullable=True),
        sa.Column("received_at", types.UtcTime(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("processed_at", types.UtcTime(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("retry_at", types.UtcTime(), nullable=True),
        sa.Column("error", sa.String(length=1000), nullable=True),
        sa.Column("redacted_at", types.UtcTime(), nullable=True),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_event")),
        sa.UniqueConstraint("source", "sender_id", name=op.f("uq_webhook_event_source_sender_id")),
    )
    op.create_index(
        op.f("ix_webhook_event_customer_external_id"), "webhook_event", ["customer_external_id"], unique=False
    )
    op.create_index(op.f("ix_webhook_event_received_at"), "webhook_event", ["received_at"], unique=False)
    op.create_index(
        op.f("ix_webhook_event_source_customer_id_sent_at"),
        "webhook_event",
        ["source", "customer_id", "sent_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_webhook_event_source_object_id_sent_at"),
        "webhook_event",
        ["source", "object_id", "sent_at"],
        unique=False,
    )
    op.create_index(
        "ix_webhook_event_unprocessed",
        "webhook_event",
        ["received_at"],
        unique=False,
        sqlite_where=sa.text("processed_at IS NULL"),
        postgresql_where=sa.text("processed_at IS NULL"),
    )
    op.create_table(
        "webhook_refusal",
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("source", "reason", "date", name=op.f("pk_webhook_refusal")),
    )
    op.create_table(
        "payment",
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=True),
        sa.Column("status", sa.String(length=40), nullable=True),
        sa.Column("is_paid", sa.Boolean(), nullable=False),
        sa.Column("subtotal_amount", sa.BigInteger(), nullable=True),
        sa.Column("discount_amount", sa.BigInteger(), nullable=False),
        sa.Column("net_amount", sa.BigInteger(), nullable=True),
        sa.Column("tax_amount", sa.BigInteger(), nullable=False),
        sa.Column("total_amount", sa.BigInteger(), nullable=False),
        sa.Column("due_amount", sa.BigInteger(), nullable=True),
        sa.Column("refunded_amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("billing", types.JsonOf(), nullable=True),
        sa.Column("customer", types.JsonOf(), nullable=True),
        sa.Column("metadata", types.JsonOf(), nullable=True),
        sa.Column("user_id", types.Id(), nullable=True),
        sa.Column("customer_id", sa.String(length=100), nullable=True),
        sa.Column("subscription_id", sa.String(length=100), nullable=True),
        sa.Column("product_id", sa.String(length=100), nullable=True),
        sa.Column("billing_reason", sa.String(length=60), nullable=True),
        sa.Column("invoice_number", sa.String(length=100), nullable=True),
        sa.Column("receipt_url", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_payment_user_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment")),
    )
    op.create_index(op.f("ix_payment_source_customer_id"), "payment", ["source", "customer_id"], unique=False)
    op.create_index(op.f("ix_payment_subscription_id"), "payment", ["subscription_id"], unique=False)
    op.create_index(op.f("ix_payment_user_id_created_at"), "payment", ["user_id", "created_at"], unique=False)
    op.create_table(
        "subscription",
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("user_id", types.Id(), nullable=True),
        sa.Column("customer_id", sa.String(length=100), nullable=True),
        sa.Column("customer_external_id", sa.String(length=100), nullable=True),
        sa.Column("product_id", sa.String(length=100), nullable=True),
        sa.Column("status", sa.String(length=40), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=True),
        sa.Column("recurring_interval", sa.String(length=20), nullable=True),
        sa.Column("recurring_interval_count", sa.Integer(), nullable=True),
        sa.Column("current_period_start", types.UtcTime(), nullable=True),
        sa.Column("current_period_end", types.UtcTime(), nullable=True),
        sa.Column("trial_start", types.UtcTime(), nullable=True),
        sa.Column("trial_end", types.UtcTime(), nullable=True),
        sa.Column("cancel_at_period_end", sa.Boolean(), nullable=False),
        sa.Column("canceled_at", types.UtcTime(), nullable=True),
        sa.Column("started_at", types.UtcTime(), nullable=True),
        sa.Column("ends_at", types.UtcTime(), nullable=True),
        sa.Column("ended_at", types.UtcTime(), nullable=True),
        sa.Column("past_due_at", types.UtcTime(), nullable=True),
        sa.Column("paused_at", types.UtcTime(), nullable=True),
        sa.Column("resumes_at", types.UtcTime(), nullable=True),
        sa.Column("checkout_id", sa.String(length=100), nullable=True),
        sa.Column("discount_id", sa.String(length=100), nullable=True),
        sa.Column("seats", sa.Integer(), nullable=True),
        sa.Column("units", sa.BigInteger(), nullable=True),
        sa.Column("cancellation_reason", sa.String(length=100), nullable=True),
        sa.Column("cancellation_comment", sa.Text(), nullable=True),
        sa.Column("metadata", types.JsonOf(), nullable=True),
        sa.Column("modified_at", types.UtcTime(), nullable=False),
        sa.Column("created_at", types.UtcTime(), nullable=False),
        sa.Column("updated_at", types.UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_subscription_user_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription")),
    )
    op.create_index(op.f("ix_subscription_product_id"), "subscription", ["product_id"], unique=False)
    op.create_index(op.f("ix_subscription_source_customer_id"), "subscription", ["source", "customer_id"], unique=False)
    op.create_index(op.f("ix_subscription_user_id"), "subscription", ["user_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_subscription_user_id"), table_name="subscription")
    op.drop_index(op.f("ix_subscription_source_customer_id"), table_name="subscription")
    op.drop_index(op.f("ix_subscription_product_id"), table_name="subscription")
    op.drop_table("subscription")
    op.drop_index(op.f("ix_payment_user_id_created_at"), table_name="payment")
    op.drop_index(op.f("ix_payment_subscription_id"), table_name="payment")
    op.drop_index(op.f("ix_payment_source_customer_id"), table_name="payment")
    op.drop_table("payment")
    op.drop_table("webhook_refusal")
    op.drop_index("ix_webhook_event_unprocessed", table_name="webhook_event")
    op.drop_index(op.f("ix_webhook_event_source_object_id_sent_at"), table_name="webhook_event")
    op.drop_index(op.f("ix_webhook_event_source_customer_id_sent_at"), table_name="webhook_event")
    op.drop_index(op.f("ix_webhook_event_received_at"), table_name="webhook_event")
    op.drop_table("webhook_event")
