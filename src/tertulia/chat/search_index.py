"""What search finds of chats: a row of words for each title and each message, kept by whoever writes them.

The row is written in the transaction of the message when its text is final, and goes with it. On SQLite triggers keep an
FTS5 index beside the table (migration 0003), on PostgreSQL a generated column does. What was there before there was a
search, or was restored from a backup, is indexed by a job, a few at a time.
"""

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Mapped, Session, mapped_column

from tertulia import clock
from tertulia.chat.models import DEFAULT_TITLE, Chat, Message, MessageRole, MessageStatus
from tertulia.chat.words import words_of
from tertulia.db import Base, Id, Prepared, insert_if_absent, table_of
from tertulia.files.models import Attachment, MessageAttachment
from tertulia.files.of_messages import text_of_file
from tertulia.jobs.models import InstanceSetting

WORDS_A_ROW = 8000  # PostgreSQL knows places in a text up to 16,383
AT_ONCE = 500
INDEXED_OF_FILE = 300_000  # characters: about a book; more would hold up the writer
PARTS_A_FILE = 1000  # the numbers of rows from here on are the first file's, then the second's
PARTS_OF_DRAFT = 1  # of a chat's own rows the first is its title; from here on they are of the draft that it is about
EDITION = 1  # of the words; another one is indexed anew
SETTING = "search_index"
FINAL = (MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.INTERRUPTED, MessageStatus.ERROR)


class SearchDocument(Base):
    """`words` begins with what narrows a search to its owner, its chat and its author's role."""

    __tablename__ = "search_document"
    __table_args__ = (
        sa.UniqueConstraint("message_id", "part"),
        sa.Index(None, "chat_id", "message_id"),
        sa.Index(None, "created_at"),
    )

    # Rising: the newest are read first, without sorting.
    id: Mapped[int] = mapped_column(
        sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"))
    message_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="CASCADE"))  # null: title
    part: Mapped[int] = mapped_column(default=0)  # a long text has several
    words: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[datetime]  # of what it tells of


class Progress(BaseModel):
    """How far the job has come: first the chats, then the messages, each in the order of their ids."""

    edition: int = EDITION
    chats_after: str | None = None
    messages_after: str | None = None
    has_chats: bool = False
    is_built: bool = False


_INSERT = Prepared(sa.insert(table_of(SearchDocument)))


def owner_word(user_id: str) -> str:
    return f"xu{user_id.replace('-', '')}"


def chat_word(chat_id: str) -> str:
    """Also for a draft, by its own id."""
    return f"xc{chat_id.replace('-', '')}"


def role_word(role: str) -> str:
    return f"xr{role}"


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
    """A message that has no row yet. What its files say is indexed by a job: it may be a hundred times as much."""
    head = f"{owner_word(owner_id)} {chat_word(chat_id)} {role_word(role)}"
    for part, words in enumerate(_rows(content)):
        _INSERT.run(
            session,
            chat_id=chat_id,
            message_id=message_id,
            part=part,
            words=f"{head} {words}",
            created_at=created_at,
        )


def index_stored(session: Session, message_ids: Iterable[str]) -> None:
    """Messages as they are stored now, in place of what was indexed of them; those that are not final have nothing."""
    wanted = list(message_ids)
    session.flush()
    session.execute(
        sa.delete(SearchDocument).where(SearchDocument.message_id.in_(wanted), SearchDocument.part < PARTS_A_FILE)
    )
    final = []
    for one in session.execute(
        sa.select(Message.id, Message.chat_id, Chat.user_id, Message.role, Message.content, Message.created_at)
        .join(Chat, Chat.id == Message.chat_id)
        .where(Message.id.in_(wanted), Message.status.in_(FINAL))
        .order_by(Message.id)
    ):
        final.append(one.id)
        index_message(
            session,
            message_id=one.id,
            chat_id=one.chat_id,
            owner_id=one.user_id,
            role=one.role,
            content=one.content,
            created_at=one.created_at,
        )
    forget_files(session, [one for one in wanted if one not in set(final)])


def forget_files(session: Session, message_ids: list[str]) -> None:
    """What the files of messages say is not found any more; when the messages are, it is indexed again."""
    if not message_ids:
        return
    session.execute(
        sa.delete(SearchDocument).where(SearchDocument.message_id.in_(message_ids), SearchDocument.part >= PARTS_A_FILE)
    )
    session.execute(
        sa.update(MessageAttachment).where(MessageAttachment.message_id.in_(message_ids)).values(indexed_at=None)
    )


def index_file_anew(session: Session, attachment_id: str) -> None:
    """A file was deleted, or has come back: the job looks at each place where it is used."""
    session.execute(
        sa.update(MessageAttachment).where(MessageAttachment.attachment_id == attachment_id).values(indexed_at=None)
    )


def has_unindexed_files(session: Session) -> bool:
    waiting = sa.select(MessageAttachment.id).where(MessageAttachment.indexed_at.is_(None)).limit(1)
    return session.scalar(waiting) is not None


def index_files(session: Session) -> bool:
    """The text of the next file of a message that waits for it, as far as it is indexed; whether there are more."""
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
    for part, words in enumerate(_rows(text)):
        _INSERT.run(
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
    for words in [] if title == DEFAULT_TITLE else _rows(title):
        head = f"{owner_word(owner_id)} {chat_word(chat_id)}"
        _INSERT.run(session, chat_id=chat_id, message_id=None, part=0, words=f"{head} {words}", created_at=created_at)


def index_draft(
    session: Session, *, chat_id: str, draft_id: str, owner_id: str, text: str, changed_at: datetime
) -> None:
    """The text of the draft that a chat is about, in place of what was indexed of it. Whoever may read the draft finds it;
    one's leave to read the chat is not enough."""
    session.execute(
        sa.delete(SearchDocument).where(
            SearchDocument.chat_id == chat_id,
            SearchDocument.message_id.is_(None),
            SearchDocument.part >= PARTS_OF_DRAFT,
        )
    )
    head = f"{owner_word(owner_id)} {chat_word(draft_id)}"
    for part, words in enumerate(_rows(text[:INDEXED_OF_FILE])):
        _INSERT.run(
            session,
            chat_id=chat_id,
            message_id=None,
            part=PARTS_OF_DRAFT + part,
            words=f"{head} {words}",
            created_at=changed_at,
        )


def build_index(session: Session) -> Progress:
    """Index a few more of those that were there before; a job, until all are there."""
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
        progress.has_chats = len(chats) < AT_ONCE
    else:
        messages = session.scalars(_next(Message, progress.messages_after)).all()
        index_stored(session, messages)
        forget_files(session, list(messages))
        progress.messages_after = messages[-1] if messages else progress.messages_after
        progress.is_built = len(messages) < AT_ONCE
    now = clock.now()
    insert_if_absent(session, InstanceSetting, name=SETTING, value="", created_at=now, updated_at=now)
    session.execute(
        sa.update(InstanceSetting).where(InstanceSetting.name == SETTING).values(value=progress.model_dump_json())
    )
    return progress


def _next(kind: type[Chat] | type[Message], after: str | None) -> sa.Select[str]:
    query = sa.select(kind.id).order_by(kind.id).limit(AT_ONCE)
    return query.where(kind.id > after) if after else query


def _rows(text: str) -> list[str]:
    """The words of a text in rows of a length that both databases take; none if there are no words."""
    words = words_of(text)
    return [" ".join(words[start : start + WORDS_A_ROW]) for start in range(0, len(words), WORDS_A_ROW)]
