"""Everything that a person said, as one zip: written while it is sent, a chat at a time, however much it is."""

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
_ALWAYS = (1980, 1, 1, 0, 0, 0)  # the same chats make the same bytes
READ_ME = """This is everything that one person said in Tertulia.

chats/*.json   a chat each: all branches and threads, with what each reply cost
drafts/*.json  a draft each: every version, whole or as changes to its parent, and what was being typed
files/*        the files that messages have, named by the SHA-256 of their bytes

It can be imported into any Tertulia: Settings, Data, Import.
"""


class Reads(Protocol):
    """How units of work read: the server's database, or a session of the command line's own."""

    async def __call__(self, work: Callable[..., T], *args: Any) -> T: ...


def list_chat_ids(session: Session, user_id: str, after: str | None) -> list[str]:
    """The next of one's chats, those in the archive too, and none of the trash."""
    query = sa.select(Chat.id).where(Chat.user_id == user_id, Chat.deleted_at.is_(None)).order_by(Chat.id).limit(200)
    return list(session.scalars(query.where(Chat.id > after) if after else query))


async def export_everything(read: Reads, store: FileStore, *, actor: Actor) -> AsyncIterator[bytes]:
    """The bytes of the zip, in pieces. A file that the store has lost ends it, rather than being left out unseen."""
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
    """By the id that it is known by, where that is fit for a name and no other has it: an import may have brought anything."""
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
    """What has been written and not yet taken; the zip is made without ever going back."""

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
