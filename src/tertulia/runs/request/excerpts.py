"""Find the passages of long files that matter for the question of a request, before the request is built."""

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.message_files import files_of_messages, text_of_file
from tertulia.chat.models import Chat, Message, MessageRole
from tertulia.chat.queries import BRANCH_RULES
from tertulia.context.branch import smaller_window
from tertulia.context.excerpts import Excerpts, rank_passages, take_passages
from tertulia.context.file_contents import NO_EXCERPTS
from tertulia.context.messages import Passage
from tertulia.db import Database
from tertulia.files.reader.texts import MAX_CHARACTERS
from tertulia.search_index.passages import split_passages

LINKS_BACK = 50  # messages of the branch whose files are looked at
MIN_SHARE = 8  # a file is long if its text may take more than one part in so many of the window
CHARACTERS_A_TOKEN = 4  # at most
MAX_FILES = 8  # the newest; of others both ends are sent
MAX_QUESTION = 4000  # characters of the question that are used
REMEMBERED = 64  # files with a question


class MeaningOfFiles(Protocol):
    """Knows which passages of files are near to a question in meaning. Search implements it."""

    async def nearest(self, question: str, attachment_ids: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """Return the starts of the nearest passages in characters by attachment id, best first."""
        ...


@dataclass(frozen=True)
class LongFiles:
    question: str
    texts: Mapping[str, str]  # by attachment id
    characters: int  # that the window holds at most


class ExcerptFinder:
    """Service: ranks the passages of the long files on a branch, and remembers the ranks."""

    def __init__(self, db: Database, meaning: MeaningOfFiles | None) -> None:
        self._db = db
        self._meaning = meaning
        self._ranks: OrderedDict[tuple[str, str], list[int]] = OrderedDict()

    async def find(self, chat_id: str, leaf: str | None, window: int | None) -> Excerpts:
        """Return the passages of the long files on a branch that matter for its last question. No transaction is open."""
        files = await self._db.read(read_long_files, chat_id, leaf, window)
        if files is None:
            return NO_EXCERPTS
        known = {file_id: ranks for file_id in files.texts if (ranks := self._ranks.get((file_id, files.question)))}
        wanted = [file_id for file_id in files.texts if file_id not in known]
        near = await self._meaning.nearest(files.question, wanted) if self._meaning and wanted else {}
        excerpts, ranked = await asyncio.to_thread(_rank, files, known, near)
        for file_id, ranks in ranked.items():
            self._ranks[(file_id, files.question)] = ranks
            self._ranks.move_to_end((file_id, files.question))
        while len(self._ranks) > REMEMBERED:
            self._ranks.popitem(last=False)
        return excerpts


def _rank(
    files: LongFiles, known: Mapping[str, list[int]], near: Mapping[str, Sequence[int]]
) -> tuple[Excerpts, dict[str, list[int]]]:
    """Return the passages to use of each file, and the ranks of all of its passages."""
    excerpts: dict[str, tuple[Passage, ...]] = {}
    ranked: dict[str, list[int]] = {}
    for file_id, text in files.texts.items():
        spans = list(split_passages(text))
        ranks = known.get(file_id)
        if ranks is None or len(ranks) != len(spans):
            starts = [start for start, _ in spans]
            # The embedded passages begin after white space.
            nearest = [bisect_right(starts, start) - 1 for start in near.get(file_id, ())]
            ranks = rank_passages(text, spans, files.question, nearest)
        ranked[file_id] = ranks
        excerpts[file_id] = take_passages(text, spans, ranks, files.characters)
    return excerpts, ranked


def read_long_files(session: Session, chat_id: str, leaf: str | None, window: int | None) -> LongFiles | None:
    """Return the newest files on a branch that may be too long for the window, with the last question; None without any."""
    if leaf is None:
        return None
    ids = [message_id for message_id, *_ in BRANCH_RULES.all(session, leaf=leaf, links=LINKS_BACK - 1)]
    files = files_of_messages(session, ids)
    if not files:
        return None
    chosen = session.scalar(sa.select(Chat.context_window_size).where(Chat.id == chat_id))
    characters = smaller_window(chosen, window) * CHARACTERS_A_TOKEN
    long = [
        file.attachment_id
        for message_id in ids
        for file in files.get(message_id, ())
        if file.has_text and (file.text_length or file.size_bytes) > characters // MIN_SHARE
    ]
    if not long:
        return None
    question = session.scalar(
        sa.select(sa.func.substr(Message.content, 1, MAX_QUESTION, type_=sa.Text()))
        .where(Message.id.in_(ids), Message.role == MessageRole.USER, Message.content != "")
        .order_by(Message.id.desc())
        .limit(1)
    )
    if question is None:
        return None
    texts = {file_id: text_of_file(session, file_id, MAX_CHARACTERS) for file_id in dict.fromkeys(long[:MAX_FILES])}
    return LongFiles(question, texts, characters)
