"""The tokens by which people are known at their servers: sealed where they are kept, renewed before they end.

Many services take a refresh token only once, and end the whole sign-in when it comes twice. So one process renews, under a lease
in the row, and the others wait for what it got.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.db import Database, rowcount, seconds_from_now, utc_now
from tertulia.ids import new_id
from tertulia.keyring import KeyRing, SealedFor
from tertulia.tools.protocol import Environment
from tertulia.tools.servers.grants import Grant, GrantRefused, OAuthClient
from tertulia.tools.servers.models import ToolCredential, ToolServer
from tertulia.tools.servers.port import ServerFailed, SignInWanted

RENEW_BEFORE = timedelta(seconds=60)
HELD_S = 45  # longer than a renewal may take (issuer_calls.WHOLE_S)
LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Account:
    """Whose tokens they are, and where they count."""

    user_id: str
    service: str
    environment: Environment


def account_of(server: ToolServer) -> Account:
    return Account(server.user_id, server.url, server.environment)


@dataclass(frozen=True)
class Credential:
    """As it is stored, opened. It must not outlive the call that it was opened for."""

    id: str
    access_token: str
    refresh_token: str | None
    client: OAuthClient
    scope: str | None
    expires_at: datetime | None

    def must_renew(self, rejected: str | None) -> bool:
        """Whether it ends soon, or is what the service just refused."""
        ends_soon = self.expires_at is not None and self.expires_at - clock.now() < RENEW_BEFORE
        return ends_soon or self.access_token == rejected

    def is_usable(self, rejected: str | None) -> bool:
        return self.access_token != rejected and (self.expires_at is None or self.expires_at > clock.now())


class Credentials:
    def __init__(self, db: Database, ring: KeyRing, client: httpx.AsyncClient) -> None:
        """`client` is the guarded one: services name the addresses where tokens are renewed."""
        self._db = db
        self._ring = ring
        self._client = client
        self._renewing: set[asyncio.Task[str | None]] = set()

    async def close(self) -> None:
        """Renewals that have begun are waited for: what a service gave out is not lost."""
        await asyncio.gather(*self._renewing, return_exceptions=True)

    async def token(self, account: Account, name: str, rejected: str | None = None) -> str | None:
        """The access token that counts now, another than `rejected`; None where the person did not sign in.

        Raises SignInWanted where only the person can get another, ServerFailed where it cannot be renewed at the moment.
        """
        until = asyncio.get_running_loop().time() + HELD_S
        while True:
            found = await self._db.read(load_credential, self._ring, account)
            if found is None or not found.must_renew(rejected):
                return found.access_token if found is not None else None
            if found.refresh_token is None:
                if found.is_usable(rejected):
                    return found.access_token  # it ends within the minute, and nothing can be done about it
                raise SignInWanted(name, again=True)
            lease = await self._db.write(_take_lease, found.id)
            if lease is not None:
                # A task of its own: who waits for it may be stopped, and the old refresh token would be used up for nothing.
                work = asyncio.create_task(self._renewed(account, name, found.id, lease, rejected))
                self._renewing.add(work)
                work.add_done_callback(self._renewing.discard)
                return await asyncio.shield(work)
            if asyncio.get_running_loop().time() > until:
                raise ServerFailed(f"The sign-in at {name} is being renewed, and does not get there. Try again.")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _renewed(
        self, account: Account, name: str, credential_id: str, lease: datetime, rejected: str | None
    ) -> str | None:
        """With the lease: what is there now may have been renewed since it was looked at."""
        from tertulia.tools.servers.tokens import renew

        ends = False
        grant: Grant | None = None
        try:
            now = await self._db.read(load_credential, self._ring, account)
            if now is None or now.id != credential_id or now.refresh_token is None or not now.must_renew(rejected):
                return now.access_token if now is not None else None
            grant = await renew(self._client, name, now.client, now.refresh_token, now.scope)
            return grant.access_token
        except GrantRefused as error:
            ends = True
            raise SignInWanted(name, again=True) from error
        finally:
            await self._db.write(_give_lease, self._ring, account.user_id, credential_id, lease, grant, ends)


def load_credential(session: Session, ring: KeyRing, account: Account) -> Credential | None:
    row = session.scalars(sa.select(ToolCredential).where(_is_of(account))).one_or_none()
    if row is None:
        return None
    return Credential(
        id=row.id,
        access_token=_open(ring, row, "access_token", row.access_token),
        refresh_token=_open(ring, row, "refresh_token", row.refresh_token) if row.refresh_token is not None else None,
        client=OAuthClient.model_validate_json(_open(ring, row, "client", row.client)),
        scope=row.scope,
        expires_at=row.expires_at,
    )


def store_credential(
    session: Session, ring: KeyRing, account: Account, issuer: str, client: OAuthClient, grant: Grant
) -> None:
    """A new sign-in is a new row, so that a renewal of the one before cannot be taken for it."""
    delete_credential(session, account)
    made = new_id()
    session.add(
        ToolCredential(
            id=made,
            user_id=account.user_id,
            service=account.service,
            environment=account.environment,
            issuer=issuer[:2000],
            client=_seal(ring, made, account.user_id, "client", client.model_dump_json()),
            token_type=grant.token_type[:20],
            scope=grant.scope,
            expires_at=grant.expires_at,
            **_sealed_tokens(ring, made, account.user_id, grant),
        )
    )
    session.flush()


def delete_credential(session: Session, account: Account) -> bool:
    """Whether there was one."""
    return rowcount(session, sa.delete(ToolCredential).where(_is_of(account))) > 0


def granted_scope(session: Session, account: Account) -> str | None:
    """What was allowed at the sign-in that counts, as far as the service said."""
    return session.scalars(sa.select(ToolCredential.scope).where(_is_of(account))).one_or_none()


def _is_of(account: Account) -> sa.ColumnElement[bool]:
    return sa.and_(
        ToolCredential.user_id == account.user_id,
        ToolCredential.service == account.service,
        ToolCredential.environment == account.environment,
    )


def _take_lease(session: Session, credential_id: str) -> datetime | None:
    """Until when this process alone renews it; None while another does."""
    free = sa.or_(ToolCredential.refreshing_until.is_(None), ToolCredential.refreshing_until < utc_now())
    take = sa.update(ToolCredential).where(ToolCredential.id == credential_id, free)
    if rowcount(session, take.values(refreshing_until=seconds_from_now(HELD_S))) == 0:
        return None
    return session.scalars(sa.select(ToolCredential.refreshing_until).where(ToolCredential.id == credential_id)).one()


def _give_lease(
    session: Session,
    ring: KeyRing,
    user_id: str,
    credential_id: str,
    lease: datetime,
    grant: Grant | None,
    ends: bool,
) -> None:
    """Keep what was got under the lease, if it is still held; `ends`: the service renews nothing any more."""
    held = (ToolCredential.id == credential_id, ToolCredential.refreshing_until == lease)
    if ends:
        session.execute(sa.delete(ToolCredential).where(*held))
        return
    values: dict[str, object] = {"refreshing_until": None}
    if grant is not None:
        values |= {"scope": grant.scope, "expires_at": grant.expires_at, "token_type": grant.token_type[:20]}
        values |= _sealed_tokens(ring, credential_id, user_id, grant)
    session.execute(sa.update(ToolCredential).where(*held).values(values))


def _sealed_tokens(ring: KeyRing, credential_id: str, user_id: str, grant: Grant) -> dict[str, str | None]:
    refresh = grant.refresh_token
    return {
        "access_token": _seal(ring, credential_id, user_id, "access_token", grant.access_token),
        "refresh_token": _seal(ring, credential_id, user_id, "refresh_token", refresh) if refresh is not None else None,
    }


def _seal(ring: KeyRing, credential_id: str, user_id: str, column: str, value: str) -> str:
    return ring.seal(value.encode(), SealedFor(ToolCredential.__tablename__, column, credential_id, user_id))


def _open(ring: KeyRing, row: ToolCredential, column: str, sealed: str) -> str:
    return ring.open(sealed, SealedFor(ToolCredential.__tablename__, column, row.id, row.user_id)).decode()
