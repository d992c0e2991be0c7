"""Create, list, update, save, restore, compare and delete drafts."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User
from tertulia.accounts.row_limits import RowLimits
from tertulia.accounts.sharing import permissions_of
from tertulia.chat.message_files import release_files
from tertulia.chat.models import Chat, ChatKind, DraftChat, MessageRole
from tertulia.chat.schemas import ChatCreate, ChatRead
from tertulia.chat.service import announce_chat, create_chat, get_chat, get_message
from tertulia.db import rowcount, wake
from tertulia.db.types import EPOCH, MICROSECOND
from tertulia.drafts.access import is_share_of_draft, may_read_draft, owns_draft
from tertulia.drafts.announce import announce_draft, announce_version
from tertulia.drafts.errors import DraftChanged, DraftNotFound, DraftTooLong, NotYourDraft
from tertulia.drafts.models import MAX_CONTENT, Draft, DraftVersion, GenerationSource
from tertulia.drafts.queries import DRAFTS, LISTED, read_draft_row, read_listed
from tertulia.drafts.schemas import (
    Authorship,
    DiffRead,
    DraftCreate,
    DraftListed,
    DraftRead,
    DraftUpdate,
    Shown,
    VersionCreate,
    VersionListed,
    VersionMade,
    VersionRead,
    VersionUpdate,
)
from tertulia.drafts.text import clean, diff_pieces
from tertulia.drafts.versions import (
    LockedDraft,
    Origin,
    add_version,
    list_version,
    load_spans,
    load_version,
    lock_any_draft,
    lock_draft,
    read_version,
    save_version,
    with_text,
)
from tertulia.drafts.working_copies import clear_working_copy, read_working_copy
from tertulia.ids import ChatId, DraftId, MessageId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import SHARES

DraftKey = tuple[int, str]  # microseconds since 1970 of the last change, id
TITLE_OF_TEXT = 80  # characters


def create_draft(session: Session, actor: Actor, new: DraftCreate, limits: RowLimits) -> DraftRead:
    """Create a draft with a chat and with version 1, which is empty if no text is given. Raises TooManyRows."""
    limits.take(session, Draft.user_id, actor.user_id, "drafts")
    draft_id, now = DraftId(new_id()), clock.now()
    content, origin = _first_text(session, actor, new)
    title = new.title or _title_of(content)
    session.execute(
        sa.insert(Draft).values(
            id=draft_id,
            user_id=actor.user_id,
            title=title,
            description=new.description,
            current_version_id=new_id(),  # placeholder until the first version is inserted
            created_at=now,
            updated_at=now,
        )
    )
    draft = LockedDraft(draft_id, actor.user_id, 0, 0)
    add_version(session, draft, content, parent=None, origin=origin)
    begin_chat(session, draft, title, limits)
    announce_draft(session, draft_id, Operation.CREATED)
    return get_draft(session, actor, draft_id)


def _first_text(session: Session, actor: Actor, new: DraftCreate) -> tuple[str, Origin]:
    """Return the first text and its origin. Raises MessageNotFound, and DraftTooLong for a long message."""
    if new.message_id is None:
        return clean(new.content or ""), Origin(author_id=actor.user_id)
    message = get_message(session, actor, MessageId(new.message_id))
    content = clean(new.content or message["content"])
    if len(content) > MAX_CONTENT:
        raise DraftTooLong(len(content), MAX_CONTENT)
    if message["role"] is not MessageRole.ASSISTANT:
        return content, Origin(author_id=actor.user_id, message_id=message["id"])
    return content, Origin(
        GenerationSource.AI_GENERATION,
        message_id=message["id"],
        provider=message["provider"],
        model_name=message["model_name"],
    )


def _title_of(content: str) -> str | None:
    """Return the first line that has text, or None."""
    lines = (" ".join(line.strip("# ").split()) for line in content[:10_000].split("\n"))
    return next((line[:TITLE_OF_TEXT].strip() for line in lines if line), None)


def begin_chat(session: Session, draft: LockedDraft, title: str | None, limits: RowLimits) -> ChatId:
    """Create a chat about the draft. It always belongs to the draft's owner, who shares the draft."""
    new = ChatCreate(title=title[:200] if title else None)
    chat_id = ChatId(create_chat(session, new, limits, kind=ChatKind.DRAFT, owner_id=draft.owner_id)["id"])
    session.execute(sa.insert(DraftChat).values(chat_id=chat_id, draft_id=draft.id, created_at=clock.now()))
    return chat_id


def add_chat(session: Session, actor: Actor, draft: LockedDraft, limits: RowLimits) -> ChatRead:
    """Create another chat about a draft, and notify everyone who may read the draft."""
    chat_id = begin_chat(session, draft, None, limits)
    wake(session, SHARES)  # readers of the draft may read this chat too
    announce_draft(session, draft.id, Operation.UPDATED)  # their permission for the chat is loaded later
    return get_chat(session, actor, chat_id)


def list_chats(session: Session, actor: Actor, draft_id: DraftId) -> list[ChatRead]:
    """Return the chats about a draft, newest first. The set is small and limited to 200."""
    check_draft(session, actor, draft_id)
    ids = session.scalars(
        sa.select(DraftChat.chat_id)
        .join(Chat, Chat.id == DraftChat.chat_id)
        .where(DraftChat.draft_id == draft_id, Chat.deleted_at.is_(None))
        .order_by(DraftChat.chat_id.desc())
        .limit(200)
    ).all()
    return [get_chat(session, actor, ChatId(chat_id)) for chat_id in ids]


def check_draft(session: Session, actor: Actor, draft_id: DraftId) -> None:
    """Raise DraftNotFound unless the actor may read the draft."""
    _find_draft(session, actor, draft_id)


def _find_draft(session: Session, actor: Actor, draft_id: DraftId) -> sa.Row[*tuple[Any, ...]]:
    row = session.execute(
        DRAFTS.where(Draft.id == draft_id, Draft.deleted_at.is_(None), may_read_draft(Draft.id, Draft.user_id)),
        {"actor_id": actor.user_id},
    ).one_or_none()
    if row is None:
        raise DraftNotFound
    return row


def own_draft(session: Session, actor: Actor, draft_id: DraftId) -> LockedDraft:
    """Lock a draft of the actor. Raises DraftNotFound, and NotYourDraft if it is shared with the actor."""
    if _find_draft(session, actor, draft_id).user_id != actor.user_id:
        raise NotYourDraft
    return lock_draft(session, actor, draft_id)


def read_for(session: Session, actor: Actor, row: sa.Row[*tuple[Any, ...]]) -> DraftListed:
    """Convert a row of DRAFTS for an actor who may read the draft."""
    listed = read_draft_row(row)
    if row.user_id == actor.user_id:
        return listed
    name = session.scalars(sa.select(User.name).where(User.id == row.user_id)).one()
    permissions = permissions_of(session, actor, is_share_of_draft(row.id))
    return {**listed, "owner": {"id": row.user_id, "name": name}, "permissions": permissions}


def list_drafts(
    session: Session, actor: Actor, *, shown: Shown = "active", after: DraftKey | None = None, limit: int = 50
) -> list[DraftListed]:
    """Return the actor's drafts, last changed first, after the key of the last draft seen."""
    query = DRAFTS.where(
        owns_draft(Draft.user_id), Draft.deleted_at.is_not(None) if shown == "trash" else Draft.deleted_at.is_(None)
    )
    if after is not None:
        moment = EPOCH + timedelta(microseconds=after[0])
        query = query.where(
            (Draft.updated_at < moment) | ((Draft.updated_at == moment) & (Draft.id < after[1])),
            Draft.updated_at <= moment,
        )
    rows = session.execute(
        query.order_by(Draft.updated_at.desc(), Draft.id.desc()).limit(limit), {"actor_id": actor.user_id}
    )
    return [read_draft_row(row) for row in rows]


def draft_key(draft: DraftListed) -> DraftKey:
    return (draft["updated_at"] - EPOCH) // MICROSECOND, draft["id"]


def get_draft(session: Session, actor: Actor, draft_id: DraftId) -> DraftRead:
    """Return a draft with its current text and the actor's working copy. Raises DraftNotFound."""
    listed = read_for(session, actor, _find_draft(session, actor, draft_id))
    may_write = listed["permissions"]["can_write"]
    return {
        **listed,
        "current_version": read_version(session, draft_id, listed["current_version_number"]),
        "working_copy": read_working_copy(session, actor, draft_id) if may_write else None,
    }


def update_draft(session: Session, actor: Actor, draft_id: DraftId, update: DraftUpdate, *, revision: int) -> DraftRead:
    """Update title and description. Raises DraftChanged if they were changed since `revision`."""
    own_draft(session, actor, draft_id)
    values: dict[str, object] = {name: getattr(update, name) for name in update.model_fields_set}
    moved = rowcount(
        session,
        sa.update(Draft)
        .where(Draft.id == draft_id, Draft.revision == revision)
        .values(**values, revision=Draft.revision + 1, updated_at=clock.now()),
    )
    if not moved:
        raise DraftChanged
    announce_draft(session, draft_id, Operation.UPDATED)
    return get_draft(session, actor, draft_id)


def delete_draft(session: Session, actor: Actor, draft_id: DraftId) -> None:
    """Move a draft and its chats to the trash."""
    own_draft(session, actor, draft_id)
    now = clock.now()
    session.execute(sa.update(Draft).where(Draft.id == draft_id).values(deleted_at=now, updated_at=Draft.updated_at))
    _set_chats_deleted(session, draft_id, Chat.deleted_at.is_(None), now)
    announce_draft(session, draft_id, Operation.DELETED)


def restore_draft(session: Session, actor: Actor, draft_id: DraftId) -> DraftRead:
    """Restore a draft from the trash, with the chats that were deleted with it."""
    mine = sa.select(Draft.id).where(Draft.id == draft_id, owns_draft(Draft.user_id))
    if session.scalar(mine, {"actor_id": actor.user_id}) is None:
        own_draft(session, actor, draft_id)  # raises the exact error
    lock_any_draft(session, draft_id)
    went_at = session.scalar(sa.select(Draft.deleted_at).where(Draft.id == draft_id))
    if went_at is not None:
        session.execute(
            sa.update(Draft).where(Draft.id == draft_id).values(deleted_at=None, updated_at=Draft.updated_at)
        )
        _set_chats_deleted(session, draft_id, Chat.deleted_at == went_at, None)
        announce_draft(session, draft_id, Operation.CREATED)
    return get_draft(session, actor, draft_id)


def _set_chats_deleted(session: Session, draft_id: str, which: sa.ColumnElement[bool], moment: datetime | None) -> None:
    chats = session.scalars(
        sa.select(Chat.id).join(DraftChat, DraftChat.chat_id == Chat.id).where(DraftChat.draft_id == draft_id, which)
    ).all()
    session.execute(sa.update(Chat).where(Chat.id.in_(chats)).values(deleted_at=moment))
    for chat_id in chats:
        announce_chat(session, chat_id, Operation.DELETED if moment else Operation.CREATED)


def purge_drafts(session: Session, kept: timedelta) -> int:
    """Delete up to five drafts that were in the trash for longer than `kept`, with their versions and chats."""
    old = session.scalars(
        sa.select(Draft.id)
        .where(Draft.deleted_at < clock.now() - kept)
        .limit(5)
        .with_for_update(skip_locked=True)  # a draft that is being restored is skipped
    ).all()
    chats = session.scalars(sa.select(DraftChat.chat_id).where(DraftChat.draft_id.in_(old))).all()
    release_files(session, chats)
    session.execute(sa.delete(Chat).where(Chat.id.in_(chats)))
    return rowcount(session, sa.delete(Draft).where(Draft.id.in_(old)))


def delete_draft_of(session: Session, user_id: str) -> bool:
    """Delete one draft of a deleted account, with its versions and chats. Return False if none is left."""
    draft_id = session.scalar(sa.select(Draft.id).where(Draft.user_id == user_id).limit(1))
    if draft_id is None:
        return False
    chats = session.scalars(sa.select(DraftChat.chat_id).where(DraftChat.draft_id == draft_id)).all()
    release_files(session, chats)
    session.execute(sa.delete(Chat).where(Chat.id.in_(chats)))
    session.execute(sa.delete(Draft).where(Draft.id == draft_id))
    return True


def list_versions(
    session: Session, actor: Actor, draft_id: DraftId, *, before: int | None = None, limit: int = 50
) -> list[VersionListed]:
    """Return the tree of versions without their texts, newest first."""
    check_draft(session, actor, draft_id)
    query = LISTED.where(DraftVersion.draft_id == draft_id)
    if before is not None:
        query = query.where(DraftVersion.version_number < before)
    rows = session.execute(query.order_by(DraftVersion.version_number.desc()).limit(limit))
    return [read_listed(row) for row in rows]


def get_version(session: Session, actor: Actor, draft_id: DraftId, number: int) -> VersionRead:
    check_draft(session, actor, draft_id)
    return read_version(session, draft_id, number)


def get_authorship(session: Session, actor: Actor, draft_id: DraftId, number: int) -> Authorship:
    """Return the version that each part of the text came from. That version has the author."""
    check_draft(session, actor, draft_id)
    version = load_version(session, draft_id, number)
    spans = load_spans(session, version.id)
    numbers = {span.version_number for span in spans}
    rows = session.execute(
        LISTED.where(DraftVersion.draft_id == draft_id, DraftVersion.version_number.in_(numbers)).order_by(
            DraftVersion.version_number
        )
    )
    return {
        "items": [{"length": span.length, "version_number": span.version_number} for span in spans],
        "versions": [read_listed(row) for row in rows],
    }


def create_version(session: Session, actor: Actor, draft_id: DraftId, new: VersionCreate) -> tuple[VersionMade, bool]:
    """Save a text. Return the version that contains it, and whether it is new. Raises VersionConflict."""
    draft = lock_draft(session, actor, draft_id)
    content = clean(new.content)
    saved = save_version(
        session,
        draft,
        content,
        parent_number=new.parent_version_number,
        origin=Origin(author_id=actor.user_id, name=new.name),
        branch=new.branch,
    )
    clear_working_copy(session, actor, draft_id, content, revision=new.working_copy_revision)
    if saved.is_new:
        # A draft without a title gets the first line of its text.
        session.execute(
            sa.update(Draft)
            .where(Draft.id == draft_id, Draft.title.is_(None))
            .values(title=_title_of(saved.version.content), revision=Draft.revision + 1)
        )
    elif new.name:
        session.execute(sa.update(DraftVersion).where(DraftVersion.id == saved.version.id).values(name=new.name))
    number = saved.version.number
    listed = announce_version(session, draft_id, number) if saved.is_new else list_version(session, draft_id, number)
    return {**with_text(listed, saved.version), "merged": saved.is_merged}, saved.is_new


def update_version(
    session: Session, actor: Actor, draft_id: DraftId, number: int, update: VersionUpdate
) -> VersionRead:
    lock_draft(session, actor, draft_id)
    version = load_version(session, draft_id, number)
    session.execute(sa.update(DraftVersion).where(DraftVersion.id == version.id).values(name=update.name or None))
    return with_text(announce_version(session, draft_id, number, operation=Operation.UPDATED), version)


def restore_version(session: Session, actor: Actor, draft_id: DraftId, number: int) -> VersionRead:
    """Add an old version's text as a new version. The old one is its parent, which keeps the authorship."""
    draft = lock_draft(session, actor, draft_id)
    old = load_version(session, draft_id, number)
    # A working copy with the text of the current version would hide the new version.
    current = load_version(session, draft_id, draft.current_number)
    clear_working_copy(session, actor, draft_id, current.content, revision=None)
    restored = add_version(session, draft, old.content, parent=old, origin=Origin(author_id=actor.user_id))
    return with_text(announce_version(session, draft_id, restored.number), restored)


def diff_versions(session: Session, actor: Actor, draft_id: DraftId, number: int, against: int | None) -> DiffRead:
    """Compare a version with the version `against`, or by default with its parent."""
    check_draft(session, actor, draft_id)
    if against is None:
        against = list_version(session, draft_id, number)["parent_version_number"] or number
    new, old = (load_version(session, draft_id, version_number).content for version_number in (number, against))
    return {"version_number": number, "against": against, "pieces": diff_pieces(old, new)}
