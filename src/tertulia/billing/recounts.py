"""Compare the sums with the ledger that they are made of."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.billing.models import SumScope, UsageKind, UsageLog, UsageStatus, UsageSum
from tertulia.billing.sums import DAY_MINUTES, LEDGER_SCOPES, NAMES, NO_CHAT, QUARTER_MINUTES, total

SHOWN_FINDINGS = 20


def find_wrong_sums(session: Session) -> list[str]:
    """Return a sentence for each sum that differs from the settled ledger, in any of its columns; at most 20 of a kind.

    The sums of everybody are compared with those of the users, which also hold what deleted users spent.
    """
    findings: list[str] = []
    dialect = session.get_bind().dialect.name
    for span in (DAY_MINUTES, QUARTER_MINUTES):
        for scope, owner in LEDGER_SCOPES.items():
            stored, counted = _stored(scope, span), _counted(scope, owner, span, dialect)
            findings += _differences(session, scope.value, stored, counted)
        everyone = _without_shards(SumScope.EVERYONE, span)
        findings += _differences(session, "everybody", everyone, _without_shards(SumScope.USER, span))
    return findings


def _differences(session: Session, name: str, stored: Any, counted: Any) -> list[str]:
    findings: list[str] = []
    for first, second, words in ((stored, counted, "stored"), (counted, stored, "in the ledger")):
        rows = session.execute(sa.except_(first, second).limit(SHOWN_FINDINGS)).all()
        findings += [f"usage of {name}: only {words}: {', '.join(map(str, row))}" for row in rows]
    return findings


def _key(start: Any, table: Any) -> list[Any]:
    return [start, table.kind, table.provider, table.model_name]


def _stored(scope: SumScope, span: int) -> sa.Select[*tuple[Any, ...]]:
    """Select the sums of a scope. Those of a chat that is deleted have no entries any more that name it."""
    conditions = [UsageSum.scope == scope, UsageSum.span_minutes == span]
    if scope is SumScope.PROJECT:
        conditions.append(UsageSum.user_id != NO_CHAT)  # what deleted users spent in it
    if scope is not SumScope.USER:
        owner = LEDGER_SCOPES[scope]
        conditions.append(UsageSum.scope_id.in_(sa.select(owner).where(owner.is_not(None)).distinct()))
    else:
        conditions.append(UsageSum.scope_id != NO_CHAT)  # what deleted users spent
    return sa.select(
        UsageSum.scope_id,
        UsageSum.user_id,
        *_key(UsageSum.starts_at, UsageSum),
        *(getattr(UsageSum, name) for name in NAMES),
    ).where(*conditions)


def _counted(scope: SumScope, owner: Any, span: int, dialect: str) -> sa.Select[*tuple[Any, ...]]:
    """Add up the settled entries of the ledger as the sums should be."""
    start: Any
    if dialect == "sqlite":
        length = span * 60_000_000
        start = sa.literal_column(f"created_at / {length} * {length}", UsageSum.starts_at.type)
    else:
        length = span * 60
        start = sa.literal_column(
            f"to_timestamp(floor(extract(epoch FROM created_at) / {length}) * {length})", UsageSum.starts_at.type
        )
    is_request = (UsageLog.kind == UsageKind.MODEL) & UsageLog.is_correction.is_(False)
    is_reply = is_request & UsageLog.tool_execution_id.is_(None) & UsageLog.is_summary.is_(False)

    def count(condition: Any) -> Any:
        return sa.cast(sa.func.sum(sa.case((condition, 1), else_=0)), sa.BigInteger)

    sums = [
        count(is_request),
        count(is_reply),
        *(
            sa.cast(sa.func.sum(getattr(UsageLog, name)), sa.BigInteger)
            for name in ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "thinking_tokens")
        ),
        total(UsageLog.cache_savings, "cache_savings"),
        total(UsageLog.cost, "cost"),
        count(UsageLog.cost.is_(None)),
        count(UsageLog.is_estimated),
    ]
    query = sa.select(owner, UsageLog.user_id, *_key(start, UsageLog), *sums).where(
        UsageLog.status == UsageStatus.SETTLED
    )
    if scope is not SumScope.USER:
        query = query.where(owner.is_not(None))
    return query.group_by(owner, UsageLog.user_id, *_key(start, UsageLog))


def _without_shards(scope: SumScope, span: int) -> sa.Select[*tuple[Any, ...]]:
    key = _key(UsageSum.starts_at, UsageSum)
    sums = [total(getattr(UsageSum, name), name) for name in NAMES]
    return sa.select(*key, *sums).where(UsageSum.scope == scope, UsageSum.span_minutes == span).group_by(*key)
