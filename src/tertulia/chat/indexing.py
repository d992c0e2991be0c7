"""Full-text index of chats: a row of words for each title, message, file and draft.

The row of a message is written in the transaction that makes its text final, and is deleted with the message. On SQLite
triggers keep an FTS5 index of the table (migration 0003); on PostgreSQL a generated column does. A job indexes text
that is older than the index or was restored from a backup, in small batches.
"""

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.chat.message_files import text_of_file
from tertulia.chat.models import DEFAULT_TITLE, Chat, Message, MessageRole, MessageStatus
from tertulia.db import insert_if_absent
from tertulia.files.models import Attachment, MessageAttachment
from tertulia.jobs.models import InstanceSetting
from tertulia.search_index.documents import (
    INDEXED_OF_FILE,
    INSERT_DOCUMENT,
    PARTS_A_FILE,
    PARTS_OF_DRAFT,
    chat_word,
    owner_word,
    role_word,
    split_rows,
)
from tertulia.search_index.models import SearchDocument

BATCH_SIZE = 500
EDITION = 1  # of the word format; a new edition rebuilds the index
SETTING = "search_index"
FINAL = (MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.INTERRUPTED, MessageStatus.ERROR)


class Progress(BaseModel):
    """Progress of the index job: first the chats, then the messages, each in the order of their ids."""

    edition: int = EDITION
    chats_after: str | None = None
    messages_after: str | None = None
    has_chats: bool = False
    is_built: bool = False


def index_message(
    session: Session,
    *,
    message_id: str,
    chat_id: str,
    owner_id: str,
    role: MessageRole,
    content: str,
    created_at: datetime,
) -> None:
    """Index a message that has no row yet. A job indexes its files, which may be a hundred times as long."""
    head = f"{owner_word(owner_id)} {chat_word(chat_id)} {role_word(role)}"
    for part, words in enumerate(split_rows(content)):
        INSERT_DOCUMENT.run(
            session,
            chat_id=chat_id,
            message_id=message_id,
            part=part,
            words=f"{head} {words}",
            created_at=created_at,
        )


def index_stored(session: Session, message_ids: Iterable[str]) -> None:
    """Replace the rows of messages by rows of their stored text. Messages that are not final get none."""
    ids = list(message_ids)
    session.flush()
    session.execute(
        sa.delete(SearchDocument).where(SearchDocument.message_id.in_(ids), SearchDocument.part < PARTS_A_FILE)
    )
    final = []
    for row in session.execute(
        sa.select(Message.id, Message.chat_id, Chat.user_id, Message.role, Message.content, Message.created_at)
        .join(Chat, Chat.id == Message.chat_id)
        .where(Message.id.in_(ids), Message.status.in_(FINAL))
        .order_by(Message.id)
    ):
        final.append(row.id)
        index_message(
            session,
            message_id=row.id,
            chat_id=row.chat_id,
            owner_id=row.user_id,
            role=row.role,
            content=row.content,
            created_at=row.created_at,
        )
    forget_files(session, [message_id for message_id in ids if message_id not in set(final)])


def forget_files(session: Session, message_ids: list[str]) -> None:
    """Remove the files of messages from the index. Files of final messages are indexed again later."""
    if not message_ids:
        return
    session.execute(
        sa.delete(SearchDocument).where(SearchDocument.message_id.in_(message_ids), SearchDocument.part >= PARTS_A_FILE)
    )
    session.execute(
        sa.update(MessageAttachment).where(MessageAttachment.message_id.in_(message_ids)).values(indexed_at=None)
    )


def index_file_anew(session: Session, attachment_id: str) -> None:
    """Queue a deleted or restored file for indexing in every message that uses it."""
    session.execute(
        sa.update(MessageAttachment).where(MessageAttachment.attachment_id == attachment_id).values(indexed_at=None)
    )


def has_unindexed_files(session: Session) -> bool:
    waiting = sa.select(MessageAttachment.id).where(MessageAttachment.indexed_at.is_(None)).limit(1)
    return session.scalar(waiting) is not None


def index_files(session: Session) -> bool:
    """Index the next waiting file of a message, up to INDEXED_OF_FILE characters. Return False if none is waiting."""
    waiting = session.execute(
        sa.select(
            MessageAttachment.id,
            MessageAttachment.message_id,
            MessageAttachment.position,
            MessageAttachment.attachment_id,
            Message.chat_id,
            Message.role,
            Message.status,
            Message.created_at,
            Chat.user_id,
        )
        .join(Message, Message.id == MessageAttachment.message_id)
        .join(Chat, Chat.id == Message.chat_id)
        .where(MessageAttachment.indexed_at.is_(None))
        .order_by(MessageAttachment.id)
        .limit(1)
        .with_for_update(of=MessageAttachment, skip_locked=True)
    ).first()
    if waiting is None:
        return False
    first = PARTS_A_FILE * (waiting.position + 1)
    session.execute(
        sa.delete(SearchDocument).where(
            SearchDocument.message_id == waiting.message_id,
            SearchDocument.part.between(first, first + PARTS_A_FILE - 1),
        )
    )
    is_there = waiting.attachment_id is not None and waiting.status in FINAL
    text = (
        text_of_file(session, waiting.attachment_id, INDEXED_OF_FILE)
        if is_there and _is_kept(session, waiting.attachment_id)
        else ""
    )
    head = f"{owner_word(waiting.user_id)} {chat_word(waiting.chat_id)} {role_word(waiting.role)}"
    for part, words in enumerate(split_rows(text)):
        INSERT_DOCUMENT.run(
            session,
            chat_id=waiting.chat_id,
            message_id=waiting.message_id,
            part=first + part,
            words=f"{head} {words}",
            created_at=waiting.created_at,
        )
    session.execute(
        sa.update(MessageAttachment).where(MessageAttachment.id == waiting.id).values(indexed_at=clock.now())
    )
    return True


def _is_kept(session: Session, attachment_id: str) -> bool:
    return session.scalar(sa.select(Attachment.deleted_at).where(Attachment.id == attachment_id)) is None


def index_title(session: Session, chat_id: str) -> None:
    session.execute(
        sa.delete(SearchDocument).where(
            SearchDocument.chat_id == chat_id, SearchDocument.message_id.is_(None), SearchDocument.part < PARTS_OF_DRAFT
        )
    )
    title, owner_id, created_at = session.execute(
        sa.select(Chat.title, Chat.user_id, Chat.created_at).where(Chat.id == chat_id)
    ).one()
    for words in [] if title == DEFAULT_TITLE else split_rows(title):
        head = f"{owner_word(owner_id)} {chat_word(chat_id)}"
        INSERT_DOCUMENT.run(
            session, chat_id=chat_id, message_id=None, part=0, words=f"{head} {words}", created_at=created_at
        )


def build_index(session: Session) -> Progress:
    """Index the next batch of chats or messages that are older than the index, and return the progress."""
    stored = session.get(InstanceSetting, SETTING)
    progress = Progress.model_validate_json(stored.value) if stored else Progress()
    if progress.edition != EDITION:
        progress = Progress()
    if progress.is_built:
        return progress
    if not progress.has_chats:
        chats = session.scalars(_next(Chat, progress.chats_after)).all()
        for chat_id in chats:
            index_title(session, chat_id)
        progress.chats_after = chats[-1] if chats else progress.chats_after
        progress.has_chats = len(chats) < BATCH_SIZE
    else:
        messages = session.scalars(_next(Message, progress.messages_after)).all()
        index_stored(session, messages)
        forget_files(session, list(messages))
        progress.messages_after = messages[-1] if messages else progress.messages_after
        progress.is_built = len(messages) < BATCH_SIZE
    now = clock.now()
    insert_if_absent(session, InstanceSetting, name=SETTING, value="", created_at=now, updated_at=now)
    session.execute(
        sa.update(InstanceSetting).where(InstanceSetting.name == SETTING).values(value=progress.model_dump_json())
    )
    return progress


def _next(kind: type[Chat] | type[Message], after: str | None) -> sa.Select[str]:
    query = sa.select(kind.id).order_by(kind.id).limit(BATCH_SIZE)
    return query.where(kind.id > after) if after else query
