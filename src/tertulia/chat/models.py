"""Chats and messages. A message is never overwritten: editing and regenerating make a sibling."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Mapped, mapped_column

from tertulia import clock
from tertulia.chat.parts import Part
from tertulia.db import Base, Created, Id, JsonOf, Money, Timestamps, closed
from tertulia.ids import new_id
from tertulia.tools.models import ChatApproval, Key

DEFAULT_TITLE = "New Chat"
MAX_WRITTEN = 100_000
MAX_REPLY = 1024 * 1024
MAX_THREAD_LEVEL = 10


class ChatKind(StrEnum):
    DIRECT = "direct"
    CHANNEL = "channel"
    DRAFT = "draft"


class Visibility(StrEnum):
    PRIVATE = "private"
    PUBLIC = "public"


class MessageRole(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"


class MessageStatus(StrEnum):
    SENDING = "sending"  # queued
    STREAMING = "streaming"  # from the first byte
    SENT = "sent"  # a person's at commit, a reply when whole
    DELIVERED = "delivered"  # a person's, at the provider's first byte
    INTERRUPTED = "interrupted"  # by a crash or a cancel: the run says which
    ERROR = "error"
    DELETED = "deleted"


class FinishReason(StrEnum):
    """Why a model stopped."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    TOOL_CALLS = "tool_calls"
    INTERRUPTED = "interrupted"
    ERROR = "error"
    OTHER = "other"


class OptimizationType(StrEnum):
    """Ways to send less: leave the oldest out, tell what was said by a summary, say the same in fewer tokens."""

    TRUNCATION = "truncation"
    SUMMARIZATION = "summarization"
    COMPRESSION = "compression"


class TriggerReason(StrEnum):
    TOKEN_LIMIT = "token_limit"  # noqa: S105 - of a window
    USER_REQUEST = "user_request"
    AUTO = "auto"


class ChatSettings(BaseModel):
    """What the provider is asked for; what is absent is the provider's default."""

    model_config = ConfigDict(extra="forbid")

    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1, le=32_000)
    top_p: float | None = Field(None, ge=0, le=1)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    tools: list[Key] | None = Field(
        None, max_length=50, description="The keys of the tools that the model may ask for."
    )
    when_full: OptimizationType | None = Field(
        None, description="What is done when the window is full; null: the oldest messages are left out (truncation)."
    )
    optimize_at: float | None = Field(
        None, ge=0.3, le=1, description="The part of the window that may be used before that is done; null: all of it."
    )


class TokenCount(BaseModel):
    prompt: int
    completion: int
    total: int
    cached: int = 0  # among the prompt
    estimated: bool = False  # our own count, because the provider never said


class MessageError(BaseModel):
    code: str
    message: str
    timestamp: datetime


class Deleted(BaseModel):
    """What a deleted message was, for whoever takes the deletion back."""

    status: MessageStatus
    was_head: bool
    next_head: str | None = None  # where the chat's head went, if it was here
    followers: list[str]  # ids of the messages that followed it, and were linked to the one before it


class MessageMetadata(BaseModel):
    """How a reply came to be."""

    provider: str | None = None
    model: str | None = None
    run_id: str | None = None  # the newest run that wrote or writes it
    tokens: TokenCount | None = None
    cost: Decimal | None = None
    finish_reason: FinishReason | None = None
    processing_time: float | None = None  # seconds
    temperature: float | None = None
    left_out: int | None = None  # messages of the branch that did not fit the model's window
    error: MessageError | None = None
    edited: bool | None = None
    author: str | None = None  # of an imported message: somebody who has no account here
    deleted: Deleted | None = None


class ContextRule(StrEnum):
    """What goes to models of a message: what fits, always, or never."""

    AUTO = "auto"
    PINNED = "pinned"
    LEFT_OUT = "left_out"


class Edit(BaseModel):
    timestamp: datetime
    previous_content: str


class Chat(Timestamps, Base):
    __tablename__ = "chat"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["id", "head_message_id"],
            ["message.chat_id", "message.id"],
            name="fk_chat_head_message",
            use_alter=True,
            deferrable=True,
            initially="DEFERRED",
            ondelete="NO ACTION",
        ),
        # The id ends each list index, so that equal times are already in order.
        sa.Index(None, "user_id", "is_archived", "last_message_at", "id"),
        sa.Index(None, "user_id", "last_message_at", "id"),
        sa.Index(
            "ix_chat_pinned",
            "user_id",
            "last_message_at",
            "id",
            sqlite_where=sa.text("pinned_at IS NOT NULL"),
            postgresql_where=sa.text("pinned_at IS NOT NULL"),
        ),
        sa.Index(None, "created_at"),
        sa.Index(None, "deleted_at"),
        # What was imported once is known again.
        sa.Index(
            "uq_chat_import",
            "user_id",
            "import_source",
            "import_id",
            unique=True,
            sqlite_where=sa.text("import_id IS NOT NULL"),
            postgresql_where=sa.text("import_id IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    kind: Mapped[ChatKind] = mapped_column(closed(ChatKind), default=ChatKind.DIRECT)
    title: Mapped[str] = mapped_column(sa.String(200), default=DEFAULT_TITLE)
    provider: Mapped[str | None] = mapped_column(sa.String(50))
    model_name: Mapped[str | None] = mapped_column(sa.String(100))
    system_prompt: Mapped[str | None] = mapped_column(sa.String(2000))
    context_window_size: Mapped[int | None]
    settings: Mapped[ChatSettings] = mapped_column(JsonOf(ChatSettings), default=ChatSettings)
    # `metadata` is taken by SQLAlchemy's classes, hence the other name in Python alone.
    # What the owner lets tools do unasked here; counts for the owner's own runs alone.
    auto_approval: Mapped[ChatApproval | None] = mapped_column(JsonOf(ChatApproval))
    details: Mapped[dict[str, Any]] = mapped_column("metadata", JsonOf(dict[str, Any]), default=dict)
    visibility: Mapped[Visibility] = mapped_column(closed(Visibility), default=Visibility.PRIVATE)
    is_archived: Mapped[bool] = mapped_column(default=False)
    head_message_id: Mapped[str | None] = mapped_column(Id())
    message_count: Mapped[int] = mapped_column(default=0)
    last_message_at: Mapped[datetime] = mapped_column(default=clock.now)
    total_tokens: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    total_cost: Mapped[Decimal] = mapped_column(Money(), default=Decimal(0))
    pinned_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    import_source: Mapped[str | None] = mapped_column(sa.String(20))
    import_id: Mapped[str | None] = mapped_column(sa.String(200))  # what the source calls it


class TagColour(StrEnum):
    """Names of meanings in the web's own palette, which has each of them for light and for dark."""

    GREY = "grey"
    RED = "red"
    ORANGE = "orange"
    GREEN = "green"
    BLUE = "blue"
    PURPLE = "purple"


class Tag(Timestamps, Base):
    __tablename__ = "tag"
    __table_args__ = (
        sa.Index(
            "uq_tag_user_id_name_key",
            "user_id",
            "name_key",
            unique=True,
            sqlite_where=sa.text("deleted_at IS NULL"),
            postgresql_where=sa.text("deleted_at IS NULL"),
        ),
        sa.Index(None, "user_id"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(sa.String(50))
    name_key: Mapped[str] = mapped_column(sa.String(200))  # without case, width and accents
    colour: Mapped[TagColour] = mapped_column(closed(TagColour), default=TagColour.GREY)
    deleted_at: Mapped[datetime | None]


class ChatTag(Created, Base):
    __tablename__ = "chat_tag"

    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"), primary_key=True)
    tag_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True, index=True)


class Message(Timestamps, Base):
    __tablename__ = "message"
    __table_args__ = (
        sa.UniqueConstraint("chat_id", "id"),
        sa.ForeignKeyConstraint(
            ["chat_id", "previous_message_id"],
            ["message.chat_id", "message.id"],
            name="fk_message_previous",
            deferrable=True,
            initially="DEFERRED",
            ondelete="NO ACTION",
        ),
        sa.ForeignKeyConstraint(
            ["chat_id", "parent_message_id"],
            ["message.chat_id", "message.id"],
            name="fk_message_parent_in_chat",
            deferrable=True,
            initially="DEFERRED",
            ondelete="NO ACTION",
        ),
        sa.CheckConstraint(f"role = 'assistant' OR length(content) <= {MAX_WRITTEN}", name="written_length"),
        sa.CheckConstraint(f"thread_level BETWEEN 0 AND {MAX_THREAD_LEVEL}", name="thread_level"),
        sa.Index(None, "chat_id", "previous_message_id", "parent_message_id"),
        sa.Index(None, "chat_id", "role", "created_at"),
        sa.Index(None, "user_id", "created_at"),
        # For the sweep; few messages are deleted.
        sa.Index(
            "ix_message_deleted",
            "updated_at",
            sqlite_where=sa.text("status = 'deleted'"),
            postgresql_where=sa.text("status = 'deleted'"),
        ),
        sa.Index(
            "ix_message_pinned",
            "chat_id",
            "id",
            sqlite_where=sa.text("context_rule = 'pinned'"),
            postgresql_where=sa.text("context_rule = 'pinned'"),
        ),
        # Few messages are in threads; left in, the many without a parent would mislead whoever plans by averages.
        sa.Index(
            None,
            "parent_message_id",
            "thread_level",
            sqlite_where=sa.text("parent_message_id IS NOT NULL"),
            postgresql_where=sa.text("parent_message_id IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"))
    user_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="SET NULL"))
    role: Mapped[MessageRole] = mapped_column(closed(MessageRole))
    status: Mapped[MessageStatus] = mapped_column(closed(MessageStatus))
    previous_message_id: Mapped[str | None] = mapped_column(Id())
    parent_message_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="SET NULL"))
    thread_level: Mapped[int] = mapped_column(default=0)
    token_count: Mapped[int | None]
    details: Mapped[MessageMetadata] = mapped_column("metadata", JsonOf(MessageMetadata), default=MessageMetadata)
    provider_metadata: Mapped[dict[str, Any] | None] = mapped_column(JsonOf(dict[str, Any]))
    # Apart from the metadata, which pages read, because fifty old wordings are read only when asked for.
    edit_history: Mapped[list[Edit]] = mapped_column(JsonOf(list[Edit]), default=list)
    context_rule: Mapped[ContextRule] = mapped_column(
        closed(ContextRule), default=ContextRule.AUTO, server_default=ContextRule.AUTO
    )
    imported: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    import_id: Mapped[str | None] = mapped_column(sa.String(200))
    content: Mapped[str] = mapped_column(sa.Text)
    parts: Mapped[list[Part]] = mapped_column(JsonOf(list[Part]))


class Reaction(Created, Base):
    __tablename__ = "reaction"

    message_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(
        Id(), sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    emoji: Mapped[str] = mapped_column(sa.String(32), primary_key=True)


class ChatState(Timestamps, Base):
    """What is remembered of a chat's task between turns (S2's session states)."""

    __tablename__ = "chat_state"

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"), unique=True)
    state: Mapped[dict[str, Any]] = mapped_column(JsonOf(dict[str, Any]), default=dict)
    state_schema: Mapped[dict[str, Any] | None] = mapped_column("schema", JsonOf(dict[str, Any]))


class ContextOptimization(Timestamps, Base):
    """A time that the context was made shorter. Messages stay as they are; what a step sends is computed from both.

    It counts on branches that hold its leaf: there all up to its boundary is left out, told by the summary, or compressed.
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
    tokens_before: Mapped[int]  # estimated, of what was looked at: the newest part of the branch
    tokens_after: Mapped[int]
    window: Mapped[
        int | None
    ]  # tokens, of the model that it was made for; what is made by itself counts for no much larger one
    summary: Mapped[str | None] = mapped_column(sa.Text)
    # Of what is left out: the summary of what was before that, which goes on being told.
    summary_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("context_optimization.id", ondelete="SET NULL"))
    oldest_told_id: Mapped[str | None] = mapped_column(
        Id()
    )  # a bound, which outlives its message: nothing before is told of
    is_edited: Mapped[bool] = mapped_column(default=False)  # whether a person changed the summary
    affected_messages: Mapped[list[str]] = mapped_column(JsonOf(list[str]), default=list)  # ids, newest first
    provider: Mapped[str | None] = mapped_column(sa.String(100))  # who summarised
    model_name: Mapped[str | None] = mapped_column(sa.String(100))
    cost: Mapped[Decimal | None] = mapped_column(Money())  # of the summary; None: unknown, or nothing was asked
    saved_cost: Mapped[Decimal | None] = mapped_column(Money())  # with each request after it; None: unknown
    note: Mapped[str | None] = mapped_column(sa.Text)  # why it is not what was wanted
    stale_at: Mapped[datetime | None]  # a message that it tells of changed since
    undone_at: Mapped[datetime | None]
