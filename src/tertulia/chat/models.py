"""Tables of chats, messages, tags and compactions, with their enums and JSON values."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Mapped, mapped_column

from tertulia import clock
from tertulia.chat.parts import Part
from tertulia.db import Base, CreatedAt, Id, JsonOf, Money, Timestamps, closed
from tertulia.ids import new_id
from tertulia.providers.abilities import Effort, ToolChoice, Verbosity
from tertulia.providers.echo import ProviderEcho
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
    SENT = "sent"  # a person's message at commit, a reply when complete
    DELIVERED = "delivered"  # a person's message, at the provider's first byte
    INTERRUPTED = "interrupted"  # by a crash or a cancellation; the run says which
    ERROR = "error"
    DELETED = "deleted"


class FinishReason(StrEnum):
    """The reason why a model stopped."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    TOOL_CALLS = "tool_calls"
    INTERRUPTED = "interrupted"
    ERROR = "error"
    BUDGET = "budget"  # a limit of use left no room for more of the answer
    OTHER = "other"


class OptimizationType(StrEnum):
    """Ways to compact the context: omit the oldest messages, summarise them, or compress the text."""

    TRUNCATION = "truncation"
    SUMMARIZATION = "summarization"
    COMPRESSION = "compression"


class ChatSettings(BaseModel):
    """Settings of a chat's model requests. Absent sampling parameters use the provider's defaults."""

    model_config = ConfigDict(extra="forbid")

    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1, le=32_000)
    top_p: float | None = Field(None, ge=0, le=1)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    reasoning_effort: Effort | None = Field(
        None, description="How long the model thinks. The nearest that it has is used; `null`: its own choice."
    )
    verbosity: Verbosity | None = Field(None, description="How long its replies are, for models that can be asked.")
    web_search: bool | None = Field(None, description="Whether the model may use its vendor's web search.")
    make_pictures: bool | None = Field(None, description="Whether the model may have pictures made by its vendor.")
    tools: list[Key] | None = Field(None, max_length=50, description="The keys of the tools that the model may call.")
    tool_choice: ToolChoice | None = Field(
        None, description="`none`: it may call no tool. `required`: it must call one first. `null`: as it likes."
    )
    parallel_tool_calls: bool | None = Field(
        None, description="Whether one step may have several tool calls. `null`: as the vendor does it."
    )
    when_full: OptimizationType | None = Field(
        None,
        description="How to compact the context when the window is full. `null`: omit the oldest messages.",
    )
    compact_at: float | None = Field(
        None, ge=0.3, le=1, description="The share of the window to use before compaction. `null`: the whole window."
    )


class TokenCount(BaseModel):
    prompt: int
    completion: int
    total: int
    cached: int = 0  # included in prompt
    cache_written: int = 0  # included in prompt
    thinking: int = 0  # included in completion
    web_searches: int = 0  # of the vendor's own search, included in the cost
    cache_savings: Decimal | None = None  # dollars that the cache saved, below 0 if writing cost more; None: unknown
    estimated: bool = False  # our estimate, because the provider reported none


class MessageError(BaseModel):
    code: str
    message: str
    timestamp: datetime


class Deleted(BaseModel):
    """The state of a message before its deletion, used to restore it."""

    status: MessageStatus
    was_head: bool
    next_head: str | None = None  # the head that replaced it, if it was the head
    followers: list[str]  # ids of the messages that followed it


OmittedKind = Literal["system", "summary", "draft", "state", "message", "file", "result", "picture"]


class Omission(BaseModel):
    """What was missing of something that was sent to the model: characters, or pictures."""

    kind: OmittedKind
    name: str | None = Field(None, max_length=1000)  # of the file, the draft or the tool
    amount: int = Field(ge=1)


class MessageMetadata(BaseModel):
    """Details of a message, mostly about how a reply was generated."""

    provider: str | None = None
    model: str | None = None
    run_id: str | None = None  # the newest run that wrote or writes it
    tokens: TokenCount | None = None
    cost: Decimal | None = None
    finish_reason: FinishReason | None = None
    processing_time: float | None = None  # seconds
    temperature: float | None = None
    left_out: int | None = None  # messages of the branch that were not sent
    omissions: list[Omission] | None = None  # what was missing of the messages that were sent
    error: MessageError | None = None
    edited: bool | None = None
    author: str | None = None  # name of an imported message's author without an account
    deleted: Deleted | None = None
    has_searched: bool | None = None  # with the web search of the model's vendor


class ContextRule(StrEnum):
    """Whether models receive a message: if it fits, always, or never."""

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
        # Each list index ends with the id, so that rows with equal times are sorted.
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
        sa.Index(None, "project_id", "last_message_at", "id"),
        sa.Index(
            "ix_chat_handed_over",
            "user_id",
            sqlite_where=sa.text("is_handed_over"),
            postgresql_where=sa.text("is_handed_over"),
        ),
        sa.Index(None, "created_at"),
        sa.Index(None, "deleted_at"),
        # Finds the chat when the same export is imported again.
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
    # The project that it is in. Others of the project may read it, and write as members, only if it is open to them.
    project_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("project.id", ondelete="SET NULL"))
    is_open_to_project: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    # The owner got it from a member who left: what only its first owner could see stays hidden.
    is_handed_over: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    title: Mapped[str] = mapped_column(sa.String(200), default=DEFAULT_TITLE)
    provider: Mapped[str | None] = mapped_column(sa.String(50))
    model_name: Mapped[str | None] = mapped_column(sa.String(100))
    system_prompt: Mapped[str | None] = mapped_column(sa.String(2000))
    context_window_size: Mapped[int | None]
    settings: Mapped[ChatSettings] = mapped_column(JsonOf(ChatSettings), default=ChatSettings)
    # Tool calls that the owner allows to run automatically here; applies only to the owner's runs.
    auto_approval: Mapped[ChatApproval | None] = mapped_column(JsonOf(ChatApproval))
    # SQLAlchemy reserves the attribute name `metadata`.
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
    import_id: Mapped[str | None] = mapped_column(sa.String(200))  # id in the source


class TagColour(StrEnum):
    """Colour names of the web palette, which defines each for the light and dark themes."""

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
    name_key: Mapped[str] = mapped_column(sa.String(200))  # the name without case, width and accents
    colour: Mapped[TagColour] = mapped_column(closed(TagColour), default=TagColour.GREY)
    deleted_at: Mapped[datetime | None]


class ChatTag(CreatedAt, Base):
    __tablename__ = "chat_tag"

    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"), primary_key=True)
    tag_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True, index=True)


class ProviderMetadata(BaseModel):
    echo: ProviderEcho | None = None


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
        # For the purge job; few messages are deleted.
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
        # Few messages are in threads. Indexing the many NULLs would mislead the query planner.
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
    # What the vendor requires back with the text after the last tool call.
    provider_metadata: Mapped[ProviderMetadata | None] = mapped_column(JsonOf(ProviderMetadata))
    # Separate from the metadata, which every page of messages reads: earlier texts are rarely needed.
    edit_history: Mapped[list[Edit]] = mapped_column(JsonOf(list[Edit]), default=list)
    context_rule: Mapped[ContextRule] = mapped_column(
        closed(ContextRule), default=ContextRule.AUTO, server_default=ContextRule.AUTO
    )
    imported: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    import_id: Mapped[str | None] = mapped_column(sa.String(200))
    content: Mapped[str] = mapped_column(sa.Text)
    parts: Mapped[list[Part]] = mapped_column(JsonOf(list[Part]))


class Reaction(CreatedAt, Base):
    __tablename__ = "reaction"

    message_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(
        Id(), sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    emoji: Mapped[str] = mapped_column(sa.String(32), primary_key=True)


class ChatState(Timestamps, Base):
    """State that tools and agents keep for a chat between turns."""

    __tablename__ = "chat_state"

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"), unique=True)
    state: Mapped[dict[str, Any]] = mapped_column(JsonOf(dict[str, Any]), default=dict)
    state_schema: Mapped[dict[str, Any] | None] = mapped_column("schema", JsonOf(dict[str, Any]))


class DraftChat(CreatedAt, Base):
    """A chat about a draft. The service deletes it with the draft, because other chats have no draft."""

    __tablename__ = "draft_chat"

    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"), primary_key=True)
    draft_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("draft.id", ondelete="CASCADE"), index=True)
