"""Export one draft as a file, and read a file as a new draft."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from tertulia.accounts.actor import Actor
from tertulia.drafts.errors import DraftTooLong
from tertulia.drafts.models import MAX_CONTENT, MAX_TITLE
from tertulia.drafts.schemas import DraftCreate, DraftRead
from tertulia.drafts.service import get_draft
from tertulia.files.child import run_child
from tertulia.files.kinds import kind_of, safe_name
from tertulia.files.processing import look_into
from tertulia.files.uploads import ReceivedForm
from tertulia.ids import DraftId, new_id
from tertulia.transfer.errors import DocumentNotMade, NotReadable, StillConverting
from tertulia.transfer.pages import file_name, page, rendered

DraftFormat = Literal["markdown", "html", "docx"]
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
MAX_IMPORT_BYTES = 20 * 1024 * 1024
MAKING_S = 60.0
BATCH_SIZE = 2
MEDIA: dict[DraftFormat, tuple[str, str]] = {
    "markdown": ("md", "text/markdown; charset=utf-8"),
    "html": ("html", "text/html; charset=utf-8"),
    "docx": ("docx", WORD),
}


class Converting:
    """Limits for conversions in this process: two at a time, and one for each user."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(BATCH_SIZE)
        self._people: set[str] = set()

    @asynccontextmanager
    async def of(self, actor: Actor) -> AsyncIterator[None]:
        """Hold a slot for a conversion. Raises StillConverting."""
        if actor.user_id in self._people:
            raise StillConverting
        self._people.add(actor.user_id)
        try:
            async with self._slots:
                yield
        finally:
            self._people.discard(actor.user_id)


class RichText(TypedDict):
    """The current text of a draft as Markdown, and as HTML for programs that accept it."""

    content: str
    html: str


def read_rich_text(session: Session, actor: Actor, draft_id: DraftId) -> RichText:
    content = get_draft(session, actor, draft_id)["current_version"]["content"]
    return {"content": content, "html": rendered(content)}


def named(draft: DraftRead, form: DraftFormat) -> str:
    return f"{file_name(draft['title'] or '', 'draft')}.{MEDIA[form][0]}"


def as_page(draft: DraftRead) -> bytes:
    version = draft["current_version"]
    note = f"Version {version['version_number']}, {version['created_at']:%Y-%m-%d %H:%M} UTC"
    return page(draft["title"] or "Untitled", note, rendered(version["content"])).encode("utf-8", "replace")


async def as_word(draft: DraftRead, folder: Path) -> bytes:
    """Convert the draft to a Word document. Raises DocumentNotMade."""
    place = folder / f"word-{new_id()}"
    await asyncio.to_thread(place.mkdir, parents=True)
    try:
        source, target = place / "text.md", place / "text.docx"
        text = draft["current_version"]["content"].encode("utf-8", "replace")
        await asyncio.to_thread(source.write_bytes, text)
        title = (draft["title"] or "Untitled").encode("utf-8", "replace").decode()
        arguments = (str(source), str(target), title)
        await run_child("tertulia.transfer.word", *arguments, folder=place, seconds=MAKING_S)
        if not await asyncio.to_thread(target.is_file):
            raise DocumentNotMade
        return await asyncio.to_thread(target.read_bytes)
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


async def read_file(received: ReceivedForm, folder: Path) -> DraftCreate:
    """Read a draft from any file with text. Raises FileTypeNotAllowed, NotReadable, DraftTooLong."""
    name = safe_name(received.name)
    media_type = kind_of(received.head, name)
    place = folder / f"reading-{new_id()}"
    await asyncio.to_thread(place.mkdir, parents=True)
    try:
        await asyncio.to_thread(shutil.copyfile, received.path, place / "file")
        extracted = await look_into(place, media_type)
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
    if not extracted.text:
        raise NotReadable(extracted.details.problem or "The file contains no text.")
    content = extracted.text.replace("\x00", "")
    if len(content) > MAX_CONTENT:
        raise DraftTooLong(len(content), MAX_CONTENT)
    return DraftCreate(title=Path(name).stem[:MAX_TITLE], content=content)
