"""What runs and the search read of the projects that chats are in."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.access import actor_id, may_as_member
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import Membership
from tertulia.accounts.names import name_key
from tertulia.chat.models import Chat
from tertulia.db import Prepared
from tertulia.projects.models import Project

_OF_CHAT = Prepared(
    sa.select(Project.instructions, Project.default_model)
    .join(Chat, Chat.project_id == Project.id)
    .join(Membership, Membership.project_id == Project.id)
    .where(
        Chat.id == sa.bindparam("chat_id", type_=Chat.id.type),
        Membership.user_id == actor_id(),
        may_as_member(),
    )
)


def find_instructions(session: Session, chat_id: str, reader_id: str) -> str | None:
    """Return the instructions of the project that a chat is in, if the user who asks a model belongs to it."""
    row = _OF_CHAT.first(session, chat_id=chat_id, actor_id=reader_id)
    return row[0] if row is not None else None


def find_default_model(session: Session, chat_id: str, reader_id: str) -> str | None:
    """Return the model of the project that a chat is in, as `provider/model_name`, if a user belongs to it."""
    row = _OF_CHAT.first(session, chat_id=chat_id, actor_id=reader_id)
    return row[1] if row is not None else None


def find_described(session: Session, project_id: str | None, reader_id: str) -> dict[str, str | None] | None:
    """Return what an export says of a chat's project. An import finds the project by its name, or makes it again."""
    if project_id is None:
        return None
    project = session.scalars(
        sa.select(Project)
        .join(Membership, Membership.project_id == Project.id)
        .where(Project.id == project_id, Membership.user_id == reader_id, may_as_member())
    ).one_or_none()
    if project is None:
        return None
    return {name: getattr(project, name) for name in ("name", "description", "instructions", "default_model")}


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
