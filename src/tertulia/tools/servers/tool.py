"""A tool of an MCP server, as a tool among others. It is always of high risk: what a server says of itself decides nothing."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

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
    """How one server is reached, and who is told what it offers now."""

    name: str
    origin: str  # its address, or how it is started
    open: Open
    listed: Listed
    environment: Environment
    cost_per_call: Decimal = Decimal(0)
    runs_beside_others: bool = True


class ServerTool(Tool):
    risk = Risk.HIGH

    def __init__(self, server: Server, pinned: PinnedTool) -> None:
        self.name = pinned.name
        self.description = pinned.accepted.description
        self.parameters = pinned.accepted.parameters
        self.title = pinned.accepted.title
        self.hints = pinned.accepted.hints
        self.runs_beside_others = server.runs_beside_others
        self._server = server
        self._now = pinned.changed or pinned.accepted

    def estimate_cost(self, arguments: Mapping[str, Any]) -> Decimal | None:
        """What its owner says that a call costs: the protocol has no word for it."""
        return self._server.cost_per_call

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        """Raises ToolChanged where it is not described as it was when the call was approved: then it was not made."""
        async with self._server.open(context.ask) as session:
            listing = await session.list_tools()
            now = dict(listing).get(self.name)
            if now is None or not now.is_same(self._now):
                await self._server.listed(context, listing)
                if now is None:
                    raise ToolChanged(f"{self._server.name} does not offer {self.name} any more. Nothing was called.")
                raise ToolChanged(
                    f"{self._server.name} describes {self.name} in another way than when this was approved, so it was not "
                    "called. Asked anew, the person can look at what changed."
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
