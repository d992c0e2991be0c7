"""Signing in to a server: the person is sent to who signs people in for it, and comes back with a code."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, SignInNeeded
from tertulia.accounts.models import Session as PersonSession
from tertulia.accounts.models import User
from tertulia.accounts.service import write_audit
from tertulia.accounts.tokens import hash_token
from tertulia.db import Database
from tertulia.errors import Unauthenticated
from tertulia.ids import ToolServerId, new_id
from tertulia.keyring import KeyRing, SealedFor
from tertulia.realtime.models import Operation
from tertulia.tools.errors import ToolServerInvalid, ToolSignInFailed, ToolSignInGone
from tertulia.tools.protocol import Environment
from tertulia.tools.servers.credentials import (
    Account,
    account_of,
    delete_credential,
    granted_scope,
    store_credential,
)
from tertulia.tools.servers.grants import GivenClient, Grant, OAuthClient
from tertulia.tools.servers.models import ToolServer, ToolSignIn
from tertulia.tools.servers.schemas import ToolServerRead, ToolSignInFinish, ToolSignInRead
from tertulia.tools.servers.service import address_of, announce, get_server, has_own_authorization, open_headers

LASTS = timedelta(minutes=10)


@dataclass(frozen=True)
class Wish:
    """A server to sign in to, as it was when the person asked."""

    server_id: str
    name: str
    account: Account
    headers: Mapping[str, str]
    scope: str | None  # what was allowed before, and what it wanted besides


@dataclass(frozen=True)
class Back:
    """A sign-in whose person came back, once, with the server as it was when it began. `flow`: tokens.Flow as JSON."""

    server_id: str
    name: str
    account: Account
    flow: str


async def begin_sign_in(
    db: Database,
    ring: KeyRing,
    client: httpx.AsyncClient,
    wish: Wish,
    given: GivenClient | None,
    *,
    redirect_uri: str,
    metadata_url: str | None,
    actor: Actor,
) -> ToolSignInRead:
    """Raises ToolSignInFailed, AddressRefused."""
    from tertulia.tools.servers.authorization import begin

    begun = await begin(
        client,
        wish.name,
        wish.account.service,
        wish.headers,
        redirect_uri=redirect_uri,
        metadata_url=metadata_url,
        given=given,
        scope_before=wish.scope,
    )
    await db.write(_store, ring, wish, begun.state, begun.flow.model_dump_json(), actor)
    return {
        "url": begun.url,
        "host": urlsplit(begun.url).netloc,
        "token_host": urlsplit(begun.flow.client.token_endpoint).netloc,
        "scope": begun.flow.scope,
    }


async def finish_sign_in(
    db: Database, ring: KeyRing, client: httpx.AsyncClient, came: ToolSignInFinish, actor: Actor
) -> str:
    """The server that one is signed in to now. Raises ToolSignInGone, ToolSignInFailed."""
    from tertulia.tools.servers.tokens import Flow, finish

    back = await db.write(_take, ring, came.state, actor)
    flow = Flow.model_validate_json(back.flow)
    if came.code is None:
        why = f"{came.error or 'no code'} {came.error_description or ''}".strip()
        told = "You did not allow it" if came.error == "access_denied" else f"It was refused there: {why}"
        raise ToolSignInFailed(f"{told}. You are not signed in to {back.name}.")
    grant = await finish(client, back.name, flow, code=came.code, iss=came.iss)
    await db.write(_keep, ring, back, flow.issuer, flow.client, grant, actor)
    return back.server_id


def read_wish(session: Session, server_id: str, ring: KeyRing, *, actor: Actor) -> Wish:
    """Raises ToolServerNotFound, ToolServerInvalid."""
    row = get_server(session, ToolServerId(server_id), actor=actor)
    if has_own_authorization(row):
        raise ToolServerInvalid("headers", "It is sent a header Authorization. Take that away to sign in instead.")
    account = account_of(row)
    scopes = [scope for scope in (granted_scope(session, account), row.wanted_scope) if scope]
    return Wish(
        row.id,
        row.name,
        account,
        open_headers(address_of(row), ring),
        " ".join(dict.fromkeys(" ".join(scopes).split())) or None,
    )


def sign_out(session: Session, server_id: str, *, actor: Actor) -> ToolServerRead:
    """Forget the person's tokens. Done when there are none."""
    row = get_server(session, ToolServerId(server_id), actor=actor, lock=True)
    if delete_credential(session, account_of(row)):
        write_audit(session, actor.user_id, "tool_server.sign_out", entity="tool_server", entity_id=row.id)
    return announce(session, row, Operation.UPDATED)


def _store(session: Session, ring: KeyRing, wish: Wish, state: str, flow: str, actor: Actor) -> None:
    """One at a time for a server; whoever begins anew gives up the one before. Those that nobody came back from go, too."""
    row = get_server(session, ToolServerId(wish.server_id), actor=actor, lock=True)
    if actor.session_id is None:
        raise SignInNeeded  # a program cannot come back in a browser
    if account_of(row) != wish.account:
        raise ToolSignInGone  # it was moved while it was asked
    _require_signed_in(session, actor)
    over = sa.and_(ToolSignIn.user_id == actor.user_id, ToolSignIn.expires_at < clock.now())
    session.execute(sa.delete(ToolSignIn).where(sa.or_(ToolSignIn.server_id == wish.server_id, over)))
    made = new_id()
    session.add(
        ToolSignIn(
            id=made,
            user_id=actor.user_id,
            session_id=actor.session_id,
            server_id=wish.server_id,
            state_hash=hash_token(state),
            flow=ring.seal(
                orjson.dumps([wish.account.service, wish.account.environment, flow]), _place(made, actor.user_id)
            ),
            expires_at=clock.now() + LASTS,
        )
    )
    session.flush()


def _take(session: Session, ring: KeyRing, state: str, actor: Actor) -> Back:
    """Once, in time, in the browser that began it, and for the server as it was then. Raises ToolSignInGone."""
    query = (
        sa.select(ToolSignIn, ToolServer)
        .join(ToolServer, ToolServer.id == ToolSignIn.server_id)
        .where(
            ToolSignIn.state_hash == hash_token(state),
            ToolSignIn.user_id == actor.user_id,
            ToolSignIn.session_id == actor.session_id,
        )
        .with_for_update(of=ToolSignIn)
    )
    found = session.execute(query).one_or_none()
    if found is None:
        raise ToolSignInGone
    row, server = found
    service, environment, flow = orjson.loads(ring.open(row.flow, _place(row.id, row.user_id)))
    account = Account(row.user_id, service, Environment(environment))
    if row.expires_at <= clock.now() or account_of(server) != account:
        raise ToolSignInGone
    session.delete(row)
    session.flush()
    return Back(server.id, server.name, account, flow)


def _keep(
    session: Session, ring: KeyRing, back: Back, issuer: str, oauth_client: OAuthClient, grant: Grant, actor: Actor
) -> None:
    """Where the server is still what one signed in to; it may have been moved or removed meanwhile."""
    # Two servers of one address share the tokens, so that it is the person who is locked.
    session.execute(sa.select(User.id).where(User.id == actor.user_id).with_for_update())
    rows = session.scalars(
        sa.select(ToolServer)
        .where(
            ToolServer.user_id == back.account.user_id,
            ToolServer.url == back.account.service,
            ToolServer.environment == back.account.environment,
        )
        .order_by(ToolServer.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    if back.server_id not in [row.id for row in rows]:
        raise ToolSignInGone
    _require_signed_in(session, actor)
    store_credential(session, ring, back.account, issuer, oauth_client, grant)
    write_audit(session, actor.user_id, "tool_server.sign_in", entity="tool_server", entity_id=back.server_id)
    for row in rows:
        row.wants_sign_in, row.wanted_scope, row.last_error = False, None, None
        announce(session, row, Operation.UPDATED)


def _require_signed_in(session: Session, actor: Actor) -> None:
    """The person's session may have ended while a service was asked. Raises Unauthenticated."""
    query = sa.select(PersonSession.id).where(PersonSession.id == actor.session_id, PersonSession.is_active)
    if session.scalars(query.with_for_update()).one_or_none() is None:
        raise Unauthenticated("Your sign-in has ended. Sign in again; then begin this again.")


def _place(sign_in_id: str, user_id: str) -> SealedFor:
    return SealedFor(ToolSignIn.__tablename__, "flow", sign_in_id, user_id)
