"""What a reader finds in somebody else's export: plain shapes, one line of JSON each between the processes."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from tertulia.jobs.sources import ImportSource

Role = Literal["user", "assistant", "system"]


class FoundFile(BaseModel):
    """A file of the export, lying in the reader's folder under `content`."""

    id: str
    file_name: str
    content: str
    message_ids: list[str] = []


class FoundMessage(BaseModel):
    """`parent` is the message before it, by the source's own id; `thread_of` the one that it answers in a thread."""

    id: str
    parent: str | None = None
    thread_of: str | None = None
    role: Role
    parts: list[dict[str, Any]]
    created_at: float | None = None  # seconds since 1970
    model: str | None = None
    native: dict[str, Any] | None = None  # of our own export: all that a message has besides


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
    problems: list[str] = Field(default_factory=list)  # what of it is not taken
    native: dict[str, Any] | None = None


class FoundVersion(BaseModel):
    """With `changes`, [start, end, text] each, to the text of its parent, or with the whole `content`."""

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
    """A draft of our own export; chats and messages are named by their own ids there."""

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
    """One thing that the reader says: a chat, a draft, one that cannot be understood, or how far it has come."""

    chat: FoundChat | None = None
    draft: FoundDraft | None = None
    problem: str | None = None
    is_fatal: bool = False
    done: float = 0.0  # share of the file that is read
