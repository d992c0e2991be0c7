"""Compactions on a branch: how they apply, when one is due, and which messages it affects.

The decisions are pure functions. context/branch.py applies compactions and context/service.py records them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.models import OptimizationType
from tertulia.context.messages import ContextMessage
from tertulia.context.models import ContextOptimization, TriggerReason
from tertulia.context.window import PlannedMessage
from tertulia.db import Prepared

MAX_ACTIVE = 200  # the newest of a chat; older ones are covered by them or on abandoned branches
# Share kept by a truncation: leaves room before the next one, so the prefix that providers cache changes less often.
KEPT_SHARE = 0.75
SUMMARIZED_SHARE = 0.5
MIN_GAIN = 0.05  # share of the tokens that a compaction must save to be worth a record or its price
MAX_AFFECTED = 1000  # message ids in a record
# An automatic compaction applies in windows up to this many times as large as its own.
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
        ContextOptimization.oldest_covered_id,
        ContextOptimization.window,
        ContextOptimization.superseded_at,
    )
    .where(
        ContextOptimization.chat_id == sa.bindparam("chat_id", type_=ContextOptimization.chat_id.type),
        ContextOptimization.reverted_at.is_(None),
    )
    .order_by(ContextOptimization.id.desc())
    .limit(MAX_ACTIVE)
)


@dataclass(frozen=True)
class ActiveCompaction:
    """A compaction as it applies on a branch with its leaf, where it affects all messages up to its boundary."""

    kind: OptimizationType
    boundary: str
    leaf: str
    summary: str | None = None
    oldest_covered: str | None = None  # of a summary: the oldest message that it covers
    carried: "ActiveCompaction | None" = None  # of a truncation: the earlier summary that it keeps
    trigger: TriggerReason = TriggerReason.USER_REQUEST
    window: int | None = None  # tokens of the window that it was made for
    is_superseded: bool = False
    id: str | None = None  # None: not recorded

    def counts_in(self, window: int) -> bool:
        """Return whether it applies in a window. An automatic one for a small window does not apply in a large one."""
        return (
            self.trigger is TriggerReason.USER_REQUEST or self.window is None or window <= ANOTHER_WINDOW * self.window
        )


def load_active(session: Session, chat_id: str) -> list[ActiveCompaction]:
    """Return the active compactions of a chat, newest first."""
    rows = ACTIVE.all(session, chat_id=chat_id)
    compactions: dict[str, ActiveCompaction] = {}
    for row in reversed(rows):  # a summary is older than the truncation that carries it
        row_id, kind, trigger, boundary, leaf, summary, summary_id, oldest_covered, window, superseded_at = row
        compactions[row_id] = ActiveCompaction(
            kind,
            boundary,
            leaf,
            summary if kind is OptimizationType.SUMMARIZATION else None,
            oldest_covered,
            compactions.get(summary_id),
            trigger,
            window,
            superseded_at is not None,
            row_id,
        )
    return list(reversed(compactions.values()))


@dataclass
class BranchScan:
    """A branch scan from the newest message backwards, with the compactions that apply."""

    active: Sequence[ActiveCompaction]
    seen: set[str] = field(default_factory=set)
    stop: ActiveCompaction | None = None  # no message up to its boundary is sent, only its summary
    compression: ActiveCompaction | None = None
    compressed: set[str] = field(default_factory=set)

    @property
    def is_compressed(self) -> bool:
        return self.compression is not None

    def meet(self, message_id: str) -> bool:
        """Advance to a message; return True if neither it nor an earlier message is sent."""
        self.seen.add(message_id)
        for compaction in self.active:
            if compaction.boundary != message_id or compaction.leaf not in self.seen:
                continue
            if compaction.kind is OptimizationType.COMPRESSION:
                self.compression = self.compression or compaction
            elif self.stop is None and not (
                compaction.is_superseded and compaction.kind is OptimizationType.SUMMARIZATION
            ):
                self.stop = compaction
        if self.is_compressed:
            self.compressed.add(message_id)
        return self.stop is not None

    @property
    def included(self) -> ActiveCompaction | None:
        """Return the summary included in the prompt, or None. A truncation keeps the earlier summary."""
        if self.stop is None:
            return None
        summary = self.stop if self.stop.kind is OptimizationType.SUMMARIZATION else self.stop.carried
        return summary if summary is not None and not summary.is_superseded else None

    @property
    def summary(self) -> str | None:
        return self.included.summary if self.included is not None else None

    def applied(self) -> list[ActiveCompaction]:
        """Return the recorded compactions that have an effect on this branch; reverting any other changes nothing."""
        applied = {
            compaction.id: compaction
            for compaction in (self.stop, self.included, self.compression)
            if compaction is not None
        }
        return [compaction for compaction in applied.values() if compaction.id is not None]

    def stale(self) -> list[ActiveCompaction]:
        """Return the superseded summaries of this branch, and the compactions that carry one.

        The message at the boundary of a superseded summary may no longer exist.
        """
        superseded: dict[str | None, ActiveCompaction] = {}
        for compaction in self.active:
            carries = compaction.carried is not None and compaction.carried.is_superseded
            if compaction.leaf in self.seen and (compaction.is_superseded or carries):
                superseded |= {item.id: item for item in (compaction, compaction.carried) if item is not None}
        return [compaction for compaction in superseded.values() if compaction.id is not None]


def tokens_sent(planned: Sequence[PlannedMessage]) -> int:
    return sum(item.sent.tokens for item in planned if item.sent is not None)


def size_of(messages: Sequence[ContextMessage]) -> int:
    """Sum the tokens of the read messages that a person has not excluded. Compressed messages count as compressed."""
    return sum(message.tokens for message in messages if message.rule != "left_out")


def trigger_of(planned: Sequence[PlannedMessage], budget: int, compact_at: float | None) -> TriggerReason | None:
    """Return why the context must be compacted before this request, or None."""
    if any(item.reason == "window" and item.message.message_id is not None for item in planned):
        return TriggerReason.TOKEN_LIMIT
    if compact_at is not None and tokens_sent(planned) > compact_at * budget:
        return TriggerReason.AUTO
    return None


def find_boundary(messages: Sequence[ContextMessage], room: int) -> str | None:
    """Return the newest message to omit so that the rest takes at most `room` tokens, or None.

    The last question and what follows it, pinned messages and system messages always stay.
    """
    stored = [message for message in messages if message.message_id is not None]
    last = _last_question(stored)
    room -= sum(message.tokens for message in messages if message.message_id is None)
    room -= sum(message.tokens for message in stored[:last] if message.rule == "pinned")
    for index in reversed(range(len(stored))):
        message = stored[index]
        if message.rule == "left_out" or (message.rule == "pinned" and index < last):
            continue
        room -= message.tokens
        if room < 0 and index < last:
            return message.message_id
    return None


def newest_before_question(messages: Sequence[ContextMessage]) -> str | None:
    """Return the last message to compress, or None: the last question and what follows it stay unchanged."""
    stored = [message for message in messages if message.message_id is not None]
    last = _last_question(stored)
    return stored[last - 1].message_id if last > 0 else None


def affected_by(messages: Sequence[ContextMessage], boundary: str) -> list[ContextMessage]:
    """Return the read messages up to the boundary that a compaction affects: not pinned, not excluded; oldest first."""
    stored = [message for message in messages if message.message_id is not None]
    end = next(index for index, message in enumerate(stored) if message.message_id == boundary)
    return [message for message in stored[: end + 1] if message.rule == "auto"]


def message_after(messages: Sequence[ContextMessage], boundary: str) -> str | None:
    ids = [message.message_id for message in messages]
    return next((message_id for message_id in ids[ids.index(boundary) + 1 :] if message_id is not None), None)


def _last_question(stored: Sequence[ContextMessage]) -> int:
    """Return the index of the last user message or, without one, of the newest message."""
    return next(
        (index for index in reversed(range(len(stored))) if stored[index].role == "user"), max(len(stored) - 1, 0)
    )
