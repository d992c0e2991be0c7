"""The passages whose meaning is nearest to a question's.

Of each vector the signs alone are compared first: 48 bytes each, kept in memory for those who search, read on from where they
end. The nearest few hundred are then read whole and measured. So the work follows what one person has, and is little of it.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.models import Chat, Message
from tertulia.chat.search_index import SearchDocument
from tertulia.chat.search_passages import DIMENSIONS, SearchPassage

if TYPE_CHECKING:  # what it takes to load would be an eighth of the server's start: the first search pays it
    import numpy as np
    from numpy.typing import NDArray

MEASURED = 400  # of the nearest by their signs
NEAR = 0.3  # the cosine from which on a passage has to do with a question
MOST_OF_ONE = 1_000_000  # passages of one person that are compared, the newest
MOST_OF_SHARED = 50_000
KEPT_PASSAGES = 4_000_000  # in memory, of all who search: 56 bytes each
KEPT_S = 3600.0  # then they are read anew, without those that are gone
CODE_BYTES = DIMENSIONS // 8
_CODES = sa.select(SearchPassage.id, SearchPassage.code).where(SearchPassage.code.is_not(None))


@dataclass(frozen=True)
class Near:
    document_id: int
    start: int  # characters into the text
    likeness: float


def code_of(vector: bytes) -> bytes:
    import numpy as np

    return np.packbits(np.frombuffer(vector, dtype=np.int8) > 0).tobytes()


@dataclass
class _Codes:
    """The passages of one person, in rising order."""

    ids: "NDArray[np.int64]"
    codes: "NDArray[np.uint64]"  # a row of six each
    read_at: float


class Meanings:
    """The codes of those who search in this process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Codes] = OrderedDict()
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}

    def nearest(
        self,
        session: Session,
        vector: bytes,
        conditions: Sequence[sa.ColumnElement[bool]],
        *,
        actor_id: str,
        chat_ids: Sequence[str] | None,
        shared: Sequence[str],
    ) -> list[Near]:
        """The best passage of each document for which the conditions hold, nearest first.

        With `chat_ids` only theirs are compared; else all that the actor owns, and those of the `shared` chats.
        """
        sources = [] if chat_ids is not None else [self._codes_of(session, actor_id)]
        others = chat_ids if chat_ids is not None else shared
        if others:
            of_chats = _CODES.join(SearchDocument, SearchDocument.id == SearchPassage.document_id)
            sources.append(_read_codes(session, of_chats.where(SearchDocument.chat_id.in_(others)), MOST_OF_SHARED))
        candidates = [number for codes in sources for number in _nearest_codes(codes, vector)]
        return _measure(session, candidates, vector, conditions, actor_id) if candidates else []

    def _codes_of(self, session: Session, owner_id: str) -> _Codes:
        with self._lock:
            turn = self._turns.setdefault(owner_id, threading.Lock())
        with turn:  # whoever types asks again and again: the first reads, the others have it
            return self._read_on(session, owner_id)

    def _read_on(self, session: Session, owner_id: str) -> _Codes:
        with self._lock:
            kept = self._kept.get(owner_id)
        own = _CODES.where(SearchPassage.owner_id == owner_id)
        if kept is not None and time.monotonic() - kept.read_at < KEPT_S:
            last = int(kept.ids[-1]) if len(kept.ids) else 0
            more = _read_codes(session, own.where(SearchPassage.id > last), MOST_OF_ONE)
            found = _joined(kept, more) if len(more.ids) else kept
        else:
            found = _read_codes(session, own, MOST_OF_ONE)
        with self._lock:
            self._kept[owner_id] = found
            self._kept.move_to_end(owner_id)
            while len(self._kept) > 1 and sum(len(one.ids) for one in self._kept.values()) > KEPT_PASSAGES:
                self._kept.popitem(last=False)
        return found


def _read_codes(session: Session, query: sa.Select[int, bytes | None], most: int) -> _Codes:
    import numpy as np

    rows = session.execute(query.order_by(SearchPassage.id.desc()).limit(most)).all()[::-1]
    ids = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
    codes = np.frombuffer(b"".join(row[1] or b"" for row in rows), dtype=np.uint64).reshape(-1, CODE_BYTES // 8)
    return _Codes(ids, codes, time.monotonic())


def _joined(kept: _Codes, more: _Codes) -> _Codes:
    import numpy as np

    return _Codes(np.concatenate([kept.ids, more.ids]), np.concatenate([kept.codes, more.codes]), kept.read_at)


def _nearest_codes(codes: _Codes, vector: bytes) -> list[int]:
    import numpy as np

    if not len(codes.ids):
        return []
    asked = np.frombuffer(code_of(vector), dtype=np.uint64)
    apart = np.bitwise_count(codes.codes ^ asked).sum(axis=1, dtype=np.int32)
    if len(apart) <= MEASURED:
        return [int(one) for one in codes.ids]
    nearest = np.argpartition(apart, MEASURED)[:MEASURED]
    return [int(one) for one in codes.ids[nearest]]


def _measure(
    session: Session, ids: list[int], vector: bytes, conditions: Sequence[sa.ColumnElement[bool]], actor_id: str
) -> list[Near]:
    import numpy as np

    rows = session.execute(
        sa.select(SearchPassage.document_id, SearchPassage.start, SearchPassage.embedding)
        .join(SearchDocument, SearchDocument.id == SearchPassage.document_id)
        .join(Chat, Chat.id == SearchDocument.chat_id)
        .outerjoin(Message, Message.id == SearchDocument.message_id)
        .where(SearchPassage.id.in_(ids), *conditions),
        {"actor_id": actor_id},
    ).all()
    if not rows:
        return []
    vectors = np.frombuffer(b"".join(row[2] or b"" for row in rows), dtype=np.int8).reshape(-1, DIMENSIONS)
    asked = np.frombuffer(vector, dtype=np.int8).astype(np.float32)
    likeness = vectors.astype(np.float32) @ asked / 127**2
    best: dict[int, Near] = {}
    for place in np.argsort(-likeness, kind="stable"):
        if likeness[place] < NEAR:
            break
        document_id, start, _ = rows[int(place)]
        best.setdefault(document_id, Near(document_id, start, float(likeness[place])))
    return list(best.values())
