"""Notify people when they reach 50, 80 and 100 % of a limit, once for each window, until they have seen it."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.billing.events import QUOTA_NOTICE
from tertulia.billing.limits import NOTED_SHARES, Payer, find_quotas, read_limits
from tertulia.billing.models import LimitRead, QuotaNotice
from tertulia.billing.quotas import holder_of, name_subjects
from tertulia.billing.schemas import QuotaNoticeRead
from tertulia.billing.shown_limits import read_limit, storage_limit
from tertulia.billing.windows import SLIDING
from tertulia.db import insert_if_absent
from tertulia.errors import NotFound
from tertulia.ids import QuotaNoticeId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

SERVER = "server"  # the key of a limit that is a setting of the operator
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)  # the start of the window of storage


def note_shares(session: Session, payer: Payer) -> None:
    """Store and publish a notice for each limit of which a new share is reached. Nothing for windows below a day.

    Called where something is settled, so that a person learns of it before the next request is refused.
    """
    quotas, zones = find_quotas(session, payer)
    for limit in read_limits(session, payer, quotas, zones, clock.now()):
        if limit.window.value in ("minute", "hour"):
            continue
        shown = read_limit(limit)
        if share_of(shown) is None:
            continue
        holder_id = holder_of(session, limit.subject, limit.subject_id, limit.owner_id)
        if holder_id is not None:
            # Of a limit on a chat or a project its owner hears, also when others spend there.
            names = name_subjects(session, [(limit.subject, limit.subject_id)])
            shown["subject_name"] = names.get((limit.subject, limit.subject_id))
        note_share(session, holder_id or payer.user_id, shown)


def note_share(session: Session, user_id: str, limit: LimitRead) -> None:
    """Notify a person of the highest share of a limit that they reached, unless they were."""
    percent = share_of(limit)
    if percent is None:
        return
    now = clock.now()
    of_limit = {"user_id": user_id, "limit_key": limit["quota_id"] or SERVER, "measure": limit["measure"]}
    starts_at, ends_at = limit["starts_at"] or ALWAYS, limit["resets_at"]
    if limit["is_sliding"]:  # its start moves: once in the length of the window is enough
        recent = sa.select(QuotaNotice.id).filter_by(**of_limit)
        if session.scalar(recent.where(QuotaNotice.percent >= percent, QuotaNotice.created_at > starts_at).limit(1)):
            return
        starts_at, ends_at = now, now + SLIDING[limit["window"]]
    key = of_limit | {"starts_at": starts_at}
    notice_id = new_id()
    is_new = insert_if_absent(
        session,
        QuotaNotice,
        id=notice_id,
        **key,
        quota_id=limit["quota_id"],
        ends_at=ends_at,
        percent=percent,
        limit=limit,
        created_at=now,
        updated_at=now,
    )
    if not is_new:
        return
    lower = sa.update(QuotaNotice).filter_by(**of_limit, seen_at=None).where(QuotaNotice.id != notice_id)
    session.execute(lower.values(seen_at=now))
    notice: QuotaNoticeRead = {"id": notice_id, "percent": percent, "limit": limit, "created_at": now}
    _publish(session, user_id, notice_id, Operation.CREATED, notice)


def share_of(limit: LimitRead) -> int | None:
    """Return the highest share, in percent, that is used of a limit, without what is only reserved."""
    most, used = limit["limit"], limit["used"]
    if most <= 0:
        return None
    return next((share for share in NOTED_SHARES if used * 100 >= most * share), None)


def note_storage(session: Session, user_id: str, used: int, most: int) -> None:
    """Notify a person of the share of their storage that they reached. Files that they delete make it new again."""
    quotas, _ = find_quotas(session, Payer(user_id))
    limit = storage_limit(quotas, used, most)
    percent = share_of(limit) or 0
    above = sa.delete(QuotaNotice).where(QuotaNotice.user_id == user_id, QuotaNotice.measure == "storage")
    session.execute(above.where(QuotaNotice.percent > percent))
    note_share(session, user_id, limit)


def list_notices(session: Session, actor: Actor, *, after: str | None, limit: int) -> list[QuotaNoticeRead]:
    """List the notices that the actor has not seen, of windows that have not ended, newest first."""
    query = sa.select(QuotaNotice).where(
        QuotaNotice.user_id == actor.user_id,
        QuotaNotice.seen_at.is_(None),
        QuotaNotice.ends_at.is_(None) | (QuotaNotice.ends_at > clock.now()),
    )
    if after is not None:
        query = query.where(QuotaNotice.id < after)
    rows = session.scalars(query.order_by(QuotaNotice.id.desc()).limit(limit))
    return [{"id": row.id, "percent": row.percent, "limit": row.limit, "created_at": row.created_at} for row in rows]


def see_notice(session: Session, actor: Actor, notice_id: QuotaNoticeId) -> None:
    """Show a notice no more, on any device. Raises NotFound."""
    notice = session.get(QuotaNotice, notice_id)
    if notice is None or notice.user_id != actor.user_id:
        raise NotFound
    if notice.seen_at is None:
        notice.seen_at = clock.now()
        session.flush()
        _publish(session, actor.user_id, notice_id, Operation.DELETED, None)


def _publish(
    session: Session, user_id: str, notice_id: str, operation: Operation, notice: QuotaNoticeRead | None
) -> None:
    publish(
        session,
        owner_id=user_id,
        topic=f"user:{user_id}",
        entity=QUOTA_NOTICE,
        entity_id=notice_id,
        operation=operation,
        payload=notice,
    )
