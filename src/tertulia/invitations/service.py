"""Invite people, and make the account of the person who has the link."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, require_admin
from tertulia.accounts.audit import write_audit
from tertulia.accounts.models import User, UserRole, UserStatus
from tertulia.accounts.service import add_user
from tertulia.accounts.tokens import hash_token, new_link_token
from tertulia.billing.models import Plan, PlanSource
from tertulia.billing.plans import get_plan, set_user_plan
from tertulia.db import rowcount
from tertulia.ids import InvitationId, UserId, new_id
from tertulia.invitations.errors import InvitationNotFound, TooManyInvitations
from tertulia.invitations.events import INVITATION
from tertulia.invitations.models import Invitation
from tertulia.invitations.schemas import (
    USUAL,
    InvitationAccept,
    InvitationCreate,
    InvitationOffer,
    InvitationRead,
    InvitationWithToken,
)
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

MAX_OPEN = 500
KEPT = timedelta(days=30)  # how long accepted and expired invitations are listed


def create_invitation(session: Session, actor: Actor, new: InvitationCreate) -> InvitationWithToken:
    """Create an invitation and return its token, which is not stored. Raises AdminOnly, PlanNotFound, TooManyInvitations."""
    require_admin(actor)
    plan = get_plan(session, new.plan_id) if new.plan_id is not None else None
    _lock(session)
    now = clock.now()
    count = session.scalar(sa.select(sa.func.count()).select_from(Invitation).where(*_open(now)))
    if (count or 0) >= MAX_OPEN:
        raise TooManyInvitations(MAX_OPEN)
    token = new_link_token()
    row = Invitation(
        id=new_id(),
        token_hash=hash_token(token),
        role=new.role,
        email=new.email,
        plan_id=plan.id if plan else None,
        created_by=None if actor.is_operator else actor.user_id,
        expires_at=new.expires_at or now + USUAL,
    )
    session.add(row)
    session.flush()
    write_audit(session, actor.user_id, "invitation.create", entity="invitation", entity_id=row.id)
    listed = _read(row, plan.name if plan else None, None)
    _announce(session, row, listed, Operation.CREATED)
    return {**listed, "token": token}


def _lock(session: Session) -> None:
    """Let one transaction at a time count invitations. On SQLite there is only one anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("LOCK TABLE invitation IN SHARE ROW EXCLUSIVE MODE"))


def _open(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return Invitation.accepted_at.is_(None), Invitation.expires_at > now


def list_invitations(session: Session, actor: Actor, *, after: str | None, limit: int) -> list[InvitationRead]:
    """List invitations, newest first, with those that were accepted or expired in the last 30 days."""
    require_admin(actor)
    query = (
        sa.select(Invitation, Plan.name, User.name)
        .outerjoin(Plan, Plan.id == Invitation.plan_id)
        .outerjoin(User, User.id == Invitation.user_id)
        .order_by(Invitation.id.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(Invitation.id < after)
    return [_read(*row) for row in session.execute(query)]


def withdraw_invitation(session: Session, actor: Actor, invitation_id: InvitationId) -> None:
    """Delete an invitation, so that its link makes no account. Raises AdminOnly and InvitationNotFound."""
    require_admin(actor)
    row = session.get(Invitation, invitation_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise InvitationNotFound
    write_audit(session, actor.user_id, "invitation.withdraw", entity="invitation", entity_id=row.id)
    _announce(session, row, None, Operation.DELETED)
    session.delete(row)
    session.flush()


def get_offer(session: Session, token: str) -> InvitationOffer:
    """Return what the link of an invitation offers. Raises InvitationNotFound."""
    row = _find(session, token)
    plan = session.get(Plan, row.plan_id) if row.plan_id else None
    return {
        "role": row.role,
        "email": row.email,
        "plan_name": plan.name if plan else None,
        "expires_at": row.expires_at,
    }


def accept_invitation(session: Session, token: str, account: InvitationAccept, *, password_hash: str) -> UserId:
    """Make the account of an invitation, once. Return its id. Raises InvitationNotFound and UsernameTaken."""
    row = _find(session, token, for_update=True)
    if account.email is None:
        account = account.model_copy(update={"email": row.email})
    user_id = add_user(session, account, row.role, password_hash=password_hash)
    if row.plan_id is not None:
        set_user_plan(session, user_id, PlanSource.HAND, row.plan_id)
    row.accepted_at, row.user_id, row.email = clock.now(), user_id, None
    session.flush()
    write_audit(session, user_id, "invitation.accept", entity="invitation", entity_id=row.id)
    plan = session.get(Plan, row.plan_id) if row.plan_id else None
    _announce(session, row, _read(row, plan.name if plan else None, account.name), Operation.UPDATED)
    return user_id


def _find(session: Session, token: str, *, for_update: bool = False) -> Invitation:
    is_admin = (User.role == UserRole.ADMIN) & (User.status == UserStatus.ACTIVE)
    query = (
        sa.select(Invitation)
        .outerjoin(User, User.id == Invitation.created_by)
        .where(
            Invitation.token_hash == hash_token(token),
            *_open(clock.now()),
            Invitation.created_by.is_(None) | is_admin,
        )
    )
    if for_update:
        query = query.with_for_update(of=Invitation).execution_options(populate_existing=True)
    row = session.scalars(query).one_or_none()
    if row is None:
        raise InvitationNotFound
    return row


def _read(row: Invitation, plan_name: str | None, user_name: str | None) -> InvitationRead:
    return {
        "id": row.id,
        "role": row.role,
        "email": row.email,
        "plan_id": row.plan_id,
        "plan_name": plan_name,
        "expires_at": row.expires_at,
        "accepted_at": row.accepted_at,
        "user_name": user_name,
        "created_at": row.created_at,
    }


def _announce(session: Session, row: Invitation, read: InvitationRead | None, operation: Operation) -> None:
    """Tell the windows of the person who invited, if it was a person."""
    if row.created_by is None:
        return
    publish(
        session,
        owner_id=row.created_by,
        topic=f"user:{row.created_by}",
        entity=INVITATION,
        entity_id=row.id,
        operation=operation,
        payload=read,
    )


def sweep_invitations(session: Session) -> int:
    """Delete up to 500 invitations that were accepted or expired 30 days ago. Return how many."""
    moment = clock.now() - KEPT
    old = (
        sa.select(Invitation.id)
        .where((Invitation.expires_at < moment) | (Invitation.accepted_at < moment))
        .limit(MAX_OPEN)
    )
    return rowcount(session, sa.delete(Invitation).where(Invitation.id.in_(old)))
