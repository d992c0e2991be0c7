"""What the API returns about imports."""

from datetime import datetime

from typing_extensions import TypedDict

from tertulia.chat.import_sources import ImportSource
from tertulia.transfer.models import ImportStatus


class ImportReportRead(TypedDict):
    chats: int
    messages: int
    files: int
    drafts: int
    already_there: int
    refused: int
    problems: list[str]


class ImportJobRead(TypedDict):
    """`done_bytes` of `size_bytes` have been read."""

    id: str
    source: ImportSource | None
    file_name: str
    size_bytes: int
    done_bytes: int
    status: ImportStatus
    report: ImportReportRead
    error: str | None
    created_at: datetime
    ended_at: datetime | None
