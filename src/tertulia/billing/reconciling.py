"""Compare the ledger with what a provider says it billed: by day and model, with the reason of each difference."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, require_admin, require_session
from tertulia.accounts.audit import write_audit
from tertulia.billing.bills import BillLine
from tertulia.billing.errors import AlreadyCorrected, BillUnreadable, ReconciliationNotFound
from tertulia.billing.ledger import enter_correction, lock_payer
from tertulia.billing.models import ReconciliationLine, SumScope, UsageKind, UsageReconciliation, UsageSum
from tertulia.billing.schemas import ReconciliationRead
from tertulia.billing.sums import DAY_MINUTES
from tertulia.errors import Invalid
from tertulia.ids import ReconciliationId, new_id

CENT = Decimal("0.01")
NOON = time(12)
Key = tuple[date, str]


@dataclass(frozen=True)
class Ours:
    """What the ledger has of a model on a day (UTC)."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: Decimal = Decimal(0)
    unknown: int = 0
    estimated: int = 0


# The cost in dollars of a model's tokens on a day; None if unknown.
TokenCost = Callable[[str, datetime, BillLine], Decimal | None]


@dataclass(frozen=True)
class TokenPrices:
    """Service: `of(session, provider)` reads a provider's prices for a bill. Runs, above, provide it."""

    of: Callable[[Session, str], TokenCost]


_PREFIX = re.compile(r"^(models/|[\w.-]+/)+")
_DIRECTION = re.compile(r"[\s,:]+((cached |cache )?(input|output|read|write|cached)( tokens?)?|(thinking )?tokens?)$")
_RELEASE = re.compile(r"[-@](20\d\d-?\d\d-?\d\d|latest|\d{3})$")


def plain_name(model: str) -> str:
    """Return the name of a model without its maker, release and direction. Pure.

    `gpt-4o` for `openai/gpt-4o-2024-08-06` and `gpt-4o, input`; `gemini-2.5-pro` for `Gemini 2.5 Pro input tokens`.
    """
    name = re.sub(r"\s+", "-", _DIRECTION.sub("", _PREFIX.sub("", model.casefold().strip())))
    return _RELEASE.sub("", name)


def by_our_names(theirs: Mapping[Key, BillLine], ours: Mapping[Key, Ours]) -> dict[Key, BillLine]:
    """Return the bill with the ledger's names of models, where only one of a day can be meant. Pure.

    A bill often names the release that answered, and input and output in lines of their own. Such lines are added up.
    """
    known: dict[Key, list[Key]] = {}  # by day and plain name
    for key in ours:
        known.setdefault((key[0], plain_name(key[1])), []).append(key)
    named: dict[Key, BillLine] = {}
    for key, line in theirs.items():
        candidates = known.get((key[0], plain_name(key[1])), [])
        meant = key if key in ours or len(candidates) != 1 else candidates[0]
        named[meant] = named[meant] + line if meant in named else line
    return named


def compare(theirs: Mapping[Key, BillLine], ours: Mapping[Key, Ours]) -> list[ReconciliationLine]:
    """Return a line for each day and model of the bill or of the ledger, oldest first. Pure."""
    theirs = by_our_names(theirs, ours)
    return [_line(key, theirs.get(key), ours.get(key, Ours())) for key in sorted(theirs.keys() | ours.keys())]


def _line(key: Key, bill: BillLine | None, own: Ours) -> ReconciliationLine:
    billed = (bill.cost if bill is not None else None) or Decimal(0)
    difference = billed - own.cost
    return {
        "day": key[0].isoformat(),
        "model_name": key[1],
        "their_cost": bill.cost if bill is not None else None,
        "is_cost_computed": bill is not None and bill.is_computed,
        "our_cost": own.cost,
        "difference": difference,
        "their_input_tokens": bill.input_tokens if bill else None,
        "our_input_tokens": own.input_tokens,
        "their_output_tokens": bill.output_tokens if bill else None,
        "our_output_tokens": own.output_tokens,
        "reason": reason_of(bill, own, difference),
        "is_corrected": False,
    }


def reason_of(bill: BillLine | None, own: Ours, difference: Decimal) -> str:
    """Explain a difference, the most likely reason first. Pure."""
    if bill is None:
        return "not_billed"  # not in their export: another key or another time
    if own.requests == 0:
        return "other_keys"  # used elsewhere with the same account
    if abs(difference) < CENT:
        return "equal" if difference == 0 else "rounding"
    if own.unknown:
        return "unknown_price"
    more_tokens = (bill.input_tokens or 0) - own.input_tokens > own.input_tokens // 50 or (
        (bill.output_tokens or 0) - own.output_tokens > own.output_tokens // 50
    )
    if bill.input_tokens is not None and more_tokens:
        return "other_keys"
    if own.cached_tokens or bill.cached_tokens:
        return "cache"
    if own.estimated:
        return "estimated"
    return "price"


@dataclass(frozen=True)
class Comparison:
    """A bill compared with the ledger. `lines` is JSON: thousands of lines are written as one text, which is quick."""

    provider: str
    is_everyone: bool
    since: date
    until: date
    lines: str
    their_cost: Decimal
    our_cost: Decimal


def read_ours(
    session: Session, actor: Actor, provider: str, theirs: Mapping[Key, BillLine], *, is_everyone: bool
) -> dict[Key, Ours]:
    """Return what the actor's ledger, or that of everybody, has in the time of a bill. Raises AdminOnly."""
    if is_everyone:
        require_admin(actor)
    return _sum_ours(session, actor, provider, *_span(theirs), is_everyone=is_everyone)


def compare_bill(
    provider: str, theirs: Mapping[Key, BillLine], ours: Mapping[Key, Ours], *, is_everyone: bool
) -> Comparison:
    """Compare a bill with what the ledger has in its time. Pure; it may take a while."""
    lines = compare(theirs, ours)
    return Comparison(
        provider,
        is_everyone,
        *_span(theirs),
        orjson.dumps(lines, default=str).decode(),
        sum((line["their_cost"] or Decimal(0) for line in lines), Decimal(0)),
        sum((line["our_cost"] for line in lines), Decimal(0)),
    )


def _span(theirs: Mapping[Key, BillLine]) -> tuple[date, date]:
    days = [day for day, _ in theirs]
    return min(days), max(days) + timedelta(days=1)


def create_reconciliation(session: Session, actor: Actor, compared: Comparison) -> ReconciliationRead:
    """Store a comparison. Raises AdminOnly for one of everybody."""
    if compared.is_everyone:
        require_admin(actor)
    row = UsageReconciliation(id=new_id(), user_id=actor.user_id, corrected=[], **vars(compared))
    session.add(row)
    session.flush()
    return _read(row)


def price_bill(
    session: Session, _actor: Actor, provider: str, theirs: Mapping[Key, BillLine], prices: TokenPrices
) -> dict[Key, BillLine]:
    """Return the bill with the costs of its tokens, where an export of usage has no costs, by the prices of each day.

    Raises BillUnreadable if such a price is unknown.
    """
    if all(line.cost is not None for line in theirs.values()):
        return dict(theirs)
    cost_of = prices.of(session, provider)
    return {key: _priced(key, theirs[key], cost_of) for key in sorted(theirs)}  # prices are read by day


def _priced(key: Key, line: BillLine, cost_of: TokenCost) -> BillLine:
    if line.cost is not None:
        return line
    day, model = key
    cost = cost_of(model, datetime.combine(day, NOON, UTC), line)
    if cost is None:
        raise BillUnreadable(
            f"It has tokens without costs, and the price of {model} is unknown. Export the costs, or ask an administrator to "
            "enter the price."
        )
    return replace(line, cost=cost, is_computed=True)


def _sum_ours(
    session: Session,
    actor: Actor,
    provider: str,
    since: date,
    until: date,
    *,
    is_everyone: bool,
    keys: Collection[Key] | None = None,
) -> dict[Key, Ours]:
    """Return what the ledger has between two days, or only of some days and models."""
    scope = SumScope.EVERYONE if is_everyone else SumScope.USER
    begin, end = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (since, until))
    chosen: tuple[sa.ColumnElement[bool], ...] = ()
    if keys is not None:
        days = {datetime(day.year, day.month, day.day, tzinfo=UTC) for day, _ in keys}
        chosen = (UsageSum.starts_at.in_(days), UsageSum.model_name.in_({model for _, model in keys}))
    rows = session.execute(
        sa.select(
            UsageSum.starts_at,
            UsageSum.model_name,
            *(
                sa.type_coerce(sa.func.sum(column), column.type)
                for column in (
                    UsageSum.requests,
                    UsageSum.input_tokens,
                    UsageSum.output_tokens,
                    UsageSum.cached_tokens,
                    UsageSum.cost,
                    UsageSum.unknown_costs,
                    UsageSum.estimated,
                )
            ),
        )
        .where(
            UsageSum.scope == scope,
            *(() if is_everyone else (UsageSum.scope_id == actor.user_id,)),
            UsageSum.span_minutes == DAY_MINUTES,
            UsageSum.starts_at >= begin,
            UsageSum.starts_at < end,
            UsageSum.kind == UsageKind.MODEL,
            UsageSum.provider == provider,
            *chosen,
        )
        .group_by(UsageSum.starts_at, UsageSum.model_name)
    )
    return {
        (starts_at.date(), model): Ours(
            int(requests), int(sent), int(received), int(cached), cost, int(unknown), int(estimated)
        )
        for starts_at, model, requests, sent, received, cached, cost, unknown, estimated in rows
    }


def get_reconciliation(session: Session, actor: Actor, reconciliation_id: ReconciliationId) -> ReconciliationRead:
    return _read(_own(session, actor, reconciliation_id))


def _own(
    session: Session, actor: Actor, reconciliation_id: ReconciliationId, *, for_update: bool = False
) -> UsageReconciliation:
    query = sa.select(UsageReconciliation).where(
        UsageReconciliation.id == reconciliation_id, UsageReconciliation.user_id == actor.user_id
    )
    row = session.scalars(query.with_for_update() if for_update else query).first()
    if row is None:
        raise ReconciliationNotFound
    return row


def correct(
    session: Session, actor: Actor, reconciliation_id: ReconciliationId, chosen: Collection[Key]
) -> ReconciliationRead:
    """Enter the differences to the bill, of some days and models, in the actor's ledger. Return these lines.

    Those to a bill of everybody are entered as the administrator's: the bill does not say whose they are. They are rows of
    their own, and nothing is changed. What the ledger says by now counts, with the corrections from the same bill, chosen
    twice. Raises ReconciliationNotFound, AlreadyCorrected, and Invalid for a day and model that the bill does not have.
    """
    require_session(actor)
    row = _own(session, actor, reconciliation_id, for_update=True)
    lines: list[ReconciliationLine] = orjson.loads(row.lines)
    billed = {_key(line): place for place, line in enumerate(lines) if line["their_cost"] is not None}
    if unknown := set(chosen) - billed.keys():
        day, model = min(unknown)
        raise Invalid(f"The bill has no {model} on {day.isoformat()}.", field="lines")
    before = set(row.corrected)
    if all(billed[key] in before for key in chosen):
        raise AlreadyCorrected
    if row.is_everyone:
        require_admin(actor)
    lock_payer(session, actor.user_id)
    ours = _sum_ours(session, actor, row.provider, row.since, row.until, is_everyone=row.is_everyone, keys=set(chosen))
    shown: list[ReconciliationLine] = []
    entered: set[int] = set()
    for key in sorted(set(chosen)):
        place = billed[key]
        line = _line(key, _bill_of(lines[place]), ours.get(key, Ours()))
        if place not in before and line["difference"] != 0:
            enter_correction(
                session,
                actor.user_id,
                provider=row.provider,
                model_name=key[1],
                cost=line["difference"],
                moment=datetime.combine(key[0], NOON, UTC),
                note=f"bill of {row.provider}: {line['reason']}",
            )
            entered.add(place)
        shown.append({**line, "is_corrected": place in before | entered})
    row.corrected, row.corrected_at = [*row.corrected, *sorted(entered)], clock.now()
    session.flush()
    write_audit(session, actor.user_id, "usage.correct", entity="usage_reconciliation", entity_id=row.id)
    return _read(row, shown)


def _key(line: ReconciliationLine) -> Key:
    return date.fromisoformat(line["day"]), line["model_name"]


def _bill_of(line: ReconciliationLine) -> BillLine:
    cost = line["their_cost"]
    return BillLine(
        None if cost is None else Decimal(cost),
        line["their_input_tokens"],
        line["their_output_tokens"],
        is_computed=line["is_cost_computed"],
    )


def _read(row: UsageReconciliation, lines: Sequence[ReconciliationLine] | None = None) -> ReconciliationRead:
    """Return a comparison with all of its lines, or with those that were just entered."""
    if lines is None:  # their amounts stay texts, as in the answer
        lines = orjson.loads(row.lines)
        for place in row.corrected:
            lines[place]["is_corrected"] = True
    return {
        "id": row.id,
        "provider": row.provider,
        "of": "everyone" if row.is_everyone else "me",
        "since": row.since.isoformat(),
        "until": row.until.isoformat(),
        "items": list(lines),
        "their_cost": row.their_cost,
        "our_cost": row.our_cost,
        "corrected_at": row.corrected_at,
        "created_at": row.created_at,
    }
