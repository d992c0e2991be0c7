"""Search the titles, messages, files and drafts that the actor may read, on all branches."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TSQUERY
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from tertulia.accounts.actor import Actor
from tertulia.chat.access import handed_over_chat_ids, may_read_chat, open_chat_ids, shared_chat_ids
from tertulia.chat.models import Chat, DraftChat, Message, MessageRole
from tertulia.chat.service import require_named_chat
from tertulia.db import limited_time
from tertulia.drafts.access import shared_draft_ids
from tertulia.drafts.models import Draft
from tertulia.drafts.versions import load_text
from tertulia.files.models import Attachment, BlobContent, MessageAttachment
from tertulia.projects.queries import find_chats_of_projects
from tertulia.search.errors import SearchTooSlow
from tertulia.search.meaning.nearest import Meanings, Near
from tertulia.search.query import ParsedQuery, Term, understand
from tertulia.search.snippets import SCANNED, SnippetPiece, snippet_of
from tertulia.search_index.documents import PARTS_A_FILE, PARTS_OF_DRAFT, chat_word, owner_word, role_word
from tertulia.search_index.models import SearchDocument
from tertulia.search_index.searchable import FoundObject, Searchable

# Only the newest hits are ranked; scoring every hit of a common word would read the whole index.
RANKED = 1000
RANK_WEIGHT = 60  # constant of reciprocal rank fusion, as its authors recommend
LIMIT_S = 2.0
SCANNED_OF_FILE = 200_000  # characters searched for the snippet of a hit
Order = Literal["relevance", "newest"]


class FoundChat(TypedDict):
    id: str
    title: str
    is_archived: bool


class FoundMessage(TypedDict):
    id: str
    role: MessageRole
    created_at: datetime


class FoundFile(TypedDict):
    id: str
    file_name: str


class FoundDraft(TypedDict):
    id: str
    title: str | None


class SearchPage(TypedDict):
    """A page of hits in messages. `objects` are the matches of other kinds, on the first page only."""

    items: "list[SearchHit]"
    next_cursor: str | None
    objects: list[FoundObject]


class SearchHit(TypedDict):
    """A match in a message, in a file of it (`attachment`), or with `message` null in a title or draft (`draft`).

    A match `by` meaning does not contain all the words that were typed.
    """

    chat: FoundChat
    message: FoundMessage | None
    attachment: FoundFile | None
    draft: FoundDraft | None
    by: Literal["words", "meaning"]
    snippet: list[SnippetPiece]


@dataclass(frozen=True)
class SearchFilters:
    """Filters that the caller sets in addition to the typed text."""

    chat_id: str | None = None
    role: MessageRole | None = None
    since: datetime | None = None
    until: datetime | None = None
    archived: bool | None = None


@dataclass(frozen=True)
class Meaning:
    """The vector of a query, and the index in which to find the nearest vectors."""

    vector: bytes
    meanings: Meanings


def search(
    session: Session,
    actor: Actor,
    typed: str,
    narrowed: SearchFilters,
    *,
    order: Order = "relevance",
    after: int | None = None,
    limit: int = 50,
    meaning: Meaning | None = None,
) -> tuple[list[SearchHit], int | None]:
    """Return the hits, and the document to continue after. By relevance there is only one page, by words and `meaning`.

    Without any word to search for there are no hits. Raises SearchTooSlow, and Invalid for a chat that the actor may not
    read.
    """
    if narrowed.chat_id is not None:
        require_named_chat(session, actor, narrowed.chat_id)
    parsed = understand(typed)
    if not parsed.terms:
        return [], None
    mine = {"actor_id": actor.user_id}
    others = (shared_chat_ids(), open_chat_ids(), handed_over_chat_ids())
    shared = [chat_id for chat_ids in others for chat_id in session.scalars(chat_ids, mine)]
    drafts = list(session.scalars(shared_draft_ids(), {"actor_id": actor.user_id}))
    looking = _Looking(session, actor, shared, drafts, time.monotonic() + LIMIT_S)
    conditions = looking.narrow(parsed, narrowed)
    if order == "newest":
        matches = looking.matching(parsed, narrowed, conditions, after=after, limit=limit + 1)
        next_id = matches[limit - 1][0] if len(matches) > limit else None
    else:
        # Search whole words first; with enough hits, the expensive prefix search is not needed.
        whole = replace(parsed, terms=[replace(term, is_whole=True) for term in parsed.terms])
        matches = looking.matching(whole, narrowed, conditions, limit=RANKED)
        if len(matches) < RANKED:
            matches = looking.matching(parsed, narrowed, conditions, limit=RANKED)
        near = looking.near(meaning, parsed, narrowed, conditions) if meaning is not None else []
        ids, starts = _fused(_best(matches, parsed.terms), near)
        return _read(session, ids[:limit], parsed.terms, starts), None
    return _read(session, [document_id for document_id, _ in matches[:limit]], parsed.terms), next_id


def search_objects(
    session: Session, actor: Actor, typed: str, kinds: Iterable[Searchable], *, limit: int
) -> list[FoundObject]:
    """Return what the registered kinds of objects have for the typed words, kind by kind."""
    words = [word for term in understand(typed).terms for word in term.words]
    return [item for kind in kinds for item in kind.find(session, actor, words, limit)] if words else []


@dataclass(frozen=True)
class _Looking:
    """One search; its statements share one time limit."""

    session: Session
    actor: Actor
    shared: list[str]  # the chats of others that the actor may read
    drafts: list[str]  # the drafts of others that the actor may read
    ends_at: float

    def narrow(self, parsed: ParsedQuery, narrowed: SearchFilters) -> list[sa.ColumnElement[bool]]:
        """Return the conditions on a document in addition to its words."""
        conditions = [
            may_read_chat(Chat.id, Chat.user_id),
            Chat.deleted_at.is_(None),
            *(_since_until(parsed.since or narrowed.since, parsed.until or narrowed.until)),
        ]
        if narrowed.chat_id:
            conditions.append(SearchDocument.chat_id == narrowed.chat_id)
        if narrowed.archived is not None:
            conditions.append(Chat.is_archived.is_(narrowed.archived))
        if role := parsed.role or narrowed.role:
            conditions.append(Message.role == role)
        conditions += [_has_part(kind, self.session) for kind in parsed.has]
        conditions += [SearchDocument.chat_id.in_(self._chats_titled(title)) for title in parsed.in_title]
        return conditions

    def matching(
        self,
        parsed: ParsedQuery,
        narrowed: SearchFilters,
        conditions: list[sa.ColumnElement[bool]],
        *,
        after: int | None = None,
        limit: int,
    ) -> list[tuple[int, str]]:
        """Return ids and words of the newest matching documents, newest first. Raises SearchTooSlow."""
        role = parsed.role or narrowed.role
        places = [owner_word(self.actor.user_id), *map(chat_word, [*self.shared, *self.drafts])]
        words = [chat_word(narrowed.chat_id)] if narrowed.chat_id else []
        words += [role_word(role)] if role else []
        query = sa.select(SearchDocument.id, SearchDocument.words)
        if self.session.get_bind().dialect.name == "sqlite":
            index = sa.table("search_index", sa.column("rowid"), sa.column("search_index"))
            number: sa.ColumnElement[Any] = index.c.rowid
            query = query.select_from(index).join(SearchDocument, SearchDocument.id == index.c.rowid)
            query = query.where(index.c.search_index.op("MATCH")(_fts5(places, words, parsed)))
        else:
            number = SearchDocument.__table__.c.id
            vector: sa.ColumnElement[Any] = sa.literal_column("search_document.vector")
            query = query.where(vector.op("@@")(_tsquery(places, words, parsed)))
        query = query.join(Chat, Chat.id == SearchDocument.chat_id)
        if role or parsed.has:  # only messages have these
            query = query.join(Message, Message.id == SearchDocument.message_id)
        if after is not None:
            query = query.where(number < after)
        query = query.where(*conditions).order_by(number.desc()).limit(limit)
        try:
            with limited_time(self.session, max(0.001, self.ends_at - time.monotonic())):
                rows = self.session.execute(query, {"actor_id": self.actor.user_id}).all()
        except TimeoutError as error:
            raise SearchTooSlow from error
        return [(document_id, words) for document_id, words in rows]

    def near(
        self, meaning: Meaning, parsed: ParsedQuery, narrowed: SearchFilters, conditions: list[sa.ColumnElement[bool]]
    ) -> list[Near]:
        """Return the documents with the nearest meaning, nearest first, without those that have excluded words."""
        return meaning.meanings.nearest(
            self.session,
            meaning.vector,
            [*conditions, *(~SearchDocument.words.contains(_as_stored(term)) for term in parsed.without)],
            actor_id=self.actor.user_id,
            chat_ids=[narrowed.chat_id] if narrowed.chat_id else None,
            shared=self.shared,
        )

    def _chats_titled(self, title: str) -> list[str]:
        """Return the newest chats with these words in their titles, and those of projects that are named so."""
        parsed = understand(title)
        if not parsed.terms:
            return []
        in_projects = find_chats_of_projects(
            self.session, self.actor, [word for term in parsed.terms for word in term.words], limit=RANKED
        )
        conditions = [
            *self.narrow(ParsedQuery(), SearchFilters()),
            SearchDocument.message_id.is_(None),
            SearchDocument.part < PARTS_OF_DRAFT,
        ]
        matches = self.matching(ParsedQuery(terms=parsed.terms), SearchFilters(), conditions, limit=RANKED)
        titled = sa.select(SearchDocument.chat_id).where(
            SearchDocument.id.in_([document_id for document_id, _ in matches])
        )
        return [*self.session.scalars(titled), *in_projects]


def _as_stored(term: Term) -> str:
    """Return a term as it begins in the stored words of a document."""
    return f" {' '.join(term.words)}"


def _since_until(since: datetime | None, until: datetime | None) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if since is not None:
        conditions.append(SearchDocument.created_at >= since)
    if until is not None:
        conditions.append(SearchDocument.created_at < until)
    return conditions


def _has_part(kind: str, session: Session) -> sa.ColumnElement[bool]:
    if session.get_bind().dialect.name == "sqlite":
        # Quotes in message text are escaped in JSON, so this matches only the structure.
        part = sa.type_coerce(Message.parts, sa.Text()).contains(f'"type":"{kind}"')
    else:
        part = sa.type_coerce(Message.parts, JSONB()).contains([{"type": kind}])
    return part | Message.content.contains("```") if kind == "code" else part


def _fts5(places: list[str], words: list[str], parsed: ParsedQuery) -> str:
    """Build the FTS5 query; one matching place is enough. Words are letters and digits, so nothing needs escaping."""
    anywhere = " OR ".join(f'"{place}"' for place in places)
    query = " AND ".join(
        [f"({anywhere})", *(f'"{word}"' for word in words), *(_fts5_term(term) for term in parsed.terms)]
    )
    without = " OR ".join(f"({_fts5_term(term)})" for term in parsed.without)
    return f"({query}) NOT ({without})" if without else query


def _fts5_term(term: Term) -> str:
    if term.is_phrase:
        return f'"{" ".join(term.words)}"'
    return " AND ".join(f'"{word}"{"*" if _is_beginning(term, word) else ""}' for word in term.words)


# PostgreSQL's parser takes `1e1` at the start of a word for a number, and the rest for another word.
_SPLIT_WORD = re.compile(r"\b\d+e\d")


def _tsquery(places: list[str], words: list[str], parsed: ParsedQuery) -> sa.ColumnElement[Any]:
    """Build the query for PostgreSQL. A word such as `1e1a` goes through its parser, which split it for the index."""
    anywhere = " | ".join(f"'{place}'" for place in places)
    query = [f"({anywhere})", *(f"'{word}'" for word in words), *(_tsquery_term(term) for term in parsed.terms)]
    text = " & ".join(query + [f"!({_tsquery_term(term)})" for term in parsed.without])
    return sa.func.to_tsquery("simple", text) if _SPLIT_WORD.search(text) else sa.cast(text, TSQUERY)


def _tsquery_term(term: Term) -> str:
    if term.is_phrase:
        return "(" + " <-> ".join(f"'{word}'" for word in term.words) + ")"
    return " & ".join(f"'{word}'{':*' if _is_beginning(term, word) else ''}" for word in term.words)


def _is_beginning(term: Term, word: str) -> bool:
    """Return whether longer words match too. A single letter would match half of all words."""
    return not term.is_cjk and not term.is_whole and len(word) > 1


def _best(matches: Sequence[tuple[int, str]], terms: Sequence[Term]) -> list[tuple[int, str]]:
    """Sort by the part of BM25 that differs between hits: frequency and length. Titles and drafts count double."""
    if not matches:
        return []
    average = sum(len(words) for _, words in matches) / len(matches)

    def score(words: str) -> float:
        padded, total = f" {words} ", 0.0
        for word in {word for term in terms for word in term.words}:
            often = padded.count(f" {word}")
            total += often * 2.2 / (often + 1.2 * (0.25 + 0.75 * len(words) / average))
        return total if " xr" in padded else 2 * total

    def place(match: tuple[int, str]) -> tuple[float, int]:
        document_id, words = match
        return -round(score(words), 3), -document_id

    return sorted(matches, key=place)


def _fused(matches: Sequence[tuple[int, str]], near: Sequence[Near]) -> tuple[list[int], dict[int, int]]:
    """Return the ids of both lists by reciprocal rank, and where the passages of those found only by meaning begin."""
    scores: dict[int, float] = {}
    matched_ids = [document_id for document_id, _ in matches]
    for ranked in (matched_ids, [passage.document_id for passage in near]):
        for rank, document_id in enumerate(ranked):
            scores[document_id] = scores.get(document_id, 0.0) + 1 / (RANK_WEIGHT + rank)
    by_words = set(matched_ids)
    starts = {passage.document_id: passage.start for passage in near if passage.document_id not in by_words}
    return sorted(scores, key=lambda document_id: -scores[document_id]), starts


def _read(
    session: Session, ids: list[int], terms: Sequence[Term], starts: Mapping[int, int] | None = None
) -> list[SearchHit]:
    """Return the hits of these documents in this order; a document in `starts` shows the passage that begins there."""
    starts = starts or {}
    rows = session.execute(
        sa.select(
            SearchDocument.id,
            Chat.id.label("chat_id"),
            Chat.title,
            Chat.is_archived,
            Message.id.label("message_id"),
            Message.role,
            Message.created_at,
            sa.func.substr(Message.content, 1, SCANNED, type_=sa.Text()),
            SearchDocument.part,
        )
        .join(Chat, Chat.id == SearchDocument.chat_id)
        .outerjoin(Message, Message.id == SearchDocument.message_id)
        .where(SearchDocument.id.in_(ids))
    ).all()
    files = _files(
        session, [(row.message_id, row.part // PARTS_A_FILE - 1) for row in rows if row.part >= PARTS_A_FILE]
    )
    drafts = _drafts(session, {row.chat_id for row in rows if row.message_id is None and row.part >= PARTS_OF_DRAFT})
    hits: dict[tuple[str, str | None, int], SearchHit] = {}
    for document_id, chat_id, title, is_archived, message_id, role, created_at, content, part in sorted(
        rows, key=lambda row: ids.index(row.id)
    ):
        place = (message_id, part // PARTS_A_FILE - 1)
        if part >= PARTS_A_FILE and place not in files:
            continue  # deleted a moment ago and still in the index
        file, text = files.get(place, (None, content))
        draft = drafts.get(chat_id) if message_id is None and part >= PARTS_OF_DRAFT else None
        kind = part // PARTS_A_FILE if message_id else min(part, PARTS_OF_DRAFT)
        hit: SearchHit = {
            "chat": {"id": chat_id, "title": title, "is_archived": is_archived},
            "message": {"id": message_id, "role": role, "created_at": created_at} if message_id else None,
            "attachment": file,
            "draft": draft[0] if draft else None,
            "by": "meaning" if document_id in starts else "words",
            "snippet": snippet_of(text if message_id else draft[1] if draft else title, terms, starts.get(document_id)),
        }
        hits.setdefault((chat_id, message_id, kind), hit)  # a long text has several rows
    return list(hits.values())


def _drafts(session: Session, chat_ids: set[str]) -> dict[str, tuple[FoundDraft, str]]:
    """Return the drafts that these chats are about, with their current texts."""
    rows = session.execute(
        sa.select(DraftChat.chat_id, Draft.id, Draft.title, Draft.current_version_id)
        .join(Draft, Draft.id == DraftChat.draft_id)
        .where(DraftChat.chat_id.in_(chat_ids))
    )
    return {
        row.chat_id: (FoundDraft(id=row.id, title=row.title), load_text(session, row.current_version_id))
        for row in rows
    }


def _files(session: Session, places: list[tuple[str, int]]) -> dict[tuple[str, int], tuple[FoundFile | None, str]]:
    """Return the files at these positions of messages, with the beginnings of their texts."""
    if not places:
        return {}
    rows = session.execute(
        sa.select(
            MessageAttachment.message_id,
            MessageAttachment.position,
            MessageAttachment.attachment_id,
            MessageAttachment.file_name,
            sa.func.substr(BlobContent.text, 1, SCANNED_OF_FILE, type_=sa.Text()),
        )
        .join(Attachment, Attachment.id == MessageAttachment.attachment_id)
        .join(BlobContent, BlobContent.blob_id == Attachment.blob_id)
        .where(
            MessageAttachment.message_id.in_([message_id for message_id, _ in places]), Attachment.deleted_at.is_(None)
        )
    )
    return {
        (message_id, position): (FoundFile(id=attachment_id or "", file_name=file_name), text or "")
        for message_id, position, attachment_id, file_name, text in rows
        if (message_id, position) in places
    }
