"""MCP servers that run as processes, from the operator's settings. They start on demand and stop when idle."""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import IO, TextIO, cast

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tertulia.tools.protocol import OutcomeUnknown, Question, Reply, ToolFailed
from tertulia.tools.servers.connection import CONNECT_S, Session, client_info, elicitation, first_of
from tertulia.tools.servers.port import Ask, ServerFailed, ServerSession

IDLE_S = 300.0
BUSY_S = 20.0  # longest wait for other calls
MAX_PROCESSES = 4  # per program; all but one of them wait for a person's answer
ALIVE_S = 5.0
TOLD_BYTES = 2000  # of the end of a failed process's standard error
log = logging.getLogger(__name__)


@dataclass
class _Running:
    """A process with its connection. A separate task holds both: the task that opens a connection must close it."""

    ready: asyncio.Future[Client]
    wanted: asyncio.Event = field(default_factory=asyncio.Event)  # set to stop the process
    holder: asyncio.Task[None] | None = None


class ServerProgram:
    """A program with one process, and up to MAX_PROCESSES while others wait for people's answers."""

    def __init__(self, begin: "Callable[[], ServerProcess]") -> None:
        self._begin = begin
        self._processes: list[ServerProcess] = []

    @asynccontextmanager
    async def connect(self, ask: Ask | None) -> AsyncIterator[ServerSession]:
        """Open a connection for one use. Raises ServerFailed."""
        async with self._least_busy().connect(ask) as session:
            yield session

    async def close(self) -> None:
        await asyncio.gather(*(process.close() for process in self._processes))

    def _least_busy(self) -> "ServerProcess":
        for fits in (ServerProcess.is_free, ServerProcess.is_at_work):
            for process in self._processes:
                if fits(process):
                    return process
        if len(self._processes) < MAX_PROCESSES:
            self._processes.append(self._begin())
        return self._processes[-1]


class ServerProcess:
    """One process that handles one call at a time, so that its questions go to the person behind that call."""

    def __init__(
        self, name: str, command: str, args: Sequence[str], env: Mapping[str, str], folder: str | None
    ) -> None:
        """Prepare the process; `connect` starts it. Its environment is `env` and shell basics, not Tertulia's."""
        self._name = name
        self._parameters = StdioServerParameters(command=command, args=list(args), env=dict(env), cwd=folder)
        self._lock = asyncio.Lock()
        self._running: _Running | None = None
        self._ask: Ask | None = None
        self._is_asking = False
        self._idle: asyncio.TimerHandle | None = None

    def is_free(self) -> bool:
        return not self._lock.locked()

    def is_at_work(self) -> bool:
        """Return whether the process is not waiting for a person's answer."""
        return not self._is_asking

    @asynccontextmanager
    async def connect(self, ask: Ask | None) -> AsyncIterator[ServerSession]:
        """Open a connection for one use. Stops the process if it fails or is interrupted. Raises ServerFailed."""
        try:
            async with asyncio.timeout(BUSY_S):
                await self._lock.acquire()
        except TimeoutError:
            raise ServerFailed(f"{self._name} is busy with another call. Nothing was called. Try again.") from None
        try:
            if self._idle is not None:
                self._idle.cancel()
            client = await self._opened_and_alive()
            self._ask = ask
            try:
                yield Session(self._name, client)
            except (ServerFailed, OutcomeUnknown):
                await self._end()
                raise
            except ToolFailed:
                raise  # the process works; the tool reported a failure
            except BaseException:
                await self._end()
                raise
            finally:
                self._ask = None
                self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._end_soon)
        finally:
            self._lock.release()

    async def _opened_and_alive(self) -> Client:
        """Return the client of a live process. A process that died while idle is restarted."""
        was_running = self._running is not None
        client = await self._opened()
        if was_running:
            try:
                async with asyncio.timeout(ALIVE_S):
                    await client.list_tools()
            except Exception:
                await self._end()
                client = await self._opened()
        return client

    async def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        await self._end()

    async def _opened(self) -> Client:
        if self._running is not None and (self._running.holder is None or self._running.holder.done()):
            self._running = None
        if self._running is None:
            self._running = _Running(asyncio.get_running_loop().create_future())
            self._running.holder = asyncio.create_task(self._hold(self._running), name=f"tool-server-{self._name}")
        try:
            async with asyncio.timeout(CONNECT_S):
                return await asyncio.shield(self._running.ready)
        except TimeoutError:
            await self._end()
            raise ServerFailed(f"{self._name} did not answer within {CONNECT_S:.0f} seconds.") from None
        except BaseException:
            await self._end()
            raise

    async def _hold(self, running: _Running) -> None:
        with tempfile.TemporaryFile() as stderr:
            try:
                async with Client(
                    stdio_client(self._parameters, errlog=cast(TextIO, stderr)),
                    client_info=client_info(),
                    elicitation_callback=elicitation(self._on_question),
                    cache=None,
                ) as client:
                    running.ready.set_result(client)
                    await running.wanted.wait()
            except asyncio.CancelledError:
                running.ready.cancel()
                raise
            except Exception as error:
                first = first_of(error)
                log.warning("the tool server %s failed: %s; standard error: %s", self._name, first, _tail(stderr))
                if not running.ready.done():
                    message = (
                        f"{self._name} cannot be started, or is not an MCP server. See Tertulia's log for details."
                    )
                    running.ready.set_exception(ServerFailed(message))
                    running.ready.exception()  # retrieved, so that asyncio does not warn that it never was

    async def _on_question(self, question: Question) -> Reply:
        if self._ask is None:
            return Reply("cancel")
        self._is_asking = True
        try:
            return await self._ask(question)
        finally:
            self._is_asking = False

    def _end_soon(self) -> None:
        if not self._lock.locked():
            running, self._running = self._running, None
            if running is not None:
                running.wanted.set()

    async def _end(self) -> None:
        running, self._running = self._running, None
        if running is None or running.holder is None:
            return
        running.wanted.set()
        if not running.ready.done():
            running.holder.cancel()
        await asyncio.wait({running.holder}, timeout=10)


def _tail(stderr: IO[bytes]) -> str:
    end = stderr.seek(0, 2)
    stderr.seek(max(0, end - TOLD_BYTES))
    return stderr.read().decode("utf-8", "replace")
