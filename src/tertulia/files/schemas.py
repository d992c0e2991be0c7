"""Wire shapes of files."""

from datetime import datetime
from typing import Literal

from typing_extensions import TypedDict

from tertulia.files.models import AttachmentStatus

FileKind = Literal["image", "document", "text", "audio", "video", "archive"]
FileOrder = Literal["newest", "largest", "name"]


class DimensionsRead(TypedDict):
    width: int
    height: int


class AttachmentMetadataRead(TypedDict):
    dimensions: DimensionsRead | None
    duration: float | None
    pages: int | None
    encoding: str | None
    text_length: int | None
    is_text_cut: bool | None
    problem: str | None


class UsedIn(TypedDict):
    chat_id: str
    chat_title: str
    message_id: str


class AttachmentRead(TypedDict):
    """`used_in` is the newest message with the file that the reader may see, `uses` the number of them."""

    id: str
    chat_id: str | None
    message_id: str | None
    file_name: str
    mime_type: str
    file_size: int
    metadata: AttachmentMetadataRead
    status: AttachmentStatus
    has_thumbnail: bool
    uses: int
    used_in: UsedIn | None
    download_count: int
    deleted_at: datetime | None
    created_at: datetime
    updated_at: datetime


class StorageRead(TypedDict):
    """The bytes that the user's files have, and the most that they may have."""

    used_bytes: int
    limit_bytes: int
    files: int
