"""The access tokens of people at their servers: stored encrypted, and renewed before they expire.

Many services accept a refresh token only once and end the sign-in if it is reused. So one process renews, under a lease
in the row, and the others wait for the new token.
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
    """The owner of tokens, and the service and environment that they are for."""

    user_id: str
    service: str
    environment: Environment


def account_of(server: ToolServer) -> Account:
    return Account(server.user_id, server.url, server.environment)


@dataclass(frozen=True)
class Credential:
    """A stored credential, decrypted. Discard it after the call that needed it."""

    id: str
    access_token: str
    refresh_token: str | None
    client: OAuthClient
    scope: str | None
    expires_at: datetime | None

    def must_renew(self, rejected: str | None) -> bool:
        """Return whether the token expires soon, or is the one that the service rejected."""
        ends_soon = self.expires_at is not None and self.expires_at - clock.now() < RENEW_BEFORE
        return ends_soon or self.access_token == rejected

    def is_usable(self, rejected: str | None) -> bool:
        return self.access_token != rejected and (self.expires_at is None or self.expires_at > clock.now())


class Credentials:
    def __init__(self, db: Database, ring: KeyRing, client: httpx.AsyncClient) -> None:
        """Use the guarded `client`, because services choose the URLs for renewal."""
        self._db = db
        self._ring = ring
        self._client = client
        self._renewing: set[asyncio.Task[str | None]] = set()

    async def close(self) -> None:
        """Wait for running renewals, so that new tokens are not lost."""
        await asyncio.gather(*self._renewing, return_exceptions=True)

    async def token(self, account: Account, name: str, rejected: str | None = None) -> str | None:
        """Return the current access token, which is not `rejected`. None if the person is not signed in.

        Raises SignInWanted if the person must sign in again, ServerFailed if it cannot be renewed at the moment.
        """
        until = asyncio.get_running_loop().time() + HELD_S
        while True:
            credential = await self._db.read(load_credential, self._ring, account)
            if credential is None or not credential.must_renew(rejected):
                return credential.access_token if credential is not None else None
            if credential.refresh_token is None:
                if credential.is_usable(rejected):
                    return credential.access_token  # it expires within a minute and cannot be renewed
                raise SignInWanted(name, again=True)
            lease = await self._db.write(_take_lease, credential.id)
            if lease is not None:
                # A separate task: if the caller is cancelled, the refresh token must not be used up for nothing.
                work = asyncio.create_task(self._renewed(account, name, credential.id, lease, rejected))
                self._renewing.add(work)
                work.add_done_callback(self._renewing.discard)
                return await asyncio.shield(work)
            if asyncio.get_running_loop().time() > until:
                raise ServerFailed(f"Renewing the sign-in at {name} takes too long. Try again.")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _renewed(
        self, account: Account, name: str, credential_id: str, lease: datetime, rejected: str | None
    ) -> str | None:
        """Renew under the lease and return the access token. It may have been renewed since the caller read it."""
        from tertulia.tools.servers.tokens import renew

        ends = False
        grant: Grant | None = None
        try:
            current = await self._db.read(load_credential, self._ring, account)
            if (
                current is None
                or current.id != credential_id
                or current.refresh_token is None
                or not current.must_renew(rejected)
            ):
                return current.access_token if current is not None else None
            grant = await renew(self._client, name, current.client, current.refresh_token, current.scope)
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
    """Replace the credential with a new row, so that a running renewal of the previous one cannot overwrite it."""
    delete_credential(session, account)
    credential_id = new_id()
    session.add(
        ToolCredential(
            id=credential_id,
            user_id=account.user_id,
            service=account.service,
            environment=account.environment,
            issuer=issuer[:2000],
            client=_seal(ring, credential_id, account.user_id, "client", client.model_dump_json()),
            token_type=grant.token_type[:20],
            scope=grant.scope,
            expires_at=grant.expires_at,
            **_sealed_tokens(ring, credential_id, account.user_id, grant),
        )
    )
    session.flush()


def delete_credential(session: Session, account: Account) -> bool:
    """Delete the credential of an account. Return whether there was one."""
    return rowcount(session, sa.delete(ToolCredential).where(_is_of(account))) > 0


def granted_scope(session: Session, account: Account) -> str | None:
    """Return the scope granted at the current sign-in. None if there is none or it is unknown."""
    return session.scalars(sa.select(ToolCredential.scope).where(_is_of(account))).one_or_none()


def _is_of(account: Account) -> sa.ColumnElement[bool]:
    return sa.and_(
        ToolCredential.user_id == account.user_id,
        ToolCredential.service == account.service,
        ToolCredential.environment == account.environment,
    )


def _take_lease(session: Session, credential_id: str) -> datetime | None:
    """Acquire the lease to renew. Return its end, or None while another process holds it."""
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
    """Store the new tokens and release the lease, if it is still held. `ends`: delete the credential instead."""
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
