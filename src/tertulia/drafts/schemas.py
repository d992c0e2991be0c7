"""Wire shapes of drafts."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from tertulia.accounts.schemas import AuthorRead, PermissionsRead
from tertulia.chat.schemas import ModelName, ProviderName, Request, SharedChatRead
from tertulia.drafts.models import MAX_CONTENT, MAX_DESCRIPTION, MAX_TITLE, EditStatus, GenerationSource, ProposalStatus
from tertulia.drafts.text import DiffPiece
from tertulia.ids import AnyId

Content = Annotated[str, Field(max_length=MAX_CONTENT)]


def _one_line(value: str) -> str:
    return " ".join(value.split())


Title = Annotated[str, AfterValidator(_one_line), Field(max_length=MAX_TITLE)]


class DraftCreate(Request):
    """With `message_id` the text is that message's, or the part of it that `content` gives."""

    title: Title | None = None
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION)] | None = None
    content: Content | None = None
    message_id: AnyId | None = None


class DraftUpdate(Request):
    title: Title | None = None
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION)] | None = None


class VersionCreate(Request):
    """What was written on the version `parent_version_number`.

    If the draft has moved on both are merged, unless a `branch` is wanted: then the new version stands beside what came since.
    The working copy of this revision is taken up with it: the content has what it has.
    """

    content: Content
    parent_version_number: Annotated[int, Field(ge=1)]
    name: Title | None = None
    branch: bool = False
    working_copy_revision: Annotated[int, Field(ge=1)] | None = None


class VersionUpdate(Request):
    """A name, or null to take it away; nothing else of a version ever changes."""

    name: Title | None


class WorkingCopyPut(Request):
    """`revision` is the one that this window saw last, 0 if there was none; `window_id` is whatever tells it from others."""

    content: Content
    base_version_number: Annotated[int, Field(ge=1)]
    revision: Annotated[int, Field(ge=0)]
    window_id: Annotated[str, Field(min_length=1, max_length=40)]


class VersionListed(TypedDict):
    """A version without its text. `length` in characters."""

    id: str
    draft_id: str
    version_number: int
    parent_version_number: int | None
    base_version_number: int | None
    generation_source: GenerationSource
    author: AuthorRead | None
    message_id: str | None
    provider: str | None
    model_name: str | None
    name: str | None
    length: int
    words: int
    created_at: datetime


class Origin(TypedDict):
    """The next `length` characters came with the version of this number."""

    length: int
    version_number: int


class VersionRead(VersionListed):
    content: str


class Authorship(TypedDict):
    """The stretches of a version's text, one after the other, and the versions that they came with."""

    items: list[Origin]
    versions: list[VersionListed]


class VersionMade(VersionRead):
    """`merged`: the draft had moved on, and this version has both sides' changes."""

    merged: bool


class WorkingCopyRead(TypedDict):
    content: str
    base_version_number: int
    revision: int
    window_id: str
    updated_at: datetime


class WorkingCopyStored(WorkingCopyRead):
    """`merged`: another window had stored since, and the content has both."""

    merged: bool


class DraftListed(TypedDict):
    """`owner` is null for one's own."""

    id: str
    title: str | None
    description: str | None
    version_count: int
    current_version_number: int
    length: int
    words: int
    revision: int
    deleted_at: datetime | None
    created_at: datetime
    updated_at: datetime
    owner: AuthorRead | None
    permissions: PermissionsRead


class DraftRead(DraftListed):
    """`working_copy` is what the reader is typing, and nobody else's."""

    current_version: VersionRead
    working_copy: WorkingCopyRead | None


class SharedDraftRead(TypedDict):
    """What strangers see of a draft."""

    title: str | None
    content: str
    version_number: int
    words: int
    created_at: datetime
    updated_at: datetime


class SharedRead(SharedChatRead):
    """A chat; with `draft` a draft, whose title it has then, and the newest of its chats."""

    draft: SharedDraftRead | None


class DiffRead(TypedDict):
    """From the version `against` to this one."""

    version_number: int
    against: int
    pieces: list[DiffPiece]


Shown = Literal["active", "trash"]


class Selection(Request):
    """Characters into the text of the version; equal for a place to write at."""

    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=0)]


class ProposalCreate(Request):
    """What a model shall do with the version, or with the selection in it."""

    instruction: Annotated[str, Field(min_length=1, max_length=10_000)]
    version_number: Annotated[int, Field(ge=1)]
    selection: Selection | None = None
    chat_id: AnyId | None = None
    provider: ProviderName | None = None
    model_name: ModelName | None = None


class Decision(Request):
    """Of these edits; of all that are open where none are named."""

    edit_ids: Annotated[list[AnyId], Field(min_length=1, max_length=1000)] | None = None


class Place(TypedDict):
    """Characters into what the reader is typing, or into the current version where nothing is."""

    start: int
    end: int


class ProposalEditRead(TypedDict):
    """`place` is null when it is decided, or when its words were changed since."""

    id: str
    status: EditStatus
    old_text: str
    new_text: str
    place: Place | None


class ProposalRead(TypedDict):
    """`selection` is what it was asked for, while the model writes, and as long as its words are not changed."""

    id: str
    draft_id: str
    base_version_number: int
    message_id: str | None
    run_id: str | None
    instruction: str
    selection: Place | None
    status: ProposalStatus
    problem: str | None
    provider: str | None
    model_name: str | None
    total_tokens: int | None
    cost: Decimal | None
    edits: list[ProposalEditRead]
    created_at: datetime


class ProposalDecided(TypedDict):
    """`version` is the new one that has what was accepted; null if nothing was."""

    proposal: ProposalRead
    version: VersionRead | None
