"""Create, change and delete channels, and keep for each member how far they read."""

import re
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.access import may_as_member
from tertulia.accounts.actor import Actor
from tertulia.accounts.membership import find_access
from tertulia.accounts.models import MemberAccess, Membership, User
from tertulia.accounts.names import name_key
from tertulia.accounts.row_limits import RowLimits
from tertulia.chat.errors import NotInChat
from tertulia.chat.indexing import index_title
from tertulia.chat.models import Chat, Message
from tertulia.chat.parts import TextPart
from tertulia.chat.project_chats import require_place
from tertulia.chat.service import announce_chat
from tertulia.db import insert_if_absent, rowcount, wake
from tertulia.ids import ChannelId, MessageId, ProjectId, new_id
from tertulia.projects.errors import (
    ChannelNameTaken,
    ChannelNotFound,
    LastChannel,
    NotYourProject,
    ReadOnlyProject,
    TooManyChannels,
)
from tertulia.projects.events import CHANNEL
from tertulia.projects.models import Channel, ChannelMember, Mention, Project, ProjectStatus
from tertulia.projects.schemas import ChannelCreate, ChannelRead, ChannelUpdate
from tertulia.projects.service import announce, find_project, insert_channel
from tertulia.projects.unread import of_member, read_channels
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import SHARES, publish

MAX_CHANNELS = 100
# `@name`, not within a word or an e-mail address.
_MENTION = re.compile(r"(?<![\w@./])@([\w.\-]{1,100})")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
EVERYONE = ("channel", "everyone")
FEW_KEYS = 500  # names that are looked for by their index


# ---- channels


def list_channels(
    session: Session, actor: Actor, project_id: ProjectId, *, in_trash: bool = False
) -> list[ChannelRead]:
    """List the channels of a project by name; its owner also those in the trash. Raises ProjectNotFound, NotYourProject."""
    project = find_project(session, actor, project_id)
    if not in_trash:
        return read_channels(session, actor, Channel.project_id == project_id)
    if project["owner"]["id"] != actor.user_id:
        raise NotYourProject
    return read_channels(session, actor, Channel.project_id == project_id, in_trash=True)


def get_channel(session: Session, actor: Actor, channel_id: ChannelId) -> ChannelRead:
    """Return a channel of a project that the actor belongs to. Raises ChannelNotFound."""
    channels = read_channels(session, actor, *_reachable(channel_id))
    if not channels:
        raise ChannelNotFound
    return channels[0]


def _find(session: Session, actor: Actor, channel_id: ChannelId, *, in_trash: bool = False) -> Channel:
    """Return a channel of a project that the actor belongs to, with `in_trash` also one there. Raises ChannelNotFound."""
    query = of_member(sa.select(Channel)).where(*_reachable(channel_id))
    if not in_trash:
        query = query.where(Chat.deleted_at.is_(None))
    channel: Channel | None = session.scalars(query, {"actor_id": actor.user_id}).first()
    if channel is None:
        raise ChannelNotFound
    return channel


def _reachable(channel_id: ChannelId) -> tuple[sa.ColumnElement[bool], ...]:
    return Channel.id == channel_id, Project.status != ProjectStatus.DELETED, may_as_member()


def create_channel(
    session: Session, actor: Actor, project_id: ProjectId, new: ChannelCreate, limits: RowLimits
) -> ChannelRead:
    """Create a channel for all members of a project.

    Raises ProjectNotFound, ReadOnlyProject, ChannelNameTaken, TooManyChannels, TooManyOpenChats and TooManyRows.
    """
    find_project(session, actor, project_id)
    project = session.get_one(Project, project_id, with_for_update=True, populate_existing=True)
    if find_access(session, actor, project_id) is not MemberAccess.WRITE:
        raise ReadOnlyProject
    count = session.scalar(sa.select(sa.func.count()).where(Channel.project_id == project_id))
    if (count or 0) >= MAX_CHANNELS:
        raise TooManyChannels(MAX_CHANNELS)
    _check_name(session, project_id, new.name)
    require_place(session, actor, project_id, is_open=True)
    channel_id = insert_channel(session, project, new.name, new.topic, limits)
    wake(session, SHARES)
    announce(session, project, Operation.UPDATED)
    return get_channel(session, actor, ChannelId(channel_id))


def update_channel(session: Session, actor: Actor, channel_id: ChannelId, changes: ChannelUpdate) -> ChannelRead:
    """Rename a channel, or change its topic. Raises ChannelNotFound, ReadOnlyProject and ChannelNameTaken."""
    channel, project = _writable(session, actor, channel_id)
    values = changes.model_dump(exclude_unset=True)
    name = values.pop("name", None)
    if name is not None and name != channel.name:
        _check_name(session, project.id, name)
        channel.name, channel.name_key = name, name_key(name)
        session.execute(sa.update(Chat).where(Chat.id == channel.chat_id).values(title=name))
        index_title(session, channel.chat_id)
        announce_chat(session, channel.chat_id, Operation.UPDATED)
    if "topic" in values:
        channel.topic = values["topic"]
    session.flush()
    announce(session, project, Operation.UPDATED)
    return get_channel(session, actor, channel_id)


def delete_channel(session: Session, actor: Actor, channel_id: ChannelId) -> None:
    """Move a channel of the actor's project to the trash. Raises ChannelNotFound, NotYourProject and LastChannel."""
    channel, project = _writable(session, actor, channel_id, is_owner=True)
    kept = (
        sa.select(sa.func.count())
        .select_from(Channel)
        .join(Chat, Chat.id == Channel.chat_id)
        .where(Channel.project_id == project.id, Chat.deleted_at.is_(None))
    )
    if (session.scalar(kept) or 0) <= 1:
        raise LastChannel
    session.execute(sa.update(Chat).where(Chat.id == channel.chat_id).values(deleted_at=clock.now()))
    _moved(session, project)


def restore_channel(session: Session, actor: Actor, channel_id: ChannelId) -> ChannelRead:
    """Bring a channel of the actor's project back from the trash. Raises ChannelNotFound and NotYourProject."""
    channel, project = _writable(session, actor, channel_id, is_owner=True, in_trash=True)
    session.execute(sa.update(Chat).where(Chat.id == channel.chat_id).values(deleted_at=None))
    _moved(session, project)
    return get_channel(session, actor, channel_id)


def _moved(session: Session, project: Project) -> None:
    wake(session, SHARES)  # who follows the chat is checked again
    announce(session, project, Operation.UPDATED)


def _writable(
    session: Session, actor: Actor, channel_id: ChannelId, *, is_owner: bool = False, in_trash: bool = False
) -> tuple[Channel, Project]:
    """Return a channel that the actor may change, with its project, which is locked."""
    channel = _find(session, actor, channel_id, in_trash=in_trash)
    project = session.get_one(Project, channel.project_id, with_for_update=True, populate_existing=True)
    if is_owner and project.owner_id != actor.user_id:
        raise NotYourProject
    if find_access(session, actor, project.id) is not MemberAccess.WRITE:
        raise ReadOnlyProject
    session.refresh(channel)
    return channel, project


def _check_name(session: Session, project_id: str, name: str) -> None:
    same = sa.select(Channel.id).where(Channel.project_id == project_id, Channel.name_key == name_key(name))
    if session.scalar(same) is not None:
        raise ChannelNameTaken


# ---- of each member


def read_until(session: Session, actor: Actor, channel_id: ChannelId, message_id: MessageId) -> ChannelRead:
    """Keep how far the actor has read a channel, for all of their devices. Raises ChannelNotFound and NotInChat."""
    channel = _find(session, actor, channel_id)
    in_channel = sa.select(Message.id).where(Message.chat_id == channel.chat_id, Message.id == message_id)
    if session.scalar(in_channel) is None:
        raise NotInChat("message_id")
    return _set_own(session, actor, channel_id, {"last_read_id": message_id})


def set_muted(session: Session, actor: Actor, channel_id: ChannelId, *, is_muted: bool) -> ChannelRead:
    """Let the actor hear nothing of a channel but mentions, or everything again. Raises ChannelNotFound."""
    _find(session, actor, channel_id)
    return _set_own(session, actor, channel_id, {"is_muted": is_muted})


def _set_own(session: Session, actor: Actor, channel_id: ChannelId, values: dict[str, object]) -> ChannelRead:
    is_changed = _store_own(session, actor.user_id, channel_id, values)
    channel = get_channel(session, actor, channel_id)
    if is_changed:
        publish(
            session,
            owner_id=actor.user_id,
            topic=f"user:{actor.user_id}",
            entity=CHANNEL,
            entity_id=channel_id,
            operation=Operation.UPDATED,
            payload=channel,
        )
    return channel


def _store_own(session: Session, user_id: str, channel_id: str, values: dict[str, object]) -> bool:
    """Store what a person chose for a channel, or how far they read. Return whether it changed."""
    now = clock.now()
    row: dict[str, object] = {
        "channel_id": channel_id,
        "user_id": user_id,
        "last_read_id": None,
        "is_muted": False,
        "created_at": now,
        "updated_at": now,
    }
    if insert_if_absent(session, ChannelMember, **row | values):
        return True
    changed = sa.update(ChannelMember).where(ChannelMember.channel_id == channel_id, ChannelMember.user_id == user_id)
    if "last_read_id" in values:  # another window may have read further meanwhile
        is_older = ChannelMember.last_read_id.is_(None) | (ChannelMember.last_read_id < values["last_read_id"])
        changed = changed.where(is_older)
    else:
        changed = changed.where(ChannelMember.is_muted != values["is_muted"])
    changed = changed.values(**values, updated_at=now)
    return rowcount(session, changed) > 0


# ---- mentions


def note_post(session: Session, chat_id: str, message_id: str) -> None:
    """Store whom a new message of a channel names. Its author has read the channel until there, unless it is in a thread."""
    channel = session.execute(
        sa.select(Channel.id, Message.user_id, Message.thread_level)
        .join(Message, Message.chat_id == Channel.chat_id)
        .where(Channel.chat_id == chat_id, Message.id == message_id)
    ).first()
    if channel is None:
        return
    renew_mentions(session, chat_id, message_id, is_deleted=False)
    if channel.user_id is not None and channel.thread_level == 0:
        _store_own(session, channel.user_id, channel.id, {"last_read_id": message_id})


def renew_mentions(session: Session, chat_id: str, message_id: str, *, is_deleted: bool) -> None:
    """Store whom a message names now: members of the project, or everyone. Those of a deleted one are not counted."""
    project_id = session.scalar(sa.select(Channel.project_id).where(Channel.chat_id == chat_id))
    if project_id is None or is_deleted:
        return
    parts = session.scalars(sa.select(Message.parts).where(Message.id == message_id)).one()
    keys = set(mentioned(" ".join(part.text for part in parts if isinstance(part, TextPart))))
    wanted: set[str | None] = set(_members_named(session, project_id, keys)) if keys else set()
    if keys & set(EVERYONE):
        wanted = {None}  # each person is named once
    of_message = sa.select(Mention.id, Mention.user_id).where(Mention.message_id == message_id)
    stored = {user_id: mention_id for mention_id, user_id in session.execute(of_message)}
    outdated = [mention_id for user_id, mention_id in stored.items() if user_id not in wanted]
    if outdated:
        session.execute(sa.delete(Mention).where(Mention.id.in_(outdated)))
    common = {"message_id": message_id, "chat_id": chat_id, "created_at": clock.now()}
    new = [{"id": new_id(), "user_id": user_id, **common} for user_id in wanted - stored.keys()]
    if new:
        session.execute(sa.insert(Mention), new)


def _members_named(session: Session, project_id: str, keys: set[str]) -> Iterator[str]:
    """Yield the members of a project with one of these names. A project has at most a thousand members."""
    members = (
        sa.select(User.id, User.username_key)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.project_id == project_id)
    )
    if len(keys) <= FEW_KEYS:
        members = members.where(User.username_key.in_(keys))
    yield from (user_id for user_id, key in session.execute(members) if key in keys)


def forget_mentions(session: Session, user_id: str) -> bool:
    """Delete some mentions of a deleted account. False: none is left."""
    some = sa.select(Mention.id).where(Mention.user_id == user_id).limit(500)
    return rowcount(session, sa.delete(Mention).where(Mention.id.in_(some))) > 0


def mentioned(text: str) -> Iterator[str]:
    """Yield the keys of names after an @, each as written and without the characters that may end a sentence. Pure.

    Names in code are not meant.
    """
    for name in _MENTION.findall(_CODE.sub(" ", text)):
        yield name_key(name)
        yield name_key(name.rstrip(".-_"))
