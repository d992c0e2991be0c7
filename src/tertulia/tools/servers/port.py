"""The interface of a connection to a server.

The `mcp` package takes half a second to load. Modules that use it are imported only when a server is contacted.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from tertulia.tools.protocol import Question, Reply, ToolFailed, ToolResult
from tertulia.tools.servers.definitions import Definition

Listing = Sequence[tuple[str, Definition]]  # a server's tools with their names, in the server's order
Ask = Callable[[Question], Awaitable[Reply]]


class ServerFailed(ToolFailed):
    """The server cannot be reached or breaks the protocol. No call was sent."""

    code = "tool_server_failed"


class SignInWanted(ServerFailed):
    """The server requires the person to sign in, for the first time or again. No call was made."""

    code = "tool_server_sign_in"

    def __init__(self, name: str, *, again: bool = False) -> None:
        how = (
            "no longer accepts your sign-in. Sign in to it again." if again else "requires you to sign in to it first."
        )
        super().__init__(f"{name} {how}")


class ScopeWanted(ServerFailed):
    """The server accepts the caller, but the sign-in lacks a scope. No call was made."""

    code = "tool_server_sign_in"

    def __init__(self, name: str, scope: str) -> None:
        super().__init__(f"{name} needs more permissions for this. Sign in to it again.")
        self.scope = scope


class ServerSession(Protocol):
    """A connection to a server, for one use."""

    async def list_tools(self) -> Listing:
        """Return the server's tools, without those that cannot be offered to a model."""
        ...

    async def call_tool(self, tool_name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Call a tool. Raises ToolFailed with the server's message, OutcomeUnknown if the connection breaks."""
        ...


Open = Callable[[Ask | None], AbstractAsyncContextManager[ServerSession]]
