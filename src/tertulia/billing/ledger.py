"""Enter what requests cost: reserve the most before each, and settle what it took afterwards."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.models import User
from tertulia.billing.limits import Fit, Need, Payer
from tertulia.billing.models import ApiQuota, UsageKind, UsageLog, UsageStatus
from tertulia.billing.notices import note_shares
from tertulia.billing.room import fit_or_refuse, words_of_end
from tertulia.billing.sums import Amounts, Place, add_to_sums, any_index, project_of
from tertulia.db import Id, Prepared, table_of
from tertulia.ids import new_id

# FOR NO KEY UPDATE does not block inserts of rows that only refer to the user.
_PAYER = Prepared(
    sa.select(User.id).where(User.id == sa.bindparam("payer", type_=Id())).with_for_update(key_share=True)
)
_INSERT = Prepared(
    sa.insert(table_of(UsageLog))
    .values(project_id=project_of(sa.bindparam("the_chat", type_=Id())))
    .returning(UsageLog.project_id)
)


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
    thinking_tokens: int = 0


@dataclass(frozen=True)
class Reason:
    """What a request is made for: the run and its reply, and the tool call whose result it reads, if any."""

    message_id: str | None = None
    run_id: str | None = None
    tool_execution_id: str | None = None


def lock_payer(session: Session, user_id: str) -> None:
    """Lock a user, to count one call at a time. Lock before writing the user's rows, to avoid deadlocks."""
    _PAYER.first(session, payer=user_id)


def lock_shared(session: Session, chat_id: str | None) -> None:
    """Lock the quotas of a chat's project, in which several payers reserve, so that they count one after the other.

    Lock after the payer, and before any entry is changed. SQLite has one writer anyway.
    """
    if chat_id is not None and session.get_bind().dialect.name == "postgresql":
        shared = sa.select(ApiQuota.id).where(ApiQuota.project_id == project_of(chat_id))
        session.execute(shared.order_by(ApiQuota.id).with_for_update(key_share=True))


# ---- requests to models


@dataclass(frozen=True)
class Granted:
    """What a request may take: the tokens of its answer, and its seconds if they cost; None if nothing limits them.

    `is_tight`: the answer gets less than it could need, because no more is left of a quota.
    """

    reservation_id: str
    output_tokens: int | None = None
    is_tight: bool = False
    seconds: int | None = None
    words_at_end: str | None = None  # where a limit ends the answer: which one, and what to do


def reserve_request(
    session: Session,
    payer: Payer,
    reason: Reason,
    need: Need,
    *,
    provider: str,
    model_name: str,
    longest_answer: int,
    is_summary: bool = False,
) -> Granted:
    """Reserve the most that a model request may take, within every quota that applies. Raises QuotaReached.

    `need.output_tokens` is the expected most. Where quotas apply, the answer may have up to `longest_answer` tokens
    instead, as far as they allow: the caller limits it to what is granted, so that no limit is passed. The payer's row
    is locked until the transaction ends. An earlier reservation of the same run is released.
    """
    lock_payer(session, payer.user_id)
    lock_shared(session, payer.chat_id)
    if reason.run_id is not None:
        release(session, reason.run_id)
    fitting = fit_or_refuse(session, payer, replace(need, output_tokens=longest_answer))
    output = need.output_tokens if fitting is None else fitting.output_tokens
    taken = need if fitting is None else replace(need, seconds=fitting.seconds)
    reservation_id = enter_reservation(
        session,
        payer,
        reason,
        UsageKind.MODEL,
        fitting,
        provider=provider,
        model_name=model_name,
        reserved_cost=taken.known_cost(output),
        reserved_input_tokens=need.input_tokens,
        reserved_output_tokens=output,
        is_summary=is_summary,
    )
    if fitting is None:
        return Granted(reservation_id)
    return Granted(
        reservation_id,
        output,
        output < longest_answer,
        taken.seconds if need.second_price else None,
        words_of_end(session, payer, fitting.tightest) if fitting.tightest is not None else None,
    )


def enter_reservation(
    session: Session, payer: Payer, reason: Reason, kind: UsageKind, fitting: Fit | None, **values: Any
) -> str:
    """Enter a reservation and return its id.

    Near a limit, the limits are also read when work that runs at the same time is settled.
    """
    reservation_id = new_id()
    is_near_limit = fitting is not None and fitting.is_near_limit
    enter(session, payer, reason, reservation_id, kind, UsageStatus.RESERVED, is_near_limit=is_near_limit, **values)
    if is_near_limit:
        _let_others_look(session, payer)
    return reservation_id


def _let_others_look(session: Session, payer: Payer) -> None:
    """Let limits be read when any open reservation is settled that counts in the same limits, however they end."""
    same = any_index(UsageLog.user_id) == payer.user_id
    if payer.chat_id is not None:
        in_chat = any_index(UsageLog.chat_id) == payer.chat_id
        same = same | in_chat | (any_index(UsageLog.project_id) == project_of(payer.chat_id))
    # A literal, which the partial index needs.
    is_open = UsageLog.status == sa.literal_column("'reserved'")
    session.execute(sa.update(UsageLog).where(is_open, same).values(is_near_limit=True))


_SETTLE = Prepared(
    sa.update(UsageLog)
    .where(UsageLog.id == sa.bindparam("the_entry", type_=UsageLog.id.type))
    .values(
        {
            name: sa.bindparam(f"new_{name}", type_=getattr(UsageLog, name).type)
            for name in (
                "status",
                "provider",
                "model_name",
                "input_tokens",
                "output_tokens",
                "cached_tokens",
                "cache_write_tokens",
                "thinking_tokens",
                "cache_savings",
                "is_estimated",
                "cost",
                "is_summary",
                "updated_at",
            )
        }
    )
)
_RESERVED = sa.select(
    UsageLog.id,
    UsageLog.created_at,
    UsageLog.api_token_id,
    UsageLog.project_id,
    UsageLog.is_near_limit,
    UsageLog.reserved_input_tokens,
    UsageLog.reserved_output_tokens,
    UsageLog.reserved_cost,
)
RESERVATION_OF_RUN = Prepared(
    _RESERVED.where(
        UsageLog.run_id == sa.bindparam("the_run", type_=UsageLog.run_id.type),
        UsageLog.kind == UsageKind.MODEL,
        UsageLog.status == UsageStatus.RESERVED,
    )
)
_RESERVATION = Prepared(
    _RESERVED.where(
        UsageLog.id == sa.bindparam("the_entry", type_=UsageLog.id.type), UsageLog.status == UsageStatus.RESERVED
    )
)


def record_usage(
    session: Session,
    used: RequestUsage,
    payer: Payer,
    reason: Reason,
    *,
    is_summary: bool = False,
    reservation_id: str | None = None,
) -> None:
    """Record a request to a provider, however it ended, in place of its reservation.

    Its retries count as one request, as they are charged. The reservation is the one of the run unless it is named.
    The caller has locked the chat and then the payer, in this order.
    """
    now = clock.now()
    values: dict[str, Any] = {
        "status": UsageStatus.SETTLED,
        "provider": used.provider,
        "model_name": used.model_name,
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "cached_tokens": used.cached_tokens,
        "cache_write_tokens": used.cache_write_tokens,
        "thinking_tokens": used.thinking_tokens,
        "cache_savings": used.cache_savings,
        "is_estimated": used.is_estimated,
        "cost": used.cost,
        "is_summary": is_summary,
        "updated_at": now,
    }
    reserved = (
        _RESERVATION.first(session, the_entry=reservation_id)
        if reservation_id is not None
        else RESERVATION_OF_RUN.first(session, the_run=reason.run_id)
        if reason.run_id is not None
        else None
    )
    if reserved is not None:
        entry_id, moment, token_id, project_id, is_near_limit, *most = reserved
        is_near_limit = is_near_limit or _exceeds(used, *most)
        _SETTLE.run(session, the_entry=entry_id, **{f"new_{name}": value for name, value in values.items()})
    else:
        is_near_limit = True
        moment, token_id = now, payer.api_token_id
        del values["status"], values["updated_at"]
        values |= {"created_at": moment}
        project_id = enter(session, payer, reason, new_id(), UsageKind.MODEL, UsageStatus.SETTLED, **values)
    is_reply = reason.tool_execution_id is None and not is_summary
    place = Place(
        payer.user_id, payer.chat_id, project_id, token_id, UsageKind.MODEL, used.provider, used.model_name, moment
    )
    # A reply that used tools has a row for each of its requests. Only the first is counted.
    add_to_sums(session, place, _amounts_of(used, requests=1, replies=int(is_reply)))
    if is_near_limit:
        note_shares(session, payer)


def _exceeds(used: RequestUsage, input_tokens: int, output_tokens: int, cost: Decimal | None) -> bool:
    """Return whether a request took more than was reserved for it, as providers can count more tokens than we do."""
    return (
        used.input_tokens > input_tokens
        or used.output_tokens > output_tokens
        or (used.cost or Decimal(0)) > (cost or Decimal(0))
    )


_RELEASE = Prepared(
    sa.update(UsageLog)
    .where(
        UsageLog.run_id == sa.bindparam("the_run", type_=UsageLog.run_id.type),
        UsageLog.kind == UsageKind.MODEL,
        UsageLog.status == UsageStatus.RESERVED,
    )
    .values(status=UsageStatus.RELEASED, updated_at=sa.bindparam("moment", type_=UsageLog.created_at.type))
)


def release(session: Session, run_id: str) -> None:
    """Release the amount reserved for a model request of a run that was never made."""
    _RELEASE.run(session, the_run=run_id, moment=clock.now())


def release_reservation(session: Session, reservation_id: str) -> None:
    """Release one reservation, of a request that was never made."""
    session.execute(
        sa.update(UsageLog)
        .where(UsageLog.id == reservation_id, UsageLog.status == UsageStatus.RESERVED)
        .values(status=UsageStatus.RELEASED)
    )


_DEFAULTS: dict[str, Any] = {
    "input_tokens": 0,
    "output_tokens": 0,
    "cached_tokens": 0,
    "cache_write_tokens": 0,
    "thinking_tokens": 0,
    "cache_savings": None,
    "is_summary": False,
    "is_estimated": False,
    "cost": None,
    "reserved_cost": None,
    "reserved_input_tokens": 0,
    "reserved_output_tokens": 0,
    "is_correction": False,
    "is_near_limit": True,
    "note": None,
}


def enter(
    session: Session,
    payer: Payer,
    reason: Reason,
    entry_id: str,
    kind: UsageKind,
    status: UsageStatus,
    **values: Any,
) -> str | None:
    """Enter a row, whose amounts are 0 unless `values` say otherwise. Return the project that its chat is in."""
    now = clock.now()
    entered = _INSERT.first(
        session,
        the_chat=payer.chat_id,
        **(
            _DEFAULTS
            | {
                "id": entry_id,
                "user_id": payer.user_id,
                "chat_id": payer.chat_id,
                "message_id": reason.message_id,
                "run_id": reason.run_id,
                "api_token_id": payer.api_token_id,
                "tool_execution_id": reason.tool_execution_id,
                "kind": kind,
                "status": status,
                "created_at": now,
                "updated_at": now,
            }
            | values
        ),
    )
    assert entered is not None
    return entered[0]  # type: ignore[no-any-return]


def enter_correction(
    session: Session, user_id: str, *, provider: str, model_name: str, cost: Decimal, moment: datetime, note: str
) -> None:
    """Enter the difference to a bill, below 0 if less was billed. The caller has locked the payer."""
    payer = Payer(user_id)
    values = {"provider": provider, "model_name": model_name, "cost": cost, "created_at": moment, "note": note[:200]}
    enter(session, payer, Reason(), new_id(), UsageKind.MODEL, UsageStatus.SETTLED, is_correction=True, **values)
    place = Place(user_id, None, None, None, UsageKind.MODEL, provider, model_name, moment)
    add_to_sums(session, place, Amounts(cost=cost))


def place_of_entry(entry: UsageLog) -> Place:
    return Place(
        entry.user_id,
        entry.chat_id,
        entry.project_id,
        entry.api_token_id,
        entry.kind,
        entry.provider,
        entry.model_name,
        entry.created_at,
    )


def amounts_of_entry(entry: UsageLog) -> Amounts:
    """Return what a settled entry adds to the sums."""
    is_model = entry.kind is UsageKind.MODEL and not entry.is_correction
    is_reply = is_model and entry.tool_execution_id is None and not entry.is_summary
    return _amounts_of(entry, requests=int(is_model), replies=int(is_reply))


def _amounts_of(used: RequestUsage | UsageLog, *, requests: int, replies: int) -> Amounts:
    return Amounts(
        requests=requests,
        replies=replies,
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        cached_tokens=used.cached_tokens,
        cache_write_tokens=used.cache_write_tokens,
        thinking_tokens=used.thinking_tokens,
        cache_savings=used.cache_savings or Decimal(0),
        cost=used.cost or Decimal(0),
        unknown_costs=int(used.cost is None),
        estimated=int(used.is_estimated),
    )
