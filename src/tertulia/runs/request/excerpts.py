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
from tertulia.context.excerpts import (
    NO_EXCERPTS,
    Excerpts,
    LaterExcerpt,
    escape_tags,
    matching_passages,
    rank_passages,
    take_passages,
)
from tertulia.context.messages import Passage
from tertulia.db import Database
from tertulia.files.reader.texts import MAX_CHARACTERS
from tertulia.search_index.passages import split_passages

LINKS_BACK = 50  # messages of the branch whose files are looked at
MIN_SHARE = 8  # a file is long if its text may take more than one part in so many of the window
LATER_SHARE = 8  # passages for a question take at most one part in so many of the window
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
class LongFile:
    """A file that may be too long, with the words of the message that it was sent with."""

    id: str
    name: str
    text: str
    sent_with: str


@dataclass(frozen=True)
class LongFiles:
    """The newest long files of a branch: those of the last question, and earlier ones."""

    question: str
    own: Sequence[LongFile]
    earlier: Sequence[LongFile]
    characters: int  # that the window holds at most


class ExcerptFinder:
    """Service: ranks the passages of the long files on a branch, and remembers the ranks.

    A file is ranked by the words that it was sent with, so that requests of a chat keep their beginning, which vendors
    cache. What a later question is about comes with that question, by words and meaning.
    """

    def __init__(self, db: Database, meaning: MeaningOfFiles | None) -> None:
        self._db = db
        self._meaning = meaning
        self._ranks: OrderedDict[tuple[str, str, bool], list[int]] = OrderedDict()

    async def find(self, chat_id: str, leaf: str | None, window: int | None) -> Excerpts:
        """Return the passages of the long files on a branch that matter. No transaction is open meanwhile."""
        files = await self._db.read(read_long_files, chat_id, leaf, window)
        if files is None:
            return NO_EXCERPTS
        unknown = [file.id for file in files.earlier if (file.id, files.question, True) not in self._ranks]
        near = await self._meaning.nearest(files.question, unknown) if self._meaning and unknown else {}
        excerpts, ranked = await asyncio.to_thread(_rank, files, dict(self._ranks), near)
        for key, ranks in ranked.items():
            is_final = not key[2] or self._meaning is None or key[0] not in unknown or key[0] in near
            if is_final:  # without its meaning a file is ranked again
                self._ranks[key] = ranks
                self._ranks.move_to_end(key)
        while len(self._ranks) > REMEMBERED:
            self._ranks.popitem(last=False)
        return excerpts


def _rank(
    files: LongFiles, known: Mapping[tuple[str, str, bool], list[int]], near: Mapping[str, Sequence[int]]
) -> tuple[Excerpts, dict[tuple[str, str, bool], list[int]]]:
    """Return the passages to use of each file, and the ranks to remember."""
    of_files: dict[str, tuple[Passage, ...]] = {}
    for_question: list[LaterExcerpt] = []
    ranked: dict[tuple[str, str, bool], list[int]] = {}
    room = files.characters // LATER_SHARE // max(len(files.earlier), 1)
    for file in (*files.own, *files.earlier):
        text = escape_tags(file.text)
        spans = list(split_passages(text))
        key = (file.id, file.sent_with, False)
        ranked[key] = known.get(key) or rank_passages(text, spans, file.sent_with)
        of_files[file.id] = take_passages(text, spans, ranked[key], files.characters)
        if file not in files.earlier:
            continue
        key = (file.id, files.question, True)
        if key not in known:
            starts = [start for start, _ in spans]
            # The embedded passages begin after white space.
            nearest = [bisect_right(starts, start) - 1 for start in near.get(file.id, ())]
            ranked[key] = matching_passages(text, spans, files.question, nearest)
        passages = take_passages(text, spans, known.get(key, ranked.get(key, [])), room)
        if passages:
            for_question.append(LaterExcerpt(file.id, file.name, len(text), passages))
    return Excerpts(of_files, for_question), ranked


def read_long_files(session: Session, chat_id: str, leaf: str | None, window: int | None) -> LongFiles | None:
    """Return the newest files on a branch that may be too long for the window, with their questions; None without any."""
    if leaf is None:
        return None
    ids = [message_id for message_id, *_ in BRANCH_RULES.all(session, leaf=leaf, links=LINKS_BACK - 1)]
    files = files_of_messages(session, ids)
    if not files:
        return None
    chosen = session.scalar(sa.select(Chat.context_window_size).where(Chat.id == chat_id))
    characters = smaller_window(chosen, window) * CHARACTERS_A_TOKEN
    long = [
        (message_id, file)
        for message_id in ids
        for file in files.get(message_id, ())
        if file.has_text and (file.text_length or file.size_bytes) > characters // MIN_SHARE
    ][:MAX_FILES]
    if not long:
        return None
    words = dict(
        session.execute(
            sa.select(Message.id, sa.func.substr(Message.content, 1, MAX_QUESTION, type_=sa.Text()))
            .where(Message.id.in_(ids), Message.role == MessageRole.USER)
            .order_by(Message.id.desc())
        ).all()
    )
    newest = next((message_id for message_id in ids if message_id in words), None)
    if newest is None:
        return None
    own: list[LongFile] = []
    earlier: list[LongFile] = []
    # A file that several messages use belongs to the first of them here.
    for file_id, (message_id, name) in {file.attachment_id: (at, file.file_name) for at, file in long}.items():
        text = text_of_file(session, file_id, MAX_CHARACTERS)
        file = LongFile(file_id, name.replace('"', "'"), text, words.get(message_id, ""))
        (own if message_id == newest else earlier).append(file)
    return LongFiles(words[newest], own, earlier, characters)
