"""Set quotas: an administrator for everybody, and people for themselves and for what is theirs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import OPERATOR_ID, Actor, require_admin, require_session
from tertulia.accounts.audit import write_audit
from tertulia.accounts.models import ApiToken, MemberRole, Membership, User, UserRole
from tertulia.billing.errors import QuotaNotFound, QuotaSubjectUnknown, TooManyQuotas
from tertulia.billing.events import QUOTA
from tertulia.billing.models import ApiQuota, Plan, QuotaNotice, QuotaSetBy, QuotaSubject
from tertulia.billing.schemas import QuotaCreate, QuotaRead, QuotaUpdate
from tertulia.billing.sums import CHAT, PROJECT
from tertulia.ids import QuotaId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

MAX_OWN = 50  # quotas that a person may set
MAX_ALL = 1000  # quotas that administrators may set
QuotaKey = tuple[QuotaSubject, str]


@dataclass(frozen=True)
class ChatOwnership:
    """Service: whether a chat is the actor's own. Chats, a package above, provide it."""

    is_own: Callable[[Session, Actor, str], bool]


_COLUMNS: dict[QuotaSubject, Any] = {
    QuotaSubject.USER: ApiQuota.user_id,
    QuotaSubject.ROLE: ApiQuota.role,
    QuotaSubject.PLAN: ApiQuota.plan_id,
    QuotaSubject.CHAT: ApiQuota.chat_id,
    QuotaSubject.TOKEN: ApiQuota.api_token_id,
    QuotaSubject.PROJECT: ApiQuota.project_id,
}


def create_quota(session: Session, actor: Actor, new: QuotaCreate, chats: ChatOwnership) -> QuotaRead:
    """Create a quota. Raises QuotaSubjectUnknown for a subject that the actor may not limit, and TooManyQuotas."""
    require_session(actor)
    set_by = _check_subject(session, actor, new.subject_kind, new.subject_id, chats, is_own=bool(new.is_own))
    session.execute(sa.select(User.id).where(User.id == actor.user_id).with_for_update())
    limit = MAX_ALL if set_by is QuotaSetBy.ADMIN else MAX_OWN
    counted = ApiQuota.owner_id.is_(None) if set_by is QuotaSetBy.ADMIN else ApiQuota.owner_id == actor.user_id
    if (session.scalar(sa.select(sa.func.count()).select_from(ApiQuota).where(counted)) or 0) >= limit:
        raise TooManyQuotas(limit)
    quota = ApiQuota(
        id=new_id(),
        owner_id=None if set_by is QuotaSetBy.ADMIN else actor.user_id,
        **{_COLUMNS[new.subject_kind].key: new.subject_id},
        **new.model_dump(exclude={"subject_kind", "subject_id", "is_own"}),
    )
    session.add(quota)
    session.flush()
    write_audit(session, actor.user_id, "quota.create", entity="quota", entity_id=quota.id)
    return _announce(session, actor, quota, Operation.CREATED)


def _check_subject(
    session: Session, actor: Actor, kind: QuotaSubject, subject_id: str, chats: ChatOwnership, *, is_own: bool
) -> QuotaSetBy:
    """Return who sets the quota. People may limit themselves and what is theirs; administrators everything."""
    match kind:
        case QuotaSubject.USER:
            if subject_id == actor.user_id and (is_own or not actor.is_admin):
                return QuotaSetBy.PERSON
            if actor.is_admin and session.get(User, subject_id) is not None:
                return QuotaSetBy.ADMIN
        case QuotaSubject.ROLE:
            if actor.is_admin and subject_id in list(UserRole):
                return QuotaSetBy.ADMIN
        case QuotaSubject.PLAN:
            if actor.is_admin and session.get(Plan, subject_id) is not None:
                return QuotaSetBy.ADMIN
        case QuotaSubject.CHAT:
            if chats.is_own(session, actor, subject_id):
                return QuotaSetBy.PERSON
            if actor.is_admin and session.scalar(sa.select(CHAT.c.id).where(CHAT.c.id == subject_id)) is not None:
                return QuotaSetBy.ADMIN
        case QuotaSubject.TOKEN:
            owner_id = session.scalar(sa.select(ApiToken.user_id).where(ApiToken.id == subject_id))
            if owner_id == actor.user_id:
                return QuotaSetBy.PERSON
            if owner_id is not None and actor.is_admin:
                return QuotaSetBy.ADMIN
        case QuotaSubject.PROJECT:
            if owns_project(session, actor, subject_id):
                return QuotaSetBy.PERSON
            if actor.is_admin and session.scalar(sa.select(PROJECT.c.id).where(PROJECT.c.id == subject_id)) is not None:
                return QuotaSetBy.ADMIN
    raise QuotaSubjectUnknown


def owns_project(session: Session, actor: Actor, project_id: str) -> bool:
    role = sa.select(Membership.role).where(Membership.project_id == project_id, Membership.user_id == actor.user_id)
    return session.scalar(role) is MemberRole.OWNER


def hand_over_quotas(session: Session, project_id: str, owner_id: str) -> None:
    """Give the limits of a project to its new owner, who hears of them and may change them."""
    of_owner = sa.update(ApiQuota).where(ApiQuota.project_id == project_id, ApiQuota.owner_id.is_not(None))
    session.execute(of_owner.values(owner_id=owner_id))


def holder_of(session: Session, kind: QuotaSubject, subject_id: str, owner_id: str | None) -> str | None:
    """Return who may see what is spent within a limit; None: each person whom it limits.

    What several people spend in a chat or a project is known to its owner, also where an administrator limits it.
    """
    if owner_id is not None:
        return owner_id
    match kind:
        case QuotaSubject.CHAT:
            return session.scalar(sa.select(CHAT.c.user_id).where(CHAT.c.id == subject_id))
        case QuotaSubject.PROJECT:
            owners = sa.select(Membership.user_id).where(
                Membership.project_id == subject_id, Membership.role == MemberRole.OWNER
            )
            return session.scalar(owners.order_by(Membership.user_id).limit(1))
    return None


def get_quota(session: Session, actor: Actor, quota_id: QuotaId) -> ApiQuota:
    """Return a quota that the actor may change: their own, or any of an administrator for one. Raises QuotaNotFound."""
    may_change = ApiQuota.owner_id == actor.user_id
    if actor.is_admin:
        may_change = sa.or_(may_change, ApiQuota.owner_id.is_(None))
    quota = session.scalars(sa.select(ApiQuota).where(ApiQuota.id == quota_id, may_change).with_for_update()).first()
    if quota is None:
        raise QuotaNotFound
    return quota


def update_quota(session: Session, actor: Actor, quota_id: QuotaId, changes: QuotaUpdate) -> QuotaRead:
    """Change the window or the limits of a quota. Raises QuotaNotFound, and Invalid if it would limit nothing."""
    require_session(actor)
    quota = get_quota(session, actor, quota_id)
    for name, value in changes.model_dump(exclude_unset=True).items():
        setattr(quota, name, value)
    changes.check_whole(quota)
    session.flush()
    # What is reached of the new limit is told again.
    session.execute(sa.delete(QuotaNotice).where(QuotaNotice.quota_id == quota.id))
    write_audit(session, actor.user_id, "quota.update", entity="quota", entity_id=quota.id)
    return _announce(session, actor, quota, Operation.UPDATED)


def delete_quota(session: Session, actor: Actor, quota_id: QuotaId) -> None:
    require_session(actor)
    quota = get_quota(session, actor, quota_id)
    write_audit(session, actor.user_id, "quota.delete", entity="quota", entity_id=quota.id)
    _announce(session, actor, quota, Operation.DELETED)
    session.delete(quota)
    session.flush()


def list_quotas(session: Session, actor: Actor, *, is_everyone: bool, after: str | None, limit: int) -> list[QuotaRead]:
    """List quotas, newest first: of all people (`is_everyone`, administrators only), or those that the actor may change."""
    if is_everyone:
        require_admin(actor)
    wanted = ApiQuota.owner_id.is_(None) if is_everyone else ApiQuota.owner_id == actor.user_id
    query = sa.select(ApiQuota).where(wanted).order_by(ApiQuota.id.desc()).limit(limit)
    if after is not None:
        query = query.where(ApiQuota.id < after)
    rows = session.scalars(query).all()
    names = name_subjects(session, [subject for row in rows for subject in _named(row)])
    return [read_quota(row, names) for row in rows]


def _named(quota: ApiQuota) -> list[QuotaKey]:
    """Return the subject of a quota if who may change the quota may know its name: not what is private to others."""
    is_private = quota.owner_id is None and quota.subject[0].is_shared
    return [] if is_private else [quota.subject]


Names = dict[QuotaKey, str]


def name_subjects(session: Session, subjects: Sequence[QuotaKey]) -> Names:
    """Return the names of subjects, of which the reader may know each."""
    names: Names = {}
    named: tuple[tuple[QuotaSubject, Any, Any], ...] = (
        (QuotaSubject.USER, User.id, User.username),
        (QuotaSubject.PLAN, Plan.id, Plan.name),
        (QuotaSubject.TOKEN, ApiToken.id, ApiToken.name),
        (QuotaSubject.PROJECT, PROJECT.c.id, PROJECT.c.name),
        (QuotaSubject.CHAT, CHAT.c.id, CHAT.c.title),
    )
    for kind, column, name in named:
        ids = [subject_id for of, subject_id in subjects if of is kind]
        if ids:
            known = session.execute(sa.select(column, name).where(column.in_(ids)))
            names |= {(kind, id_): shown for id_, shown in known}
    return names


def read_quota(quota: ApiQuota, names: Names) -> QuotaRead:
    kind, subject_id = quota.subject
    return {
        "id": quota.id,
        "subject_kind": kind,
        "subject_id": subject_id,
        "subject_name": names.get((kind, subject_id)),
        "set_by": quota.set_by,
        "window": quota.window,
        "is_sliding": quota.is_sliding,
        "max_requests": quota.max_requests,
        "max_messages": quota.max_messages,
        "max_tokens": quota.max_tokens,
        "max_input_tokens": quota.max_input_tokens,
        "max_output_tokens": quota.max_output_tokens,
        "max_cost": quota.max_cost,
        "max_storage_bytes": quota.max_storage_bytes,
        "created_at": quota.created_at,
        "updated_at": quota.updated_at,
    }


def _announce(session: Session, actor: Actor, quota: ApiQuota, operation: Operation) -> QuotaRead:
    """Publish a change to the windows of its author and of the user it limits. Others see it with their next request."""
    read = read_quota(quota, name_subjects(session, _named(quota)))
    for owner_id in {actor.user_id, quota.user_id} - {None, OPERATOR_ID}:
        publish(
            session,
            owner_id=str(owner_id),
            topic=f"user:{owner_id}",
            entity=QUOTA,
            entity_id=quota.id,
            operation=operation,
            payload=read,
        )
    return read
