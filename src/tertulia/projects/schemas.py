"""Request and response shapes of projects."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from tertulia.accounts.models import MemberRole
from tertulia.accounts.names import name_key
from tertulia.accounts.schemas import AuthorRead
from tertulia.http.body import RequestModel
from tertulia.ids import AnyId
from tertulia.projects.models import MAX_DESCRIPTION, MAX_INSTRUCTIONS, MAX_NAME, MAX_TOPIC, ChannelType, ProjectStatus


def _name(value: str) -> str:
    value = value.strip()
    if not value or not value.isprintable():
        raise ValueError("Enter a name, in one line.")
    return value


def _text(value: str | None) -> str | None:
    return value.strip() or None if value is not None else None


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_name)]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION), AfterValidator(_text)]
Instructions = Annotated[str, Field(max_length=MAX_INSTRUCTIONS), AfterValidator(_text)]
Model = Annotated[
    str,
    Field(max_length=151, pattern=r"^[^/]+/[\s\S]+$", description="`provider/model_name`, for chats without a model."),
]


def _channel_name(value: str) -> str:
    value = "-".join(value.strip().lstrip("#").casefold().split())
    if not value or not value.isprintable() or "@" in value:
        raise ValueError("Enter a name without @, in one line.")
    if max(len(value), len(name_key(value))) > MAX_NAME:
        raise ValueError(f"Enter at most {MAX_NAME} characters. Some of these count as several.")
    return value


ChannelName = Annotated[
    str,
    Field(min_length=1, max_length=MAX_NAME, description="Stored in small letters, with - instead of spaces."),
    AfterValidator(_channel_name),
]
Topic = Annotated[str, Field(max_length=MAX_TOPIC), AfterValidator(_text)]


class ProjectCreate(RequestModel):
    name: Name
    description: Description | None = None
    instructions: Instructions | None = Field(None, description="What models read before each chat of the project.")
    default_model: Model | None = None


class ProjectUpdate(RequestModel):
    """Changes to a project. Absent fields stay unchanged; null clears a text or the model."""

    name: Name | None = None
    description: Description | None = None
    instructions: Instructions | None = None
    default_model: Model | None = None
    is_archived: bool | None = Field(None, description="In an archived project, members only read.")


class ChannelRead(TypedDict):
    """A channel as the caller sees it. Its messages are those of `chat_id`.

    `unread_count` counts what others wrote since the caller's last read message, without threads, and `mention_count` the
    messages that name the caller, also in threads; 100 means 100 or more. Nothing from before they joined is unread.
    """

    id: str
    project_id: str
    chat_id: str
    name: str
    type: ChannelType
    topic: str | None
    unread_count: int
    mention_count: int
    last_read_id: str
    is_muted: bool
    deleted_at: datetime | None


class ChannelList(TypedDict):
    items: list[ChannelRead]


class ChannelCreate(RequestModel):
    name: ChannelName
    topic: Topic | None = None


class ChannelUpdate(RequestModel):
    """Changes to a channel. Absent fields stay unchanged; null clears the topic."""

    name: ChannelName | None = None
    topic: Topic | None = None


class ReadUntil(RequestModel):
    message_id: AnyId = Field(description="The newest message that was read. An older one than before changes nothing.")


class ChannelMuted(RequestModel):
    is_muted: bool


class ProjectRead(TypedDict):
    """A project as its members see it. `role` is the caller's. `channels` is null in lists."""

    id: str
    name: str
    description: str | None
    instructions: str | None
    default_model: str | None
    status: ProjectStatus
    role: MemberRole
    owner: AuthorRead
    member_count: int
    channels: list[ChannelRead] | None
    deleted_at: datetime | None
    created_at: datetime
    updated_at: datetime


class MemberRead(TypedDict):
    user_id: str
    username: str
    name: str
    role: MemberRole
    created_at: datetime


class MemberCreate(RequestModel):
    username: str = Field(max_length=254)
    role: MemberRole = Field(MemberRole.MEMBER, description="`member` or `viewer`, who only reads.")


class MemberUpdate(RequestModel):
    role: MemberRole = Field(description="`owner` hands the project over; its owner becomes a member.")


class ChatInProject(RequestModel):
    is_open_to_project: bool = Field(
        False, description="Whether members of the project may read the chat, and write in it."
    )


class ProjectList(TypedDict):
    items: list[ProjectRead]
