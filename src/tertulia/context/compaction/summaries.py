"""Decide which messages a summary should cover, and what it saves. The model is called in runs/compaction/summarizer.py."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from tertulia.chat.models import OptimizationType
from tertulia.context.branch import Branch, PromptSource, plan, read_branch
from tertulia.context.compaction.plan import (
    SUMMARIZED_SHARE,
    ActiveCompaction,
    affected_by,
    find_boundary,
    load_active,
    size_of,
    trigger_of,
)
from tertulia.context.messages import ContextMessage
from tertulia.context.models import TriggerReason
from tertulia.context.service import DueCompaction, Fitting, try_compaction

# Windows of text to read for a summary: messages that no longer fit are beyond the first.
WINDOWS_TOLD = 2


@dataclass(frozen=True)
class ToSummarize:
    """The messages that a summary is to cover. It replaces the summary `earlier`."""

    source: PromptSource
    trigger: TriggerReason
    boundary: str
    affected: list[ContextMessage]  # oldest first
    earlier: ActiveCompaction | None
    room: int  # estimated tokens for the summary request
    reserve: int  # further tokens that are kept free for the answer
    replaces: list[str]  # ids of compactions to revert with it: superseded summaries, and compactions that carry one
    untold: int  # earlier messages that no summary covers, as far as they are counted

    @property
    def oldest_covered(self) -> str | None:
        """Return the oldest message that the summary covers, directly or through the summary that it replaces."""
        if self.earlier is not None and self.earlier.oldest_covered is not None:
            return self.earlier.oldest_covered
        return self.affected[0].message_id


def find_to_summarize(session: Session, source: PromptSource, *, is_wanted: bool = False) -> ToSummarize | None:
    """Return the messages to summarise before the next request, or None.

    A summary is due when the context needs compaction and the chat's setting asks for one or one is superseded. It is
    always due when a person requests it (`is_wanted`).
    """
    source = replace(source, depth=WINDOWS_TOLD)
    active = load_active(session, source.chat_id)
    branch = read_branch(session, source, active)
    stale = branch.scan.stale()
    if stale:  # read without them: their messages are summarised again
        branch = read_branch(session, source, _without(active, stale))
    trigger = TriggerReason.USER_REQUEST if is_wanted else _due(branch)
    if trigger is None or source.leaf is None:
        return None
    is_chosen = branch.settings.when_full is OptimizationType.SUMMARIZATION
    if not (is_wanted or is_chosen or stale):
        return None
    threshold = branch.budget * (branch.settings.compact_at or 1)
    limit = min(size_of(branch.messages), branch.budget) if is_wanted else threshold
    boundary = find_boundary(branch.messages, int(limit * SUMMARIZED_SHARE))
    affected = affected_by(branch.messages, boundary) if boundary is not None else []
    if boundary is None or not affected:
        return None
    earlier = branch.scan.included
    untold = branch.older if earlier is None else 0
    replaced_ids = [compaction.id for compaction in stale if compaction.id is not None]
    return ToSummarize(
        source, trigger, boundary, affected, earlier, branch.budget, branch.reserve, replaced_ids, untold
    )


def find_stale(session: Session, source: PromptSource) -> list[str]:
    """Return the ids of the branch's superseded summaries, and of the compactions that carry one."""
    branch = read_branch(session, source, load_active(session, source.chat_id))
    return [compaction.id for compaction in branch.scan.stale() if compaction.id is not None]


def _due(branch: Branch) -> TriggerReason | None:
    return trigger_of(plan(branch), branch.budget, branch.settings.compact_at)


def _without(active: Sequence[ActiveCompaction], removed: Sequence[ActiveCompaction]) -> list[ActiveCompaction]:
    ids = {compaction.id for compaction in removed}
    return [compaction for compaction in active if compaction.id not in ids]


def try_summary(session: Session, wanted: ToSummarize, summary: str) -> DueCompaction | None:
    """Return the compaction with this summary; None if it saves too little or the summarised messages have changed."""
    compaction = _in_its_place(session, wanted, OptimizationType.SUMMARIZATION, summary)
    if compaction is None or not compaction.is_worth_it:
        return None
    note = f"{wanted.untold} earlier messages are in no summary." if wanted.untold else None
    return replace(compaction, note=note)


def try_without(session: Session, wanted: ToSummarize) -> DueCompaction | None:
    """Return a truncation of the same messages, which keeps the earlier summary; None if it saves nothing."""
    return _in_its_place(session, wanted, OptimizationType.TRUNCATION, None)


def _in_its_place(
    session: Session, wanted: ToSummarize, kind: OptimizationType, summary: str | None
) -> DueCompaction | None:
    compactions = load_active(session, wanted.source.chat_id)
    active = [compaction for compaction in compactions if compaction.id not in wanted.replaces]
    branch = read_branch(session, wanted.source, active)
    current = {message.message_id: message for message in branch.messages}
    # Messages, their rules and the earlier summary may have changed while the model wrote.
    if branch.scan.included != wanted.earlier or any(
        current.get(message.message_id) != message for message in wanted.affected
    ):
        return None
    before = Fitting(branch, plan(branch), [])
    oldest_covered = wanted.oldest_covered if kind is OptimizationType.SUMMARIZATION else None
    fitting = try_compaction(
        session,
        wanted.source,
        active,
        before,
        kind,
        wanted.boundary,
        wanted.trigger,
        summary=summary,
        oldest_covered=oldest_covered,
    )
    return fitting.due[0] if fitting is not None else None
