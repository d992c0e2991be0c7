"""Times that the context was made shorter: how they count on a branch, when one is due, and what it takes away.

What is decided here is pure; branch.py reads with it, and service.py records.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.models import ContextOptimization, OptimizationType, TriggerReason
from tertulia.context.messages import ContextMessage
from tertulia.context.window import Planned
from tertulia.db import Prepared

MOST_ACTIVE = 200  # of a chat, the newest: what is older is told by them, or on branches that are long gone
# What is left after leaving out: some more fits before it is due again, and what providers keep of the beginning stays the same.
KEPT_SHARE = 0.75
SUMMARIZED_SHARE = 0.5
LEAST_GAIN = 0.05  # of the tokens, for an optimisation by itself that is worth a record, or its price
MOST_AFFECTED = 1000  # ids that a record names
# A window so many times as large as the one that something was made shorter for needs that no more.
ANOTHER_WINDOW = 1.5
ACTIVE = Prepared(
    sa.select(
        ContextOptimization.id,
        ContextOptimization.optimization_type,
        ContextOptimization.trigger_reason,
        ContextOptimization.boundary_message_id,
        ContextOptimization.leaf_message_id,
        ContextOptimization.summary,
        ContextOptimization.summary_id,
        ContextOptimization.oldest_told_id,
        ContextOptimization.window,
        ContextOptimization.stale_at,
    )
    .where(
        ContextOptimization.chat_id == sa.bindparam("chat_id", type_=ContextOptimization.chat_id.type),
        ContextOptimization.undone_at.is_(None),
    )
    .order_by(ContextOptimization.id.desc())
    .limit(MOST_ACTIVE)
)


@dataclass(frozen=True)
class Shortening:
    """An optimisation as it counts on a branch that holds its leaf: there it is about all up to its boundary."""

    kind: OptimizationType
    boundary: str
    leaf: str
    summary: str | None = None
    oldest_told: str | None = None  # of a summary: the oldest message that it tells of
    carried: "Shortening | None" = None  # of what is left out: the summary of what was before that
    trigger: TriggerReason = TriggerReason.USER_REQUEST
    window: int | None = None  # tokens; what it was made for
    is_stale: bool = False
    id: str | None = None  # None: not recorded

    def counts_in(self, window: int) -> bool:
        """What was made shorter by itself for a small window is whole again in a large one."""
        return (
            self.trigger is TriggerReason.USER_REQUEST or self.window is None or window <= ANOTHER_WINDOW * self.window
        )


def load_active(session: Session, chat_id: str) -> list[Shortening]:
    """The newest first."""
    rows = ACTIVE.all(session, chat_id=chat_id)
    found: dict[str, Shortening] = {}
    for row in reversed(rows):  # a summary is older than what carries it
        row_id, kind, trigger, boundary, leaf, summary, summary_id, oldest_told, window, stale_at = row
        found[row_id] = Shortening(
            kind,
            boundary,
            leaf,
            summary if kind is OptimizationType.SUMMARIZATION else None,
            oldest_told,
            found.get(summary_id),
            trigger,
            window,
            stale_at is not None,
            row_id,
        )
    return list(reversed(found.values()))


@dataclass
class Walk:
    """A walk back along a branch, from its newest message: what counts from where on."""

    active: Sequence[Shortening]
    seen: set[str] = field(default_factory=set)
    stop: Shortening | None = None  # nothing before here is sent, but for its summary
    compression: Shortening | None = None
    compressed: set[str] = field(default_factory=set)

    @property
    def is_compressed(self) -> bool:
        return self.compression is not None

    def meet(self, message_id: str) -> bool:
        """Go on to a message; true where it is not sent, and none before it."""
        self.seen.add(message_id)
        for one in self.active:
            if one.boundary != message_id or one.leaf not in self.seen:
                continue
            if one.kind is OptimizationType.COMPRESSION:
                self.compression = self.compression or one
            elif self.stop is None and not (one.is_stale and one.kind is OptimizationType.SUMMARIZATION):
                self.stop = one
        if self.is_compressed:
            self.compressed.add(message_id)
        return self.stop is not None

    @property
    def told(self) -> Shortening | None:
        """The summary that tells of what is not sent; leaving more out keeps the one that there was."""
        if self.stop is None:
            return None
        found = self.stop if self.stop.kind is OptimizationType.SUMMARIZATION else self.stop.carried
        return found if found is not None and not found.is_stale else None

    @property
    def summary(self) -> str | None:
        return self.told.summary if self.told is not None else None

    def counting(self) -> list[Shortening]:
        """What makes a difference on this branch: undoing anything else changes nothing."""
        found = {one.id: one for one in (self.stop, self.told, self.compression) if one is not None}
        return [one for one in found.values() if one.id is not None]

    def stale(self) -> list[Shortening]:
        """Summaries of this branch that have to be made anew, and what carries one; of a summary even the message that it ended
        with may be gone."""
        found: dict[str | None, Shortening] = {}
        for one in self.active:
            carries = one.carried is not None and one.carried.is_stale
            if one.leaf in self.seen and (one.is_stale or carries):
                found |= {each.id: each for each in (one, one.carried) if each is not None}
        return [one for one in found.values() if one.id is not None]


def tokens_sent(planned: Sequence[Planned]) -> int:
    return sum(one.sent.tokens for one in planned if one.sent is not None)


def size_of(messages: Sequence[ContextMessage]) -> int:
    """What a person does not leave out, as far as it was read; what is compressed in the tokens that it has so."""
    return sum(one.tokens for one in messages if one.rule != "left_out")


def trigger_of(planned: Sequence[Planned], budget: int, optimize_at: float | None) -> TriggerReason | None:
    """Whether the context has to be made shorter before this request."""
    if any(one.why == "window" and one.message.message_id is not None for one in planned):
        return TriggerReason.TOKEN_LIMIT
    if optimize_at is not None and tokens_sent(planned) > optimize_at * budget:
        return TriggerReason.AUTO
    return None


def find_boundary(messages: Sequence[ContextMessage], room: int) -> str | None:
    """The newest message that has to go for the rest to take at most so many tokens; None where none may go.

    The last question and what follows it, pinned messages and the system's always stay.
    """
    stored = [one for one in messages if one.message_id is not None]
    last = _last_question(stored)
    room -= sum(one.tokens for one in messages if one.message_id is None)
    room -= sum(one.tokens for one in stored[:last] if one.rule == "pinned")
    for place in reversed(range(len(stored))):
        message = stored[place]
        if message.rule == "left_out" or (message.rule == "pinned" and place < last):
            continue
        room -= message.tokens
        if room < 0 and place < last:
            return message.message_id
    return None


def newest_before_question(messages: Sequence[ContextMessage]) -> str | None:
    """Up to where a compression reaches: what was asked last goes word for word."""
    stored = [one for one in messages if one.message_id is not None]
    last = _last_question(stored)
    return stored[last - 1].message_id if last > 0 else None


def affected_by(messages: Sequence[ContextMessage], boundary: str) -> list[ContextMessage]:
    """What an optimisation is about, as far as it was read, oldest first: pinned messages are not."""
    stored = [one for one in messages if one.message_id is not None]
    end = next(place for place, message in enumerate(stored) if message.message_id == boundary)
    return [message for message in stored[: end + 1] if message.rule == "auto"]


def message_after(messages: Sequence[ContextMessage], boundary: str) -> str | None:
    ids = [one.message_id for one in messages]
    return next((one for one in ids[ids.index(boundary) + 1 :] if one is not None), None)


def _last_question(stored: Sequence[ContextMessage]) -> int:
    """Its place; without one the place of the newest."""
    return next(
        (place for place in reversed(range(len(stored))) if stored[place].role == "user"), max(len(stored) - 1, 0)
    )
