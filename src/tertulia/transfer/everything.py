"""Export all chats and drafts of a user as one zip, built while it is sent, one chat at a time."""

import io
import re
import zipfile
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.chat.models import Chat
from tertulia.files.store import FileStore
from tertulia.http.answers import encode
from tertulia.transfer.native import encode_native, native_chat, stored_files_of
from tertulia.transfer.native_draft import list_draft_ids, native_draft

FORMAT = "tertulia/1"
T = TypeVar("T")
_FIT = re.compile(r"\w[\w-]{0,199}")
_ALWAYS = (1980, 1, 1, 0, 0, 0)  # a fixed time: the same chats give the same bytes
READ_ME = """These are all chats and drafts of one Tertulia user.

chats/*.json   one chat each: all branches and threads, and the cost of each reply
drafts/*.json  one draft each: every version, whole or as changes to its parent, and the working copy
files/*        the files of messages, named by the SHA-256 of their content

To import them into Tertulia, use Settings, Data, Import.
"""


class Reads(Protocol):
    """A function that runs a unit of work that reads: on the server's database, or in a session of the CLI."""

    async def __call__(self, work: Callable[..., T], *args: Any) -> T: ...


def list_chat_ids(session: Session, user_id: str, after: str | None) -> list[str]:
    """List the next 200 ids of the user's chats, archived ones included, without those in the trash."""
    query = sa.select(Chat.id).where(Chat.user_id == user_id, Chat.deleted_at.is_(None)).order_by(Chat.id).limit(200)
    return list(session.scalars(query.where(Chat.id > after) if after else query))


async def export_everything(read: Reads, store: FileStore, *, actor: Actor) -> AsyncIterator[bytes]:
    """Yield the zip in pieces. A file missing from the store aborts it, rather than being left out silently."""
    out = _Growing()
    written: set[str] = set()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "manifest.json", encode({"format": FORMAT}))
        _add(archive, "README.txt", READ_ME.encode())
        after: str | None = None
        while ids := await read(list_chat_ids, actor.user_id, after):
            after = ids[-1]
            for chat_id in ids:
                chat = await read(native_chat, chat_id)
                _add(archive, _name(archive, "chats", chat["chat"]["id"], chat_id), encode_native(chat))
                yield out.take()
                for sha256, path in (await read(stored_files_of, chat_id)).items():
                    if sha256 in written:
                        continue
                    written.add(sha256)
                    with archive.open(_entry(f"files/{sha256}", zipfile.ZIP_STORED), "w", force_zip64=True) as entry:
                        async for piece in store.stream_all(path):
                            entry.write(piece)
                            yield out.take()
        after = None
        while ids := await read(list_draft_ids, actor.user_id, after):
            after = ids[-1]
            for draft_id in ids:
                draft = await read(native_draft, draft_id)
                _add(archive, _name(archive, "drafts", draft["draft"]["id"], draft_id), encode(draft))
                yield out.take()
    yield out.take()


def _name(archive: zipfile.ZipFile, folder: str, known_as: str, own_id: str) -> str:
    """Name an entry by its exported id if that is safe and unused, else by its own id. Imported ids may be anything."""
    name = f"{folder}/{known_as}.json"
    is_fit = _FIT.fullmatch(known_as) and name not in archive.NameToInfo
    return name if is_fit else f"{folder}/{own_id}.json"


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(_entry(name, zipfile.ZIP_DEFLATED), content)


def _entry(name: str, compression: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _ALWAYS)
    entry.compress_type = compression
    return entry


class _Growing(io.RawIOBase):
    """A buffer of bytes written and not yet taken. It cannot seek, so the zip is written in sequence."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._waiting += piece
        return len(piece)

    def take(self) -> bytes:
        taken = bytes(self._waiting)
        self._waiting.clear()
        return taken
