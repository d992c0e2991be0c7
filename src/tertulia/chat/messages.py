"""Writing messages into the tree. Nothing is overwritten; what is in place keeps its old wording."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.chat.errors import (
    ChatNotFound,
    EmptyMessage,
    MessageNotFound,
    MessageTooLong,
    NotInChat,
    StillWriting,
    UnstorableText,
)
from tertulia.chat.models import (
    DEFAULT_TITLE,
    MAX_WRITTEN,
    Chat,
    Edit,
    Message,
    MessageMetadata,
    MessageRole,
    MessageStatus,
)
from tertulia.chat.parts import Part, TextPart, flatten
from tertulia.chat.queries import LOCK_CHAT, ONE_MESSAGE, read_message_row
from tertulia.chat.schemas import MessageRead, Written
from tertulia.chat.search_index import FINAL, index_message, index_stored, index_title
from tertulia.chat.service import announce_chat
from tertulia.chat.titles import title_from
from tertulia.db import Prepared, later_of, table_of
from tertulia.ids import ChatId, MessageId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

MAX_EDITS_KEPT = 50
WRITING = (MessageStatus.SENDING, MessageStatus.STREAMING)


@dataclass(frozen=True)
class LockedChat:
    """A chat that this transaction alone may write to, until it ends."""

    id: ChatId
    owner_id: str
    head_message_id: MessageId | None
    title: str
    message_count: int
    provider: str | None
    model_name: str | None


def lock_chat(session: Session, chat_id: ChatId, *, actor: Actor) -> LockedChat:
    """Concurrent senders wait here for one another, which puts their messages in order. Raises ChatNotFound."""
    row = LOCK_CHAT.first(session, chat_id=chat_id, actor_id=actor.user_id)
    if row is None:
        raise ChatNotFound
    return LockedChat(*row)


def written_parts(written: Written) -> list[Part]:
    """The parts of what a person wrote. Raises EmptyMessage, MessageTooLong, UnstorableText."""
    if written.content is not None:
        parts: list[Part] = [TextPart(text=written.content)] if written.content.strip() else []
    else:
        parts = list(written.parts or [])
    if not parts or all(isinstance(part, TextPart) and not part.text.strip() for part in parts):
        raise EmptyMessage
    words = flatten(parts)
    if len(words) > MAX_WRITTEN:
        raise MessageTooLong(len(words), MAX_WRITTEN)
    if "\x00" in words:
        raise UnstorableText
    return parts


_INSERT = Prepared(sa.insert(table_of(Message)))
_UPDATE_CHAT = Prepared(
    sa.update(Chat)
    .where(Chat.id == sa.bindparam("the_chat", type_=Chat.id.type))
    .values(
        head_message_id=sa.bindparam("new_head", type_=Chat.id.type),
        message_count=Chat.message_count + 1,
        # A clock that was set back must not put a chat below what was said before.
        last_message_at=later_of(Chat.last_message_at, sa.bindparam("new_moment", type_=Chat.last_message_at.type)),
        updated_at=sa.bindparam("new_moment", type_=Chat.last_message_at.type),
        title=sa.func.coalesce(sa.bindparam("new_title", type_=sa.String()), Chat.title),
    )
)


def append_message(
    session: Session,
    chat: LockedChat,
    *,
    role: MessageRole,
    parts: list[Part],
    status: MessageStatus,
    previous_message_id: MessageId | None,
    author_id: str | None = None,
    metadata: MessageMetadata | None = None,
    parent_message_id: MessageId | None = None,
    thread_level: int = 0,
) -> MessageId:
    """Put a message into the tree and make it the head. The caller has locked the chat and announces both."""
    message_id = MessageId(new_id())
    now = clock.now()
    content = flatten(parts)
    _INSERT.run(
        session,
        id=message_id,
        chat_id=chat.id,
        user_id=author_id,
        role=role,
        status=status,
        previous_message_id=previous_message_id,
        parent_message_id=parent_message_id,
        thread_level=thread_level,
        token_count=None,
        metadata=metadata or MessageMetadata(),
        provider_metadata=None,
        edit_history=[],
        content=content,
        parts=parts,
        created_at=now,
        updated_at=now,
    )
    is_first = chat.title == DEFAULT_TITLE and chat.message_count == 0 and role is MessageRole.USER
    title = title_from(content) if is_first else None
    _UPDATE_CHAT.run(session, the_chat=chat.id, new_head=message_id, new_moment=now, new_title=title)
    if status in FINAL:
        index_message(
            session,
            message_id=message_id,
            chat_id=chat.id,
            owner_id=chat.owner_id,
            role=role,
            content=content,
            created_at=now,
        )
    if title:
        index_title(session, chat.id)
    return message_id


def post_message(
    session: Session,
    chat: LockedChat,
    written: list[Part],
    *,
    actor: Actor,
    previous_message_id: MessageId | None = None,
) -> MessageId:
    """A person's message after the head, or after a named message of the chat. Raises NotInChat."""
    if previous_message_id is not None:
        check_in_chat(session, chat.id, previous_message_id, field="previous_message_id")
    return append_message(
        session,
        chat,
        role=MessageRole.USER,
        parts=written,
        status=MessageStatus.SENT,
        previous_message_id=previous_message_id or chat.head_message_id,
        author_id=actor.user_id,
    )


def check_in_chat(session: Session, chat_id: ChatId, message_id: MessageId, *, field: str) -> None:
    found = session.scalar(
        sa.select(Message.id).where(
            Message.id == message_id,
            Message.chat_id == chat_id,
            Message.parent_message_id.is_(None),
            Message.status != MessageStatus.DELETED,
        )
    )
    if found is None:
        raise NotInChat(field)


@dataclass(frozen=True)
class TreePlace:
    """Where a message hangs, for whoever makes a sibling of it."""

    chat_id: ChatId
    role: MessageRole
    status: MessageStatus
    previous_message_id: MessageId | None
    parent_message_id: MessageId | None


def find_place(session: Session, message_id: MessageId) -> TreePlace:
    """Raises MessageNotFound; the caller locks the chat next, which is the check of access."""
    row = session.execute(
        sa.select(
            Message.chat_id,
            Message.role,
            Message.status,
            Message.previous_message_id,
            Message.parent_message_id,
        ).where(Message.id == message_id, Message.status != MessageStatus.DELETED)
    ).first()
    if row is None:
        raise MessageNotFound
    chat_id, role, status, previous, parent = row
    return TreePlace(
        ChatId(chat_id),
        role,
        status,
        MessageId(previous) if previous else None,
        MessageId(parent) if parent else None,
    )


def edit_in_place(session: Session, chat: LockedChat, message_id: MessageId, written: list[Part]) -> None:
    """Change the wording of a message; the old one joins its history, of which fifty are kept."""
    message = session.scalars(sa.select(Message).where(Message.id == message_id, Message.chat_id == chat.id)).one()
    if message.status in WRITING:
        raise StillWriting
    now = clock.now()
    message.edit_history = [*message.edit_history, Edit(timestamp=now, previous_content=message.content)][
        -MAX_EDITS_KEPT:
    ]
    message.content, message.parts = flatten(written), written
    message.details = message.details.model_copy(update={"edited": True})
    index_stored(session, [message_id])


def announce_message(
    session: Session,
    chat_owner_id: str,
    message_id: MessageId,
    operation: Operation,
    *,
    with_chat: bool = True,
) -> MessageRead:
    """Tell all who may read the chat about a message as it now is, and of the chat with it; gives the message."""
    row = ONE_MESSAGE.first(session, message_id=message_id)
    assert row is not None
    message = read_message_row(row)
    publish(
        session,
        owner_id=chat_owner_id,
        topic=f"chat:{message['chat_id']}",
        entity="message",
        entity_id=message_id,
        operation=operation,
        payload=message,
        chat_id=message["chat_id"],
    )
    if with_chat:
        announce_chat(session, message["chat_id"], Operation.UPDATED)
    return message
