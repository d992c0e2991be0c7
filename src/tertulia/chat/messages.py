"""Write messages into the tree, and edit them in place with a history of earlier texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.chat.errors import (
    ChannelHasNoBranches,
    ChatNotFound,
    EmptyMessage,
    MessageNotFound,
    MessageTooLong,
    NotInChat,
    NotYourMessage,
    StillWriting,
    ThreadTooDeep,
    TooManyPinned,
    UnstorableText,
)
from tertulia.chat.events import MESSAGE
from tertulia.chat.indexing import FINAL, forget_files, index_message, index_stored, index_title
from tertulia.chat.message_files import AttachedFile, find_attachable, link_attachments, unlink_attachments
from tertulia.chat.message_hooks import message_changed, posted_in_channel
from tertulia.chat.models import (
    DEFAULT_TITLE,
    MAX_THREAD_LEVEL,
    MAX_WRITTEN,
    Chat,
    ChatKind,
    ContextRule,
    Edit,
    Message,
    MessageMetadata,
    MessageRole,
    MessageStatus,
)
from tertulia.chat.parts import FilePart, ImagePart, Part, TextPart, attachments_in, flatten
from tertulia.chat.queries import LOCK_CHAT, ONE_MESSAGE, newest_in_thread, read_message_row
from tertulia.chat.schemas import MessageRead, Written
from tertulia.chat.service import announce_chat
from tertulia.chat.titles import title_from
from tertulia.db import Prepared, later_of, table_of
from tertulia.files.kinds import SHOWN_INLINE
from tertulia.ids import AttachmentId, ChatId, MessageId, id_after, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

MAX_EDITS_KEPT = 50
MAX_PINNED = 50  # messages of a chat that are always sent to models
WRITING = (MessageStatus.SENDING, MessageStatus.STREAMING)


@dataclass(frozen=True)
class LockedChat:
    """A chat that only this transaction may write to until it ends."""

    id: ChatId
    owner_id: str
    head_message_id: MessageId | None
    title: str
    message_count: int
    provider: str | None
    model_name: str | None
    kind: ChatKind
    project_id: str | None


def lock_chat(session: Session, actor: Actor, chat_id: ChatId) -> LockedChat:
    """Lock a chat for writing. Concurrent senders wait, so messages stay in order. Raises ChatNotFound."""
    row = LOCK_CHAT.first(session, chat_id=chat_id, actor_id=actor.user_id)
    if row is None:
        raise ChatNotFound
    return LockedChat(*row)


@dataclass(frozen=True)
class WrittenMessage:
    """The stored parts of a person's message, and the files they name."""

    parts: list[Part]
    attached: Sequence[AttachedFile] = ()


def written_parts(written: Written) -> list[Part]:
    """Return the parts of a person's message, files by id only. Raises EmptyMessage, MessageTooLong, UnstorableText."""
    if written.parts is not None:
        parts: list[Part] = list(written.parts)
    else:
        parts = [TextPart(text=written.content)] if (written.content or "").strip() else []
    named_ids = set(attachments_in(parts))
    parts += [
        FilePart(attachment_id=attachment_id)
        for attachment_id in dict.fromkeys(written.attachment_ids)
        if attachment_id not in named_ids
    ]
    if not parts or all(isinstance(part, TextPart) and not part.text.strip() for part in parts):
        raise EmptyMessage
    text = flatten(parts)
    if len(text) > MAX_WRITTEN:
        raise MessageTooLong(len(text), MAX_WRITTEN)
    if "\x00" in text:
        raise UnstorableText
    return parts


def with_files(session: Session, actor: Actor, chat: LockedChat, parts: list[Part]) -> WrittenMessage:
    """Replace file references with stored file details, images as image parts. Raises what `find_attachable` raises."""
    ids = attachments_in(parts)
    if not ids:
        return WrittenMessage(parts)
    attached = find_attachable(session, actor, ids, chat_id=chat.id)
    known = {file.id: file for file in attached}
    stored: list[Part] = []
    for part in parts:
        if isinstance(part, ImagePart | FilePart) and part.attachment_id is not None:
            alt = part.alt if isinstance(part, ImagePart) else None
            stored.append(_file_part(known[AttachmentId(part.attachment_id)], alt))
        else:
            stored.append(part)
    return WrittenMessage(stored, attached)


def _file_part(file: AttachedFile, alt: str | None) -> Part:
    if file.mime_type in SHOWN_INLINE:
        return ImagePart(attachment_id=file.id, alt=alt or file.file_name, width=file.width, height=file.height)
    return FilePart(attachment_id=file.id, file_name=file.file_name, file_type=file.mime_type, file_size=file.file_size)


@dataclass(frozen=True)
class ThreadPlace:
    """A thread below a message; posting there does not move the head.

    `parent_message_id` is None if the parent was deleted permanently.
    """

    parent_message_id: MessageId | None
    level: int
    last_message_id: MessageId | None = None


_INSERT = Prepared(sa.insert(table_of(Message)))
_UPDATE_CHAT = Prepared(
    sa.update(Chat)
    .where(Chat.id == sa.bindparam("the_chat", type_=Chat.id.type))
    .values(
        head_message_id=sa.bindparam("new_head", type_=Chat.id.type),
        message_count=Chat.message_count + 1,
        # Never decreases, even if the clock was set back.
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
    attached: Sequence[AttachedFile] = (),
    thread: ThreadPlace | None = None,
) -> MessageId:
    """Insert a message and make it the head, or insert it into a thread without moving the head.

    The caller has locked the chat, and announces the chat and the message.
    """
    message_id = _next_id(session, chat)
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
        parent_message_id=thread.parent_message_id if thread else None,
        thread_level=thread.level if thread else 0,
        context_rule=ContextRule.AUTO,
        token_count=None,
        metadata=metadata or MessageMetadata(),
        provider_metadata=None,
        edit_history=[],
        imported=False,
        import_id=None,
        content=content,
        parts=parts,
        created_at=now,
        updated_at=now,
    )
    is_first = chat.title == DEFAULT_TITLE and chat.message_count == 0 and role is MessageRole.USER
    title = title_from(_spoken(parts) or content) if is_first else None
    new_head = chat.head_message_id if thread else message_id
    _UPDATE_CHAT.run(session, the_chat=chat.id, new_head=new_head, new_moment=now, new_title=title)
    link_attachments(session, attached, message_id=message_id, chat_id=chat.id)
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


def _next_id(session: Session, chat: LockedChat) -> MessageId:
    """Return the id of a new message. In a channel it is above all others, also of processes whose clocks are ahead.

    So what is new to a person is what has a greater id than the last message that they read.
    """
    message_id = new_id()
    if chat.kind is ChatKind.CHANNEL:
        of_chat = sa.select(Message.id).where(Message.chat_id == chat.id)
        newest = session.scalar(of_chat.order_by(Message.id.desc()).limit(1))
        message_id = max(message_id, id_after(newest)) if newest is not None else message_id
    return MessageId(message_id)


def post_message(
    session: Session,
    actor: Actor,
    chat: LockedChat,
    written: WrittenMessage,
    *,
    previous_message_id: MessageId | None = None,
    parent_message_id: MessageId | None = None,
) -> MessageId:
    """Append a person's message after the head, after a given message, or in the thread below a message.

    Raises NotInChat, ThreadTooDeep, and ChannelHasNoBranches for a given place in a channel.
    """
    if previous_message_id is not None and chat.kind is ChatKind.CHANNEL:
        raise ChannelHasNoBranches
    thread = find_thread(session, chat.id, parent_message_id) if parent_message_id is not None else None
    if previous_message_id is not None:
        if thread is None:
            check_in_chat(session, chat.id, previous_message_id, field="previous_message_id")
        elif not is_in_thread(session, thread, previous_message_id):
            raise NotInChat("previous_message_id")
    last_message_id = thread.last_message_id if thread is not None else chat.head_message_id
    message_id = append_message(
        session,
        chat,
        role=MessageRole.USER,
        parts=written.parts,
        attached=written.attached,
        status=MessageStatus.SENT,
        previous_message_id=previous_message_id or last_message_id,
        author_id=actor.user_id,
        thread=thread,
    )
    if chat.kind is ChatKind.CHANNEL:
        posted_in_channel(session, chat.id, message_id)
    return message_id


def _spoken(parts: list[Part]) -> str:
    """Join the text parts, without code and file names."""
    return " ".join(part.text for part in parts if isinstance(part, TextPart)).strip()


def check_in_chat(session: Session, chat_id: ChatId, message_id: MessageId, *, field: str) -> None:
    existing_id = session.scalar(
        sa.select(Message.id).where(
            Message.id == message_id,
            Message.chat_id == chat_id,
            Message.thread_level == 0,
            Message.status != MessageStatus.DELETED,
        )
    )
    if existing_id is None:
        raise NotInChat(field)


def find_thread(session: Session, chat_id: ChatId, parent_message_id: MessageId) -> ThreadPlace:
    """Return the thread below a message. Raises NotInChat, and ThreadTooDeep below the tenth level."""
    level = session.scalar(
        sa.select(Message.thread_level).where(
            Message.id == parent_message_id, Message.chat_id == chat_id, Message.status != MessageStatus.DELETED
        )
    )
    if level is None:
        raise NotInChat("parent_message_id")
    if level >= MAX_THREAD_LEVEL:
        raise ThreadTooDeep(MAX_THREAD_LEVEL)
    last = newest_in_thread(session, parent_message_id)
    return ThreadPlace(parent_message_id, level + 1, MessageId(last) if last else None)


def is_in_thread(session: Session, thread: ThreadPlace, message_id: MessageId) -> bool:
    existing_id = session.scalar(
        sa.select(Message.id).where(
            Message.id == message_id,
            Message.parent_message_id == thread.parent_message_id,
            Message.status != MessageStatus.DELETED,
        )
    )
    return existing_id is not None


@dataclass(frozen=True)
class TreePlace:
    """The place of a message in the tree, used to create siblings of it."""

    chat_id: ChatId
    role: MessageRole
    status: MessageStatus
    previous_message_id: MessageId | None
    parent_message_id: MessageId | None
    thread_level: int
    author_id: str | None

    @property
    def thread(self) -> ThreadPlace | None:
        """Return the thread that the message is in, also after its parent was deleted; None outside threads."""
        if not self.thread_level:
            return None
        return ThreadPlace(self.parent_message_id, self.thread_level, None)


def find_place(session: Session, message_id: MessageId) -> TreePlace:
    """Return the place of a message. Raises MessageNotFound. Locking the chat next checks the access."""
    row = session.execute(
        sa.select(
            Message.chat_id,
            Message.role,
            Message.status,
            Message.previous_message_id,
            Message.parent_message_id,
            Message.thread_level,
            Message.user_id,
        ).where(Message.id == message_id, Message.status != MessageStatus.DELETED)
    ).first()
    if row is None:
        raise MessageNotFound
    chat_id, role, status, previous, parent, level, author_id = row
    return TreePlace(
        ChatId(chat_id),
        role,
        status,
        MessageId(previous) if previous else None,
        MessageId(parent) if parent else None,
        level,
        author_id,
    )


def check_hand(chat: LockedChat, author_id: str | None, *, actor: Actor) -> None:
    """Check that the actor is the author or the chat's owner, who may edit and delete. Raises NotYourMessage."""
    if actor.user_id not in (chat.owner_id, author_id):
        raise NotYourMessage


def edit_in_place(session: Session, chat: LockedChat, message_id: MessageId, written: WrittenMessage) -> None:
    """Replace the text of a message; its history keeps the last fifty texts. Raises StillWriting."""
    message = session.scalars(sa.select(Message).where(Message.id == message_id, Message.chat_id == chat.id)).one()
    if message.status in WRITING:
        raise StillWriting
    now = clock.now()
    message.edit_history = [*message.edit_history, Edit(timestamp=now, previous_content=message.content)][
        -MAX_EDITS_KEPT:
    ]
    message.content, message.parts = flatten(written.parts), written.parts
    message.provider_metadata = None  # it belongs to the text before
    message.details = message.details.model_copy(update={"edited": True})
    forget_files(session, [message_id])
    unlink_attachments(session, message_id)
    message_changed(session, chat.id, message_id)
    link_attachments(session, written.attached, message_id=message_id, chat_id=chat.id)
    index_stored(session, [message_id])


def lock_place(session: Session, actor: Actor, message_id: MessageId) -> tuple[TreePlace, LockedChat]:
    """Lock the chat of a message and return the place of the message in it. Raises MessageNotFound."""
    chat = lock_chat_of(session, actor, message_id)
    return find_place(session, message_id), chat


def lock_chat_of(session: Session, actor: Actor, message_id: MessageId) -> LockedChat:
    """Lock and return the chat of a message, which may be deleted. Raises MessageNotFound."""
    chat_id = session.scalar(sa.select(Message.chat_id).where(Message.id == message_id))
    if chat_id is None:
        raise MessageNotFound
    try:
        return lock_chat(session, actor, ChatId(chat_id))
    except ChatNotFound:  # the message is as hidden as its chat
        raise MessageNotFound from None


def set_context_rule(session: Session, actor: Actor, message_id: MessageId, rule: ContextRule) -> MessageRead:
    """Set whether models receive a message. Needs write access to the chat. Raises MessageNotFound, TooManyPinned."""
    _, chat = lock_place(session, actor, message_id)
    if rule is ContextRule.PINNED:
        others = (Message.chat_id == chat.id, Message.context_rule == ContextRule.PINNED, Message.id != message_id)
        if (session.scalar(sa.select(sa.func.count()).where(*others)) or 0) >= MAX_PINNED:
            raise TooManyPinned(MAX_PINNED)
    old_rule = session.scalars(sa.select(Message.context_rule).where(Message.id == message_id)).one()
    session.execute(sa.update(Message).where(Message.id == message_id).values(context_rule=rule))
    if rule not in (old_rule, ContextRule.PINNED):  # a pinned message is sent whole, so summaries stay valid
        message_changed(session, chat.id, message_id)
    return announce_message(session, chat.owner_id, message_id, Operation.UPDATED, with_chat=False)


def announce_message(
    session: Session,
    chat_owner_id: str,
    message_id: MessageId,
    operation: Operation,
    *,
    with_chat: bool = True,
) -> MessageRead:
    """Publish a message as it is now, and its chat unless `with_chat` is false; return the message."""
    row = ONE_MESSAGE.first(session, message_id=message_id)
    assert row is not None
    message = read_message_row(row)
    publish(
        session,
        owner_id=chat_owner_id,
        topic=f"chat:{message['chat_id']}",
        entity=MESSAGE,
        entity_id=message_id,
        operation=operation,
        payload=message,
        shared_id=message["chat_id"],
    )
    if with_chat:
        announce_chat(session, message["chat_id"], Operation.UPDATED)
    return message
