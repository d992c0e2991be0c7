"""Where messages use files, and who may read them there."""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.chat.access import may_read_chat, may_write_chat
from tertulia.chat.indexing import index_file_anew
from tertulia.chat.message_hooks import message_changed
from tertulia.chat.models import Chat, Message, MessageStatus
from tertulia.chat.used_in import is_used_in
from tertulia.db import Id
from tertulia.files.models import Attachment, MessageAttachment
from tertulia.files.schemas import UsedIn

# A message that the actor may read.
_READABLE = (
    Chat.deleted_at.is_(None),
    Message.status != MessageStatus.DELETED,
    may_read_chat(Chat.id, Chat.user_id),
)


class MessageFileUses:
    """The uses of files in messages."""

    def count_readable(self) -> sa.ScalarSelect[int]:
        return _uses(sa.func.count()).where(*_READABLE).correlate(Attachment).scalar_subquery()

    def is_readable(self) -> sa.ColumnElement[bool]:
        return _uses(sa.literal(1)).where(*_READABLE).correlate(Attachment).exists()

    def is_used_in(self, chat_id: str) -> sa.ColumnElement[bool]:
        return is_used_in(chat_id)

    def may_read(self, chat_id: str) -> sa.ColumnElement[bool]:
        return _may(chat_id, may_read_chat)

    def may_write(self, chat_id: str) -> sa.ColumnElement[bool]:
        return _may(chat_id, may_write_chat)

    def find_newest(self, session: Session, attachment_ids: Sequence[str], user_id: str) -> dict[str, UsedIn]:
        newest = (
            _uses(MessageAttachment.id)
            .where(*_READABLE)
            .order_by(MessageAttachment.id.desc())
            .limit(1)
            .correlate(Attachment)
            .scalar_subquery()
        )
        rows = session.execute(
            sa.select(Attachment.id, MessageAttachment.message_id)
            .join(MessageAttachment, MessageAttachment.id == newest)
            .where(Attachment.id.in_(list(attachment_ids))),
            {"actor_id": user_id},
        ).all()
        message_of = {attachment_id: message_id for attachment_id, message_id in rows}
        places: dict[str, UsedIn] = {
            message_id: {"chat_id": chat_id, "chat_title": title, "message_id": message_id}
            for message_id, chat_id, title in session.execute(
                sa.select(Message.id, Chat.id, Chat.title)
                .join(Chat, Chat.id == Message.chat_id)
                .where(Message.id.in_(list(message_of.values())))
            )
        }
        return {attachment_id: places[message_id] for attachment_id, message_id in message_of.items()}

    def on_changed(self, session: Session, attachment_id: str) -> None:
        on_file_changed(session, attachment_id)


def _uses(what: Any) -> sa.Select[Any]:
    return (
        sa.select(what)
        .select_from(MessageAttachment)
        .join(Message, Message.id == MessageAttachment.message_id)
        .join(Chat, Chat.id == Message.chat_id)
        .where(MessageAttachment.attachment_id == Attachment.id)
    )


def _may(chat_id: str, may: Callable[..., sa.ColumnElement[bool]]) -> sa.ColumnElement[bool]:
    return (
        sa.select(sa.literal(1))
        .where(Chat.id == sa.literal(chat_id, Id()), Chat.deleted_at.is_(None), may(Chat.id, Chat.user_id))
        .exists()
    )


def on_file_changed(session: Session, attachment_id: str) -> None:
    """Queue a file for indexing and mark the summaries of messages with it as superseded.

    If the file was deleted, the text of those summaries is deleted too.
    """
    index_file_anew(session, attachment_id)
    is_deleted = (
        session.scalar(sa.select(Attachment.deleted_at.is_not(None)).where(Attachment.id == attachment_id)) or False
    )
    uses = sa.select(Message.chat_id, Message.id).join(MessageAttachment, MessageAttachment.message_id == Message.id)
    for chat_id, message_id in session.execute(uses.where(MessageAttachment.attachment_id == attachment_id)).all():
        message_changed(session, chat_id, message_id, is_deleted=is_deleted)
