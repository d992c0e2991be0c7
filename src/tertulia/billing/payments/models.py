"""Tables of payments: what providers sent, the subscriptions and payments that follow from it."""

import datetime as dt
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.db import Base, CreatedAt, Id, JsonOf, Timestamps
from tertulia.ids import new_id

MAX_TRIES = 10  # of an event, after which it is not applied again unless an administrator asks for it


class WebhookEvent(Timestamps, Base):
    """A signed delivery, stored as it came before anything is done with it. A repeated one is not stored again."""

    __tablename__ = "webhook_event"
    __table_args__ = (
        sa.UniqueConstraint("source", "sender_id"),
        sa.Index(None, "source", "object_id", "sent_at"),
        sa.Index(None, "source", "customer_id", "sent_at"),
        sa.Index(None, "source", "link_id"),
        sa.Index(None, "customer_external_id"),
        sa.Index(None, "received_at"),
        # What is left to do.
        sa.Index(
            "ix_webhook_event_unprocessed",
            "received_at",
            sqlite_where=sa.text("processed_at IS NULL"),
            postgresql_where=sa.text("processed_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    source: Mapped[str] = mapped_column(sa.String(20))
    sender_id: Mapped[str] = mapped_column(sa.String(255))  # the same in every repetition
    type: Mapped[str | None] = mapped_column(sa.String(100))  # None: it cannot be parsed
    api_version: Mapped[str | None] = mapped_column(sa.String(40))
    object_id: Mapped[str | None] = mapped_column(sa.String(100))  # the subscription or payment that it is about
    customer_id: Mapped[str | None] = mapped_column(sa.String(100))
    # Our id of the person, until it is redacted.
    customer_external_id: Mapped[str | None] = mapped_column(sa.String(100))
    link_id: Mapped[str | None] = mapped_column(sa.String(100))  # joins events that do not name their object
    sent_at: Mapped[dt.datetime | None]  # by the sender's clock
    received_at: Mapped[dt.datetime]
    body: Mapped[bytes] = mapped_column(sa.LargeBinary)
    processed_at: Mapped[dt.datetime | None]
    tries: Mapped[int] = mapped_column(default=0)
    retry_at: Mapped[dt.datetime | None]
    error: Mapped[str | None] = mapped_column(sa.String(1000))
    redacted_at: Mapped[dt.datetime | None]  # since then the body does not say who the person is


class WebhookRefusal(CreatedAt, Base):
    """How many deliveries were refused on a day, and why. Nothing else of them is stored."""

    __tablename__ = "webhook_refusal"

    source: Mapped[str] = mapped_column(sa.String(20), primary_key=True)
    reason: Mapped[str] = mapped_column(sa.String(40), primary_key=True)
    date: Mapped[dt.date] = mapped_column(sa.Date, primary_key=True)
    count: Mapped[int] = mapped_column(sa.BigInteger, default=0)


class Subscription(Timestamps, Base):
    """A subscription as its events say. It outlives its user. Its status is the sender's word, which may be a new one."""

    __tablename__ = "subscription"
    __table_args__ = (
        sa.Index(None, "user_id"),
        sa.Index(None, "source", "customer_id"),
        sa.Index(None, "product_id"),
    )

    id: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    source: Mapped[str] = mapped_column(sa.String(20))
    user_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="SET NULL"))
    customer_id: Mapped[str | None] = mapped_column(sa.String(100))
    customer_external_id: Mapped[str | None] = mapped_column(sa.String(100))
    product_id: Mapped[str | None] = mapped_column(sa.String(100))
    status: Mapped[str] = mapped_column(sa.String(40))
    amount: Mapped[int | None] = mapped_column(sa.BigInteger)  # minor units
    currency: Mapped[str | None] = mapped_column(sa.String(3))
    recurring_interval: Mapped[str | None] = mapped_column(sa.String(20))
    recurring_interval_count: Mapped[int | None]
    current_period_start: Mapped[dt.datetime | None]
    current_period_end: Mapped[dt.datetime | None]
    trial_start: Mapped[dt.datetime | None]
    trial_end: Mapped[dt.datetime | None]
    cancel_at_period_end: Mapped[bool] = mapped_column(default=False)
    canceled_at: Mapped[dt.datetime | None]
    started_at: Mapped[dt.datetime | None]
    ends_at: Mapped[dt.datetime | None]
    ended_at: Mapped[dt.datetime | None]
    past_due_at: Mapped[dt.datetime | None]
    paused_at: Mapped[dt.datetime | None]
    resumes_at: Mapped[dt.datetime | None]
    checkout_id: Mapped[str | None] = mapped_column(sa.String(100))
    discount_id: Mapped[str | None] = mapped_column(sa.String(100))
    seats: Mapped[int | None]
    units: Mapped[int | None] = mapped_column(sa.BigInteger)
    cancellation_reason: Mapped[str | None] = mapped_column(sa.String(100))
    cancellation_comment: Mapped[str | None] = mapped_column(sa.Text)
    details: Mapped[dict[str, Any] | None] = mapped_column("metadata", JsonOf(dict[str, Any]))
    modified_at: Mapped[dt.datetime]  # by the sender's clock, of the newest event that changed it


class Payment(Base):
    """An order or invoice as its events say. It outlives its user. Amounts are in minor units."""

    __tablename__ = "payment"
    __table_args__ = (
        sa.Index(None, "user_id", "created_at"),
        sa.Index(None, "source", "customer_id"),
        sa.Index(None, "subscription_id"),
    )

    id: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    source: Mapped[str] = mapped_column(sa.String(20))
    created_at: Mapped[dt.datetime]  # the sender's
    updated_at: Mapped[dt.datetime | None]
    status: Mapped[str | None] = mapped_column(sa.String(40))
    is_paid: Mapped[bool] = mapped_column(default=False)
    # Subtotal less discount is net, and net with tax is the total. A customer's balance makes less of it due.
    subtotal_amount: Mapped[int | None] = mapped_column(sa.BigInteger)
    discount_amount: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    net_amount: Mapped[int | None] = mapped_column(sa.BigInteger)
    tax_amount: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    total_amount: Mapped[int] = mapped_column(sa.BigInteger)
    due_amount: Mapped[int | None] = mapped_column(sa.BigInteger)
    refunded_amount: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    currency: Mapped[str] = mapped_column(sa.String(3))
    billing: Mapped[dict[str, Any] | None] = mapped_column(JsonOf(dict[str, Any]))
    customer: Mapped[dict[str, Any] | None] = mapped_column(JsonOf(dict[str, Any]))
    details: Mapped[dict[str, Any] | None] = mapped_column("metadata", JsonOf(dict[str, Any]))
    user_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="SET NULL"))
    customer_id: Mapped[str | None] = mapped_column(sa.String(100))
    # No key: the events of the subscription may arrive later.
    subscription_id: Mapped[str | None] = mapped_column(sa.String(100))
    product_id: Mapped[str | None] = mapped_column(sa.String(100))
    billing_reason: Mapped[str | None] = mapped_column(sa.String(60))
    invoice_number: Mapped[str | None] = mapped_column(sa.String(100))
    receipt_url: Mapped[str | None] = mapped_column(sa.Text)
