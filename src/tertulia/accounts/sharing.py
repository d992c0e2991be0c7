"""Share chats and drafts: grant, list and revoke permissions, in the same way for both."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.elements import ColumnElement

from tertulia import clock
from tertulia.accounts.access import is_valid_share
from tertulia.accounts.actor import Actor
from tertulia.accounts.audit import write_audit
from tertulia.accounts.errors import ShareExpired, ShareNotFound, ShareRecipientUnknown, ShareTooWide
from tertulia.accounts.events import SHARE
from tertulia.accounts.models import MemberAccess, Membership, Share, User, UserStatus
from tertulia.accounts.names import name_key
from tertulia.accounts.schemas import Permissions, PermissionsRead, ShareCreate, ShareCreated, ShareRead
from tertulia.accounts.tokens import hash_token, new_link_token
from tertulia.db import wake
from tertulia.ids import ShareId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import SHARES, publish

MAX_SHARES = 100  # of one chat or draft
OWNER_PERMISSIONS: PermissionsRead = {"can_read": True, "can_write": True, "can_share": True}


@dataclass(frozen=True)
class ShareTarget:
    """A chat or a draft whose row the caller has locked.

    The lock serialises grants and revocations, so that a permission that is being revoked cannot be passed on.
    """

    column: InstrumentedAttribute[str | None]  # Share.chat_id or Share.draft_id
    id: str
    owner_id: str

    @property
    def noun(self) -> str:
        return self.column.key.removesuffix("_id")

    def shares(self) -> sa.Select[Share]:
        """Select the valid shares, oldest first."""
        return sa.select(Share).where(self.column == self.id, is_valid_share()).order_by(Share.id)


@dataclass(frozen=True)
class Shareable:
    """Contribution of a feature: a kind of object that can be shared.

    `lock(session, id)` locks the object and raises NotFound. `grants` select (user id, id of what the user may read, end or
    None) from shares of this kind.
    """

    column: InstrumentedAttribute[str | None]
    lock: Callable[[Session, str], ShareTarget]
    grants: tuple[sa.Select[*tuple[Any, ...]], ...]


@dataclass(frozen=True)
class OpenToMembers:
    """Contribution of a feature: what the members of a project may read, by `rows`: membership, and the object's id."""

    rows: sa.Select[*tuple[Any, ...]]  # of (user id, object id), from Membership joined with the objects


class Shareables:
    """Service: all kinds of objects that can be shared, and those that are open to the members of projects."""

    def __init__(self, kinds: Iterable[Shareable], open_to_members: Iterable[OpenToMembers] = ()) -> None:
        self._kinds = tuple(kinds)
        self._open = tuple(open_to_members)

    def lock(self, session: Session, share_id: str) -> ShareTarget:
        """Lock the object that a share is of. Raises ShareNotFound."""
        share = session.get(Share, share_id)
        for kind in self._kinds:
            object_id = getattr(share, kind.column.key, None)
            if object_id is not None:
                return kind.lock(session, object_id)
        raise ShareNotFound

    def find_share_expiries(self, session: Session, user_ids: Iterable[str]) -> dict[str, dict[str, datetime | None]]:
        """Return by user what others let them read: object id and the end of the longest share, None if it has no end."""
        user_ids = list(user_ids)
        granted = (Share.shared_with_user_id.in_(user_ids), Share.can_read, is_valid_share())
        grants = [grant.where(*granted) for kind in self._kinds for grant in kind.grants]
        shared: dict[str, dict[str, datetime | None]] = {}
        is_member = (Membership.user_id.in_(user_ids), Membership.access != MemberAccess.NONE)
        for user_id, object_id in (
            session.execute(sa.union_all(*(known.rows.where(*is_member) for known in self._open))) if self._open else ()
        ):
            shared.setdefault(user_id, {})[object_id] = None
        for user_id, object_id, end in session.execute(sa.union_all(*grants)) if grants else ():
            known = shared.setdefault(user_id, {})
            longest = known.get(object_id, end)
            known[object_id] = None if longest is None or end is None else max(longest, end)
        return shared


def find_by_token(session: Session, token: str, *, actor: Actor | None) -> Share | None:
    """Find the valid share of a link token. A share with a named user is only found by that user."""
    share = session.scalars(
        sa.select(Share).where(Share.token_hash == hash_token(token), is_valid_share())
    ).one_or_none()
    if share is None or share.shared_with_user_id in (None, actor.user_id if actor else ""):
        return share
    return None


def permissions_of(session: Session, actor: Actor, is_share_of: ColumnElement[bool]) -> PermissionsRead:
    """Return what shares permit the actor to do with something that they may read. `is_share_of` selects its shares."""
    permissions = session.execute(
        sa.select(sa.func.max(Share.can_write.cast(sa.Integer)), sa.func.max(Share.can_share.cast(sa.Integer))).where(
            is_share_of, Share.shared_with_user_id == actor.user_id, is_valid_share()
        )
    ).one()
    return {"can_read": True, "can_write": bool(permissions[0]), "can_share": bool(permissions[1])}


def create_share(session: Session, actor: Actor, shared: ShareTarget, new: ShareCreate) -> ShareCreated:
    """Create a share and return it with its token, which is not stored. An actor grants at most their own rights.

    Raises ShareTooWide, ShareRecipientUnknown, ShareExpired.
    """
    requested, own = new.permissions, _own_permissions(session, actor, shared)
    if not own.can_share or (requested.can_write and not own.can_write):
        raise ShareTooWide("You cannot grant a permission that you do not have.")
    if new.expires_at is not None and new.expires_at <= clock.now():
        raise ShareExpired
    person_id = _person(session, new)
    if person_id is None and (requested.can_write or requested.can_share):
        raise ShareTooWide("A link only allows reading. To allow writing, share with a user by name.")
    if person_id in (shared.owner_id, actor.user_id):
        raise ShareRecipientUnknown(
            f"This is you or the owner of the {shared.noun}, who already has access. Choose another user."
        )
    if (session.scalar(sa.select(sa.func.count()).select_from(shared.shares().subquery())) or 0) >= MAX_SHARES:
        raise ShareTooWide(f"A {shared.noun} can have at most {MAX_SHARES} shares. Revoke one that is not needed.")
    token, share_id = new_link_token(), new_id()
    session.execute(
        sa.insert(Share).values(
            {
                shared.column: shared.id,
                Share.id: share_id,
                Share.owner_id: actor.user_id,
                Share.shared_with_user_id: person_id,
                Share.token_hash: hash_token(token),
                Share.can_read: True,
                Share.can_write: requested.can_write,
                Share.can_share: requested.can_share,
                # Temporary access cannot be passed on for longer.
                Share.expires_at: min(filter(None, (new.expires_at, *_ends(own, requested))), default=None),
            }
        )
    )
    write_audit(session, actor.user_id, "share.create", entity="share", entity_id=share_id)
    return {**_announce(session, shared, share_id, Operation.CREATED), "token": token}


def list_shares(session: Session, actor: Actor, shared: ShareTarget) -> list[ShareRead]:
    """List the valid shares: all for the owner, and for others the shares that they created."""
    query = shared.shares()
    if shared.owner_id != actor.user_id:
        query = query.where(Share.owner_id == actor.user_id)
    return [_read(session, share) for share in session.scalars(query)]


def revoke_share(session: Session, actor: Actor, share_id: ShareId, shareables: Shareables) -> None:
    """End a share and its open streams, and every share that was based on it.

    The owner, the user who made the share and the user it is for may do so. Raises ShareNotFound.
    """
    shared = shareables.lock(session, share_id)
    mine = sa.or_(
        sa.literal(actor.user_id == shared.owner_id),
        Share.owner_id == actor.user_id,
        Share.shared_with_user_id == actor.user_id,
    )
    if not _end(session, shared, Share.id == share_id, Share.is_active.is_(True), mine):
        raise ShareNotFound
    write_audit(session, actor.user_id, "share.revoke", entity="share", entity_id=share_id)
    for share in _find_orphaned_shares(session, shared):
        _end(session, shared, Share.id == share.id)


def _end(session: Session, shared: ShareTarget, *conditions: ColumnElement[bool]) -> bool:
    share_id = session.scalar(sa.select(Share.id).where(shared.column == shared.id, *conditions))
    if share_id is None:
        return False
    session.execute(sa.update(Share).where(Share.id == share_id).values(is_active=False))
    _announce(session, shared, share_id, Operation.DELETED)
    return True


@dataclass
class _Grant:
    """What a user may do through all shares from others. `expires_at` is None if it does not expire."""

    can_write: bool
    can_share: bool
    expires_at: datetime | None

    def covers(self, share: Share) -> bool:
        in_time = self.expires_at is None or (share.expires_at is not None and share.expires_at <= self.expires_at)
        return self.can_share and in_time and (self.can_write or not share.can_write)

    def add(self, share: Share) -> None:
        self.can_write |= share.can_write
        self.can_share |= share.can_share
        if self.expires_at is not None:
            self.expires_at = max(self.expires_at, share.expires_at) if share.expires_at is not None else None


def _find_orphaned_shares(session: Session, shared: ShareTarget) -> list[Share]:
    """Return the shares that do not trace back to the owner through what each creator may grant, cycles included."""
    remaining = list(session.scalars(shared.shares()))
    grants = {shared.owner_id: _Grant(can_write=True, can_share=True, expires_at=None)}
    has_changed = True
    while has_changed:
        has_changed = False
        for share in [row for row in remaining if row.owner_id in grants and grants[row.owner_id].covers(row)]:
            remaining.remove(share)
            has_changed = True
            person = share.shared_with_user_id
            if person is not None and person in grants:
                grants[person].add(share)
            elif person is not None:
                grants[person] = _Grant(share.can_write, share.can_share, share.expires_at)
    return remaining


@dataclass(frozen=True)
class _Permissions:
    can_write: bool
    can_share: bool
    write_ends: datetime | None = None
    share_ends: datetime | None = None


def _own_permissions(session: Session, actor: Actor, shared: ShareTarget) -> _Permissions:
    """Return what the actor may do, and when each permission ends: with the longest share that grants it."""
    if shared.owner_id == actor.user_id:
        return _Permissions(can_write=True, can_share=True)
    mine = session.scalars(shared.shares().where(Share.shared_with_user_id == actor.user_id)).all()
    writes = [share.expires_at for share in mine if share.can_write]
    shares = [share.expires_at for share in mine if share.can_share]
    return _Permissions(
        can_write=bool(writes), can_share=bool(shares), write_ends=_longest(writes), share_ends=_longest(shares)
    )


def _longest(ends: list[datetime | None]) -> datetime | None:
    return None if None in ends else max((end for end in ends if end), default=None)


def _ends(own: "_Permissions", requested: Permissions) -> list[datetime | None]:
    return [own.share_ends, own.write_ends] if requested.can_write else [own.share_ends]


def _person(session: Session, new: ShareCreate) -> str | None:
    if new.shared_with_user_id is None and new.shared_with_username is None:
        return None
    is_person = (
        User.id == new.shared_with_user_id
        if new.shared_with_user_id
        else User.username_key == name_key((new.shared_with_username or "").strip())
    )
    person_id = session.scalar(sa.select(User.id).where(is_person, User.status == UserStatus.ACTIVE))
    if person_id is None:
        raise ShareRecipientUnknown("There is no user with this name. Check the spelling.")
    return person_id


def _read(session: Session, share: Share) -> ShareRead:
    person = None
    if share.shared_with_user_id is not None:
        name = session.scalars(sa.select(User.name).where(User.id == share.shared_with_user_id)).one()
        person = {"id": share.shared_with_user_id, "name": name}
    return {
        "id": share.id,
        "chat_id": share.chat_id,
        "draft_id": share.draft_id,
        "shared_with": person,  # type: ignore[typeddict-item]
        "permissions": {"can_read": share.can_read, "can_write": share.can_write, "can_share": share.can_share},
        "expires_at": share.expires_at,
        "is_active": share.is_active,
        "access_count": share.access_count,
        "created_at": share.created_at,
    }


def _announce(session: Session, shared: ShareTarget, share_id: str, operation: Operation) -> ShareRead:
    """Publish to the owner, the creator, and the recipient, whose chats or drafts change with the share."""
    share = session.get_one(Share, share_id, populate_existing=True)
    read = _read(session, share)
    for user_id in sorted({shared.owner_id, share.owner_id, *filter(None, [share.shared_with_user_id])}):
        publish(
            session,
            owner_id=user_id,
            topic=f"user:{user_id}",
            entity=SHARE,
            entity_id=share.id,
            operation=operation,
            payload=read,
        )
    wake(session, SHARES)
    return read


def count_accesses(session: Session, counts: Mapping[str, int]) -> None:
    """Add link openings, collected in memory since the last call, to the access counts."""
    for share_id, times in sorted(counts.items()):  # in one order, so that two processes cannot lock each other
        session.execute(
            sa.update(Share)
            .where(Share.id == share_id)
            .values(access_count=Share.access_count + times, updated_at=Share.updated_at)
        )
