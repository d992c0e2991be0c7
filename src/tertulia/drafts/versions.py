"""Save, merge and load versions. They are numbered without gaps under the draft's lock, and stored packed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.drafts.access import may_write_draft
from tertulia.drafts.errors import DraftNotFound, DraftTooLong, VersionConflict, VersionNotFound
from tertulia.drafts.models import MAX_CONTENT, Draft, DraftVersion, GenerationSource
from tertulia.drafts.packing import (
    MAX_DEPTH,
    pack_changes,
    pack_spans,
    pack_text,
    unpack_changes,
    unpack_spans,
    unpack_text,
)
from tertulia.drafts.queries import LISTED, read_listed
from tertulia.drafts.schemas import VersionListed, VersionRead
from tertulia.drafts.text import (
    Change,
    Span,
    apply_changes,
    changes_between,
    count_words,
    merge_texts,
    merged_text,
    spans_after,
)
from tertulia.ids import DraftId, new_id

WORTH_IT = 4  # changes are stored instead of the text if they are this many times shorter


@dataclass(frozen=True)
class LockedDraft:
    id: DraftId
    owner_id: str
    current_number: int
    version_count: int


@dataclass(frozen=True)
class Origin:
    """The author of a new version, and the message and model that it came from."""

    source: GenerationSource = GenerationSource.USER
    author_id: str | None = None
    message_id: str | None = None
    provider: str | None = None
    model_name: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Stored:
    """A version with its text, from which new versions are made."""

    id: str
    number: int
    content: str
    delta_depth: int


@dataclass(frozen=True)
class SavedVersion:
    version: Stored
    is_new: bool
    is_merged: bool = False


def lock_draft(session: Session, actor: Actor, draft_id: DraftId) -> LockedDraft:
    """Lock a draft in which the actor may write, to add its next version. Raises DraftNotFound.

    Permission is checked under the lock, because it may be revoked while waiting for it.
    """
    draft = lock_any_draft(session, draft_id)
    writable_id = session.execute(
        sa.select(Draft.id).where(
            Draft.id == draft_id, Draft.deleted_at.is_(None), may_write_draft(Draft.id, Draft.user_id)
        ),
        {"actor_id": actor.user_id},
    ).one_or_none()
    if writable_id is None:
        raise DraftNotFound
    return draft


def lock_any_draft(session: Session, draft_id: str) -> LockedDraft:
    """Lock a draft without checking permission, also one in the trash. Raises DraftNotFound."""
    row = session.execute(
        sa.select(Draft.user_id, Draft.current_version_id, Draft.version_count)
        .where(Draft.id == draft_id)
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise DraftNotFound
    number = session.scalars(
        sa.select(DraftVersion.version_number).where(DraftVersion.id == row.current_version_id)
    ).one()
    return LockedDraft(DraftId(draft_id), row.user_id, number, row.version_count)


def save_version(
    session: Session, draft: LockedDraft, content: str, *, parent_number: int, origin: Origin, branch: bool = False
) -> SavedVersion:
    """Save a text based on the version `parent_number`. It is merged with a newer version, unless `branch` is set.

    Raises VersionConflict if both changed the same text, VersionNotFound, and DraftTooLong for a merged text.
    """
    parent = load_version(session, draft.id, parent_number)
    current = parent if parent_number == draft.current_number else load_version(session, draft.id, draft.current_number)
    if content == current.content:
        return SavedVersion(current, is_new=False)
    if branch or parent is current:
        return SavedVersion(add_version(session, draft, content, parent=parent, origin=origin), is_new=True)
    merged = merge_texts(parent.content, content, current.content)
    text = merged_text(merged)
    if text is None:
        raise VersionConflict(current=current.number, merged=merged)
    if len(text) > MAX_CONTENT:
        raise DraftTooLong(len(text), MAX_CONTENT)
    if text == current.content:
        return SavedVersion(current, is_new=False)
    added = add_version(session, draft, text, parent=current, origin=origin, base_id=parent.id)
    return SavedVersion(added, is_new=True, is_merged=True)


def add_version(
    session: Session,
    draft: LockedDraft,
    content: str,
    *,
    parent: Stored | None,
    origin: Origin,
    base_id: str | None = None,
    changes: Sequence[Change] | None = None,
    is_whole: bool = False,
) -> Stored:
    """Add the next version and make it the current one.

    `changes` from the parent determine authorship. Pass them if they are known better than by comparing. `is_whole`
    stores the whole text even if the changes are few.
    """
    number, version_id, now = draft.version_count + 1, new_id(), clock.now()
    if changes is None:
        changes = changes_between(parent.content, content) if parent is not None else []
    packed, delta_of, depth, authorship = None, None, 0, None
    if parent is not None and parent.delta_depth < MAX_DEPTH and not is_whole:
        delta = pack_changes(changes)
        if len(delta) < len(content) / WORTH_IT:
            packed, delta_of, depth = delta, parent.id, parent.delta_depth + 1
    if packed is None:
        packed = pack_text(content)
        authorship = pack_spans(
            spans_after(load_spans(session, parent.id), changes, number)
            if parent is not None
            else [Span(len(content), number)] * bool(content)
        )
    session.execute(
        sa.insert(DraftVersion).values(
            id=version_id,
            draft_id=draft.id,
            version_number=number,
            parent_version_id=parent.id if parent is not None else None,
            base_version_id=base_id,
            generation_source=origin.source,
            author_id=origin.author_id,
            message_id=origin.message_id,
            provider=origin.provider,
            model_name=origin.model_name,
            name=origin.name,
            length=len(content),
            words=count_words(content),
            delta_of_id=delta_of,
            delta_depth=depth,
            content=packed,
            authorship=authorship,
            created_at=now,
        )
    )
    session.execute(
        sa.update(Draft)
        .where(Draft.id == draft.id)
        .values(current_version_id=version_id, version_count=number, updated_at=now)
    )
    return Stored(version_id, number, content, depth)


def load_version(session: Session, draft_id: str, number: int) -> Stored:
    """Load a version with its text. Raises VersionNotFound."""
    row = session.execute(
        sa.select(DraftVersion.id, DraftVersion.delta_depth).where(
            DraftVersion.draft_id == draft_id, DraftVersion.version_number == number
        )
    ).one_or_none()
    if row is None:
        raise VersionNotFound
    return Stored(row.id, number, load_text(session, row.id), row.delta_depth)


def load_text(session: Session, version_id: str) -> str:
    """Load the text of a version from the nearest whole text and the changes since."""
    whole, *deltas = _chain(session, version_id)
    text = unpack_text(whole.content)
    for delta in deltas:
        text = apply_changes(text, unpack_changes(delta.content))
    return text


def load_spans(session: Session, version_id: str) -> list[Span]:
    """Load the version that each part of a version's text came from."""
    whole, *deltas = _chain(session, version_id)
    spans = unpack_spans(whole.authorship)
    for delta in deltas:
        spans = spans_after(spans, unpack_changes(delta.content), delta.version_number)
    return spans


def _chain(session: Session, version_id: str) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    """Return the whole version that this one is based on, and the versions up to this one, in order."""
    columns = (
        DraftVersion.delta_of_id,
        DraftVersion.content,
        DraftVersion.authorship,
        DraftVersion.version_number,
        DraftVersion.delta_depth,
    )
    chain = sa.select(*columns).where(DraftVersion.id == version_id).cte("chain", recursive=True)
    chain = chain.union_all(sa.select(*columns).join(chain, DraftVersion.id == chain.c.delta_of_id))
    return session.execute(sa.select(chain).order_by(chain.c.delta_depth)).all()


def list_version(session: Session, draft_id: str, number: int) -> VersionListed:
    """Return a version without its text. Raises VersionNotFound."""
    row = session.execute(
        LISTED.where(DraftVersion.draft_id == draft_id, DraftVersion.version_number == number)
    ).one_or_none()
    if row is None:
        raise VersionNotFound
    return read_listed(row)


def read_version(session: Session, draft_id: str, number: int) -> VersionRead:
    """Return a version with its text. Raises VersionNotFound."""
    return with_text(list_version(session, draft_id, number), load_version(session, draft_id, number))


def with_text(listed: VersionListed, version: Stored) -> VersionRead:
    return {**listed, "content": version.content}
