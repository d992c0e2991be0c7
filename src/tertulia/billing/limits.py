"""Decide whether a request may be made: reserve the most that it may take from every limit that applies to it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.models import Preferences, User
from tertulia.billing.models import (
    ApiQuota,
    QuotaSetBy,
    QuotaSubject,
    QuotaWindow,
    SumScope,
    UsageLog,
    UsageStatus,
)
from tertulia.billing.plans import find_plan_id
from tertulia.billing.sums import ANY_KIND, Spent, sum_reserved, sum_spent
from tertulia.billing.windows import SLIDING, Window, window_at, zone_of
from tertulia.db import Prepared

Measure = Literal["requests", "messages", "tokens", "input_tokens", "output_tokens", "cost", "storage"]
# A function of input and output tokens that gives the most they cost in dollars; None: the price is unknown.
Price = Callable[[int, int], Decimal | None]
LEAST_ANSWER = 64  # tokens of an answer that are worth a request


@dataclass(frozen=True)
class Payer:
    """Who pays for a request, in which chat, and by which API token it was asked for, if by one."""

    user_id: str
    chat_id: str | None = None
    api_token_id: str | None = None


@dataclass(frozen=True)
class Limit:
    """One limit of a quota in its current window, with what is used and reserved. Costs are in dollars."""

    quota_id: str
    subject: QuotaSubject
    set_by: QuotaSetBy
    window: QuotaWindow
    is_sliding: bool
    starts_at: datetime
    resets_at: datetime | None
    measure: Measure
    most: Decimal
    used: Decimal
    reserved: Decimal
    owner_id: str | None = None  # the person who set it

    @property
    def left(self) -> Decimal:
        return max(Decimal(0), self.most - self.used - self.reserved)


def _bind(name: str, column: Any) -> Any:
    return sa.bindparam(name, type_=column.type)


_QUOTA_COLUMNS = (
    "id",
    "user_id",
    "role",
    "plan_id",
    "chat_id",
    "api_token_id",
    "owner_id",
    "window",
    "is_sliding",
    "max_requests",
    "max_messages",
    "max_tokens",
    "max_input_tokens",
    "max_output_tokens",
    "max_cost",
    "max_storage_bytes",
)
# One indexed lookup for each kind of subject. Most people have no quotas, and pay only for this.
APPLICABLE = Prepared(
    sa.select(*(getattr(ApiQuota, name) for name in _QUOTA_COLUMNS)).where(
        sa.or_(
            ApiQuota.user_id == _bind("user", ApiQuota.user_id),
            ApiQuota.role == _bind("role", ApiQuota.role),
            ApiQuota.plan_id == _bind("plan", ApiQuota.plan_id),
            ApiQuota.chat_id == _bind("chat", ApiQuota.chat_id),
            ApiQuota.api_token_id == _bind("token", ApiQuota.api_token_id),
        )
    )
)
_ANY = Prepared(sa.select(ApiQuota.id).limit(1))
_PAYER = Prepared(
    sa.select(User.role, User.preferences, User.former_zone, User.former_zone_until).where(
        User.id == _bind("user", User.id)
    )
)


@dataclass(frozen=True)
class Zones:
    """The time zones in which a person's windows begin: of their own limits, and of those that administrators set.

    A zone that the person changes counts for administrators' limits from the next month on. Otherwise a person could
    begin a new day whenever a limit is reached.
    """

    own: ZoneInfo
    of_admins: ZoneInfo


def find_quotas(session: Session, payer: Payer) -> tuple[list[ApiQuota], Zones]:
    """Return the quotas that apply to a payer, and the payer's time zones."""
    row = _PAYER.first(session, user=payer.user_id) if _ANY.first(session) is not None else None
    if row is None:
        return [], Zones(zone_of(None), zone_of(None))
    role, preferences, former, former_until = row
    assert isinstance(preferences, Preferences)
    own = zone_of(preferences.time_zone)
    is_former = former_until is not None and former_until > clock.now()
    zones = Zones(own, zone_of(former) if is_former else own)
    rows = APPLICABLE.all(
        session,
        user=payer.user_id,
        role=role,
        plan=find_plan_id(session, payer.user_id),
        chat=payer.chat_id,
        token=payer.api_token_id,
    )
    return [ApiQuota(**dict(zip(_QUOTA_COLUMNS, values, strict=True))) for values in rows], zones


class Meter:
    """Reads what a payer has spent, each sum once, for several quotas with the same windows."""

    def __init__(self, session: Session, payer: Payer) -> None:
        self._session = session
        self._payer = payer
        self._sums: dict[tuple[SumScope, str, datetime], Spent] = {}
        self._reserved: dict[tuple[SumScope, str], Spent] = {}

    def read(self, subject: QuotaSubject, since: datetime) -> tuple[Spent, Spent]:
        """Return what is settled since a moment, and what is reserved."""
        place = self._place(subject)
        if (*place, since) not in self._sums:
            self._sums[*place, since] = sum_spent(self._session, *place, since)
        if place not in self._reserved:
            self._reserved[place] = sum_reserved(self._session, *place)
        return self._sums[*place, since], self._reserved[place]

    def _place(self, subject: QuotaSubject) -> tuple[SumScope, str]:
        match subject:
            case QuotaSubject.CHAT:
                return SumScope.CHAT, self._payer.chat_id or ""
            case QuotaSubject.TOKEN:
                return SumScope.TOKEN, self._payer.api_token_id or ""
            case QuotaSubject.USER | QuotaSubject.ROLE | QuotaSubject.PLAN:
                return SumScope.USER, self._payer.user_id


def read_limits(session: Session, payer: Payer, quotas: Sequence[ApiQuota], zones: Zones, now: datetime) -> list[Limit]:
    """Return the limits of quotas in the windows of a moment. Messages and storage are counted elsewhere."""
    meter = Meter(session, payer)
    limits: list[Limit] = []
    for quota in quotas:
        subject, _ = quota.subject
        zone = zones.of_admins if quota.set_by is QuotaSetBy.ADMIN else zones.own
        window = window_at(quota.window, now, zone, is_sliding=quota.is_sliding)
        maxima = [(measure, most) for measure, most in _maxima(quota) if most is not None]
        if not maxima:
            continue
        spent, reserved = meter.read(subject, window.starts_at)
        limits += [
            _limit(quota, subject, window, measure, most, _amount(spent, measure), _amount(reserved, measure))
            for measure, most in maxima
        ]
    return limits


def _maxima(quota: ApiQuota) -> Iterator[tuple[Measure, int | Decimal | None]]:
    yield "requests", quota.max_requests
    yield "tokens", quota.max_tokens
    yield "input_tokens", quota.max_input_tokens
    yield "output_tokens", quota.max_output_tokens
    yield "cost", quota.max_cost


def _amount(spent: Spent, measure: Measure) -> Decimal:
    match measure:
        case "requests":
            return Decimal(spent.requests)
        case "input_tokens":
            return Decimal(spent.input_tokens)
        case "output_tokens":
            return Decimal(spent.output_tokens)
        case "tokens":
            return Decimal(spent.input_tokens + spent.output_tokens)
        case "cost":
            return spent.cost
        case "messages" | "storage":
            raise AssertionError("these are counted where messages and files are")


def _limit(
    quota: ApiQuota,
    subject: QuotaSubject,
    window: Window,
    measure: Measure,
    most: int | Decimal,
    used: Decimal,
    reserved: Decimal,
) -> Limit:
    return Limit(
        quota.id,
        subject,
        quota.set_by,
        quota.window,
        quota.is_sliding,
        window.starts_at,
        window.resets_at,
        measure,
        Decimal(most),
        used,
        reserved,
        quota.owner_id,
    )


@dataclass(frozen=True)
class Need:
    """What a request may take at most. `price` is None for a tool, whose cost is `cost`."""

    input_tokens: int = 0
    output_tokens: int = 0
    requests: int = 1
    price: Price | None = None
    cost: Decimal | None = None  # of a tool call

    def cost_with(self, output_tokens: int) -> Decimal:
        """Return the highest cost with an answer of so many tokens. An unknown price counts as nothing."""
        if self.price is None:
            return self.cost or Decimal(0)
        return self.price(self.input_tokens, output_tokens) or Decimal(0)


@dataclass(frozen=True)
class Fit:
    """How much of a request fits: the tokens that the answer may have, or the limit that refuses it."""

    output_tokens: int
    refused_by: Limit | None = None


def fit(need: Need, limits: Sequence[Limit], *, least_answer: int = LEAST_ANSWER) -> Fit:
    """Return how long the answer may be within every limit; refused if not even a short one fits. Pure."""
    answer = need.output_tokens
    least = min(least_answer, need.output_tokens)
    for limit in limits:
        room = _room_for_answer(need, limit, answer)
        if room < least:
            return Fit(0, limit)
        answer = min(answer, room)
    return Fit(answer)


def _room_for_answer(need: Need, limit: Limit, answer: int) -> int:
    """Return how many of the answer's tokens fit into one limit, below 0 if the request alone does not."""
    left = limit.left
    match limit.measure:
        case "requests":
            return answer if need.requests <= left else -1
        case "input_tokens":
            return answer if need.input_tokens <= left else -1
        case "output_tokens":
            return min(answer, int(left))
        case "tokens":
            return min(answer, int(left) - need.input_tokens)
        case "cost":
            return _affordable(need, left, answer)
        case "messages" | "storage":
            return answer


def _affordable(need: Need, left: Decimal, answer: int) -> int:
    """Return the longest answer up to `answer` whose cost is at most `left`; -1 if none is. The cost grows with it."""
    if need.cost_with(answer) <= left:
        return answer
    if need.cost_with(0) > left:
        return -1
    low, high = 0, answer
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if need.cost_with(middle) <= left else (low, middle - 1)
    return low


def when_room(session: Session, payer: Payer, limit: Limit, now: datetime) -> datetime | None:
    """Return when the limit resets. A sliding window has room again when its oldest entry leaves it."""
    if limit.resets_at is not None:
        return limit.resets_at
    column: Any = {QuotaSubject.CHAT: UsageLog.chat_id, QuotaSubject.TOKEN: UsageLog.api_token_id}.get(
        limit.subject, UsageLog.user_id
    )
    value = {QuotaSubject.CHAT: payer.chat_id, QuotaSubject.TOKEN: payer.api_token_id}.get(limit.subject, payer.user_id)
    oldest = session.scalar(
        sa.select(sa.func.min(UsageLog.created_at, type_=UsageLog.created_at.type)).where(
            column == value,
            ANY_KIND,
            UsageLog.created_at >= limit.starts_at,
            UsageLog.status != UsageStatus.RELEASED,
        )
    )
    return (oldest or now) + SLIDING[limit.window] + timedelta(seconds=1)
