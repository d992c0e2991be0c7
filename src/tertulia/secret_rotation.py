"""Find the keys that stored secrets need, and move the secrets to the primary key in small batches."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from tertulia.db import rowcount, table_of
from tertulia.keyring import KeyRing, SealedFor, UnknownKey, key_id_of
from tertulia.providers.models import ProviderConfig
from tertulia.tools.servers.models import ToolCredential, ToolServer, ToolSignIn

BATCH_SIZE = 100


@dataclass(frozen=True)
class _Sealed:
    """A column of ciphertext in a table whose rows belong to users."""

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
    """Return the ids of the keys that stored secrets need. Skips tables that an older schema does not have yet."""
    tables = set(sa.inspect(session.connection()).get_table_names())
    key_ids: set[str] = set()
    for sealed in SEALED:
        if sealed.model.__tablename__ in tables:
            # A sealed value starts with `1.` and a key id of twelve characters: see keyring.py.
            query = sa.select(sa.func.substr(sealed.column, 3, 12)).where(sealed.column.is_not(None)).distinct()
            key_ids.update(session.scalars(query))
    return key_ids


def require_keys(engine: sa.Engine, ring: KeyRing | None) -> None:
    """Check that the ring has the keys of all stored secrets, without writing. Raises UnknownKey."""
    with engine.connect() as connection:
        missing = list_key_ids(Session(connection)) - set(ring.key_ids if ring else ())
        if missing:
            raise UnknownKey(min(missing))


def drop_secrets(connection: sa.Connection, key_ids: Collection[str]) -> None:
    """Remove the secrets that are encrypted with these keys: clear their columns, or delete rows that need them."""
    for sealed in SEALED:
        is_lost = sa.func.substr(sealed.column, 3, 12).in_(list(key_ids))
        table = table_of(sealed.model)
        if table.columns[sealed.column.key].nullable:
            connection.execute(sa.update(table).where(is_lost).values({sealed.column.key: None}))
        else:
            connection.execute(sa.delete(table).where(is_lost))


def rewrap_secrets(engine: sa.Engine, ring: KeyRing, on_progress: Callable[[int], None]) -> int:
    """Move every secret to the primary key, and return how many changed. It can be interrupted and run again.

    `on_progress(count)` is called after each transaction with the number changed so far.
    """
    done = 0
    for sealed in SEALED:
        after: str | None = None
        while True:
            with Session(engine) as session, session.begin():
                changed, after = rewrap(session, sealed, ring, after=after, limit=BATCH_SIZE)
            done += changed
            on_progress(done)
            if after is None:
                break
    return done


def rewrap(
    session: Session, sealed: _Sealed, ring: KeyRing, *, after: str | None, limit: int
) -> tuple[int, str | None]:
    """Move the next secrets to the primary key. Return how many changed, and the id to continue after or None."""
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
        # Only if it is unchanged: the user may be changing it at the same time.
        changed += rowcount(
            session,
            sa.update(model)
            .where(model.id == row_id, column == value)
            .values({column: ring.rewrap(value, sealed.place(row_id, user_id)), model.updated_at: model.updated_at}),
        )
    return changed, rows[-1][0] if len(rows) == limit else None
