"""Work on a chat's message tree: read its map, fork a branch, delete and restore messages."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.row_limits import RowLimits, StorageLimit
from tertulia.chat.access import may_write_chat
from tertulia.chat.errors import ChatNotFound, MessageNotFound, NotYourMessage, StillWriting
from tertulia.chat.events import MESSAGE
from tertulia.chat.indexing import index_stored, index_title
from tertulia.chat.message_files import copy_attachments, find_attachable, link_attachments
from tertulia.chat.message_hooks import message_changed, message_removed
from tertulia.chat.messages import (
    WRITING,
    LockedChat,
    announce_message,
    check_hand,
    find_place,
    lock_chat_of,
    lock_place,
)
from tertulia.chat.models import Chat, ChatKind, Deleted, Message, MessageStatus
from tertulia.chat.parts import Part, ToolCallPart, attachments_in, with_other_calls, with_other_files
from tertulia.chat.queries import BRANCH_IDS, READABLE_CHAT, newest_leaf_below
from tertulia.chat.schemas import ChatRead, MessageRead, Segment, SegmentEnd
from tertulia.chat.service import announce_chat, get_message
from tertulia.db import rowcount, table_of
from tertulia.ids import ChatId, MessageId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish
from tertulia.tools.copies import copy_calls

EXCERPT = 80
COPIED_AT_ONCE = 500
MAX_TITLE = 200


def delete_message(session: Session, actor: Actor, message_id: MessageId) -> None:
    """Take one message out of its branch; those that followed it follow the one before it, and none is lost.

    Raises MessageNotFound, NotYourMessage, and StillWriting if the message or a follower is still being written.
    """
    _, chat = lock_place(session, actor, message_id)
    check_hand(chat, find_place(session, message_id).author_id, actor=actor)
    message = session.get_one(Message, message_id, populate_existing=True)
    # Relink deleted followers too, so that restoring them puts them in the right place.
    followers = session.scalars(_followers(chat.id, message_id).order_by(Message.id)).all()
    writing = session.scalar(
        sa.select(Message.id).where(Message.id.in_([message_id, *followers]), Message.status.in_(WRITING)).limit(1)
    )
    if writing is not None:  # the message, or a reply that would then follow another message
        raise StillWriting
    deleted_message = get_message(session, actor, message_id)
    message_changed(session, chat.id, message_id, is_deleted=True)
    _relink(session, list(followers), message.previous_message_id)
    status_before, message.status = message.status, MessageStatus.DELETED
    index_stored(session, [message_id])
    message_removed(session, message_id, message.previous_message_id)
    values: dict[str, object] = {"message_count": Chat.message_count - 1}
    was_head = chat.head_message_id == message_id
    next_head = _newest_below_or_at(session, chat.id, message.previous_message_id) if was_head else None
    if was_head:
        values["head_message_id"] = next_head
    before = Deleted(status=status_before, was_head=was_head, next_head=next_head, followers=list(followers))
    message.details = message.details.model_copy(update={"deleted": before})
    session.flush()
    session.execute(sa.update(Chat).where(Chat.id == chat.id).values(values))
    _announce_deleted(session, chat, deleted_message)
    _announce_beside(session, chat, message_id, message.previous_message_id)
    if message.parent_message_id and _is_shown(session, message.parent_message_id):
        # Its reply count has changed.
        announce_message(
            session, chat.owner_id, MessageId(message.parent_message_id), Operation.UPDATED, with_chat=False
        )
    announce_chat(session, chat.id, Operation.UPDATED)


def check_may_delete(session: Session, actor: Actor, message_id: MessageId) -> Actor:
    """Return the actor if they may delete the message. A missing one passes: `delete_message` reports it.

    Raises NotYourMessage.
    """
    user_ids = session.execute(
        sa.select(Chat.user_id, Message.user_id)
        .join(Message, Message.chat_id == Chat.id)
        .where(Message.id == message_id, Chat.deleted_at.is_(None), may_write_chat(Chat.id, Chat.user_id)),
        {"actor_id": actor.user_id},
    ).first()
    if user_ids is not None and actor.user_id not in (user_ids[0], user_ids[1]):
        raise NotYourMessage
    return actor


def restore_message(session: Session, actor: Actor, message_id: MessageId) -> MessageRead:
    """Restore a deleted message to its place; a message that is not deleted stays unchanged.

    Raises MessageNotFound, NotYourMessage.
    """
    chat = lock_chat_of(session, actor, message_id)
    message = session.get_one(Message, message_id, populate_existing=True)
    before = message.details.deleted
    check_hand(chat, message.user_id, actor=actor)
    if message.status is not MessageStatus.DELETED or before is None:
        return get_message(session, actor, message_id)
    followers = session.scalars(
        sa.select(Message.id).where(
            Message.chat_id == chat.id,
            Message.id.in_(before.followers),
            Message.previous_message_id.is_not_distinct_from(message.previous_message_id),
        )
    ).all()
    is_channel = chat.kind is ChatKind.CHANNEL
    if is_channel:
        message.previous_message_id, followers = _place_in_line(session, message)
    message.status = before.status
    message.details = message.details.model_copy(update={"deleted": None})
    index_stored(session, [message_id])
    _relink(session, list(followers), message_id)
    message_changed(session, chat.id, message_id)
    values: dict[str, object] = {"message_count": Chat.message_count + 1}
    # Move the head back only if it has not moved since the deletion. That of a channel is the end of its one line.
    is_head = (before.was_head and chat.head_message_id == before.next_head) or chat.head_message_id is None
    if (is_head or is_channel) and message.thread_level == 0:
        values["head_message_id"] = newest_leaf_below(session, chat.id, message_id)
    session.execute(sa.update(Chat).where(Chat.id == chat.id).values(values))
    restored = announce_message(session, chat.owner_id, message_id, Operation.CREATED)
    _announce_beside(session, chat, message_id, message.previous_message_id)
    if message.parent_message_id and _is_shown(session, message.parent_message_id):
        announce_message(
            session, chat.owner_id, MessageId(message.parent_message_id), Operation.UPDATED, with_chat=False
        )
    for follower in followers:
        if _is_shown(session, follower):
            announce_message(session, chat.owner_id, MessageId(follower), Operation.UPDATED, with_chat=False)
    return restored


def _place_in_line(session: Session, message: Message) -> tuple[str | None, Sequence[str]]:
    """Return what a restored message of a channel follows, and what follows it: a channel has one line, by ids."""
    shown = (
        Message.chat_id == message.chat_id,
        Message.status != MessageStatus.DELETED,
        Message.parent_message_id.is_not_distinct_from(message.parent_message_id),
        Message.thread_level == message.thread_level,
    )
    before = sa.select(Message.id).where(*shown, Message.id < message.id).order_by(Message.id.desc()).limit(1)
    previous_id = session.scalar(before)
    after = sa.select(Message.id).where(
        *shown, Message.id > message.id, Message.previous_message_id.is_not_distinct_from(previous_id)
    )
    return previous_id, session.scalars(after).all()


def purge_messages(session: Session, kept: timedelta) -> int:
    """Delete up to 200 messages permanently, deleted longer than `kept` ago. No message follows them any more."""
    old = (
        sa.select(Message.id)
        .where(Message.status == MessageStatus.DELETED, Message.updated_at < clock.now() - kept)
        .limit(200)
    )
    return rowcount(session, sa.delete(Message).where(Message.id.in_(old)))


def fork_chat(
    session: Session, actor: Actor, message_id: MessageId, limits: RowLimits, *, storage: StorageLimit
) -> ChatRead:
    """Create a chat of the actor with a copy of the branch up to a message. Token and cost totals are not copied.

    Raises TooManyRows and StorageFull.
    """
    source = _readable_chat_of(session, actor, message_id)
    is_own = source.user_id == actor.user_id
    limits.take(session, Chat.user_id, actor.user_id, "chats")
    now = clock.now()
    branch = [id_ for id_, *_ in BRANCH_IDS.all(session, chat_id=source.id, leaf=message_id, links=2**31 - 1)][::-1]
    chat_id = new_id()
    session.execute(
        sa.insert(Chat).values(
            id=chat_id,
            user_id=actor.user_id,
            title=f"Branch of {source.title}"[:MAX_TITLE],
            provider=source.provider,
            model_name=source.model_name,
            # Another user's system prompt is private, so it is not copied; nor are hidden thoughts.
            system_prompt=source.system_prompt if is_own else None,
            settings=source.settings,
            context_window_size=source.context_window_size,
            message_count=len(branch),
            last_message_at=now,
            created_at=now,
            updated_at=now,
        )
    )
    previous: str | None = None
    for start in range(0, len(branch), COPIED_AT_ONCE):
        batch = branch[start : start + COPIED_AT_ONCE]
        originals = {row.id: row for row in session.scalars(sa.select(Message).where(Message.id.in_(batch)))}
        attachment_ids = [file_id for row in originals.values() for file_id in attachments_in(row.parts)]
        files = copy_attachments(session, actor, attachment_ids, limits, chat_id=chat_id, storage=storage)
        new_ids = {file_id: new_id() for file_id in batch}
        copies = []
        for original in (originals[original_id] for original_id in batch):
            parts = with_other_files(original.parts, files)
            copy = _copy_of(original, new_ids[original.id], chat_id, previous) | {"parts": parts}
            copies.append(copy if is_own else copy | {"provider_metadata": None})
            previous = new_ids[original.id]
        session.execute(sa.insert(table_of(Message)), copies)
        calls = copy_calls(session, new_ids, chat_id=chat_id, with_echoes=is_own)
        links: list[tuple[str, list[Part]]] = [(str(copy["id"]), copy["parts"]) for copy in copies]  # type: ignore[misc]
        for copied_id, parts in links:
            if calls and any(isinstance(part, ToolCallPart) for part in parts):
                new_parts = with_other_calls(parts, calls)
                session.execute(
                    sa.update(Message)
                    .where(Message.id == copied_id)
                    .values(parts=new_parts, updated_at=Message.updated_at)
                )
            if ids := [file_id for file_id in attachments_in(parts) if file_id in files.values()]:
                attached = find_attachable(session, actor, ids, chat_id=chat_id)
                link_attachments(session, attached, message_id=copied_id, chat_id=chat_id)
        index_stored(session, [str(copy["id"]) for copy in copies])
        session.expunge_all()
    session.execute(sa.update(Chat).where(Chat.id == chat_id).values(head_message_id=previous))
    index_title(session, chat_id)
    return announce_chat(session, chat_id, Operation.CREATED)


def read_tree(session: Session, actor: Actor, chat_id: ChatId) -> list[Segment]:
    """Return the chat's tree as segments without a fork: depth first, older branches first.

    The work grows with the number of messages. Raises ChatNotFound.
    """
    if READABLE_CHAT.first(session, chat_id=chat_id, actor_id=actor.user_id) is None:
        raise ChatNotFound
    rows = session.execute(
        sa.select(Message.id, Message.previous_message_id)
        .where(
            Message.chat_id == chat_id,
            Message.thread_level == 0,
            Message.status != MessageStatus.DELETED,
        )
        .order_by(Message.id)
    ).all()
    following: defaultdict[str | None, list[str]] = defaultdict(list)
    for message_id, previous in rows:
        following[previous].append(message_id)
    segments: list[tuple[str, str, int, int | None]] = []  # first, last, count, index of the segment before
    open_ends: list[tuple[str, int | None]] = [(first, None) for first in reversed(following[None])]
    while open_ends:
        first, follows = open_ends.pop()
        last, count = first, 1
        while len(following[last]) == 1:
            last, count = following[last][0], count + 1
        segments.append((first, last, count, follows))
        open_ends += [(fork, len(segments) - 1) for fork in reversed(following[last])]
    return _with_excerpts(session, segments)


def _with_excerpts(session: Session, segments: list[tuple[str, str, int, int | None]]) -> list[Segment]:
    end_ids = sorted({end for first, last, *_ in segments for end in (first, last)})
    ends: dict[str, SegmentEnd] = {}
    for start in range(0, len(end_ids), COPIED_AT_ONCE):
        for message_id, role, excerpt, details, created_at in session.execute(
            sa.select(
                Message.id,
                Message.role,
                sa.func.substr(Message.content, 1, EXCERPT, type_=sa.Text()),
                Message.details,
                Message.created_at,
            ).where(Message.id.in_(end_ids[start : start + COPIED_AT_ONCE]))
        ):
            ends[message_id] = {
                "id": message_id,
                "role": role,
                "excerpt": excerpt,
                "model_name": details.model,
                "created_at": created_at,
            }
    return [
        {"first": ends[first], "last": ends[last], "message_count": count, "follows": follows}
        for first, last, count, follows in segments
    ]


def _copy_of(original: Message, copied_id: str, chat_id: str, previous: str | None) -> dict[str, object]:
    is_writing = original.status in WRITING  # copy the text so far and mark it as interrupted
    return {
        "id": copied_id,
        "chat_id": chat_id,
        "user_id": original.user_id,
        "role": original.role,
        "status": MessageStatus.INTERRUPTED if is_writing else original.status,
        "previous_message_id": previous,
        "parent_message_id": None,
        "thread_level": 0,
        "token_count": original.token_count,
        "metadata": original.details.model_copy(update={"run_id": None}),
        "provider_metadata": original.provider_metadata,
        "edit_history": [],
        "context_rule": original.context_rule,
        "imported": original.imported,
        "import_id": None,
        "content": original.content,
        "parts": original.parts,
        "created_at": original.created_at,
        "updated_at": original.updated_at,
    }


def _readable_chat_of(session: Session, actor: Actor, message_id: MessageId) -> Chat:
    chat_id = find_place(session, message_id).chat_id
    if READABLE_CHAT.first(session, chat_id=chat_id, actor_id=actor.user_id) is None:
        raise MessageNotFound
    return session.get_one(Chat, chat_id)


def _followers(chat_id: str, message_id: str | None) -> sa.Select[str]:
    return sa.select(Message.id).where(
        Message.chat_id == chat_id,
        Message.previous_message_id == message_id
        if message_id is not None
        else sa.and_(Message.previous_message_id.is_(None), Message.thread_level == 0),
    )


def _relink(session: Session, message_ids: list[str], previous: str | None) -> None:
    """Set the previous message of several messages. Keep `updated_at`, because nothing visible has changed."""
    session.execute(
        sa.update(Message)
        .where(Message.id.in_(message_ids))
        .values(previous_message_id=previous, updated_at=Message.updated_at)
    )


def _newest_below_or_at(session: Session, chat_id: str, message_id: str | None) -> str | None:
    """Return the head after a deleted head: the newest leaf below a message or, for None, below the newest root."""
    if message_id is not None:
        return newest_leaf_below(session, chat_id, message_id)
    roots = session.scalars(
        _followers(chat_id, None).where(Message.status != MessageStatus.DELETED).order_by(Message.id.desc()).limit(1)
    ).all()
    return newest_leaf_below(session, chat_id, roots[0]) if roots else None


def _is_shown(session: Session, message_id: str) -> bool:
    return session.scalar(sa.select(Message.status).where(Message.id == message_id)) is not MessageStatus.DELETED


def _announce_deleted(session: Session, chat: LockedChat, message: MessageRead) -> None:
    publish(
        session,
        owner_id=chat.owner_id,
        topic=f"chat:{chat.id}",
        entity=MESSAGE,
        entity_id=message["id"],
        operation=Operation.DELETED,
        payload=message | {"status": MessageStatus.DELETED},
        shared_id=chat.id,
    )


def _announce_beside(session: Session, chat: LockedChat, message_id: str, previous: str | None) -> None:
    """Announce the siblings of a message, including relinked ones: their `sibling_ids` have changed."""
    siblings = session.scalars(
        _followers(chat.id, previous).where(Message.status != MessageStatus.DELETED, Message.id != message_id)
    ).all()
    for sibling_id in siblings:
        announce_message(session, chat.owner_id, MessageId(sibling_id), Operation.UPDATED, with_chat=False)
