"""Ask a model for edits of a draft."""

import sqlalchemy as sa
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from tertulia.accounts.actor import Actor
from tertulia.accounts.row_limits import RowLimits
from tertulia.chat.models import Chat, DraftChat
from tertulia.drafts.errors import NotADraftsChat, SelectionOutside
from tertulia.drafts.proposals import open_proposal
from tertulia.drafts.schemas import ProposalCreate, ProposalRead
from tertulia.drafts.service import add_chat
from tertulia.drafts.versions import LockedDraft, load_version, lock_draft
from tertulia.ids import ChatId, DraftId
from tertulia.runs.schemas import MessageCreate, ModelRef, Sent
from tertulia.runs.service import RunOptions, send_message

QUOTED = 1000  # characters of a selection that are quoted in the message


class ProposalRequested(TypedDict):
    """A proposal, with the message and run that produce it."""

    proposal: ProposalRead
    sent: Sent


def ask_for_edits(
    session: Session, actor: Actor, draft_id: DraftId, new: ProposalCreate, options: RunOptions
) -> ProposalRequested:
    """Send a message in the draft's chat. Its reply is parsed into edits of the given version.

    Raises SelectionOutside and NotADraftsChat.
    """
    draft = lock_draft(session, actor, draft_id)
    base = load_version(session, draft_id, new.version_number)
    selection = None
    if new.selection is not None:
        selection = (new.selection.start, new.selection.end)
        if not selection[0] <= selection[1] <= len(base.content):
            raise SelectionOutside
    chat_id = _chat_of(session, actor, draft, new.chat_id, options.limits)
    models = [ModelRef(provider=new.provider, model_name=new.model_name)] if new.provider and new.model_name else None
    quoted = base.content[selection[0] : selection[1]][:QUOTED] if selection else ""
    content = (
        "\n".join([*(f"> {line}" for line in quoted.split("\n")), "", new.instruction]) if quoted else new.instruction
    )
    sent = send_message(session, actor, chat_id, MessageCreate(content=content, models=models), options)
    assert sent["reply"] is not None
    proposal = open_proposal(
        session,
        actor,
        draft_id,
        base,
        instruction=new.instruction,
        selection=selection,
        message_id=sent["reply"]["id"],
    )
    return {"proposal": proposal, "sent": sent}


def _chat_of(session: Session, actor: Actor, draft: LockedDraft, requested_id: str | None, limits: RowLimits) -> ChatId:
    """Return the requested chat, else the newest chat about the draft, else a new one. Raises NotADraftsChat."""
    query = (
        sa.select(DraftChat.chat_id)
        .join(Chat, Chat.id == DraftChat.chat_id)
        .where(DraftChat.draft_id == draft.id, Chat.deleted_at.is_(None))
    )
    if requested_id is not None:
        query = query.where(DraftChat.chat_id == requested_id)
    existing_id = session.scalar(query.order_by(DraftChat.chat_id.desc()).limit(1))
    if existing_id is None and requested_id is not None:
        raise NotADraftsChat
    return ChatId(existing_id or add_chat(session, actor, draft, limits)["id"])
