"""Wire shapes of drafts."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from tertulia.accounts.schemas import AuthorRead, PermissionsRead
from tertulia.chat.schemas import ModelName, ProviderName, SharedChatRead
from tertulia.drafts.models import MAX_CONTENT, MAX_DESCRIPTION, MAX_TITLE, EditStatus, GenerationSource, ProposalStatus
from tertulia.drafts.text import DiffPiece
from tertulia.http.body import RequestModel
from tertulia.ids import AnyId

Content = Annotated[str, Field(max_length=MAX_CONTENT)]


def _one_line(value: str) -> str:
    return " ".join(value.split())


Title = Annotated[str, AfterValidator(_one_line), Field(max_length=MAX_TITLE)]


class DraftCreate(RequestModel):
    """A new draft. With `message_id`, its text is that message, or the part of it in `content`."""

    title: Title | None = None
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION)] | None = None
    content: Content | None = None
    message_id: AnyId | None = None


class DraftUpdate(RequestModel):
    title: Title | None = None
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION)] | None = None


class VersionCreate(RequestModel):
    """A text based on the version `parent_version_number`.

    If the draft has a newer version, both are merged. With `branch`, the text becomes a separate branch instead.
    The working copy with the revision `working_copy_revision` is deleted, because the text contains it.
    """

    content: Content
    parent_version_number: Annotated[int, Field(ge=1)]
    name: Title | None = None
    branch: bool = False
    working_copy_revision: Annotated[int, Field(ge=1)] | None = None


class VersionUpdate(RequestModel):
    """The name of a version, or null to remove it. Nothing else of a version can change."""

    name: Title | None


class WorkingCopyPut(RequestModel):
    """`revision` is the last one that this window saw, or 0. `window_id` identifies the window."""

    content: Content
    base_version_number: Annotated[int, Field(ge=1)]
    revision: Annotated[int, Field(ge=0)]
    window_id: Annotated[str, Field(min_length=1, max_length=40)]


class VersionListed(TypedDict):
    """A version without its text. `length` is in characters."""

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
    """The next `length` characters came from the version with this number."""

    length: int
    version_number: int


class VersionRead(VersionListed):
    content: str


class Authorship(TypedDict):
    """The parts of a version's text in order, and the versions that they came from."""

    items: list[Origin]
    versions: list[VersionListed]


class VersionMade(VersionRead):
    """`merged`: the draft had a newer version, and this version has the changes of both."""

    merged: bool


class WorkingCopyRead(TypedDict):
    content: str
    base_version_number: int
    revision: int
    window_id: str
    updated_at: datetime


class WorkingCopyStored(WorkingCopyRead):
    """`merged`: the content also has changes of another window or of a newer version."""

    merged: bool


class DraftListed(TypedDict):
    """`owner` is null for the caller's own drafts."""

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
    """`working_copy` is the reader's own unsaved text."""

    current_version: VersionRead
    working_copy: WorkingCopyRead | None


class SharedDraftRead(TypedDict):
    """A draft as strangers see it through a public link."""

    title: str | None
    content: str
    version_number: int
    words: int
    created_at: datetime
    updated_at: datetime


class SharedRead(SharedChatRead):
    """A shared chat, or with `draft` a shared draft: `title` is the draft's, the rest its newest chat's."""

    draft: SharedDraftRead | None


class DiffRead(TypedDict):
    """The differences from the version `against` to this one."""

    version_number: int
    against: int
    pieces: list[DiffPiece]


Shown = Literal["active", "trash"]


class Selection(RequestModel):
    """Character offsets in the text of the version. They are equal for an insertion point."""

    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=0)]


class ProposalCreate(RequestModel):
    """A request to a model to edit the version, or the selection in it."""

    instruction: Annotated[str, Field(min_length=1, max_length=10_000)]
    version_number: Annotated[int, Field(ge=1)]
    selection: Selection | None = None
    chat_id: AnyId | None = None
    provider: ProviderName | None = None
    model_name: ModelName | None = None


class Decision(RequestModel):
    """The edits to accept or reject. Null means all open edits."""

    edit_ids: Annotated[list[AnyId], Field(min_length=1, max_length=1000)] | None = None


class Place(TypedDict):
    """Character offsets in the reader's working copy, or else in the current version."""

    start: int
    end: int


class ProposalEditRead(TypedDict):
    """`place` is null if the edit is decided, or if its text was changed since."""

    id: str
    status: EditStatus
    old_text: str
    new_text: str
    place: Place | None


class ProposalRead(TypedDict):
    """`selection` is the selected passage while the model writes. It is null if the passage was changed."""

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
    """`version` is the new version with the accepted edits, or null if there are none."""

    proposal: ProposalRead
    version: VersionRead | None


class WorkingCopyMoved(TypedDict):
    """The number of the newest stored text of the user. Fetch the draft to get it."""

    revision: int
