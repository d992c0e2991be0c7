"""Build the next model request of a run, record it by reference, and reserve its maximum cost."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.allowances import Allowed
from tertulia.billing.ledger import Granted, Reason, lock_shared, release, reserve_request
from tertulia.billing.limits import Need
from tertulia.billing.models import PlanFeature
from tertulia.billing.tool_ledger import check_hourly_limit
from tertulia.chat.models import ChatSettings, Message
from tertulia.chat.parts import Part, ToolCallPart
from tertulia.chat.service import lock_accounts
from tertulia.context.calls import in_words
from tertulia.context.excerpts import NO_EXCERPTS, Excerpts
from tertulia.context.messages import ContextMessage
from tertulia.context.service import Context, Price, gather_context
from tertulia.context.window import reserve_for_answer
from tertulia.db import Id
from tertulia.ids import new_id
from tertulia.providers.abilities import abilities_of
from tertulia.providers.configs import split_key
from tertulia.providers.protocol import (
    MOST_SEARCHES,
    TOKENS_OF_SEARCH,
    InputFile,
    ModelRequest,
    RequestMessage,
    ToolCall,
    ToolSpec,
)
from tertulia.runs.calls.life import last_call
from tertulia.runs.calls.sources import note_search
from tertulia.runs.errors import CostLimit
from tertulia.runs.lease import ClaimedRun, hold_lease
from tertulia.runs.models import ReplyOptions, SentAs, Step, StepRequest
from tertulia.runs.request.prepare import (
    PreparedPrompt,
    TargetModel,
    prepare_prompt,
    sample_for_tokenizer,
    tokens_of_tools,
)
from tertulia.tools.rules import HOUR, load_rules

CONTINUE_PROMPT = "Continue your last reply exactly where it stops. Repeat nothing of it, and add no introduction."
MIN_ANSWER = 16  # tokens; providers reject a limit of zero
# Where a quota limits what is spent and no length is set, an answer has at most so many tokens.
LONGEST_ANSWER = 16_384
# Our count of a request and a vendor's differ. What is reserved must not be less than what is charged.
ESTIMATE_MARGIN = 1.1


@dataclass(frozen=True)
class PreparedStep:
    request: ModelRequest
    estimated_tokens: int  # of the whole request
    most_tokens: int | None = None  # of the answer, where a quota limits it
    is_tight: bool = False  # a quota leaves less than the answer may need
    most_seconds: int | None = None  # of the answer, where a quota limits it and its time costs
    words_at_end: str | None = None  # which limit ends the answer, and what to do


def start_step(
    session: Session,
    run: ClaimedRun,
    model: TargetModel,
    *,
    continues_prefix: bool,
    shrink: float = 1.0,
    price: Price | None = None,
    searches_cost: Decimal = Decimal(0),
    second_price: Decimal = Decimal(0),
    excerpts: Excerpts = NO_EXCERPTS,
) -> PreparedStep:
    """Record the next request of a run and return it.

    Raises QuotaReached, CostLimit if reading tool results could cost too much, and LeaseLost. `shrink` is
    below 1 after a provider rejected the request as too long. `price` gives the maximum cost of input and output tokens,
    if it is known, `searches_cost` that of web searches, and `second_price` that of a second. `excerpts` are the passages of long files that matter for the
    question.
    """
    hold_lease(session, run)
    prepared, written_parts = prepare_run(session, run, model, shrink=shrink)
    context = gather_context(session, replace(prepared.source, excerpts=excerpts), price=price)
    messages = list(context.messages)
    # After a tool result the model continues without being asked.
    if written_parts and not continues_prefix and not isinstance(written_parts[-1], ToolCallPart):
        messages.append(ContextMessage("user", CONTINUE_PROMPT))
    estimated = sum(message.tokens for message in messages) + tokens_of_tools(prepared.tools)
    call_id = last_call(session, run.id)
    tokens = round(estimated * prepared.factor)
    room = max(context.window - tokens, MIN_ANSWER)
    max_tokens = context.settings.max_tokens
    if max_tokens is not None and prepared.knows_window:
        max_tokens = min(max_tokens, room)
    parameters = _parameters(
        context.settings,
        run.options,
        run.allowed,
        has_tools=bool(prepared.tools),
        has_called=call_id is not None,
    )
    abilities = abilities_of(split_key(run.provider)[0], run.model_name)
    searches = (parameters["web_search"] and abilities.searches) or abilities.always_searches
    most = _with_searches(price, searches_cost) if searches else price
    # Where the provider is known to count more than we do, so much is reserved.
    most_sent = round(max(tokens, estimated) * ESTIMATE_MARGIN) + (MOST_SEARCHES * TOKENS_OF_SEARCH if searches else 0)
    need = Need(most_sent, price=most, second_price=second_price)
    granted = _reserve(session, run, call_id, need, context, max_tokens=max_tokens, room=room)
    if granted.output_tokens is not None:
        max_tokens = granted.output_tokens
    _record(session, run, prepared, context, messages, estimated, max_tokens, bool(written_parts), parameters)
    if searches:
        note_search(session, run.ref)
    request = _model_request(
        run, prepared, context, messages, parameters, max_tokens=max_tokens, tokens=tokens, room=room
    )
    return PreparedStep(
        request, estimated, granted.output_tokens, granted.is_tight, granted.seconds, granted.words_at_end
    )


def _with_searches(price: Price | None, searches_cost: Decimal) -> Price | None:
    if price is None:
        return None

    def most(input_tokens: int, output_tokens: int) -> Decimal | None:
        cost = price(input_tokens, output_tokens)
        return None if cost is None else cost + searches_cost

    return most


def _reserve(
    session: Session,
    run: ClaimedRun,
    call_id: str | None,
    need: Need,
    context: Context,
    *,
    max_tokens: int | None,
    room: int,
) -> Granted:
    """Reserve the most that a request may take. Raises QuotaReached, and CostLimit if it reads tool results.

    The reply may use the model's own maximum, so its cost is reserved by forecast. Only where a quota limits it, it gets
    no more tokens than are granted.
    """
    lock_accounts(session, run.chat_id, run.payer_id)
    lock_shared(session, run.chat_id)
    forecast = reserve_for_answer(context.window, max_tokens)
    if call_id is not None:
        release(session, run.id)  # the reservation of an earlier attempt
        check_cost_of_reading(session, run, need.known_cost(forecast))
    return reserve_request(
        session,
        run.ref.payer,
        Reason(run.message_id, run.id, call_id),
        replace(need, output_tokens=forecast),
        provider=split_key(run.provider)[0],
        model_name=run.model_name,
        longest_answer=max_tokens or min(LONGEST_ANSWER, room),
    )


def _model_request(
    run: ClaimedRun,
    prepared: PreparedPrompt,
    context: Context,
    messages: Sequence[ContextMessage],
    parameters: Mapping[str, Any],
    *,
    max_tokens: int | None,
    tokens: int,
    room: int,
) -> ModelRequest:
    tools = tuple(ToolSpec(tool.wire_name, tool.tool.description, tool.tool.parameters) for tool in prepared.tools)
    wired = (part for message in messages for part in _wire_messages(message, context, bool(tools)))
    return ModelRequest(
        run.model_name,
        _pictures_to_people(wired),
        max_tokens=max_tokens,
        tools=tools,
        # The id says nothing to the vendor, and a chat's requests share their beginning.
        cache_key=run.chat_id.replace("-", ""),
        window=context.window,
        tokens=tokens,
        room=room if prepared.knows_window else None,
        effort=parameters["reasoning_effort"],
        **{name: value for name, value in parameters.items() if name != "reasoning_effort"},
    )


def _parameters(
    settings: ChatSettings, options: ReplyOptions, allowed: Allowed, *, has_tools: bool, has_called: bool
) -> dict[str, Any]:
    """Return what the request asks of the model: the settings of the chat, and of this reply instead of them.

    A call is required only once for each reply: otherwise it would never end.
    """
    names = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "verbosity", "parallel_tool_calls")
    parameters = {name: getattr(settings, name) for name in names}
    choice = "auto" if settings.tool_choice == "required" and has_called else settings.tool_choice
    searches = settings.web_search if options.web_search is None else options.web_search
    draws = settings.make_pictures if options.make_pictures is None else options.make_pictures
    return parameters | {
        "tool_choice": choice if has_tools else None,
        "parallel_tool_calls": parameters["parallel_tool_calls"] if has_tools else None,
        "reasoning_effort": options.reasoning_effort or settings.reasoning_effort,
        "web_search": bool(searches) and allowed.feature(PlanFeature.WEB_SEARCH),
        "make_pictures": bool(draws) and allowed.feature(PlanFeature.PICTURES),
    }


def sample_for_run(session: Session, run: ClaimedRun, model: TargetModel) -> str | None:
    """Return text to count before the first request; None if there is too little or the factor is known."""
    return sample_for_tokenizer(session, prepare_run(session, run, model)[0].source.leaf, model)


def prepare_run(
    session: Session, run: ClaimedRun, model: TargetModel, *, shrink: float = 1.0
) -> tuple[PreparedPrompt, Sequence[Part]]:
    """Prepare the next request of a run, and return with it the parts of the reply that it continues, if any."""
    row = session.execute(
        sa.select(
            sa.func.coalesce(Message.previous_message_id, Message.parent_message_id, type_=Id()).label("before"),
            Message.parts,
        ).where(Message.id == run.message_id)
    ).one()
    continues = bool(row.parts) and (run.continues or last_call(session, run.id) is not None)
    leaf = run.message_id if continues else row.before
    prepared = prepare_prompt(
        session,
        run.chat_id,
        leaf,
        model,
        reply_id=run.message_id,
        shrink=shrink,
        web_search=run.options.web_search,
    )
    return prepared, row.parts if continues else ()


def _record(
    session: Session,
    run: ClaimedRun,
    prepared: PreparedPrompt,
    context: Context,
    messages: Sequence[ContextMessage],
    estimated: int,
    max_tokens: int | None,
    continues: bool,
    parameters: Mapping[str, Any],
) -> None:
    request = StepRequest(
        provider=run.provider,
        model_name=run.model_name,
        message_ids=[message.message_id for message in messages if message.message_id is not None],
        system_prompt=context.system_prompt,
        left_out=context.left_out,
        omissions=context.omissions,
        continues=continues,
        max_tokens=max_tokens,
        estimated_tokens=estimated,
        pictures=sum(len(message.pictures) for message in messages),
        files=[
            SentAs(name=file.name, as_file=file.whole is not None)
            for item in messages
            for file in item.files
            if not file.is_excerpt
        ],
        tools=[tool.key for tool in prepared.tools],
        **parameters,
    )
    number = session.scalar(sa.select(sa.func.coalesce(sa.func.max(Step.number), 0)).where(Step.run_id == run.id)) or 0
    session.add(Step(id=new_id(), run_id=run.id, number=number + 1, request=request))


def _wire_messages(message: ContextMessage, context: Context, has_tools: bool) -> Iterator[RequestMessage]:
    """Yield the wire messages of a message: each turn with tool calls and their results, then the text.

    If no tools are offered, calls are written as text: many providers reject tool messages without tools.
    """
    if message.turns and not has_tools:
        texts = [in_words(turn) for turn in message.turns]
        yield RequestMessage(message.role, "\n\n".join(filter(None, [*texts, message.whole_text])))
        return
    for turn in message.turns:
        calls = tuple(ToolCall(call.id, call.name, call.arguments, _opened(call.echo)) for call in turn.calls)
        yield RequestMessage("assistant", turn.text, tool_calls=calls, echo=_opened(turn.echo))
        for call in turn.calls:
            yield RequestMessage("tool", call.result, tool_call_id=call.id)
    if message.whole_text or not message.turns:
        pictures, paths = context.pictures, context.paths
        images = tuple(pictures[picture] for picture in message.pictures if picture in pictures)
        files = tuple(
            InputFile(file.name, file.whole.media_type, "", paths[file.attachment_id])
            for file in message.files
            if file.whole is not None and file.attachment_id in paths
        )
        yield RequestMessage(message.role, message.whole_text, images, files, echo=_opened(message.echo))


def _pictures_to_people(messages: Iterable[RequestMessage]) -> tuple[RequestMessage, ...]:
    """Move the pictures that a model made to the next message of a person: no vendor takes them in a reply."""
    moved: list[RequestMessage] = []
    waiting: tuple[str, ...] = ()
    for message in messages:
        if message.role == "assistant":
            waiting += message.images
            message = replace(message, images=())
        elif message.role == "user" and waiting:
            message = replace(message, images=waiting + message.images)
            waiting = ()
        moved.append(message)
    return tuple(moved)


def _opened(echo: str | None) -> Any:
    return None if echo is None else orjson.loads(echo)


def check_cost_of_reading(session: Session, run: ClaimedRun, cost: Decimal | None) -> None:
    """Raise CostLimit if a request that reads tool results could exceed what tools may cost in an hour."""
    limit = load_rules(session, run.payer_id).max_cost_per_hour
    if cost and not check_hourly_limit(session, run.payer_id, cost, limit=limit, since=clock.now() - HOUR):
        raise CostLimit
