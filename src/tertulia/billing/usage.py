"""Sum usage for people and administrators, from the sums of the ledger: for any period, and by local days."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

from tertulia import clock
from tertulia.accounts.actor import Actor, require_admin
from tertulia.accounts.models import ApiToken, Membership, User
from tertulia.billing.errors import TooManyGroups
from tertulia.billing.models import SumScope, UsageKind, UsageLog, UsageStatus, UsageSum
from tertulia.billing.schemas import UsageGroup
from tertulia.billing.schemas import UsageSum as UsageSumRead
from tertulia.billing.sums import ANY_KIND, NO_CHAT, PROJECT, QUARTER, Period, split_period, whole_quarters
from tertulia.db.types import EPOCH, MILLIONTH

GroupBy = Literal["day", "provider", "model", "chat", "project", "tool", "token", "user"]
GROUPS: tuple[GroupBy, ...] = ("day", "provider", "model", "chat", "project", "tool", "token", "user")
SOMETIMES: tuple[GroupBy, ...] = ("token", "project")  # what was spent may have none of them
MAX_GROUPS = 5000
DAY_S = 86_400
FIRST = datetime(2020, 1, 1, tzinfo=UTC)  # before this program existed


@dataclass(frozen=True)
class ChatTitles:
    """Service: the titles of chats by id, without chats in the trash. Chats, a package above, provide it."""

    find: Callable[[Session, Collection[str]], dict[str, str]]


@dataclass(frozen=True)
class UsageQuery:
    """What to sum: a period, by which groups, and where days begin and end: a time zone, or an offset from UTC.

    `is_everyone`: of all people, which only administrators may see. Then the period is widened to quarters of an hour.
    """

    since: datetime
    until: datetime
    by: Sequence[GroupBy] = ()
    zone: ZoneInfo | None = None
    utc_offset_s: int = 0
    is_everyone: bool = False
    most: int = MAX_GROUPS

    @property
    def days_in(self) -> tzinfo:
        return self.zone or timezone(timedelta(seconds=self.utc_offset_s))

    def by_day(self) -> Iterator["UsageQuery"]:
        """Yield the query for each local day of the period, newest first. Without days in the groups, only itself."""
        begin, end = max(self.since, FIRST), min(self.until, clock.now() + timedelta(days=2))
        if "day" not in self.by:
            yield self
            return
        while begin < end:
            first = (end - timedelta(microseconds=1)).astimezone(self.days_in).date()
            midnight = datetime.combine(first, time(), self.days_in).astimezone(UTC)
            yield replace(self, since=max(begin, midnight), until=end)
            end = midnight

    def parts(self) -> tuple[Period | None, list[Period]]:
        """Return the quarters of an hour to read from the sums, and the parts of quarters to read from the ledger."""
        if self.is_everyone:
            return whole_quarters(self.since, self.until), []
        return split_period(self.since, self.until)


class day_number(sa.sql.functions.FunctionElement[int]):
    """Days since 1970 of a moment plus an offset in seconds: the day in the user's time zone."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(day_number, "sqlite")
def _day_on_sqlite(element: day_number, compiler: SQLCompiler, **kw: Any) -> str:
    moment, offset = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"(({moment}) + ({offset}) * 1000000) / {DAY_S * 1_000_000}"


@compiles(day_number, "postgresql")
def _day_on_postgresql(element: day_number, compiler: SQLCompiler, **kw: Any) -> str:
    moment, offset = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"CAST(floor((extract(epoch FROM {moment}) + ({offset})) / {DAY_S}) AS bigint)"


def _sum(column: Any) -> Any:
    return sa.type_coerce(sa.func.coalesce(sa.func.sum(column), 0), column.type)


_NAMES = (
    "replies",
    "requests",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "thinking_tokens",
    "cache_savings",
    "cost",
    "unknown_costs",
    "estimated",
)
_SUMS = [_sum(getattr(UsageSum, name)).label(name) for name in _NAMES]


def _count(*conditions: Any) -> Any:
    return sa.func.count().filter(*conditions)


# The same of the entries themselves.
_IS_REQUEST = (UsageLog.kind == UsageKind.MODEL, UsageLog.is_correction.is_(False))
_ENTRY_SUMS = [
    _count(*_IS_REQUEST, UsageLog.tool_execution_id.is_(None), UsageLog.is_summary.is_(False)),
    _count(*_IS_REQUEST),
    *(_sum(getattr(UsageLog, name)) for name in _NAMES[2:9]),
    _count(UsageLog.cost.is_(None)),
    _count(UsageLog.is_estimated),
]


def sum_usage(session: Session, actor: Actor, query: UsageQuery) -> UsageSumRead:
    """Return the sums of a period. Raises AdminOnly for everybody's."""
    (summed,) = _read_groups(session, actor, replace(query, by=[])).values()
    return summed


def group_usage(session: Session, actor: Actor, query: UsageQuery, *, chat_titles: ChatTitles) -> list[UsageGroup]:
    """Return the sums by group, newest day first, then highest cost. Raises TooManyGroups and AdminOnly."""
    groups = _read_groups(session, actor, query)
    for group in SOMETIMES:
        if group in query.by:
            _add_without(group, session, actor, query, groups)
    names = _find_names(session, actor, query, list(groups), chat_titles)
    merged: dict[Key, UsageSumRead] = {}
    for key, summed in groups.items():  # such as those of all deleted chats
        shown = _shown_key(key, query, names)
        merged[shown] = _plus(merged[shown], summed) if shown in merged else summed
    items = [_read_group(key, query.by, names, summed) for key, summed in merged.items()]
    return sorted(items, key=lambda item: (item["day"] or "", item["cost"], item["requests"]), reverse=True)


Key = tuple[Any, ...]


def _read_groups(session: Session, actor: Actor, query: UsageQuery) -> dict[Key, UsageSumRead]:
    """Return the sums by the values that they are grouped by. Without groups, there is exactly one."""
    whole, edges = query.parts()
    statements = grouped(actor, query, whole) if whole is not None else []
    statements += [_grouped_entries(actor, query, edge) for edge in edges]
    groups: dict[Key, UsageSumRead] = {} if query.by else {(): _read_sum([0] * len(_NAMES))}
    for statement in statements:
        for row in session.execute(statement):
            key, summed = tuple(row[: len(query.by)]), _read_sum(row[len(query.by) :])
            groups[key] = _plus(groups[key], summed) if key in groups else summed
    if len(groups) > query.most:
        raise TooManyGroups(query.most)
    return groups


def _shown_key(key: Key, query: UsageQuery, names: "Names") -> Key:
    """Return the values of a group as they are shown: None for a chat or a user that no longer exists."""
    return tuple(
        None
        if value == NO_CHAT
        or (
            group in ("chat", "project", "user")
            and (group, value) not in names
            and not (group != "user" and query.is_everyone)
        )
        else value
        for group, value in zip(query.by, key, strict=True)
    )


def _add_without(
    absent: GroupBy, session: Session, actor: Actor, query: UsageQuery, groups: dict[Key, UsageSumRead]
) -> None:
    """Add the groups of what was spent without a token or a project: all of it, less what they took."""
    at = query.by.index(absent)
    others = replace(query, by=[group for group in query.by if group != absent])
    left = _read_groups(session, actor, others)
    for key, summed in groups.items():
        place = (*key[:at], *key[at + 1 :])
        left[place] = _plus(left[place], summed, sign=-1)
    groups |= {(*key[:at], None, *key[at:]): summed for key, summed in left.items() if any(summed.values())}


def _plus(first: UsageSumRead, second: UsageSumRead, *, sign: int = 1) -> UsageSumRead:
    return {name: value + sign * second[name] for name, value in first.items()}  # type: ignore[literal-required,return-value]


def grouped(actor: Actor, query: UsageQuery, period: Period) -> list[sa.Select[*tuple[Any, ...]]]:
    """Build the queries of the groups from the sums, whose results are to be added."""
    scope = _scope_of(query)
    # An expression, because SQLite would read the whole scope in the order of its key to group by the key's column.
    owner = sa.func.coalesce(UsageSum.scope_id, UsageSum.scope_id, type_=UsageSum.scope_id.type)
    columns: dict[GroupBy, Any] = {
        "day": _day(query, UsageSum.starts_at),
        "provider": UsageSum.provider,
        "model": UsageSum.model_name,
        "chat": owner,
        "project": owner,
        "tool": UsageSum.model_name,
        "token": owner,
        "user": owner,
    }
    named = [columns[name].label(f"group_{name}") for name in query.by]
    conditions = list(_whose(actor, query, scope))
    if "tool" in query.by:
        conditions.append(UsageSum.kind == UsageKind.TOOL)
    if "user" in query.by:
        # Everybody who has sums. With their ids, each person's are read in one piece.
        payers = sa.union_all(sa.select(User.id), sa.select(sa.literal(NO_CHAT, UsageSum.scope_id.type)))
        conditions.append(UsageSum.scope_id.in_(payers))
    spans = period.conditions(by_quarter="day" in query.by)
    return [_limited(named, _SUMS, [*conditions, span], query.most) for span in spans]


def _limited(named: list[Any], sums: list[Any], conditions: list[Any], most: int) -> sa.Select[*tuple[Any, ...]]:
    positions: list[sa.ColumnElement[Any]] = [sa.literal_column(str(position + 1)) for position in range(len(named))]
    return sa.select(*named, *sums).where(*conditions).group_by(*positions).limit(most + 1)


def _grouped_entries(actor: Actor, query: UsageQuery, edge: Period) -> sa.Select[*tuple[Any, ...]]:
    """Build the query of the groups from the ledger, for a part of a quarter of an hour."""
    chat = sa.func.coalesce(UsageLog.chat_id, sa.literal(NO_CHAT, UsageLog.chat_id.type), type_=UsageLog.chat_id.type)
    columns: dict[GroupBy, Any] = {
        "day": _day(query, UsageLog.created_at),
        "provider": UsageLog.provider,
        "model": UsageLog.model_name,
        "chat": chat,
        "project": UsageLog.project_id,
        "tool": UsageLog.model_name,
        "token": UsageLog.api_token_id,
        "user": UsageLog.user_id,
    }
    conditions = [
        UsageLog.user_id == actor.user_id,
        ANY_KIND,
        UsageLog.created_at >= edge.since,
        UsageLog.created_at < edge.until,
        UsageLog.status == UsageStatus.SETTLED,
    ]
    if "tool" in query.by:
        conditions.append(UsageLog.kind == UsageKind.TOOL)
    conditions += [columns[group].is_not(None) for group in SOMETIMES if group in query.by]
    named = [columns[name].label(f"group_{name}") for name in query.by]
    return _limited(named, _ENTRY_SUMS, conditions, query.most)


def _scope_of(query: UsageQuery) -> SumScope:
    if "chat" in query.by:
        return SumScope.CHAT
    if "project" in query.by:
        return SumScope.PROJECT
    if "token" in query.by:
        return SumScope.TOKEN
    if query.is_everyone and "user" not in query.by:
        return SumScope.EVERYONE
    return SumScope.USER


def _whose(actor: Actor, query: UsageQuery, scope: SumScope) -> tuple[sa.ColumnElement[bool], ...]:
    if query.is_everyone:
        require_admin(actor)
        return (UsageSum.scope == scope,)
    if scope is SumScope.USER:
        return (UsageSum.scope == scope, UsageSum.scope_id == actor.user_id)
    return (UsageSum.user_id == actor.user_id, UsageSum.scope == scope)


def _day(query: UsageQuery, moment: Any) -> sa.ColumnElement[int]:
    """Return the local day of a moment. In a time zone whose offset changes in the period, it depends on the moment."""
    if query.zone is None:
        return day_number(moment, sa.literal_column(str(int(query.utc_offset_s))))
    # Nothing was spent before or after, so that the clock's changes there do not matter.
    first, last = FIRST, clock.now() + timedelta(days=2)
    changes = offsets_of(query.zone, min(max(query.since, first), last), max(min(query.until, last), first))
    days = [(until, day_number(moment, sa.literal_column(str(offset)))) for until, offset in changes]
    if len(days) == 1:
        return days[0][1]
    return sa.case(*[(moment < until, day) for until, day in days[:-1]], else_=days[-1][1])


def offsets_of(zone: ZoneInfo, since: datetime, until: datetime) -> list[tuple[datetime, int]]:
    """Return the offsets from UTC in seconds that hold in a period, in order, each with the moment when it ends."""

    def offset_at(moment: datetime) -> int:
        offset = moment.astimezone(zone).utcoffset() or timedelta(0)
        return int(offset.total_seconds())

    changes: list[tuple[datetime, int]] = []
    moment, offset = since, offset_at(since)
    step = timedelta(days=7)
    while moment < until:
        following = min(moment + step, until)
        if offset_at(following) != offset:
            low, high = moment, following
            while high - low > QUARTER:
                middle = low + (high - low) / 2
                low, high = (middle, high) if offset_at(middle) == offset else (low, middle)
            change = high.replace(minute=high.minute // 15 * 15, second=0, microsecond=0)
            changes.append((change, offset))
            moment, offset = change, offset_at(change)
        else:
            moment = following
    return [*changes, (until, offset)]


Names = Mapping[tuple[GroupBy, str], str]


def _find_names(
    session: Session, actor: Actor, query: UsageQuery, keys: Sequence[Key], chat_titles: ChatTitles
) -> Names:
    """Return the titles of chats and the names of tokens and users. Those of chats and projects are only for their payers."""
    names: dict[tuple[GroupBy, str], str] = {}
    for position, group in enumerate(query.by):
        ids = {key[position] for key in keys} - {None} if group in ("chat", "project", "token", "user") else set()
        if not ids:
            continue
        if group == "chat" and not query.is_everyone:
            names |= {("chat", chat_id): title for chat_id, title in chat_titles.find(session, ids).items()}
        elif group == "project" and not query.is_everyone:
            # Those that the person belongs to: others keep their names.
            projects = session.execute(
                sa.select(PROJECT.c.id, PROJECT.c.name)
                .join(Membership, Membership.project_id == PROJECT.c.id)
                .where(PROJECT.c.id.in_(ids), Membership.user_id == actor.user_id)
            )
            names |= {("project", project_id): name for project_id, name in projects}
        elif group == "token":
            known = session.execute(sa.select(ApiToken.id, ApiToken.name).where(ApiToken.id.in_(ids)))
            names |= {("token", token_id): name for token_id, name in known}
        elif group == "user":
            users = session.execute(sa.select(User.id, User.username).where(User.id.in_(ids)))
            names |= {("user", user_id): username for user_id, username in users}
    return names


def _read_group(key: Key, by: Sequence[GroupBy], names: Names, summed: UsageSumRead) -> UsageGroup:
    values = dict(zip(by, key, strict=True))
    day = values.get("day")
    return {
        "day": None if day is None else date.fromordinal(EPOCH.date().toordinal() + day).isoformat(),
        "provider": values.get("provider"),
        "model_name": values.get("model"),
        "tool_name": values.get("tool"),
        "chat_id": values.get("chat"),
        "chat_title": names.get(("chat", values.get("chat", ""))),
        "project_id": values.get("project"),
        "project_name": names.get(("project", values.get("project", ""))),
        "token_id": values.get("token"),
        "token_name": names.get(("token", values.get("token", ""))),
        "user_id": values.get("user"),
        "username": names.get(("user", values.get("user", ""))),
        **summed,
    }


def _read_sum(row: Sequence[Any]) -> UsageSumRead:
    values = dict(zip(_NAMES, row, strict=True))
    return {
        "replies": int(values["replies"]),
        "requests": int(values["requests"]),
        "input_tokens": int(values["input_tokens"]),
        "output_tokens": int(values["output_tokens"]),
        "total_tokens": int(values["input_tokens"]) + int(values["output_tokens"]),
        "cached_tokens": int(values["cached_tokens"]),
        "cache_write_tokens": int(values["cache_write_tokens"]),
        "thinking_tokens": int(values["thinking_tokens"]),
        "cache_savings": Decimal(values["cache_savings"]).quantize(MILLIONTH),
        "cost": Decimal(values["cost"]).quantize(MILLIONTH),
        "unknown_cost_replies": int(values["unknown_costs"]),
        "estimated_replies": int(values["estimated"]),
    }
