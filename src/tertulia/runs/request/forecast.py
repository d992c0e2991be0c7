"""Forecast what the next message of a chat costs: expected, at most, and with a cheaper model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.billing.forecast import Habits, habits_of, read_past
from tertulia.billing.limits import TIMES_S, Payer, find_quotas
from tertulia.db.types import MILLIONTH
from tertulia.providers.configs import split_key
from tertulia.providers.model_catalogue import ModelChoice, ResolvedModel
from tertulia.providers.pricing import find_pricings
from tertulia.providers.protocol import MOST_SEARCHES, TOKENS_OF_SEARCH, Usage
from tertulia.providers.reply_lengths import longest_reply
from tertulia.runs.calls.proposing import MAX_CALLS
from tertulia.runs.request.build import ESTIMATE_MARGIN, LONGEST_ANSWER

CHARACTERS_PER_TOKEN = 4
TOKENS_OF_PICTURE = 1000
MUCH_CHEAPER = Decimal("0.5")  # a model is offered if it costs at most this share
MAX_COMPARED = 200  # models of a provider


class CheaperModel(TypedDict):
    """A model of the same provider that costs at most half. The dearest of these: it is the nearest."""

    provider: str
    model_name: str
    expected_cost: Decimal


class ModelForecast(TypedDict):
    """What a reply of a model is likely to cost in dollars. Costs are null where the price is unknown.

    `low_cost` and `high_cost` differ if replies make several requests because of tools: eight of ten cost between them.
    `most_cost` cannot be passed. `cheaper` is null unless it was requested.
    """

    provider: str
    model_name: str
    input_tokens: int
    answer_tokens: int
    expected_cost: Decimal | None
    low_cost: Decimal | None
    high_cost: Decimal | None
    most_cost: Decimal | None
    cheaper: CheaperModel | None


class ForecastRead(TypedDict):
    """What the next message costs, by model and in all. The sums are null if any price is unknown."""

    items: list[ModelForecast]
    expected_cost: Decimal | None
    low_cost: Decimal | None
    high_cost: Decimal | None
    most_cost: Decimal | None


@dataclass(frozen=True)
class NextRequest:
    """What the next request would send, in tokens, and how long its answer may be; None: as long as there is room."""

    tokens: int
    window: int
    longest_answer: int | None = None
    has_tools: bool = False
    call_costs: Sequence[Decimal] = ()  # the most that a call of each tool may cost
    most_of_calls: Decimal = Decimal(0)  # what all calls of a reply may cost
    searches: bool = False  # with the vendor's own web search


def tokens_of_next(characters: int, pictures: int = 0) -> int:
    """Estimate the tokens of a message by its characters, with those of its files, and by its pictures."""
    return -(-characters // CHARACTERS_PER_TOKEN) + pictures * TOKENS_OF_PICTURE


def forecast_reply(
    session: Session,
    actor: Actor,
    chat_id: str | None,
    request: NextRequest,
    choice: ModelChoice,
    resolved: ResolvedModel,
    alternatives: Sequence[ModelChoice] = (),
) -> ModelForecast:
    """Estimate what a reply of one model costs. `alternatives` are the models among which a cheaper one is sought."""
    vendor = split_key(choice.provider)[0]
    habits = habits_of(read_past(session, actor.user_id, chat_id, vendor, choice.model_name))
    tokens = min(request.tokens, request.window)
    most_answer = request.longest_answer or _longest_answer(
        session, Payer(actor.user_id, chat_id), choice.model_name, room=max(request.window - tokens, 1)
    )
    habits = replace(habits, answer_tokens=min(habits.answer_tokens, most_answer))
    cost_of_request = _cost_of_request(resolved, tokens, habits)
    few, usual, many = _requests(habits, has_tools=request.has_tools)
    calls = request.call_costs or [Decimal(0)]
    most = resolved.price(min(round(tokens * ESTIMATE_MARGIN), request.window), most_answer)
    # Of each request: its time, if it costs, and its searches.
    extra = resolved.pricing.second_price * TIMES_S[0]
    if request.searches:
        extra += resolved.pricing.most_of_searches() + (
            resolved.price(MOST_SEARCHES * TOKENS_OF_SEARCH, 0) or Decimal(0)
        )
    most = None if most is None else most + extra
    if request.has_tools:  # what tools return can fill the window in each further request
        further = resolved.price(request.window, most_answer)
        most = None if most is None or further is None else most + MAX_CALLS * (further + extra) + request.most_of_calls
    return {
        "provider": choice.provider,
        "model_name": choice.model_name,
        "input_tokens": tokens,
        "answer_tokens": habits.answer_tokens,
        "expected_cost": _times(cost_of_request, usual, sum(calls, Decimal(0)) / len(calls)),
        "low_cost": _times(cost_of_request, few, min(calls)),
        "high_cost": _times(cost_of_request, many, max(calls)),
        "most_cost": most,
        "cheaper": _find_cheaper(session, alternatives, tokens, habits, cost_of_request, usual),
    }


def _longest_answer(session: Session, payer: Payer, model_name: str, *, room: int) -> int:
    """Return the most tokens of an answer for which no length is set: quotas limit it, else the model, else its window."""
    quotas, _ = find_quotas(session, payer)
    return min(LONGEST_ANSWER if quotas else longest_reply(model_name) or room, room)


def sum_forecasts(items: list[ModelForecast]) -> ForecastRead:
    """Add up the forecasts of the models that reply to one message."""
    return {
        "items": items,
        "expected_cost": _total([item["expected_cost"] for item in items]),
        "low_cost": _total([item["low_cost"] for item in items]),
        "high_cost": _total([item["high_cost"] for item in items]),
        "most_cost": _total([item["most_cost"] for item in items]),
    }


def _requests(habits: Habits, *, has_tools: bool) -> tuple[float, float, float]:
    if not has_tools:
        return 1, 1, 1
    return habits.few_requests, habits.usual_requests, max(habits.many_requests, habits.few_requests)


def _cost_of_request(resolved: ResolvedModel, tokens: int, habits: Habits) -> Decimal | None:
    usage = Usage(tokens, habits.answer_tokens, cached_tokens=int(tokens * habits.cached_share))
    return resolved.pricing.cost(usage, at=clock.now(), seconds=habits.seconds)


def _find_cheaper(
    session: Session,
    alternatives: Sequence[ModelChoice],
    tokens: int,
    habits: Habits,
    cost_of_request: Decimal | None,
    requests: float,
) -> CheaperModel | None:
    if not cost_of_request or not alternatives:
        return None
    pricing_of = find_pricings(session, split_key(alternatives[0].provider)[0])
    best: CheaperModel | None = None
    for choice in alternatives[:MAX_COMPARED]:
        usage = Usage(tokens, habits.answer_tokens)
        cost = pricing_of(choice.model_name).cost(usage, at=clock.now(), seconds=habits.seconds)
        if cost is None or cost > cost_of_request * MUCH_CHEAPER:
            continue
        expected = cost * Decimal(str(requests))
        if best is None or expected > best["expected_cost"]:
            best = {
                "provider": choice.provider,
                "model_name": choice.model_name,
                "expected_cost": expected.quantize(MILLIONTH),
            }
    return best


def _times(cost: Decimal | None, requests: float, cost_of_call: Decimal) -> Decimal | None:
    """Return the cost of a reply of so many requests, each but the last with a tool call."""
    if cost is None:
        return None
    count = Decimal(str(requests))
    return (cost * count + cost_of_call * (count - 1)).quantize(MILLIONTH)


def _total(costs: Sequence[Decimal | None]) -> Decimal | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if len(known) == len(costs) else None
