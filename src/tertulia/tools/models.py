"""Calls of tools as they are recorded, and what a person lets happen unasked."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.db import Base, Id, JsonOf, Money, Timestamps, closed
from tertulia.ids import new_id
from tertulia.tools.protocol import Environment, ResultKind, Risk

MAX_COST_PER_TOOL = Decimal("1.00")
MAX_COST_PER_HOUR = Decimal("10.00")


class ToolStatus(StrEnum):
    """`pending -> approved -> executing -> completed | failed | timeout`; `denied` and `cancelled` from before an end."""

    PENDING = "pending"
    APPROVED = "approved"
    EXECUTING = "executing"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    DENIED = "denied"
    CANCELLED = "cancelled"


OPEN = (ToolStatus.PENDING, ToolStatus.APPROVED, ToolStatus.EXECUTING)


class DecidedBy(StrEnum):
    PERSON = "person"
    RULE = "rule"


class StoredResult(BaseModel):
    """What a tool gave, whole up to MAX_RESULT bytes; `size_bytes` is what it was before it was cut."""

    kind: ResultKind
    content: Any
    size_bytes: int
    is_cut: bool = False


def storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("The character U+0000 cannot be stored. Remove it.")
    return value


Plain = Annotated[str, AfterValidator(storable)]
Key = Annotated[
    str, Field(min_length=1, max_length=201), AfterValidator(storable)
]  # a tool's, with its server's name before it


class StoredQuestion(BaseModel):
    """What a call wants to know before it goes on (protocol.Question)."""

    id: str
    message: str
    form: dict[str, Any] | None = None
    url: str | None = None
    asked_at: datetime


class StoredReply(BaseModel):
    """What the person said to the last question, until the call has taken it."""

    question_id: str
    action: Literal["accept", "decline", "cancel"]
    content: dict[str, Any] | None = None


class ToolRule(BaseModel):
    """One rule about a tool. It counts where each named argument matches its pattern (`*` stands for anything).

    `definition_digest`: what was allowed is the tool as it was described then, which the server notes; one that changed is
    asked about again.
    """

    model_config = ConfigDict(extra="forbid")

    rule: Literal["allow", "ask", "never"]
    arguments: dict[Key, Annotated[Plain, Field(max_length=200)]] = Field(default_factory=dict, max_length=20)
    definition_digest: str | None = Field(None, pattern="^[0-9a-f]{64}$")


ToolRules = dict[Key, list[ToolRule]]  # by the tool's key; the first rule that matches counts


class ChatApproval(BaseModel):
    """What a chat's owner lets happen unasked in this chat; what is None is as everywhere."""

    model_config = ConfigDict(extra="forbid")

    read_only_operations: bool | None = None
    low_risk_operations: bool | None = None
    require_approval_for_new_tools: bool | None = None
    max_cost_per_tool: Decimal | None = Field(
        None, ge=0, le=1000, max_digits=12, decimal_places=6
    )  # it narrows the person's own
    specific_tools: ToolRules = Field(default_factory=dict, max_length=200)


class ToolExecution(Timestamps, Base):
    """A tool call: what the model asked, what was decided, and what came of it. Statuses move by guarded updates alone."""

    __tablename__ = "tool_execution"
    __table_args__ = (
        sa.Index(None, "chat_id", "id"),
        sa.Index(None, "message_id"),
        sa.Index(None, "tool_name"),
        sa.Index(None, "status", "created_at"),
        sa.Index(None, "run_id", "status"),
        sa.Index(None, "requested_by", "status", "id"),
        sa.Index(None, "decided_by"),
        sa.Index(None, "requested_by", "tool_name", "definition_digest"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"))
    message_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="CASCADE"))
    run_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("run.id", ondelete="CASCADE"))  # None: of a copy
    step: Mapped[int]
    requested_by: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="SET NULL"))
    tool_call_id: Mapped[str] = mapped_column(sa.String(200))
    tool_name: Mapped[str] = mapped_column(sa.String(100))
    server: Mapped[str | None] = mapped_column(sa.String(100))
    environment: Mapped[Environment | None] = mapped_column(closed(Environment))  # of that server
    risk: Mapped[Risk] = mapped_column(closed(Risk))
    parameters: Mapped[dict[str, Any]] = mapped_column(JsonOf(dict[str, Any]))
    edited_parameters: Mapped[dict[str, Any] | None] = mapped_column(JsonOf(dict[str, Any]))
    definition_digest: Mapped[str] = mapped_column(sa.String(64))
    arguments_digest: Mapped[str] = mapped_column(sa.String(64))
    status: Mapped[ToolStatus] = mapped_column(closed(ToolStatus), default=ToolStatus.PENDING)
    decision: Mapped[DecidedBy | None] = mapped_column(closed(DecidedBy))
    reason: Mapped[str] = mapped_column(sa.String(40))  # why it ran unasked, asked, or was refused: tools/policy.py
    untrusted_sources: Mapped[list[str]] = mapped_column(
        JsonOf(list[str]), default=list
    )  # whose words its arguments carry
    decided_by: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="SET NULL"))
    deny_note: Mapped[str | None] = mapped_column(sa.String(1000))
    approval_requested_at: Mapped[datetime | None]
    approved_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    executed_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    execution_time_ms: Mapped[int | None]
    estimated_cost: Mapped[Decimal] = mapped_column(Money())
    cost: Mapped[Decimal | None] = mapped_column(Money())
    result: Mapped[StoredResult | None] = mapped_column(JsonOf(StoredResult))
    is_untrusted: Mapped[bool] = mapped_column(default=True)  # whether the result is somebody else's words
    error_code: Mapped[str | None] = mapped_column(sa.String(40))
    error_message: Mapped[str | None] = mapped_column(sa.Text())
    question: Mapped[StoredQuestion | None] = mapped_column(JsonOf(StoredQuestion))
    reply: Mapped[StoredReply | None] = mapped_column(JsonOf(StoredReply))

    @property
    def sent_parameters(self) -> dict[str, Any]:
        """The arguments that it runs with: as the person changed them, where they did."""
        return self.parameters if self.edited_parameters is None else self.edited_parameters


class AutoApprovalSetting(Timestamps, Base):
    """What a person lets tools do unasked. Whoever has none has the defaults, which ask about everything."""

    __tablename__ = "auto_approval_setting"

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"), unique=True)
    read_only_operations: Mapped[bool] = mapped_column(default=False)
    low_risk_operations: Mapped[bool] = mapped_column(default=False)
    specific_tools: Mapped[ToolRules] = mapped_column(JsonOf(ToolRules), default=dict)
    max_cost_per_tool: Mapped[Decimal] = mapped_column(Money(), default=MAX_COST_PER_TOOL)
    max_cost_per_hour: Mapped[Decimal] = mapped_column(Money(), default=MAX_COST_PER_HOUR)
    require_approval_for_new_tools: Mapped[bool] = mapped_column(default=True)
