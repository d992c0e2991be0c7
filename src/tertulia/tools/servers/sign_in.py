"""Sign in to a server: send the person to its authorization server, and exchange the returned code for tokens."""

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
from tertulia.accounts.audit import write_audit
from tertulia.accounts.models import Session as PersonSession
from tertulia.accounts.models import User
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
from tertulia.tools.servers.grants import EnteredClient, Grant, OAuthClient
from tertulia.tools.servers.models import ToolServer, ToolSignIn
from tertulia.tools.servers.schemas import ToolServerRead, ToolSignInFinish, ToolSignInRead
from tertulia.tools.servers.service import address_of, announce, get_server, has_own_authorization, open_headers

LASTS = timedelta(minutes=10)


@dataclass(frozen=True)
class SignInRequest:
    """A server to sign in to, as it was at the request."""

    server_id: str
    name: str
    account: Account
    headers: Mapping[str, str]
    scope: str | None  # the scope granted before, and the scope that the server asked for


@dataclass(frozen=True)
class SignInCallback:
    """A sign-in whose person returned, with the server as it was at the start. `flow` is tokens.Flow as JSON."""

    server_id: str
    name: str
    account: Account
    flow: str


async def begin_sign_in(
    db: Database,
    ring: KeyRing,
    client: httpx.AsyncClient,
    request: SignInRequest,
    registered_client: EnteredClient | None,
    *,
    redirect_uri: str,
    metadata_url: str | None,
    actor: Actor,
) -> ToolSignInRead:
    """Start a sign-in and return where to send the person. Raises ToolSignInFailed, AddressRefused."""
    from tertulia.tools.servers.authorization import begin

    start = await begin(
        client,
        request.name,
        request.account.service,
        request.headers,
        redirect_uri=redirect_uri,
        metadata_url=metadata_url,
        registered_client=registered_client,
        scope_before=request.scope,
    )
    await db.write(_store, ring, request, start.state, start.flow.model_dump_json(), actor)
    return {
        "url": start.url,
        "host": urlsplit(start.url).netloc,
        "token_host": urlsplit(start.flow.client.token_endpoint).netloc,
        "scope": start.flow.scope,
    }


async def finish_sign_in(
    db: Database, ring: KeyRing, client: httpx.AsyncClient, callback: ToolSignInFinish, actor: Actor
) -> str:
    """Exchange the code and store the tokens. Return the server's id. Raises ToolSignInGone, ToolSignInFailed."""
    from tertulia.tools.servers.tokens import Flow, finish

    returned = await db.write(_take, ring, callback.state, actor)
    flow = Flow.model_validate_json(returned.flow)
    if callback.code is None:
        why = f"{callback.error or 'no code'} {callback.error_description or ''}".strip()
        reason = "You declined the sign-in" if callback.error == "access_denied" else f"The service refused it: {why}"
        raise ToolSignInFailed(f"{reason}. You are not signed in to {returned.name}.")
    grant = await finish(client, returned.name, flow, code=callback.code, iss=callback.iss)
    await db.write(_keep, ring, returned, flow.issuer, flow.client, grant, actor)
    return returned.server_id


def read_sign_in_request(session: Session, actor: Actor, server_id: str, ring: KeyRing) -> SignInRequest:
    """Load what a sign-in to a server needs. Raises ToolServerNotFound, ToolServerInvalid."""
    row = get_server(session, actor, ToolServerId(server_id))
    if has_own_authorization(row):
        raise ToolServerInvalid(
            "headers", "This server uses an Authorization header. Remove the header to sign in instead."
        )
    account = account_of(row)
    scopes = [scope for scope in (granted_scope(session, account), row.required_scope) if scope]
    return SignInRequest(
        row.id,
        row.name,
        account,
        open_headers(address_of(row), ring),
        " ".join(dict.fromkeys(" ".join(scopes).split())) or None,
    )


def sign_out(session: Session, actor: Actor, server_id: str) -> ToolServerRead:
    """Delete the person's tokens. Succeeds if there are none."""
    row = get_server(session, actor, ToolServerId(server_id), lock=True)
    if delete_credential(session, account_of(row)):
        write_audit(session, actor.user_id, "tool_server.sign_out", entity="tool_server", entity_id=row.id)
    return announce(session, row, Operation.UPDATED)


def _store(session: Session, ring: KeyRing, request: SignInRequest, state: str, flow: str, actor: Actor) -> None:
    """Store a started sign-in in place of an earlier one of the server. Deletes expired ones of the person, too."""
    row = get_server(session, actor, ToolServerId(request.server_id), lock=True)
    if actor.session_id is None:
        raise SignInNeeded  # an API client has no browser to return with
    if account_of(row) != request.account:
        raise ToolSignInGone  # the server was changed in the meantime
    _require_signed_in(session, actor)
    expired = sa.and_(ToolSignIn.user_id == actor.user_id, ToolSignIn.expires_at < clock.now())
    session.execute(sa.delete(ToolSignIn).where(sa.or_(ToolSignIn.server_id == request.server_id, expired)))
    sign_in_id = new_id()
    session.add(
        ToolSignIn(
            id=sign_in_id,
            user_id=actor.user_id,
            session_id=actor.session_id,
            server_id=request.server_id,
            state_hash=hash_token(state),
            flow=ring.seal(
                orjson.dumps([request.account.service, request.account.environment, flow]),
                _place(sign_in_id, actor.user_id),
            ),
            expires_at=clock.now() + LASTS,
        )
    )
    session.flush()


def _take(session: Session, ring: KeyRing, state: str, actor: Actor) -> SignInCallback:
    """Consume a sign-in: unexpired, from the same session, and with the server unchanged. Raises ToolSignInGone."""
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
    result = session.execute(query).one_or_none()
    if result is None:
        raise ToolSignInGone
    row, server = result
    service, environment, flow = orjson.loads(ring.open(row.flow, _place(row.id, row.user_id)))
    account = Account(row.user_id, service, Environment(environment))
    if row.expires_at <= clock.now() or account_of(server) != account:
        raise ToolSignInGone
    session.delete(row)
    session.flush()
    return SignInCallback(server.id, server.name, account, flow)


def _keep(
    session: Session,
    ring: KeyRing,
    returned: SignInCallback,
    issuer: str,
    oauth_client: OAuthClient,
    grant: Grant,
    actor: Actor,
) -> None:
    """Store the tokens. Raises ToolSignInGone if the server was moved or removed in the meantime."""
    # Servers with the same address share tokens, so lock the user.
    session.execute(sa.select(User.id).where(User.id == actor.user_id).with_for_update())
    rows = session.scalars(
        sa.select(ToolServer)
        .where(
            ToolServer.user_id == returned.account.user_id,
            ToolServer.url == returned.account.service,
            ToolServer.environment == returned.account.environment,
        )
        .order_by(ToolServer.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    if returned.server_id not in [row.id for row in rows]:
        raise ToolSignInGone
    _require_signed_in(session, actor)
    store_credential(session, ring, returned.account, issuer, oauth_client, grant)
    write_audit(session, actor.user_id, "tool_server.sign_in", entity="tool_server", entity_id=returned.server_id)
    for row in rows:
        row.requires_sign_in, row.required_scope, row.last_error = False, None, None
        announce(session, row, Operation.UPDATED)


def _require_signed_in(session: Session, actor: Actor) -> None:
    """Require that the person's session has not ended in the meantime. Raises Unauthenticated."""
    query = sa.select(PersonSession.id).where(PersonSession.id == actor.session_id, PersonSession.is_active)
    if session.scalars(query.with_for_update()).one_or_none() is None:
        raise Unauthenticated("Your session has ended. Sign in again, then start over.")


def _place(sign_in_id: str, user_id: str) -> SealedFor:
    return SealedFor(ToolSignIn.__tablename__, "flow", sign_in_id, user_id)
