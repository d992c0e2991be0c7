"""Create and list users, read and update a user's own profile, and write the audit log."""

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.orm import Session as DbSession

from tertulia import clock
from tertulia.accounts.actor import Actor, require_admin
from tertulia.accounts.audit import write_audit
from tertulia.accounts.confirmation import require_confirmed
from tertulia.accounts.errors import AlreadySetUp, TooManyFavourites, TooManyWindows, UsernameTaken, UserNotFound
from tertulia.accounts.events import USER
from tertulia.accounts.models import MAX_FAVOURITES, MAX_MODEL_WINDOWS, Preferences, User, UserRole
from tertulia.accounts.names import name_key
from tertulia.accounts.schemas import AccountCreate, MeUpdate, PreferencesRead, UserCreate, UserRead
from tertulia.ids import UserId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish


def is_setup_required(session: DbSession) -> bool:
    return session.scalar(sa.select(User.id).limit(1)) is None


def create_first_admin(session: DbSession, account: AccountCreate, *, password_hash: str) -> UserId:
    """Create the administrator if there is no user yet. Of two concurrent calls, one wins. Raises AlreadySetUp."""
    if session.get_bind().dialect.name == "postgresql":
        # NOT EXISTS alone would let two concurrent transactions through, which do not see each other.
        session.execute(sa.text('LOCK TABLE "user" IN SHARE ROW EXCLUSIVE MODE'))
    values = _new_row(account, UserRole.ADMIN, password_hash)
    columns = list(values)
    source = sa.select(*(sa.literal(value, User.__table__.c[column].type) for column, value in values.items())).where(
        ~sa.exists(sa.select(User.id))
    )
    inserted = session.execute(sa.insert(User).from_select(columns, source, include_defaults=False))
    if inserted.rowcount != 1:  # type: ignore[attr-defined]
        raise AlreadySetUp
    user_id = UserId(str(values["id"]))
    write_audit(session, user_id, "setup", entity="user", entity_id=user_id)
    return user_id


def create_user(session: DbSession, actor: Actor, account: UserCreate, *, password_hash: str) -> UserRead:
    require_admin(actor)
    user_id = add_user(session, account, account.role, password_hash=password_hash)
    write_audit(session, actor.user_id, "user.create", entity="user", entity_id=user_id)
    return get_user(session, user_id)


def add_user(session: DbSession, account: AccountCreate, role: UserRole, *, password_hash: str) -> UserId:
    """Insert a user. The caller knows that this is allowed, and writes to the audit log. Raises UsernameTaken."""
    values = _new_row(account, role, password_hash)
    try:
        session.execute(sa.insert(User).values(values))
    except exc.IntegrityError as error:
        raise UsernameTaken from error
    return UserId(str(values["id"]))


def list_users(session: DbSession, actor: Actor, *, after: str | None, limit: int) -> list[UserRead]:
    """List users, oldest first. `after` is the id of the last user seen."""
    require_admin(actor)
    query = sa.select(User).order_by(User.id).limit(limit)
    if after is not None:
        query = query.where(User.id > after)
    return [read_user(user) for user in session.scalars(query)]


def get_user(session: DbSession, user_id: UserId) -> UserRead:
    user = session.get(User, user_id)
    if user is None:
        raise UserNotFound
    return read_user(user)


def get_me(session: DbSession, actor: Actor) -> UserRead:
    return get_user(session, actor.user_id)


def get_preferences(session: DbSession, actor: Actor) -> Preferences:
    """Return the preferences that the actor chose; the operator has none."""
    chosen = session.scalars(sa.select(User.preferences).where(User.id == actor.user_id)).one_or_none()
    return chosen or Preferences()


def update_me(session: DbSession, actor: Actor, update: MeUpdate) -> UserRead:
    """Update the actor's own profile. Raises ConfirmationNeeded for a new e-mail address, which can also sign in."""
    user = session.get(User, actor.user_id, with_for_update=True)
    if user is None:
        raise UserNotFound
    fields = update.model_fields_set
    if "name" in fields and update.name is not None:
        user.name = update.name
    if "email" in fields and update.email != user.email:
        require_confirmed(session, actor)
        user.email, user.email_verified = update.email, False
        user.email_key = name_key(update.email) if update.email else None
    if update.preferences is not None:
        chosen = user.preferences.model_dump() | update.preferences.model_dump(exclude_unset=True)
        before, user.preferences = user.preferences.time_zone, Preferences.model_validate(chosen)
        if user.preferences.time_zone != before:
            _keep_former_zone(user, before)
    try:
        session.flush()
    except exc.IntegrityError as error:
        raise UsernameTaken from error
    return announce_user(session, user)


def _keep_former_zone(user: User, before: str | None) -> None:
    """Note the zone that limits of administrators follow to the end of the month. Only the first choice counts at once."""
    now = clock.now()
    is_first = before is None and user.former_zone is None
    if is_first or (user.former_zone_until is not None and user.former_zone_until > now):
        return
    user.former_zone = before or "UTC"
    user.former_zone_until = clock.next_month(now, user.former_zone)


def set_favourite_model(session: DbSession, actor: Actor, key: str, *, is_favourite: bool) -> None:
    """Add `provider/model_name` to the actor's favourites, or remove it. Raises TooManyFavourites."""
    user = session.get(User, actor.user_id, with_for_update=True)
    if user is None:
        raise UserNotFound
    others = [other for other in user.preferences.favourite_models or [] if other != key]
    if is_favourite and len(others) >= MAX_FAVOURITES:
        raise TooManyFavourites(MAX_FAVOURITES)
    favourites = [*others, key] if is_favourite else others
    user.preferences = user.preferences.model_copy(update={"favourite_models": favourites})
    session.flush()
    announce_user(session, user)


def set_model_window(session: DbSession, actor: Actor, key: str, window: int | None) -> None:
    """Set the window in tokens of `provider/model_name` for the actor, or remove it. Raises TooManyWindows."""
    user = session.get(User, actor.user_id, with_for_update=True)
    if user is None:
        raise UserNotFound
    windows = {other: tokens for other, tokens in (user.preferences.model_windows or {}).items() if other != key}
    if window is not None and len(windows) >= MAX_MODEL_WINDOWS:
        raise TooManyWindows(MAX_MODEL_WINDOWS)
    windows |= {key: window} if window is not None else {}
    user.preferences = user.preferences.model_copy(update={"model_windows": windows})
    session.flush()
    announce_user(session, user)


def announce_user(session: DbSession, user: User) -> UserRead:
    """Publish the current profile to the user's clients, and return it."""
    read = read_user(user)
    publish(
        session,
        owner_id=user.id,
        topic=f"user:{user.id}",
        entity=USER,
        entity_id=user.id,
        operation=Operation.UPDATED,
        payload=read,
    )
    return read


def read_user(user: User) -> UserRead:
    return {
        "id": user.id,
        "username": user.username,
        "name": user.name,
        "email": user.email,
        "image": user.image,
        "role": user.role,
        "status": user.status,
        "deletes_at": user.deletes_at,
        "preferences": read_preferences(user.preferences),
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    }


def read_preferences(chosen: Preferences) -> PreferencesRead:
    return {
        "theme": chosen.theme or "system",
        "language": chosen.language,
        "default_model": chosen.default_model,
        "enable_notifications": bool(chosen.enable_notifications),
        "time_zone": chosen.time_zone,
        "favourite_models": chosen.favourite_models or [],
        "model_windows": chosen.model_windows or {},
    }


def _new_row(account: AccountCreate, role: UserRole, password_hash: str) -> dict[str, object]:
    now = clock.now()
    return {
        "id": new_id(),
        "username": account.username,
        "username_key": name_key(account.username),
        "name": account.name,
        "email": account.email,
        "email_key": name_key(account.email) if account.email else None,
        "email_verified": False,
        "password_hash": password_hash,
        "role": role,
        "preferences": Preferences(),
        "status": "active",
        "created_at": now,
        "updated_at": now,
    }
