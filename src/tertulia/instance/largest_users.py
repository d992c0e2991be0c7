"""Count what each user stores, once an hour, and keep the largest users for the administrator."""

from datetime import datetime, timedelta

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from tertulia import clock
from tertulia.accounts.actor import Actor, require_admin
from tertulia.accounts.models import User
from tertulia.chat.models import Chat
from tertulia.db import insert_if_absent
from tertulia.drafts.models import Draft
from tertulia.files.models import Attachment
from tertulia.http.responses import encode
from tertulia.jobs.models import InstanceSetting

SETTING = "largest_users"
EVERY = timedelta(hours=1)
MAX_USERS = 20  # by files, and as many by messages


class UserSize(TypedDict):
    """What a user stores, including the trash."""

    id: str
    username: str
    name: str
    chats: int
    messages: int
    drafts: int
    versions: int  # of drafts
    files: int
    file_bytes: int


class LargestUsers(TypedDict):
    """The users with the most files or messages, and when they were counted. None: not counted yet."""

    counted_at: datetime | None
    users: list[UserSize]


def is_count_due(session: Session) -> bool:
    counted_at = session.scalar(sa.select(InstanceSetting.updated_at).where(InstanceSetting.name == SETTING))
    return counted_at is None or counted_at < clock.now() - EVERY


def count_users(session: Session) -> list[UserSize]:
    """Count the rows of all users. The time follows the number of chats, drafts and files, so this only reads."""
    sizes: dict[str, dict[str, int]] = {}
    for names, query in (
        (("chats", "messages"), sa.select(Chat.user_id, sa.func.count(), sa.func.sum(Chat.message_count))),
        (("drafts", "versions"), sa.select(Draft.user_id, sa.func.count(), sa.func.sum(Draft.version_count))),
        (("files", "file_bytes"), sa.select(Attachment.user_id, sa.func.count(), sa.func.sum(Attachment.file_size))),
    ):
        for user_id, *numbers in session.execute(query.group_by(query.selected_columns[0])):
            sizes.setdefault(user_id, {}).update(zip(names, map(int, numbers), strict=True))
    largest = {
        user_id
        for name in ("file_bytes", "messages")
        for user_id in sorted(sizes, key=lambda user_id: -sizes[user_id].get(name, 0))[:MAX_USERS]
    }
    users = session.execute(sa.select(User.id, User.username, User.name).where(User.id.in_(largest))).all()
    largest_users: list[UserSize] = [
        {
            "id": user_id,
            "username": username,
            "name": name,
            "chats": sizes[user_id].get("chats", 0),
            "messages": sizes[user_id].get("messages", 0),
            "drafts": sizes[user_id].get("drafts", 0),
            "versions": sizes[user_id].get("versions", 0),
            "files": sizes[user_id].get("files", 0),
            "file_bytes": sizes[user_id].get("file_bytes", 0),
        }
        for user_id, username, name in users
    ]
    return sorted(largest_users, key=lambda size: (-size["file_bytes"], -size["messages"], size["username"]))


def store_largest_users(session: Session, users: list[UserSize]) -> None:
    now: datetime = clock.now()
    value = encode({"counted_at": now, "users": users}).decode()
    insert_if_absent(session, InstanceSetting, name=SETTING, value=value, created_at=now, updated_at=now)
    session.execute(
        sa.update(InstanceSetting).where(InstanceSetting.name == SETTING).values(value=value, updated_at=now)
    )


def get_largest_users(session: Session, actor: Actor) -> LargestUsers:
    """Return the latest count. Raises AdminOnly."""
    require_admin(actor)
    value = session.scalar(sa.select(InstanceSetting.value).where(InstanceSetting.name == SETTING))
    if value is None:
        return {"counted_at": None, "users": []}
    stored: LargestUsers = orjson.loads(value)
    return stored
