"""Compare the ledger with what a provider says it billed: by day and model, with the reason of each difference."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

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


@dataclass(frozen=True)
class TokenPrices:
    """Service: the cost in dollars of tokens of a provider's model on a day; None if unknown. Runs, above, provide it."""

    cost: Callable[[Session, str, str, datetime, BillLine], Decimal | None]


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
    lines: list[ReconciliationLine] = []
    for key in sorted(theirs.keys() | ours.keys()):
        bill, own = theirs.get(key), ours.get(key, Ours())
        billed = (bill.cost if bill is not None else None) or Decimal(0)
        difference = billed - own.cost
        lines.append(
            {
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
        )
    return lines


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


def create_reconciliation(
    session: Session,
    actor: Actor,
    provider: str,
    theirs: Mapping[Key, BillLine],
    *,
    is_everyone: bool,
) -> ReconciliationRead:
    """Compare what a provider billed with the actor's ledger, or with that of everybody. Raises AdminOnly."""
    if is_everyone:
        require_admin(actor)
    days = [day for day, _ in theirs]
    since, until = min(days), max(days) + timedelta(days=1)
    ours = _sum_ours(session, actor, provider, since, until, is_everyone=is_everyone)
    row = UsageReconciliation(
        id=new_id(),
        user_id=actor.user_id,
        provider=provider,
        is_everyone=is_everyone,
        since=since,
        until=until,
        lines=compare(theirs, ours),
    )
    session.add(row)
    session.flush()
    return _read(row)


def price_bill(
    session: Session, _actor: Actor, provider: str, theirs: Mapping[Key, BillLine], prices: TokenPrices
) -> dict[Key, BillLine]:
    """Return the bill with the costs of its tokens, where an export of usage has no costs, by the prices of each day.

    Raises BillUnreadable if such a price is unknown.
    """
    return {key: _priced(session, provider, key, line, prices) for key, line in theirs.items()}


def _priced(session: Session, provider: str, key: Key, line: BillLine, prices: TokenPrices) -> BillLine:
    if line.cost is not None:
        return line
    day, model = key
    cost = prices.cost(session, provider, model, datetime(day.year, day.month, day.day, 12, tzinfo=UTC), line)
    if cost is None:
        raise BillUnreadable(
            f"It has tokens without costs, and the price of {model} is unknown. Export the costs, or ask an administrator to "
            "enter the price."
        )
    return replace(line, cost=cost, is_computed=True)


def _sum_ours(
    session: Session, actor: Actor, provider: str, since: date, until: date, *, is_everyone: bool
) -> dict[Key, Ours]:
    scope = SumScope.EVERYONE if is_everyone else SumScope.USER
    begin, end = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (since, until))

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
    session: Session, actor: Actor, reconciliation_id: ReconciliationId, chosen: Collection[Key] | None = None
) -> ReconciliationRead:
    """Enter the differences to the bill in the actor's ledger, of all days and models or of chosen ones.

    Those to a bill of everybody are entered as the administrator's: the bill does not say whose they are. They are rows of
    their own, and nothing is changed. What the provider did not bill is left, and what may be the same
    under another name unless it is chosen. Raises ReconciliationNotFound, AlreadyCorrected, and Invalid for a day and model
    that the bill does not have.
    """
    require_session(actor)
    row = _own(session, actor, reconciliation_id, for_update=True)
    billed = {_key(line): line for line in row.lines if line.get("their_cost") is not None}
    if unknown := set(chosen or ()) - billed.keys():
        day, model = min(unknown)
        raise Invalid(f"The bill has no {model} on {day.isoformat()}.", field="lines")
    wanted = billed.keys() if chosen is None else set(chosen)
    is_done = row.corrected_at is not None and all(billed[key]["is_corrected"] for key in wanted)
    if is_done:
        raise AlreadyCorrected
    if row.is_everyone:
        require_admin(actor)
    lock_payer(session, actor.user_id)
    # Compared again: entries since then count, as do corrections from the same bill, chosen twice.
    theirs = {key: _bill_of(line) for key, line in billed.items()}
    ours = _sum_ours(session, actor, row.provider, row.since, row.until, is_everyone=row.is_everyone)
    compared = {_key(line): line for line in compare(theirs, ours)}
    # On a day with a model that is only in the bill, and one that is only in the ledger, they may be the same.
    unclear = {line["day"] for line in compared.values() if line["reason"] == "not_billed"}
    lines: list[ReconciliationLine] = []
    for stored in row.lines:
        key = _key(stored)
        line = compared.get(key, stored)
        is_wanted = key in wanted and not stored["is_corrected"] and Decimal(line["difference"]) != 0
        if not is_wanted or (chosen is None and line["reason"] == "other_keys" and line["day"] in unclear):
            lines.append(stored)
            continue
        enter_correction(
            session,
            actor.user_id,
            provider=row.provider,
            model_name=line["model_name"],
            cost=Decimal(line["difference"]),
            moment=datetime.fromisoformat(line["day"]).replace(hour=12, tzinfo=UTC),
            note=f"bill of {row.provider}: {line['reason']}",
        )
        lines.append({**line, "is_corrected": True})
    row.lines, row.corrected_at = lines, clock.now()
    session.flush()
    write_audit(session, actor.user_id, "usage.correct", entity="usage_reconciliation", entity_id=row.id)
    return _read(row)


def _key(line: ReconciliationLine) -> Key:
    return date.fromisoformat(line["day"]), line["model_name"]


def _bill_of(line: ReconciliationLine) -> BillLine:
    cost = line.get("their_cost")
    return BillLine(
        None if cost is None else Decimal(cost),
        line.get("their_input_tokens"),
        line.get("their_output_tokens"),
        is_computed=line.get("is_cost_computed", False),
    )


def _read(row: UsageReconciliation) -> ReconciliationRead:
    unbilled: ReconciliationLine = {
        "their_cost": None,
        "is_cost_computed": False,
        "their_input_tokens": None,
        "their_output_tokens": None,
    }  # type: ignore[typeddict-item]
    lines: Sequence[ReconciliationLine] = [{**unbilled, **line} for line in row.lines]
    return {
        "id": row.id,
        "provider": row.provider,
        "of": "everyone" if row.is_everyone else "me",
        "since": row.since.isoformat(),
        "until": row.until.isoformat(),
        "items": list(lines),
        "their_cost": sum((Decimal(line.get("their_cost") or 0) for line in lines), Decimal(0)),
        "our_cost": sum((Decimal(line["our_cost"]) for line in lines), Decimal(0)),
        "corrected_at": row.corrected_at,
        "created_at": row.created_at,
    }
