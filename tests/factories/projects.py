"""Make projects with members and chats, as the product makes them."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.models import MemberRole, User
from tertulia.accounts.row_limits import RowLimits
from tertulia.chat.errors import ChatNotFound
from tertulia.chat.service import get_chat
from tertulia.ids import ChatId, ProjectId
from tertulia.projects.members import add_member
from tertulia.projects.schemas import MemberCreate, ProjectCreate
from tertulia.projects.service import create_project, put_chat
from tests.factories.chats import make_chat

LIMITS = RowLimits()


def make_project(session: Session, owner: Actor, name: str = "Garden", **values: Any) -> ProjectId:
    return ProjectId(create_project(session, owner, ProjectCreate(name=name, **values), LIMITS)["id"])


def add_to(session: Session, owner: Actor, project_id: ProjectId, user: Actor, role: str = "member") -> None:
    name = session.scalars(sa.select(User.username).where(User.id == user.user_id)).one()
    add_member(session, owner, project_id, MemberCreate(username=name, role=MemberRole(role)))


def put_new_chat(session: Session, owner: Actor, project_id: ProjectId, *, is_open: bool = True) -> ChatId:
    chat_id = ChatId(make_chat(session, owner=owner, messages=1))
    put_chat(session, owner, project_id, chat_id, is_open=is_open)
    return chat_id


def access_to(session: Session, actor: Actor, chat_id: ChatId) -> str | None:
    """Return what an actor may do with a chat: `read`, `write`, or None."""
    try:
        return "write" if get_chat(session, actor, chat_id)["permissions"]["can_write"] else "read"
    except ChatNotFound:
        return None
