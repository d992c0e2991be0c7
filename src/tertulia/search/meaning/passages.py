"""Passages of the indexed text, each with a vector of its meaning, for search by meaning.

They belong to rows of the full-text index and are deleted with them, so edited and deleted text is forgotten here too.
A job finds rows without passages, so embedding does not delay messages.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.message_files import text_of_file
from tertulia.chat.models import Chat, Message
from tertulia.db import insert_if_absent
from tertulia.files.models import MessageAttachment
from tertulia.search.meaning.models import SearchPassage
from tertulia.search_index.documents import PARTS_A_FILE
from tertulia.search_index.models import SearchDocument
from tertulia.search_index.passages import PASSAGE, split_passages

PASSAGES_A_TEXT = 30  # of a message; the rest is found by words only
PASSAGES_A_FILE = 100  # files are read in part, by the passages nearest to a question
MAX_OF_FILES = 5000  # passages of all files of a question; a file used in several messages has them several times
LEAST = 12  # characters that are worth embedding


@dataclass(frozen=True)
class PassageToEmbed:
    document_id: int
    owner_id: str
    words: str  # as indexed, to recognise a later document with the same id
    passages: list[tuple[int, str]]  # start in the text, and the passage


@dataclass(frozen=True)
class EmbeddedPassage:
    start: int
    code: bytes
    vector: bytes


def newest_document(session: Session) -> int:
    return session.scalar(sa.select(sa.func.max(SearchDocument.id))) or 0


def next_unembedded(session: Session, after: int, upto: int) -> PassageToEmbed | None:
    """Return the newest document without passages whose id is in (after, upto], or None."""
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
    # A long text has several rows of words; only the first gets passages.
    is_first = row.part % PARTS_A_FILE == 0
    most = PASSAGES_A_TEXT if row.part < PARTS_A_FILE else PASSAGES_A_FILE
    text = _text_of(session, row.message_id, row.part, row.title, PASSAGE * most) if is_first else ""
    return PassageToEmbed(row.id, row.user_id, row.words, passages_of(text, most))


def _text_of(session: Session, message_id: str | None, part: int, title: str, length: int) -> str:
    if message_id is None:
        return title
    if part < PARTS_A_FILE:
        content = session.scalar(sa.select(sa.func.substr(Message.content, 1, length)).where(Message.id == message_id))
        return content or ""
    attachment_id = session.scalar(
        sa.select(MessageAttachment.attachment_id).where(
            MessageAttachment.message_id == message_id, MessageAttachment.position == part // PARTS_A_FILE - 1
        )
    )
    return text_of_file(session, attachment_id, length) if attachment_id else ""


def passages_of(text: str, most: int = PASSAGES_A_TEXT) -> list[tuple[int, str]]:
    """Return the first passages that are worth embedding, with their starts, without white space around them."""
    passages: list[tuple[int, str]] = []
    for start, end in split_passages(text):
        piece = text[start:end]
        if len(piece.strip()) >= LEAST:
            passages.append((start + len(piece) - len(piece.lstrip()), piece.strip()))
            if len(passages) == most:
                break
    return passages


def passages_of_files(session: Session, attachment_ids: Sequence[str]) -> list[tuple[str, int, bytes]]:
    """Return the file, start and vector of each embedded passage of files."""
    part = (MessageAttachment.position + 1) * PARTS_A_FILE
    rows = session.execute(
        sa.select(MessageAttachment.attachment_id, SearchPassage.start, SearchPassage.embedding)
        .join(
            SearchDocument,
            (SearchDocument.message_id == MessageAttachment.message_id) & (SearchDocument.part == part),
        )
        .join(SearchPassage, SearchPassage.document_id == SearchDocument.id)
        .where(MessageAttachment.attachment_id.in_(attachment_ids), SearchPassage.embedding.is_not(None))
        .order_by(MessageAttachment.attachment_id, SearchPassage.start)
        .limit(MAX_OF_FILES)
    )
    return [(str(attachment_id), start, embedding or b"") for attachment_id, start, embedding in rows]


def store_passages(session: Session, of: PassageToEmbed, embedded: Sequence[EmbeddedPassage]) -> None:
    """Store the passages of a document, unless the document has changed or another process was first."""
    words = session.scalar(
        sa.select(SearchDocument.words).where(SearchDocument.id == of.document_id).with_for_update(read=True)
    )
    if words != of.words:
        return
    rows: list[dict[str, object]] = [
        {"start": passage.start, "code": passage.code, "embedding": passage.vector} for passage in embedded
    ] or [{"start": 0, "code": None, "embedding": None}]
    for position, row in enumerate(rows):
        insert_if_absent(
            session, SearchPassage, document_id=of.document_id, owner_id=of.owner_id, position=position, **row
        )
