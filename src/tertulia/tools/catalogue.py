"""Which tools each person has: what is built in or installed, the operator's servers', and those of their own servers."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import httpx
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.db import Database
from tertulia.errors import AppError
from tertulia.ids import ToolServerId
from tertulia.keyring import KeyRing
from tertulia.tools.offered import Toolbox, check_tools
from tertulia.tools.protocol import OfferedTool, Tool, ToolContext
from tertulia.tools.servers import service
from tertulia.tools.servers.models import ToolServer
from tertulia.tools.servers.operator import OperatorServer
from tertulia.tools.servers.port import Ask, Listing, Open, ServerSession
from tertulia.tools.servers.schemas import ToolServerRead
from tertulia.tools.servers.tool import Listed, Server, offer

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
        """`client` is for the addresses of people: it refuses those inside (http/outbound.py)."""
        self.ring = ring
        self._db = db
        self._here = check_tools(tools)
        self._operator = list(operator)
        self._client = client
        self._keeping: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._keeping = [asyncio.create_task(one.keep_reading(), name=f"tools-of-{one.name}") for one in self._operator]

    async def close(self) -> None:
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        await asyncio.gather(*(one.close() for one in self._operator), return_exceptions=True)

    def names_taken(self) -> list[str]:
        return [one.name for one in self._operator]

    def operators(self) -> list[ToolServerRead]:
        return [one.read() for one in self._operator]

    async def first_read(self) -> None:
        """Wait a few seconds, at the very start, for servers of the operator that were never tried."""
        waits = [asyncio.create_task(one.tried.wait()) for one in self._operator if not one.tried.is_set()]
        if waits:
            await asyncio.wait(waits, timeout=FIRST_READ_S)
            for task in waits:
                task.cancel()

    def is_away(self, server: str | None) -> bool:
        """Whether a server of the operator's has not said yet what it offers: its tools are not gone."""
        return any(one.name == server and not one.is_known for one in self._operator)

    def load(self, session: Session, user_id: str) -> Toolbox:
        """A person's tools, as they are known at this moment."""
        own = [one for row in service.load_servers(session, user_id) if row.is_active for one in self._offered(row)]
        return Toolbox([*self._here, *(one for server in self._operator for one in server.offered()), *own])

    async def of(self, user_id: str) -> Toolbox:
        await self.first_read()
        return await self._db.read(self.load, user_id)

    async def read_server(self, server_id: str, *, actor: Actor) -> None:
        """Ask a person's server what it offers, and keep that, or why it could not be asked. Raises ToolServerNotFound."""
        address = await self._db.read(_own_address, server_id, actor)
        listing: Listing | None = None
        problem: str | None = None
        try:
            async with self._opened(address, None) as session:
                listing = await session.list_tools()
        except AppError as error:
            problem = error.detail
        await self._db.write(service.store_listing, server_id, address.url, listing, problem)

    def _offered(self, row: ToolServer) -> list[OfferedTool]:
        address = service.address_of(row)
        server = Server(row.name, f"{row.id} {row.url}", self._way_to(address), _keeper(address), row.cost_per_call)
        return [offer(server, one) for one in row.definitions if one.is_listed]

    def _way_to(self, address: service.Address) -> Open:
        return lambda ask: self._opened(address, ask)

    @asynccontextmanager
    async def _opened(self, address: service.Address, ask: Ask | None) -> AsyncIterator[ServerSession]:
        from tertulia.tools.servers.connection import connect

        headers = service.open_headers(address, self.ring)
        async with connect(address.name, address.url, headers, self._client, ask) as session:
            yield session


def _keeper(address: service.Address) -> Listed:
    async def keep(context: ToolContext, listing: Listing) -> None:
        await context.write(service.store_listing, address.id, address.url, listing, None)

    return keep


def _own_address(session: Session, server_id: str, actor: Actor) -> service.Address:
    return service.address_of(service.get_server(session, ToolServerId(server_id), actor=actor))
