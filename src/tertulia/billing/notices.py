"""Notify people when they reach 50, 80 and 100 % of a limit, once for each window."""

from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.events import QUOTA_NOTICE
from tertulia.billing.limits import NOTED_SHARES, Limit, Payer, find_quotas, read_limits
from tertulia.billing.models import QuotaNotice
from tertulia.billing.schemas import LimitRead, QuotaNoticeRead
from tertulia.db import insert_if_absent
from tertulia.ids import new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish


def share_of(limit: Limit) -> int:
    """Return the percent of a limit that is used, rounded down, without what is only reserved."""
    return 100 if limit.most <= 0 else int(limit.used * 100 / limit.most)


def note_shares(session: Session, payer: Payer) -> None:
    """Store and publish a notice for each limit of which a new share is reached. Nothing for windows below a day.

    Called where something is settled, so that a person learns of it before the next request is refused.
    """
    quotas, zones = find_quotas(session, payer)
    for limit in read_limits(session, payer, quotas, zones, clock.now()):
        if limit.is_sliding or limit.window.value in ("minute", "hour") or limit.most <= 0:
            continue
        percent = next((share for share in NOTED_SHARES if share_of(limit) >= share), None)
        if percent is None:
            continue
        notice_id, now = new_id(), clock.now()
        # Of a limit that a person set on a chat, the person hears, also when others spend there.
        user_id = limit.owner_id or payer.user_id
        if insert_if_absent(
            session,
            QuotaNotice,
            id=notice_id,
            quota_id=limit.quota_id,
            user_id=user_id,
            measure=limit.measure,
            starts_at=limit.starts_at,
            percent=percent,
            created_at=now,
            updated_at=now,
        ):
            notice: QuotaNoticeRead = {
                "id": notice_id,
                "percent": percent,
                "limit": read_limit(limit),
                "created_at": now,
            }
            publish(
                session,
                owner_id=user_id,
                topic=f"user:{user_id}",
                entity=QUOTA_NOTICE,
                entity_id=notice_id,
                operation=Operation.CREATED,
                payload=notice,
            )


def read_limit(limit: Limit, *, subject_id: str | None = None, subject_name: str | None = None) -> LimitRead:
    return {
        "quota_id": limit.quota_id,
        "subject_kind": limit.subject,
        "subject_id": subject_id,
        "subject_name": subject_name,
        "set_by": limit.set_by,
        "window": limit.window,
        "is_sliding": limit.is_sliding,
        "measure": limit.measure,
        "limit": limit.most,
        "used": limit.used,
        "reserved": limit.reserved,
        "left": limit.left,
        "starts_at": limit.starts_at,
        "resets_at": limit.resets_at,
    }
