"""List the chats of a project, move chats into projects and out of them, and hand them over."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.membership import require_member
from tertulia.accounts.models import Share
from tertulia.billing.models import ApiQuota
from tertulia.chat.errors import NotMovable, TooManyOpenChats
from tertulia.chat.models import Chat, ChatKind, ChatTag, Visibility
from tertulia.chat.queries import LOCK_CHAT, PROJECT_CHATS, read_chat_row
from tertulia.chat.schemas import ChatRead
from tertulia.chat.service import ChatKey, announce_chat, as_shared, own_chat
from tertulia.db import wake
from tertulia.db.types import EPOCH
from tertulia.ids import ChatId, ProjectId
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import SHARES

MAX_OPEN_CHATS = 1000  # of a project: each window of a member follows all of them


def list_project_chats(
    session: Session, actor: Actor, project_id: ProjectId, *, after: ChatKey | None = None, limit: int = 50
) -> list[ChatRead]:
    """Return the actor's chats in a project and those open to its members, newest first. Raises Invalid."""
    require_member(session, actor, project_id)
    values: dict[str, Any] = {"actor_id": actor.user_id, "limit": limit, "project_id": project_id}
    if after is not None:
        values |= {"moment": EPOCH + timedelta(microseconds=after[0]), "last_id": after[1]}
    chats: list[ChatRead] = []
    for row in PROJECT_CHATS[after is not None].all(session, **values):
        chat, owner_id = read_chat_row(row), row[-1]
        chats.append(chat if owner_id == actor.user_id else as_shared(session, actor, chat, owner_id))
    return chats


def require_place(session: Session, actor: Actor, project_id: str, *, is_open: bool) -> None:
    """Check the project that a new chat names. Raises Invalid and TooManyOpenChats."""
    require_member(session, actor, project_id, writes=True)
    if is_open:
        _check_open_chats(session, project_id)


def _check_open_chats(session: Session, project_id: str) -> None:
    """Raise TooManyOpenChats if no more chats of a project can be open to its members."""
    opened = sa.select(Chat.id).where(Chat.project_id == project_id, Chat.is_open_to_project).limit(MAX_OPEN_CHATS)
    if (session.scalar(sa.select(sa.func.count()).select_from(opened.subquery())) or 0) >= MAX_OPEN_CHATS:
        raise TooManyOpenChats(MAX_OPEN_CHATS)


def move_chat(
    session: Session, actor: Actor, chat_id: ChatId, project_id: str | None, *, is_open: bool = False
) -> ChatRead:
    """Move the actor's chat into a project or out of it (None). With `is_open`, its members may read it, and write.

    The caller has checked that the actor may add to the project. Channels stay in their project, and chats about a
    draft with it. Raises ChatNotFound, NotYourChat, NotMovable and TooManyOpenChats.
    """
    chat = own_chat(session, actor, chat_id)
    if chat["kind"] is not ChatKind.DIRECT:
        raise NotMovable
    LOCK_CHAT.first(session, chat_id=chat_id, actor_id=actor.user_id)
    values: dict[str, Any] = {"project_id": project_id, "is_open_to_project": is_open and project_id is not None}
    if project_id is not None and is_open:
        if not (chat["is_open_to_project"] and chat["project_id"] == project_id):
            _check_open_chats(session, project_id)
        # The owner's automatic approvals were given while only they could write here.
        values["auto_approval"] = None
    session.execute(sa.update(Chat).where(Chat.id == chat_id).values(values))
    wake(session, SHARES)  # check again who may follow the chat
    return announce_chat(session, chat_id, Operation.UPDATED)


def hand_over_chats(session: Session, conditions: tuple[sa.ColumnElement[bool], ...], owner_id: str) -> None:
    """Give chats to another owner, without what was only for the former one: instructions, tags, shares and limits."""
    chat_ids = sa.select(Chat.id).where(*conditions)
    session.execute(sa.update(Share).where(Share.chat_id.in_(chat_ids)).values(is_active=False))
    session.execute(sa.delete(ApiQuota).where(ApiQuota.chat_id.in_(chat_ids), ApiQuota.owner_id.is_not(None)))
    session.execute(sa.delete(ChatTag).where(ChatTag.chat_id.in_(chat_ids)))
    session.execute(
        sa.update(Chat)
        .where(*conditions)
        .values(
            user_id=owner_id,
            is_handed_over=True,
            visibility=Visibility.PRIVATE,
            auto_approval=None,
            system_prompt=None,
            pinned_at=None,
            is_archived=False,
            import_source=None,  # the new owner may have imported the same chat
            import_id=None,
        )
    )
