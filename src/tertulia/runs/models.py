"""Tables of runs and steps. A run generates one reply; a step is one model request inside it."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.chat.models import FinishReason, Omission, TokenCount
from tertulia.db import Base, Id, JsonOf, Money, Timestamps, closed
from tertulia.ids import new_id
from tertulia.providers.abilities import Effort, ToolChoice, Verbosity
from tertulia.tools.provenance import Source


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    AWAITING_APPROVAL = "awaiting_approval"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class RunError(BaseModel):
    code: str
    detail: str


class ReplyOptions(BaseModel):
    """Settings of the request for one reply. Absent values are those of the chat."""

    model_config = ConfigDict(extra="forbid")

    reasoning_effort: Effort | None = None
    web_search: bool | None = None
    make_pictures: bool | None = None
    tools: bool | None = Field(None, description="`false`: the reply is written without the chat's tools.")


class SentAs(BaseModel):
    """A file of a request, and whether it was sent as it is, or as text."""

    name: str
    as_file: bool


class StepRequest(BaseModel):
    """The request of a step, by reference: message ids identify the text, which never changes (docs/adr/0007)."""

    provider: str
    model_name: str
    message_ids: list[str]
    system_prompt: str | None = None
    left_out: int
    omissions: list[Omission] = Field(default_factory=list)
    continues: bool
    max_tokens: int | None = None  # None: the model's own limit
    estimated_tokens: int = 0  # of the whole request; used if the provider reports no usage
    files: list[SentAs] = []
    pictures: int = 0  # number of pictures sent; vendors count their tokens differently
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    tools: list[str] = []  # keys of the offered tools
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    verbosity: Verbosity | None = None
    web_search: bool = False
    make_pictures: bool = False


class Run(Timestamps, Base):
    __tablename__ = "run"
    __table_args__ = (
        sa.Index(None, "chat_id", "status"),
        sa.Index(None, "message_id"),
        sa.Index(None, "requested_by", "status"),
        sa.Index(None, "status", "created_at"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"))
    message_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="CASCADE"))
    requested_by: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="SET NULL"))
    # The API token that it was requested with, whose limits count, too. None: in the browser. It may be deleted.
    api_token_id: Mapped[str | None] = mapped_column(Id())
    status: Mapped[RunStatus] = mapped_column(closed(RunStatus), default=RunStatus.QUEUED)
    provider: Mapped[str] = mapped_column(sa.String(50))
    model_name: Mapped[str] = mapped_column(sa.String(100))
    options: Mapped[ReplyOptions | None] = mapped_column(JsonOf(ReplyOptions))
    continues: Mapped[bool] = mapped_column(default=False)  # appends to an interrupted message
    lease_owner: Mapped[str | None] = mapped_column(sa.String(60))
    lease_number: Mapped[int] = mapped_column(default=0)
    lease_expires_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    error: Mapped[RunError | None] = mapped_column(JsonOf(RunError))
    usage: Mapped[TokenCount | None] = mapped_column(JsonOf(TokenCount))
    cost: Mapped[Decimal | None] = mapped_column(Money())
    sources: Mapped[list[Source]] = mapped_column(JsonOf(list[Source]), default=list)  # what it has read


class Step(Timestamps, Base):
    __tablename__ = "step"
    __table_args__ = (sa.UniqueConstraint("run_id", "number"),)

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    run_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("run.id", ondelete="CASCADE"))
    number: Mapped[int]
    request: Mapped[StepRequest] = mapped_column(JsonOf(StepRequest))
    usage: Mapped[TokenCount | None] = mapped_column(JsonOf(TokenCount))
    finish_reason: Mapped[FinishReason | None] = mapped_column(closed(FinishReason))
    ended_at: Mapped[datetime | None]
