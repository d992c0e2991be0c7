"""Build limits as they are shown to people: whose they are, and what is used, reserved and left."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal

from tertulia.billing.limits import Limit, Quota
from tertulia.billing.models import LimitRead, QuotaSetBy, QuotaSubject, QuotaWindow


def read_limit(limit: Limit, subject_name: str | None = None) -> LimitRead:
    return {
        "quota_id": limit.quota_id,
        "subject_kind": limit.subject,
        "subject_id": limit.subject_id,
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


def storage_limit(quotas: Sequence[Quota], used: int, most: int) -> LimitRead:
    quota = next((quota for quota in quotas if quota.max_storage_bytes == most), None)
    return _read_count("storage", quota, QuotaWindow.MONTH, used, most)


def message_limit(
    quotas: Sequence[Quota], used: int, most: int, *, starts_at: datetime, resets_at: datetime
) -> LimitRead:
    quota = next((quota for quota in quotas if quota.max_messages == most), None)
    return _read_count("messages", quota, QuotaWindow.DAY, used, most, starts_at, resets_at)


def _read_count(
    measure: Literal["messages", "storage"],
    quota: Quota | None,
    window: QuotaWindow,
    used: int,
    most: int,
    starts_at: datetime | None = None,
    resets_at: datetime | None = None,
) -> LimitRead:
    """Return a limit of which nothing is reserved. Without a quota, the operator's settings limit everybody."""
    subject, subject_id = quota.subject if quota else (QuotaSubject.USER, None)
    return {
        "quota_id": quota.id if quota else None,
        "subject_kind": subject,
        "subject_id": subject_id,
        "subject_name": None,
        "set_by": quota.set_by if quota else QuotaSetBy.ADMIN,
        "window": window,
        "is_sliding": False,
        "measure": measure,
        "limit": Decimal(most),
        "used": Decimal(used),
        "reserved": Decimal(0),
        "left": Decimal(max(0, most - used)),
        "starts_at": starts_at,
        "resets_at": resets_at,
    }
