"""The ledger: what each reply used and cost, in the transaction that ends it, and the sums of it."""

from collections.abc import Sequence
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
from tertulia.billing.errors import TooManyGroups
from tertulia.billing.models import UsageKind, UsageLog, UsageStatus
from tertulia.billing.schemas import UsageGroup, UsageSum
from tertulia.db import Id
from tertulia.db.types import EPOCH
from tertulia.ids import new_id

GroupBy = Literal["day", "provider", "model", "chat"]
MAX_GROUPS = 5000
DAY_S = 86_400
_CHAT = sa.table("chat", sa.column("id", Id()), sa.column("title", sa.Text()), sa.column("deleted_at"))


@dataclass(frozen=True)
class Consumption:
    """What one reply used. `is_estimated`: the provider never said, so this is our own count."""

    provider: str  # the vendor
    model_name: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    is_estimated: bool
    cost: Decimal | None


def record_usage(
    session: Session,
    used: Consumption,
    *,
    user_id: str,
    chat_id: str,
    message_id: str,
    run_id: str,
) -> None:
    """One row for each run that a provider worked for, however it ended; its tries count once, as they are charged."""
    now = clock.now()
    session.execute(
        sa.insert(UsageLog).values(
            id=new_id(),
            user_id=user_id,
            chat_id=chat_id,
            message_id=message_id,
            run_id=run_id,
            kind=UsageKind.MODEL,
            status=UsageStatus.SETTLED,
            provider=used.provider,
            model_name=used.model_name,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            cached_tokens=used.cached_tokens,
            is_estimated=used.is_estimated,
            cost=used.cost,
            created_at=now,
            updated_at=now,
        )
    )


class day_number(sa.sql.functions.FunctionElement[int]):
    """Days since 1970 of a moment, after an offset in seconds: the day as it is where the person is."""

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
    sa.func.count().label("replies"),
    sa.func.coalesce(sa.func.sum(UsageLog.input_tokens), 0),
    sa.func.coalesce(sa.func.sum(UsageLog.output_tokens), 0),
    sa.func.coalesce(sa.func.sum(UsageLog.cached_tokens), 0),
    sa.type_coerce(sa.func.coalesce(sa.func.sum(UsageLog.cost), 0), UsageLog.cost.type),
    sa.func.count().filter(UsageLog.cost.is_(None)),
    sa.func.count().filter(UsageLog.is_estimated),
)


def _mine(actor: Actor, since: datetime, until: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        UsageLog.user_id == actor.user_id,
        UsageLog.kind == UsageKind.MODEL,
        UsageLog.created_at >= since,
        UsageLog.created_at < until,
        UsageLog.status == UsageStatus.SETTLED,
    )


def sum_usage(session: Session, *, actor: Actor, since: datetime, until: datetime) -> UsageSum:
    return _read_sum(session.execute(sa.select(*_SUMS).where(*_mine(actor, since, until))).one())


def group_usage(
    session: Session,
    *,
    actor: Actor,
    since: datetime,
    until: datetime,
    by: Sequence[GroupBy],
    utc_offset_s: int = 0,
) -> list[UsageGroup]:
    """Sums of what this person paid for, by the named columns, newest day first and then dearest. Raises TooManyGroups."""
    rows = session.execute(_grouped(actor, since, until, by, utc_offset_s)).all()
    if len(rows) > MAX_GROUPS:
        raise TooManyGroups(MAX_GROUPS)
    titles = _titles(session, {row[by.index("chat")] for row in rows} - {None}) if "chat" in by else {}
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
    replies, input_tokens, output_tokens, cached_tokens, cost, unknown, estimated = row
    return {
        "replies": replies,
        "input_tokens": int(input_tokens),
        "output_tokens": int(output_tokens),
        "total_tokens": int(input_tokens) + int(output_tokens),
        "cached_tokens": int(cached_tokens),
        "cost": cost,
        "unknown_cost_replies": unknown,
        "estimated_replies": estimated,
    }


def _titles(session: Session, chat_ids: set[str]) -> dict[str, str]:
    """Of the payer's own rows, whose chats the payer could read when they were paid; one in the trash is not named."""
    if not chat_ids:
        return {}
    rows = session.execute(
        sa.select(_CHAT.c.id, _CHAT.c.title).where(_CHAT.c.id.in_(chat_ids), _CHAT.c.deleted_at.is_(None))
    )
    return {chat_id: title for chat_id, title in rows}
