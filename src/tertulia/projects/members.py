"""List, add, change and remove the members of a project."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.audit import write_audit
from tertulia.accounts.models import MemberAccess, MemberRole, Membership, User, UserStatus
from tertulia.accounts.names import name_key
from tertulia.billing.quotas import hand_over_quotas
from tertulia.chat.models import Chat, ChatKind
from tertulia.chat.project_chats import hand_over_chats
from tertulia.db import insert_if_absent, rowcount, wake
from tertulia.errors import NotFound
from tertulia.ids import ProjectId, UserId, new_id
from tertulia.projects.errors import AlreadyMember, MemberUnknown, NotYourProject, OwnerStays, TooManyMembers
from tertulia.projects.models import Project, ProjectStatus
from tertulia.projects.schemas import MemberCreate, MemberRead, MemberUpdate
from tertulia.projects.service import (
    announce,
    announce_to,
    check_memberships,
    find_project,
    own_project,
    set_access,
)
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import SHARES

MAX_MEMBERS = 1000


def list_members(
    session: Session, actor: Actor, project_id: ProjectId, *, after: str | None, limit: int
) -> list[MemberRead]:
    """List the members of a project in the order of their ids. Raises ProjectNotFound."""
    find_project(session, actor, project_id)
    query = _READ.where(Membership.project_id == project_id).order_by(User.id).limit(limit)
    if after is not None:
        query = query.where(User.id > after)
    return [_read(*row) for row in session.execute(query)]


def add_member(session: Session, actor: Actor, project_id: ProjectId, new: MemberCreate) -> MemberRead:
    """Add a user by name.

    Raises ProjectNotFound, NotYourProject, MemberUnknown, AlreadyMember, TooManyMembers and TooManyMemberships.
    """
    project = own_project(session, actor, project_id)
    if new.role is MemberRole.OWNER:
        raise OwnerStays
    user = session.execute(
        sa.select(User.id, User.name).where(
            User.username_key == name_key(new.username.strip()), User.status == UserStatus.ACTIVE
        )
    ).first()
    if user is None:
        raise MemberUnknown
    add_user_to(session, project, user.id, new.role)
    write_audit(session, actor.user_id, "project.member_add", entity="project", entity_id=project_id)
    return _get(session, project_id, user.id)


def add_user_to(session: Session, project: Project, user_id: str, role: MemberRole) -> None:
    """Add a user to a project that is locked. Raises AlreadyMember, TooManyMembers and TooManyMemberships."""
    count = session.scalar(sa.select(sa.func.count()).where(Membership.project_id == project.id))
    if (count or 0) >= MAX_MEMBERS:
        raise TooManyMembers(MAX_MEMBERS)
    check_memberships(session, user_id)
    now = clock.now()
    if not insert_if_absent(
        session,
        Membership,
        project_id=project.id,
        user_id=user_id,
        role=role,
        access=MemberAccess.NONE,
        joined_id=new_id(),
        created_at=now,
        updated_at=now,
    ):
        raise AlreadyMember(session.scalars(sa.select(User.name).where(User.id == user_id)).one())
    set_access(session, project)
    announce_to(session, project, user_id, Operation.CREATED)
    announce(session, project, Operation.UPDATED)


def update_member(
    session: Session, actor: Actor, project_id: ProjectId, user_id: UserId, changes: MemberUpdate
) -> MemberRead:
    """Change a member's role, or hand the project over. Raises ProjectNotFound, NotYourProject, NotFound, OwnerStays."""
    project = own_project(session, actor, project_id)
    member = session.get(Membership, (project_id, user_id), populate_existing=True)
    if member is None:
        raise NotFound
    if changes.role is MemberRole.OWNER:
        hand_over(session, project, user_id)
    elif member.role is MemberRole.OWNER:
        raise OwnerStays
    else:
        member.role = changes.role
    session.flush()
    set_access(session, project)
    write_audit(session, actor.user_id, "project.member_role", entity="project", entity_id=project_id)
    announce(session, project, Operation.UPDATED)
    return _get(session, project_id, user_id)


def hand_over(session: Session, project: Project, user_id: str) -> None:
    """Make a member the owner of a project and of its channels. The owner becomes a member."""
    if user_id == project.owner_id:
        return
    of_project = sa.update(Membership).where(Membership.project_id == project.id)
    session.execute(of_project.where(Membership.user_id == project.owner_id).values(role=MemberRole.MEMBER))
    session.execute(of_project.where(Membership.user_id == user_id).values(role=MemberRole.OWNER))
    hand_over_chats(session, (Chat.project_id == project.id, Chat.kind == ChatKind.CHANNEL), user_id)
    hand_over_quotas(session, project.id, user_id)
    project.owner_id = user_id
    session.flush()


def remove_member(session: Session, actor: Actor, project_id: ProjectId, user_id: UserId) -> None:
    """Remove a member, or leave. Raises ProjectNotFound, NotYourProject, NotFound, and OwnerStays for the owner.

    Chats that are open to the project stay in it and belong to its owner now. Private ones stay with the person.
    """
    find_project(session, actor, project_id)
    project = session.get_one(Project, project_id, with_for_update=True, populate_existing=True)
    if actor.user_id not in (project.owner_id, user_id):
        raise NotYourProject
    if user_id == project.owner_id:
        raise OwnerStays
    leave(session, project, user_id)
    write_audit(session, actor.user_id, "project.member_remove", entity="project", entity_id=project_id)


def leave(session: Session, project: Project, user_id: str) -> None:
    """End a membership at once, also in open streams. Raises NotFound."""
    ended = sa.delete(Membership).where(Membership.project_id == project.id, Membership.user_id == user_id)
    if not rowcount(session, ended):
        raise NotFound
    own = (Chat.project_id == project.id, Chat.user_id == user_id)
    opened = (*own, Chat.is_open_to_project.is_(True), Chat.deleted_at.is_(None))
    hand_over_chats(session, opened, project.owner_id)
    session.execute(sa.update(Chat).where(*own).values(project_id=None, is_open_to_project=False))
    wake(session, SHARES)
    announce_to(session, project, user_id, Operation.DELETED)
    announce(session, project, Operation.UPDATED)


def leave_all(session: Session, user_id: str) -> bool:
    """Return False if a deleted account has no project left. Otherwise hand one over, delete it, or end a membership."""
    project = session.scalars(sa.select(Project).where(Project.owner_id == user_id).limit(1).with_for_update()).first()
    if project is not None:
        heir = session.scalar(
            sa.select(Membership.user_id)
            .join(User, User.id == Membership.user_id)
            .where(
                Membership.project_id == project.id,
                Membership.user_id != user_id,
                User.status == UserStatus.ACTIVE,
                User.deletes_at.is_(None),
            )
            .order_by(Membership.role == MemberRole.VIEWER, Membership.created_at, Membership.user_id)
            .limit(1)
        )
        if heir is not None and project.status is not ProjectStatus.DELETED:
            hand_over(session, project, heir)
            set_access(session, project)
            announce(session, project, Operation.UPDATED)
        else:
            chats = sa.select(Chat.id).where(Chat.project_id == project.id, Chat.user_id != user_id)
            session.execute(sa.update(Chat).where(Chat.id.in_(chats)).values(project_id=None, is_open_to_project=False))
            session.delete(project)
            session.flush()
        return True
    membership = session.scalar(sa.select(Membership.project_id).where(Membership.user_id == user_id).limit(1))
    if membership is None:
        return False
    leave(session, session.get_one(Project, membership, with_for_update=True), user_id)
    return True


_READ = sa.select(User.id, User.username, User.name, Membership.role, Membership.created_at).join(
    Membership, Membership.user_id == User.id
)


def _get(session: Session, project_id: str, user_id: str) -> MemberRead:
    row = session.execute(_READ.where(Membership.project_id == project_id, User.id == user_id)).one()
    return _read(*row)


def _read(user_id: str, username: str, name: str, role: MemberRole, created_at: datetime) -> MemberRead:
    return {"user_id": user_id, "username": username, "name": name, "role": role, "created_at": created_at}
