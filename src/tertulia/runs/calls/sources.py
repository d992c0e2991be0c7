"""Load what a run has read, and what its person wrote, to decide about calls that send data out."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.models import User
from tertulia.chat.message_files import list_file_names
from tertulia.chat.models import Chat, DraftChat, Message, MessageRole
from tertulia.chat.parts import TextPart
from tertulia.drafts.models import AttachedDraft
from tertulia.runs.lease import RunRef
from tertulia.runs.models import Run
from tertulia.tools.models import ToolExecution, ToolStatus
from tertulia.tools.provenance import OwnWords, Source, merge_sources

ENDED = (ToolStatus.COMPLETED, ToolStatus.FAILED, ToolStatus.TIMEOUT)
OWN_MESSAGES = 200  # newest messages of the person that can name a destination


# What a model reads when its vendor searches the web for it.
VENDOR_SEARCH: Source = {"kind": "web", "name": "the web search of the model's provider"}


def note_search(session: Session, run_ref: RunRef) -> None:
    """Record that a run may have read any page, with the run and with its message, which a fork copies."""
    stored = session.scalars(sa.select(Run.sources).where(Run.id == run_ref.run_id)).one_or_none() or []
    if VENDOR_SEARCH in stored:
        return
    values = {"sources": merge_sources(stored, [VENDOR_SEARCH])}
    session.execute(sa.update(Run).where(Run.id == run_ref.run_id).values(values))
    message = session.get_one(Message, run_ref.message_id)
    message.details = message.details.model_copy(update={"has_searched": True})
    session.flush()


def gather_sources(session: Session, run_ref: RunRef) -> list[Source]:
    """Return everything untrusted or private that a run has read, and store it with the run.

    A model reads the whole chat, so this is what all calls, files, drafts and other people brought into it. What was
    deleted since the run read it stays in the run's sources.
    """
    chat_id = run_ref.chat_id
    stored = session.scalars(sa.select(Run.sources).where(Run.id == run_ref.run_id)).one_or_none() or []
    results = session.scalars(
        sa.select(ToolExecution.result_sources).where(ToolExecution.chat_id == chat_id, ToolExecution.status.in_(ENDED))
    )
    # In the database, because a long chat has thousands of messages.
    has_searched = session.scalar(
        sa.select(sa.literal(1))
        .where(
            Message.chat_id == chat_id,
            sa.func.replace(sa.cast(Message.details, sa.Text), " ", "").like('%"has_searched":true%'),
        )
        .limit(1)
    )
    earlier = [[VENDOR_SEARCH]] if has_searched else []
    sources = merge_sources(
        stored, *earlier, *results, _files(session, chat_id), _people(session, run_ref), _drafts(session, chat_id)
    )
    if sources != stored:
        session.execute(sa.update(Run).where(Run.id == run_ref.run_id).values(sources=sources))
    return sources


def load_own_words(session: Session, chat_id: str, user_id: str) -> OwnWords:
    """Return the newest texts that the person wrote in this chat, without file names, code, quotes and imports."""
    parts_of_messages = session.scalars(
        sa.select(Message.parts)
        .where(
            Message.chat_id == chat_id,
            Message.user_id == user_id,
            Message.role == MessageRole.USER,
            Message.imported.is_(False),
        )
        .order_by(Message.id.desc())
        .limit(OWN_MESSAGES)
    )
    texts = []
    for parts in parts_of_messages:
        texts += [_unquoted(part.text) for part in parts if isinstance(part, TextPart)]
    return OwnWords.of(texts)


def _unquoted(text: str) -> str:
    """Return a text without the lines that quote another text."""
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith(">"))


def _files(session: Session, chat_id: str) -> list[Source]:
    return [{"kind": "file", "name": name} for name in list_file_names(session, chat_id)]


def _people(session: Session, run_ref: RunRef) -> list[Source]:
    """Return the other people whose text the model reads: authors, the owner, and the source of imported messages."""
    in_chat = Message.chat_id == run_ref.chat_id
    requested = sa.select(Run.requested_by).where(Run.chat_id == run_ref.chat_id)
    names = session.scalars(
        sa.select(User.name)
        .where(
            User.id.in_(sa.select(Message.user_id).where(in_chat, Message.user_id != run_ref.payer_id))
            # Someone who has a reply written by their own model writes in the chat, too.
            | User.id.in_(requested.where(Run.requested_by != run_ref.payer_id))
            | ((User.id == run_ref.owner_id) & (User.id != run_ref.payer_id))
        )
        .distinct()
    )
    sources: list[Source] = [{"kind": "person", "name": name} for name in names]
    if session.scalar(sa.select(Message.id).where(in_chat, Message.imported).limit(1)) is not None:
        origin = session.scalar(sa.select(Chat.import_source).where(Chat.id == run_ref.chat_id))
        sources.append({"kind": "import", "name": origin or "another chat"})
    return sources


def _drafts(session: Session, chat_id: str) -> list[Source]:
    about = sa.select(DraftChat.draft_id).where(DraftChat.chat_id == chat_id)
    attached = sa.select(AttachedDraft.draft_id).where(AttachedDraft.chat_id == chat_id)
    return [{"kind": "draft", "name": draft_id} for draft_id in session.scalars(sa.union(about, attached))]
