"""Export and import a draft as our own JSON: every version, whole or as changes to its parent, and the working copy."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from tertulia import clock
from tertulia.accounts.access import is_valid_share
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import Share, User
from tertulia.accounts.row_limits import RowLimits
from tertulia.chat.import_sources import ImportSource
from tertulia.chat.models import Chat, ChatKind, DraftChat, Message, Visibility
from tertulia.chat.service import announce_chat
from tertulia.db import insert_if_absent
from tertulia.drafts.announce import announce_draft
from tertulia.drafts.attached import MAX_ATTACHED
from tertulia.drafts.models import (
    MAX_CONTENT,
    MAX_DESCRIPTION,
    MAX_TITLE,
    AttachedDraft,
    Draft,
    DraftVersion,
    DraftWorkingCopy,
    GenerationSource,
)
from tertulia.drafts.packing import unpack_changes, unpack_text
from tertulia.drafts.service import begin_chat
from tertulia.drafts.text import Change, apply_changes, clean
from tertulia.drafts.versions import LockedDraft, Origin, Stored, add_version
from tertulia.errors import Invalid
from tertulia.ids import DraftId, new_id
from tertulia.realtime.models import Operation
from tertulia.transfer.found import FoundDraft, FoundVersion
from tertulia.transfer.imported_chat import one_line, time_from_microseconds
from tertulia.transfer.models import ImportJobDraft
from tertulia.transfer.reader.native_draft import FORMAT

MAX_VERSIONS = 5000  # of one imported draft
MAX_CHARACTERS = 120_000_000  # of all its versions: other writers wait for this transaction
IMPORTED = "import"  # the window id of an imported working copy


class DraftTooLarge(Invalid):
    code = "draft_too_large"

    def __init__(self) -> None:
        super().__init__("Its versions are too many or too long to import, so it was left out.")


class DraftDamaged(Invalid):
    code = "draft_damaged"

    def __init__(self) -> None:
        super().__init__("Its versions do not fit together, so it was left out.")


def list_draft_ids(session: Session, user_id: str, after: str | None) -> list[str]:
    """List the next 50 ids of the user's drafts, without those in the trash."""
    query = sa.select(Draft.id).where(Draft.user_id == user_id, Draft.deleted_at.is_(None)).order_by(Draft.id).limit(50)
    return list(session.scalars(query.where(Draft.id > after) if after else query))


def native_draft(session: Session, draft_id: str) -> dict[str, Any]:
    """Return the caller's own draft as JSON data. Times are RFC 3339. Chats and messages have their exported ids."""
    draft = session.get_one(Draft, draft_id, populate_existing=True)
    copy = session.execute(
        sa.select(DraftWorkingCopy.content, DraftVersion.version_number)
        .join(DraftVersion, DraftVersion.id == DraftWorkingCopy.base_version_id)
        .where(DraftWorkingCopy.draft_id == draft_id, DraftWorkingCopy.user_id == draft.user_id)
    ).one_or_none()
    current = session.scalars(
        sa.select(DraftVersion.version_number).where(DraftVersion.id == draft.current_version_id)
    ).one()
    return {
        "format": FORMAT,
        "draft": {
            "id": draft.import_id or draft.id,
            "title": draft.title,
            "description": draft.description,
            "current_version_number": current,
            "working_copy": {"content": copy.content, "base_version_number": copy.version_number} if copy else None,
            "chat_ids": _chats(session, sa.select(DraftChat.chat_id).where(DraftChat.draft_id == draft_id)),
            "attached_to": _chats(
                session,
                sa.select(AttachedDraft.chat_id)
                .join(Chat, Chat.id == AttachedDraft.chat_id)
                .where(AttachedDraft.draft_id == draft_id, Chat.user_id == draft.user_id),
            ),
            "created_at": draft.created_at,
            "updated_at": draft.updated_at,
        },
        "versions": _versions(session, draft_id),
    }


def _chats(session: Session, ids: sa.Select[Any]) -> list[str]:
    rows = session.execute(
        sa.select(Chat.id, Chat.import_id, Chat.import_source).where(Chat.id.in_(ids), Chat.deleted_at.is_(None))
    )
    return sorted(
        import_id if import_id and source == ImportSource.TERTULIA else chat_id for chat_id, import_id, source in rows
    )


def _versions(session: Session, draft_id: str) -> list[dict[str, Any]]:
    parent, base = aliased(DraftVersion), aliased(DraftVersion)
    rows = session.execute(
        sa.select(
            DraftVersion,
            parent.version_number.label("parent"),
            base.version_number.label("base"),
            User.name.label("author"),
            Message.id.label("message_id"),
            Message.import_id,
        )
        .outerjoin(parent, parent.id == DraftVersion.parent_version_id)
        .outerjoin(base, base.id == DraftVersion.base_version_id)
        .outerjoin(User, User.id == DraftVersion.author_id)
        .outerjoin(Message, Message.id == DraftVersion.message_id)
        .where(DraftVersion.draft_id == draft_id)
        .order_by(DraftVersion.version_number)
        .execution_options(yield_per=100)
    )
    versions = []
    for row in rows:
        version = row.DraftVersion
        is_whole = version.delta_of_id is None
        versions.append(
            {
                "version_number": version.version_number,
                "parent_version_number": row.parent,
                "base_version_number": row.base,
                "generation_source": version.generation_source,
                "user": row.author,
                "message_id": row.import_id or row.message_id,
                "provider": version.provider,
                "model_name": version.model_name,
                "name": version.name,
                "created_at": version.created_at,
                "content": unpack_text(version.content) if is_whole else None,
                "changes": None if is_whole else [list(change) for change in unpack_changes(version.content)],
            }
        )
    return versions


def is_known_draft(session: Session, user_id: str, parsed: FoundDraft) -> bool:
    return session.scalar(_known(user_id, parsed.id)) is not None


def _known(user_id: str, import_id: str) -> sa.Select[str]:
    return sa.select(Draft.id).where(Draft.user_id == user_id, Draft.import_id == import_id[:200])


def import_draft(session: Session, actor: Actor, job_id: str, parsed: FoundDraft, limits: RowLimits) -> bool:
    """Import a draft with all its versions, and link the imported chats about it. Return False if it already exists.

    Raises DraftDamaged, DraftTooLarge or TooManyRows. Nothing is written then.
    """
    limits.take(session, Draft.user_id, actor.user_id, "drafts")
    now, draft_id = clock.now(), DraftId(new_id())
    is_new = insert_if_absent(
        session,
        Draft,
        id=draft_id,
        user_id=actor.user_id,
        title=one_line(parsed.title)[:MAX_TITLE] or None,
        description=_clean(parsed.description)[:MAX_DESCRIPTION] or None,
        current_version_id=new_id(),  # a placeholder until the versions exist
        import_id=parsed.id[:200],
        created_at=_past(parsed.created_at, now),
        updated_at=now,
    )
    if not is_new:
        return False
    session.execute(
        sa.insert(ImportJobDraft).values(
            import_job_id=job_id, draft_id=draft_id, version_count=len(parsed.versions), created_at=now
        )
    )
    draft = LockedDraft(draft_id, actor.user_id, 0, 0)
    messages = _link_chats(session, actor, draft, parsed, limits)
    versions = _write_versions(session, actor, draft, parsed, messages)
    current = versions.get(parsed.current_version_number)
    if current is None:
        raise DraftDamaged
    session.execute(
        sa.update(Draft)
        .where(Draft.id == draft_id)
        .values(current_version_id=current.id, updated_at=_past(parsed.updated_at, now))
    )
    copy = parsed.working_copy
    if copy is not None and copy.base_version_number in versions and len(copy.content) <= MAX_CONTENT:
        session.execute(
            sa.insert(DraftWorkingCopy).values(
                draft_id=draft_id,
                user_id=actor.user_id,
                base_version_id=versions[copy.base_version_number].id,
                content=_clean(copy.content),
                revision=1,
                window_id=IMPORTED,
                created_at=now,
                updated_at=now,
            )
        )
    announce_draft(session, draft_id, Operation.CREATED)
    return True


def _write_versions(
    session: Session, actor: Actor, draft: LockedDraft, parsed: FoundDraft, messages: dict[str, str]
) -> dict[int, Stored]:
    name = session.scalars(sa.select(User.name).where(User.id == actor.user_id)).one()
    if len(parsed.versions) > MAX_VERSIONS:
        raise DraftTooLarge
    last_needed = {version.parent_version_number: version.version_number for version in parsed.versions}
    versions: dict[int, Stored] = {}
    characters = 0
    for number, version in enumerate(parsed.versions, 1):
        parent = versions.get(version.parent_version_number or 0)
        base = versions.get(version.base_version_number or 0)
        if (
            version.version_number != number
            or (parent is None) != (number == 1)
            or (version.content is None) == (version.changes is None)
        ):
            raise DraftDamaged
        changes = _checked(version, parent)
        content = apply_changes(parent.content, changes) if parent and changes is not None else _clean(version.content)
        characters += len(content)
        if len(content) > MAX_CONTENT:
            raise DraftDamaged
        if characters > MAX_CHARACTERS:
            raise DraftTooLarge
        stored = add_version(
            session,
            LockedDraft(draft.id, draft.owner_id, number - 1, number - 1),
            content,
            parent=parent,
            origin=Origin(
                GenerationSource(version.generation_source),
                author_id=actor.user_id if version.user == name else None,
                message_id=messages.get(version.message_id or ""),
                provider=version.provider[:50] if version.provider else None,
                model_name=version.model_name[:100] if version.model_name else None,
                name=one_line(version.name)[:MAX_TITLE] or None,
            ),
            base_id=base.id if base else None,
            changes=changes,
            is_whole=changes is None,
        )
        session.execute(
            sa.update(DraftVersion)
            .where(DraftVersion.id == stored.id)
            .values(created_at=_past(version.created_at, clock.now()))
        )
        # Keep a text only while a later version is built from it.
        versions[number] = stored if number in last_needed else _without_text(stored)
        if parent is not None and last_needed.get(parent.number) == number:
            versions[parent.number] = _without_text(parent)
    return versions


def _checked(version: FoundVersion, parent: Stored | None) -> list[Change] | None:
    """Return the changes, or None if the text is whole. Raises DraftDamaged unless they are in order and in range."""
    if version.changes is None:
        return None
    changes, at = [Change(*change) for change in version.changes], 0
    for change in changes:
        if parent is None or not at <= change.start <= change.end <= len(parent.content):
            raise DraftDamaged
        at = change.end
    return [Change(change.start, change.end, _clean(change.text)) for change in changes]


def _without_text(version: Stored) -> Stored:
    return replace(version, content="")


def _clean(text: str | None) -> str:
    """Make text that can be stored, and saved again unchanged."""
    return clean((text or "").replace("\x00", "").encode("utf-8", "replace").decode())


def _past(seconds: float | None, now: datetime) -> datetime:
    return min(time_from_microseconds(seconds) or now, now)


def _link_chats(
    session: Session, actor: Actor, draft: LockedDraft, parsed: FoundDraft, limits: RowLimits
) -> dict[str, str]:
    """Link the imported chats about the draft. Return the ids of their messages by the ids of the export."""
    now = clock.now()
    about = _imported(session, parsed.chat_ids, actor.user_id)
    for chat_id in about:
        session.execute(sa.update(Chat).where(Chat.id == chat_id).values(kind=ChatKind.DRAFT))
        session.execute(sa.insert(DraftChat).values(chat_id=chat_id, draft_id=draft.id, created_at=now))
        announce_chat(session, chat_id, Operation.UPDATED)
    if not about:
        begin_chat(session, draft, one_line(parsed.title) or None, limits)
    for chat_id in _imported(session, parsed.attached_to, actor.user_id, of_none=False):
        attached = sa.select(sa.func.count()).where(AttachedDraft.chat_id == chat_id)
        if (session.scalar(attached) or 0) >= MAX_ATTACHED:
            continue
        session.execute(sa.insert(AttachedDraft).values(chat_id=chat_id, draft_id=draft.id, created_at=now))
    wanted = [version.message_id for version in parsed.versions if version.message_id]
    rows = session.execute(
        sa.select(Message.import_id, Message.id).where(Message.chat_id.in_(about), Message.import_id.in_(wanted))
    )
    return {import_id: message_id for import_id, message_id in rows if import_id}


def _imported(session: Session, import_ids: list[str], user_id: str, *, of_none: bool = True) -> list[str]:
    """Return the user's imported chats. `of_none`: only unshared ones without a draft, as a draft shares its chats."""
    is_of_a_draft = sa.select(DraftChat.chat_id).where(DraftChat.chat_id == Chat.id).exists()
    is_shared = sa.select(Share.id).where(Share.chat_id == Chat.id, is_valid_share()).exists()
    is_free = [~is_of_a_draft, ~is_shared, Chat.visibility == Visibility.PRIVATE] if of_none else []
    return list(
        session.scalars(
            sa.select(Chat.id)
            .where(
                Chat.user_id == user_id,
                Chat.import_source == ImportSource.TERTULIA,
                Chat.import_id.in_(import_ids[:200]),
                Chat.deleted_at.is_(None),
                *is_free,
            )
            .order_by(Chat.id)
        )
    )
