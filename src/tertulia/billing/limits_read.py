"""List the limits that apply to a person, with what is used, reserved and left."""

from collections.abc import Sequence
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, require_admin
from tertulia.accounts.models import ApiToken, User
from tertulia.accounts.row_limits import StorageLimit
from tertulia.billing.counts import count_of, lowest_messages, today
from tertulia.billing.limits import QUOTA_COLUMNS, Payer, Quota, find_quotas, quota_of, read_limits
from tertulia.billing.models import ApiQuota, LimitRead
from tertulia.billing.quotas import ChatOwnership, holder_of, name_subjects, owns_project
from tertulia.billing.shown_limits import message_limit, read_limit, storage_limit
from tertulia.errors import NotFound
from tertulia.ids import UserId


def list_limits(
    session: Session,
    actor: Actor,
    *,
    chat_id: str | None = None,
    project_id: str | None = None,
    chats: ChatOwnership,
    storage: StorageLimit,
    messages_per_day: int | None,
    is_private: bool = True,
) -> list[LimitRead]:
    """Return the limits of the actor, of a chat and a project of theirs, and of their tokens; the tightest first.

    Raises NotFound. Limits of others' chats and projects are left out: they show what others spend. Without `is_private`,
    so are those that the actor set, which only they see.
    """
    if chat_id is not None and not chats.is_own(session, actor, chat_id):
        raise NotFound
    if project_id is not None and not owns_project(session, actor, project_id):
        raise NotFound
    now = clock.now()
    payer = Payer(actor.user_id, chat_id, actor.token_id)
    quotas, zones = find_quotas(session, payer)
    if actor.token_id is None:
        quotas += _of_tokens(session, actor)
    if project_id is not None:
        known = {quota.id for quota in quotas}
        quotas += [quota for quota in _of_project(session, project_id) if quota.id not in known]
    shown = [
        quota
        for quota in quotas
        if (quota.owner_id is None or is_private)
        and holder_of(session, *quota.subject, quota.owner_id) in (None, actor.user_id)
    ]
    names = name_subjects(session, [quota.subject for quota in shown])
    items = [
        read_limit(limit, names.get((limit.subject, limit.subject_id)))
        for limit in read_limits(session, payer, shown, zones, now)
    ]
    items += _messages(session, actor, quotas, messages_per_day)
    items.append(storage_limit(quotas, storage.used(session, actor.user_id), storage.of(session, actor.user_id)))
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
    """Return the limits of any user that administrators set, for administrators. Raises AdminOnly and NotFound."""
    require_admin(actor)
    user = session.get(User, user_id)
    if user is None:
        raise NotFound
    return list_limits(
        session,
        Actor(user_id, user.role),
        chats=chats,
        storage=storage,
        messages_per_day=messages_per_day,
        is_private=False,
    )


def _of_tokens(session: Session, actor: Actor) -> list[Quota]:
    rows = session.execute(
        sa.select(*QUOTA_COLUMNS)
        .join(ApiToken, ApiToken.id == ApiQuota.api_token_id)
        .where(ApiToken.user_id == actor.user_id, ApiToken.revoked_at.is_(None))
        .order_by(ApiQuota.id)
    )
    return [quota_of(row) for row in rows]


def _of_project(session: Session, project_id: str) -> list[Quota]:
    rows = session.execute(sa.select(*QUOTA_COLUMNS).where(ApiQuota.project_id == project_id).order_by(ApiQuota.id))
    return [quota_of(row) for row in rows]


def _messages(session: Session, actor: Actor, quotas: Sequence[Quota], messages_per_day: int | None) -> list[LimitRead]:
    day = today(session, actor.user_id)
    most = lowest_messages(quotas, messages_per_day)
    if most is None:
        return []
    used = count_of(session, actor.user_id, day)
    return [message_limit(quotas, used, most, starts_at=day.starts_at, resets_at=day.resets_at)]
