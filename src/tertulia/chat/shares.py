"""Sharing a chat: with a person, with whoever has the link, or with everybody; and what each of them sees."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.access import actor_id, is_valid_share, may_share_chat
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import Share, User, UserStatus
from tertulia.accounts.service import name_key, write_audit
from tertulia.accounts.tokens import hash_token, new_share_token
from tertulia.chat.errors import ChatNotFound, PersonUnknown, ShareExpired, ShareNotFound, SharesTooMuch
from tertulia.chat.models import Chat, Message, MessageStatus, Visibility
from tertulia.chat.queries import BRANCH_IDS, BRANCH_PAGE, read_message_row
from tertulia.chat.schemas import (
    MessageRead,
    PermissionsRead,
    ShareCreate,
    SharedChatRead,
    SharedMessageRead,
    ShareMade,
    ShareRead,
)
from tertulia.chat.service import get_chat
from tertulia.db import wake
from tertulia.files.models import Attachment, MessageAttachment
from tertulia.ids import ChatId, ShareId, new_id, parse_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import SHARES, publish

MAX_SHARES = 100  # of one chat
NEAR_THE_END = 20


def create_share(session: Session, chat_id: ChatId, new: ShareCreate, *, actor: Actor) -> ShareMade:
    """The answer alone has the token. Whoever may share a chat that is not theirs gives no more than they have.

    Raises ChatNotFound, SharesTooMuch, PersonUnknown, ShareExpired.
    """
    _lock(session, chat_id)
    chat = _shareable(session, chat_id, actor=actor)
    wanted = new.permissions
    own = chat.permissions
    if (wanted.can_write and not own["can_write"]) or (wanted.can_share and not own["can_share"]):
        raise SharesTooMuch("You cannot give a permission that you do not have.")
    if new.expires_at is not None and new.expires_at <= clock.now():
        raise ShareExpired
    person_id = _person(session, new)
    if person_id is None and (wanted.can_write or wanted.can_share):
        raise SharesTooMuch("A link is for reading. To let somebody write, share with the person by name.")
    if person_id in (chat.owner_id, actor.user_id):
        raise PersonUnknown("That is you, or the owner of the chat: they have it already.")
    valid = sa.select(sa.func.count()).where(Share.chat_id == chat_id, is_valid_share())
    if (session.scalar(valid) or 0) >= MAX_SHARES:
        raise SharesTooMuch(f"A chat is shared {MAX_SHARES} times at most. End one that is not needed.")
    token, share_id = new_share_token(), new_id()
    session.execute(
        sa.insert(Share).values(
            id=share_id,
            chat_id=chat_id,
            owner_id=actor.user_id,
            shared_with_user_id=person_id,
            token_hash=hash_token(token),
            can_read=True,
            can_write=wanted.can_write,
            can_share=wanted.can_share,
            # What one has for a time is not given for longer.
            expires_at=min(filter(None, (new.expires_at, chat.expires_at)), default=None),
        )
    )
    write_audit(session, actor.user_id, "share.create", entity="share", entity_id=share_id)
    made = _announce(session, share_id, Operation.CREATED)
    return {**made, "token": token}


def list_shares(session: Session, chat_id: ChatId, *, actor: Actor) -> list[ShareRead]:
    """Those that hold: all for the owner, one's own for others who may share."""
    chat = _shareable(session, chat_id, actor=actor)
    query = sa.select(Share).where(Share.chat_id == chat_id, is_valid_share()).order_by(Share.id)
    if chat.owner_id != actor.user_id:
        query = query.where(Share.owner_id == actor.user_id)
    return [_read(session, share) for share in session.scalars(query)]


def revoke_share(session: Session, share_id: ShareId, *, actor: Actor) -> None:
    """Nobody reads by it any more, and open streams end. What the person shared on from it ends too.

    By the owner of the chat, by whoever made it, and by the person it is for, who leaves. Raises ShareNotFound.
    """
    chat_id = session.scalar(sa.select(Share.chat_id).where(Share.id == share_id))
    if chat_id is None:
        raise ShareNotFound
    _lock(session, chat_id)
    share = session.scalars(sa.select(Share).where(Share.id == share_id, Share.is_active)).one_or_none()
    owner_id = session.scalar(sa.select(Chat.user_id).where(Chat.id == share.chat_id)) if share else None
    if share is None or owner_id is None:
        raise ShareNotFound
    if actor.user_id not in (owner_id, share.owner_id, share.shared_with_user_id):
        raise ShareNotFound
    write_audit(session, actor.user_id, "share.revoke", entity="share", entity_id=share_id)
    share.is_active = False
    session.flush()
    _announce(session, share.id, Operation.DELETED)
    for unfounded in _unfounded(session, share.chat_id, owner_id):
        unfounded.is_active = False
        session.flush()
        _announce(session, unfounded.id, Operation.DELETED)


@dataclass
class _Given:
    """What somebody has of a chat through all that others gave them; `expires_at` None: it has no end."""

    can_write: bool
    can_share: bool
    expires_at: datetime | None

    def covers(self, share: Share) -> bool:
        in_time = self.expires_at is None or (share.expires_at is not None and share.expires_at <= self.expires_at)
        return self.can_share and in_time and (self.can_write or not share.can_write)

    def add(self, share: Share) -> bool:
        """Whether it is more than before."""
        before = (self.can_write, self.can_share, self.expires_at)
        self.can_write |= share.can_write
        self.can_share |= share.can_share
        if self.expires_at is not None:
            self.expires_at = max(self.expires_at, share.expires_at) if share.expires_at is not None else None
        return before != (self.can_write, self.can_share, self.expires_at)


def _unfounded(session: Session, chat_id: str, owner_id: str) -> list[Share]:
    """The shares of a chat that do not go back to its owner, step by step, by what each maker has; circles found nothing."""
    left = list(session.scalars(sa.select(Share).where(Share.chat_id == chat_id, is_valid_share()).order_by(Share.id)))
    has = {owner_id: _Given(can_write=True, can_share=True, expires_at=None)}
    is_moving = True
    while is_moving:
        is_moving = False
        for share in [one for one in left if one.owner_id in has and has[one.owner_id].covers(one)]:
            left.remove(share)
            is_moving = True
            person = share.shared_with_user_id
            if person is not None and person in has:
                has[person].add(share)
            elif person is not None:
                has[person] = _Given(share.can_write, share.can_share, share.expires_at)
    return left


@dataclass(frozen=True)
class OpenDoor:
    """What a link opens: the chat, and by which share; None: it is public."""

    chat_id: ChatId
    owner_id: str
    share_id: str | None


def open_door(session: Session, token: str, *, actor: Actor | None = None) -> OpenDoor:
    """Whose chat a link opens. One for a person by name opens for that person alone. Raises ShareNotFound."""
    row = session.execute(
        sa.select(Chat.id, Chat.user_id, Share.id, Share.shared_with_user_id)
        .join(Share, Share.chat_id == Chat.id)
        .join(User, User.id == Chat.user_id)
        .where(
            Share.token_hash == hash_token(token),
            is_valid_share(),
            Chat.deleted_at.is_(None),
            User.status == UserStatus.ACTIVE,
        )
    ).first()
    if row is not None and (row[3] is None or (actor is not None and row[3] == actor.user_id)):
        return OpenDoor(ChatId(row[0]), row[1], row[2])
    try:
        chat_id = parse_id(token)
    except ValueError:
        raise ShareNotFound from None
    owner_id = session.scalar(
        sa.select(Chat.user_id)
        .join(User, User.id == Chat.user_id)
        .where(
            Chat.id == chat_id,
            Chat.visibility == Visibility.PUBLIC,
            Chat.deleted_at.is_(None),
            User.status == UserStatus.ACTIVE,
        )
    )
    if owner_id is None:
        raise ShareNotFound
    return OpenDoor(ChatId(chat_id), owner_id, None)


def read_shared_chat(session: Session, door: OpenDoor) -> SharedChatRead:
    """What strangers see of a chat: listed here, and nothing besides."""
    title, name, count, created_at, last = session.execute(
        sa.select(Chat.title, User.name, Chat.message_count, Chat.created_at, Chat.last_message_at)
        .join(User, User.id == Chat.user_id)
        .where(Chat.id == door.chat_id)
    ).one()
    return {
        "title": title,
        "owner_name": name,
        "message_count": count,
        "created_at": created_at,
        "last_message_at": last,
    }


EXCERPT = 200


def read_preview(session: Session, token: str) -> tuple[str, str] | None:
    """The title of a chat that a link opens for everybody, and how it begins; None if it opens nothing."""
    try:
        door = open_door(session, token)
    except ShareNotFound:
        return None
    chat = read_shared_chat(session, door)
    first = session.scalar(
        sa.select(sa.func.substr(Message.content, 1, EXCERPT, type_=sa.Text()))
        .where(
            Message.chat_id == door.chat_id,
            Message.previous_message_id.is_(None),
            Message.thread_level == 0,
            Message.status != MessageStatus.DELETED,
        )
        .order_by(Message.id)
        .limit(1)
    )
    words = " ".join((first or "").split())
    return chat["title"], f"{chat['owner_name']}: {words}" if words else f"A chat of {chat['owner_name']}."


def list_shared_messages(
    session: Session, door: OpenDoor, *, leaf: str | None = None, limit: int = 50
) -> tuple[list[SharedMessageRead], str | None]:
    """A page of the branch on show, newest first, and the leaf of the page before it."""
    start = leaf or session.scalar(sa.select(Chat.head_message_id).where(Chat.id == door.chat_id))
    if start is None:
        return [], None
    rows = BRANCH_PAGE.all(session, chat_id=door.chat_id, leaf=start, links=limit)
    # A thread is another conversation; what is in it is not on the branch, and not for strangers.
    messages = [read_message_row(row) for row in rows[:limit] if row[10] == 0]
    return [as_shared(message) for message in messages], messages[-1]["previous_message_id"] if messages else None


def as_shared(message: MessageRead) -> SharedMessageRead:
    return {
        "id": message["id"],
        "role": message["role"],
        "name": message["user"]["name"] if message["user"] else None,
        "parts": message["parts"],
        "status": message["status"],
        "model_name": message["model_name"],
        "run_id": message["run_id"],
        "created_at": message["created_at"],
        "updated_at": message["updated_at"],
    }


def is_on_show(session: Session, door: OpenDoor, message_id: str) -> bool:
    """Whether a message is on the branch that strangers see; a reply that is written stands near its end."""
    head = session.scalar(sa.select(Chat.head_message_id).where(Chat.id == door.chat_id))
    if head is None:
        return False
    rows = BRANCH_IDS.all(session, chat_id=door.chat_id, leaf=head, links=NEAR_THE_END)
    return any(row[0] == message_id for row in rows)


def find_shared_attachment(session: Session, door: OpenDoor, attachment_id: str) -> str:
    """The id again, if a message of the chat has the file. Raises ShareNotFound."""
    found = session.scalar(
        sa.select(Attachment.id)
        .join(MessageAttachment, MessageAttachment.attachment_id == Attachment.id)
        .join(Message, Message.id == MessageAttachment.message_id)
        .where(
            Attachment.id == attachment_id,
            Attachment.deleted_at.is_(None),
            Message.chat_id == door.chat_id,
            Message.status != MessageStatus.DELETED,
            Message.thread_level == 0,
        )
        .limit(1)
    )
    if found is None:
        raise ShareNotFound
    return found


def find_company(session: Session, chat_id: ChatId, *, actor: Actor) -> tuple[str, str, str]:
    """The owner of a chat, and the id and name of the actor, who has it open. Raises ChatNotFound."""
    chat = get_chat(session, chat_id, actor=actor)
    name = session.scalars(sa.select(User.name).where(User.id == actor.user_id)).one()
    return chat["owner"]["id"] if chat["owner"] else actor.user_id, actor.user_id, name


def count_accesses(session: Session, counts: dict[str, int]) -> None:
    """How often links were opened, gathered since the last time."""
    for share_id, times in counts.items():
        session.execute(
            sa.update(Share)
            .where(Share.id == share_id)
            .values(access_count=Share.access_count + times, updated_at=Share.updated_at)
        )


@dataclass(frozen=True)
class _Shareable:
    owner_id: str
    permissions: PermissionsRead
    expires_at: datetime | None


def _shareable(session: Session, chat_id: ChatId, *, actor: Actor) -> _Shareable:
    """Raises ChatNotFound; also for one that the actor may read and not share, as there is nothing for them here."""
    owner_id = session.scalar(
        sa.select(Chat.user_id).where(
            Chat.id == chat_id, Chat.deleted_at.is_(None), may_share_chat(Chat.id, Chat.user_id)
        ),
        {"actor_id": actor.user_id},
    )
    if owner_id is None:
        raise ChatNotFound
    expires_at = None
    if owner_id != actor.user_id:
        ends = session.scalars(
            sa.select(Share.expires_at).where(
                Share.chat_id == chat_id, Share.shared_with_user_id == actor_id(), Share.can_share, is_valid_share()
            ),
            {"actor_id": actor.user_id},
        ).all()
        expires_at = None if None in ends else max(end for end in ends if end)
    return _Shareable(owner_id, get_chat(session, chat_id, actor=actor)["permissions"], expires_at)


def _lock(session: Session, chat_id: str) -> None:
    """Whoever gives and whoever takes wait for one another, so that nothing is given on the strength of what is being taken."""
    session.execute(sa.select(Chat.id).where(Chat.id == chat_id).with_for_update(of=Chat))


def _person(session: Session, new: ShareCreate) -> str | None:
    if new.shared_with_user_id is None and new.shared_with_username is None:
        return None
    known = (
        User.id == new.shared_with_user_id
        if new.shared_with_user_id
        else User.username_key == name_key((new.shared_with_username or "").strip())
    )
    found = session.scalar(sa.select(User.id).where(known, User.status == UserStatus.ACTIVE))
    if found is None:
        raise PersonUnknown("There is nobody of this name here.")
    return found


def _read(session: Session, share: Share) -> ShareRead:
    person = None
    if share.shared_with_user_id is not None:
        name = session.scalars(sa.select(User.name).where(User.id == share.shared_with_user_id)).one()
        person = {"id": share.shared_with_user_id, "name": name}
    return {
        "id": share.id,
        "chat_id": share.chat_id,
        "shared_with": person,  # type: ignore[typeddict-item]
        "permissions": {"can_read": share.can_read, "can_write": share.can_write, "can_share": share.can_share},
        "expires_at": share.expires_at,
        "is_active": share.is_active,
        "access_count": share.access_count,
        "created_at": share.created_at,
    }


def _announce(session: Session, share_id: str, operation: Operation) -> ShareRead:
    """To the owner of the chat, to whoever made it, and to the person it is for, whose chats change with it."""
    share = session.get_one(Share, share_id, populate_existing=True)
    read = _read(session, share)
    owner_id = session.scalars(sa.select(Chat.user_id).where(Chat.id == share.chat_id)).one()
    for told in sorted({owner_id, share.owner_id, *filter(None, [share.shared_with_user_id])}):
        publish(
            session,
            owner_id=told,
            topic=f"user:{told}",
            entity="share",
            entity_id=share.id,
            operation=operation,
            payload=read,
        )
    wake(session, SHARES)
    return read
