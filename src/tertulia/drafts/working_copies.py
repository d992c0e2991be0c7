"""Store unsaved text within a second, merge the text of two windows, and turn it into versions."""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.db.types import EPOCH, MICROSECOND
from tertulia.drafts.access import may_write_draft
from tertulia.drafts.announce import announce_version, announce_working_copy
from tertulia.drafts.errors import DraftTooLong, VersionConflict
from tertulia.drafts.models import MAX_CONTENT, Draft, DraftVersion, DraftWorkingCopy
from tertulia.drafts.schemas import WorkingCopyPut, WorkingCopyRead, WorkingCopyStored
from tertulia.drafts.text import clean, merge_texts, merged_text
from tertulia.drafts.versions import Origin, load_version, lock_any_draft, lock_draft, save_version
from tertulia.ids import DraftId

MERGED = "merged"
SETTLED_AFTER = timedelta(minutes=10)  # without typing; then it becomes a version, even if its window is gone


def read_working_copy(session: Session, actor: Actor, draft_id: str) -> WorkingCopyRead | None:
    row = session.execute(
        sa.select(
            DraftWorkingCopy.content,
            DraftVersion.version_number.label("base_version_number"),
            DraftWorkingCopy.revision,
            DraftWorkingCopy.window_id,
            DraftWorkingCopy.updated_at,
        )
        .join(DraftVersion, DraftVersion.id == DraftWorkingCopy.base_version_id)
        .where(DraftWorkingCopy.draft_id == draft_id, DraftWorkingCopy.user_id == actor.user_id)
    ).one_or_none()
    return row._asdict() if row is not None else None  # type: ignore[return-value]


def store_working_copy(session: Session, actor: Actor, draft_id: DraftId, put: WorkingCopyPut) -> WorkingCopyStored:
    """Store a window's text, merged with what another window of this user stored since `put.revision`.

    It is also merged with the current version if its base is older. On conflict, it stays unmerged on its base.

    Raises VersionConflict if two windows changed the same text. Then nothing is stored, and the window keeps its text.
    """
    draft = lock_draft(session, actor, draft_id)
    content, base_number = clean(put.content), put.base_version_number
    base = load_version(session, draft_id, base_number)
    known = read_working_copy(session, actor, draft_id)
    # A window may replace what it stored itself, even if it never received the response.
    is_own = known is not None and (known["revision"] == put.revision or known["window_id"] == put.window_id)
    if known is not None and not is_own and known["content"] != content:
        # The texts of both windows are based on the older version or a newer one.
        older = min(base_number, known["base_version_number"])
        merged = merge_texts(load_version(session, draft_id, older).content, content, known["content"])
        text = merged_text(merged)
        if text is None:
            raise VersionConflict(current=draft.current_number, merged=merged, revision=known["revision"])
        content, base_number = text, older
        base = load_version(session, draft_id, older)
    if base_number < draft.current_number:
        current = load_version(session, draft_id, draft.current_number)
        text = merged_text(merge_texts(base.content, content, current.content))
        if text is not None and len(text) <= MAX_CONTENT:
            content, base, base_number = text, current, current.number
    if len(content) > MAX_CONTENT:
        raise DraftTooLong(len(content), MAX_CONTENT)
    is_merged = content != clean(put.content)
    now = clock.now()
    # A revision that no window knows for another text, even after the last copy became a version.
    revision = max(known["revision"] + 1 if known is not None else 0, (now - EPOCH) // MICROSECOND)
    # A merged text belongs to no window: only a window that knows its revision may replace it.
    window_id = MERGED if is_merged else put.window_id
    mine = (DraftWorkingCopy.draft_id == draft_id, DraftWorkingCopy.user_id == actor.user_id)
    values = {
        "base_version_id": base.id,
        "content": content,
        "revision": revision,
        "window_id": window_id,
        "updated_at": now,
    }
    if base_number == draft.current_number and content == base.content:
        session.execute(sa.delete(DraftWorkingCopy).where(*mine))  # equal to the current version: nothing to keep
    elif known is None:
        session.execute(
            sa.insert(DraftWorkingCopy).values(draft_id=draft_id, user_id=actor.user_id, created_at=now, **values)
        )
    else:
        session.execute(sa.update(DraftWorkingCopy).where(*mine).values(**values))
    announce_working_copy(session, draft_id, revision, actor.user_id)
    return {
        "content": content,
        "base_version_number": base_number,
        "revision": revision,
        "window_id": window_id,
        "updated_at": now,
        "merged": is_merged,
    }


def clear_working_copy(session: Session, actor: Actor, draft_id: str, content: str, *, revision: int | None) -> None:
    """Delete the actor's working copy if it has this text or revision. Text that another window stored stays."""
    session.execute(
        sa.delete(DraftWorkingCopy).where(
            DraftWorkingCopy.draft_id == draft_id,
            DraftWorkingCopy.user_id == actor.user_id,
            (DraftWorkingCopy.content == content) | (DraftWorkingCopy.revision == revision),
        )
    )


def has_unsettled(session: Session) -> bool:
    old = sa.select(DraftWorkingCopy.draft_id).where(DraftWorkingCopy.updated_at < clock.now() - SETTLED_AFTER)
    return session.scalar(old.limit(1)) is not None


def settle_working_copy(session: Session) -> bool:
    """Save the oldest working copy that is no longer edited as a version. Return whether there may be more.

    A copy that cannot be merged becomes a branch, and the current version does not change, so that nothing is lost.
    """
    oldest = session.execute(
        sa.select(DraftWorkingCopy.draft_id, DraftWorkingCopy.user_id)
        .where(DraftWorkingCopy.updated_at < clock.now() - SETTLED_AFTER)
        .order_by(DraftWorkingCopy.updated_at)
        .limit(1)
    ).one_or_none()
    if oldest is None:
        return False
    draft = lock_any_draft(session, oldest.draft_id)
    mine = (DraftWorkingCopy.draft_id == draft.id, DraftWorkingCopy.user_id == oldest.user_id)
    row = session.execute(
        sa.select(DraftWorkingCopy.content, DraftVersion.version_number)
        .join(DraftVersion, DraftVersion.id == DraftWorkingCopy.base_version_id)
        .where(*mine, DraftWorkingCopy.updated_at < clock.now() - SETTLED_AFTER)
    ).one_or_none()
    if row is None:  # it is being edited again
        return True
    if not _may_still_write(session, draft.id, oldest.user_id):
        # Keep it private until its user may write again, and check again after SETTLED_AFTER.
        session.execute(sa.update(DraftWorkingCopy).where(*mine).values(updated_at=clock.now()))
        return True
    origin = Origin(author_id=oldest.user_id)
    try:
        saved = save_version(session, draft, row.content, parent_number=row.version_number, origin=origin)
    except (VersionConflict, DraftTooLong):
        current_id = session.scalars(sa.select(Draft.current_version_id).where(Draft.id == draft.id)).one()
        saved = save_version(session, draft, row.content, parent_number=row.version_number, origin=origin, branch=True)
        session.execute(sa.update(Draft).where(Draft.id == draft.id).values(current_version_id=current_id))
    session.execute(sa.delete(DraftWorkingCopy).where(*mine))
    if saved.is_new:
        announce_version(session, draft.id, saved.version.number)
    return True


def _may_still_write(session: Session, draft_id: str, user_id: str) -> bool:
    writable = sa.select(Draft.id).where(Draft.id == draft_id, may_write_draft(Draft.id, Draft.user_id))
    return session.scalar(writable, {"actor_id": user_id}) is not None
