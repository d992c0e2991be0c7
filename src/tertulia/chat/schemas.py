"""Request and response shapes of chats, messages, tags and compactions."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import TypedDict

from tertulia.accounts.schemas import AuthorRead, PermissionsRead
from tertulia.chat.models import (
    ChatKind,
    ChatSettings,
    ContextRule,
    FinishReason,
    MessageRole,
    MessageStatus,
    OmittedKind,
    OptimizationType,
    TagColour,
    Visibility,
)
from tertulia.chat.parts import Part, WrittenPart
from tertulia.http.body import RequestModel
from tertulia.ids import AnyId, ProjectId
from tertulia.providers.abilities import Effort, ToolChoice, Verbosity


def _printable(value: str) -> str:
    if not value.strip():
        raise ValueError("Enter at least one character other than a space.")
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


class ChatCreate(RequestModel):
    title: Title | None = None
    provider: ProviderName | None = None
    model_name: ModelName | None = None
    system_prompt: SystemPrompt | None = None
    settings: ChatSettings = Field(default_factory=ChatSettings)
    project_id: ProjectId | None = Field(None, description="The project that the chat belongs to.")
    is_open_to_project: bool | None = Field(
        None, description="Whether members of the project may read the chat, and write in it."
    )


class ChatUpdate(RequestModel):
    """Changes to a chat. Absent fields stay unchanged; null clears a choice."""

    title: Title | None = None
    is_archived: bool | None = None
    is_pinned: bool | None = None
    visibility: Visibility | None = Field(None, description="`public`: anyone who knows the chat's id can read it.")
    provider: ProviderName | None = None
    model_name: ModelName | None = None
    system_prompt: SystemPrompt | None = None
    settings: ChatSettings | None = None
    context_window_size: Annotated[int, Field(ge=256, le=10_000_000)] | None = None


class Written(RequestModel):
    """A person's message: plain `content`, or `parts`."""

    content: Words | None = None
    parts: Annotated[list[WrittenPart], Field(max_length=256)] | None = None
    attachment_ids: list[AnyId] = Field(
        default_factory=list,
        max_length=256,
        description="Files to attach after the text. At most 20, including those in `parts`.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> "Written":
        if self.content is not None and self.parts is not None:
            raise ValueError("Send either `content` or `parts`, not both.")
        if self.content is None and self.parts is None and not self.attachment_ids:
            raise ValueError("Send `content`, `parts` or `attachment_ids`.")
        return self


class HeadUpdate(RequestModel):
    message_id: AnyId


TagName = Annotated[str, Field(min_length=1, max_length=50), AfterValidator(_no_nul), AfterValidator(_printable)]


class PresenceTold(RequestModel):
    is_typing: bool = False
    is_leaving: bool = False


class TagCreate(RequestModel):
    name: TagName
    colour: TagColour = TagColour.GREY


class TagUpdate(RequestModel):
    """Changes to a tag. Absent fields stay unchanged."""

    name: TagName | None = None
    colour: TagColour | None = None


class TagMerge(RequestModel):
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
    reasoning_effort: Effort | None
    verbosity: Verbosity | None
    web_search: bool | None
    make_pictures: bool | None
    tools: list[str] | None
    tool_choice: ToolChoice | None
    parallel_tool_calls: bool | None
    when_full: OptimizationType | None
    compact_at: float | None


class ChatRead(TypedDict):
    """A chat. `owner` is null for the caller's own. Other people's chats hide the system prompt, tags and totals.

    `project_id` is null for those who read the chat without being in its project.
    """

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
    project_id: str | None
    is_open_to_project: bool
    last_message: LastMessage | None
    owner: AuthorRead | None
    permissions: PermissionsRead


class UsageRead(TypedDict):
    """Tokens of one reply, as reported by the provider or estimated. `cached_tokens` are included in `input_tokens`."""

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


class OmissionRead(TypedDict):
    """What was missing of something that was sent to the model, as it had no room."""

    kind: OmittedKind
    name: NotRequired[str]  # of the file or the tool
    amount: int  # characters; pictures if `kind` is `picture`


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
    omissions: list[OmissionRead]
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
    """A stretch of messages without a fork; `follows` is the index, from 0, of the segment that it continues."""

    first: SegmentEnd
    last: SegmentEnd
    message_count: int
    follows: int | None


class ChatTree(TypedDict):
    segments: list[Segment]


class SharedChatRead(TypedDict):
    """A chat as strangers see it."""

    title: str
    owner_name: str
    message_count: int
    created_at: datetime
    last_message_at: datetime


class SharedMessageRead(TypedDict):
    """A message as strangers see it; `name` is its author's, null for a model."""

    id: str
    role: MessageRole
    name: str | None
    parts: list[Part]
    status: MessageStatus
    model_name: str | None
    run_id: str | None
    created_at: datetime
    updated_at: datetime


class MessageUpdate(RequestModel):
    """Whether models receive the message: if it fits, always, or never."""

    context_rule: ContextRule


class MessageWithHistory(MessageRead):
    edit_history: list[EditRead]


Shown = Literal["active", "pinned", "archived", "trash"]


class StateRead(TypedDict):
    chat_id: str
    state: dict[str, Any]
    schema: dict[str, Any] | None
    updated_at: datetime | None
