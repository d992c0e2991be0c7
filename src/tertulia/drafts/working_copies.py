"""What is being typed: stored within a second, merged when two windows type, taken up by a version in the end."""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.db.types import EPOCH, MICROSECOND
from tertulia.drafts.announce import announce_version, announce_working_copy
from tertulia.drafts.errors import DraftTooLong, VersionConflict
from tertulia.drafts.models import MAX_CONTENT, Draft, DraftVersion, DraftWorkingCopy
from tertulia.drafts.schemas import WorkingCopyPut, WorkingCopyRead, WorkingCopyStored
from tertulia.drafts.text import clean, merge_texts, merged_text
from tertulia.drafts.versions import Origin, load_version, lock_any_draft, lock_draft, save_version
from tertulia.ids import DraftId

SETTLED_AFTER = timedelta(minutes=10)  # without typing: then it becomes a version, whatever became of its window


def read_working_copy(session: Session, draft_id: str, *, actor: Actor) -> WorkingCopyRead | None:
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


def store_working_copy(session: Session, draft_id: DraftId, put: WorkingCopyPut, *, actor: Actor) -> WorkingCopyStored:
    """What a window has now; merged with what another window of this person stored since `put.revision`.

    Raises VersionConflict where both changed the same; then nothing is stored, and the window has its text still.
    """
    draft = lock_draft(session, draft_id, actor=actor)
    content = clean(put.content)
    base = load_version(session, draft_id, put.base_version_number)
    known = read_working_copy(session, draft_id, actor=actor)
    is_merged = False
    # What this very window stored it may replace, also when the answer never reached it.
    is_own = known is not None and (known["revision"] == put.revision or known["window_id"] == put.window_id)
    if known is not None and not is_own and known["content"] != content:
        # Both windows began with the older of the two versions at least.
        older = base.content
        if known["base_version_number"] < put.base_version_number:
            older = load_version(session, draft_id, known["base_version_number"]).content
        merged = merge_texts(older, content, known["content"])
        text = merged_text(merged)
        if text is None:
            raise VersionConflict(current=draft.current_number, merged=merged, revision=known["revision"])
        if len(text) > MAX_CONTENT:
            raise DraftTooLong(len(text), MAX_CONTENT)
        content, is_merged = text, text != content
    now = clock.now()
    # A number that no window has for another text, also after a version took the last copy up.
    revision = max(known["revision"] + 1 if known is not None else 0, (now - EPOCH) // MICROSECOND)
    mine = (DraftWorkingCopy.draft_id == draft_id, DraftWorkingCopy.user_id == actor.user_id)
    if known is None:
        session.execute(
            sa.insert(DraftWorkingCopy).values(
                draft_id=draft_id,
                user_id=actor.user_id,
                base_version_id=base.id,
                content=content,
                revision=revision,
                window_id=put.window_id,
                created_at=now,
                updated_at=now,
            )
        )
    else:
        session.execute(
            sa.update(DraftWorkingCopy)
            .where(*mine)
            .values(
                base_version_id=base.id, content=content, revision=revision, window_id=put.window_id, updated_at=now
            )
        )
    announce_working_copy(session, draft_id, revision, actor.user_id)
    return {
        "content": content,
        "base_version_number": put.base_version_number,
        "revision": revision,
        "window_id": put.window_id,
        "updated_at": now,
        "merged": is_merged,
    }


def clear_working_copy(session: Session, draft_id: str, content: str, *, window_id: str | None, actor: Actor) -> None:
    """A version has this text now, and what this window stored before it. What another window stored stays."""
    session.execute(
        sa.delete(DraftWorkingCopy).where(
            DraftWorkingCopy.draft_id == draft_id,
            DraftWorkingCopy.user_id == actor.user_id,
            (DraftWorkingCopy.content == content) | (DraftWorkingCopy.window_id == window_id),
        )
    )


def has_unsettled(session: Session) -> bool:
    old = sa.select(DraftWorkingCopy.draft_id).where(DraftWorkingCopy.updated_at < clock.now() - SETTLED_AFTER)
    return session.scalar(old.limit(1)) is not None


def settle_working_copy(session: Session) -> bool:
    """Make a version of the oldest copy that nobody types in any more; whether there may be more.

    One that cannot be merged becomes a branch, and the draft stays where it is: nothing is lost, and nothing is chosen.
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
    if row is None:  # somebody types in it again
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
