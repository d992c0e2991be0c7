"""Read files one at a time, each in a separate process, and remove files that are no longer referenced."""

import asyncio
import json
import logging
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.db import Database, insert_if_absent, rowcount, seconds_from_now, utc_now
from tertulia.errors import AppError
from tertulia.files.child import run_child
from tertulia.files.models import (
    Attachment,
    AttachmentMetadata,
    AttachmentStatus,
    Blob,
    BlobContent,
)
from tertulia.files.service import FILES, announce_attachment
from tertulia.files.store import FileStore
from tertulia.files.uses import FileUses
from tertulia.ids import new_id
from tertulia.realtime.models import Operation

READING_S = 60.0
HELD_S = 90
MAX_TRIES = 3
LOOK_EVERY_S = 10.0
SWEEP_EVERY_S = 600.0
UNFINISHED_KEPT = timedelta(hours=1)
UNREFERENCED_KEPT = timedelta(hours=24)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    attachment_id: str
    storage_path: str
    mime_type: str
    tries: int


@dataclass(frozen=True)
class Found:
    details: AttachmentMetadata
    text: str | None = None
    thumbnail: bytes | None = None
    preview: bytes | None = None


class FileReader:
    """Reads one file at a time, because reading uses a whole core and must not slow down chats."""

    def __init__(self, db: Database, store: FileStore, uses: FileUses) -> None:
        self._db = db
        self._store = store
        self._uses = uses
        self._woken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        db.on_wake(lambda signal: self._woken.set() if signal == FILES else None)

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._read_forever(), name="file-reader"),
            asyncio.create_task(self._sweep_forever(), name="file-sweep"),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read_forever(self) -> None:
        while True:
            self._woken.clear()
            try:
                while (file := await self._db.write(take_file)) is not None:
                    await self._read(file)
            except AppError as error:
                log.warning("a file cannot be read now: %s", error.detail)
            except Exception:
                log.exception("a file could not be read")
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._woken.wait()

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await asyncio.to_thread(remove_old_uploads, self._store.uploads)
                await remove_objects(self._db, self._store)
            except Exception as error:
                log.warning("unreferenced files could not be removed, retrying", exc_info=error)
            await asyncio.sleep(SWEEP_EVERY_S)

    async def _read(self, file: Taken) -> None:
        if file.tries > MAX_TRIES:
            result = Found(AttachmentMetadata(problem="It could not be read."))
        else:
            folder = self._store.uploads / f"reading-{new_id()}"
            try:
                await asyncio.to_thread(folder.mkdir, parents=True)
                await self._store.fetch(file.storage_path, folder / "file")
                result = await look_into(folder, file.mime_type)
            finally:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await self._db.write(finish_reading, file.attachment_id, result, self._uses)


async def look_into(folder: Path, mime_type: str) -> Found:
    """Run the reading process on `folder/file` and return its results."""
    arguments = (str(folder / "file"), mime_type, str(folder))
    if not await run_child("tertulia.files.reader", *arguments, folder=folder, seconds=READING_S):
        return Found(AttachmentMetadata(problem="It took too long to read."))
    return await asyncio.to_thread(_read_result, folder)


def _read_result(folder: Path) -> Found:
    if not (folder / "result.json").is_file():
        return Found(AttachmentMetadata(problem="It is too large or too complex to read."))
    details = AttachmentMetadata.model_validate(json.loads((folder / "result.json").read_text()))

    def content(name: str) -> bytes | None:
        path = folder / name
        return path.read_bytes() if path.is_file() and not path.is_symlink() else None

    text = content("text")
    return Found(details, text.decode() if text is not None else None, content("thumbnail"), content("preview"))


def take_file(session: Session) -> Taken | None:
    """Claim the oldest unclaimed file for HELD_S seconds, so that no two processes read it. None: no file waits."""
    row = session.execute(
        sa.select(Attachment.id, Attachment.mime_type, Attachment.tries, Blob.storage_path)
        .join(Blob, Blob.id == Attachment.blob_id)
        .where(
            Attachment.status == AttachmentStatus.PROCESSING,
            Attachment.held_until.is_(None) | (Attachment.held_until < utc_now()),
        )
        .order_by(Attachment.created_at)
        .limit(1)
        .with_for_update(of=Attachment, skip_locked=True)
    ).first()
    if row is None:
        return None
    session.execute(
        sa.update(Attachment)
        .where(Attachment.id == row.id)
        .values(held_until=seconds_from_now(HELD_S), tries=row.tries + 1)
    )
    return Taken(row.id, row.storage_path, row.mime_type, row.tries + 1)


def finish_reading(session: Session, attachment_id: str, result: Found, uses: FileUses) -> None:
    is_updated = rowcount(
        session,
        sa.update(Attachment)
        .where(Attachment.id == attachment_id, Attachment.status == AttachmentStatus.PROCESSING)
        .values(
            status=AttachmentStatus.ERROR if result.details.problem else AttachmentStatus.READY,
            details=result.details,
            held_until=None,
        ),
    )
    if not is_updated:
        return
    if result.text is not None or result.thumbnail is not None:
        blob_id = session.scalars(sa.select(Attachment.blob_id).where(Attachment.id == attachment_id)).one()
        insert_if_absent(
            session,
            BlobContent,
            blob_id=blob_id,
            text=result.text,
            thumbnail=result.thumbnail,
            preview=result.preview,
            created_at=clock.now(),
        )
    announce_attachment(session, attachment_id, uses, Operation.UPDATED)


def sweep_files(session: Session, kept: timedelta) -> None:
    """Delete unfinished uploads and files in the trash for longer than `kept`. Mark unreferenced bytes."""
    now = clock.now()
    unfinished = (Attachment.status == AttachmentStatus.UPLOADING) & (Attachment.created_at < now - UNFINISHED_KEPT)
    in_trash = Attachment.deleted_at < now - kept
    old = sa.select(Attachment.id).where(unfinished | in_trash).limit(200)
    session.execute(sa.delete(Attachment).where(Attachment.id.in_(old)))
    has_none = ~sa.select(sa.literal(1)).where(Attachment.blob_id == Blob.id).correlate(Blob).exists()
    unmarked = sa.select(Blob.id).where(Blob.unreferenced_at.is_(None), has_none).limit(200)
    session.execute(sa.update(Blob).where(Blob.id.in_(unmarked)).values(unreferenced_at=now))


def delete_files_of(session: Session, user_id: str) -> bool:
    """Delete some files of a deleted account. Their bytes go with the next sweep. Return False if none is left."""
    own = sa.select(Attachment.id).where(Attachment.user_id == user_id).limit(200)
    return rowcount(session, sa.delete(Attachment).where(Attachment.id.in_(own))) > 0


def delete_unreferenced(session: Session) -> list[str]:
    """Delete the rows of bytes unreferenced for a day. Return the paths of their objects, to delete next."""
    is_used = sa.select(sa.literal(1)).where(Attachment.blob_id == Blob.id).correlate(Blob).exists()
    old = (
        sa.select(Blob.id)
        .where(Blob.unreferenced_at < clock.now() - UNREFERENCED_KEPT)
        .limit(100)
        .with_for_update(skip_locked=True)
    )
    paths = session.execute(sa.delete(Blob).where(Blob.id.in_(old), ~is_used).returning(Blob.storage_path))
    return list(paths.scalars())


async def remove_objects(db: Database, store: FileStore) -> int:
    """Delete rows first, then objects. Paths are never reused, so a failure in between only leaves unused objects."""
    paths = await db.write(delete_unreferenced)
    for path in paths:
        await store.delete(path)
    return len(paths)


def remove_old_uploads(folder: Path, *, older_than_s: float = 24 * 3600) -> None:
    """Remove partial uploads that a killed process left."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > older_than_s:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
