"""The tools of each person: built-in and installed ones, the operator's servers, and the person's own servers."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import httpx
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.db import Database
from tertulia.errors import AppError
from tertulia.ids import ToolServerId
from tertulia.keyring import KeyRing
from tertulia.tools.protocol import OfferedTool, Tool, ToolContext
from tertulia.tools.servers import service
from tertulia.tools.servers.credentials import Credentials
from tertulia.tools.servers.grants import EnteredClient
from tertulia.tools.servers.models import ToolServer
from tertulia.tools.servers.operator import OperatorServer
from tertulia.tools.servers.port import Ask, Listing, Open, ScopeWanted, ServerSession, SignInWanted
from tertulia.tools.servers.schemas import ToolServerRead, ToolSignInFinish, ToolSignInRead
from tertulia.tools.servers.sign_in import SignInRequest, begin_sign_in, finish_sign_in
from tertulia.tools.servers.tool import Listed, Server, offer
from tertulia.tools.tool_set import ToolSet, check_tools

FIRST_READ_S = 10.0


class ToolCatalogue:
    def __init__(
        self,
        db: Database,
        ring: KeyRing,
        tools: Iterable[Tool],
        operator: Sequence[OperatorServer],
        client: httpx.AsyncClient,
    ) -> None:
        """Use `client` for URLs that people entered: it refuses private networks (http/outbound.py)."""
        self.ring = ring
        self._db = db
        self._here = check_tools(tools)
        self._operator = list(operator)
        self._client = client
        self._credentials = Credentials(db, ring, client)
        self._keeping: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._keeping = [
            asyncio.create_task(server.keep_reading(), name=f"tools-of-{server.name}") for server in self._operator
        ]

    async def close(self) -> None:
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        await asyncio.gather(*(server.close() for server in self._operator), return_exceptions=True)
        await self._credentials.close()

    def names_taken(self) -> list[str]:
        return [server.name for server in self._operator]

    def operators(self) -> list[ToolServerRead]:
        return [server.read() for server in self._operator]

    async def first_read(self) -> None:
        """Wait up to FIRST_READ_S for operator servers that have not been contacted since the start."""
        waits = [asyncio.create_task(server.tried.wait()) for server in self._operator if not server.tried.is_set()]
        if waits:
            await asyncio.wait(waits, timeout=FIRST_READ_S)
            for task in waits:
                task.cancel()

    def is_away(self, server: str | None) -> bool:
        """Return whether this is an operator server that has not listed its tools yet. They may still exist."""
        return any(known.name == server and not known.is_known for known in self._operator)

    def load(self, session: Session, user_id: str) -> ToolSet:
        """Return a person's tools as currently known, without contacting a server."""
        own = [tool for row in service.load_servers(session, user_id) if row.is_active for tool in self._offered(row)]
        return ToolSet([*self._here, *(tool for server in self._operator for tool in server.offered()), *own])

    def load_digests(self, session: Session, actor: Actor) -> Mapping[str, str]:
        """Return the digest of each tool's current definition, by tool key."""
        return self.load(session, actor.user_id).digests()

    async def of(self, user_id: str) -> ToolSet:
        await self.first_read()
        return await self._db.read(self.load, user_id)

    async def read_server(self, server_id: str, *, actor: Actor) -> None:
        """List the tools of a person's server, and store the listing or the error. Raises ToolServerNotFound."""
        address = await self._db.read(_own_address, server_id, actor)
        listing: Listing | None = None
        problem: AppError | None = None
        try:
            async with self._opened(address, None) as session:
                listing = await session.list_tools()
        except AppError as error:
            problem = error
        await self._db.write(service.store_listing, server_id, address.url, listing, problem)

    async def begin_sign_in(
        self,
        request: SignInRequest,
        registered_client: EnteredClient | None,
        *,
        redirect_uri: str,
        metadata_url: str | None,
        actor: Actor,
    ) -> ToolSignInRead:
        """Start a sign-in and return where to send the person. Raises ToolSignInFailed, AddressRefused."""
        return await begin_sign_in(
            self._db,
            self.ring,
            self._client,
            request,
            registered_client,
            redirect_uri=redirect_uri,
            metadata_url=metadata_url,
            actor=actor,
        )

    async def finish_sign_in(self, callback: ToolSignInFinish, *, actor: Actor) -> str:
        """Store the tokens of a finished sign-in, then list the server's tools. Return the server's id.

        Raises ToolSignInGone, ToolSignInFailed.
        """
        server_id = await finish_sign_in(self._db, self.ring, self._client, callback, actor)
        await self.read_server(server_id, actor=actor)
        return server_id

    def _offered(self, row: ToolServer) -> list[OfferedTool]:
        address = service.address_of(row)
        server = Server(
            row.name,
            f"{row.id} {row.url}",
            self._way_to(address),
            _keeper(address),
            row.environment,
            row.cost_per_call,
        )
        return [offer(server, pinned) for pinned in row.definitions if pinned.is_listed]

    def _way_to(self, address: service.Address) -> Open:
        @asynccontextmanager
        async def opened(ask: Ask | None) -> AsyncIterator[ServerSession]:
            try:
                async with self._opened(address, ask) as session:
                    yield session
            except (SignInWanted, ScopeWanted) as error:
                await self._db.write(service.store_error, address, error)
                raise

        return opened

    @asynccontextmanager
    async def _opened(self, address: service.Address, ask: Ask | None) -> AsyncIterator[ServerSession]:
        from tertulia.tools.servers.connection import connect

        account = address.account
        tokens = partial(self._credentials.token, account, address.name) if account is not None else None
        headers = service.open_headers(address, self.ring)
        async with connect(address.name, address.url, headers, self._client, ask, tokens) as session:
            yield session


def _keeper(address: service.Address) -> Listed:
    async def keep(context: ToolContext, listing: Listing) -> None:
        await context.write(service.store_listing, address.id, address.url, listing, None)

    return keep


def _own_address(session: Session, server_id: str, actor: Actor) -> service.Address:
    return service.address_of(service.get_server(session, actor, ToolServerId(server_id)))
