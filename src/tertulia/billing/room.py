"""Say how much of a request fits into the limits, and refuse what does not fit with what to do about it."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.errors import LimitReached, OthersLimitReached, QuotaReached, words_at_end, words_at_others_end
from tertulia.billing.limits import (
    LEAST_ANSWER,
    Fit,
    Limit,
    Need,
    Payer,
    Price,
    find_quotas,
    fit_time,
    needed_of,
    read_limits,
    when_room,
)
from tertulia.billing.models import QuotaSetBy
from tertulia.billing.quotas import holder_of
from tertulia.billing.windows import SLIDING

SOON = timedelta(seconds=5)


def check_room(session: Session, payer: Payer, price: Price, second_price: Decimal = Decimal(0)) -> None:
    """Raise QuotaReached if not even a short answer fits now. Reserves nothing; the caller has locked the payer.

    A message is refused before it is stored, so that what was typed stays where it is. Each request is counted exactly
    when it is made.
    """
    fit_or_refuse(session, payer, Need(1, LEAST_ANSWER, price=price, second_price=second_price))


def fit_or_refuse(session: Session, payer: Payer, need: Need) -> Fit | None:
    """Return how much of a request fits into every quota; None without quotas. Raises QuotaReached."""
    quotas, zones = find_quotas(session, payer)
    if not quotas:
        return None
    now = clock.now()
    fitting = fit_time(need, read_limits(session, payer, quotas, zones, now))
    if fitting.refused_by is not None:
        raise _refused(session, payer, fitting.refused_by, replace(need, seconds=fitting.seconds), now)
    return fitting


def _refused(session: Session, payer: Payer, limit: Limit, need: Need, now: datetime) -> QuotaReached:
    least = min(need.output_tokens, LEAST_ANSWER)
    needed = needed_of(need, limit.measure, least)
    if holder_of(session, limit.subject, limit.subject_id, limit.owner_id) not in (None, payer.user_id):
        who = "administrator" if limit.set_by is QuotaSetBy.ADMIN else "owner"
        return OthersLimitReached(limit.quota_id, limit.subject, limit.window, who)
    retry_at: datetime | None = when_room(session, payer, limit, now)
    if needed > limit.most:
        retry_at = now + SLIDING[limit.window]  # it never fits; a client that tries again all the same should wait
    elif limit.used + needed <= limit.most:
        retry_at = now + SOON  # only running work is in the way
    return LimitReached(
        quota_id=limit.quota_id,
        subject=limit.subject,
        measure=limit.measure,
        window=limit.window,
        limit=limit.most,
        left=limit.left,
        needed=needed,
        can_raise="person" if limit.set_by is QuotaSetBy.PERSON else "administrator",
        resets_at=limit.resets_at,
        retry_at=retry_at,
    )


def words_of_end(session: Session, payer: Payer, limit: Limit) -> str:
    """Return what an answer says at its end that a limit ended."""
    who = "person" if limit.set_by is QuotaSetBy.PERSON else "administrator"
    if holder_of(session, limit.subject, limit.subject_id, limit.owner_id) in (None, payer.user_id):
        return words_at_end(limit.subject, limit.measure, limit.window, limit.most, who, limit.resets_at)
    return words_at_others_end(limit.subject, "owner" if who == "person" else who)
