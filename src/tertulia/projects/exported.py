"""Describe a chat's project in an export, and find the project that an export describes."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.access import may_as_member
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import Membership
from tertulia.accounts.row_limits import RowLimits
from tertulia.projects.models import Project, ProjectStatus
from tertulia.projects.schemas import ProjectCreate
from tertulia.projects.service import create_project


def describe_project(session: Session, project_id: str | None, reader_id: str) -> dict[str, str | None] | None:
    """Return what an export says of a project, or None if the reader does not belong to it."""
    if project_id is None:
        return None
    project = session.scalars(
        sa.select(Project)
        .join(Membership, Membership.project_id == Project.id)
        .where(Project.id == project_id, Membership.user_id == reader_id, may_as_member())
    ).one_or_none()
    return {name: getattr(project, name) for name in ProjectCreate.model_fields} if project is not None else None


def find_or_create_project(session: Session, actor: Actor, described: ProjectCreate, limits: RowLimits) -> str:
    """Return the actor's oldest active project of this name, or a new one as described.

    Raises TooManyProjects, TooManyMemberships and TooManyRows.
    """
    project_id = session.scalar(
        sa.select(Project.id)
        .where(
            Project.owner_id == actor.user_id, Project.name == described.name, Project.status == ProjectStatus.ACTIVE
        )
        .order_by(Project.id)
        .limit(1)
    )
    return project_id or create_project(session, actor, described, limits)["id"]
