"""Share a chat with a person, by link or publicly, and read what strangers see of it."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts import sharing
from tertulia.accounts.actor import Actor
from tertulia.accounts.errors import ShareNotFound
from tertulia.accounts.models import Membership, Share, User, UserStatus
from tertulia.accounts.schemas import ShareCreate, ShareCreated, ShareRead
from tertulia.accounts.sharing import OpenToMembers, Shareable, ShareTarget
from tertulia.chat.access import may_share_chat
from tertulia.chat.errors import ChatNotFound, ShareTheDraft, ShareTheProject
from tertulia.chat.models import Chat, ChatKind, Message, MessageStatus, Visibility
from tertulia.chat.queries import BRANCH_IDS, BRANCH_PAGE, read_message_row
from tertulia.chat.schemas import MessageRead, SharedChatRead, SharedMessageRead
from tertulia.chat.service import get_chat
from tertulia.files.models import Attachment, MessageAttachment
from tertulia.ids import ChatId, parse_id

NEAR_THE_END = 20


def create_share(session: Session, actor: Actor, chat_id: ChatId, new: ShareCreate) -> ShareCreated:
    """Share a chat. Raises ChatNotFound, ShareTheDraft, ShareTheProject, and what `sharing.create_share` raises."""
    lock_shared_chat(session, chat_id)
    shared = _shareable(session, actor, chat_id)
    match session.scalar(sa.select(Chat.kind).where(Chat.id == chat_id)):
        case ChatKind.DRAFT:
            raise ShareTheDraft
        case ChatKind.CHANNEL:
            raise ShareTheProject
    # The owner's automatic approvals were given while only they could write here.
    session.execute(sa.update(Chat).where(Chat.id == chat_id).values(auto_approval=None))
    return sharing.create_share(session, actor, shared, new)


def list_shares(session: Session, actor: Actor, chat_id: ChatId) -> list[ShareRead]:
    return sharing.list_shares(session, actor, _shareable(session, actor, chat_id))


def lock_shared_chat(session: Session, chat_id: str) -> ShareTarget:
    """Lock the chat's row, to change its shares. Raises ChatNotFound."""
    owner_id = session.scalar(sa.select(Chat.user_id).where(Chat.id == chat_id).with_for_update(of=Chat))
    if owner_id is None:
        raise ChatNotFound
    return ShareTarget(Share.chat_id, chat_id, owner_id)


def _shareable(session: Session, actor: Actor, chat_id: ChatId) -> ShareTarget:
    """Return a chat that the actor may share. Raises ChatNotFound, also if the actor may only read it."""
    owner_id = session.scalar(
        sa.select(Chat.user_id).where(
            Chat.id == chat_id, Chat.deleted_at.is_(None), may_share_chat(Chat.id, Chat.user_id)
        ),
        {"actor_id": actor.user_id},
    )
    if owner_id is None:
        raise ChatNotFound
    return ShareTarget(Share.chat_id, chat_id, owner_id)


@dataclass(frozen=True)
class PublicLink:
    """What a public link opens. `share_id` is None for a public chat.

    For a draft, `chat_id` is the newest of its chats, if any.
    """

    chat_id: ChatId | None
    owner_id: str
    share_id: str | None
    draft_id: str | None = None


def open_chat(session: Session, token: str, share: Share | None) -> PublicLink:
    """Return the chat of a share, or without one the public chat whose id is `token`. Raises ShareNotFound."""
    is_open: sa.ColumnElement[bool]
    if share is not None:
        chat_id, is_open = share.chat_id, sa.true()
    else:
        try:
            chat_id, is_open = parse_id(token), Chat.visibility == Visibility.PUBLIC
        except ValueError:
            raise ShareNotFound from None
    owner_id = session.scalar(
        sa.select(Chat.user_id)
        .join(User, User.id == Chat.user_id)
        .where(Chat.id == chat_id, is_open, Chat.deleted_at.is_(None), User.status == UserStatus.ACTIVE)
    )
    if chat_id is None or owner_id is None:
        raise ShareNotFound
    return PublicLink(ChatId(chat_id), owner_id, share.id if share else None)


def read_shared_chat(session: Session, link: PublicLink) -> SharedChatRead:
    """Return the only fields of a chat that strangers see."""
    title, name, count, created_at, last = session.execute(
        sa.select(Chat.title, User.name, Chat.message_count, Chat.created_at, Chat.last_message_at)
        .join(User, User.id == Chat.user_id)
        .where(Chat.id == link.chat_id)
    ).one()
    return {
        "title": title,
        "owner_name": name,
        "message_count": count,
        "created_at": created_at,
        "last_message_at": last,
    }


EXCERPT = 200


def read_preview(session: Session, link: PublicLink) -> tuple[str, str]:
    """Return the title of a chat, and its owner's name with the beginning of the chat."""
    chat = read_shared_chat(session, link)
    first = session.scalar(
        sa.select(sa.func.substr(Message.content, 1, EXCERPT, type_=sa.Text()))
        .where(
            Message.chat_id == link.chat_id,
            Message.previous_message_id.is_(None),
            Message.thread_level == 0,
            Message.status != MessageStatus.DELETED,
        )
        .order_by(Message.id)
        .limit(1)
    )
    excerpt = " ".join((first or "").split())
    return chat["title"], f"{chat['owner_name']}: {excerpt}" if excerpt else f"A chat by {chat['owner_name']}."


def list_shared_messages(
    session: Session, link: PublicLink, *, leaf: str | None = None, limit: int = 50
) -> tuple[list[SharedMessageRead], str | None]:
    """Return a page of the branch to `leaf` (default: the head), newest first, and the leaf of the page before it."""
    start = leaf or session.scalar(sa.select(Chat.head_message_id).where(Chat.id == link.chat_id))
    if start is None:
        return [], None
    rows = BRANCH_PAGE.all(session, chat_id=link.chat_id, leaf=start, links=limit)
    # Messages in threads are not part of the branch, and are not shown to strangers.
    messages = [message for message in map(read_message_row, rows[:limit]) if message["thread_level"] == 0]
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


def is_on_show(session: Session, link: PublicLink, message_id: str) -> bool:
    """Return whether a message is near the end of the branch that strangers see, where running replies are."""
    head = session.scalar(sa.select(Chat.head_message_id).where(Chat.id == link.chat_id))
    if head is None:
        return False
    rows = BRANCH_IDS.all(session, chat_id=link.chat_id, leaf=head, links=NEAR_THE_END)
    return any(shown_id == message_id for shown_id, *_ in rows)


def find_shared_attachment(session: Session, link: PublicLink, attachment_id: str) -> str:
    """Return the id again if a message of the chat, outside threads, has the file. Raises ShareNotFound."""
    file_id = session.scalar(
        sa.select(Attachment.id)
        .join(MessageAttachment, MessageAttachment.attachment_id == Attachment.id)
        .join(Message, Message.id == MessageAttachment.message_id)
        .where(
            Attachment.id == attachment_id,
            Attachment.deleted_at.is_(None),
            Message.chat_id == link.chat_id,
            Message.status != MessageStatus.DELETED,
            Message.thread_level == 0,
        )
        .limit(1)
    )
    if file_id is None:
        raise ShareNotFound
    return file_id


def find_presence(session: Session, actor: Actor, chat_id: ChatId) -> tuple[str, str, str]:
    """Return the owner's id, and the id and name of the actor, to announce presence. Raises ChatNotFound."""
    chat = get_chat(session, actor, chat_id)
    name = session.scalars(sa.select(User.name).where(User.id == actor.user_id)).one()
    return chat["owner"]["id"] if chat["owner"] else actor.user_id, actor.user_id, name


OPEN = OpenToMembers(
    sa.select(Membership.user_id, Chat.id)
    .join(Chat, Chat.project_id == Membership.project_id)
    .where(Chat.is_open_to_project)  # also in the trash, so that members hear that it went there
)
SHAREABLE = Shareable(
    Share.chat_id,
    lock_shared_chat,
    (sa.select(Share.shared_with_user_id, Share.chat_id, Share.expires_at).where(Share.chat_id.is_not(None)),),
)
