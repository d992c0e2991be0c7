"""Tables of the ledger, and of the message counts that limits apply to."""

import datetime as dt
from decimal import Decimal
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.db import Base, Id, Money, Timestamps, closed
from tertulia.ids import new_id


class UsageKind(StrEnum):
    MODEL = "model"
    TOOL = "tool"


class UsageStatus(StrEnum):
    RESERVED = "reserved"
    SETTLED = "settled"
    RELEASED = "released"


class UsageLog(Timestamps, Base):
    """One row per model request and per tool call with a cost, paid by `user`. It outlives its chat."""

    __tablename__ = "usage_log"
    __table_args__ = (
        sa.Index(None, "user_id", "kind", "created_at"),
        sa.Index(None, "chat_id"),
        sa.Index(None, "message_id"),
        sa.Index(None, "run_id"),
        sa.Index(None, "tool_execution_id"),
        sa.Index(None, "provider", "model_name", "created_at"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    chat_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="SET NULL"))
    message_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="SET NULL"))
    run_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("run.id", ondelete="SET NULL"))
    # The tool call itself, or the call whose result a model request was made to read.
    tool_execution_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("tool_execution.id", ondelete="SET NULL"))
    kind: Mapped[UsageKind] = mapped_column(closed(UsageKind))
    status: Mapped[UsageStatus] = mapped_column(closed(UsageStatus))
    provider: Mapped[str] = mapped_column(sa.String(50))
    model_name: Mapped[str] = mapped_column(sa.String(100))
    input_tokens: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    output_tokens: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    cached_tokens: Mapped[int] = mapped_column(sa.BigInteger, default=0)  # included in input_tokens
    cache_write_tokens: Mapped[int] = mapped_column(sa.BigInteger, default=0, server_default="0")  # included, too
    # What the cache saved, below 0 if writing to it cost more. None: unknown.
    cache_savings: Mapped[Decimal | None] = mapped_column(Money())
    # A request that compacts the context. It is not a reply.
    is_summary: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    # True if the provider reported no usage, as for a reply that was cut off. Then the tokens are our own count.
    is_estimated: Mapped[bool] = mapped_column(default=False)
    cost: Mapped[Decimal | None] = mapped_column(Money())  # None: unknown, not 0
    reserved_cost: Mapped[Decimal | None] = mapped_column(Money())


class MessageUsage(Timestamps, Base):
    """The number of messages a user sent in a period (a day in UTC), and the start of the next period."""

    __tablename__ = "message_usage"
    __table_args__ = (sa.UniqueConstraint("user_id", "date"), sa.CheckConstraint("message_count >= 0", name="count"))

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    date: Mapped[dt.date] = mapped_column(sa.Date)
    message_count: Mapped[int] = mapped_column(default=0)
    reset_at: Mapped[dt.datetime]
