"""Create, list, update, trash and restore chats, list their messages and move their head."""

from collections.abc import Collection
from datetime import timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.access import actor_id
from tertulia.accounts.actor import Actor
from tertulia.accounts.membership import find_access
from tertulia.accounts.models import MemberAccess, User
from tertulia.accounts.row_limits import RowLimits
from tertulia.accounts.schemas import PermissionsRead
from tertulia.accounts.sharing import permissions_of
from tertulia.billing.ledger import lock_payer
from tertulia.chat.access import is_share_of_chat, shared_chat_ids
from tertulia.chat.errors import (
    ChannelHasNoBranches,
    ChatNotFound,
    MessageNotFound,
    NotInChat,
    NotYourChat,
    ShareTheDraft,
)
from tertulia.chat.events import CHAT
from tertulia.chat.indexing import index_title
from tertulia.chat.message_files import release_files
from tertulia.chat.models import DEFAULT_TITLE, Chat, ChatKind, Message, MessageStatus, Tag, Visibility
from tertulia.chat.queries import (
    BRANCH_PAGE,
    CHAT_BY_ID,
    CHAT_LISTS,
    LOCK_CHAT,
    ONE_CHAT,
    ONE_MESSAGE,
    READABLE_CHAT,
    TAGGED_CHATS,
    newest_in_thread,
    newest_leaf_below,
    read_chat_row,
    read_message_row,
)
from tertulia.chat.schemas import ChatCreate, ChatRead, ChatUpdate, MessageRead, MessageWithHistory, Shown
from tertulia.db import Id, Prepared, rowcount, wake
from tertulia.db.types import EPOCH, MICROSECOND
from tertulia.errors import Invalid
from tertulia.ids import ChatId, MessageId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import SHARES, publish

ChatKey = tuple[int, str]  # microseconds since 1970 of the last message, id


def create_chat(
    session: Session, new: ChatCreate, limits: RowLimits, *, owner_id: str, kind: ChatKind = ChatKind.DIRECT
) -> ChatRead:
    """Create a chat without messages. The caller has checked that the owner may add to the project. Raises TooManyRows."""
    limits.take(session, Chat.user_id, owner_id, "chats")
    now = clock.now()
    chat_id = new_id()
    session.execute(
        sa.insert(Chat).values(
            id=chat_id,
            user_id=owner_id,
            kind=kind,
            project_id=new.project_id,
            is_open_to_project=bool(new.is_open_to_project) and new.project_id is not None,
            title=new.title or DEFAULT_TITLE,
            provider=new.provider,
            model_name=new.model_name,
            system_prompt=new.system_prompt,
            settings=new.settings,
            last_message_at=now,
            created_at=now,
            updated_at=now,
        )
    )
    index_title(session, chat_id)
    if new.is_open_to_project:
        wake(session, SHARES)
    return announce_chat(session, chat_id, Operation.CREATED)


def list_chats(
    session: Session,
    actor: Actor,
    *,
    shown: Shown = "active",
    tag_id: str | None = None,
    after: ChatKey | None = None,
    limit: int = 50,
) -> list[ChatRead]:
    """Return chats newest first, after the key of the last one seen; with a tag only active chats that have it.

    Raises Invalid for a tag that is not the actor's.
    """
    values: dict[str, Any] = {"actor_id": actor.user_id, "limit": limit}
    if after is not None:
        values |= {"moment": EPOCH + timedelta(microseconds=after[0]), "last_id": after[1]}
    if tag_id is not None:
        own = sa.select(Tag.id).where(Tag.id == tag_id, Tag.user_id == actor.user_id)
        if session.scalar(own) is None:
            raise Invalid("This tag does not exist, or is not yours.", field="tag")
        rows = TAGGED_CHATS[after is not None].all(session, **values, tag_id=tag_id)
    else:
        rows = CHAT_LISTS[shown, after is not None].all(session, **values)
    return [read_chat_row(row) for row in rows]


def chat_key(chat: ChatRead) -> ChatKey:
    return (chat["last_message_at"] - EPOCH) // MICROSECOND, chat["id"]


def get_chat(session: Session, actor: Actor, chat_id: ChatId, *, in_trash: bool = False) -> ChatRead:
    """Return a chat that the actor owns or may read. Only the owner can get it from the trash. Raises ChatNotFound."""
    values = ONE_CHAT.first(session, chat_id=chat_id, actor_id=actor.user_id)
    if values is None:
        raise ChatNotFound
    chat = read_chat_row(values)
    *_, owner_id = values
    is_own = owner_id == actor.user_id
    if chat["deleted_at"] is not None and not (in_trash and is_own):
        raise ChatNotFound
    return chat if is_own else as_shared(session, actor, chat, owner_id)


def require_named_chat(session: Session, actor: Actor, chat_id: str) -> None:
    """Check a chat that narrows a list. Raises Invalid for `chat_id` if the actor may not read it."""
    if READABLE_CHAT.first(session, chat_id=chat_id, actor_id=actor.user_id) is None:
        raise Invalid("This chat does not exist, or you do not have access to it.", field="chat_id")


def as_shared(session: Session, actor: Actor, chat: ChatRead, owner_id: str) -> ChatRead:
    name = session.scalars(sa.select(User.name).where(User.id == owner_id)).one()
    return chat | {
        "owner": {"id": owner_id, "name": name},
        "permissions": _permissions_of(session, actor, chat),
        "project_id": chat["project_id"] if find_access(session, actor, chat["project_id"]) else None,
        "system_prompt": None,
        "tag_ids": [],
        "pinned_at": None,
        "is_archived": False,
        "total_tokens": 0,
        "total_cost": Decimal(0),
    }


def _permissions_of(session: Session, actor: Actor, chat: ChatRead) -> PermissionsRead:
    """Return what shares and the chat's project permit the actor to do."""
    permissions = permissions_of(session, actor, is_share_of_chat(chat["id"]))
    access = find_access(session, actor, chat["project_id"]) if chat["is_open_to_project"] else None
    return permissions | {"can_write": permissions["can_write"] or access is MemberAccess.WRITE}


def own_chat(session: Session, actor: Actor, chat_id: ChatId, *, in_trash: bool = False) -> ChatRead:
    """Return the actor's own chat. Raises ChatNotFound, and NotYourChat if the actor may only read it."""
    chat = get_chat(session, actor, chat_id, in_trash=in_trash)
    if chat["owner"] is not None:
        raise NotYourChat
    return chat


def list_shared_chats(session: Session, actor: Actor) -> list[ChatRead]:
    """Return the chats that others share with the actor by name, newest first, at most 200."""
    ids = session.scalars(
        sa.select(Chat.id)
        .where(
            Chat.id.in_(shared_chat_ids()),
            Chat.kind != ChatKind.DRAFT,  # listed with their drafts
            Chat.deleted_at.is_(None),
            Chat.user_id != actor_id(),
        )
        .order_by(Chat.last_message_at.desc(), Chat.id.desc())
        .limit(200),
        {"actor_id": actor.user_id},
    ).all()
    return [get_chat(session, actor, ChatId(chat_id)) for chat_id in ids]


def update_chat(session: Session, actor: Actor, chat_id: ChatId, update: ChatUpdate) -> ChatRead:
    chat = own_chat(session, actor, chat_id)
    if chat["kind"] is ChatKind.CHANNEL:
        raise NotYourChat("A channel is changed on the page of its project.")
    LOCK_CHAT.first(session, chat_id=chat_id, actor_id=actor.user_id)
    if update.visibility is Visibility.PUBLIC and chat["kind"] is ChatKind.DRAFT:
        raise ShareTheDraft
    values = {name: getattr(update, name) for name in update.model_fields_set}
    if "title" in values and values["title"] is None:
        values["title"] = DEFAULT_TITLE
    if "settings" in values and update.settings is not None:
        stored = session.scalars(sa.select(Chat.settings).where(Chat.id == chat_id)).one()
        values["settings"] = stored.model_copy(update=update.settings.model_dump(exclude_unset=True))
    if (is_pinned := values.pop("is_pinned", None)) is not None:
        values["pinned_at"] = clock.now() if is_pinned else None
    for name in ("is_archived", "settings", "visibility"):
        if values.get(name, ...) is None:
            del values[name]
    if values:
        session.execute(sa.update(Chat).where(Chat.id == chat_id).values(values))
    if "title" in values:
        index_title(session, chat_id)
    if "visibility" in values:
        wake(session, SHARES)  # check again who may follow the chat
    return announce_chat(session, chat_id, Operation.UPDATED)


def delete_chat(session: Session, actor: Actor, chat_id: ChatId) -> None:
    """Move a chat to the trash. A job empties the trash after thirty days. A channel stays as long as its project."""
    if own_chat(session, actor, chat_id)["kind"] is ChatKind.CHANNEL:
        raise NotYourChat("A channel is deleted on the page of its project.")
    session.execute(sa.update(Chat).where(Chat.id == chat_id).values(deleted_at=clock.now()))
    announce_chat(session, chat_id, Operation.DELETED)
    wake(session, SHARES)


def restore_chat(session: Session, actor: Actor, chat_id: ChatId) -> ChatRead:
    """Restore a chat from the trash unchanged; a chat that is not in the trash stays as it is."""
    own_chat(session, actor, chat_id, in_trash=True)
    session.execute(sa.update(Chat).where(Chat.id == chat_id).values(deleted_at=None))
    wake(session, SHARES)
    return announce_chat(session, chat_id, Operation.CREATED)


def purge_trash(session: Session, kept: timedelta) -> int:
    """Delete up to 20 chats permanently that were in the trash for longer than `kept`: small batches block no one."""
    old = session.scalars(sa.select(Chat.id).where(Chat.deleted_at < clock.now() - kept).limit(20)).all()
    release_files(session, old)
    return rowcount(session, sa.delete(Chat).where(Chat.id.in_(old)))


def delete_chat_of(session: Session, user_id: str) -> bool:
    """Delete one chat of a deleted account, or take its name from messages in the chats of others. False: none is left."""
    chat_id = session.scalar(sa.select(Chat.id).where(Chat.user_id == user_id).limit(1))
    if chat_id is not None:
        release_files(session, [chat_id])
        session.execute(sa.delete(Chat).where(Chat.id == chat_id))
        return True
    written = sa.select(Message.id).where(Message.user_id == user_id).limit(500)
    return rowcount(session, sa.update(Message).where(Message.id.in_(written)).values(user_id=None)) > 0


def list_messages(
    session: Session,
    actor: Actor,
    chat_id: ChatId,
    *,
    leaf: MessageId | None = None,
    through: MessageId | None = None,
    parent: MessageId | None = None,
    limit: int = 50,
) -> tuple[list[MessageRead], str | None]:
    """Return a page of a branch, newest first, and the leaf of the page before it.

    The branch ends in `leaf`, in the newest leaf below `through`, or in the chat's head. With `parent` it is the thread
    below that message, and ends in its newest message. Raises ChatNotFound, MessageNotFound.
    """
    chat = READABLE_CHAT.first(session, chat_id=chat_id, actor_id=actor.user_id)
    if chat is None:
        raise ChatNotFound
    (head_id,) = chat
    end = head_id if parent is None else _end_of_thread(session, chat_id, parent)
    start = leaf or (_leaf_through(session, chat_id, through) if through else end)
    if start is None:
        return [], None
    # Read one more link: `leaf` may have been deleted since the page before, and is then omitted.
    rows = BRANCH_PAGE.all(session, chat_id=chat_id, leaf=start, links=limit)
    if not rows:
        raise MessageNotFound
    rows = rows[:limit]
    messages = [read_message_row(row) for row in rows]
    older = messages[-1]["previous_message_id"]
    return messages, older


def _leaf_through(session: Session, chat_id: ChatId, message_id: MessageId) -> MessageId:
    """Return the newest leaf below a message. Raises MessageNotFound, also if the message was deleted."""
    existing_id = session.scalar(
        sa.select(Message.id).where(
            Message.id == message_id, Message.chat_id == chat_id, Message.status != MessageStatus.DELETED
        )
    )
    if existing_id is None:
        raise MessageNotFound
    return MessageId(newest_leaf_below(session, chat_id, message_id))


def _end_of_thread(session: Session, chat_id: ChatId, parent: MessageId) -> str | None:
    """Return the newest message of a thread, or None. A deleted parent keeps its thread. Raises MessageNotFound."""
    if session.scalar(sa.select(Message.id).where(Message.id == parent, Message.chat_id == chat_id)) is None:
        raise MessageNotFound
    return newest_in_thread(session, parent)


def get_message(session: Session, actor: Actor, message_id: MessageId) -> MessageRead:
    row = ONE_MESSAGE.first(session, message_id=message_id)
    message = read_message_row(row) if row else None
    if message is None or not READABLE_CHAT.first(session, chat_id=message["chat_id"], actor_id=actor.user_id):
        raise MessageNotFound
    return message


def get_message_with_history(session: Session, actor: Actor, message_id: MessageId) -> MessageWithHistory:
    """Return a message with its earlier texts.

    Only its author and the chat's owner get them: they may be older than the sharing of the chat.
    """
    message = get_message(session, actor, message_id)
    history, author_id, owner_id, is_handed_over = session.execute(
        sa.select(Message.edit_history, Message.user_id, Chat.user_id, Chat.is_handed_over)
        .join(Chat, Chat.id == Message.chat_id)
        .where(Message.id == message_id)
    ).one()
    if actor.user_id != author_id and (actor.user_id != owner_id or is_handed_over):
        history = []
    edits = [{"timestamp": edit.timestamp, "previous_content": edit.previous_content} for edit in history]
    return message | {"edit_history": edits}  # type: ignore[return-value]


def set_head(session: Session, actor: Actor, chat_id: ChatId, message_id: MessageId) -> ChatRead:
    """Show the branch through a message: the newest leaf below it becomes the head.

    Raises NotInChat and ChannelHasNoBranches.
    """
    if own_chat(session, actor, chat_id)["kind"] is ChatKind.CHANNEL:
        raise ChannelHasNoBranches
    level = session.scalar(
        sa.select(Message.thread_level).where(
            Message.id == message_id, Message.chat_id == chat_id, Message.status != MessageStatus.DELETED
        )
    )
    if level is None or level > 0:
        raise NotInChat("message_id")
    leaf = newest_leaf_below(session, chat_id, message_id)
    session.execute(sa.update(Chat).where(Chat.id == chat_id).values(head_message_id=leaf))
    return announce_chat(session, chat_id, Operation.UPDATED)


def announce_chat(session: Session, chat_id: str, operation: Operation) -> ChatRead:
    """Publish a chat as it is now, and return it."""
    values = CHAT_BY_ID.first(session, chat_id=chat_id)
    assert values is not None
    chat = read_chat_row(values)
    *_, owner_id = values
    publish(
        session,
        owner_id=owner_id,
        topic=f"user:{owner_id}",
        entity=CHAT,
        entity_id=chat_id,
        operation=operation,
        payload=chat,
        shared_id=chat_id,
    )
    return chat


def is_own_chat(session: Session, actor: Actor, chat_id: str) -> bool:
    """Return whether a chat belongs to the actor and is not in the trash."""
    own = sa.select(Chat.id).where(Chat.id == chat_id, Chat.user_id == actor.user_id, Chat.deleted_at.is_(None))
    return session.scalar(own) is not None


def find_titles(session: Session, chat_ids: Collection[str]) -> dict[str, str]:
    """Return the titles of chats by id, without chats in the trash. It checks no permission: payers could read them."""
    rows = session.execute(sa.select(Chat.id, Chat.title).where(Chat.id.in_(chat_ids), Chat.deleted_at.is_(None)))
    return {chat_id: title for chat_id, title in rows}


_KEPT_CHAT = Prepared(
    sa.select(Chat.id).where(Chat.id == sa.bindparam("chat_id", type_=Id())).with_for_update(key_share=True)
)


def lock_accounts(session: Session, chat_id: str, payer_id: str) -> None:
    """Lock a chat, then the payer: the order in which everything that spends locks them, also sending a message."""
    _KEPT_CHAT.first(session, chat_id=chat_id)
    lock_payer(session, payer_id)


def add_to_totals(session: Session, chat_id: str, tokens: int, cost: Decimal | None) -> None:
    """Add to the totals of a chat. An unknown cost adds nothing."""
    session.execute(
        sa.update(Chat)
        .where(Chat.id == chat_id)
        .values(total_tokens=Chat.total_tokens + tokens, total_cost=Chat.total_cost + (cost or Decimal(0)))
    )
