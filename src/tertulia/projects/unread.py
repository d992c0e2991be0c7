"""Read channels as a person sees them: with what is new to them, by their last read message."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.access import actor_id, may_as_member
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import Membership
from tertulia.chat.models import Chat, Message, MessageStatus
from tertulia.projects.models import Channel, ChannelMember, Mention, Project, ProjectStatus
from tertulia.projects.schemas import ChannelRead

MAX_COUNTED = 100  # more is shown as 99+

# What was written while a person was no member is not new to them, also after they came back.
_last_read = sa.case(
    (ChannelMember.last_read_id > Membership.joined_id, ChannelMember.last_read_id), else_=Membership.joined_id
)


def _count_new(*conditions: sa.ColumnElement[bool], source: Any) -> sa.ScalarSelect[int]:
    """Count rows of a channel up to a maximum. An index finds those after the last read message, and no others."""
    new = sa.select(sa.literal(1)).select_from(source).where(*conditions).limit(MAX_COUNTED)
    return sa.select(sa.func.count()).select_from(new.correlate_except(source).subquery()).scalar_subquery()


_message, _named = sa.orm.aliased(Message), sa.orm.aliased(Mention)
_from_others = (
    _message.user_id.is_distinct_from(actor_id()),
    _message.status != MessageStatus.DELETED,
)
UNREAD = _count_new(
    _message.chat_id == Channel.chat_id,
    _message.id > _last_read,
    _message.thread_level == 0,
    *_from_others,
    source=_message,
)
MENTIONS = _count_new(
    _named.chat_id == Channel.chat_id,
    _named.message_id > _last_read,
    _named.user_id.is_(None) | (_named.user_id == actor_id()),
    *_from_others,
    source=sa.join(_named, _message, _message.id == _named.message_id),
)


def of_member(query: sa.Select[Any]) -> sa.Select[Any]:
    """Join the chat, the project and the actor's membership to a selection of channels."""
    return (
        query.join(Chat, Chat.id == Channel.chat_id)
        .join(Project, Project.id == Channel.project_id)
        .join(Membership, (Membership.project_id == Channel.project_id) & (Membership.user_id == actor_id()))
    )


READ = of_member(
    sa.select(
        Channel,
        Chat.deleted_at,
        _last_read.label("last_read_id"),
        sa.func.coalesce(ChannelMember.is_muted, sa.false()).label("is_muted"),
        UNREAD.label("unread"),
        MENTIONS.label("mentions"),
    )
).outerjoin(ChannelMember, (ChannelMember.channel_id == Channel.id) & (ChannelMember.user_id == actor_id()))


def read_channels(
    session: Session, actor: Actor, *conditions: sa.ColumnElement[bool], in_trash: bool = False
) -> list[ChannelRead]:
    """Return channels of projects that the actor belongs to, by name; or those in the trash."""
    state = Chat.deleted_at.is_not(None) if in_trash else Chat.deleted_at.is_(None)
    query = READ.where(state, *conditions).order_by(Channel.project_id, Channel.name_key)
    rows = session.execute(query, {"actor_id": actor.user_id}, execution_options={"populate_existing": True})
    return [_read(*row) for row in rows]


def list_all_channels(session: Session, actor: Actor) -> list[ChannelRead]:
    """Return the channels of all active projects of the actor."""
    return read_channels(session, actor, Project.status == ProjectStatus.ACTIVE, may_as_member())


def _read(
    channel: Channel, deleted_at: Any, last_read_id: str, is_muted: bool, unread: int, mentions: int
) -> ChannelRead:
    return {
        "id": channel.id,
        "project_id": channel.project_id,
        "chat_id": channel.chat_id,
        "name": channel.name,
        "type": channel.type,
        "topic": channel.topic,
        "unread_count": unread,
        "mention_count": mentions,
        "last_read_id": last_read_id,
        "is_muted": bool(is_muted),
        "deleted_at": deleted_at,
    }
