"""Find the passages whose meaning is nearest to a query.

First only the sign bits of the vectors are compared: 48 bytes each, kept in memory for users who search, and extended
by new passages. Then the nearest few hundred are read and measured. So the work depends only on what one user can find.
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
from tertulia.search.meaning.models import DIMENSIONS, SearchPassage
from tertulia.search_index.models import SearchDocument

if TYPE_CHECKING:  # importing numpy would take an eighth of the server's start; the first search does it
    import numpy as np
    from numpy.typing import NDArray

MEASURED = 400  # nearest passages by sign bits
NEAR = 0.3  # least cosine of a passage that is related to a query
MAX_SHARE_OF_ONE = 1_000_000  # newest passages of one user that are compared
MAX_SHARE_OF_SHARED = 50_000
KEPT_PASSAGES = 4_000_000  # in memory for all users, 56 bytes each
KEPT_S = 3600.0  # then they are read again, without deleted ones
CODE_BYTES = DIMENSIONS // 8
_CODES = sa.select(SearchPassage.id, SearchPassage.code).where(SearchPassage.code.is_not(None))


@dataclass(frozen=True)
class Near:
    document_id: int
    start: int  # characters into the text


def nearest_of_files(rows: Sequence[tuple[str, int, bytes]], vector: bytes) -> dict[str, list[int]]:
    """Return the starts of the passages that are related to a query, nearest first, by file.

    `rows` has the file, start and vector of each passage.
    """
    import numpy as np

    vectors = np.frombuffer(b"".join(embedding for _, _, embedding in rows), dtype=np.int8).astype(np.float32)
    cosines = vectors.reshape(len(rows), DIMENSIONS) @ np.frombuffer(vector, dtype=np.int8).astype(np.float32) / 127**2
    nearest: dict[str, list[int]] = {}
    for index in np.argsort(-cosines, kind="stable"):
        file_id, start, _ = rows[index]
        starts = nearest.setdefault(file_id, [])
        if cosines[index] >= NEAR and start not in starts:
            starts.append(start)
    return nearest


def code_of(vector: bytes) -> bytes:
    import numpy as np

    return np.packbits(np.frombuffer(vector, dtype=np.int8) > 0).tobytes()


@dataclass
class _Codes:
    """The passages of one user, by ascending id."""

    ids: "NDArray[np.int64]"
    codes: "NDArray[np.uint64]"  # a row of six each
    read_at: float


class Meanings:
    """The codes of the users who search in this process."""

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
        """Return the best passage of each document that meets the conditions, nearest first.

        With `chat_ids` only their passages are compared; else those that the actor owns, and those of the `shared`
        chats.
        """
        sources = [] if chat_ids is not None else [self._codes_of(session, actor_id)]
        others = chat_ids if chat_ids is not None else shared
        if others:
            of_chats = _CODES.join(SearchDocument, SearchDocument.id == SearchPassage.document_id)
            sources.append(
                _read_codes(session, of_chats.where(SearchDocument.chat_id.in_(others)), MAX_SHARE_OF_SHARED)
            )
        candidates = [number for codes in sources for number in _nearest_codes(codes, vector)]
        return _measure(session, candidates, vector, conditions, actor_id) if candidates else []

    def _codes_of(self, session: Session, owner_id: str) -> _Codes:
        with self._lock:
            turn = self._turns.setdefault(owner_id, threading.Lock())
        with turn:  # typing repeats queries: the first reads the codes, the others reuse them
            return self._read_on(session, owner_id)

    def _read_on(self, session: Session, owner_id: str) -> _Codes:
        with self._lock:
            kept = self._kept.get(owner_id)
        own = _CODES.where(SearchPassage.owner_id == owner_id)
        if kept is not None and time.monotonic() - kept.read_at < KEPT_S:
            last = int(kept.ids[-1]) if len(kept.ids) else 0
            more = _read_codes(session, own.where(SearchPassage.id > last), MAX_SHARE_OF_ONE)
            codes = _joined(kept, more) if len(more.ids) else kept
        else:
            codes = _read_codes(session, own, MAX_SHARE_OF_ONE)
        with self._lock:
            self._kept[owner_id] = codes
            self._kept.move_to_end(owner_id)
            while (
                len(self._kept) > 1 and sum(len(user_codes.ids) for user_codes in self._kept.values()) > KEPT_PASSAGES
            ):
                self._kept.popitem(last=False)
        return codes


def _read_codes(session: Session, query: sa.Select[int, bytes | None], most: int) -> _Codes:
    import numpy as np

    rows = session.execute(query.order_by(SearchPassage.id.desc()).limit(most)).all()[::-1]
    ids = np.fromiter((passage_id for passage_id, _ in rows), dtype=np.int64, count=len(rows))
    codes = np.frombuffer(b"".join(code or b"" for _, code in rows), dtype=np.uint64).reshape(-1, CODE_BYTES // 8)
    return _Codes(ids, codes, time.monotonic())


def _joined(kept: _Codes, more: _Codes) -> _Codes:
    import numpy as np

    return _Codes(np.concatenate([kept.ids, more.ids]), np.concatenate([kept.codes, more.codes]), kept.read_at)


def _nearest_codes(codes: _Codes, vector: bytes) -> list[int]:
    import numpy as np

    if not len(codes.ids):
        return []
    query_code = np.frombuffer(code_of(vector), dtype=np.uint64)
    distances = np.bitwise_count(codes.codes ^ query_code).sum(axis=1, dtype=np.int32)
    if len(distances) <= MEASURED:
        return [int(passage_id) for passage_id in codes.ids]
    nearest = np.argpartition(distances, MEASURED)[:MEASURED]
    return [int(passage_id) for passage_id in codes.ids[nearest]]


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
    vectors = np.frombuffer(b"".join(embedding or b"" for _, _, embedding in rows), dtype=np.int8).reshape(
        -1, DIMENSIONS
    )
    query_vector = np.frombuffer(vector, dtype=np.int8).astype(np.float32)
    likeness = vectors.astype(np.float32) @ query_vector / 127**2
    best: dict[int, Near] = {}
    for index in np.argsort(-likeness, kind="stable"):
        if likeness[index] < NEAR:
            break
        document_id, start, _ = rows[int(index)]
        best.setdefault(document_id, Near(document_id, start))
    return list(best.values())
