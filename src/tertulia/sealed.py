"""All secrets that are stored: what the ring must open, and bringing them under its primary key, a few at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from tertulia.db import rowcount
from tertulia.keyring import KeyRing, SealedFor, UnknownKey, key_id_of
from tertulia.providers.models import ProviderConfig
from tertulia.tools.servers.models import ToolCredential, ToolServer, ToolSignIn

AT_ONCE = 100


@dataclass(frozen=True)
class _Sealed:
    """A column of ciphertext of a table whose rows belong to somebody."""

    model: type[ProviderConfig | ToolServer | ToolCredential | ToolSignIn]
    column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None]

    def place(self, row_id: str, owner_id: str) -> SealedFor:
        return SealedFor(self.model.__tablename__, self.column.key, row_id, owner_id)


SEALED = (
    _Sealed(ProviderConfig, ProviderConfig.config),
    _Sealed(ToolServer, ToolServer.headers),
    _Sealed(ToolCredential, ToolCredential.access_token),
    _Sealed(ToolCredential, ToolCredential.refresh_token),
    _Sealed(ToolCredential, ToolCredential.client),
    _Sealed(ToolSignIn, ToolSignIn.flow),
)


def list_key_ids(session: Session) -> set[str]:
    """The keys of the ring that stored secrets need; tables that an older schema does not have yet hold none."""
    there = set(sa.inspect(session.connection()).get_table_names())
    found: set[str] = set()
    for one in SEALED:
        if one.model.__tablename__ in there:
            # `1.` and twelve characters: see keyring.py.
            query = sa.select(sa.func.substr(one.column, 3, 12)).where(one.column.is_not(None)).distinct()
            found.update(session.scalars(query))
    return found


def require_keys(engine: sa.Engine, ring: KeyRing | None) -> None:
    """Whether the ring opens what is stored, looked up without writing anything. Raises UnknownKey."""
    with engine.connect() as connection:
        missing = list_key_ids(Session(connection)) - set(ring.key_ids if ring else ())
        if missing:
            raise UnknownKey(min(missing))


def rewrap_secrets(engine: sa.Engine, ring: KeyRing, told: Callable[[int], None]) -> int:
    """Every secret under the primary key; `told` hears how many are done after each transaction. It can be stopped anywhere."""
    done = 0
    for one in SEALED:
        after: str | None = None
        while True:
            with Session(engine) as session, session.begin():
                changed, after = rewrap(session, one, ring, after=after, limit=AT_ONCE)
            done += changed
            told(done)
            if after is None:
                break
    return done


def rewrap(
    session: Session, sealed: _Sealed, ring: KeyRing, *, after: str | None, limit: int
) -> tuple[int, str | None]:
    """Put the next few secrets under the primary key: how many changed, and where to go on, None at the end."""
    model, column = sealed.model, sealed.column
    query = sa.select(model.id, model.user_id, column).where(column.is_not(None)).order_by(model.id)
    if after is not None:
        query = query.where(model.id > after)
    rows = session.execute(query.limit(limit).with_for_update()).all()
    changed = 0
    for row_id, user_id, value in rows:
        assert value is not None
        if key_id_of(value) == ring.key_ids[0]:
            continue
        # Only if it is still what was read: a person may be changing it at this moment.
        changed += rowcount(
            session,
            sa.update(model)
            .where(model.id == row_id, column == value)
            .values({column: ring.rewrap(value, sealed.place(row_id, user_id)), model.updated_at: model.updated_at}),
        )
    return changed, rows[-1][0] if len(rows) == limit else None
