"""Build the context of a step: as much of the branch as fits. Compactions for this are recorded and can be reverted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy.orm import Session

from tertulia.chat.models import ChatSettings, Omission, OptimizationType
from tertulia.context.branch import COUNT_AT_MOST, Branch, PromptSource, plan, read_back, read_branch
from tertulia.context.compaction.plan import (
    KEPT_SHARE,
    MAX_AFFECTED,
    MIN_GAIN,
    SUMMARIZED_SHARE,
    ActiveCompaction,
    BranchScan,
    affected_by,
    find_boundary,
    load_active,
    message_after,
    newest_before_question,
    size_of,
    tokens_sent,
    trigger_of,
)
from tertulia.context.compaction.records import announce_compaction
from tertulia.context.cutting import omissions_of
from tertulia.context.file_contents import paths_of, pictures_of
from tertulia.context.messages import ContextMessage
from tertulia.context.models import ContextOptimization, TriggerReason
from tertulia.context.window import PlannedMessage, Reason
from tertulia.ids import new_id
from tertulia.realtime.models import Operation

Price = Callable[[int, int], Decimal | None]


@dataclass(frozen=True)
class Context:
    messages: list[ContextMessage]  # oldest first, after the system prompt
    left_out: int
    window: int
    settings: ChatSettings
    pictures: dict[str, str]  # data URLs of the pictures in the messages, by attachment id
    system_prompt: str | None  # the instructions of the project, and the chat's own
    omissions: list[Omission]  # what is missing of the messages that are sent
    paths: dict[str, str]  # where the files are stored that are sent as they are, by attachment id


def gather_context(session: Session, source: PromptSource, *, price: Price | None = None) -> Context:
    """Return as much as fits of the branch that ends in `reading.leaf`, and record the compactions this needs.

    A thread is preceded by the branch up to the message that it answers.
    """
    fitting = fit(session, source)
    for compaction in fitting.due if source.records else ():
        record(session, source, compaction, price=price)
    branch = fitting.branch
    fitted = [item.sent for item in fitting.planned if item.sent is not None]
    kept = sum(message.message_id is not None for message in fitted)
    stored = sum(message.message_id is not None for message in branch.messages)
    left_out = stored - kept + branch.older
    omissions = omissions_of(fitted)
    pictures, paths = pictures_of(session, fitted), paths_of(session, fitted)
    return Context(fitted, left_out, branch.window, branch.settings, pictures, branch.prompt, omissions, paths)


@dataclass(frozen=True)
class ContextPlan:
    """What the next request would send. Token counts are estimates; `factor` converts them to the model's."""

    factor: float
    window: int
    reserve: int
    planned: list[PlannedMessage]  # system messages, then the newest part of the branch and earlier pinned messages
    older: int  # omitted messages further back, counted up to COUNT_AT_MOST
    taken: int  # estimated tokens sent in addition to the messages
    scan: BranchScan  # with the compactions that apply on the branch


def plan_next(session: Session, source: PromptSource, *, factor: float) -> ContextPlan:
    fitting = fit(session, source)
    branch = fitting.branch
    beyond = _beyond(session, fitting)
    system = sum(item.message.message_id is None for item in fitting.planned)
    shown = [*fitting.planned[:system], *beyond, *fitting.planned[system:]]
    older = branch.older if branch.older >= COUNT_AT_MOST else max(0, branch.older - len(beyond))
    return ContextPlan(factor, branch.window, branch.reserve, shown, older, source.taken, branch.scan)


def _beyond(session: Session, fitting: Fitting) -> list[PlannedMessage]:
    """Return the newest messages that a compaction omits, oldest first, to show where it begins."""
    scan = fitting.branch.scan
    if scan.stop is None:
        return []
    sent = {item.message.message_id for item in fitting.planned}
    newest_first, _ = read_back(session, scan.stop.boundary, fitting.branch.budget, BranchScan([]))
    return [
        PlannedMessage(message, None, _why_not(scan, message.message_id))
        for message in reversed(newest_first)
        if message.message_id not in sent
    ]


def _why_not(scan: BranchScan, message_id: str | None) -> Reason:
    """Return why a message is omitted.

    "summarized" from the summary's oldest message to its boundary, else "truncated".
    """
    summary = scan.included
    if summary is None or message_id is None or message_id > summary.boundary:
        return "truncated"
    return "summarized" if summary.oldest_covered is None or message_id >= summary.oldest_covered else "truncated"


@dataclass(frozen=True)
class DueCompaction:
    """A compaction that is due but not recorded yet."""

    compaction: ActiveCompaction
    tokens_before: int
    tokens_after: int
    saved: int  # tokens of the next request
    affected: list[ContextMessage]
    note: str | None = None

    @property
    def is_worth_it(self) -> bool:
        return self.tokens_after <= (1 - MIN_GAIN) * self.tokens_before


@dataclass(frozen=True)
class Fitting:
    branch: Branch
    planned: list[PlannedMessage]
    due: list[DueCompaction]


def fit(session: Session, source: PromptSource) -> Fitting:
    """Return what is sent, with the compactions it needs. Summaries need a model: see runs/compaction/summarizer.py."""
    active = load_active(session, source.chat_id)
    branch = read_branch(session, source, active)
    fitting = Fitting(branch, plan(branch), [])
    settings = branch.settings
    trigger = trigger_of(fitting.planned, branch.budget, settings.compact_at)
    if trigger is not None and settings.when_full is OptimizationType.COMPRESSION:
        boundary = newest_before_question(branch.messages)
        done = try_compaction(session, source, active, fitting, OptimizationType.COMPRESSION, boundary, trigger)
        if done is not None and done.due[-1].is_worth_it:
            fitting, active = done, [done.due[-1].compaction, *active]
            trigger = trigger_of(fitting.planned, branch.budget, settings.compact_at)
    if trigger is not None:
        fitting = _truncate(session, source, active, fitting, trigger) or fitting
    return fitting


def _truncate(
    session: Session, source: PromptSource, active: Sequence[ActiveCompaction], before: Fitting, trigger: TriggerReason
) -> Fitting | None:
    """Return what is sent after one truncation, or None if it saves nothing.

    A truncation ends an earlier compression, so a pinned message before it is sent whole and may leave less room. Then
    the boundary moves on until everything after it fits.
    """
    compact_at = before.branch.settings.compact_at
    room = int(before.branch.budget * KEPT_SHARE * (compact_at or 1))
    boundary = find_boundary(before.branch.messages, room)
    fitting = None
    while boundary is not None:
        later = try_compaction(session, source, active, before, OptimizationType.TRUNCATION, boundary, trigger)
        if later is None:
            break
        fitting = later
        if trigger_of(later.planned, later.branch.budget, compact_at) is None:
            break
        boundary = find_boundary(later.branch.messages, room)
    return fitting


def try_compaction(
    session: Session,
    source: PromptSource,
    active: Sequence[ActiveCompaction],
    before: Fitting,
    kind: OptimizationType,
    boundary: str | None,
    trigger: TriggerReason,
    *,
    summary: str | None = None,
    oldest_covered: str | None = None,
) -> Fitting | None:
    """Return what is sent after one more compaction; None if it affects no message or saves nothing."""
    if boundary is None or source.leaf is None:
        return None
    # Summaries and requested compactions apply to every branch from their boundary on. Other automatic ones apply
    # only to branches with the message that had no room.
    is_shared = kind is OptimizationType.SUMMARIZATION or trigger is TriggerReason.USER_REQUEST
    after_it = message_after(before.branch.messages, boundary) if is_shared else None
    compaction = ActiveCompaction(
        kind,
        boundary,
        after_it or source.leaf,
        summary,
        oldest_covered,
        before.branch.scan.included if kind is OptimizationType.TRUNCATION else None,
        trigger,
        before.branch.window,
    )
    branch = read_branch(session, source, [compaction, *active])
    planned = plan(branch)
    sizes = size_of(before.branch.messages), size_of(branch.messages)
    if sizes[1] >= sizes[0]:
        return None
    saved = max(0, tokens_sent(before.planned) - tokens_sent(planned))
    due = DueCompaction(compaction, *sizes, saved, affected_by(before.branch.messages, boundary))
    return Fitting(branch, planned, [*before.due, due])


@dataclass(frozen=True)
class Maker:
    """The user who requested a compaction and, for a summary, the model that wrote it and its cost."""

    created_by: str
    provider: str | None = None
    model_name: str | None = None
    cost: Decimal | None = None


def record(
    session: Session,
    source: PromptSource,
    due: DueCompaction,
    *,
    maker: Maker | None = None,
    price: Price | None = None,
) -> str:
    """Store a compaction and return its id.

    `price` returns the cost of input and output tokens; with it, the saving of each later request is stored.
    """
    compaction = due.compaction
    row = ContextOptimization(
        id=new_id(),
        chat_id=source.chat_id,
        created_by=maker.created_by if maker else None,
        trigger_reason=compaction.trigger,
        optimization_type=compaction.kind,
        boundary_message_id=compaction.boundary,
        leaf_message_id=compaction.leaf,
        window=compaction.window,
        tokens_before=due.tokens_before,
        tokens_after=due.tokens_after,
        summary=compaction.summary,
        summary_id=compaction.carried.id if compaction.carried else None,
        oldest_covered_id=compaction.oldest_covered,
        affected_messages=[message.message_id for message in reversed(due.affected)][:MAX_AFFECTED],
        provider=maker.provider if maker else None,
        model_name=maker.model_name if maker else None,
        cost=maker.cost if maker else None,
        saved_cost=price(due.saved, 0) if price is not None else None,
        note=due.note,
    )
    session.add(row)
    announce_compaction(session, row, Operation.CREATED)
    return row.id


def plan_requested_compaction(session: Session, source: PromptSource, kind: OptimizationType) -> DueCompaction | None:
    """Plan a requested compaction: truncate half of the context, or compress all but the last question.

    Return None if nothing is saved.
    """
    active = load_active(session, source.chat_id)
    branch = read_branch(session, source, active)
    boundary = (
        newest_before_question(branch.messages)
        if kind is OptimizationType.COMPRESSION
        else find_boundary(branch.messages, int(size_of(branch.messages) * SUMMARIZED_SHARE))
    )
    before = Fitting(branch, plan(branch), [])
    done = try_compaction(session, source, active, before, kind, boundary, TriggerReason.USER_REQUEST)
    return done.due[0] if done is not None else None
