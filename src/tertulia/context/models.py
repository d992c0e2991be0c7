"""The table of compactions."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.chat.models import OptimizationType
from tertulia.db import Base, Id, JsonOf, Money, Timestamps, closed
from tertulia.ids import new_id


class TriggerReason(StrEnum):
    TOKEN_LIMIT = "token_limit"  # noqa: S105 - not a secret
    USER_REQUEST = "user_request"
    AUTO = "auto"


class ContextOptimization(Timestamps, Base):
    """A compaction of the context. Messages stay unchanged; prompt assembly uses both.

    It applies to branches that contain its leaf: all messages up to its boundary are omitted, summarised or compressed.
    """

    __tablename__ = "context_optimization"
    __table_args__ = (
        sa.Index(None, "chat_id", "id"),
        sa.Index(None, "boundary_message_id"),
        sa.Index(None, "leaf_message_id"),
        sa.Index(None, "created_by"),
        sa.Index(None, "summary_id"),
        sa.CheckConstraint("tokens_after <= tokens_before", name="tokens"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"))
    created_by: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="SET NULL"))
    trigger_reason: Mapped[TriggerReason] = mapped_column(closed(TriggerReason))
    optimization_type: Mapped[OptimizationType] = mapped_column(closed(OptimizationType))
    boundary_message_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="CASCADE"))
    leaf_message_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="CASCADE"))
    tokens_before: Mapped[int]  # estimated for the newest part of the branch, as far as it was read
    tokens_after: Mapped[int]
    window: Mapped[
        int | None
    ]  # tokens of the model it was made for; an automatic compaction does not apply to a much larger window
    summary: Mapped[str | None] = mapped_column(sa.Text)
    # Of a truncation: the earlier summary that stays included in the prompt.
    summary_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("context_optimization.id", ondelete="SET NULL"))
    oldest_covered_id: Mapped[str | None] = mapped_column(
        Id()
    )  # of a summary: the oldest message covered, also after that message is deleted
    is_edited: Mapped[bool] = mapped_column(default=False)  # whether a person changed the summary
    affected_messages: Mapped[list[str]] = mapped_column(JsonOf(list[str]), default=list)  # ids, newest first
    provider: Mapped[str | None] = mapped_column(sa.String(100))  # of the summary
    model_name: Mapped[str | None] = mapped_column(sa.String(100))
    cost: Mapped[Decimal | None] = mapped_column(Money())  # of the summary; None: unknown, or no model was used
    saved_cost: Mapped[Decimal | None] = mapped_column(Money())  # by each later request; None: unknown
    note: Mapped[str | None] = mapped_column(sa.Text)  # why it differs from what was requested
    superseded_at: Mapped[datetime | None]  # when a message that it covers changed
    reverted_at: Mapped[datetime | None]
