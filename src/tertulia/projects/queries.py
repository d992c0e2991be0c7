"""What runs read of the project that a chat is in."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.models import Chat
from tertulia.db import Prepared
from tertulia.projects.models import Project, ProjectStatus

_OF_CHAT = Prepared(
    sa.select(Project.instructions, Project.default_model)
    .join(Chat, Chat.project_id == Project.id)
    .where(
        Chat.id == sa.bindparam("chat_id", type_=Chat.id.type),
        Project.status != sa.bindparam("deleted", type_=Project.status.type),
    )
)


def find_instructions(session: Session, chat_id: str) -> str | None:
    """Return the instructions of the project that a chat is in, if any."""
    row = _OF_CHAT.first(session, chat_id=chat_id, deleted=ProjectStatus.DELETED)
    return row[0] if row is not None else None


def find_default_model(session: Session, chat_id: str) -> str | None:
    """Return the model of the project that a chat is in, as `provider/model_name`, if it has one."""
    row = _OF_CHAT.first(session, chat_id=chat_id, deleted=ProjectStatus.DELETED)
    return row[1] if row is not None else None
