"""Tags: labels that users give their chats. A deleted tag can be restored with its chats for thirty days."""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.chat.errors import ChatNotFound, TagExists, TagNotFound, TooManyTags
from tertulia.chat.events import TAG
from tertulia.chat.messages import lock_chat
from tertulia.chat.models import ChatTag, Tag
from tertulia.chat.schemas import ChatRead, TagCreate, TagRead, TagUpdate
from tertulia.chat.service import announce_chat
from tertulia.db import insert_if_absent, rowcount
from tertulia.ids import ChatId, TagId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish
from tertulia.search_index.words import fold

MAX_TAGS = 200


def list_tags(session: Session, actor: Actor) -> list[TagRead]:
    """Return the actor's tags by name, all at once because there are at most 200."""
    tags = session.scalars(
        sa.select(Tag).where(Tag.user_id == actor.user_id, Tag.deleted_at.is_(None)).order_by(Tag.name_key)
    )
    return [_read(tag) for tag in tags]


def create_tag(session: Session, actor: Actor, new: TagCreate) -> TagRead:
    """Create a tag. Raises TagExists, TooManyTags."""
    count = session.scalar(sa.select(sa.func.count()).where(Tag.user_id == actor.user_id, Tag.deleted_at.is_(None)))
    if (count or 0) >= MAX_TAGS:
        raise TooManyTags(MAX_TAGS)
    tag = Tag(id=new_id(), user_id=actor.user_id, name=new.name, name_key=fold(new.name), colour=new.colour)
    _keep_name(session, tag)
    session.add(tag)
    session.flush()
    return _announce(session, tag, Operation.CREATED)


def find_or_create_tag(session: Session, actor: Actor, new: TagCreate) -> TagId:
    """Return the id of the tag with this name; create it if there is none. Raises TooManyTags."""
    tag_id = session.scalar(
        sa.select(Tag.id).where(Tag.user_id == actor.user_id, Tag.name_key == fold(new.name), Tag.deleted_at.is_(None))
    )
    return TagId(tag_id or create_tag(session, actor, new)["id"])


def update_tag(session: Session, actor: Actor, tag_id: TagId, update: TagUpdate) -> TagRead:
    """Change the name or colour of a tag. Raises TagNotFound, TagExists."""
    tag = _get(session, actor, tag_id)
    if update.name is not None:
        tag.name, tag.name_key = update.name, fold(update.name)
        _keep_name(session, tag)
    if update.colour is not None:
        tag.colour = update.colour
    session.flush()
    return _announce(session, tag, Operation.UPDATED)


def merge_tag(session: Session, actor: Actor, tag_id: TagId, into_id: TagId) -> TagRead:
    """Add another tag to all chats of a tag, then delete the tag. Raises TagNotFound."""
    tag, into = _get(session, actor, tag_id), _get(session, actor, into_id)
    if tag.id != into.id:
        chats = list(session.scalars(sa.select(ChatTag.chat_id).where(ChatTag.tag_id == tag.id)))
        for chat_id in chats:
            insert_if_absent(session, ChatTag, chat_id=chat_id, tag_id=into.id, created_at=clock.now())
        tag.deleted_at = clock.now()
        session.flush()
        _announce(session, tag, Operation.DELETED)
        for chat_id in chats:
            announce_chat(session, chat_id, Operation.UPDATED)
    return _announce(session, into, Operation.UPDATED)


def delete_tag(session: Session, actor: Actor, tag_id: TagId) -> None:
    tag = _get(session, actor, tag_id)
    tag.deleted_at = clock.now()
    session.flush()
    _announce(session, tag, Operation.DELETED)


def restore_tag(session: Session, actor: Actor, tag_id: TagId) -> TagRead:
    """Restore a deleted tag. Raises TagNotFound, and TagExists if another tag now has its name."""
    tag = _get(session, actor, tag_id, is_deleted=True)
    if tag.deleted_at is not None:
        _keep_name(session, tag)
        tag.deleted_at = None
        session.flush()
    return _announce(session, tag, Operation.CREATED)


def tag_chat(session: Session, actor: Actor, chat_id: ChatId, tag_id: TagId) -> ChatRead:
    """Add a tag to a chat; adding it again changes nothing. Raises ChatNotFound, TagNotFound."""
    _check_chat(session, actor, chat_id)
    tag = _get(session, actor, tag_id)
    insert_if_absent(session, ChatTag, chat_id=chat_id, tag_id=tag.id, created_at=clock.now())
    return announce_chat(session, chat_id, Operation.UPDATED)


def untag_chat(session: Session, actor: Actor, chat_id: ChatId, tag_id: TagId) -> ChatRead:
    _check_chat(session, actor, chat_id)
    tag = _get(session, actor, tag_id)
    session.execute(sa.delete(ChatTag).where(ChatTag.chat_id == chat_id, ChatTag.tag_id == tag.id))
    return announce_chat(session, chat_id, Operation.UPDATED)


def purge_tags(session: Session, kept: timedelta) -> int:
    return rowcount(session, sa.delete(Tag).where(Tag.deleted_at < clock.now() - kept))


def _get(session: Session, actor: Actor, tag_id: TagId, *, is_deleted: bool = False) -> Tag:
    tag = session.scalars(sa.select(Tag).where(Tag.id == tag_id, Tag.user_id == actor.user_id)).one_or_none()
    if tag is None or (tag.deleted_at is not None and not is_deleted):
        raise TagNotFound
    return tag


def _keep_name(session: Session, tag: Tag) -> None:
    """Check that no other tag of the user has an equal name. A unique index catches races. Raises TagExists."""
    with session.no_autoflush:
        existing_id = session.scalar(
            sa.select(Tag.id).where(
                Tag.user_id == tag.user_id, Tag.name_key == tag.name_key, Tag.deleted_at.is_(None), Tag.id != tag.id
            )
        )
    if existing_id is not None:
        raise TagExists(tag.name)


def _check_chat(session: Session, actor: Actor, chat_id: ChatId) -> None:
    if lock_chat(session, actor, chat_id).owner_id != actor.user_id:
        raise ChatNotFound


def _read(tag: Tag) -> TagRead:
    return {"id": tag.id, "name": tag.name, "colour": tag.colour, "created_at": tag.created_at}


def _announce(session: Session, tag: Tag, operation: Operation) -> TagRead:
    read = _read(tag)
    publish(
        session,
        owner_id=tag.user_id,
        topic=f"user:{tag.user_id}",
        entity=TAG,
        entity_id=tag.id,
        operation=operation,
        payload=read,
    )
    return read
