"""What the rest needs of a connection to a server. The protocol's own package takes half a second to load, so it is loaded
when the first server is spoken to: connection.py and process.py alone import it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from tertulia.tools.protocol import Question, Reply, ToolFailed, ToolResult
from tertulia.tools.servers.definitions import Definition

Listing = Sequence[tuple[str, Definition]]  # the tools of a server by their names, in its order
Ask = Callable[[Question], Awaitable[Reply]]


class ServerFailed(ToolFailed):
    """A server that cannot be reached, or does not speak as it should, before anything was asked of it."""

    code = "tool_server_failed"


class SignInWanted(ServerFailed):
    """It asks whoever calls to sign in with it, first or again. Nothing was asked of it."""

    code = "tool_server_sign_in"

    def __init__(self, name: str, *, again: bool = False) -> None:
        how = "does not know you any more. Sign in to it again." if again else "asks you to sign in to it first."
        super().__init__(f"{name} {how}")


class ScopeWanted(ServerFailed):
    """It knows who calls, and wants to be asked for more than it was at the sign-in. Nothing was done."""

    code = "tool_server_sign_in"

    def __init__(self, name: str, scope: str) -> None:
        super().__init__(f"{name} wants you to allow more for this. Sign in to it again.")
        self.scope = scope


class ServerSession(Protocol):
    """A connection to a server, for one use."""

    async def list_tools(self) -> Listing:
        """What it offers; what no model could be offered is left out."""
        ...

    async def call_tool(self, tool_name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Raises ToolFailed in the server's words, OutcomeUnknown where the connection ended meanwhile."""
        ...


Open = Callable[[Ask | None], AbstractAsyncContextManager[ServerSession]]
