"""Export all chats and drafts of a user as one zip, built while it is sent, one chat at a time."""

import io
import re
import zipfile
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.chat.models import Chat
from tertulia.exports import Exportable, ExportedObject
from tertulia.files.store import FileStore
from tertulia.http.responses import encode
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


def _encode_chat(session: Session, chat_id: str) -> ExportedObject:
    chat = native_chat(session, chat_id)
    return ExportedObject(chat["chat"]["id"], encode_native(chat))


def _encode_draft(session: Session, draft_id: str) -> ExportedObject:
    draft = native_draft(session, draft_id)
    return ExportedObject(draft["draft"]["id"], encode(draft))


CHATS = Exportable("chats", list_chat_ids, _encode_chat, stored_files_of)
DRAFTS = Exportable("drafts", list_draft_ids, _encode_draft)


async def export_everything(
    read: Reads, store: FileStore, exportables: Iterable[Exportable], *, actor: Actor
) -> AsyncIterator[bytes]:
    """Yield the zip in pieces. A file that is missing from the store ends it with an error, so that no loss goes unnoticed."""
    out = _Growing()
    written: set[str] = set()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "manifest.json", encode({"format": FORMAT}))
        _add(archive, "README.txt", READ_ME.encode())
        for kind in exportables:
            after: str | None = None
            while ids := await read(kind.list_ids, actor.user_id, after):
                after = ids[-1]
                for object_id in ids:
                    exported = await read(kind.encode, object_id)
                    name = _name(archive, kind.folder, exported.known_as, object_id)
                    _add(archive, name, exported.content)
                    yield out.take()
                    files = await read(kind.files, object_id)
                    for sha256, path in files.items():
                        if sha256 in written:
                            continue
                        written.add(sha256)
                        entry = _entry(f"files/{sha256}", zipfile.ZIP_STORED)
                        with archive.open(entry, "w", force_zip64=True) as target:
                            async for piece in store.stream_all(path):
                                target.write(piece)
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
