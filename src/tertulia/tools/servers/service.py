"""Create, change and delete people's own MCP servers, and store the tools that they list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, require_session
from tertulia.accounts.audit import write_audit
from tertulia.accounts.models import User
from tertulia.errors import AppError
from tertulia.ids import ToolServerId, new_id
from tertulia.keyring import KeyRing, SealedFor
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish
from tertulia.tools.errors import ToolServerExists, ToolServerInvalid, ToolServerNotFound
from tertulia.tools.events import TOOL_SERVER
from tertulia.tools.protocol import Described, Environment, digest_of
from tertulia.tools.servers.credentials import Account, account_of, delete_credential
from tertulia.tools.servers.definitions import Definition, PinnedTool, accept, accept_one, pin
from tertulia.tools.servers.models import ToolCredential, ToolServer, ToolSignIn
from tertulia.tools.servers.port import ScopeWanted, SignInWanted
from tertulia.tools.servers.schemas import (
    ServerToolRead,
    SignInRead,
    ToolServerCreate,
    ToolServerRead,
    ToolServerUpdate,
)

MAX_SERVERS = 20


@dataclass(frozen=True)
class Address:
    """What is needed to call a server: its URL, sealed headers and account."""

    id: str
    user_id: str
    name: str
    url: str
    headers: str | None
    account: Account | None  # None if a header authenticates the caller


def address_of(row: ToolServer) -> Address:
    account = None if has_own_authorization(row) else account_of(row)
    return Address(row.id, row.user_id, row.name, row.url, row.headers, account)


def has_own_authorization(row: ToolServer) -> bool:
    return any(name.lower() == "authorization" for name in row.header_names)


def create_server(
    session: Session, actor: Actor, new: ToolServerCreate, ring: KeyRing, taken: Sequence[str]
) -> ToolServerRead:
    """Create a server. `taken` are the names of the operator's servers. Raises ToolServerExists, ToolServerInvalid."""
    session.execute(sa.select(User.id).where(User.id == actor.user_id).with_for_update())
    owned = sa.select(sa.func.count()).where(ToolServer.user_id == actor.user_id)
    if (session.scalar(owned) or 0) >= MAX_SERVERS:
        raise ToolServerInvalid("name", f"You can have at most {MAX_SERVERS} servers. Remove one first.")
    if new.name in taken:
        raise ToolServerExists(new.name)
    server_id = ToolServerId(new_id())
    row = ToolServer(
        id=server_id,
        user_id=actor.user_id,
        name=new.name,
        url=new.url,
        environment=new.environment,
        headers=_seal(new.headers, server_id, actor.user_id, ring),
        header_names=list(new.headers),
        cost_per_call=new.cost_per_call,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except exc.IntegrityError as error:
        raise ToolServerExists(new.name) from error
    write_audit(session, actor.user_id, "tool_server.create", entity="tool_server", entity_id=server_id)
    return announce(session, row, Operation.CREATED)


def list_servers(session: Session, actor: Actor) -> list[ToolServerRead]:
    """Return all servers of the person, oldest first. There are at most MAX_SERVERS."""
    rows = load_servers(session, actor.user_id)
    known = list_sign_ins(session, actor.user_id)
    return [_read(row, known.get((row.url, row.environment))) for row in rows]


def load_servers(session: Session, user_id: str) -> Sequence[ToolServer]:
    return session.scalars(sa.select(ToolServer).where(ToolServer.user_id == user_id).order_by(ToolServer.id)).all()


def get_server(session: Session, actor: Actor, server_id: ToolServerId, *, lock: bool = False) -> ToolServer:
    query = sa.select(ToolServer).where(ToolServer.id == server_id, ToolServer.user_id == actor.user_id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    row = session.scalars(query).one_or_none()
    if row is None:
        raise ToolServerNotFound
    return row


def update_server(
    session: Session,
    actor: Actor,
    server_id: ToolServerId,
    update: ToolServerUpdate,
    ring: KeyRing,
    taken: Sequence[str],
) -> ToolServerRead:
    row = get_server(session, actor, server_id, lock=True)
    if update.accept_changes is not None:
        require_session(actor)
    before = account_of(row)
    if update.url is not None and update.url != row.url:
        if row.header_names and update.headers is None:
            raise ToolServerInvalid("headers", "The address has changed. Enter its headers again.")
        # Tools at another address are other tools, even with the same names.
        row.url, row.definitions, row.definitions_digest, row.listed_at = update.url, [], None, None
        row.requires_sign_in, row.required_scope = False, None
        write_audit(session, actor.user_id, "tool_server.change", entity="tool_server", entity_id=server_id)
    if update.headers is not None:
        row.headers, row.header_names = (
            _seal(update.headers, server_id, row.user_id, ring),
            list(update.headers),
        )
    if update.name is not None and update.name != row.name:
        if update.name in taken:
            raise ToolServerExists(update.name)
        row.name = update.name
    if update.environment is not None and update.environment != row.environment:
        row.environment, row.requires_sign_in, row.required_scope = update.environment, False, None
        write_audit(session, actor.user_id, "tool_server.change", entity="tool_server", entity_id=server_id)
    if account_of(row) != before or update.headers is not None:
        # A started sign-in was for the previous address, environment or headers.
        session.execute(sa.delete(ToolSignIn).where(ToolSignIn.server_id == server_id))
    if update.cost_per_call is not None:
        row.cost_per_call = update.cost_per_call
    if update.is_active is not None:
        row.is_active = update.is_active
    if update.accept_changes is not None:
        if update.accept_changes != row.definitions_digest:
            raise ToolServerInvalid("accept_changes", "The tools have changed again. Review them again.")
        row.definitions = accept(row.definitions)
    try:
        session.flush()
    except exc.IntegrityError as error:
        raise ToolServerExists(row.name) from error
    _drop_unused(session, before)
    return announce(session, row, Operation.UPDATED)


def delete_server(session: Session, actor: Actor, server_id: ToolServerId) -> None:
    row = get_server(session, actor, server_id, lock=True)
    before = account_of(row)
    announce(session, row, Operation.DELETED)
    session.delete(row)
    session.flush()
    _drop_unused(session, before)
    write_audit(session, actor.user_id, "tool_server.delete", entity="tool_server", entity_id=server_id)


def store_listing(
    session: Session,
    server_id: str,
    url: str,
    listing: Sequence[tuple[str, Definition]] | None,
    error: AppError | None,
) -> None:
    """Store a listing, pinned against the accepted definitions, or its error. An error keeps the known tools."""
    row = session.scalars(
        sa.select(ToolServer)
        .where(ToolServer.id == server_id, ToolServer.url == url)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        return  # removed or moved in the meantime: the listing is from another server
    if listing is not None:
        row.definitions = pin(row.definitions, listing)
        row.definitions_digest = digest_of(
            [[tool.name, (tool.changed or tool.accepted).model_dump()] for tool in row.definitions if tool.is_listed]
        )
        row.listed_at = clock.now()
    _store_error(row, error)
    announce(session, row, Operation.UPDATED)


def store_error(session: Session, address: Address, error: AppError) -> None:
    """Store why a server refused a call, if its account is still the one that called."""
    query = sa.select(ToolServer).where(ToolServer.id == address.id).with_for_update()
    row = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if row is not None and account_of(row) == address.account:
        _store_error(row, error)
        announce(session, row, Operation.UPDATED)


def _store_error(row: ToolServer, error: AppError | None) -> None:
    if error is None and row.required_scope is not None:
        return  # listing tools does not show that the missing scope was granted
    row.last_error = error.detail.replace("\x00", "\ufffd")[:2000] if error else None
    row.requires_sign_in = isinstance(error, SignInWanted | ScopeWanted)
    row.required_scope = error.scope.replace("\x00", "") or None if isinstance(error, ScopeWanted) else None


def accept_change(session: Session, actor: Actor, server_name: str, tool_name: str, seen: Described) -> None:
    """Accept the definition with which the person approved a call. Models see it from now on."""
    row = session.scalars(
        sa.select(ToolServer)
        .where(ToolServer.user_id == actor.user_id, ToolServer.name == server_name)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is not None:
        row.definitions = accept_one(row.definitions, tool_name, seen.description, seen.parameters)
        session.flush()
        announce(session, row, Operation.UPDATED)


def read_own_server(session: Session, actor: Actor, server_id: ToolServerId) -> ToolServerRead:
    """Return a server of the actor. Raises ToolServerNotFound."""
    return read_server(session, get_server(session, actor, server_id))


def read_server(session: Session, row: ToolServer) -> ToolServerRead:
    return _read(row, list_sign_ins(session, row.user_id).get((row.url, row.environment)))


def _read(row: ToolServer, sign_in: SignInRead | None) -> ToolServerRead:
    return {
        "id": row.id,
        "name": row.name,
        "url": row.url,
        "header_names": row.header_names,
        "cost_per_call": row.cost_per_call,
        "is_active": row.is_active,
        "tools": read_tools(row.definitions),
        "definitions_digest": row.definitions_digest,
        "listed_at": row.listed_at,
        "last_error": row.last_error,
        "environment": row.environment,
        "requires_sign_in": row.requires_sign_in,
        "sign_in": None if has_own_authorization(row) else sign_in,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def read_tools(definitions: Sequence[PinnedTool]) -> list[ServerToolRead]:
    return [
        {
            "name": tool.name,
            "title": tool.accepted.title,
            "description": tool.accepted.description,
            "parameters": tool.accepted.parameters,
            "hints": tool.accepted.hints,
            "changed": {"description": tool.changed.description, "parameters": tool.changed.parameters}
            if tool.changed
            else None,
        }
        for tool in definitions
        if tool.is_listed
    ]


def open_headers(address: Address, ring: KeyRing) -> dict[str, str]:
    """Decrypt the headers. Discard them after the call that needs them."""
    if address.headers is None:
        return {}
    opened: dict[str, str] = orjson.loads(ring.open(address.headers, _place(address.id, address.user_id)))
    return opened


def _seal(headers: Mapping[str, str], server_id: str, user_id: str, ring: KeyRing) -> str | None:
    return ring.seal(orjson.dumps(dict(headers)), _place(server_id, user_id)) if headers else None


def list_sign_ins(session: Session, user_id: str) -> dict[tuple[str, Environment], SignInRead]:
    """Return the person's sign-ins by server URL and environment."""
    rows = session.execute(
        sa.select(
            ToolCredential.service,
            ToolCredential.environment,
            ToolCredential.issuer,
            ToolCredential.scope,
            ToolCredential.expires_at,
            ToolCredential.refresh_token.is_not(None),
            ToolCredential.created_at,
        ).where(ToolCredential.user_id == user_id)
    )
    return {
        (service, environment): {
            "issuer": issuer,
            "scope": scope,
            "expires_at": expires_at,
            "is_renewed": is_renewed,
            "signed_in_at": created_at,
        }
        for service, environment, issuer, scope, expires_at, is_renewed, created_at in rows
    }


def _drop_unused(session: Session, account: Account) -> None:
    """Delete a sign-in that none of the person's servers uses any more."""
    session.flush()
    uses = sa.select(ToolServer.id).where(
        ToolServer.user_id == account.user_id,
        ToolServer.url == account.service,
        ToolServer.environment == account.environment,
    )
    if session.scalars(uses.limit(1)).first() is None:
        delete_credential(session, account)


def _place(server_id: str, user_id: str) -> SealedFor:
    return SealedFor("tool_server", "headers", server_id, user_id)


def announce(session: Session, row: ToolServer, operation: Operation) -> ToolServerRead:
    session.flush()
    session.refresh(row)
    read = read_server(session, row)
    publish(
        session,
        owner_id=row.user_id,
        topic=f"user:{row.user_id}",
        entity=TOOL_SERVER,
        entity_id=row.id,
        operation=operation,
        # Clients request the tools when they need them: a list can have 200 entries.
        payload=read | {"tools": []},
    )
    return read
