"""Drafts that a chat knows of without being about them: its models are told what they say."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.access import may_read_draft
from tertulia.accounts.actor import Actor
from tertulia.chat.messages import LockedChat, lock_chat
from tertulia.chat.service import get_chat
from tertulia.db import insert_if_absent, rowcount
from tertulia.drafts.errors import AttachedToItself, DraftNotFound, TooManyAttached
from tertulia.drafts.models import AttachedDraft, Draft, DraftChat
from tertulia.drafts.queries import DRAFTS
from tertulia.drafts.schemas import DraftListed
from tertulia.drafts.service import check_draft, read_for
from tertulia.ids import ChatId, DraftId
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

MAX_ATTACHED = 5  # drafts of one chat


def list_attached(session: Session, chat_id: ChatId, *, actor: Actor) -> list[DraftListed]:
    """Those that the actor may read, in the order in which they were attached."""
    get_chat(session, chat_id, actor=actor)
    rows = session.execute(
        DRAFTS.join(AttachedDraft, AttachedDraft.draft_id == Draft.id)
        .where(AttachedDraft.chat_id == chat_id, Draft.deleted_at.is_(None), may_read_draft(Draft.id, Draft.user_id))
        .order_by(AttachedDraft.created_at, AttachedDraft.draft_id),
        {"actor_id": actor.user_id},
    ).all()
    return [read_for(session, row, actor=actor) for row in rows]


def attach_draft(session: Session, chat_id: ChatId, draft_id: DraftId, *, actor: Actor) -> list[DraftListed]:
    """By whoever may write in the chat and read the draft. Raises ChatNotFound, DraftNotFound, TooManyAttached."""
    chat = lock_chat(session, chat_id, actor=actor)
    check_draft(session, draft_id, actor=actor)
    is_about = sa.select(DraftChat.chat_id).where(DraftChat.chat_id == chat_id, DraftChat.draft_id == draft_id)
    if session.scalar(is_about) is not None:
        raise AttachedToItself
    # Those of others that one cannot see, and those in the trash, take nobody's place.
    known = [one["id"] for one in list_attached(session, chat_id, actor=actor)]
    if draft_id not in known:
        if len(known) >= MAX_ATTACHED:
            raise TooManyAttached(MAX_ATTACHED)
        insert_if_absent(session, AttachedDraft, chat_id=chat_id, draft_id=draft_id, created_at=clock.now())
        _announce(session, chat, draft_id, Operation.CREATED)
    return list_attached(session, chat_id, actor=actor)


def detach_draft(session: Session, chat_id: ChatId, draft_id: DraftId, *, actor: Actor) -> None:
    """By whoever may write in the chat. Raises ChatNotFound, DraftNotFound."""
    chat = lock_chat(session, chat_id, actor=actor)
    attached = (AttachedDraft.chat_id == chat_id, AttachedDraft.draft_id == draft_id)
    if not rowcount(session, sa.delete(AttachedDraft).where(*attached)):
        raise DraftNotFound
    _announce(session, chat, draft_id, Operation.DELETED)


def _announce(session: Session, chat: LockedChat, draft_id: str, operation: Operation) -> None:
    publish(
        session,
        owner_id=chat.owner_id,
        shared_id=chat.id,
        topic=f"chat:{chat.id}",
        entity="attached_draft",
        entity_id=draft_id,
        operation=operation,
    )
