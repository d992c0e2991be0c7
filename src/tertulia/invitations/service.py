"""Invite people, and make the account of the person who has the link."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, require_admin, require_session
from tertulia.accounts.audit import write_audit
from tertulia.accounts.models import MemberRole, User, UserRole, UserStatus
from tertulia.accounts.service import add_user
from tertulia.accounts.tokens import hash_token, new_link_token
from tertulia.billing.models import Plan, PlanSource
from tertulia.billing.plans import get_plan, set_user_plan
from tertulia.db import rowcount
from tertulia.ids import InvitationId, ProjectId, UserId, new_id
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
    Joined,
)
from tertulia.projects.errors import ReadOnlyProject
from tertulia.projects.members import add_user_to
from tertulia.projects.models import Project, ProjectStatus
from tertulia.projects.service import own_project
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

MAX_OPEN = 500
MAX_OPEN_OF_PROJECT = 100
KEPT = timedelta(days=30)  # how long accepted and expired invitations are listed


def create_invitation(session: Session, actor: Actor, new: InvitationCreate) -> InvitationWithToken:
    """Create an invitation and return its token, which is not stored.

    People invite into their projects, administrators also into the server. Raises AdminOnly, PlanNotFound,
    TooManyInvitations, ProjectNotFound, NotYourProject and ReadOnlyProject.
    """
    require_session(actor)
    if new.project_id is None or new.role is not UserRole.USER or new.plan_id is not None or new.email is not None:
        require_admin(actor)
    if new.project_id is not None and own_project(session, actor, new.project_id).status is not ProjectStatus.ACTIVE:
        raise ReadOnlyProject
    plan = get_plan(session, new.plan_id) if new.plan_id is not None else None
    _lock(session)
    now = clock.now()
    limit = MAX_OPEN if new.project_id is None else MAX_OPEN_OF_PROJECT
    same = sa.and_(Invitation.project_id.is_not_distinct_from(new.project_id), *_of_owner(actor, new.project_id))
    count = session.scalar(sa.select(sa.func.count()).select_from(Invitation).where(same, *_open(now)))
    if (count or 0) >= limit:
        raise TooManyInvitations(limit)
    token = new_link_token()
    row = Invitation(
        id=new_id(),
        token_hash=hash_token(token),
        role=new.role,
        email=new.email,
        plan_id=plan.id if plan else None,
        project_id=new.project_id,
        project_role=(new.project_role or MemberRole.MEMBER) if new.project_id else None,
        makes_account=actor.is_admin,
        created_by=None if actor.is_operator else actor.user_id,
        expires_at=new.expires_at or now + USUAL,
    )
    session.add(row)
    session.flush()
    write_audit(session, actor.user_id, "invitation.create", entity="invitation", entity_id=row.id)
    listed = _read(row, plan.name if plan else None, None)
    _announce(session, row, listed, Operation.CREATED)
    return {**listed, "token": token}


def _of_owner(actor: Actor, project_id: ProjectId | None) -> tuple[sa.ColumnElement[bool], ...]:
    """Return which invitations into a project count: the present owner's. Those of a former one do not work."""
    return (Invitation.created_by == actor.user_id,) if project_id is not None else ()


def _lock(session: Session) -> None:
    """Let one transaction at a time count invitations. On SQLite there is only one anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text("LOCK TABLE invitation IN SHARE ROW EXCLUSIVE MODE"))


def _open(now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return Invitation.accepted_at.is_(None), Invitation.expires_at > now


def list_invitations(
    session: Session, actor: Actor, *, project_id: ProjectId | None = None, after: str | None, limit: int
) -> list[InvitationRead]:
    """List invitations into the server, or into a project, newest first, with those that ended in the last 30 days.

    Raises AdminOnly, ProjectNotFound and NotYourProject.
    """
    if project_id is None:
        require_admin(actor)
    else:
        own_project(session, actor, project_id)
    query = (
        sa.select(Invitation, Plan.name, User.name)
        .outerjoin(Plan, Plan.id == Invitation.plan_id)
        .outerjoin(User, User.id == Invitation.user_id)
        .where(Invitation.project_id.is_not_distinct_from(project_id), *_of_owner(actor, project_id))
        .order_by(Invitation.id.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(Invitation.id < after)
    return [_read(*row) for row in session.execute(query)]


def withdraw_invitation(session: Session, actor: Actor, invitation_id: InvitationId) -> None:
    """Delete an invitation, so that its link does not work any more. Raises InvitationNotFound."""
    require_session(actor)
    row = session.get(Invitation, invitation_id, with_for_update=True, populate_existing=True)
    if row is None or not _may_withdraw(session, actor, row):
        raise InvitationNotFound
    write_audit(session, actor.user_id, "invitation.withdraw", entity="invitation", entity_id=row.id)
    _announce(session, row, None, Operation.DELETED)
    session.delete(row)
    session.flush()


def _may_withdraw(session: Session, actor: Actor, row: Invitation) -> bool:
    if row.project_id is None:
        return actor.is_admin
    return session.get_one(Project, row.project_id).owner_id == actor.user_id


def get_offer(session: Session, token: str) -> InvitationOffer:
    """Return what the link of an invitation offers. Raises InvitationNotFound."""
    opened = _find(session, token)
    plan = session.get(Plan, opened.row.plan_id) if opened.row.plan_id else None
    return {
        "makes_account": opened.makes_account,
        "role": opened.row.role,
        "email": opened.row.email,
        "plan_name": plan.name if plan else None,
        "project_name": opened.project.name if opened.project else None,
        "project_role": opened.row.project_role if opened.project else None,
        "invited_by": opened.inviter.name if opened.inviter else None,
        "expires_at": opened.row.expires_at,
    }


def accept_invitation(session: Session, token: str, account: InvitationAccept, *, password_hash: str) -> UserId:
    """Make the account of an invitation, once, and let it join the project, if any. Return its id.

    Raises InvitationNotFound, UsernameTaken and TooManyMembers.
    """
    opened = _find(session, token, for_update=True)
    row = opened.row
    if not opened.makes_account:
        raise InvitationNotFound
    if account.email is None:
        account = account.model_copy(update={"email": row.email})
    user_id = add_user(session, account, row.role, password_hash=password_hash)
    if row.plan_id is not None:
        set_user_plan(session, user_id, PlanSource.HAND, row.plan_id)
    if opened.project is not None:
        _join(session, opened, user_id)
    plan = session.get(Plan, row.plan_id) if row.plan_id else None
    _use(session, row, user_id, account.name, plan.name if plan else None)
    return user_id


def join_project(session: Session, actor: Actor, token: str) -> Joined:
    """Let the actor join the project of an invitation, once. Raises InvitationNotFound, AlreadyMember, TooManyMembers."""
    require_session(actor)
    opened = _find(session, token, for_update=True)
    if opened.project is None:
        raise InvitationNotFound
    _join(session, opened, UserId(actor.user_id))
    name = session.scalars(sa.select(User.name).where(User.id == actor.user_id)).one()
    _use(session, opened.row, UserId(actor.user_id), name, None)
    return {"project_id": opened.project.id}


def _join(session: Session, opened: "Opened", user_id: UserId) -> None:
    assert opened.project is not None
    project = session.get_one(Project, opened.project.id, with_for_update=True, populate_existing=True)
    add_user_to(session, project, user_id, opened.row.project_role or MemberRole.MEMBER)


def _use(session: Session, row: Invitation, user_id: UserId, name: str, plan_name: str | None) -> None:
    row.accepted_at, row.user_id, row.email = clock.now(), user_id, None
    session.flush()
    write_audit(session, user_id, "invitation.accept", entity="invitation", entity_id=row.id)
    _announce(session, row, _read(row, plan_name, name), Operation.UPDATED)


@dataclass(frozen=True)
class Opened:
    """An open invitation: who gave it (None: the operator), the project, and whether it makes an account."""

    row: Invitation
    inviter: User | None
    project: Project | None
    makes_account: bool


def _find(session: Session, token: str, *, for_update: bool = False) -> Opened:
    """Return an open invitation, while who gave it may still give it. Raises InvitationNotFound."""
    query = sa.select(Invitation).where(Invitation.token_hash == hash_token(token), *_open(clock.now()))
    if for_update:
        query = query.with_for_update().execution_options(populate_existing=True)
    row = session.scalars(query).one_or_none()
    if row is None:
        raise InvitationNotFound
    inviter = session.get(User, row.created_by) if row.created_by else None
    is_active = inviter is not None and inviter.status is UserStatus.ACTIVE
    is_admin = inviter is None or (is_active and inviter.role is UserRole.ADMIN)
    makes_account = row.makes_account and is_admin
    project = session.get(Project, row.project_id) if row.project_id else None
    if project is not None and not (
        is_active and project.owner_id == row.created_by and project.status is ProjectStatus.ACTIVE
    ):
        raise InvitationNotFound
    if project is None and not makes_account:
        raise InvitationNotFound
    return Opened(row, inviter, project, makes_account)


def _read(row: Invitation, plan_name: str | None, user_name: str | None) -> InvitationRead:
    return {
        "id": row.id,
        "role": row.role,
        "email": row.email,
        "plan_id": row.plan_id,
        "plan_name": plan_name,
        "project_id": row.project_id,
        "project_role": row.project_role,
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
