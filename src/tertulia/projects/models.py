"""Tables of projects and channels."""

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.db import Base, CreatedAt, Id, Timestamps, closed
from tertulia.ids import new_id

MAX_NAME = 100
MAX_DESCRIPTION = 1000
MAX_INSTRUCTIONS = 10_000
MAX_TOPIC = 300


class ProjectStatus(StrEnum):
    ACTIVE = "active"
    ARCHIVED = "archived"  # its members may only read
    DELETED = "deleted"  # in the trash: only its owner sees it


class ChannelType(StrEnum):
    TEXT = "text"


class Project(Timestamps, Base):
    """What chats have in common. A project with one member is a folder of their chats. Members: `membership`."""

    __tablename__ = "project"
    __table_args__ = (sa.Index(None, "owner_id", "status"), sa.Index(None, "status", "deleted_at"))

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    owner_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(sa.String(MAX_NAME))
    description: Mapped[str | None] = mapped_column(sa.String(MAX_DESCRIPTION))
    instructions: Mapped[str | None] = mapped_column(sa.String(MAX_INSTRUCTIONS))
    default_model: Mapped[str | None] = mapped_column(sa.String(151))  # provider/model_name, for chats without a model
    status: Mapped[ProjectStatus] = mapped_column(closed(ProjectStatus), default=ProjectStatus.ACTIVE)
    deleted_at: Mapped[datetime | None]
    was_archived: Mapped[bool] = mapped_column(default=False, server_default=sa.false())  # before it was deleted


class Channel(Timestamps, Base):
    """A chat of kind `channel`, open to the members of its project."""

    __tablename__ = "channel"
    __table_args__ = (sa.UniqueConstraint("project_id", "name_key"),)

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("project.id", ondelete="CASCADE"))
    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"), unique=True)
    name: Mapped[str] = mapped_column(sa.String(MAX_NAME))
    name_key: Mapped[str] = mapped_column(sa.String(MAX_NAME))  # NFKC and casefold
    type: Mapped[ChannelType] = mapped_column(closed(ChannelType), default=ChannelType.TEXT)
    topic: Mapped[str | None] = mapped_column(sa.String(MAX_TOPIC))


class ChannelMember(Timestamps, Base):
    """What a person chose for a channel, and how far they read it. Without a row: since they joined, and not muted."""

    __tablename__ = "channel_member"
    __table_args__ = (sa.Index(None, "user_id"),)

    channel_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("channel.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"), primary_key=True)
    last_read_id: Mapped[str | None] = mapped_column(Id())  # of a message, which may be deleted since
    is_muted: Mapped[bool] = mapped_column(default=False)


class Mention(CreatedAt, Base):
    """A message of a channel names a person, or with `@channel` everyone (no user)."""

    __tablename__ = "mention"
    __table_args__ = (
        sa.Index(None, "chat_id", "message_id"),
        sa.Index(None, "message_id"),
        sa.Index(None, "user_id"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    message_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("message.id", ondelete="CASCADE"))
    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"))
    user_id: Mapped[str | None] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
