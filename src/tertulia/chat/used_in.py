"""Which messages use a file."""

import sqlalchemy as sa

from tertulia.chat.models import Message, MessageStatus
from tertulia.db import Id
from tertulia.files.models import Attachment, MessageAttachment


def is_used_in(chat_id: str) -> sa.ColumnElement[bool]:
    """Build the condition that a message of the chat has the file."""
    return (
        sa.select(sa.literal(1))
        .select_from(MessageAttachment)
        .join(Message, Message.id == MessageAttachment.message_id)
        .where(
            MessageAttachment.attachment_id == Attachment.id,
            Message.chat_id == sa.literal(chat_id, Id()),
            Message.status != MessageStatus.DELETED,
        )
        .correlate(Attachment)
        .exists()
    )
