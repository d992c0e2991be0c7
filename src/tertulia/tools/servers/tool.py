"""Offer a tool of an MCP server. Its risk is always high: a server's claims about itself decide nothing."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from typing_extensions import override

from tertulia.tools.protocol import (
    Described,
    Environment,
    OfferedTool,
    Risk,
    Tool,
    ToolChanged,
    ToolContext,
    ToolResult,
)
from tertulia.tools.servers.definitions import PinnedTool
from tertulia.tools.servers.port import Listing, Open

Listed = Callable[[ToolContext, Listing], Awaitable[None]]


@dataclass(frozen=True)
class Server:
    """How to reach a server, and the callback that receives a changed listing."""

    name: str
    origin: str  # identifies the server: id and URL, or the operator's URL or command
    open: Open
    listed: Listed
    environment: Environment
    cost_per_call: Decimal = Decimal(0)
    is_parallel_safe: bool = True


class ServerTool(Tool):
    risk = Risk.HIGH

    def __init__(self, server: Server, pinned: PinnedTool) -> None:
        self.name = pinned.name
        self.description = pinned.accepted.description
        self.parameters = pinned.accepted.parameters
        self.title = pinned.accepted.title
        self.hints = pinned.accepted.hints
        self.is_parallel_safe = server.is_parallel_safe
        self._server = server
        self._now = pinned.changed or pinned.accepted

    @override
    def estimate_cost(self, arguments: Mapping[str, Any]) -> Decimal | None:
        """Return the cost per call that the server's owner entered. The protocol has no field for it."""
        return self._server.cost_per_call

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        """Call the tool. Raises ToolChanged, before calling, if its definition is not the approved one."""
        async with self._server.open(context.ask) as session:
            listing = await session.list_tools()
            now = dict(listing).get(self.name)
            if now is None or not now.is_same(self._now):
                await self._server.listed(context, listing)
                if now is None:
                    raise ToolChanged(f"{self._server.name} no longer offers {self.name}. Nothing was called.")
                raise ToolChanged(
                    f"{self._server.name} has changed the definition of {self.name} since this was approved, so it was "
                    "not called. If the model calls it again, the person can review the change."
                )
            return await session.call_tool(self.name, arguments)


def offer(server: Server, pinned: PinnedTool) -> OfferedTool:
    changed = pinned.changed
    return OfferedTool(
        ServerTool(server, pinned),
        server.name,
        server.origin,
        server.environment,
        Described(changed.description, changed.parameters) if changed else None,
    )
