"""Run imports: a child process reads each file, and the worker stores its chats one by one."""

import asyncio
import contextlib
import hashlib
import logging
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.models import UserRole
from tertulia.accounts.row_limits import RowLimits, StorageLimit
from tertulia.chat.file_uses import MessageFileUses
from tertulia.chat.import_sources import ImportSource
from tertulia.chat.message_files import AttachedFile
from tertulia.db import Database
from tertulia.errors import AppError
from tertulia.files.kinds import HEAD_BYTES, kind_of, safe_name
from tertulia.files.service import ReceivedFile, begin_storing, finish_storing
from tertulia.files.store import FileStore
from tertulia.ids import AttachmentId, UserId, new_id
from tertulia.transfer.found import FoundChat, FoundDraft, FoundFile, FoundLine
from tertulia.transfer.imported_chat import import_chat, is_known
from tertulia.transfer.imports import (
    IMPORTS,
    add_problems,
    claim_import,
    end_import,
    hold_import,
)
from tertulia.transfer.models import ImportJob, ImportReport, ImportStatus
from tertulia.transfer.native_draft import import_draft, is_known_draft

LOOK_EVERY_S = 10.0
TELL_EVERY_S = 0.5
MOST_LINE_BYTES = 256 * 1024 * 1024  # of one chat
log = logging.getLogger(__name__)


@dataclass
class _Progress:
    report: ImportReport = field(default_factory=ImportReport)
    source: ImportSource | None = None
    done: int = 0
    told_at: float = 0.0


class Importer:
    def __init__(
        self, db: Database, store: FileStore, folder: Path, limits: RowLimits, *, storage: StorageLimit
    ) -> None:
        """Take files to import from `folder`."""
        self.folder = folder
        self._db = db
        self._store = store
        self._limits = limits
        self._storage = storage
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        db.on_wake(lambda signal: self._woken.set() if signal == IMPORTS else None)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._import_forever(), name="importer")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _import_forever(self) -> None:
        while True:
            self._woken.clear()
            try:
                while (job := await self._next()) is not None:
                    await self.run(job)
            except AppError as error:
                log.warning("an import is delayed: %s", error.detail)
            except Exception:
                log.exception("an import failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._woken.wait()

    async def _next(self) -> ImportJob | None:
        names = await asyncio.to_thread(
            lambda: [path.name for path in self.folder.glob("*")] if self.folder.is_dir() else []
        )
        return await self._db.write(claim_import, names) if names else None

    async def run(self, job: ImportJob) -> None:
        """Import the file. After an interruption it continues later, and recognises what is already imported."""
        actor = Actor(UserId(job.user_id), UserRole.USER)
        progress = _Progress()
        path = self.folder / job.storage_path
        unpacked = self.folder.parent / "uploads" / f"import-{new_id()}"
        await asyncio.to_thread(unpacked.mkdir, parents=True)
        try:
            status, error = await self._take_all(job, path, unpacked, progress, actor)
        except AppError as problem:
            status, error = ImportStatus.FAILED, problem.detail
        finally:
            await asyncio.to_thread(shutil.rmtree, unpacked, ignore_errors=True)
        await self._db.write(end_import, job.id, status, progress.report, progress.source, error)
        await asyncio.to_thread(path.unlink, missing_ok=True)

    async def _take_all(
        self, job: ImportJob, path: Path, unpacked: Path, progress: _Progress, actor: Actor
    ) -> tuple[ImportStatus, str | None]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tertulia.transfer.reader",
            str(path),
            str(unpacked),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=unpacked,
            env={"PYTHONPATH": str(Path(__file__).parents[2]), "LANG": "C.UTF-8"},
            start_new_session=True,
            limit=MOST_LINE_BYTES,
        )
        assert process.stdout is not None
        try:
            while raw := await process.stdout.readline():
                line = await asyncio.to_thread(FoundLine.model_validate_json, raw)
                if line.is_fatal:
                    return ImportStatus.FAILED, line.problem
                await self._take(job, line, unpacked, progress, actor)
                if not await self._tell(job, progress):
                    return ImportStatus.CANCELLED, None
            if await process.wait() != 0:
                return ImportStatus.FAILED, "Reading stopped early. The file is damaged, or a chat in it is too large."
            return ImportStatus.COMPLETED, None
        except ValueError:  # a line longer than the limit
            return ImportStatus.FAILED, "A chat in the file is too large to import."
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _take(self, job: ImportJob, line: FoundLine, unpacked: Path, progress: _Progress, actor: Actor) -> None:
        report = progress.report
        progress.done = int(line.done * job.size_bytes)
        if line.problem is not None:
            report.refused += 1
            add_problems(report, job.file_name, [line.problem])
        if line.draft is not None:
            progress.source = ImportSource.TERTULIA
            await self._take_draft(job, line.draft, report, actor)
        if line.chat is None:
            return
        chat = line.chat
        progress.source = chat.source
        try:
            if await self._db.read(is_known, job.user_id, chat):
                report.already_there += 1
                return
            files = await self._store_files(chat, unpacked, actor, report)
            problems = await self._db.write(import_chat, actor, job.id, chat, files, self._limits)
        except AppError as error:
            if error.code in ("storage_unavailable", "file_store_unavailable"):
                raise
            report.refused += 1
            add_problems(report, chat.title, [error.detail])
            return
        except Exception:
            log.exception("a chat could not be imported", extra={"import_job_id": job.id})
            report.refused += 1
            add_problems(report, chat.title, ["It could not be stored."])
            return
        if problems is None:
            report.already_there += 1
            return
        report.chats += 1
        report.messages += len(chat.messages)
        report.files += len(files)
        add_problems(report, chat.title, problems)

    async def _take_draft(self, job: ImportJob, draft: FoundDraft, report: ImportReport, actor: Actor) -> None:
        title = draft.title or "Untitled"
        try:
            is_known = await self._db.read(is_known_draft, job.user_id, draft)
            if is_known or not await self._db.write(import_draft, actor, job.id, draft, self._limits):
                report.already_there += 1
            else:
                report.drafts += 1
        except AppError as error:
            if error.code == "storage_unavailable":
                raise
            report.refused += 1
            add_problems(report, title, [error.detail])
        except Exception:
            log.exception("a draft could not be imported", extra={"import_job_id": job.id})
            report.refused += 1
            add_problems(report, title, ["It could not be stored."])

    async def _store_files(
        self, chat: FoundChat, unpacked: Path, actor: Actor, report: ImportReport
    ) -> dict[str, AttachedFile]:
        stored: dict[str, AttachedFile] = {}
        for file in chat.files:
            path = unpacked / file.content
            if not path.is_file():
                add_problems(report, chat.title, [f"{file.file_name} is not in the export."])
                continue
            try:
                stored[file.id] = await self._store_file(file, path, actor)
            except AppError as error:
                add_problems(report, chat.title, [error.detail])
            finally:
                await asyncio.to_thread(path.unlink)
        return stored

    async def _store_file(self, file: FoundFile, path: Path, actor: Actor) -> AttachedFile:
        size, digest, head = await asyncio.to_thread(_look_at, path)
        name = safe_name(file.file_name)
        received = ReceivedFile(name, file.file_name, kind_of(head, name), size, digest)
        pending = await self._db.write(
            begin_storing,
            actor,
            received,
            MessageFileUses(),
            self._limits,
            storage=self._storage,
            import_id=file.id[:200],
        )
        await self._store.put(pending.storage_path, path)

        def finish(session: Session) -> None:
            finish_storing(session, actor, AttachmentId(pending.attachment_id), MessageFileUses())

        await self._db.write(finish)
        return AttachedFile(pending.attachment_id, name, received.mime_type, size, None, None)

    async def _tell(self, job: ImportJob, progress: _Progress) -> bool:
        now = asyncio.get_running_loop().time()
        if now - progress.told_at < TELL_EVERY_S:
            return True
        progress.told_at = now
        return await self._db.write(hold_import, job.id, progress.report, progress.source, progress.done)


def _look_at(path: Path) -> tuple[int, str, bytes]:
    digest = hashlib.sha256()
    head = b""
    with path.open("rb") as file:
        while piece := file.read(1024 * 1024):
            head = head or piece[:HEAD_BYTES]
            digest.update(piece)
    return path.stat().st_size, digest.hexdigest(), head
