"""Create, list, change, archive and delete projects. Every getter asks for the actor's membership."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.access import actor_id
from tertulia.accounts.actor import Actor
from tertulia.accounts.membership import find_access
from tertulia.accounts.models import MemberAccess, MemberRole, Membership, User
from tertulia.accounts.names import name_key
from tertulia.accounts.row_limits import RowLimits
from tertulia.chat.message_files import release_files
from tertulia.chat.models import Chat, ChatKind
from tertulia.chat.project_chats import move_chat
from tertulia.chat.schemas import ChatCreate, ChatRead
from tertulia.chat.service import create_chat, own_chat
from tertulia.db import rowcount, wake
from tertulia.ids import ChatId, ProjectId, new_id
from tertulia.projects.errors import (
    NotYourProject,
    ProjectNotFound,
    ReadOnlyProject,
    TooManyMemberships,
    TooManyProjects,
)
from tertulia.projects.events import PROJECT
from tertulia.projects.models import Channel, Project, ProjectStatus
from tertulia.projects.schemas import ProjectCreate, ProjectRead, ProjectUpdate
from tertulia.projects.unread import read_channels
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import SHARES, publish

MAX_PROJECTS = 200  # that a person owns
MAX_MEMBERSHIPS = 1000  # of a person; the list of projects has no pages
GENERAL = "general"
_MEMBERS = sa.select(sa.func.count()).where(Membership.project_id == Project.id).correlate(Project).scalar_subquery()
_READ = (
    sa.select(Project, Membership.role, User.name, _MEMBERS)
    .join(Membership, Membership.project_id == Project.id)
    .join(User, User.id == Project.owner_id)
    .where(Membership.user_id == actor_id())
)


def create_project(session: Session, actor: Actor, new: ProjectCreate, limits: RowLimits) -> ProjectRead:
    """Create a project with its channel `general`.

    Raises TooManyProjects, TooManyMemberships and TooManyRows; then there is neither.
    """
    check_memberships(session, actor.user_id)
    count = session.scalar(sa.select(sa.func.count()).where(Project.owner_id == actor.user_id))
    if (count or 0) >= MAX_PROJECTS:
        raise TooManyProjects(MAX_PROJECTS)
    project = Project(id=new_id(), owner_id=actor.user_id, **new.model_dump())
    session.add(project)
    session.flush()
    session.add(
        Membership(project_id=project.id, user_id=actor.user_id, role=MemberRole.OWNER, access=MemberAccess.WRITE)
    )
    session.flush()
    insert_channel(session, project, GENERAL, None, limits)
    wake(session, SHARES)
    announce(session, project, Operation.CREATED)
    return get_project(session, actor, ProjectId(project.id))


def check_memberships(session: Session, user_id: str) -> None:
    """Lock a user, and raise TooManyMemberships if they cannot belong to one more project."""
    session.execute(sa.select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    count = session.scalar(sa.select(sa.func.count()).where(Membership.user_id == user_id))
    if (count or 0) >= MAX_MEMBERSHIPS:
        raise TooManyMemberships(MAX_MEMBERSHIPS)


def insert_channel(session: Session, project: Project, name: str, topic: str | None, limits: RowLimits) -> str:
    """Create a channel with its chat, which belongs to the owner of the project, and return its id."""
    new = ChatCreate(title=name, project_id=ProjectId(project.id), is_open_to_project=True)
    chat = create_chat(session, new, limits, owner_id=project.owner_id, kind=ChatKind.CHANNEL)
    channel = Channel(
        id=new_id(), project_id=project.id, chat_id=chat["id"], name=name, name_key=name_key(name), topic=topic
    )
    session.add(channel)
    session.flush()
    return channel.id


def list_projects(session: Session, actor: Actor, *, status: ProjectStatus) -> list[ProjectRead]:
    """List the actor's projects by name. Only owners see those in the trash."""
    query = _READ.where(Project.status == status).order_by(sa.func.lower(Project.name), Project.id)
    if status is ProjectStatus.DELETED:
        query = query.where(Project.owner_id == actor_id())
    return [_read(*row) for row in session.execute(query, {"actor_id": actor.user_id})]


def get_project(session: Session, actor: Actor, project_id: ProjectId) -> ProjectRead:
    """Return a project with its channels, as `find_project`. Raises ProjectNotFound."""
    project = find_project(session, actor, project_id)
    return {**project, "channels": read_channels(session, actor, Channel.project_id == project_id)}


def find_project(session: Session, actor: Actor, project_id: ProjectId) -> ProjectRead:
    """Return a project that the actor belongs to, without its channels; one in the trash only to its owner.

    Raises ProjectNotFound.
    """
    row = session.execute(
        _READ.where(
            Project.id == project_id,
            (Project.status != ProjectStatus.DELETED) | (Project.owner_id == actor_id()),
        ),
        {"actor_id": actor.user_id},
        execution_options={"populate_existing": True},
    ).first()
    if row is None:
        raise ProjectNotFound
    return _read(*row)


def own_project(session: Session, actor: Actor, project_id: ProjectId) -> Project:
    """Return and lock a project of the actor. Raises ProjectNotFound, and NotYourProject for other members."""
    find_project(session, actor, project_id)
    project = session.get_one(Project, project_id, with_for_update=True, populate_existing=True)
    if project.owner_id != actor.user_id:
        raise NotYourProject
    return project


def update_project(session: Session, actor: Actor, project_id: ProjectId, changes: ProjectUpdate) -> ProjectRead:
    """Change a project, or archive it. Raises ProjectNotFound and NotYourProject."""
    project = own_project(session, actor, project_id)
    values: dict[str, Any] = changes.model_dump(exclude_unset=True)
    is_archived = values.pop("is_archived", None)
    if values.get("name", ...) is None:
        del values["name"]
    for name, value in values.items():
        setattr(project, name, value)
    if is_archived is not None and project.status is not ProjectStatus.DELETED:
        project.status = ProjectStatus.ARCHIVED if is_archived else ProjectStatus.ACTIVE
        session.flush()
        set_access(session, project)
    session.flush()
    announce(session, project, Operation.UPDATED)
    return get_project(session, actor, project_id)


def delete_project(session: Session, actor: Actor, project_id: ProjectId) -> None:
    """Move a project to the trash, where only its owner sees it. Raises ProjectNotFound and NotYourProject."""
    project = own_project(session, actor, project_id)
    if project.status is ProjectStatus.DELETED:
        return
    project.was_archived = project.status is ProjectStatus.ARCHIVED
    project.status, project.deleted_at = ProjectStatus.DELETED, clock.now()
    session.flush()
    # Each is told, because the project is not theirs to follow any more.
    for user_id in session.scalars(sa.select(Membership.user_id).where(Membership.project_id == project_id)):
        announce_to(session, project, user_id, Operation.DELETED)
    set_access(session, project)


def restore_project(session: Session, actor: Actor, project_id: ProjectId) -> ProjectRead:
    """Restore a project from the trash with its members and chats. Raises ProjectNotFound and NotYourProject."""
    project = own_project(session, actor, project_id)
    if project.status is ProjectStatus.DELETED:
        project.status = ProjectStatus.ARCHIVED if project.was_archived else ProjectStatus.ACTIVE
        project.deleted_at = None
        session.flush()
        set_access(session, project)
        announce(session, project, Operation.CREATED)
    return get_project(session, actor, project_id)


def set_access(session: Session, project: Project) -> None:
    """Set what each member may do now, by role and status, and let open streams be checked again."""
    by_role = sa.case((Membership.role == MemberRole.VIEWER, MemberAccess.READ), else_=MemberAccess.WRITE)
    access: Any = {
        ProjectStatus.DELETED: MemberAccess.NONE,
        ProjectStatus.ARCHIVED: MemberAccess.READ,
        ProjectStatus.ACTIVE: by_role,
    }[project.status]
    others = (Membership.project_id == project.id, Membership.access != access)
    if project.status is ProjectStatus.ACTIVE and session.scalar(
        sa.select(Membership.user_id).where(*others, Membership.role != MemberRole.VIEWER).limit(1)
    ):
        # The owners' automatic approvals were given while fewer people could write in these chats.
        approved = (Chat.project_id == project.id, Chat.is_open_to_project, Chat.auto_approval.is_not(None))
        session.execute(sa.update(Chat).where(*approved).values(auto_approval=None))
    changed = sa.update(Membership).where(*others).values(access=access)
    session.execute(changed, execution_options={"synchronize_session": False})
    wake(session, SHARES)


# ---- chats


def put_chat(session: Session, actor: Actor, project_id: ProjectId, chat_id: ChatId, *, is_open: bool) -> ChatRead:
    """Move the actor's chat into a project.

    Raises ProjectNotFound, ReadOnlyProject, ChatNotFound, NotYourChat, NotMovable and TooManyOpenChats.
    """
    find_project(session, actor, project_id)
    if find_access(session, actor, project_id, locks=True) is not MemberAccess.WRITE:
        raise ReadOnlyProject
    former_id = session.scalar(sa.select(Chat.project_id).where(Chat.id == chat_id))
    if former_id not in (None, project_id):  # its members hear nothing of the chat any more
        announce(session, session.get_one(Project, former_id), Operation.UPDATED)
    chat = move_chat(session, actor, chat_id, project_id, is_open=is_open)
    announce(session, session.get_one(Project, project_id), Operation.UPDATED)
    return chat


def take_chat_out(session: Session, actor: Actor, project_id: ProjectId, chat_id: ChatId) -> ChatRead:
    """Take the actor's chat out of a project; no member may read it any more. A chat elsewhere stays there.

    Raises ProjectNotFound, ChatNotFound, NotYourChat and NotMovable.
    """
    find_project(session, actor, project_id)
    chat = own_chat(session, actor, chat_id)
    if chat["project_id"] != project_id:
        return chat
    # Members whose windows follow the chat only through the project get no event of the chat any more.
    announce(session, session.get_one(Project, project_id), Operation.UPDATED)
    return move_chat(session, actor, chat_id, None)


# ---- jobs


def purge_projects(session: Session, kept: timedelta) -> int:
    """Delete a project that was in the trash for longer than `kept`. Its channels go, and its chats stay with their owners."""
    project_id = session.scalar(
        sa.select(Project.id)
        .where(Project.status == ProjectStatus.DELETED, Project.deleted_at < clock.now() - kept)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if project_id is None:
        return 0
    # First of all: without members it cannot be restored in between.
    session.execute(sa.delete(Membership).where(Membership.project_id == project_id))
    channel_chats = list(session.scalars(sa.select(Channel.chat_id).where(Channel.project_id == project_id).limit(20)))
    if channel_chats:
        release_files(session, channel_chats)
        return rowcount(session, sa.delete(Chat).where(Chat.id.in_(channel_chats)))
    moved = sa.select(Chat.id).where(Chat.project_id == project_id).limit(200)
    if rowcount(
        session,
        sa.update(Chat).where(Chat.id.in_(moved)).values(project_id=None, is_open_to_project=False),
    ):
        return 1
    return rowcount(session, sa.delete(Project).where(Project.id == project_id))


def announce_to(session: Session, project: Project, user_id: str, operation: Operation) -> None:
    """Tell the windows of a person that a project is theirs, or is not theirs any more."""
    publish(
        session,
        owner_id=user_id,
        topic=f"user:{user_id}",
        entity=PROJECT,
        entity_id=project.id,
        operation=operation,
    )


def announce(session: Session, project: Project, operation: Operation) -> None:
    """Tell the windows of all members that a project changed. They fetch what they may see."""
    publish(
        session,
        owner_id=project.owner_id,
        topic=f"project:{project.id}",
        entity=PROJECT,
        entity_id=project.id,
        operation=operation,
        shared_id=project.id,
    )


def _read(project: Project, role: MemberRole, owner_name: str, member_count: int) -> ProjectRead:
    return {
        "id": project.id,
        "name": project.name,
        "description": project.description,
        "instructions": project.instructions,
        "default_model": project.default_model,
        "status": project.status,
        "role": role,
        "owner": {"id": project.owner_id, "name": owner_name},
        "member_count": member_count,
        "channels": None,
        "deleted_at": project.deleted_at,
        "created_at": project.created_at,
        "updated_at": project.updated_at,
    }
