"""Wire shapes of chats and messages."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from typing_extensions import TypedDict

from tertulia.accounts.schemas import AuthorRead, PermissionsRead
from tertulia.chat.models import (
    ChatKind,
    ChatSettings,
    ContextRule,
    FinishReason,
    MessageRole,
    MessageStatus,
    OptimizationType,
    TagColour,
    TriggerReason,
    Visibility,
)
from tertulia.chat.parts import Part, WrittenPart
from tertulia.ids import AnyId


def _printable(value: str) -> str:
    if not value.strip():
        raise ValueError("A title needs at least one letter.")
    return " ".join(value.split())


def _no_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("The character U+0000 cannot be stored. Remove it.")
    return value


Words = Annotated[str, AfterValidator(_no_nul)]
Title = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_no_nul), AfterValidator(_printable)]
SystemPrompt = Annotated[str, Field(max_length=2000), AfterValidator(_no_nul)]
ProviderName = Annotated[str, Field(min_length=1, max_length=50)]
ModelName = Annotated[str, Field(min_length=1, max_length=100)]


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class ChatCreate(Request):
    title: Title | None = None
    provider: ProviderName | None = None
    model_name: ModelName | None = None
    system_prompt: SystemPrompt | None = None
    settings: ChatSettings = Field(default_factory=ChatSettings)


class ChatUpdate(Request):
    """What is absent stays; null takes a choice back."""

    title: Title | None = None
    is_archived: bool | None = None
    is_pinned: bool | None = None
    visibility: Visibility | None = Field(None, description="`public`: whoever knows its id may read it.")
    provider: ProviderName | None = None
    model_name: ModelName | None = None
    system_prompt: SystemPrompt | None = None
    settings: ChatSettings | None = None
    context_window_size: Annotated[int, Field(ge=256, le=10_000_000)] | None = None


class Written(Request):
    """The words of a person: plain `content`, or `parts`."""

    content: Words | None = None
    parts: Annotated[list[WrittenPart], Field(max_length=256)] | None = None
    attachment_ids: list[AnyId] = Field(
        default_factory=list, description="Files to attach, which come after the words; 20 with those in the parts."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> "Written":
        if self.content is not None and self.parts is not None:
            raise ValueError("Give either content or parts.")
        if self.content is None and self.parts is None and not self.attachment_ids:
            raise ValueError("Give either content or parts.")
        return self


class HeadUpdate(Request):
    message_id: AnyId


TagName = Annotated[str, Field(min_length=1, max_length=50), AfterValidator(_no_nul), AfterValidator(_printable)]


class PresenceTold(Request):
    is_typing: bool = False
    is_leaving: bool = False


class TagCreate(Request):
    name: TagName
    colour: TagColour = TagColour.GREY


class TagUpdate(Request):
    """What is absent stays."""

    name: TagName | None = None
    colour: TagColour | None = None


class TagMerge(Request):
    into_id: AnyId


class TagRead(TypedDict):
    id: str
    name: str
    colour: TagColour
    created_at: datetime


class LastMessage(TypedDict):
    id: str
    role: MessageRole
    excerpt: str


class SettingsRead(TypedDict):
    temperature: float | None
    max_tokens: int | None
    top_p: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    tools: list[str] | None
    when_full: OptimizationType | None
    optimize_at: float | None


class ChatRead(TypedDict):
    """`owner` is null for one's own. Of another's chat its instructions, tags and totals are not told."""

    id: str
    kind: ChatKind
    title: str
    provider: str | None
    model_name: str | None
    system_prompt: str | None
    settings: SettingsRead
    context_window_size: int | None
    visibility: Visibility
    is_archived: bool
    head_message_id: str | None
    message_count: int
    last_message_at: datetime
    total_tokens: int
    total_cost: Decimal
    pinned_at: datetime | None
    tag_ids: list[str]
    deleted_at: datetime | None
    created_at: datetime
    updated_at: datetime
    last_message: LastMessage | None
    owner: AuthorRead | None
    permissions: PermissionsRead


class UsageRead(TypedDict):
    """Tokens of one reply, as the provider counted them, or estimated where it never said. Cached ones are among the input."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: int
    estimated: bool


class MessageErrorRead(TypedDict):
    code: str
    message: str
    timestamp: datetime


class ReactionRead(TypedDict):
    emoji: str
    user_ids: list[str]


class MessageRead(TypedDict):
    id: str
    chat_id: str
    role: MessageRole
    content: str
    parts: list[Part]
    status: MessageStatus
    user: AuthorRead | None
    agent_id: str | None
    provider: str | None
    model_name: str | None
    previous_message_id: str | None
    parent_message_id: str | None
    thread_level: int
    context_rule: ContextRule
    sibling_ids: list[str]
    reply_count: int
    token_count: int | None
    usage: UsageRead | None
    cost: Decimal | None
    finish_reason: FinishReason | None
    error: MessageErrorRead | None
    reactions: list[ReactionRead]
    run_id: str | None
    left_out: int
    edited: bool
    imported: bool
    created_at: datetime
    updated_at: datetime


class EditRead(TypedDict):
    timestamp: datetime
    previous_content: str


class SegmentEnd(TypedDict):
    id: str
    role: MessageRole
    excerpt: str
    model_name: str | None
    created_at: datetime


class Segment(TypedDict):
    """A stretch of messages without a fork; `follows` is the number in the list, from 0, of the one that it goes on from."""

    first: SegmentEnd
    last: SegmentEnd
    message_count: int
    follows: int | None


class ChatTree(TypedDict):
    segments: list[Segment]


class SharedChatRead(TypedDict):
    """What strangers see of a chat."""

    title: str
    owner_name: str
    message_count: int
    created_at: datetime
    last_message_at: datetime


class SharedMessageRead(TypedDict):
    """What strangers see of a message; `name` is its author's, null of a model's."""

    id: str
    role: MessageRole
    name: str | None
    parts: list[Part]
    status: MessageStatus
    model_name: str | None
    run_id: str | None
    created_at: datetime
    updated_at: datetime


class MessageUpdate(Request):
    """Whether models are sent it: as far as it fits, always, or never."""

    context_rule: ContextRule


class MessageWithHistory(MessageRead):
    edit_history: list[EditRead]


Shown = Literal["active", "pinned", "archived", "trash"]


class ContextOptimizationRead(TypedDict):
    """A time that the context was made shorter: on branches that hold the leaf it is about all up to the boundary.

    Tokens are estimates, of what was looked at. `saved_cost` is what each request costs less; `note` why it is not what was wanted.
    """

    id: str
    chat_id: str
    trigger_reason: TriggerReason
    optimization_type: OptimizationType
    boundary_message_id: str
    leaf_message_id: str
    tokens_before: int
    tokens_after: int
    summary: str | None
    is_edited: bool
    affected_messages: list[str]
    provider: str | None
    model_name: str | None
    cost: Decimal | None
    saved_cost: Decimal | None
    note: str | None
    is_stale: bool
    undone_at: datetime | None
    created_at: datetime
    updated_at: datetime
