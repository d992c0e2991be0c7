"""The next request of a run to its model: what is sent, recorded by reference, and its highest cost set aside."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.ledger import ToolPayment, release, reserve
from tertulia.billing.models import UsageKind
from tertulia.chat.models import Message
from tertulia.chat.parts import Part, ToolCallPart
from tertulia.context.calls import in_words
from tertulia.context.service import Reading, gather_context
from tertulia.context.window import ContextMessage, estimate_tokens
from tertulia.db import Id
from tertulia.ids import new_id
from tertulia.providers.configs import split_key
from tertulia.providers.protocol import ModelRequest, RequestMessage, ToolCall, ToolSpec
from tertulia.runs.claims import Claimed
from tertulia.runs.drafts import about_drafts
from tertulia.runs.errors import CostLimit
from tertulia.runs.models import Run, Step, StepRequest
from tertulia.runs.tool_calls import last_call
from tertulia.tools.offered import ABOUT_TOOLS
from tertulia.tools.protocol import OfferedTool
from tertulia.tools.rules import HOUR, load_rules

LEAST_MEASURED = 100  # estimated tokens: of a shorter request what a provider adds of its own would mislead
GO_ON = "Continue your last reply exactly where it stops. Repeat nothing of it, and add no introduction."


@dataclass(frozen=True)
class PreparedStep:
    request: ModelRequest
    estimated_tokens: int  # of all that is sent


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
    row = _reply_of(session, run)
    call_id = last_call(session, run.id)
    going_on = _goes_on(run, row.parts, call_id)
    reading = read_for(session, run, model_window=model_window, shrink=shrink, sees_pictures=sees_pictures, tools=tools)
    context = gather_context(session, reading, price=price)
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


def _reply_of(session: Session, run: Claimed) -> sa.Row[str | None, list[Part]]:
    return session.execute(
        sa.select(
            sa.func.coalesce(Message.previous_message_id, Message.parent_message_id, type_=Id()).label(
                "previous_message_id"
            ),
            Message.parts,
        ).where(Message.id == run.message_id)
    ).one()


def _goes_on(run: Claimed, parts: list[Part], call_id: str | None) -> bool:
    return bool(parts) and (run.continues or call_id is not None)


def read_for(
    session: Session,
    run: Claimed,
    *,
    model_window: int | None,
    shrink: float,
    sees_pictures: bool,
    tools: Sequence[OfferedTool],
) -> Reading:
    """What the next request of a run is made of; `shrink` below 1 after a provider found it too long."""
    row = _reply_of(session, run)
    factor = measured_factor(session, row.previous_message_id, run.provider, run.model_name)
    return Reading(
        run.chat_id,
        run.message_id if _goes_on(run, row.parts, last_call(session, run.id)) else row.previous_message_id,
        model_window,
        sees_pictures,
        shrink / factor,
        tell_about(about_drafts(session, run.chat_id, run.message_id, run.payer_id), tools),
        tokens_of_tools(tools),
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
