"""MCP servers that the operator configures for all users."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from tertulia import clock
from tertulia.errors import AppError
from tertulia.settings import ToolServerConfig
from tertulia.tools.protocol import Environment, OfferedTool, ToolContext
from tertulia.tools.servers.definitions import PinnedTool, accept, pin
from tertulia.tools.servers.port import Ask, Listing, ServerSession
from tertulia.tools.servers.schemas import ToolServerRead
from tertulia.tools.servers.service import read_tools
from tertulia.tools.servers.tool import Server, offer

if TYPE_CHECKING:
    from tertulia.tools.servers.process import ServerProgram

TRY_AGAIN_S = 60.0
READ_AGAIN_S = 3600.0
log = logging.getLogger(__name__)


class OperatorServer:
    """An MCP server from the settings. Its tools are listed at the start and every hour.

    The operator trusts it, so changed definitions are accepted at once. Approvals are still bound to a definition.
    """

    def __init__(self, config: ToolServerConfig, client: httpx.AsyncClient) -> None:
        """Use a `client` that may call private networks, because the operator chose the URL."""
        self._config = config
        self._client = client
        self._tools: list[PinnedTool] = []
        self._listed_at: datetime | None = None
        self._last_error: str | None = None
        self.tried = asyncio.Event()
        self._program: ServerProgram | None = None
        origin = config.url or " ".join([config.command or "", *config.args])
        self._server = Server(
            config.name,
            f"operator: {origin}",
            self._open,
            self._on_listing,
            Environment(config.environment),
            Decimal(config.cost_per_call),
            is_parallel_safe=config.command is None,
        )

    @property
    def name(self) -> str:
        return self._config.name

    @property
    def is_known(self) -> bool:
        """Return whether the server has listed its tools since this process started."""
        return self._listed_at is not None

    def offered(self) -> list[OfferedTool]:
        return [offer(self._server, tool) for tool in self._tools if tool.is_listed]

    def read(self) -> ToolServerRead:
        return {
            "id": None,
            "name": self.name,
            "url": _host_of(self._config.url),
            "header_names": [],
            "cost_per_call": self._config.cost_per_call,
            "is_active": True,
            "tools": read_tools(self._tools),
            "definitions_digest": None,
            "listed_at": self._listed_at,
            "last_error": self._last_error,
            "environment": self._server.environment,
            "requires_sign_in": False,
            "sign_in": None,
            "created_at": None,
            "updated_at": None,
        }

    async def keep_reading(self) -> None:
        while True:
            await self.list()
            await asyncio.sleep(TRY_AGAIN_S if self._last_error else READ_AGAIN_S)

    async def list(self) -> None:
        try:
            async with self._open(None) as session:
                self._take(await session.list_tools())
        except AppError as error:
            self._last_error = error.detail
        except Exception:
            log.exception("could not list the tools of server %s", self.name)
            self._last_error = "The tools could not be listed. See Tertulia's log for details."
        finally:
            self.tried.set()

    async def close(self) -> None:
        if self._program is not None:
            await self._program.close()

    @asynccontextmanager
    async def _open(self, ask: Ask | None) -> AsyncIterator[ServerSession]:
        config = self._config
        if config.url is not None:
            from tertulia.tools.servers.connection import connect

            connection = connect(self.name, config.url, config.headers, self._client, ask)
        else:
            connection = self._started().connect(ask)
        async with connection as session:
            yield session

    def _started(self) -> "ServerProgram":
        if self._program is None:
            from tertulia.tools.servers.process import ServerProcess, ServerProgram

            config = self._config
            assert config.command is not None
            create_process = partial(ServerProcess, config.name, config.command, config.args, config.env, config.folder)
            self._program = ServerProgram(create_process)
        return self._program

    async def _on_listing(self, _context: ToolContext, listing: Listing) -> None:
        self._take(listing)

    def _take(self, listing: Listing) -> None:
        self._tools = accept(pin(self._tools, listing))
        self._listed_at, self._last_error = clock.now(), None


def _host_of(url: str | None) -> str | None:
    """Return the host of a URL. Users do not need the rest, which often contains keys."""
    return urlsplit(url).hostname if url else None
