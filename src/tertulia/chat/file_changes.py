"""Update search and summaries when an attached file is deleted or restored."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.models import Message
from tertulia.chat.optimizations import mark_stale
from tertulia.chat.search_index import index_file_anew
from tertulia.files.models import Attachment, MessageAttachment


def file_came_or_went(session: Session, attachment_id: str) -> None:
    """Queue a file for indexing and mark the summaries of messages with it as superseded.

    If the file was deleted, the text of those summaries is deleted too.
    """
    index_file_anew(session, attachment_id)
    is_deleted = (
        session.scalar(sa.select(Attachment.deleted_at.is_not(None)).where(Attachment.id == attachment_id)) or False
    )
    uses = sa.select(Message.chat_id, Message.id).join(MessageAttachment, MessageAttachment.message_id == Message.id)
    for chat_id, message_id in session.execute(uses.where(MessageAttachment.attachment_id == attachment_id)).all():
        mark_stale(session, chat_id, message_id, is_deleted=is_deleted)
