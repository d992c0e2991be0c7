"""What search by meaning finds of chats: passages of what is indexed, each with a vector of its meaning.

They hang on the rows of the full-text index and go with them, so whatever is said anew or deleted is forgotten here too. A job
looks for rows without passages; nothing of this is in the way of a message.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from tertulia.chat.models import Chat, Message
from tertulia.chat.search_index import PARTS_A_FILE, SearchDocument
from tertulia.db import Base, Created, Id, insert_if_absent
from tertulia.files.models import MessageAttachment
from tertulia.files.of_messages import text_of_file

DIMENSIONS = 384
PASSAGE = 700  # characters: about what the model reads of a text
PASSAGES_A_TEXT = 30  # of a message, or of a file of one; the rest is found by its words
LEAST = 12  # characters that can mean something


class SearchPassage(Created, Base):
    """A row without a vector says that its document has nothing to embed."""

    __tablename__ = "search_passage"
    __table_args__ = (
        sa.UniqueConstraint("document_id", "position"),
        # All that is read to compare: the codes of one person, without their rows.
        sa.Index(None, "owner_id", "id", "code"),
        {"sqlite_autoincrement": True},  # whoever reads on from the last number misses none
    )

    id: Mapped[int] = mapped_column(
        sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    document_id: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey("search_document.id", ondelete="CASCADE"))
    owner_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    position: Mapped[int]
    start: Mapped[int]  # characters into the text
    code: Mapped[bytes | None] = mapped_column(sa.LargeBinary(DIMENSIONS // 8))  # the signs of the vector
    embedding: Mapped[bytes | None] = mapped_column(sa.LargeBinary(DIMENSIONS))  # each a signed byte, 127 being 1


@dataclass(frozen=True)
class Unembedded:
    document_id: int
    owner_id: str
    words: str  # as they were indexed: what comes later under the same number has others
    passages: list[tuple[int, str]]  # where each begins, and its text


@dataclass(frozen=True)
class Embedded:
    start: int
    code: bytes
    vector: bytes


def newest_document(session: Session) -> int:
    return session.scalar(sa.select(sa.func.max(SearchDocument.id))) or 0


def next_unembedded(session: Session, after: int, upto: int) -> Unembedded | None:
    """The newest document without passages whose id lies in (after, upto]."""
    row = session.execute(
        sa.select(
            SearchDocument.id,
            SearchDocument.message_id,
            SearchDocument.part,
            SearchDocument.words,
            Chat.user_id,
            Chat.title,
        )
        .join(Chat, Chat.id == SearchDocument.chat_id)
        .where(
            SearchDocument.id > after,
            SearchDocument.id <= upto,
            ~sa.exists().where(SearchPassage.document_id == SearchDocument.id),
        )
        .order_by(SearchDocument.id.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    # A long text has several rows of words; its meaning is that of the first.
    is_first = row.part % PARTS_A_FILE == 0
    text = _text_of(session, row.message_id, row.part, row.title) if is_first else ""
    return Unembedded(row.id, row.user_id, row.words, passages_of(text))


def _text_of(session: Session, message_id: str | None, part: int, title: str) -> str:
    if message_id is None:
        return title
    length = PASSAGE * PASSAGES_A_TEXT
    if part < PARTS_A_FILE:
        content = session.scalar(sa.select(sa.func.substr(Message.content, 1, length)).where(Message.id == message_id))
        return content or ""
    attachment_id = session.scalar(
        sa.select(MessageAttachment.attachment_id).where(
            MessageAttachment.message_id == message_id, MessageAttachment.position == part // PARTS_A_FILE - 1
        )
    )
    return text_of_file(session, attachment_id, length) if attachment_id else ""


def passages_of(text: str) -> list[tuple[int, str]]:
    """A text in pieces of at most PASSAGE characters, cut where a paragraph, a line, a sentence or a word ends."""
    found: list[tuple[int, str]] = []
    start = 0
    while start < len(text) and len(found) < PASSAGES_A_TEXT:
        end = _end_of_passage(text, start)
        piece = text[start:end]
        if len(piece.strip()) >= LEAST:
            found.append((start + len(piece) - len(piece.lstrip()), piece.strip()))
        start = end
    return found


def _end_of_passage(text: str, start: int) -> int:
    end = start + PASSAGE
    if end >= len(text):
        return len(text)
    for mark in ("\n\n", "\n", ". ", " "):
        at = text.rfind(mark, start + PASSAGE // 2, end)
        if at > 0:
            return at + len(mark)
    return end


def store_passages(session: Session, of: Unembedded, embedded: Sequence[Embedded]) -> None:
    """Unless the document is gone or another has its number by now, or another process was first."""
    words = session.scalar(
        sa.select(SearchDocument.words).where(SearchDocument.id == of.document_id).with_for_update(read=True)
    )
    if words != of.words:
        return
    rows: list[dict[str, object]] = [
        {"start": one.start, "code": one.code, "embedding": one.vector} for one in embedded
    ] or [{"start": 0, "code": None, "embedding": None}]
    for position, row in enumerate(rows):
        insert_if_absent(
            session, SearchPassage, document_id=of.document_id, owner_id=of.owner_id, position=position, **row
        )
