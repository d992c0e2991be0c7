"""Record what each reply used and cost, in the transaction that ends it, and sum it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User
from tertulia.billing.errors import TooManyGroups
from tertulia.billing.models import UsageKind, UsageLog, UsageStatus
from tertulia.billing.schemas import UsageGroup, UsageSum
from tertulia.db import Id, rowcount
from tertulia.db.types import EPOCH
from tertulia.ids import new_id

GroupBy = Literal["day", "provider", "model", "chat"]
MAX_GROUPS = 5000
DAY_S = 86_400
# FOR NO KEY UPDATE does not block inserts of rows that only refer to the user.
_PAYER = sa.select(User.id).where(User.id == sa.bindparam("payer", type_=Id())).with_for_update(key_share=True)


@dataclass(frozen=True)
class ChatTitles:
    """Service: the titles of chats by id, without chats in the trash. Chats, a package above, provide it."""

    find: Callable[[Session, Collection[str]], dict[str, str]]


@dataclass(frozen=True)
class RequestUsage:
    """Usage of one request. `is_estimated`: the provider reported none, so this is our own count."""

    provider: str  # the vendor
    model_name: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    is_estimated: bool
    cost: Decimal | None
    cache_write_tokens: int = 0
    cache_savings: Decimal | None = None


def record_usage(
    session: Session,
    used: RequestUsage,
    *,
    user_id: str,
    chat_id: str,
    message_id: str | None,
    run_id: str | None,
    tool_execution_id: str | None = None,
    is_summary: bool = False,
) -> None:
    """Record a request to a provider, however it ended. Its retries count as one request, as they are charged.

    `tool_execution_id`: the tool call whose result the request was made to read, if any.
    """
    now = clock.now()
    values = {
        "status": UsageStatus.SETTLED,
        "provider": used.provider,
        "model_name": used.model_name,
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "cached_tokens": used.cached_tokens,
        "cache_write_tokens": used.cache_write_tokens,
        "cache_savings": used.cache_savings,
        "is_estimated": used.is_estimated,
        "cost": used.cost,
        "is_summary": is_summary,
        "updated_at": now,
    }
    if (
        tool_execution_id
        and run_id
        and rowcount(session, sa.update(UsageLog).where(*_set_aside(run_id)).values(values))
    ):
        return
    session.execute(
        sa.insert(UsageLog).values(
            id=new_id(),
            user_id=user_id,
            chat_id=chat_id,
            message_id=message_id,
            run_id=run_id,
            tool_execution_id=tool_execution_id,
            kind=UsageKind.MODEL,
            created_at=now,
            **values,
        )
    )


def release(session: Session, run_id: str) -> None:
    """Release the amount reserved for a model request that was never made."""
    session.execute(sa.update(UsageLog).where(*_set_aside(run_id)).values(status=UsageStatus.RELEASED))


def _set_aside(run_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        UsageLog.run_id == run_id,
        UsageLog.kind == UsageKind.MODEL,
        UsageLog.status == UsageStatus.RESERVED,
    )


@dataclass(frozen=True)
class ToolPayment:
    """The user who pays for a tool call, and the call."""

    user_id: str
    chat_id: str
    message_id: str
    run_id: str
    tool_execution_id: str


def reserve(
    session: Session,
    amount: Decimal,
    payment: ToolPayment,
    *,
    limit: Decimal,
    since: datetime,
    kind: UsageKind,
    provider: str,
    model_name: str,
) -> bool:
    """Reserve the most that a tool call, or a model request that reads its result, may cost.

    Return False if the amount since `since` would exceed `limit`. The payer's row is locked until the transaction ends,
    so that concurrent calls are counted one after the other.
    """
    if amount <= 0:
        return True
    lock_payer(session, payment.user_id)
    if spent_on_tools(session, payment.user_id, since=since) + amount > limit:
        return False
    _enter_tool(session, payment, kind, provider, model_name, status=UsageStatus.RESERVED, reserved_cost=amount)
    return True


def lock_payer(session: Session, user_id: str) -> None:
    """Lock a user, to count one call at a time. Lock before writing the user's rows, to avoid deadlocks."""
    session.execute(_PAYER, {"payer": user_id})


def settle(session: Session, payment: ToolPayment, cost: Decimal, *, tool_name: str) -> None:
    """Replace a call's reserved amount with its cost. A cost without a reservation is recorded too."""
    moved = rowcount(
        session,
        sa.update(UsageLog)
        .where(
            UsageLog.tool_execution_id == payment.tool_execution_id,
            UsageLog.kind == UsageKind.TOOL,
            UsageLog.status == UsageStatus.RESERVED,
        )
        .values(status=UsageStatus.SETTLED, cost=cost),
    )
    if not moved and cost > 0:
        _enter_tool(session, payment, UsageKind.TOOL, "tools", tool_name, status=UsageStatus.SETTLED, cost=cost)


def _enter_tool(
    session: Session, payment: ToolPayment, kind: UsageKind, provider: str, model_name: str, **amounts: object
) -> None:
    now = clock.now()
    session.execute(
        sa.insert(UsageLog).values(
            id=new_id(),
            **vars(payment),
            kind=kind,
            provider=provider,
            model_name=model_name,
            created_at=now,
            updated_at=now,
            **amounts,
        )
    )


def spent_on_tools(session: Session, user_id: str, *, since: datetime) -> Decimal:
    """Sum the cost of a user's tool calls, including reserved amounts, and of model requests for their results."""
    amount = sa.case(
        (UsageLog.status == UsageStatus.RESERVED, UsageLog.reserved_cost), else_=sa.func.coalesce(UsageLog.cost, 0)
    )
    total = session.scalar(
        sa.select(sa.type_coerce(sa.func.coalesce(sa.func.sum(amount), 0), UsageLog.cost.type)).where(
            UsageLog.user_id == user_id,
            ANY_KIND,
            UsageLog.created_at >= since,
            UsageLog.status != UsageStatus.RELEASED,
            (UsageLog.kind == UsageKind.TOOL) | UsageLog.tool_execution_id.is_not(None),
        )
    )
    return total or Decimal(0)


# Always true. It lets queries use the index, which has `kind` before `created_at`.
ANY_KIND = (UsageLog.kind == UsageKind.MODEL) | (UsageLog.kind == UsageKind.TOOL)


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


_SUMS = (
    # A reply that used tools has a row for each of its requests. Only the first is counted.
    sa.func.count().filter(UsageLog.tool_execution_id.is_(None), UsageLog.is_summary.is_(False)).label("replies"),
    sa.func.coalesce(sa.func.sum(UsageLog.input_tokens), 0),
    sa.func.coalesce(sa.func.sum(UsageLog.output_tokens), 0),
    sa.func.coalesce(sa.func.sum(UsageLog.cached_tokens), 0),
    sa.func.coalesce(sa.func.sum(UsageLog.cache_write_tokens), 0),
    sa.type_coerce(sa.func.coalesce(sa.func.sum(UsageLog.cache_savings), 0), UsageLog.cost.type),
    sa.type_coerce(sa.func.coalesce(sa.func.sum(UsageLog.cost), 0), UsageLog.cost.type),
    sa.func.count().filter(UsageLog.cost.is_(None)),
    sa.func.count().filter(UsageLog.is_estimated),
)


def _mine(actor: Actor, since: datetime, until: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        UsageLog.user_id == actor.user_id,
        ANY_KIND,
        UsageLog.created_at >= since,
        UsageLog.created_at < until,
        UsageLog.status == UsageStatus.SETTLED,
    )


def sum_usage(session: Session, actor: Actor, *, since: datetime, until: datetime) -> UsageSum:
    return _read_sum(session.execute(sa.select(*_SUMS).where(*_mine(actor, since, until))).one())


def group_usage(
    session: Session,
    actor: Actor,
    *,
    since: datetime,
    until: datetime,
    by: Sequence[GroupBy],
    chat_titles: "ChatTitles",
    utc_offset_s: int = 0,
) -> list[UsageGroup]:
    """Return the sums of the actor's usage by group, newest day first, then highest cost. Raises TooManyGroups."""
    rows = session.execute(_grouped(actor, since, until, by, utc_offset_s)).all()
    if len(rows) > MAX_GROUPS:
        raise TooManyGroups(MAX_GROUPS)
    chat_ids = {row[by.index("chat")] for row in rows} - {None} if "chat" in by else set()
    titles = chat_titles.find(session, chat_ids) if chat_ids else {}
    return [_read_group(row, by, titles) for row in rows]


def _grouped(
    actor: Actor, since: datetime, until: datetime, by: Sequence[GroupBy], utc_offset_s: int
) -> sa.Select[*tuple[Any, ...]]:
    day = day_number(UsageLog.created_at, sa.literal_column(str(int(utc_offset_s))))
    columns: dict[GroupBy, sa.ColumnElement[Any]] = {
        "day": day,
        "provider": UsageLog.provider.expression,
        "model": UsageLog.model_name.expression,
        "chat": UsageLog.chat_id.expression,
    }
    named = [columns[name] for name in by]
    order = [day.desc()] if "day" in by else []
    return (
        sa.select(*named, *_SUMS)
        .where(*_mine(actor, since, until))
        .group_by(*named)
        .order_by(*order, sa.func.coalesce(sa.func.sum(UsageLog.cost), 0).desc(), sa.desc("replies"), *named)
        .limit(MAX_GROUPS + 1)
    )


def _read_group(row: Sequence[Any], by: Sequence[GroupBy], titles: dict[str, str]) -> UsageGroup:
    group: UsageGroup = {
        "day": None,
        "provider": None,
        "model_name": None,
        "chat_id": None,
        "chat_title": None,
        **_read_sum(row[len(by) :]),
    }
    for name, value in zip(by, row, strict=False):
        match name:
            case "day":
                group["day"] = (EPOCH.date().fromordinal(EPOCH.date().toordinal() + value)).isoformat()
            case "provider":
                group["provider"] = value
            case "model":
                group["model_name"] = value
            case "chat":
                group["chat_id"], group["chat_title"] = value, titles.get(value)
    return group


def _read_sum(row: Sequence[Any]) -> UsageSum:
    replies, input_tokens, output_tokens, cached_tokens, written_tokens, savings, cost, unknown, estimated = row
    return {
        "replies": replies,
        "input_tokens": int(input_tokens),
        "output_tokens": int(output_tokens),
        "total_tokens": int(input_tokens) + int(output_tokens),
        "cached_tokens": int(cached_tokens),
        "cache_write_tokens": int(written_tokens),
        "cache_savings": savings,
        "cost": cost,
        "unknown_cost_replies": unknown,
        "estimated_replies": estimated,
    }
