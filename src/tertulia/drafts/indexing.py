"""Index drafts for search soon after they change. A job does this, because saving must not wait for it."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.chat.models import DraftChat
from tertulia.drafts.models import Draft
from tertulia.drafts.versions import load_text
from tertulia.search_index.documents import (
    INDEXED_OF_FILE,
    INSERT_DOCUMENT,
    PARTS_OF_DRAFT,
    chat_word,
    owner_word,
    split_rows,
)
from tertulia.search_index.models import SearchDocument

RESTED = timedelta(seconds=5)  # without a new version, so that frequent saves are not indexed each time


def _waiting() -> sa.ColumnElement[bool]:
    return (Draft.indexed_number < Draft.version_count) & (Draft.updated_at < clock.now() - RESTED)


def has_unindexed_drafts(session: Session) -> bool:
    return session.scalar(sa.select(Draft.id).where(_waiting()).limit(1)) is not None


def index_next_draft(session: Session) -> bool:
    """Index the draft that waits longest, under the first of its chats. Return whether there may be more."""
    row = session.execute(
        sa.select(Draft.id, Draft.user_id, Draft.current_version_id, Draft.version_count, Draft.updated_at)
        .where(_waiting())
        .order_by(Draft.updated_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if row is None:
        return False
    chat_id = session.scalar(
        sa.select(DraftChat.chat_id).where(DraftChat.draft_id == row.id).order_by(DraftChat.chat_id).limit(1)
    )
    if chat_id is not None:
        text = load_text(session, row.current_version_id)
        index_draft(
            session, chat_id=chat_id, draft_id=row.id, owner_id=row.user_id, text=text, changed_at=row.updated_at
        )
    session.execute(
        sa.update(Draft).where(Draft.id == row.id).values(indexed_number=row.version_count, updated_at=Draft.updated_at)
    )
    return True


def index_draft(
    session: Session, *, chat_id: str, draft_id: str, owner_id: str, text: str, changed_at: datetime
) -> None:
    """Replace the rows of the draft that a chat is about by rows of its text.

    Only people who may read the draft find it: permission to read the chat is not enough.
    """
    session.execute(
        sa.delete(SearchDocument).where(
            SearchDocument.chat_id == chat_id,
            SearchDocument.message_id.is_(None),
            SearchDocument.part >= PARTS_OF_DRAFT,
        )
    )
    head = f"{owner_word(owner_id)} {chat_word(draft_id)}"
    for part, words in enumerate(split_rows(text[:INDEXED_OF_FILE])):
        INSERT_DOCUMENT.run(
            session,
            chat_id=chat_id,
            message_id=None,
            part=PARTS_OF_DRAFT + part,
            words=f"{head} {words}",
            created_at=changed_at,
        )
