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
from tertulia.chat.models import Chat, Message
from tertulia.chat.parts import TextPart
from tertulia.chat.project_chats import require_place
from tertulia.chat.service import announce_chat
from tertulia.db import insert_if_absent, wake
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
from tertulia.projects.service import announce, get_project, insert_channel
from tertulia.projects.unread import read_channels
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import SHARES, publish

MAX_CHANNELS = 100
# `@name`, not within a word or an e-mail address.
_MENTION = re.compile(r"(?<![\w@./])@([\w.\-]{1,100})")
EVERYONE = ("channel", "everyone")
KEYS_AT_ONCE = 500  # names in one query


# ---- channels


def list_channels(
    session: Session, actor: Actor, project_id: ProjectId, *, in_trash: bool = False
) -> list[ChannelRead]:
    """List the channels of a project by name; its owner also those in the trash. Raises ProjectNotFound, NotYourProject."""
    project = get_project(session, actor, project_id)
    if not in_trash:
        return project["channels"] or []
    if project["owner"]["id"] != actor.user_id:
        raise NotYourProject
    return read_channels(session, actor, Channel.project_id == project_id, in_trash=True)


def get_channel(session: Session, actor: Actor, channel_id: ChannelId) -> ChannelRead:
    """Return a channel of a project that the actor belongs to. Raises ChannelNotFound."""
    channels = read_channels(
        session, actor, Channel.id == channel_id, Project.status != ProjectStatus.DELETED, may_as_member()
    )
    if not channels:
        raise ChannelNotFound
    return channels[0]


def create_channel(
    session: Session, actor: Actor, project_id: ProjectId, new: ChannelCreate, limits: RowLimits
) -> ChannelRead:
    """Create a channel for all members of a project.

    Raises ProjectNotFound, ReadOnlyProject, ChannelNameTaken, TooManyChannels, TooManyOpenChats and TooManyRows.
    """
    get_project(session, actor, project_id)
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
    reachable = read_channels(session, actor, Channel.id == channel_id, may_as_member())
    if in_trash:
        reachable += read_channels(session, actor, Channel.id == channel_id, may_as_member(), in_trash=True)
    if not reachable:
        raise ChannelNotFound
    project = session.get_one(Project, reachable[0]["project_id"], with_for_update=True, populate_existing=True)
    if is_owner and project.owner_id != actor.user_id:
        raise NotYourProject
    if find_access(session, actor, project.id) is not MemberAccess.WRITE:
        raise ReadOnlyProject
    return session.get_one(Channel, channel_id, populate_existing=True), project


def _check_name(session: Session, project_id: str, name: str) -> None:
    same = sa.select(Channel.id).where(Channel.project_id == project_id, Channel.name_key == name_key(name))
    if session.scalar(same) is not None:
        raise ChannelNameTaken


# ---- of each member


def read_until(session: Session, actor: Actor, channel_id: ChannelId, message_id: MessageId) -> ChannelRead:
    """Keep how far the actor has read a channel, for all of their devices. Raises ChannelNotFound and NotInChat."""
    channel = get_channel(session, actor, channel_id)
    in_channel = sa.select(Message.id).where(Message.chat_id == channel["chat_id"], Message.id == message_id)
    if session.scalar(in_channel) is None:
        raise NotInChat("message_id")
    if message_id <= channel["last_read_id"]:
        return channel
    return _set_own(session, actor, channel_id, {"last_read_id": message_id})


def set_muted(session: Session, actor: Actor, channel_id: ChannelId, *, is_muted: bool) -> ChannelRead:
    """Let the actor hear nothing of a channel but mentions, or everything again. Raises ChannelNotFound."""
    get_channel(session, actor, channel_id)
    return _set_own(session, actor, channel_id, {"is_muted": is_muted})


def _set_own(session: Session, actor: Actor, channel_id: ChannelId, values: dict[str, object]) -> ChannelRead:
    now = clock.now()
    row: dict[str, object] = {
        "channel_id": channel_id,
        "user_id": actor.user_id,
        "last_read_id": None,
        "is_muted": False,
        "created_at": now,
        "updated_at": now,
    }
    if not insert_if_absent(session, ChannelMember, **row | values):
        own = (ChannelMember.channel_id == channel_id, ChannelMember.user_id == actor.user_id)
        changed = sa.update(ChannelMember).where(*own)
        if "last_read_id" in values:  # another window may have read further meanwhile
            is_older = ChannelMember.last_read_id.is_(None) | (ChannelMember.last_read_id < values["last_read_id"])
            changed = changed.where(is_older)
        session.execute(changed.values(**values, updated_at=now), execution_options={"synchronize_session": False})
    channel = get_channel(session, actor, channel_id)
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


# ---- mentions


def note_mentions(session: Session, chat_id: str, message_id: str) -> None:
    """Store whom a new message of a channel names: members of its project, or everyone."""
    project_id = session.scalar(sa.select(Channel.project_id).where(Channel.chat_id == chat_id))
    if project_id is None:
        return
    parts = session.scalars(sa.select(Message.parts).where(Message.id == message_id)).one()
    keys = sorted(set(mentioned(" ".join(part.text for part in parts if isinstance(part, TextPart)))))
    user_ids: list[str | None] = [None] if set(keys) & set(EVERYONE) else []
    for start in range(0, len(keys), KEYS_AT_ONCE):
        named = (
            sa.select(User.id)
            .join(Membership, Membership.user_id == User.id)
            .where(Membership.project_id == project_id, User.username_key.in_(keys[start : start + KEYS_AT_ONCE]))
        )
        user_ids += session.scalars(named).all()
    if user_ids:
        common = {"message_id": message_id, "chat_id": chat_id, "created_at": clock.now()}
        rows = [{"id": new_id(), "user_id": known, **common} for known in user_ids]
        session.execute(sa.insert(Mention), rows)


def renew_mentions(session: Session, chat_id: str, message_id: str, *, is_deleted: bool) -> None:
    """Store whom a changed message names now. A deleted message names no one."""
    if session.scalar(sa.select(Channel.id).where(Channel.chat_id == chat_id)) is None:
        return
    session.execute(sa.delete(Mention).where(Mention.message_id == message_id))
    if not is_deleted:
        note_mentions(session, chat_id, message_id)


def mentioned(text: str) -> Iterator[str]:
    """Yield the keys of names after an @, each as written and without the signs that may end a sentence. Pure."""
    for name in _MENTION.findall(text):
        yield name_key(name)
        yield name_key(name.rstrip(".-_"))
