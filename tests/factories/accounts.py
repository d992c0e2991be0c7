"""Factories for user accounts."""

from collections.abc import Callable
from functools import cache

import sqlalchemy as sa
from argon2 import PasswordHasher
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User, UserRole
from tertulia.accounts.names import name_key
from tertulia.db.opening import plain_engine
from tertulia.ids import UserId, new_id
from tests.fakes.live_server import Client, LiveServer


@cache
def _hash() -> str:
    """Hash `correct horse battery` with cheap parameters, to keep the tests fast."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse battery")


PASSWORD_HASH = _hash()


def make_admin(server: LiveServer, sign_in: Callable[[str], Client]) -> Client:
    """Return a client that is signed in as an administrator."""
    admin = sign_in("admin")
    engine = plain_engine(server.settings)
    with Session(engine) as session, session.begin():
        session.execute(sa.update(User).where(User.username == "admin").values(role=UserRole.ADMIN))
    engine.dispose()
    return admin


def make_user(
    session: Session,
    *,
    username: str | None = None,
    name: str = "Someone",
    role: UserRole = UserRole.USER,
    password_hash: str | None = None,
    email: str | None = None,
) -> Actor:
    user_id = UserId(new_id())
    username = username or f"user{user_id[-6:]}"
    session.add(
        User(
            id=user_id,
            username=username,
            username_key=name_key(username),
            name=name,
            role=role,
            password_hash=password_hash,
            email=email,
            email_key=name_key(email) if email else None,
        )
    )
    session.flush()
    return Actor(user_id, role)
