"""Manage import jobs, one for each file: progress, cancelling and undo. imported_chat.py writes the chats."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User
from tertulia.chat.events import CHAT
from tertulia.chat.import_sources import ImportSource
from tertulia.chat.message_files import release_files
from tertulia.chat.models import Chat, ChatKind, DraftChat, Message
from tertulia.chat.service import announce_chat
from tertulia.db import seconds_from_now, utc_now, wake
from tertulia.drafts.announce import announce_draft
from tertulia.drafts.models import Draft, DraftWorkingCopy, Proposal
from tertulia.ids import ImportJobId
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish
from tertulia.transfer.errors import ImportNotFound, ImportStillRunning, TooManyImports
from tertulia.transfer.events import IMPORT_JOB
from tertulia.transfer.imported_chat import one_line
from tertulia.transfer.models import ImportJob, ImportJobChat, ImportJobDraft, ImportReport, ImportStatus
from tertulia.transfer.native_draft import IMPORTED
from tertulia.transfer.schemas import ImportJobRead

IMPORTS = "imports"  # the wake signal for a new file
MAX_WAITING = 5
MAX_PROBLEMS = 100
HELD_S = 60
BATCH_SIZE = 20  # chats or drafts deleted in one transaction
_OPEN = (ImportStatus.QUEUED, ImportStatus.RUNNING)


def create_import(
    session: Session, actor: Actor, job_id: str, *, file_name: str, path: str, size: int
) -> ImportJobRead:
    """Create a job and wake the worker. Raises TooManyImports."""
    session.execute(sa.select(User.id).where(User.id == actor.user_id).with_for_update())
    waiting = session.scalar(
        sa.select(sa.func.count()).where(ImportJob.user_id == actor.user_id, ImportJob.status.in_(_OPEN))
    )
    if (waiting or 0) >= MAX_WAITING:
        raise TooManyImports(MAX_WAITING)
    session.execute(
        sa.insert(ImportJob).values(
            id=job_id, user_id=actor.user_id, file_name=file_name, size_bytes=size, storage_path=path
        )
    )
    wake(session, IMPORTS)
    return announce_import(session, job_id, Operation.CREATED)


def list_imports(session: Session, actor: Actor) -> list[ImportJobRead]:
    """List the newest 20 jobs."""
    jobs = session.scalars(
        sa.select(ImportJob).where(ImportJob.user_id == actor.user_id).order_by(ImportJob.id.desc()).limit(20)
    )
    return [read_import(job) for job in jobs]


def get_import(session: Session, actor: Actor, job_id: ImportJobId) -> ImportJobRead:
    return read_import(_own(session, actor, job_id, is_locked=False))


def find_import(session: Session, job_id: str) -> ImportJob:
    """Return the job's current state, detached, for a command that waits for its end."""
    job = session.get_one(ImportJob, job_id, populate_existing=True)
    session.expunge(job)
    return job


def cancel_import(session: Session, actor: Actor, job_id: ImportJobId) -> ImportJobRead:
    """Cancel a job. Imported chats stay and can be undone. An ended job does not change."""
    job = _own(session, actor, job_id)
    if job.status is ImportStatus.QUEUED:
        job.status, job.ended_at = ImportStatus.CANCELLED, clock.now()
    elif job.status is ImportStatus.RUNNING:
        job.cancel_requested_at = job.cancel_requested_at or clock.now()
    session.flush()
    return announce_import(session, job_id, Operation.UPDATED)


def undo_import(session: Session, actor: Actor, job_id: ImportJobId) -> tuple[ImportJobRead, bool]:
    """Delete some of the drafts and chats that an import made; whether there are more. What was written in since stays.

    Chats and drafts changed since then stay. Raises ImportStillRunning.
    """
    job = _own(session, actor, job_id)
    if job.status in _OPEN:
        raise ImportStillRunning
    more_drafts = _undo_drafts(session, job_id)
    written_since = sa.select(sa.literal(1)).where(Message.chat_id == Chat.id, Message.imported.is_(False)).exists()
    is_of_a_draft = sa.select(sa.literal(1)).where(DraftChat.chat_id == Chat.id).exists()
    query = (
        sa.select(Chat.id)
        .join(ImportJobChat, ImportJobChat.chat_id == Chat.id)
        .where(ImportJobChat.import_job_id == job_id, Chat.user_id == actor.user_id, ~written_since, ~is_of_a_draft)
        .limit(BATCH_SIZE)
    )
    ids = session.scalars(query).all()
    for chat_id in ids:
        publish(
            session,
            owner_id=actor.user_id,
            topic=f"user:{actor.user_id}",
            entity=CHAT,
            entity_id=chat_id,
            operation=Operation.DELETED,
            shared_id=chat_id,
        )
    release_files(session, ids)
    session.execute(sa.delete(Chat).where(Chat.id.in_(ids)))
    more = more_drafts or len(ids) == BATCH_SIZE
    if not more:
        job.status = ImportStatus.UNDONE
        session.flush()
    return announce_import(session, job_id, Operation.UPDATED), more


def _undo_drafts(session: Session, job_id: str) -> bool:
    """Delete a batch of an import's drafts. Return whether there may be more. Changed drafts stay with their chats."""
    same = DraftWorkingCopy.draft_id == Draft.id
    written_since = sa.or_(
        Draft.version_count > ImportJobDraft.version_count,
        sa.select(same).where(same, DraftWorkingCopy.window_id != IMPORTED).exists(),
        sa.select(Proposal.id).where(Proposal.draft_id == Draft.id).exists(),
        sa.select(Message.id)
        .join(DraftChat, DraftChat.chat_id == Message.chat_id)
        .where(DraftChat.draft_id == Draft.id, Message.imported.is_(False))
        .exists(),
    )
    drafts = session.scalars(
        sa.select(Draft.id)
        .join(ImportJobDraft, ImportJobDraft.draft_id == Draft.id)
        .where(ImportJobDraft.import_job_id == job_id, ~written_since)
        .limit(BATCH_SIZE)
    ).all()
    about = sa.select(DraftChat.chat_id).where(DraftChat.draft_id.in_(drafts))
    # Its chats become ordinary ones, which undo may delete too. Empty chats are deleted with the draft.
    chats = session.scalars(sa.select(Chat.id).where(Chat.id.in_(about), Chat.message_count > 0)).all()
    session.execute(sa.delete(Chat).where(Chat.id.in_(about), Chat.message_count == 0))
    session.execute(sa.update(Chat).where(Chat.id.in_(chats)).values(kind=ChatKind.DIRECT))
    for draft_id in drafts:
        announce_draft(session, draft_id, Operation.DELETED)
    session.execute(sa.delete(Draft).where(Draft.id.in_(drafts)))
    for chat_id in chats:
        announce_chat(session, chat_id, Operation.UPDATED)
    return len(drafts) == BATCH_SIZE


# ---- for the worker


def claim_import(session: Session, paths: list[str]) -> ImportJob | None:
    """Claim the oldest open job whose file is here, for HELD_S seconds. Return a detached copy."""
    job = session.scalars(
        sa.select(ImportJob)
        .where(
            ImportJob.storage_path.in_(paths),
            ImportJob.status.in_(_OPEN),
            ImportJob.held_until.is_(None) | (ImportJob.held_until < utc_now()),
        )
        .order_by(ImportJob.created_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if job is None:
        return None
    job.status, job.started_at, job.held_until = (
        ImportStatus.RUNNING,
        job.started_at or clock.now(),
        seconds_from_now(HELD_S),
    )
    session.flush()
    announce_import(session, job.id, Operation.UPDATED)
    session.refresh(job)
    session.expunge(job)
    return job


def hold_import(session: Session, job_id: str, report: ImportReport, source: ImportSource | None, done: int) -> bool:
    """Store the progress and extend the claim. Return False if the job must stop."""
    job = session.get(ImportJob, job_id, populate_existing=True)
    if job is None or job.status is not ImportStatus.RUNNING or job.cancel_requested_at is not None:
        return False
    job.report, job.source, job.done_bytes = report, source, done
    job.held_until = seconds_from_now(HELD_S)
    session.flush()
    announce_import(session, job_id, Operation.UPDATED)
    return True


def end_import(
    session: Session,
    job_id: str,
    status: ImportStatus,
    report: ImportReport,
    source: ImportSource | None,
    error: str | None,
) -> None:
    job = session.get(ImportJob, job_id, populate_existing=True)
    if job is None:
        return
    job.status, job.report, job.source, job.error = status, report, source, error
    job.ended_at, job.held_until = clock.now(), None
    if status is ImportStatus.COMPLETED:
        job.done_bytes = job.size_bytes
    session.flush()
    announce_import(session, job_id, Operation.UPDATED)


def announce_import(session: Session, job_id: str, operation: Operation) -> ImportJobRead:
    read = read_import(session.get_one(ImportJob, job_id, populate_existing=True))
    owner_id = session.scalars(sa.select(ImportJob.user_id).where(ImportJob.id == job_id)).one()
    publish(
        session,
        owner_id=owner_id,
        topic=f"user:{owner_id}",
        entity=IMPORT_JOB,
        entity_id=job_id,
        operation=operation,
        payload=read,
    )
    return read


def read_import(job: ImportJob) -> ImportJobRead:
    return {
        "id": job.id,
        "source": job.source,
        "file_name": job.file_name,
        "size_bytes": job.size_bytes,
        "done_bytes": job.done_bytes,
        "status": job.status,
        "report": job.report.model_dump(),  # type: ignore[typeddict-item]
        "error": job.error,
        "created_at": job.created_at,
        "ended_at": job.ended_at,
    }


def add_problems(report: ImportReport, title: str, problems: list[str]) -> None:
    for problem in dict.fromkeys(problems):
        if len(report.problems) < MAX_PROBLEMS:
            report.problems.append(f"{one_line(title)[:80] or 'A chat'}: {problem}")


def _own(session: Session, actor: Actor, job_id: str, *, is_locked: bool = True) -> ImportJob:
    query = sa.select(ImportJob).where(ImportJob.id == job_id, ImportJob.user_id == actor.user_id)
    job = session.scalars(query.with_for_update() if is_locked else query).one_or_none()
    if job is None:
        raise ImportNotFound
    return job
