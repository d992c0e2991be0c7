"""What runs and the search read of the projects that chats are in."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.access import actor_id, may_as_member
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import Membership
from tertulia.accounts.names import name_key
from tertulia.chat.models import Chat
from tertulia.db import Prepared
from tertulia.projects.models import Project


@dataclass(frozen=True)
class ProjectDefaults:
    """What the chats of a project have from it."""

    name: str | None = None
    instructions: str | None = None
    default_model: str | None = None  # provider/model_name


_DEFAULTS = Prepared(
    sa.select(Project.name, Project.instructions, Project.default_model)
    .join(Membership, Membership.project_id == Project.id)
    .where(
        Project.id == sa.bindparam("project_id", type_=Project.id.type),
        Membership.user_id == actor_id(),
        may_as_member(),
    )
)


def find_defaults(session: Session, project_id: str | None, reader_id: str) -> ProjectDefaults:
    """Return what a chat of this project has from it, nothing if the user who asks a model does not belong to it."""
    if project_id is None:
        return ProjectDefaults()
    row = _DEFAULTS.first(session, project_id=project_id, actor_id=reader_id)
    return ProjectDefaults(*row) if row is not None else ProjectDefaults()


def find_chats_of_projects(session: Session, actor: Actor, words: Sequence[str], *, limit: int) -> list[str]:
    """Return the newest chats of the actor's projects in whose names every word occurs, small and capital alike.

    It does not ask whether the actor may read each chat.
    """
    projects = session.execute(
        sa.select(Project.id, Project.name)
        .join(Membership, Membership.project_id == Project.id)
        .where(Membership.user_id == actor_id(), may_as_member()),
        {"actor_id": actor.user_id},
    )
    named = [project_id for project_id, name in projects if all(name_key(word) in name_key(name) for word in words)]
    newest = sa.select(Chat.id).where(Chat.project_id.in_(named)).order_by(Chat.last_message_at.desc()).limit(limit)
    return list(session.scalars(newest)) if named else []
