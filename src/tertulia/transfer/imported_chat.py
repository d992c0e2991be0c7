"""Write an imported chat in one transaction, in chronological order, with new ids."""

import heapq
import unicodedata
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User
from tertulia.accounts.row_limits import RowLimits
from tertulia.chat.indexing import index_stored, index_title
from tertulia.chat.message_files import AttachedFile, link_attachments
from tertulia.chat.models import (
    DEFAULT_TITLE,
    MAX_REPLY,
    MAX_WRITTEN,
    Chat,
    ChatSettings,
    ChatTag,
    ContextRule,
    Edit,
    Message,
    MessageMetadata,
    MessageRole,
    MessageStatus,
    ProviderMetadata,
    Reaction,
    TagColour,
)
from tertulia.chat.parts import CodePart, Part, TextPart, flatten, with_other_calls, with_other_files
from tertulia.chat.queries import newest_leaf_below
from tertulia.chat.schemas import TagCreate
from tertulia.chat.service import announce_chat
from tertulia.chat.state import StateWrite, put_state
from tertulia.chat.tags import find_or_create_tag
from tertulia.db import insert_if_absent, table_of
from tertulia.errors import AppError
from tertulia.ids import ChatId, new_id
from tertulia.projects.errors import TooManyMemberships, TooManyProjects
from tertulia.projects.exported import find_or_create_project
from tertulia.projects.schemas import ProjectCreate
from tertulia.realtime.models import Operation
from tertulia.tools.errors import ArgumentsInvalid
from tertulia.tools.models import ToolExecution
from tertulia.tools.validation import check_plain
from tertulia.transfer.found import FoundChat, FoundMessage
from tertulia.transfer.models import ImportJobChat
from tertulia.transfer.native_calls import imported_calls, row_of

_PART: TypeAdapter[Part] = TypeAdapter(Part)
_EDITS: TypeAdapter[list[Edit]] = TypeAdapter(list[Edit])


def is_known(session: Session, user_id: str, chat: FoundChat) -> bool:
    return (
        session.scalar(
            sa.select(Chat.id).where(
                Chat.user_id == user_id, Chat.import_source == chat.source, Chat.import_id == chat.id[:200]
            )
        )
        is not None
    )


def import_chat(
    session: Session,
    actor: Actor,
    job_id: str,
    chat: FoundChat,
    files: dict[str, AttachedFile],
    limits: RowLimits,
) -> list[str] | None:
    """Import a chat with all its branches. Return sentences on what was changed, or None if the chat exists.

    Raises TooManyRows.
    """
    limits.take(session, Chat.user_id, actor.user_id, "chats")
    problems = list(chat.problems)
    now, chat_id = clock.now(), new_id()
    created_at = time_from_microseconds(chat.created_at) or now
    order = in_order(chat.messages)
    last = max((message.created_at for message in order if message.created_at), default=None)
    native = chat.native or {}
    is_new = insert_if_absent(
        session,
        Chat,
        id=chat_id,
        user_id=actor.user_id,
        kind="direct",
        title=one_line(chat.title)[:200] or DEFAULT_TITLE,
        provider=native.get("provider"),
        model_name=one_line(chat.model)[:100] if chat.model and native else None,
        system_prompt=_clean(chat.system_prompt)[:2000] if chat.system_prompt else None,
        context_window_size=native.get("context_window_size"),
        settings=ChatSettings.model_validate(native.get("settings") or {}),
        details={},
        visibility="private",
        is_archived=chat.is_archived,
        pinned_at=_native_moment(native.get("pinned_at")) or (created_at if chat.is_pinned else None),
        message_count=len(order),
        last_message_at=_native_moment(native.get("last_message_at"))
        or time_from_microseconds(last)
        or time_from_microseconds(chat.updated_at)
        or created_at,
        # Its cost was paid elsewhere: messages show it, but no ledger here includes it.
        total_tokens=0,
        total_cost=Decimal(0),
        import_source=chat.source,
        import_id=chat.id[:200],
        created_at=_native_moment(native.get("created_at")) or created_at,
        updated_at=now,
    )
    if not is_new:
        return None
    ids = {message.id: new_id() for message in order}
    rows = _add_messages(session, actor, order, ids, files, chat_id, created_at, problems)
    _add_calls(session, order, rows, ids, problems)
    session.execute(sa.insert(ImportJobChat).values(import_job_id=job_id, chat_id=chat_id))
    _keep_state(session, actor, chat_id, native.get("state"), problems)
    _link_files(session, chat, files, ids, chat_id)
    _react(session, order, ids, actor)
    _set_head(session, chat_id, ids.get(chat.head or ""), [row for row in rows if row["thread_level"] == 0])
    _add_tags(session, actor, chat, chat_id)
    _put_in_project(session, actor, native.get("project"), chat_id, limits, problems)
    index_stored(session, [row["id"] for row in rows])
    index_title(session, chat_id)
    announce_chat(session, chat_id, Operation.CREATED)
    return problems


def _put_in_project(
    session: Session, actor: Actor, described: object, chat_id: str, limits: RowLimits, problems: list[str]
) -> None:
    """Put a chat in the actor's project of the same name, which is made if there is none. Others do not see the chat."""
    if not isinstance(described, dict):
        return
    try:
        new = ProjectCreate.model_validate({name: value for name, value in described.items() if value is not None})
        project_id = find_or_create_project(session, actor, new, limits)
    except (ValidationError, TooManyProjects, TooManyMemberships) as error:
        reason = "the project cannot be read" if isinstance(error, ValidationError) else error.detail
        problems.append(f"The chat is in no project: {reason}")
        return
    session.execute(sa.update(Chat).where(Chat.id == chat_id).values(project_id=project_id))


def _add_messages(
    session: Session,
    actor: Actor,
    order: list[FoundMessage],
    ids: dict[str, str],
    files: dict[str, AttachedFile],
    chat_id: str,
    created_at: datetime,
    problems: list[str],
) -> list[dict[str, Any]]:
    """Insert the messages and return their rows, in the same order."""
    name = session.scalars(sa.select(User.name).where(User.id == actor.user_id)).one()
    levels = dict[str, int]()
    rows = []
    for message in order:
        levels[message.id] = (
            levels.get(message.thread_of or "", 0) + 1 if message.thread_of in ids else _native_level(message)
        )
        rows.append(_row(message, ids, levels[message.id], files, chat_id, created_at, actor, name, problems))
    for start in range(0, len(rows), 500):
        session.execute(sa.insert(table_of(Message)), rows[start : start + 500])
    return rows


def _add_tags(session: Session, actor: Actor, chat: FoundChat, chat_id: str) -> None:
    """Add the chat's tags, with the exported colour of those that do not exist yet."""
    colours = {entry["name"]: entry["colour"] for entry in (chat.native or {}).get("tags", [])}
    for tag in filter(None, dict.fromkeys(one_line(tag)[:50] for tag in chat.tags)):
        colour = TagColour(colours[tag]) if colours.get(tag) in list(TagColour) else TagColour.GREY
        tag_id = find_or_create_tag(session, actor, TagCreate(name=tag, colour=colour))
        insert_if_absent(session, ChatTag, chat_id=chat_id, tag_id=tag_id, created_at=clock.now())


def _keep_state(session: Session, actor: Actor, chat_id: str, state: object, problems: list[str]) -> None:
    """Store the state of the chat's tools, if it matches the schema that they declared."""
    if state is None:
        return
    try:
        with session.begin_nested():
            put_state(session, actor, ChatId(chat_id), StateWrite.model_validate(state))
    except (ValidationError, AppError):
        problems.append("The state of the chat does not match its schema and was left out.")


def _add_calls(
    session: Session, order: list[FoundMessage], rows: list[dict[str, Any]], ids: dict[str, str], problems: list[str]
) -> None:
    """Insert the tool calls, and reference the new rows in the parts that show them."""
    by_id = {row["id"]: row for row in rows}
    for message in order:
        exported_calls = imported_calls((message.native or {}).get("tool_executions"), problems)
        if not exported_calls:
            continue
        row = by_id[ids[message.id]]
        calls = [
            row_of(call, chat_id=row["chat_id"], message_id=row["id"], now=row["created_at"]) for call in exported_calls
        ]
        session.execute(sa.insert(table_of(ToolExecution)), calls)
        named = {call.id: call_row["id"] for call, call_row in zip(exported_calls, calls, strict=True)}
        session.execute(
            sa.update(Message)
            .where(Message.id == row["id"])
            .values(parts=with_other_calls(row["parts"], named), updated_at=row["updated_at"])
        )


def in_order(messages: list[FoundMessage]) -> list[FoundMessage]:
    """Order each message after its parent and the start of its thread, else by time. Cycles are left out."""
    by_id = {message.id: message for message in messages}
    after: defaultdict[str, list[str]] = defaultdict(list)
    waits: dict[str, int] = {}
    place = {message.id: number for number, message in enumerate(messages)}
    for message in by_id.values():
        needs = {need for need in (message.parent, message.thread_of) if need in by_id and need != message.id}
        waits[message.id] = len(needs)
        for need in needs:
            after[str(need)].append(message.id)
    ready = [(by_id[key].created_at or 0.0, place[key], key) for key, count in waits.items() if count == 0]
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
                # A message without a time comes right after the one that it follows.
                heapq.heappush(ready, (by_id[following].created_at or latest, place[following], following))
    return ordered


def _row(
    message: FoundMessage,
    ids: dict[str, str],
    level: int,
    files: dict[str, AttachedFile],
    chat_id: str,
    chat_at: datetime,
    actor: Actor,
    name: str,
    problems: list[str],
) -> dict[str, Any]:
    native = message.native or {}
    parts = with_other_files(_parts(message, problems), {key: file.id for key, file in files.items()})
    created_at = _native_moment(native.get("created_at")) or time_from_microseconds(message.created_at) or chat_at
    is_own = message.role == "user" and native.get("user") in (None, name)
    details = _details(message, native)
    if message.role == "user" and not is_own:
        details.author = one_line(str(native.get("user")))[:100]
    return {
        "id": ids[message.id],
        "chat_id": chat_id,
        "user_id": actor.user_id if is_own else None,
        "role": MessageRole(message.role),
        "status": _status(native.get("status")),
        "previous_message_id": ids.get(message.parent or ""),
        "parent_message_id": ids.get(message.thread_of or ""),
        "thread_level": level,
        "token_count": native.get("token_count"),
        "context_rule": _rule(native.get("context_rule")),
        "metadata": details,
        "provider_metadata": _provider_metadata(native.get("provider_metadata"), problems),
        "edit_history": _edits(native.get("edit_history")),
        "imported": True,
        "import_id": message.id[:200],
        "content": flatten(parts),
        "parts": parts,
        "created_at": created_at,
        "updated_at": _native_moment(native.get("updated_at")) or created_at,
    }


def _provider_metadata(entry: object, problems: list[str]) -> ProviderMetadata | None:
    if not isinstance(entry, dict):
        return None
    try:
        check_plain(entry)
        return ProviderMetadata.model_validate(entry)
    except (ValidationError, ArgumentsInvalid):
        problems.append("What a vendor gave with a reply could not be read and was left out.")
        return None


def _parts(message: FoundMessage, problems: list[str]) -> list[Part]:
    """Return the parts to store. Long text is cut and unknown parts are left out, each with a problem."""
    room = MAX_REPLY if message.role == "assistant" else MAX_WRITTEN
    parts: list[Part] = []
    for entry in message.parts[:256]:
        try:
            part = _PART.validate_python(entry)
        except ValidationError:
            problems.append("A part of a message could not be read and was left out.")
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
        parts.append(part)
    if room < 0:
        problems.append("A message was too long and was cut at its end.")
    if len(message.parts) > 256:
        problems.append("A message had more than 256 parts. The rest was left out.")
    return parts


def _details(message: FoundMessage, native: dict[str, Any]) -> MessageMetadata:
    try:
        details = MessageMetadata.model_validate(native.get("metadata") or {})
    except ValidationError:
        details = MessageMetadata()
    details.run_id, details.deleted, details.author = None, None, None
    if message.model and details.model is None:
        details.model = one_line(message.model)[:100]
    return details


def _set_head(session: Session, chat_id: str, head: str | None, branch: list[dict[str, Any]]) -> None:
    known = {row["id"] for row in branch}
    if head not in known:
        head = branch[-1]["id"] if branch else None
    if head is not None:
        head = newest_leaf_below(session, chat_id, head)
    session.execute(sa.update(Chat).where(Chat.id == chat_id).values(head_message_id=head))


def _link_files(
    session: Session, chat: FoundChat, files: dict[str, AttachedFile], ids: dict[str, str], chat_id: str
) -> None:
    of_message: defaultdict[str, list[AttachedFile]] = defaultdict(list)
    for file in chat.files:
        for message_id in file.message_ids:
            if file.id in files and message_id in ids:
                of_message[ids[message_id]].append(files[file.id])
    for message_id, attached in of_message.items():
        link_attachments(session, attached, message_id=message_id, chat_id=chat_id)


def _react(session: Session, order: list[FoundMessage], ids: dict[str, str], actor: Actor) -> None:
    now = clock.now()
    for message in order:
        for emoji in (message.native or {}).get("reactions", []):
            insert_if_absent(
                session,
                Reaction,
                message_id=ids[message.id],
                user_id=actor.user_id,
                emoji=str(emoji)[:32],
                created_at=now,
            )


def _native_level(message: FoundMessage) -> int:
    """Return the exported level of a reply whose parent no longer exists."""
    level = (message.native or {}).get("thread_level", 0)
    return level if isinstance(level, int) and 0 <= level <= 10 else 0


def _status(value: object) -> MessageStatus:
    """Convert the status. A message exported while it was being written is interrupted."""
    try:
        status = MessageStatus(str(value)) if value else MessageStatus.SENT
    except ValueError:
        return MessageStatus.SENT
    return MessageStatus.INTERRUPTED if status in (MessageStatus.SENDING, MessageStatus.STREAMING) else status


def _rule(value: object) -> ContextRule:
    return next((rule for rule in ContextRule if rule == value), ContextRule.AUTO)


def _edits(value: object) -> list[Edit]:
    try:
        return _EDITS.validate_python(value or [])[-50:]
    except ValidationError:
        return []


def time_from_microseconds(seconds: float | None) -> datetime | None:
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
    """Remove characters that a database cannot store."""
    return (text or "").replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def one_line(text: str | None) -> str:
    return " ".join(
        "".join(char for char in _clean(text) if unicodedata.category(char) != "Cc" or char.isspace()).split()
    )
