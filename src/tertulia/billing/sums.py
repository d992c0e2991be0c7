"""Keep sums of the ledger in the transactions that change it, and read them for any period."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.models import SumScope, UsageKind, UsageLog, UsageStatus, UsageSum
from tertulia.db import Id, Prepared, at_end, rowcount, table_of

QUARTER = timedelta(minutes=15)
DAY = timedelta(days=1)
QUARTER_MINUTES, DAY_MINUTES = 15, 1440
# Payers change the sums of everybody in one of these, so that on PostgreSQL they rarely wait for each other.
SHARDS = {"sqlite": 1, "postgresql": 8}


@dataclass(frozen=True)
class Amounts:
    """What an entry of the ledger adds to the sums. The names are those of the columns."""

    requests: int = 0
    replies: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    thinking_tokens: int = 0
    cache_savings: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    unknown_costs: int = 0
    estimated: int = 0


# The id of the sums of entries without a chat, such as corrections, and of what deleted accounts spent.
NO_CHAT = "00000000-0000-0000-0000-000000000000"
NAMES = tuple(field.name for field in fields(Amounts))


@dataclass(frozen=True)
class Place:
    """Where an entry counts: who paid, in which chat and project, by which token, when, and for which model or tool."""

    user_id: str
    chat_id: str | None
    project_id: str | None
    api_token_id: str | None
    kind: UsageKind
    provider: str
    model_name: str
    moment: datetime


def quarter_of(moment: datetime) -> datetime:
    """Return the start of the quarter of an hour that contains a moment in UTC."""
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


def day_of(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _adding(insert: Any) -> Prepared:
    """Build a statement that adds amounts to a sum, which it creates if there is none."""
    table = table_of(UsageSum)
    statement = insert(table)
    return Prepared(
        statement.on_conflict_do_update(
            index_elements=list(table.primary_key.columns),
            set_={name: table.c[name] + statement.excluded[name] for name in NAMES},
        )
    )


_ADD = {"sqlite": _adding(sqlite.insert), "postgresql": _adding(postgresql.insert)}


def add_to_sums(session: Session, place: Place, amounts: Amounts) -> None:
    """Add an entry to every sum that contains it. The caller holds the payer's lock."""
    _add(session, SumScope.USER, place.user_id, place.user_id, place, amounts)
    _add(session, SumScope.CHAT, place.chat_id or NO_CHAT, place.user_id, place, amounts)
    if place.api_token_id is not None:
        _add(session, SumScope.TOKEN, place.api_token_id, place.user_id, place, amounts)
    if place.project_id is not None:
        _add(session, SumScope.PROJECT, place.project_id, place.user_id, place, amounts)
    # Others change these, too. Their rows are locked only while this unit of work is committed.
    shard = shard_of(place.user_id, session.get_bind().dialect.name)
    at_end(session, lambda later: _add(later, SumScope.EVERYONE, shard, shard, place, amounts))


def shard_of(user_id: str, dialect: str) -> str:
    """Return the id of the sums of everybody that a user's entries are added to."""
    return f"00000000-0000-0000-0000-{int(user_id[-4:], 16) % SHARDS[dialect]:012x}"


def _add(session: Session, scope: SumScope, scope_id: str, user_id: str, place: Place, amounts: Amounts) -> None:
    statement = _ADD[session.get_bind().dialect.name]
    for span, starts_at in ((DAY_MINUTES, day_of(place.moment)), (QUARTER_MINUTES, quarter_of(place.moment))):
        statement.run(
            session,
            scope=scope,
            scope_id=scope_id,
            span_minutes=span,
            starts_at=starts_at,
            user_id=user_id,
            kind=place.kind,
            provider=place.provider,
            model_name=place.model_name,
            **vars(amounts),
            created_at=clock.now(),
        )


@dataclass(frozen=True)
class Period:
    """A period that begins and ends with quarters of an hour, as spans of whole days in UTC and quarters around them."""

    since: datetime
    until: datetime

    def conditions(self, *, by_quarter: bool = False) -> list[sa.ColumnElement[bool]]:
        """Return which sums to add up, each moment once: one condition per index range, because SQLite scans for an OR.

        `by_quarter`: only quarters, to group them by local days.
        """
        first_day, last_day = _days_within(self.since, self.until)
        if by_quarter or first_day >= last_day:
            return [_starts(QUARTER_MINUTES, self.since, self.until)]
        spans = (
            (DAY_MINUTES, first_day, last_day),
            (QUARTER_MINUTES, self.since, first_day),
            (QUARTER_MINUTES, last_day, self.until),
        )
        return [_starts(span, since, until) for span, since, until in spans if since < until]


def _days_within(since: datetime, until: datetime) -> tuple[datetime, datetime]:
    first = day_of(since)
    return (first if first == since else first + DAY), day_of(until)


def _starts(span: int, since: datetime, until: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(UsageSum.span_minutes == span, UsageSum.starts_at >= since, UsageSum.starts_at < until)


def whole_quarters(since: datetime, until: datetime) -> Period:
    """Return the period in whole quarters of an hour that contains a period."""
    begin, end = quarter_of(since), quarter_of(until)
    return Period(begin, end if end == until else end + QUARTER)


def split_period(since: datetime, until: datetime) -> tuple[Period | None, list[Period]]:
    """Return the whole quarters of an hour within a period, and the parts of quarters at its ends."""
    begin, end = quarter_of(since), quarter_of(until)
    if begin < since:
        begin += QUARTER
    if begin >= end:
        edges = [Period(since, until)] if begin > end else [Period(since, begin), Period(begin, until)]
        return None, [edge for edge in edges if edge.since < edge.until]
    edges = [Period(since, begin), Period(end, until)]
    return Period(begin, end), [edge for edge in edges if edge.since < edge.until]


@dataclass(frozen=True)
class Spent:
    """What counts against limits: requests to models, tokens, and dollars of models and tools."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost + other.cost,
        )


def _bind(name: str, column: Any) -> Any:
    return sa.bindparam(name, type_=column.type)


def total(column: Any, name: str) -> Any:
    return sa.type_coerce(sa.func.coalesce(sa.func.sum(column), 0), column.type).label(name)


_SPENT_COLUMNS = ("requests", "input_tokens", "output_tokens", "cost")
LEDGER_SCOPES: dict[SumScope, Any] = {
    SumScope.USER: UsageLog.user_id,
    SumScope.CHAT: UsageLog.chat_id,
    SumScope.TOKEN: UsageLog.api_token_id,
    SumScope.PROJECT: UsageLog.project_id,
}
# Tables of packages above.
_CHAT = sa.table("chat", sa.column("id", Id()), sa.column("project_id", Id()))
CHAT = sa.table("chat", sa.column("id", Id()), sa.column("user_id", Id()), sa.column("title", sa.String()))
PROJECT = sa.table("project", sa.column("id", Id()), sa.column("name", sa.String()))


def project_of(chat_id: Any) -> Any:
    """Build the expression for the project that a chat is in now."""
    return sa.select(_CHAT.c.project_id).where(_CHAT.c.id == chat_id).scalar_subquery()


# Always true. It lets queries use the index, which has `kind` before `created_at`.
ANY_KIND = (UsageLog.kind == UsageKind.MODEL) | (UsageLog.kind == UsageKind.TOOL)


def _is_request() -> sa.ColumnElement[int]:
    return sa.case(((UsageLog.kind == UsageKind.MODEL) & UsageLog.is_correction.is_(False), 1), else_=0)


def _of_ledger(scope: SumScope) -> Prepared:
    """Build the sum of settled entries at the start of a window that begins within a quarter of an hour."""
    column = LEDGER_SCOPES[scope]
    return Prepared(
        sa.select(
            sa.type_coerce(sa.func.coalesce(sa.func.sum(_is_request()), 0), sa.BigInteger()),
            total(UsageLog.input_tokens, "input_tokens"),
            total(UsageLog.output_tokens, "output_tokens"),
            total(UsageLog.cost, "cost"),
        ).where(
            column == _bind("scope_id", column),
            *((ANY_KIND,) if scope is SumScope.USER else ()),
            UsageLog.created_at >= _bind("since", UsageLog.created_at),
            UsageLog.created_at < _bind("until", UsageLog.created_at),
            UsageLog.status == UsageStatus.SETTLED,
        )
    )


def any_index(column: Any) -> Any:
    """Build an expression of a column of which no index is used, where the index of the open reservations is shorter."""
    return sa.func.coalesce(column, column, type_=column.type)


def _reserved(scope: SumScope) -> sa.Select[*tuple[Any, ...]]:
    column = LEDGER_SCOPES[scope]
    return sa.select(
        sa.literal_column("-1", sa.Integer()).label("window"),
        sa.type_coerce(sa.func.coalesce(sa.func.sum(_is_request()), 0), sa.BigInteger()).label("requests"),
        total(UsageLog.reserved_input_tokens, "input_tokens"),
        total(UsageLog.reserved_output_tokens, "output_tokens"),
        total(UsageLog.reserved_cost, "cost"),
    ).where(
        (column if scope is SumScope.USER else any_index(column)) == _bind("scope_id", column),
        # A literal, which the partial index needs.
        UsageLog.status == sa.literal_column("'reserved'"),
    )


def _span(window: int, minutes: int, since: str, until: str) -> sa.Select[*tuple[Any, ...]]:
    return sa.select(
        sa.literal_column(str(window), sa.Integer()).label("window"),
        *(total(getattr(UsageSum, name), name) for name in _SPENT_COLUMNS),
    ).where(
        UsageSum.scope == _bind("scope", UsageSum.scope),
        UsageSum.scope_id == _bind("scope_id", UsageSum.scope_id),
        UsageSum.span_minutes == minutes,
        UsageSum.starts_at >= _bind(since, UsageSum.starts_at),
        UsageSum.starts_at < _bind(until, UsageSum.starts_at),
    )


@cache
def spent_in_windows(scope: SumScope, windows: int) -> Prepared:
    """Build one query for what is reserved (-1) and, for each window, the quarters up to a day and the days after it."""
    parts = [_reserved(scope)]
    for window in range(windows):
        parts += [
            _span(window, QUARTER_MINUTES, f"since_{window}", f"day_{window}"),
            _span(window, DAY_MINUTES, f"day_{window}", "far"),
        ]
    return Prepared(sa.union_all(*parts))


OF_LEDGER = {scope: _of_ledger(scope) for scope in LEDGER_SCOPES}
FAR = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Windows:
    """What is settled since the starts of windows. What is reserved counts in full in each of them."""

    settled: dict[datetime, Spent]
    reserved: Spent


def sum_windows(session: Session, scope: SumScope, scope_id: str, starts: Sequence[datetime]) -> Windows:
    """Return what was settled since moments, exactly. Later entries count, even if the clock was set back.

    Whole days and quarters come from the sums, and only the part of a quarter at the beginning from the ledger.
    """
    settled = dict.fromkeys(starts, Spent())
    values: dict[str, object] = {"scope": scope, "scope_id": scope_id, "far": FAR}
    edges: list[tuple[datetime, datetime]] = []
    for window, since in enumerate(starts):
        begin = quarter_of(since)
        if begin < since:
            begin += QUARTER
            edges.append((since, begin))
        values |= {f"since_{window}": begin, f"day_{window}": _days_within(begin, FAR)[0]}
    reserved = Spent()
    for window, *sums in spent_in_windows(scope, len(starts)).all(session, **values):
        if window < 0:
            reserved = _read(sums)
        else:
            settled[starts[window]] += _read(sums)
    # After what is reserved: another payer of a project may settle in between, which is then counted twice, never not at all.
    for since, begin in edges:
        settled[since] += _read(OF_LEDGER[scope].first(session, scope_id=scope_id, since=since, until=begin))
    return Windows(settled, reserved)


def _read(row: Sequence[Any] | None) -> Spent:
    assert row is not None
    requests, input_tokens, output_tokens, cost = row
    return Spent(int(requests), int(input_tokens), int(output_tokens), cost or Decimal(0))


# ---- deleted accounts


def forget_spender(session: Session, user_id: str) -> bool:
    """Delete some entries and sums of a deleted account, and keep the amounts without a name. False: none is left."""
    entries = sa.select(UsageLog.id).where(UsageLog.user_id == user_id).limit(500)
    if rowcount(session, sa.delete(UsageLog).where(UsageLog.id.in_(entries))):
        return True
    rows = session.scalars(sa.select(UsageSum).where(UsageSum.user_id == user_id).limit(200)).all()
    statement = _ADD[session.get_bind().dialect.name]
    for row in rows:
        values = {column.key: getattr(row, column.key) for column in table_of(UsageSum).columns}
        if row.scope is SumScope.USER:
            statement.run(session, **values | {"scope_id": NO_CHAT, "user_id": NO_CHAT})
        elif row.scope is SumScope.PROJECT:  # its limit counts what everyone spent
            statement.run(session, **values | {"user_id": NO_CHAT})
        session.delete(row)
    session.flush()
    return bool(rows)
