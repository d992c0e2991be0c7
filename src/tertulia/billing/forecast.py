"""Forecast what a reply will take, from the answers that the chat and the model gave before."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.billing.models import UsageKind, UsageLog, UsageStatus
from tertulia.db import Id, Prepared

OF_CHAT = 30  # requests of the chat that are looked at, the newest
OF_USER = 100
USUAL_ANSWER = 400  # tokens, where nothing is known
USUAL_S_PER_TOKEN = 0.05
WEIGHT_OF_USUAL = 1  # it counts as much as so many answers
WEIGHT_OF_MODEL = 3  # the model's answers in other chats count as much as so many of this chat
FEW, MANY = 0.1, 0.9  # shares of the replies with fewer requests than the ends of the range


@dataclass(frozen=True)
class PastRequest:
    """A settled request of a model. `is_here`: it belongs to the chat. Tokens as in the ledger."""

    run_id: str | None
    is_here: bool
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    seconds: float = 0  # from its reservation to its end


@dataclass(frozen=True)
class Habits:
    """What replies of a model usually take.

    `answer_tokens` are those of a request. `cached_share` is the part of its input that comes from the vendor's cache.
    `seconds` is how long a request takes, for models that are priced by the hour. `few_requests` and `many_requests` are
    per reply: eight of ten replies lie between them.
    """

    answer_tokens: int
    cached_share: float
    seconds: float
    few_requests: int
    usual_requests: float
    many_requests: int


def read_past(session: Session, user_id: str, chat_id: str | None, vendor: str, model_name: str) -> list[PastRequest]:
    """Return the newest requests of the chat and of its payer to the model, each once."""
    rows = list(_OF_CHAT.all(session, chat=chat_id)) if chat_id is not None else []
    rows += _OF_USER.all(session, user=user_id)
    past = {
        request_id: PastRequest(
            run_id, chat_id is not None and of_chat == chat_id, sent, written, cached, (end - start).total_seconds()
        )
        for request_id, run_id, of_chat, provider, name, start, end, sent, written, cached in rows
        if (provider, name) == (vendor, model_name)
    }
    return list(past.values())


_SETTLED = (
    sa.select(
        UsageLog.id,
        UsageLog.run_id,
        UsageLog.chat_id,
        UsageLog.provider,
        UsageLog.model_name,
        UsageLog.created_at,
        UsageLog.updated_at,
        UsageLog.input_tokens,
        UsageLog.output_tokens,
        UsageLog.cached_tokens,
    )
    .where(
        UsageLog.kind == UsageKind.MODEL,
        UsageLog.status == UsageStatus.SETTLED,
        ~UsageLog.is_summary,
        ~UsageLog.is_correction,
        UsageLog.output_tokens > 0,
    )
    .order_by(UsageLog.created_at.desc())
)
_OF_CHAT = Prepared(_SETTLED.where(UsageLog.chat_id == sa.bindparam("chat", type_=Id())).limit(OF_CHAT))
_OF_USER = Prepared(_SETTLED.where(UsageLog.user_id == sa.bindparam("user", type_=Id())).limit(OF_USER))


def habits_of(past: Sequence[PastRequest]) -> Habits:
    """Return what the next reply will usually take.

    Lengths are averaged by their logarithms, because few answers are much longer than the others. Answers in other chats
    count less the more the chat has.
    """
    here = [request for request in past if request.is_here]
    usual = _mean([request.output_tokens for request in past if not request.is_here], USUAL_ANSWER, WEIGHT_OF_USUAL)
    answer = _mean([request.output_tokens for request in here], usual, WEIGHT_OF_MODEL)
    inputs = sum(request.input_tokens for request in here)
    timed = [request for request in past if request.seconds > 0]
    written = sum(request.output_tokens for request in timed)
    s_per_token = sum(request.seconds for request in timed) / written if written else USUAL_S_PER_TOKEN
    counts = sorted(Counter(request.run_id for request in past if request.run_id is not None).values()) or [1]
    return Habits(
        max(round(answer), 1),
        sum(request.cached_tokens for request in here) / inputs if inputs else 0.0,
        max(round(answer), 1) * s_per_token,
        _quantile(counts, FEW),
        sum(counts) / len(counts),
        _quantile(counts, MANY),
    )


def _mean(tokens: Sequence[int], usual: float, weight: int) -> float:
    logarithms = sum(math.log(count) for count in tokens) + weight * math.log(usual)
    return math.exp(logarithms / (len(tokens) + weight))


def _quantile(ordered: Sequence[int], share: float) -> int:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
