"""Importing: a job for each file, a transaction for each chat; what was taken once is not taken again, and all can be undone."""

import heapq
import unicodedata
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User
from tertulia.chat.models import (
    DEFAULT_TITLE,
    MAX_REPLY,
    MAX_WRITTEN,
    Chat,
    ChatSettings,
    ChatTag,
    Edit,
    Message,
    MessageMetadata,
    MessageRole,
    MessageStatus,
    Reaction,
    TagColour,
)
from tertulia.chat.parts import CodePart, Part, TextPart, flatten, with_other_files
from tertulia.chat.queries import newest_leaf_below
from tertulia.chat.schemas import TagCreate
from tertulia.chat.search_index import index_stored, index_title
from tertulia.chat.service import announce_chat
from tertulia.chat.tags import find_or_create_tag
from tertulia.db import insert_if_absent, seconds_from_now, table_of, utc_now, wake
from tertulia.files.service import Attached, link_attachments, release_files
from tertulia.ids import ImportJobId, new_id
from tertulia.jobs.models import ImportJob, ImportJobChat, ImportReport, ImportSource, ImportStatus
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish
from tertulia.transfer.errors import ImportNotFound, ImportStillRunning, TooManyImports
from tertulia.transfer.found import FoundChat, FoundMessage

IMPORTS = "imports"  # the signal that there is a file to import
MAX_WAITING = 5
MAX_PROBLEMS = 100
HELD_S = 60
_PART: TypeAdapter[Part] = TypeAdapter(Part)
_EDITS: TypeAdapter[list[Edit]] = TypeAdapter(list[Edit])
_OPEN = (ImportStatus.QUEUED, ImportStatus.RUNNING)


class ImportReportRead(TypedDict):
    chats: int
    messages: int
    files: int
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


def create_import(
    session: Session, job_id: str, *, file_name: str, path: str, size: int, actor: Actor
) -> ImportJobRead:
    """Raises TooManyImports."""
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


def list_imports(session: Session, *, actor: Actor) -> list[ImportJobRead]:
    """The newest twenty."""
    jobs = session.scalars(
        sa.select(ImportJob).where(ImportJob.user_id == actor.user_id).order_by(ImportJob.id.desc()).limit(20)
    )
    return [read_import(job) for job in jobs]


def get_import(session: Session, job_id: ImportJobId, *, actor: Actor) -> ImportJobRead:
    return read_import(_own(session, job_id, actor=actor, is_locked=False))


def find_import(session: Session, job_id: str) -> ImportJob:
    """As it is now, for who waits for its end on the operator's side."""
    job = session.get_one(ImportJob, job_id, populate_existing=True)
    session.expunge(job)
    return job


def cancel_import(session: Session, job_id: ImportJobId, *, actor: Actor) -> ImportJobRead:
    """What was taken stays, and can be undone; one that has ended stays as it is."""
    job = _own(session, job_id, actor=actor)
    if job.status is ImportStatus.QUEUED:
        job.status, job.ended_at = ImportStatus.CANCELLED, clock.now()
    elif job.status is ImportStatus.RUNNING:
        job.cancel_requested_at = job.cancel_requested_at or clock.now()
    session.flush()
    return announce_import(session, job_id, Operation.UPDATED)


def undo_import(session: Session, job_id: ImportJobId, *, actor: Actor) -> tuple[ImportJobRead, bool]:
    """Delete some of the chats that an import made; whether there are more. One in which was written since stays.

    Raises ImportStillRunning.
    """
    job = _own(session, job_id, actor=actor)
    if job.status in _OPEN:
        raise ImportStillRunning
    written_since = sa.select(sa.literal(1)).where(Message.chat_id == Chat.id, Message.imported.is_(False)).exists()
    made = (
        sa.select(Chat.id)
        .join(ImportJobChat, ImportJobChat.chat_id == Chat.id)
        .where(ImportJobChat.import_job_id == job_id, Chat.user_id == actor.user_id, ~written_since)
        .limit(20)
    )
    ids = session.scalars(made).all()
    for chat_id in ids:
        publish(
            session,
            owner_id=actor.user_id,
            topic=f"user:{actor.user_id}",
            entity="chat",
            entity_id=chat_id,
            operation=Operation.DELETED,
            chat_id=chat_id,
        )
    release_files(session, ids)
    session.execute(sa.delete(Chat).where(Chat.id.in_(ids)))
    more = len(ids) == 20
    if not more:
        job.status = ImportStatus.UNDONE
        session.flush()
    return announce_import(session, job_id, Operation.UPDATED), more


# ---- what the worker does


def claim_import(session: Session, paths: list[str]) -> ImportJob | None:
    """The oldest waiting job whose file is here, held for a while. Gives a detached copy."""
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
    """Tell how far it has come; false when it is to stop."""
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


def is_known(session: Session, user_id: str, found: FoundChat) -> bool:
    return (
        session.scalar(
            sa.select(Chat.id).where(
                Chat.user_id == user_id, Chat.import_source == found.source, Chat.import_id == found.id[:200]
            )
        )
        is not None
    )


def import_chat(
    session: Session, job_id: str, found: FoundChat, files: dict[str, Attached], *, actor: Actor
) -> list[str] | None:
    """A whole chat with all its branches; gives sentences on what of it is not as it was. None: it was there already."""
    problems = list(found.problems)
    now, chat_id = clock.now(), new_id()
    created_at = _moment(found.created_at) or now
    order = _in_order(found.messages)
    last = max((one.created_at for one in order if one.created_at), default=None)
    native = found.native or {}
    is_new = insert_if_absent(
        session,
        Chat,
        id=chat_id,
        user_id=actor.user_id,
        kind="direct",
        title=_line(found.title)[:200] or DEFAULT_TITLE,
        provider=native.get("provider"),
        model_name=_line(found.model)[:100] if found.model and native else None,
        system_prompt=_clean(found.system_prompt)[:2000] if found.system_prompt else None,
        context_window_size=native.get("context_window_size"),
        settings=ChatSettings.model_validate(native.get("settings") or {}),
        details={},
        visibility="private",
        is_archived=found.is_archived,
        pinned_at=_native_moment(native.get("pinned_at")) or (created_at if found.is_pinned else None),
        message_count=len(order),
        last_message_at=_native_moment(native.get("last_message_at"))
        or _moment(last)
        or _moment(found.updated_at)
        or created_at,
        # What it cost was paid elsewhere: it is told, and stands in no ledger here.
        total_tokens=0,
        total_cost=Decimal(0),
        import_source=found.source,
        import_id=found.id[:200],
        created_at=_native_moment(native.get("created_at")) or created_at,
        updated_at=now,
    )
    if not is_new:
        return None
    name = session.scalars(sa.select(User.name).where(User.id == actor.user_id)).one()
    ids, levels = {one.id: new_id() for one in order}, dict[str, int]()
    rows = []
    for one in order:
        levels[one.id] = levels.get(one.thread_of or "", 0) + 1 if one.thread_of in ids else _native_level(one)
        rows.append(_row(one, ids, levels[one.id], files, chat_id, created_at, actor, name, problems))
    for start in range(0, len(rows), 500):
        session.execute(sa.insert(table_of(Message)), rows[start : start + 500])
    session.execute(sa.insert(ImportJobChat).values(import_job_id=job_id, chat_id=chat_id))
    _link_files(session, found, files, ids, chat_id)
    _react(session, order, ids, actor)
    _set_head(session, chat_id, ids.get(found.head or ""), [row for row in rows if row["thread_level"] == 0])
    for tag in dict.fromkeys(_line(tag)[:50] for tag in found.tags):
        if tag:
            colour = next((one["colour"] for one in native.get("tags", []) if one["name"] == tag), TagColour.GREY)
            tag_id = find_or_create_tag(session, TagCreate(name=tag, colour=colour), actor=actor)
            insert_if_absent(session, ChatTag, chat_id=chat_id, tag_id=tag_id, created_at=now)
    index_stored(session, [row["id"] for row in rows])
    index_title(session, chat_id)
    announce_chat(session, chat_id, Operation.CREATED)
    return problems


def _in_order(messages: list[FoundMessage]) -> list[FoundMessage]:
    """Each after the one before it and the one it answers, else by time; what stands in a circle is left out."""
    by_id = {one.id: one for one in messages}
    after: defaultdict[str, list[str]] = defaultdict(list)
    waits: dict[str, int] = {}
    place = {one.id: number for number, one in enumerate(messages)}
    for one in by_id.values():
        needs = {need for need in (one.parent, one.thread_of) if need in by_id and need != one.id}
        waits[one.id] = len(needs)
        for need in needs:
            after[str(need)].append(one.id)
    ready = [(by_id[one].created_at or 0.0, place[one], one) for one, count in waits.items() if count == 0]
    heapq.heapify(ready)
    ordered: list[FoundMessage] = []
    latest = 0.0
    while ready:
        moment, _, taken = heapq.heappop(ready)
        latest = max(latest, moment)
        ordered.append(by_id[taken])
        for following in after[taken]:
            waits[following] -= 1
            if waits[following] == 0:
                # Without a time of its own it comes right after what it follows.
                heapq.heappush(ready, (by_id[following].created_at or latest, place[following], following))
    return ordered


def _row(
    one: FoundMessage,
    ids: dict[str, str],
    level: int,
    files: dict[str, Attached],
    chat_id: str,
    chat_at: datetime,
    actor: Actor,
    name: str,
    problems: list[str],
) -> dict[str, Any]:
    native = one.native or {}
    parts = with_other_files(_parts(one, problems), {key: file.id for key, file in files.items()})
    created_at = _native_moment(native.get("created_at")) or _moment(one.created_at) or chat_at
    is_own = one.role == "user" and native.get("user") in (None, name)
    details = _details(one, native)
    if one.role == "user" and not is_own:
        details.author = _line(str(native.get("user")))[:100]
    return {
        "id": ids[one.id],
        "chat_id": chat_id,
        "user_id": actor.user_id if is_own else None,
        "role": MessageRole(one.role),
        "status": _status(native.get("status")),
        "previous_message_id": ids.get(one.parent or ""),
        "parent_message_id": ids.get(one.thread_of or ""),
        "thread_level": level,
        "token_count": native.get("token_count"),
        "metadata": details,
        "provider_metadata": None,
        "edit_history": _edits(native.get("edit_history")),
        "imported": True,
        "import_id": one.id[:200],
        "content": flatten(parts),
        "parts": parts,
        "created_at": created_at,
        "updated_at": _native_moment(native.get("updated_at")) or created_at,
    }


def _parts(one: FoundMessage, problems: list[str]) -> list[Part]:
    """As they are stored; what is too long is cut, and what is no part of ours is left out, each with a word about it."""
    room = MAX_REPLY if one.role == "assistant" else MAX_WRITTEN
    made: list[Part] = []
    for given in one.parts[:256]:
        try:
            part = _PART.validate_python(given)
        except ValidationError:
            problems.append("A part of a message could not be understood, and was left out.")
            continue
        match part:
            case TextPart():
                text = _clean(part.text)
                part, room = part.model_copy(update={"text": text[: max(0, room)]}), room - len(text) - 1
            case CodePart():
                text = _clean(part.code)
                part, room = part.model_copy(update={"code": text[: max(0, room)]}), room - len(text) - 1
            case _:
                pass
        made.append(part)
    if room < 0:
        problems.append("A message was longer than can be kept, and was cut at its end.")
    if len(one.parts) > 256:
        problems.append("A message had more than 256 parts; the rest was left out.")
    return made


def _details(one: FoundMessage, native: dict[str, Any]) -> MessageMetadata:
    try:
        details = MessageMetadata.model_validate(native.get("metadata") or {})
    except ValidationError:
        details = MessageMetadata()
    details.run_id, details.deleted, details.author = None, None, None
    if one.model and details.model is None:
        details.model = _line(one.model)[:100]
    return details


def _set_head(session: Session, chat_id: str, head: str | None, branch: list[dict[str, Any]]) -> None:
    known = {row["id"] for row in branch}
    if head not in known:
        head = branch[-1]["id"] if branch else None
    if head is not None:
        head = newest_leaf_below(session, chat_id, head)
    session.execute(sa.update(Chat).where(Chat.id == chat_id).values(head_message_id=head))


def _link_files(
    session: Session, found: FoundChat, files: dict[str, Attached], ids: dict[str, str], chat_id: str
) -> None:
    of_message: defaultdict[str, list[Attached]] = defaultdict(list)
    for file in found.files:
        for message_id in file.message_ids:
            if file.id in files and message_id in ids:
                of_message[ids[message_id]].append(files[file.id])
    for message_id, attached in of_message.items():
        link_attachments(session, attached, message_id=message_id, chat_id=chat_id)


def _react(session: Session, order: list[FoundMessage], ids: dict[str, str], actor: Actor) -> None:
    now = clock.now()
    for one in order:
        for emoji in (one.native or {}).get("reactions", []):
            insert_if_absent(
                session, Reaction, message_id=ids[one.id], user_id=actor.user_id, emoji=str(emoji)[:32], created_at=now
            )


def announce_import(session: Session, job_id: str, operation: Operation) -> ImportJobRead:
    read = read_import(session.get_one(ImportJob, job_id, populate_existing=True))
    owner_id = session.scalars(sa.select(ImportJob.user_id).where(ImportJob.id == job_id)).one()
    publish(
        session,
        owner_id=owner_id,
        topic=f"user:{owner_id}",
        entity="import_job",
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
            report.problems.append(f"{_line(title)[:80] or 'A chat'}: {problem}")


def _own(session: Session, job_id: str, *, actor: Actor, is_locked: bool = True) -> ImportJob:
    query = sa.select(ImportJob).where(ImportJob.id == job_id, ImportJob.user_id == actor.user_id)
    job = session.scalars(query.with_for_update() if is_locked else query).one_or_none()
    if job is None:
        raise ImportNotFound
    return job


def _native_level(one: FoundMessage) -> int:
    """Of a reply whose parent is gone for good."""
    level = (one.native or {}).get("thread_level", 0)
    return level if isinstance(level, int) and 0 <= level <= 10 else 0


def _status(given: object) -> MessageStatus:
    """One that was being written when it was exported ended there."""
    try:
        status = MessageStatus(str(given)) if given else MessageStatus.SENT
    except ValueError:
        return MessageStatus.SENT
    return MessageStatus.INTERRUPTED if status in (MessageStatus.SENDING, MessageStatus.STREAMING) else status


def _edits(given: object) -> list[Edit]:
    try:
        return _EDITS.validate_python(given or [])[-50:]
    except ValidationError:
        return []


def _moment(seconds: float | None) -> datetime | None:
    if seconds is None or not 0 < seconds < 253_000_000_000:
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def _native_moment(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _clean(text: str | None) -> str:
    """What both databases store."""
    return (text or "").replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def _line(text: str | None) -> str:
    return " ".join("".join(one for one in _clean(text) if unicodedata.category(one) != "Cc" or one.isspace()).split())
