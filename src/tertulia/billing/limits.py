"""Decide whether a request may be made: reserve the most that it may take from every limit that applies to it."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.models import User
from tertulia.billing.models import (
    ApiQuota,
    Measure,
    QuotaSetBy,
    QuotaSubject,
    QuotaWindow,
    SumScope,
    UsageLog,
    UsageStatus,
    subject_of,
)
from tertulia.billing.plans import plan_of
from tertulia.billing.sums import ANY_KIND, LEDGER_SCOPES, Spent, project_of, sum_windows
from tertulia.billing.windows import SLIDING, Window, window_at, zone_of
from tertulia.db import Prepared
from tertulia.db.types import MILLIONTH

# A function of input and output tokens that gives the most they cost in dollars; None: the price is unknown.
Price = Callable[[int, int], Decimal | None]
LEAST_ANSWER = 64  # tokens of an answer that are worth a request
# How long a request of a model with a price per hour may take, at most: the longest time that fits.
TIMES_S = (600, 120, 30)
NOTED_SHARES = (100, 80, 50)  # percent of a limit at which people are notified


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
    subject_id: str
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


_SUBJECT_COLUMNS = (
    "user_id",
    "role",
    "plan_id",
    "chat_id",
    "api_token_id",
    "project_id",
)  # in the order of QuotaSubject
_QUOTA_COLUMNS = (
    *_SUBJECT_COLUMNS,
    "id",
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
QUOTA_COLUMNS = tuple(getattr(ApiQuota, name) for name in _QUOTA_COLUMNS)
_USER = _bind("user", User.id)
# One indexed lookup for each kind of subject. Most people have no quotas, and pay only for this.
APPLICABLE = Prepared(
    sa.select(*QUOTA_COLUMNS).where(
        sa.or_(
            ApiQuota.user_id == _USER,
            ApiQuota.role == sa.select(User.role).where(User.id == _USER).scalar_subquery(),
            ApiQuota.plan_id == plan_of(_USER, _bind("now", ApiQuota.created_at)),
            ApiQuota.chat_id == _bind("chat", ApiQuota.chat_id),
            ApiQuota.api_token_id == _bind("token", ApiQuota.api_token_id),
            ApiQuota.project_id == project_of(_bind("chat", ApiQuota.chat_id)),
        )
    )
)
_ZONES = Prepared(sa.select(User.preferences, User.former_zone, User.former_zone_until).where(User.id == _USER))


@dataclass(frozen=True)
class Zones:
    """The time zones in which a payer's windows begin: of their own limits, and of those that administrators set.

    A zone that the person changes counts for administrators' limits from the next month on. Otherwise a person could
    begin a new day whenever a limit is reached. Limits that others set, on a chat or a project, are in their zones, and
    those that administrators set on them in UTC.
    """

    own: ZoneInfo
    of_admins: ZoneInfo
    of_others: Mapping[str, ZoneInfo] = field(default_factory=dict)

    def of(self, quota: "Quota") -> ZoneInfo:
        if quota.owner_id is None:
            # Several people spend there, so it has one zone for all.
            return zone_of(None) if quota.subject[0].is_shared else self.of_admins
        return self.of_others.get(quota.owner_id, self.own)


def find_zones(session: Session, user_id: str, now: datetime, owner_ids: Collection[str] = ()) -> Zones:
    """Return the time zones of a payer, and of others who set limits that apply to them."""
    row = _ZONES.first(session, user=user_id)
    if row is None:
        return Zones(zone_of(None), zone_of(None))
    preferences, former, former_until = row
    own = zone_of(preferences.time_zone)
    is_former = former_until is not None and former_until > now
    others: dict[str, ZoneInfo] = {}
    for owner_id in owner_ids:
        of_owner = _ZONES.first(session, user=owner_id)
        others[owner_id] = zone_of(of_owner[0].time_zone if of_owner else None)
    return Zones(own, zone_of(former) if is_former else own, others)


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota that applies to a payer: the columns of `api_quota`, without the cost of a row that can be changed."""

    subject: tuple[QuotaSubject, str]
    id: str
    owner_id: str | None
    window: QuotaWindow
    is_sliding: bool
    max_requests: int | None
    max_messages: int | None
    max_tokens: int | None
    max_input_tokens: int | None
    max_output_tokens: int | None
    max_cost: Decimal | None
    max_storage_bytes: int | None

    @property
    def set_by(self) -> QuotaSetBy:
        return QuotaSetBy.ADMIN if self.owner_id is None else QuotaSetBy.PERSON


def quota_of(row: Sequence[Any]) -> Quota:
    """Return the quota of a row with QUOTA_COLUMNS."""
    subjects = len(_SUBJECT_COLUMNS)
    return Quota(subject_of(*row[:subjects]), *row[subjects:])


def find_quotas(session: Session, payer: Payer) -> tuple[list[Quota], Zones]:
    """Return the quotas that apply to a payer, and the payer's time zones."""
    now = clock.now()
    rows = APPLICABLE.all(session, user=payer.user_id, now=now, chat=payer.chat_id, token=payer.api_token_id)
    if not rows:
        return [], Zones(zone_of(None), zone_of(None))
    quotas = [quota_of(row) for row in rows]
    others = {quota.owner_id for quota in quotas if quota.owner_id is not None} - {payer.user_id}
    return quotas, find_zones(session, payer.user_id, now, others)


def read_limits(session: Session, payer: Payer, quotas: Sequence[Quota], zones: Zones, now: datetime) -> list[Limit]:
    """Return the limits of quotas in the windows of a moment. Messages and storage are counted elsewhere."""
    measured: list[tuple[Quota, Window, list[tuple[Measure, int | Decimal]]]] = []
    for quota in quotas:
        maxima = [(measure, most) for measure, most in _maxima(quota) if most is not None]
        if maxima:
            window = window_at(quota.window, now, zones.of(quota), is_sliding=quota.is_sliding)
            measured.append((quota, window, maxima))
    meter = Meter(session, payer, [(quota, window.starts_at) for quota, window, _ in measured])
    limits: list[Limit] = []
    for quota, window, maxima in measured:
        spent, reserved = meter.read(quota, window.starts_at)
        limits += [
            _limit(quota, window, measure, most, _amount(spent, measure), _amount(reserved, measure))
            for measure, most in maxima
        ]
    return limits


class Meter:
    """What was spent where quotas count since the starts of several windows, read with one query for each place."""

    def __init__(self, session: Session, payer: Payer, wanted: Sequence[tuple[Quota, datetime]]) -> None:
        self._payer = payer
        starts: dict[tuple[SumScope, str], list[datetime]] = {}
        for quota, since in wanted:
            known = starts.setdefault(place_of(quota.subject, payer), [])
            if since not in known:
                known.append(since)
        self._spent = {place: sum_windows(session, *place, since) for place, since in starts.items()}

    def read(self, quota: Quota, since: datetime) -> tuple[Spent, Spent]:
        """Return what is settled since a moment, and what is reserved."""
        windows = self._spent[place_of(quota.subject, self._payer)]
        return windows.settled[since], windows.reserved


def place_of(subject: tuple[QuotaSubject, str], payer: Payer) -> tuple[SumScope, str]:
    """Return which sums count for a quota: those of its chat, token or project, or of the payer alone."""
    match subject:
        case QuotaSubject.CHAT, chat_id:
            return SumScope.CHAT, chat_id
        case QuotaSubject.TOKEN, token_id:
            return SumScope.TOKEN, token_id
        case QuotaSubject.PROJECT, project_id:
            return SumScope.PROJECT, project_id
    return SumScope.USER, payer.user_id


def _maxima(quota: Quota) -> Iterator[tuple[Measure, int | Decimal | None]]:
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
    quota: Quota,
    window: Window,
    measure: Measure,
    most: int | Decimal,
    used: Decimal,
    reserved: Decimal,
) -> Limit:
    return Limit(
        quota.id,
        *quota.subject,
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
    second_price: Decimal = Decimal(0)  # dollars, of a model with a price per hour
    seconds: int = TIMES_S[0]

    def known_cost(self, output_tokens: int) -> Decimal | None:
        """Return the highest cost with an answer of so many tokens; None if the price is unknown."""
        if self.price is None:
            return self.cost
        cost = self.price(self.input_tokens, output_tokens)
        return None if cost is None else cost + (self.second_price * self.seconds).quantize(MILLIONTH, ROUND_UP)

    def cost_with(self, output_tokens: int) -> Decimal:
        """Return the highest cost with an answer of so many tokens. An unknown price counts as nothing."""
        return self.known_cost(output_tokens) or Decimal(0)


@dataclass(frozen=True)
class Fit:
    """How much of a request fits: the tokens that the answer may have and its seconds, or the limit that refuses it.

    `is_near_limit`: with all that is reserved, a share of a limit is reached of which people are notified.
    """

    output_tokens: int
    refused_by: Limit | None = None
    is_near_limit: bool = False
    seconds: int = TIMES_S[0]
    tightest: Limit | None = None  # that makes the answer shorter than it could be


def fit_time(need: Need, limits: Sequence[Limit]) -> Fit:
    """Return how long the answer and its time may be. Only a model with a price per hour gets less time. Pure."""
    fitting = fit(need, limits)
    for seconds in TIMES_S[1:] if need.second_price else ():
        if fitting.refused_by is None:
            break
        fitting = fit(replace(need, seconds=seconds), limits)
    return fitting


def fit(need: Need, limits: Sequence[Limit], *, least_answer: int = LEAST_ANSWER) -> Fit:
    """Return how long the answer may be within every limit; refused if not even a short one fits. Pure."""
    answer = need.output_tokens
    least = min(least_answer, need.output_tokens)
    tightest: Limit | None = None
    for limit in limits:
        room = _room_for_answer(need, limit, answer)
        if room < least:
            return Fit(0, limit, seconds=need.seconds)
        if room < answer:
            answer, tightest = room, limit
    is_near_limit = any(_reaches_share(need, limit, answer) for limit in limits)
    return Fit(answer, is_near_limit=is_near_limit, seconds=need.seconds, tightest=tightest)


def _reaches_share(need: Need, limit: Limit, answer: int) -> bool:
    taken = limit.used + limit.reserved + needed_of(need, limit.measure, answer)
    return limit.most > 0 and taken * 100 >= limit.most * NOTED_SHARES[-1]


def needed_of(need: Need, measure: Measure, answer: int) -> Decimal:
    """Return how much of a measure a request takes with an answer of so many tokens."""
    match measure:
        case "requests":
            return Decimal(need.requests)
        case "input_tokens":
            return Decimal(need.input_tokens)
        case "output_tokens":
            return Decimal(answer)
        case "tokens":
            return Decimal(need.input_tokens + answer)
        case "cost":
            return need.cost_with(answer)
        case "messages" | "storage":
            return Decimal(0)


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
    scope, scope_id = place_of((limit.subject, limit.subject_id), payer)
    oldest = session.scalar(
        sa.select(sa.func.min(UsageLog.created_at, type_=UsageLog.created_at.type)).where(
            LEDGER_SCOPES[scope] == scope_id,
            ANY_KIND,
            UsageLog.created_at >= limit.starts_at,
            UsageLog.status != UsageStatus.RELEASED,
        )
    )
    return (oldest or now) + SLIDING[limit.window] + timedelta(seconds=1)
