"""A web server that leaves no connection open when it stops."""

import asyncio
import socket

import uvicorn


class ClosingServer(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as uvicorn does, and end the connections that came in meanwhile, which it leaves open."""
        await super().shutdown(sockets)
        await asyncio.sleep(0)  # those that were just accepted begin
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
