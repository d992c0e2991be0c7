"""Share a draft with a person, or with everyone who has the link. Its chats are shared with it."""

from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts import sharing
from tertulia.accounts.access import actor_id
from tertulia.accounts.actor import Actor
from tertulia.accounts.errors import ShareNotFound
from tertulia.accounts.models import Share, User, UserStatus
from tertulia.accounts.schemas import ShareCreate, ShareCreated, ShareRead
from tertulia.accounts.sharing import Shareable, ShareTarget
from tertulia.chat import shared_chats
from tertulia.chat.models import Chat, DraftChat, Visibility
from tertulia.chat.shared_chats import PublicLink
from tertulia.drafts.access import may_share_draft, shared_draft_ids
from tertulia.drafts.errors import DraftNotFound
from tertulia.drafts.models import Draft, DraftVersion
from tertulia.drafts.queries import DRAFTS
from tertulia.drafts.schemas import DraftListed, SharedDraftRead, SharedRead
from tertulia.drafts.service import read_for
from tertulia.drafts.versions import load_text, lock_any_draft
from tertulia.ids import ChatId, DraftId


def create_share(session: Session, actor: Actor, draft_id: DraftId, new: ShareCreate) -> ShareCreated:
    """Share a draft. Raises DraftNotFound, and the errors of sharing.create_share."""
    lock_any_draft(session, draft_id)  # first, as permission may be revoked while waiting for the lock
    of_draft = sa.select(DraftChat.chat_id).where(DraftChat.draft_id == draft_id)
    session.execute(sa.update(Chat).where(Chat.id.in_(of_draft)).values(auto_approval=None))
    return sharing.create_share(session, actor, _shareable(session, actor, draft_id), new)


def list_shares(session: Session, actor: Actor, draft_id: DraftId) -> list[ShareRead]:
    return sharing.list_shares(session, actor, _shareable(session, actor, draft_id))


def _shareable(session: Session, actor: Actor, draft_id: DraftId) -> ShareTarget:
    """Check that the actor may share the draft. Raises DraftNotFound also if they may only read it."""
    owner_id = session.scalar(
        sa.select(Draft.user_id).where(
            Draft.id == draft_id, Draft.deleted_at.is_(None), may_share_draft(Draft.id, Draft.user_id)
        ),
        {"actor_id": actor.user_id},
    )
    if owner_id is None:
        raise DraftNotFound
    return ShareTarget(Share.draft_id, draft_id, owner_id)


def list_shared_drafts(session: Session, actor: Actor) -> list[DraftListed]:
    """Return the drafts shared with the actor by name, last changed first. The set is limited to 200."""
    rows = session.execute(
        DRAFTS.where(Draft.id.in_(shared_draft_ids()), Draft.deleted_at.is_(None), Draft.user_id != actor_id())
        .order_by(Draft.updated_at.desc(), Draft.id.desc())
        .limit(200),
        {"actor_id": actor.user_id},
    ).all()
    return [read_for(session, actor, row) for row in rows]


def resolve_public_link(session: Session, token: str, *, actor: Actor | None = None) -> PublicLink:
    """Find what a public link opens: a chat, or a draft with its newest chat. Raises ShareNotFound."""
    share = sharing.find_by_token(session, token, actor=actor)
    if share is None or share.draft_id is None:
        return shared_chats.open_chat(session, token, share)
    draft_id = share.draft_id
    owner_id = session.scalar(
        sa.select(Draft.user_id)
        .join(User, User.id == Draft.user_id)
        .where(Draft.id == draft_id, Draft.deleted_at.is_(None), User.status == UserStatus.ACTIVE)
    )
    if owner_id is None:
        raise ShareNotFound
    chat_id = session.scalar(
        sa.select(DraftChat.chat_id)
        .join(Chat, Chat.id == DraftChat.chat_id)
        .where(DraftChat.draft_id == draft_id, Chat.deleted_at.is_(None))
        .order_by(DraftChat.chat_id.desc())
        .limit(1)
    )
    return PublicLink(ChatId(chat_id) if chat_id else None, owner_id, share.id, draft_id)


def read_shared(session: Session, link: PublicLink) -> SharedRead:
    """Return what strangers see. A draft has its current text, without versions and working copies."""
    if link.draft_id is None:
        return {**shared_chats.read_shared_chat(session, link), "draft": None}
    draft = _read_shared_draft(session, link.draft_id)
    if link.chat_id is not None:
        chat = shared_chats.read_shared_chat(session, link)
        return {**chat, "title": draft["title"] or "Untitled", "draft": draft}
    owner = session.scalars(sa.select(User.name).where(User.id == link.owner_id)).one()
    return {
        "title": draft["title"] or "Untitled",
        "owner_name": owner,
        "message_count": 0,
        "created_at": draft["created_at"],
        "last_message_at": draft["created_at"],
        "draft": draft,
    }


def has_other_readers(session: Session, chat_id: str, reader_id: str) -> bool:
    """Return whether anyone else may read a chat: its owner, people it or its draft is shared with, or everyone."""
    owner_id, visibility = session.execute(sa.select(Chat.user_id, Chat.visibility).where(Chat.id == chat_id)).one()
    if owner_id != reader_id or visibility is Visibility.PUBLIC:
        return True
    drafts = sa.select(DraftChat.draft_id).where(DraftChat.chat_id == chat_id)
    shared = sa.select(Share.id).where(
        (Share.chat_id == chat_id) | Share.draft_id.in_(drafts),
        Share.is_active,
        Share.expires_at.is_(None) | (Share.expires_at > clock.now()),
    )
    return session.scalar(shared.limit(1)) is not None


def _read_shared_draft(session: Session, draft_id: str) -> SharedDraftRead:
    row = session.execute(
        sa.select(
            Draft.title,
            Draft.current_version_id,
            Draft.created_at,
            Draft.updated_at,
            DraftVersion.version_number,
            DraftVersion.words,
        )
        .join(DraftVersion, DraftVersion.id == Draft.current_version_id)
        .where(Draft.id == draft_id)
    ).one()
    return {
        "title": row.title,
        "content": load_text(session, row.current_version_id),
        "version_number": row.version_number,
        "words": row.words,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def read_preview(session: Session, token: str) -> tuple[str, str] | None:
    """Return the title and the beginning of what a link opens for everyone, or None if it opens nothing."""
    try:
        link = resolve_public_link(session, token)
    except ShareNotFound:
        return None
    if link.draft_id is None:
        return shared_chats.read_preview(session, link)
    shared = read_shared(session, replace(link, chat_id=None))
    excerpt = " ".join((shared["draft"] or {"content": ""})["content"][: shared_chats.EXCERPT].split())
    return shared["title"], f"{shared['owner_name']}: {excerpt}" if excerpt else f"A draft of {shared['owner_name']}."


def _lock_shared(session: Session, draft_id: str) -> ShareTarget:
    return ShareTarget(Share.draft_id, draft_id, lock_any_draft(session, draft_id).owner_id)


# A share of a draft lets people read the draft and its chats.
SHAREABLE = Shareable(
    Share.draft_id,
    _lock_shared,
    (
        sa.select(Share.shared_with_user_id, Share.draft_id, Share.expires_at).where(Share.draft_id.is_not(None)),
        sa.select(Share.shared_with_user_id, DraftChat.chat_id, Share.expires_at).join(
            DraftChat, DraftChat.draft_id == Share.draft_id
        ),
    ),
)
