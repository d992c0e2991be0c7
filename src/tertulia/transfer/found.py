"""Shapes that a reader finds in an export. Each is sent between the processes as a line of JSON."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from tertulia.chat.import_sources import ImportSource

Role = Literal["user", "assistant", "system"]


class FoundFile(BaseModel):
    """A file of the export, stored in the reader's folder as `content`."""

    id: str
    file_name: str
    content: str
    message_ids: list[str] = []


class FoundMessage(BaseModel):
    """A message. `parent` is the source's id of the message before it, `thread_of` of its parent in a thread."""

    id: str
    parent: str | None = None
    thread_of: str | None = None
    role: Role
    parts: list[dict[str, Any]]
    created_at: float | None = None  # seconds since 1970
    model: str | None = None
    native: dict[str, Any] | None = None  # in our own export: the message's other fields


class FoundChat(BaseModel):
    source: ImportSource
    id: str
    title: str = ""
    created_at: float | None = None
    updated_at: float | None = None
    head: str | None = None
    is_archived: bool = False
    is_pinned: bool = False
    system_prompt: str | None = None
    model: str | None = None
    tags: list[str] = []
    messages: list[FoundMessage] = Field(default_factory=list)
    files: list[FoundFile] = Field(default_factory=list)
    problems: list[str] = Field(default_factory=list)  # sentences on what is not imported
    native: dict[str, Any] | None = None


class FoundVersion(BaseModel):
    """A version, as the whole `content` or as `changes` to its parent's text, each [start, end, text]."""

    version_number: int
    parent_version_number: int | None = None
    base_version_number: int | None = None
    generation_source: Literal["user", "ai_generation", "ai_edit"] = "user"
    user: str | None = None
    message_id: str | None = None
    provider: str | None = None
    model_name: str | None = None
    name: str | None = None
    created_at: float | None = None
    content: str | None = None
    changes: list[tuple[int, int, str]] | None = None


class FoundCopy(BaseModel):
    content: str
    base_version_number: int


class FoundDraft(BaseModel):
    """A draft of our own export. Chats and messages are referenced by their ids in it."""

    id: str
    title: str | None = None
    description: str | None = None
    current_version_number: int
    working_copy: FoundCopy | None = None
    chat_ids: list[str] = []
    attached_to: list[str] = []
    created_at: float | None = None
    updated_at: float | None = None
    versions: list[FoundVersion]


class FoundLine(BaseModel):
    """A line of the reader's output: a chat, a draft or a problem, and the progress."""

    chat: FoundChat | None = None
    draft: FoundDraft | None = None
    problem: str | None = None
    is_fatal: bool = False
    done: float = 0.0  # share of the file that has been read, 0 to 1
