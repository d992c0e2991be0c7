"""What a summary should tell of, and what it would gain. The model is asked elsewhere (runs/summaries.py)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from tertulia.chat.models import OptimizationType, TriggerReason
from tertulia.context.branch import Branch, Reading, plan, read_branch
from tertulia.context.messages import ContextMessage
from tertulia.context.optimizations import (
    SUMMARIZED_SHARE,
    Shortening,
    affected_by,
    find_boundary,
    load_active,
    size_of,
    trigger_of,
)
from tertulia.context.service import Fitting, Made, try_shortening

# So many windows are read for one: what has no room any more lies beyond the first.
WINDOWS_TOLD = 2


@dataclass(frozen=True)
class ToSummarize:
    """What a summary is to tell of. `earlier` is the one before it, which it takes the place of."""

    reading: Reading
    trigger: TriggerReason
    boundary: str
    affected: list[ContextMessage]  # oldest first
    earlier: Shortening | None
    room: int  # estimated tokens that the request for it may have
    reserve: int  # tokens that are kept free besides, for the answer
    replaces: list[str]  # ids of optimisations that are undone with it: stale summaries, and what carries one
    untold: int  # messages before it that no summary tells of, as far as they are counted

    @property
    def oldest_told(self) -> str | None:
        """The oldest message that it tells of, itself or by the summary before it."""
        if self.earlier is not None and self.earlier.oldest_told is not None:
            return self.earlier.oldest_told
        return self.affected[0].message_id


def find_to_summarize(session: Session, reading: Reading, *, is_wanted: bool = False) -> ToSummarize | None:
    """What should be told by a summary before the next request; None where nothing should.

    That is so where the chat's setting says so and the window is full, where a summary has to be made anew, or where a
    person wants it (`is_wanted`).
    """
    reading = replace(reading, depth=WINDOWS_TOLD)
    active = load_active(session, reading.chat_id)
    branch = read_branch(session, reading, active)
    stale = branch.walk.stale()
    if stale:  # read as if they were not there: what they told of is told anew
        branch = read_branch(session, reading, _without(active, stale))
    due = TriggerReason.USER_REQUEST if is_wanted else _due(branch)
    if due is None or reading.leaf is None:
        return None
    is_chosen = branch.settings.when_full is OptimizationType.SUMMARIZATION
    if not (is_wanted or is_chosen or stale):
        return None
    most = branch.budget * (branch.settings.optimize_at or 1)
    limit = min(size_of(branch.messages), branch.budget) if is_wanted else most
    boundary = find_boundary(branch.messages, int(limit * SUMMARIZED_SHARE))
    affected = affected_by(branch.messages, boundary) if boundary is not None else []
    if boundary is None or not affected:
        return None
    told = branch.walk.told
    untold = branch.older if told is None else 0
    ids = [one.id for one in stale if one.id is not None]
    return ToSummarize(reading, due, boundary, affected, told, branch.budget, branch.reserve, ids, untold)


def find_stale(session: Session, reading: Reading) -> list[str]:
    """The ids of summaries of the branch that have to be made anew, and of what carries one."""
    branch = read_branch(session, reading, load_active(session, reading.chat_id))
    return [one.id for one in branch.walk.stale() if one.id is not None]


def _due(branch: Branch) -> TriggerReason | None:
    return trigger_of(plan(branch), branch.budget, branch.settings.optimize_at)


def _without(active: Sequence[Shortening], some: Sequence[Shortening]) -> list[Shortening]:
    ids = {one.id for one in some}
    return [one for one in active if one.id not in ids]


def try_summary(session: Session, wanted: ToSummarize, summary: str) -> Made | None:
    """What a summary would gain; None where that is not worth it, or what it tells of changed meanwhile."""
    done = _in_its_place(session, wanted, OptimizationType.SUMMARIZATION, summary)
    if done is None or not done.is_worth_it:
        return None
    words = f"{wanted.untold} messages before it are in no summary." if wanted.untold else None
    return replace(done, note=words)


def try_without(session: Session, wanted: ToSummarize) -> Made | None:
    """The same messages left out without words for them; the summary that there was stays."""
    return _in_its_place(session, wanted, OptimizationType.TRUNCATION, None)


def _in_its_place(session: Session, wanted: ToSummarize, kind: OptimizationType, summary: str | None) -> Made | None:
    every = load_active(session, wanted.reading.chat_id)
    active = [one for one in every if one.id not in wanted.replaces]
    branch = read_branch(session, wanted.reading, active)
    now = {one.message_id: one for one in branch.messages}
    # Messages, their rules, and the summary before may have changed while the model wrote.
    if branch.walk.told != wanted.earlier or any(now.get(one.message_id) != one for one in wanted.affected):
        return None
    before = Fitting(branch, plan(branch), [])
    oldest = wanted.oldest_told if kind is OptimizationType.SUMMARIZATION else None
    done = try_shortening(
        session,
        wanted.reading,
        active,
        before,
        kind,
        wanted.boundary,
        wanted.trigger,
        summary=summary,
        oldest_told=oldest,
    )
    return done.made[0] if done is not None else None
