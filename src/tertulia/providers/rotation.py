"""Bringing stored secrets under the primary key of the ring, a few at a time; it can be stopped at any point."""

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.keyring import KeyRing, UnknownKey
from tertulia.providers.configs import list_key_ids, rewrap_configs

AT_ONCE = 100


def require_keys(engine: sa.Engine, ring: KeyRing | None) -> None:
    """Whether the ring opens what is stored, looked up without writing anything. Raises UnknownKey."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("provider_config"):
            return
        missing = list_key_ids(Session(connection)) - set(ring.key_ids if ring else ())
        if missing:
            raise UnknownKey(min(missing))


def rewrap_secrets(engine: sa.Engine, ring: KeyRing, told: Callable[[int], None]) -> int:
    """Every secret under the primary key; `told` hears how many are done after each transaction."""
    done, after = 0, None
    while True:
        with Session(engine) as session, session.begin():
            changed, after = rewrap_configs(session, ring, after=after, limit=AT_ONCE)
        done += changed
        told(done)
        if after is None:
            return done
