"""Two MCP servers of the newest protocol version: one that changes its tools, and one that breaks when it is called."""

import asyncio
import os
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import uvicorn
from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

MEEK = "Say a text again."


class Place(BaseModel):
    city: str
    nights: int


def _which_place() -> Elicit[Place]:
    return Elicit("Where to, and for how long?", Place)


class ChangingServer:
    """Runs over HTTP in a thread. `say` repeats its text, `book` asks the user, and `wait` never ends."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.said: list[str] = []
        self.is_waiting = threading.Event()
        self.was_stopped = threading.Event()
        self.is_away = False
        self.broken_calls: tuple[str, bytes] | None = None  # the encoding and body that answer every tool call
        self._mcp = MCPServer("changing")
        self.describe(MEEK)
        self._mcp.add_tool(self._book, name="book", description="Book a room.")
        self._mcp.add_tool(self._wait, name="wait", description="Wait for ever.")
        self._mcp.add_tool(self._tell, name="tell", description="Tell what it was sent.")
        app = self._mcp.streamable_http_app()

        async def seen(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
                if self.is_away:
                    await send({"type": "http.response.start", "status": 503, "headers": []})
                    await send({"type": "http.response.body", "body": b"away"})
                    return
                if self.broken_calls is not None and self.headers[-1].get("mcp-method") == "tools/call":
                    packed, body = self.broken_calls
                    kind = [(b"content-type", b"application/json"), (b"content-encoding", packed.encode())]
                    await send({"type": "http.response.start", "status": 200, "headers": kind})
                    await send({"type": "http.response.body", "body": body})
                    return
            await app(scope, receive, send)

        config = uvicorn.Config(seen, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=1)
        from tests.fakes.closing_server import ClosingServer  # this file also runs alone, as a tool server

        self._server = ClosingServer(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self.origin = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        self.url = f"{self.origin}/mcp"

    def describe(self, description: str) -> None:
        """Change the description of `say`."""
        if self._mcp._tool_manager.get_tool("say") is not None:
            self._mcp.remove_tool("say")
        self._mcp.add_tool(self._say, name="say", description=description)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    def _say(self, text: str) -> str:
        self.said.append(text)
        return f"You said: {text}"

    def _tell(self) -> str:
        raise ToolError(f"I was called with {self.headers[-1].get('authorization')}")

    async def _book(self, place: Annotated[Place, Resolve(_which_place)]) -> str:
        return f"{place.nights} nights in {place.city}"

    async def _wait(self, ctx: Context) -> str:
        self.is_waiting.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            self.was_stopped.set()
            raise
        return "done"


def breaking_server() -> MCPServer:
    """Return the server that this file runs over standard input and output."""
    server = MCPServer("breaking")

    @server.tool()
    def fall_over() -> str:
        """End in the middle of a call."""
        os._exit(3)

    @server.tool()
    def hang() -> str:
        """Create the file named by HANGS, and never answer."""
        Path(os.environ["HANGS"]).touch()
        time.sleep(600)
        return "never"

    @server.tool()
    def environment() -> str:
        """Return the process id and the names of the environment variables."""
        return " ".join([str(os.getpid()), *sorted(os.environ)])

    @server.tool()
    def fail() -> str:
        """Report a failure."""
        raise ToolError("the tank is empty")

    return server


if __name__ == "__main__":
    print("a line for the log", file=sys.stderr)
    breaking_server().run()
