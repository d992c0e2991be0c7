"""List the limits that apply to a person, with what is used, reserved and left."""

from collections.abc import Sequence
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, require_admin
from tertulia.accounts.models import ApiToken, User
from tertulia.accounts.row_limits import StorageLimit
from tertulia.billing.counts import get_message_count
from tertulia.billing.limits import QUOTA_COLUMNS, Payer, Quota, find_quotas, quota_of, read_limits
from tertulia.billing.models import ApiQuota, QuotaSetBy, QuotaSubject, QuotaWindow
from tertulia.billing.notices import read_limit
from tertulia.billing.quotas import ChatOwnership, name_subjects
from tertulia.billing.schemas import LimitRead
from tertulia.errors import NotFound
from tertulia.ids import UserId


def list_limits(
    session: Session,
    actor: Actor,
    *,
    chat_id: str | None,
    chats: ChatOwnership,
    storage: StorageLimit,
    messages_per_day: int | None,
) -> list[LimitRead]:
    """Return the limits of the actor, of a chat of theirs, and of their tokens; the tightest first. Raises NotFound."""
    if chat_id is not None and not chats.is_own(session, actor, chat_id):
        raise NotFound
    now = clock.now()
    payer = Payer(actor.user_id, chat_id, actor.token_id)
    quotas, zones = find_quotas(session, payer)
    if actor.token_id is None:
        quotas += _of_tokens(session, actor)
    names = name_subjects(session, [quota.subject for quota in quotas])
    items: list[LimitRead] = []
    for quota in quotas:
        subject, subject_id = quota.subject
        of = Payer(actor.user_id, chat_id, subject_id) if subject is QuotaSubject.TOKEN else payer
        items += [
            read_limit(limit, subject_id=subject_id, subject_name=names.get((subject, subject_id)))
            for limit in read_limits(session, of, [quota], zones, now)
        ]
    items += _messages(session, actor, quotas, messages_per_day)
    items += _storage(session, actor, quotas, storage)
    return sorted(items, key=lambda item: item["left"] / item["limit"] if item["limit"] else Decimal(0))


def list_limits_of(
    session: Session,
    actor: Actor,
    user_id: UserId,
    *,
    chats: ChatOwnership,
    storage: StorageLimit,
    messages_per_day: int | None,
) -> list[LimitRead]:
    """Return the limits of any user, for administrators. Raises AdminOnly and NotFound."""
    require_admin(actor)
    user = session.get(User, user_id)
    if user is None:
        raise NotFound
    return list_limits(
        session,
        Actor(user_id, user.role),
        chat_id=None,
        chats=chats,
        storage=storage,
        messages_per_day=messages_per_day,
    )


def _of_tokens(session: Session, actor: Actor) -> list[Quota]:
    rows = session.execute(
        sa.select(*QUOTA_COLUMNS)
        .join(ApiToken, ApiToken.id == ApiQuota.api_token_id)
        .where(ApiToken.user_id == actor.user_id, ApiToken.revoked_at.is_(None))
        .order_by(ApiQuota.id)
    )
    return [quota_of(row) for row in rows]


def _messages(session: Session, actor: Actor, quotas: Sequence[Quota], messages_per_day: int | None) -> list[LimitRead]:
    count = get_message_count(session, actor, limit=messages_per_day)
    if count["limit"] is None:
        return []
    quota = next((quota for quota in quotas if quota.max_messages == count["limit"]), None)
    return [
        {
            **_of(quota, QuotaWindow.DAY),
            "measure": "messages",
            "limit": Decimal(count["limit"]),
            "used": Decimal(count["count"]),
            "reserved": Decimal(0),
            "left": Decimal(max(0, count["limit"] - count["count"])),
            "starts_at": None,
            "resets_at": count["reset_at"],
        }
    ]


def _storage(session: Session, actor: Actor, quotas: Sequence[Quota], storage: StorageLimit) -> list[LimitRead]:
    most, used = storage.of(session, actor.user_id), storage.used(session, actor.user_id)
    quota = next((quota for quota in quotas if quota.max_storage_bytes == most), None)
    return [
        {
            **_of(quota, QuotaWindow.MONTH),
            "measure": "storage",
            "limit": Decimal(most),
            "used": Decimal(used),
            "reserved": Decimal(0),
            "left": Decimal(max(0, most - used)),
            "starts_at": None,
            "resets_at": None,
        }
    ]


def _of(quota: Quota | None, window: QuotaWindow) -> LimitRead:
    """Return the part of a limit that says whose it is. Without a quota, the operator's settings limit everybody."""
    subject, subject_id = quota.subject if quota else (QuotaSubject.USER, None)
    return {  # type: ignore[typeddict-item]
        "quota_id": quota.id if quota else None,
        "subject_kind": subject,
        "subject_id": subject_id,
        "subject_name": None,
        "set_by": quota.set_by if quota else QuotaSetBy.ADMIN,
        "window": window,
        "is_sliding": False,
    }
