"""What a run writes as it goes. Every statement carries the lease, so that whoever lost it cannot write."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Protocol, TypeVar

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.access import may_write_chat
from tertulia.billing.ledger import Consumption, ToolPayment, lock_payer, record_usage, release, reserve
from tertulia.billing.models import UsageKind
from tertulia.chat.messages import announce_message
from tertulia.chat.models import Chat, FinishReason, Message, MessageError, MessageStatus, TokenCount
from tertulia.chat.parts import Part, ToolCallPart, flatten
from tertulia.chat.schemas import MessageRead
from tertulia.chat.search_index import index_stored
from tertulia.context.calls import in_words
from tertulia.context.service import gather_context
from tertulia.context.window import ContextMessage, estimate_tokens
from tertulia.db import Id, Prepared, rowcount, seconds_from_now, wake
from tertulia.drafts.proposals import finish_proposal
from tertulia.ids import ChatId, MessageId, RunId, new_id
from tertulia.providers.configs import split_key, touch_config
from tertulia.providers.protocol import ModelRequest, RequestMessage, ToolCall, ToolSpec
from tertulia.realtime.models import Operation
from tertulia.runs.drafts import about_drafts
from tertulia.runs.errors import CancelRequested, CostLimit, LeaseLost
from tertulia.runs.models import Run, RunError, RunStatus, Step, StepRequest
from tertulia.runs.schemas import RunRead
from tertulia.runs.service import RUN_PREFIX, RUNS, announce_run, end_queued, wake_ended
from tertulia.runs.tool_calls import AskedCall, Caller, add_calls, close_calls, count_open, last_call, lose_calls
from tertulia.tools.models import ToolExecution, ToolStatus
from tertulia.tools.offered import ABOUT_TOOLS
from tertulia.tools.protocol import OfferedTool
from tertulia.tools.rules import HOUR, load_rules

T = TypeVar("T")

LEASE_S = 8
MOST_CLAIMED = 50  # runs in one transaction
CLAIM_LOCK = 0x72756E  # "run": one process at a time decides who runs next
LEAST_MEASURED = 100  # estimated tokens: of a shorter request what a provider adds of its own would mislead
LIVE = (RunStatus.RUNNING, RunStatus.AWAITING_APPROVAL)
GO_ON = "Continue your last reply exactly where it stops. Repeat nothing of it, and add no introduction."


@dataclass(frozen=True)
class Claimed:
    """A run that this process executes, and the lease that it writes under."""

    id: RunId
    chat_id: ChatId
    message_id: MessageId
    owner_id: str  # of the chat
    provider: str
    model_name: str
    continues: bool
    payer_id: str  # who asked for it: their key, their money, their limits
    lease_owner: str
    lease_number: int
    parts: tuple[Part, ...]  # what the message has already

    @property
    def caller(self) -> Caller:
        """On whose behalf its tools are called."""
        return Caller(self.chat_id, self.message_id, self.id, self.owner_id, self.payer_id)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: Literal[RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED]
    finish_reason: FinishReason | None = None
    error: RunError | None = None
    tokens: TokenCount | None = None  # None: the provider did nothing that it could charge for
    cost: Decimal | None = None
    config_id: str | None = None  # of the person's own provider that was asked


_MESSAGE_STATUS = {
    RunStatus.COMPLETED: MessageStatus.SENT,
    RunStatus.FAILED: MessageStatus.ERROR,
    RunStatus.CANCELLED: MessageStatus.INTERRUPTED,
    RunStatus.INTERRUPTED: MessageStatus.INTERRUPTED,
}


@dataclass(frozen=True)
class PreparedStep:
    request: ModelRequest
    estimated_tokens: int  # of all that is sent


# What every run does each second.
_RENEW = Prepared(
    sa.update(Run)
    .where(
        Run.id == sa.bindparam("the_run", type_=Run.id.type),
        Run.lease_owner == sa.bindparam("owner", type_=sa.String()),
        Run.lease_number == sa.bindparam("number", type_=sa.Integer()),
        Run.status == RunStatus.RUNNING,
    )
    .values(
        lease_expires_at=seconds_from_now(LEASE_S),
        updated_at=sa.bindparam("moment", type_=Run.created_at.type),
    )
)
_STORE_TEXT = Prepared(
    sa.update(Message)
    .where(Message.id == sa.bindparam("the_message", type_=Message.id.type))
    .values(
        status=MessageStatus.STREAMING,
        parts=sa.bindparam("new_parts", type_=Message.parts.type),
        content=sa.bindparam("new_content", type_=sa.Text()),
        updated_at=sa.bindparam("moment", type_=Message.created_at.type),
    )
)


def claim_runs(session: Session, *, owner: str, at_once: int) -> list[Claimed]:
    """Take the oldest queued runs whose chat is idle and whose user has fewer than `at_once` going."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(CLAIM_LOCK)))
    going = session.execute(
        sa.select(Run.chat_id, Run.requested_by, Message.previous_message_id, Run.status)
        .join(Message, Message.id == Run.message_id)
        .where(Run.status.in_(LIVE))
    ).all()
    # What each chat is answering now: replies to one message may be written side by side, others wait for them.
    answering: dict[str, str | None] = {chat_id: previous for chat_id, _, previous, _ in going}
    by_user = Counter(user_id for _, user_id, _, status in going if status is RunStatus.RUNNING)
    full = [user_id for user_id, count in by_user.items() if user_id is not None and count >= at_once]
    queued = session.execute(
        sa.select(Run.id, Run.chat_id, Run.requested_by, Message.previous_message_id)
        .join(Message, Message.id == Run.message_id)
        .where(Run.status == RunStatus.QUEUED)
        # Nobody's queue, however long, hides another's.
        .where(Run.requested_by.not_in(full) | Run.requested_by.is_(None))
        .order_by(Run.created_at, Run.id)
        .limit(10 * MOST_CLAIMED)
        .with_for_update(of=Run, skip_locked=True)
    ).all()
    claimed: list[Claimed] = []
    for run_id, chat_id, user_id, previous in queued:
        if not _may_still_write(session, chat_id, user_id):
            _end_unwanted(session, run_id)
            continue
        is_free = answering.get(chat_id, previous) == previous
        if is_free and by_user[user_id] < at_once and len(claimed) < MOST_CLAIMED:
            answering[chat_id] = previous
            by_user[user_id] += 1
            claimed.append(_claim(session, run_id, owner))
    return claimed


def _may_still_write(session: Session, chat_id: str, user_id: str | None) -> bool:
    """Leave may have been taken since it was asked for; and nobody else pays for somebody who is gone."""
    if user_id is None:
        return False
    found = session.scalar(
        sa.select(Chat.id).where(Chat.id == chat_id, may_write_chat(Chat.id, Chat.user_id)), {"actor_id": user_id}
    )
    return found is not None


def _end_unwanted(session: Session, run_id: str) -> None:
    run, owner_id = session.execute(
        sa.select(Run, Chat.user_id).join(Chat, Chat.id == Run.chat_id).where(Run.id == run_id)
    ).one()
    end_queued(session, run, owner_id)


def _claim(session: Session, run_id: str, owner: str) -> Claimed:
    run, owner_id, parts = session.execute(
        sa.select(Run, Chat.user_id, Message.parts)
        .join(Chat, Chat.id == Run.chat_id)
        .join(Message, Message.id == Run.message_id)
        .where(Run.id == run_id)
    ).one()
    run.status, run.lease_owner, run.lease_number = RunStatus.RUNNING, owner, run.lease_number + 1
    run.lease_expires_at, run.started_at = seconds_from_now(LEASE_S), run.started_at or clock.now()
    session.flush()
    announce_run(session, owner_id, RunId(run.id), Operation.UPDATED)
    return Claimed(
        RunId(run.id),
        ChatId(run.chat_id),
        MessageId(run.message_id),
        owner_id,
        run.provider,
        run.model_name,
        run.continues,
        run.requested_by or owner_id,
        owner,
        run.lease_number,
        tuple(parts),
    )


def has_queued_runs(session: Session) -> bool:
    return session.scalar(sa.select(Run.id).where(Run.status == RunStatus.QUEUED).limit(1)) is not None


def renew_leases(session: Session, run_ids: list[str], *, owner: str) -> tuple[set[str], set[str]]:
    """Keep what this process runs; gives the ids it still holds, and those of them that somebody wants stopped."""
    mine = (Run.id.in_(run_ids), Run.lease_owner == owner, Run.status == RunStatus.RUNNING)
    session.execute(
        sa.update(Run).where(*mine).values(lease_expires_at=seconds_from_now(LEASE_S), updated_at=Run.updated_at)
    )
    rows = session.execute(sa.select(Run.id, Run.cancel_requested_at).where(*mine)).all()
    return {row[0] for row in rows}, {row[0] for row in rows if row[1] is not None}


def start_step(
    session: Session,
    run: Claimed,
    *,
    model_window: int | None,
    continues_prefix: bool,
    shrink: float,
    sees_pictures: bool = True,
    tools: Sequence[OfferedTool] = (),
    price: Callable[[int, int], Decimal | None] | None = None,
) -> PreparedStep:
    """Record the next request of a run; gives it. Raises CostLimit where it would read the results of tools for too much.

    `price`: what so many tokens sent and answered cost at most, where that is known.
    """
    row = session.execute(
        sa.select(
            sa.func.coalesce(Message.previous_message_id, Message.parent_message_id, type_=Id()).label(
                "previous_message_id"
            ),
            Message.parts,
        ).where(Message.id == run.message_id)
    ).one()
    call_id = last_call(session, run.id)
    going_on = bool(row.parts) and (run.continues or call_id is not None)
    last = run.message_id if going_on else row.previous_message_id
    context = gather_context(
        session,
        run.chat_id,
        last,
        model_window=model_window,
        sees_pictures=sees_pictures,
        shrink=shrink,
        factor=measured_factor(session, row.previous_message_id, run.provider, run.model_name),
        about=tell_about(about_drafts(session, run.chat_id, run.message_id, run.payer_id), tools),
        taken=tokens_of_tools(tools),
    )
    messages = list(context.messages)
    # After the result of a tool the model goes on by itself.
    if going_on and not continues_prefix and not isinstance(row.parts[-1], ToolCallPart):
        messages.append(ContextMessage("user", GO_ON))
    options = {
        name: getattr(context.settings, name)
        for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty")
    }
    max_tokens = context.settings.max_tokens or context.max_tokens
    request = StepRequest(
        provider=run.provider,
        model_name=run.model_name,
        message_ids=[message.message_id for message in messages if message.message_id is not None],
        system_prompt=context.system_prompt,
        left_out=context.left_out,
        continues=going_on,
        max_tokens=max_tokens,
        estimated_tokens=sum(message.tokens for message in messages) + tokens_of_tools(tools),
        tools=[tool.key for tool in tools],
        **options,
    )
    if call_id is not None:
        _set_aside(session, run, call_id, price(request.estimated_tokens, max_tokens) if price else None)
    number = session.scalar(sa.select(sa.func.coalesce(sa.func.max(Step.number), 0)).where(Step.run_id == run.id)) or 0
    session.add(Step(id=new_id(), run_id=run.id, number=number + 1, request=request))
    return PreparedStep(
        ModelRequest(
            model_name=run.model_name,
            messages=tuple(
                one for message in messages for one in _as_requested(message, context.pictures, bool(tools))
            ),
            max_tokens=max_tokens,
            tools=tuple(ToolSpec(tool.wire_name, tool.tool.description, tool.tool.parameters) for tool in tools),
            **options,
        ),
        request.estimated_tokens,
    )


def tokens_of_tools(tools: Sequence[OfferedTool]) -> int:
    """About what their descriptions take of the window."""
    described = [[tool.wire_name, tool.tool.description, dict(tool.tool.parameters)] for tool in tools]
    return sum(estimate_tokens(orjson.dumps(one).decode()) for one in described)


def tell_about(drafts: Callable[[int], str] | None, tools: Sequence[OfferedTool]) -> Callable[[int], str] | None:
    """What the model is told besides the messages: of drafts, and how to take what tools give."""
    if not tools:
        return drafts
    return lambda room: "\n\n".join(filter(None, [drafts(room) if drafts else None, ABOUT_TOOLS]))


def _as_requested(message: ContextMessage, pictures: Mapping[str, str], has_tools: bool) -> Iterator[RequestMessage]:
    """A message as the wire has it: each turn that called tools with its results, then the words.

    Where none is offered now, calls are told in words: many providers refuse them by themselves.
    """
    if message.turns and not has_tools:
        told = [in_words(turn) for turn in message.turns]
        yield RequestMessage(message.role, "\n\n".join(filter(None, [*told, message.content])))
        return
    for turn in message.turns:
        calls = tuple(ToolCall(call.id, call.name, call.arguments) for call in turn.calls)
        yield RequestMessage("assistant", turn.text, tool_calls=calls)
        for call in turn.calls:
            yield RequestMessage("tool", call.result, tool_call_id=call.id)
    if message.content or not message.turns:
        images = tuple(pictures[one] for one in message.pictures if one in pictures)
        yield RequestMessage(message.role, message.content, images=images)


def _set_aside(session: Session, run: Claimed, call_id: str, cost: Decimal | None) -> None:
    """Raises CostLimit where the hour's limit has no room for a request that reads what a tool gave."""
    release(session, run.id)  # of a try before this one, which came to nothing
    fits = cost is None or reserve(
        session,
        cost,
        ToolPayment(run.payer_id, run.chat_id, run.message_id, run.id, call_id),
        limit=load_rules(session, run.payer_id).max_cost_per_hour,
        since=clock.now() - HOUR,
        kind=UsageKind.MODEL,
        provider=split_key(run.provider)[0],
        model_name=run.model_name,
    )
    if not fits:
        raise CostLimit


def end_step(
    session: Session, run: Claimed, parts: list[Part], asked: Sequence[AskedCall], outcome: Outcome
) -> list[ToolCallPart]:
    """The model asks for tools: what the step used, the calls, and the message with them, in one transaction.

    Gives the parts of the calls. Raises LeaseLost.
    """
    _hold(session, run)
    lock_payer(session, run.payer_id)
    number = session.scalar(sa.select(sa.func.max(Step.number)).where(Step.run_id == run.id)) or 1
    _account(session, run, outcome)
    made = add_calls(session, run.caller, number, asked)
    all_parts = [*parts, *made]
    _STORE_TEXT.run(
        session, the_message=run.message_id, new_parts=all_parts, new_content=flatten(all_parts), moment=clock.now()
    )
    announce_message(session, run.owner_id, run.message_id, Operation.UPDATED, with_chat=False)
    return made


def suspend_run(session: Session, run: Claimed) -> list[str]:
    """Let go of a run that waits for decisions; gives the calls that wait: none if the last was decided meanwhile, and then it is kept.

    Raises CancelRequested: a run that waits is nobody's, and nobody would hear of it.
    """
    _hold(session, run)
    if session.scalar(sa.select(Run.cancel_requested_at).where(Run.id == run.id)) is not None:
        raise CancelRequested
    waiting = session.scalars(
        sa.select(ToolExecution.id)
        .where(ToolExecution.run_id == run.id, ToolExecution.status == ToolStatus.PENDING)
        .order_by(ToolExecution.id)
    ).all()
    if waiting:
        session.execute(
            sa.update(Run)
            .where(Run.id == run.id)
            .values(status=RunStatus.AWAITING_APPROVAL, lease_owner=None, lease_expires_at=None)
        )
        announce_run(session, run.owner_id, run.id, Operation.UPDATED)
        wake(session, RUN_PREFIX + run.id)
    return list(waiting)


def give_back_run(session: Session, run: Claimed) -> None:
    """This process stops while the tools of a run are at work or wait: another goes on with it. Raises LeaseLost."""
    _hold(session, run)
    give_back(session, session.get_one(Run, run.id, populate_existing=True), run.owner_id)


def give_back(session: Session, run: Run, owner_id: str) -> None:
    """Nobody executes it now, and its last request was answered with calls. Those that ran are lost; with the others it goes on.

    One that somebody wants stopped ends here.
    """
    lose_calls(session, run.id, owner_id)
    run.lease_owner, run.lease_expires_at, run.lease_number = None, None, run.lease_number + 1
    if run.cancel_requested_at is not None:
        end_queued(session, run, owner_id)
        return
    waits = count_open(session, run.id, ToolStatus.PENDING) > 0
    run.status = RunStatus.AWAITING_APPROVAL if waits else RunStatus.QUEUED
    session.flush()
    announce_run(session, owner_id, RunId(run.id), Operation.UPDATED)
    wake(session, RUN_PREFIX + run.id)
    wake(session, RUNS)


def hold_and(session: Session, run: Claimed, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Work that only whoever holds the run may do. Raises LeaseLost."""
    _hold(session, run)
    return work(session, run.caller, *args, **kwargs)


def _account(session: Session, run: Claimed, outcome: Outcome) -> None:
    """What a step used: into the step, the run, the message and the ledger."""
    now = clock.now()
    last = sa.select(sa.func.max(Step.number)).where(Step.run_id == run.id).scalar_subquery()
    session.execute(
        sa.update(Step)
        # One that ended with calls of tools was counted then; the run may end before the next begins.
        .where(Step.run_id == run.id, Step.number == last, Step.ended_at.is_(None))
        .values(usage=outcome.tokens, finish_reason=outcome.finish_reason, ended_at=now)
    )
    row = session.get_one(Run, run.id, populate_existing=True)
    row.usage, row.cost = add_counts(row.usage, outcome.tokens), _add_cost(row.cost, outcome.cost)
    message = session.get_one(Message, run.message_id, populate_existing=True)
    details = message.details
    message.details = details.model_copy(
        update={
            "tokens": add_counts(details.tokens, outcome.tokens),
            "cost": _add_cost(details.cost, outcome.cost),
        }
    )
    session.flush()
    if outcome.tokens is not None:
        enter_ledger(session, run, outcome.tokens, outcome.cost, call_id=last_call(session, run.id))
    release(session, run.id)
    if outcome.config_id is not None:
        touch_config(session, outcome.config_id, now)


def _add_cost(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    return second if first is None else first + (second or 0)


def measured_factor(session: Session, message_id: str | None, provider: str, model_name: str) -> float:
    """How many tokens the provider counted for each that we estimated, at the last reply up to a message; 1 if nobody knows."""
    before = session.scalar(sa.select(Message.previous_message_id).where(Message.id == message_id))
    row = session.execute(
        sa.select(Step.request, Step.usage)
        .join(Run, Run.id == Step.run_id)
        .where(
            # What is answered now follows the last reply, or it is that reply itself.
            Run.message_id.in_([one for one in (message_id, before) if one]),
            Run.provider == provider,
            Run.model_name == model_name,
            Step.usage.is_not(None),
        )
        .order_by(Step.id.desc())
        .limit(1)
    ).first()
    if row is None or row.usage.estimated or row.request.estimated_tokens < LEAST_MEASURED:
        return 1.0
    return float(min(max(row.usage.prompt / row.request.estimated_tokens, 0.5), 3.0))


def checkpoint(session: Session, run: Claimed, parts: list[Part]) -> None:
    """Store the text so far. The first one tells that the provider has begun. Raises LeaseLost."""
    _hold(session, run)
    _STORE_TEXT.run(
        session, the_message=run.message_id, new_parts=parts, new_content=flatten(parts), moment=clock.now()
    )


def begin_streaming(session: Session, run: Claimed, parts: list[Part]) -> None:
    """At the provider's first byte: the reply streams, and the message it answers is delivered. Raises LeaseLost."""
    checkpoint(session, run, parts)
    previous = sa.select(Message.previous_message_id).where(Message.id == run.message_id).scalar_subquery()
    delivered = rowcount(
        session,
        sa.update(Message)
        .where(Message.id == previous, Message.status == MessageStatus.SENT, Message.role == "user")
        .values(status=MessageStatus.DELIVERED),
    )
    if delivered:
        asked = session.scalars(sa.select(Message.previous_message_id).where(Message.id == run.message_id)).one()
        announce_message(session, run.owner_id, MessageId(asked or ""), Operation.UPDATED, with_chat=False)
    announce_message(session, run.owner_id, run.message_id, Operation.UPDATED, with_chat=False)


def finish_run(
    session: Session, run: Claimed, parts: list[Part], outcome: Outcome, *, started_at: datetime
) -> tuple[MessageRead, RunRead]:
    """The end of a run in one transaction: message, usage, counters, change rows. Raises LeaseLost."""
    _hold(session, run)
    now = clock.now()
    _account(session, run, outcome)
    session.execute(
        sa.update(Run).where(Run.id == run.id).values(status=outcome.status, ended_at=now, error=outcome.error)
    )
    close_calls(session, run.id, run.owner_id, was_cancelled=outcome.status is RunStatus.CANCELLED)
    message = session.get_one(Message, run.message_id)
    step = session.scalars(
        sa.select(Step.request).where(Step.run_id == run.id).order_by(Step.number.desc()).limit(1)
    ).first()
    details = message.details
    tokens = details.tokens
    message.details = details.model_copy(
        update={
            "finish_reason": outcome.finish_reason,
            "processing_time": round((details.processing_time or 0) + (now - started_at).total_seconds(), 3),
            "temperature": step.temperature if step else None,
            "left_out": step.left_out if step else None,
            "error": MessageError(code=outcome.error.code, message=outcome.error.detail, timestamp=now)
            if outcome.error
            else None,
        }
    )
    message.token_count = tokens.completion if tokens else None
    message.status = _MESSAGE_STATUS[outcome.status]
    # A run that was stopped while its calls were recorded does not know of them.
    known = {part.tool_execution_id for part in parts if isinstance(part, ToolCallPart)}
    lost = [part for part in message.parts if isinstance(part, ToolCallPart) and part.tool_execution_id not in known]
    message.parts = [*parts, *lost]
    message.content = flatten(message.parts)
    index_stored(session, [run.message_id])
    finish_proposal(session, run.message_id, is_whole=outcome.status is RunStatus.COMPLETED)
    wake_ended(session, run.id)
    read = announce_message(session, run.owner_id, run.message_id, Operation.UPDATED)
    return read, announce_run(session, run.owner_id, run.id, Operation.UPDATED)


class Paid(Protocol):
    """What the ledger needs to know of a run, claimed or left behind."""

    @property
    def id(self) -> RunId: ...
    @property
    def chat_id(self) -> ChatId: ...
    @property
    def message_id(self) -> MessageId: ...
    @property
    def payer_id(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def model_name(self) -> str: ...


def enter_ledger(
    session: Session, run: Paid, tokens: TokenCount, cost: Decimal | None, *, call_id: str | None = None
) -> None:
    """Into the ledger, and into the totals of the chat, which are its sums. `call_id`: the call whose result was read."""
    used = Consumption(
        provider=split_key(run.provider)[0],
        model_name=run.model_name,
        input_tokens=tokens.prompt,
        output_tokens=tokens.completion,
        cached_tokens=tokens.cached,
        is_estimated=tokens.estimated,
        cost=cost,
    )
    record_usage(
        session,
        used,
        user_id=run.payer_id,
        chat_id=run.chat_id,
        message_id=run.message_id,
        run_id=run.id,
        tool_execution_id=call_id,
    )
    session.execute(
        sa.update(Chat)
        .where(Chat.id == run.chat_id)
        .values(total_tokens=Chat.total_tokens + tokens.total, total_cost=Chat.total_cost + (cost or Decimal(0)))
    )


def _hold(session: Session, run: Claimed) -> None:
    """Renew the lease that this write depends on, or refuse the write; on PostgreSQL this also locks the run's row."""
    held = _RENEW.run(
        session,
        the_run=run.id,
        owner=run.lease_owner,
        number=run.lease_number,
        moment=clock.now(),
    )
    if held != 1:
        raise LeaseLost


def add_counts(first: TokenCount | None, second: TokenCount | None) -> TokenCount | None:
    if first is None or second is None:
        return second or first
    return TokenCount(
        prompt=first.prompt + second.prompt,
        completion=first.completion + second.completion,
        total=first.total + second.total,
        cached=first.cached + second.cached,
        estimated=first.estimated or second.estimated,
    )
