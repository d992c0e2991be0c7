"""What a step sends: the branch as far as it fits, made shorter where it does not, each time recorded so that it can be undone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy.orm import Session

from tertulia.chat.models import ChatSettings, ContextOptimization, OptimizationType, TriggerReason
from tertulia.chat.optimizations import announce_optimization
from tertulia.context.branch import COUNT_AT_MOST, Branch, Reading, plan, read_back, read_branch
from tertulia.context.messages import ContextMessage
from tertulia.context.optimizations import (
    KEPT_SHARE,
    LEAST_GAIN,
    MOST_AFFECTED,
    SUMMARIZED_SHARE,
    Shortening,
    Walk,
    affected_by,
    find_boundary,
    load_active,
    message_after,
    newest_before_question,
    size_of,
    tokens_sent,
    trigger_of,
)
from tertulia.context.told_files import pictures_of
from tertulia.context.window import Planned, Why
from tertulia.ids import new_id
from tertulia.realtime.models import Operation

Price = Callable[[int, int], Decimal | None]


@dataclass(frozen=True)
class Context:
    messages: list[ContextMessage]  # oldest first, the system prompt before them
    left_out: int
    window: int
    settings: ChatSettings
    pictures: dict[str, str]  # data URLs of the pictures that the messages name
    system_prompt: str | None  # the chat's own


def gather_context(session: Session, reading: Reading, *, price: Price | None = None) -> Context:
    """The branch that ends in a message, as much as fits. Where it has to be made shorter for that, this is recorded.

    Of a thread it is what the thread says, and before it the branch up to the message that it answers.
    """
    fitting = fit(session, reading)
    for made in fitting.made if reading.records else ():
        record(session, reading, made, price=price)
    branch = fitting.branch
    fitted = [one.sent for one in fitting.planned if one.sent is not None]
    kept = sum(message.message_id is not None for message in fitted)
    stored = sum(message.message_id is not None for message in branch.messages)
    left_out = stored - kept + branch.older
    return Context(fitted, left_out, branch.window, branch.settings, pictures_of(session, fitted), branch.prompt)


@dataclass(frozen=True)
class ContextPlan:
    """What the next request would send, before what is written next. Tokens are estimates; `factor` makes them the model's."""

    factor: float
    window: int
    reserve: int
    planned: list[Planned]  # the newest part of the branch, and what is pinned before it; system messages first
    older: int  # messages further back, which are left out; counted up to COUNT_AT_MOST
    taken: int  # estimated tokens of what is sent besides messages
    walk: Walk  # what counts on the branch


def plan_next(session: Session, reading: Reading, *, factor: float) -> ContextPlan:
    fitting = fit(session, reading)
    branch = fitting.branch
    beyond = _beyond(session, fitting)
    system = sum(one.message.message_id is None for one in fitting.planned)
    shown = [*fitting.planned[:system], *beyond, *fitting.planned[system:]]
    older = branch.older if branch.older >= COUNT_AT_MOST else max(0, branch.older - len(beyond))
    return ContextPlan(factor, branch.window, branch.reserve, shown, older, reading.taken, branch.walk)


def _beyond(session: Session, fitting: Fitting) -> list[Planned]:
    """The newest of what an optimisation keeps from being sent, oldest first, so that one sees where it begins."""
    walk = fitting.branch.walk
    if walk.stop is None:
        return []
    sent = {one.message.message_id for one in fitting.planned}
    newest_first, _ = read_back(session, walk.stop.boundary, fitting.branch.budget, Walk([]))
    return [
        Planned(one, None, _why_not(walk, one.message_id))
        for one in reversed(newest_first)
        if one.message_id not in sent
    ]


def _why_not(walk: Walk, message_id: str | None) -> Why:
    """A summary tells of what stands between its oldest message and its boundary; what is older, or newer, nothing tells of."""
    told = walk.told
    if told is None or message_id is None or message_id > told.boundary:
        return "truncated"
    return "summarized" if told.oldest_told is None or message_id >= told.oldest_told else "truncated"


@dataclass(frozen=True)
class Made:
    """An optimisation that is due, not recorded yet."""

    shortening: Shortening
    tokens_before: int
    tokens_after: int
    saved: int  # tokens of the next request
    affected: list[ContextMessage]
    note: str | None = None

    @property
    def is_worth_it(self) -> bool:
        return self.tokens_after <= (1 - LEAST_GAIN) * self.tokens_before


@dataclass(frozen=True)
class Fitting:
    branch: Branch
    planned: list[Planned]
    made: list[Made]


def fit(session: Session, reading: Reading) -> Fitting:
    """What goes, with what has to be done for it to fit. Summaries need a model, and were made before (runs/summaries.py)."""
    active = load_active(session, reading.chat_id)
    branch = read_branch(session, reading, active)
    fitting = Fitting(branch, plan(branch), [])
    settings = branch.settings
    trigger = trigger_of(fitting.planned, branch.budget, settings.optimize_at)
    if trigger is not None and settings.when_full is OptimizationType.COMPRESSION:
        boundary = newest_before_question(branch.messages)
        done = try_shortening(session, reading, active, fitting, OptimizationType.COMPRESSION, boundary, trigger)
        if done is not None and done.made[-1].is_worth_it:
            fitting, active = done, [done.made[-1].shortening, *active]
            trigger = trigger_of(fitting.planned, branch.budget, settings.optimize_at)
    if trigger is not None:
        room = int(branch.budget * KEPT_SHARE * (settings.optimize_at or 1))
        boundary = find_boundary(fitting.branch.messages, room)
        done = try_shortening(session, reading, active, fitting, OptimizationType.TRUNCATION, boundary, trigger)
        fitting = done or fitting
    return fitting


def try_shortening(
    session: Session,
    reading: Reading,
    active: Sequence[Shortening],
    before: Fitting,
    kind: OptimizationType,
    boundary: str | None,
    trigger: TriggerReason,
    *,
    summary: str | None = None,
    oldest_told: str | None = None,
) -> Fitting | None:
    """What would go with one optimisation more; None where there is nothing that it could be about, or it gains nothing."""
    if boundary is None or reading.leaf is None:
        return None
    # What loses nothing, or what a person wanted, counts on all branches from its end; what is left out by itself is left out
    # for the question that had no room.
    is_shared = kind is OptimizationType.SUMMARIZATION or trigger is TriggerReason.USER_REQUEST
    after_it = message_after(before.branch.messages, boundary) if is_shared else None
    shortening = Shortening(
        kind,
        boundary,
        after_it or reading.leaf,
        summary,
        oldest_told,
        before.branch.walk.told if kind is OptimizationType.TRUNCATION else None,
        trigger,
        before.branch.window,
    )
    branch = read_branch(session, reading, [shortening, *active])
    planned = plan(branch)
    sizes = size_of(before.branch.messages), size_of(branch.messages)
    if sizes[1] >= sizes[0]:
        return None
    saved = max(0, tokens_sent(before.planned) - tokens_sent(planned))
    made = Made(shortening, *sizes, saved, affected_by(before.branch.messages, boundary))
    return Fitting(branch, planned, [*before.made, made])


@dataclass(frozen=True)
class Maker:
    """Who had something made shorter, and, of a summary, who wrote it for how much."""

    created_by: str
    provider: str | None = None
    model_name: str | None = None
    cost: Decimal | None = None


def record(
    session: Session, reading: Reading, made: Made, *, maker: Maker | None = None, price: Price | None = None
) -> str:
    """Gives the id. `price`: what so many tokens sent and answered cost; with it, what each request costs less from now on."""
    shortening = made.shortening
    row = ContextOptimization(
        id=new_id(),
        chat_id=reading.chat_id,
        created_by=maker.created_by if maker else None,
        trigger_reason=shortening.trigger,
        optimization_type=shortening.kind,
        boundary_message_id=shortening.boundary,
        leaf_message_id=shortening.leaf,
        window=shortening.window,
        tokens_before=made.tokens_before,
        tokens_after=made.tokens_after,
        summary=shortening.summary,
        summary_id=shortening.carried.id if shortening.carried else None,
        oldest_told_id=shortening.oldest_told,
        affected_messages=[one.message_id for one in reversed(made.affected)][:MOST_AFFECTED],
        provider=maker.provider if maker else None,
        model_name=maker.model_name if maker else None,
        cost=maker.cost if maker else None,
        saved_cost=price(made.saved, 0) if price is not None else None,
        note=made.note,
    )
    session.add(row)
    announce_optimization(session, row, Operation.CREATED)
    return row.id


def shorten_now(session: Session, reading: Reading, kind: OptimizationType) -> Made | None:
    """What a person asked for, without a model: half of it left out, or all but the last question compressed; None: it gains nothing."""
    active = load_active(session, reading.chat_id)
    branch = read_branch(session, reading, active)
    boundary = (
        newest_before_question(branch.messages)
        if kind is OptimizationType.COMPRESSION
        else find_boundary(branch.messages, int(size_of(branch.messages) * SUMMARIZED_SHARE))
    )
    before = Fitting(branch, plan(branch), [])
    done = try_shortening(session, reading, active, before, kind, boundary, TriggerReason.USER_REQUEST)
    return done.made[0] if done is not None else None
