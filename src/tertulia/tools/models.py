"""Tables of tool calls and of automatic approval settings."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.db import Base, Id, JsonOf, Money, Timestamps, closed
from tertulia.http.body import at_most
from tertulia.ids import new_id
from tertulia.providers.echo import ProviderEcho
from tertulia.tools.protocol import Environment, ResultKind, Risk
from tertulia.tools.provenance import Source, SourceGroup

MAX_COST_PER_TOOL = Decimal("1.00")
MAX_COST_PER_HOUR = Decimal("10.00")


class ToolStatus(StrEnum):
    """Statuses: `pending -> approved -> executing -> completed | failed | timeout`.

    An open call can also end as `denied` or `cancelled`.
    """

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
    """The result of a tool, cut at MAX_RESULT bytes. `size_bytes` is the size before the cut."""

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
]  # a tool key (`name` or `server/name`), or an argument's name


class StoredQuestion(BaseModel):
    """A question from a running call to the person (protocol.Question)."""

    id: str
    message: str
    form: dict[str, Any] | None = None
    url: str | None = None
    asked_at: datetime


class StoredReply(BaseModel):
    """The person's reply to the last question, kept until the call has read it."""

    question_id: str
    action: Literal["accept", "decline", "cancel"]
    content: dict[str, Any] | None = None


class ToolRule(BaseModel):
    """A rule for one tool. It applies if every named argument matches its pattern (`*` matches anything).

    `definition_digest` identifies the definition that was allowed, and is set by the server. A changed tool needs
    approval again.
    """

    model_config = ConfigDict(extra="forbid")

    rule: Literal["allow", "ask", "never"]
    arguments: Annotated[dict[Key, Annotated[Plain, Field(max_length=200)]], *at_most(20)] = Field(default_factory=dict)
    definition_digest: str | None = Field(None, pattern="^[0-9a-f]{64}$")


ToolRules = dict[
    Key, Annotated[list[ToolRule], Field(max_length=100)]
]  # by tool key; a matching `never` wins, else the first match


class ChatApproval(BaseModel):
    """Automatic approval settings of one chat, made by its owner. None inherits the account setting."""

    model_config = ConfigDict(extra="forbid")

    read_only_operations: bool | None = None
    low_risk_operations: bool | None = None
    require_approval_for_new_tools: bool | None = None
    max_cost_per_tool: Decimal | None = Field(
        None, ge=0, le=1000, max_digits=12, decimal_places=6
    )  # can only lower the account's limit
    specific_tools: Annotated[ToolRules, *at_most(200)] = Field(default_factory=dict)


class ToolExecution(Timestamps, Base):
    """A tool call with its decision and result. Only guarded updates change the status."""

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
    run_id: Mapped[str | None] = mapped_column(
        Id(), sa.ForeignKey("run.id", ondelete="CASCADE")
    )  # None: copied or imported
    step: Mapped[int]
    requested_by: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="SET NULL"))
    tool_call_id: Mapped[str] = mapped_column(sa.String(200))
    tool_name: Mapped[str] = mapped_column(sa.String(100))
    server: Mapped[str | None] = mapped_column(sa.String(100))
    environment: Mapped[Environment | None] = mapped_column(closed(Environment))  # of the server
    risk: Mapped[Risk] = mapped_column(closed(Risk))
    parameters: Mapped[dict[str, Any]] = mapped_column(JsonOf(dict[str, Any]))
    edited_parameters: Mapped[dict[str, Any] | None] = mapped_column(JsonOf(dict[str, Any]))
    definition_digest: Mapped[str] = mapped_column(sa.String(64))
    arguments_digest: Mapped[str] = mapped_column(sa.String(64))
    status: Mapped[ToolStatus] = mapped_column(closed(ToolStatus), default=ToolStatus.PENDING)
    decision: Mapped[DecidedBy | None] = mapped_column(closed(DecidedBy))
    reason: Mapped[str] = mapped_column(
        sa.String(40)
    )  # why it ran automatically, needed approval or was refused: policy.Reason
    # What its run had read when the call was proposed, and what its result was read from.
    sources: Mapped[list[SourceGroup]] = mapped_column(JsonOf(list[SourceGroup]), default=list)
    result_sources: Mapped[list[Source]] = mapped_column(JsonOf(list[Source]), default=list)
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
    is_untrusted: Mapped[bool] = mapped_column(default=True)  # whether the result is untrusted text
    error_code: Mapped[str | None] = mapped_column(sa.String(40))
    error_message: Mapped[str | None] = mapped_column(sa.Text())
    # What the model's vendor requires back with this call. The turn's own is with its first call.
    echo: Mapped[ProviderEcho | None] = mapped_column(JsonOf(ProviderEcho))
    question: Mapped[StoredQuestion | None] = mapped_column(JsonOf(StoredQuestion))
    reply: Mapped[StoredReply | None] = mapped_column(JsonOf(StoredReply))

    @property
    def sent_parameters(self) -> dict[str, Any]:
        """Return the arguments that the call runs with: the edited ones, if any."""
        return self.parameters if self.edited_parameters is None else self.edited_parameters


class AutoApprovalSetting(Timestamps, Base):
    """A person's automatic approval settings. Without a row the defaults apply: every call needs approval."""

    __tablename__ = "auto_approval_setting"

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"), unique=True)
    read_only_operations: Mapped[bool] = mapped_column(default=False)
    low_risk_operations: Mapped[bool] = mapped_column(default=False)
    specific_tools: Mapped[ToolRules] = mapped_column(JsonOf(ToolRules), default=dict)
    max_cost_per_tool: Mapped[Decimal] = mapped_column(Money(), default=MAX_COST_PER_TOOL)
    max_cost_per_hour: Mapped[Decimal] = mapped_column(Money(), default=MAX_COST_PER_HOUR)
    require_approval_for_new_tools: Mapped[bool] = mapped_column(default=True)
