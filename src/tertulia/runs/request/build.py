"""The next request of a run to its model: what is sent, recorded by reference, and its highest cost set aside."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.ledger import ToolPayment, release, reserve
from tertulia.billing.models import UsageKind
from tertulia.chat.models import Message
from tertulia.chat.parts import Part, ToolCallPart
from tertulia.context.calls import in_words
from tertulia.context.messages import ContextMessage
from tertulia.context.service import Context, Price, gather_context
from tertulia.db import Id
from tertulia.ids import new_id
from tertulia.providers.configs import split_key
from tertulia.providers.protocol import ModelRequest, RequestMessage, ToolCall, ToolSpec
from tertulia.runs.calls.life import last_call
from tertulia.runs.engine.claims import Claimed
from tertulia.runs.errors import CostLimit
from tertulia.runs.models import Step, StepRequest
from tertulia.runs.request.prepare import ForModel, Prepared, prepare_reading, sample_to_count, tokens_of_tools
from tertulia.tools.rules import HOUR, load_rules

GO_ON = "Continue your last reply exactly where it stops. Repeat nothing of it, and add no introduction."
LEAST_ANSWER = 16  # tokens: a provider refuses to be asked for none
# What an answer after a tool may be at most where nobody says: what it may cost is set aside before it, and every model gives so much.
MOST_AFTER_TOOLS = 4096


@dataclass(frozen=True)
class PreparedStep:
    request: ModelRequest
    estimated_tokens: int  # of all that is sent


def start_step(
    session: Session,
    run: Claimed,
    model: ForModel,
    *,
    continues_prefix: bool,
    shrink: float = 1.0,
    price: Price | None = None,
) -> PreparedStep:
    """Record the next request of a run; gives it. Raises CostLimit where it would read the results of tools for too much.

    `shrink` is below 1 after a provider found it too long. `price`: what so many tokens sent and answered cost at most, where that
    is known.
    """
    prepared, going_on = prepare_run(session, run, model, shrink=shrink)
    context = gather_context(session, prepared.reading, price=price)
    messages = list(context.messages)
    # After the result of a tool the model goes on by itself.
    if going_on and not continues_prefix and not isinstance(going_on[-1], ToolCallPart):
        messages.append(ContextMessage("user", GO_ON))
    estimated = sum(message.tokens for message in messages) + tokens_of_tools(prepared.tools)
    call_id = last_call(session, run.id)
    max_tokens = _longest_answer(context, prepared, estimated, is_priced=call_id is not None and price is not None)
    if call_id is not None:
        set_aside(session, run, call_id, price(estimated, max_tokens) if price and max_tokens else None)
    options = {
        name: getattr(context.settings, name)
        for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty")
    }
    _record(session, run, prepared, context, messages, estimated, max_tokens, bool(going_on), options)
    tools = tuple(ToolSpec(tool.wire_name, tool.tool.description, tool.tool.parameters) for tool in prepared.tools)
    wired = tuple(one for message in messages for one in _as_requested(message, context.pictures, bool(tools)))
    request = ModelRequest(run.model_name, wired, max_tokens=max_tokens, tools=tools, **options)
    return PreparedStep(request, estimated)


def sample_for_run(session: Session, run: Claimed, model: ForModel) -> str | None:
    """What a run's model is asked to count before its first request; None where it is known."""
    return sample_to_count(session, prepare_run(session, run, model)[0].reading.leaf, model)


def prepare_run(
    session: Session, run: Claimed, model: ForModel, *, shrink: float = 1.0
) -> tuple[Prepared, Sequence[Part]]:
    """What the next request of a run is made of; and what the reply has already, where it goes on with that."""
    row = session.execute(
        sa.select(
            sa.func.coalesce(Message.previous_message_id, Message.parent_message_id, type_=Id()).label("before"),
            Message.parts,
        ).where(Message.id == run.message_id)
    ).one()
    goes_on = bool(row.parts) and (run.continues or last_call(session, run.id) is not None)
    leaf = run.message_id if goes_on else row.before
    prepared = prepare_reading(session, run.chat_id, leaf, model, reply_id=run.message_id, shrink=shrink)
    return prepared, row.parts if goes_on else ()


def _longest_answer(context: Context, prepared: Prepared, estimated: int, *, is_priced: bool) -> int | None:
    """What the provider is asked for at most: what the chat says, within what the window leaves; None leaves it to the model."""
    wanted = context.settings.max_tokens or (MOST_AFTER_TOOLS if is_priced else None)
    if wanted is None or not prepared.knows_window:
        return wanted
    room = context.window - round(estimated * prepared.factor)
    return min(wanted, max(room, LEAST_ANSWER))


def _record(
    session: Session,
    run: Claimed,
    prepared: Prepared,
    context: Context,
    messages: Sequence[ContextMessage],
    estimated: int,
    max_tokens: int | None,
    continues: bool,
    options: Mapping[str, float | None],
) -> None:
    request = StepRequest(
        provider=run.provider,
        model_name=run.model_name,
        message_ids=[message.message_id for message in messages if message.message_id is not None],
        system_prompt=context.system_prompt,
        left_out=context.left_out,
        continues=continues,
        max_tokens=max_tokens,
        estimated_tokens=estimated,
        pictures=sum(len(message.pictures) for message in messages),
        tools=[tool.key for tool in prepared.tools],
        **options,
    )
    number = session.scalar(sa.select(sa.func.coalesce(sa.func.max(Step.number), 0)).where(Step.run_id == run.id)) or 0
    session.add(Step(id=new_id(), run_id=run.id, number=number + 1, request=request))


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


def set_aside(session: Session, run: Claimed, call_id: str, cost: Decimal | None) -> None:
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
