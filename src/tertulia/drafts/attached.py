"""Attach drafts to a chat that is not about them. Their text is included in the chat's prompts."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.chat.messages import LockedChat, lock_chat
from tertulia.chat.models import DraftChat
from tertulia.chat.service import get_chat
from tertulia.db import insert_if_absent, rowcount
from tertulia.drafts.access import may_read_draft
from tertulia.drafts.errors import AttachedToItself, DraftNotFound, TooManyAttached
from tertulia.drafts.events import ATTACHED_DRAFT
from tertulia.drafts.models import AttachedDraft, Draft
from tertulia.drafts.queries import DRAFTS
from tertulia.drafts.schemas import DraftListed
from tertulia.drafts.service import check_draft, read_for
from tertulia.ids import ChatId, DraftId
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

MAX_ATTACHED = 5  # drafts of one chat


def list_attached(session: Session, actor: Actor, chat_id: ChatId) -> list[DraftListed]:
    """Return the attached drafts that the actor may read, in the order in which they were attached."""
    get_chat(session, actor, chat_id)
    rows = session.execute(
        DRAFTS.join(AttachedDraft, AttachedDraft.draft_id == Draft.id)
        .where(AttachedDraft.chat_id == chat_id, Draft.deleted_at.is_(None), may_read_draft(Draft.id, Draft.user_id))
        .order_by(AttachedDraft.created_at, AttachedDraft.draft_id),
        {"actor_id": actor.user_id},
    ).all()
    return [read_for(session, actor, row) for row in rows]


def attach_draft(session: Session, actor: Actor, chat_id: ChatId, draft_id: DraftId) -> list[DraftListed]:
    """Attach a draft that the actor may read to a chat in which they may write.

    Raises ChatNotFound, DraftNotFound, AttachedToItself, TooManyAttached.
    """
    chat = lock_chat(session, actor, chat_id)
    check_draft(session, actor, draft_id)
    is_about = sa.select(DraftChat.chat_id).where(DraftChat.chat_id == chat_id, DraftChat.draft_id == draft_id)
    if session.scalar(is_about) is not None:
        raise AttachedToItself
    # Drafts in the trash and drafts that the actor cannot read do not count towards the limit.
    attached_ids = [draft["id"] for draft in list_attached(session, actor, chat_id)]
    if draft_id not in attached_ids:
        if len(attached_ids) >= MAX_ATTACHED:
            raise TooManyAttached(MAX_ATTACHED)
        insert_if_absent(session, AttachedDraft, chat_id=chat_id, draft_id=draft_id, created_at=clock.now())
        _announce(session, chat, draft_id, Operation.CREATED)
    return list_attached(session, actor, chat_id)


def detach_draft(session: Session, actor: Actor, chat_id: ChatId, draft_id: DraftId) -> None:
    """Detach a draft from a chat in which the actor may write. Raises ChatNotFound, DraftNotFound."""
    chat = lock_chat(session, actor, chat_id)
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
        entity=ATTACHED_DRAFT,
        entity_id=draft_id,
        operation=operation,
    )
