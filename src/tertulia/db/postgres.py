"""PostgreSQL: units of work through asyncpg, with signals between processes by LISTEN and NOTIFY."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from tertulia.db.database import Database, run_unit, signals_of, to_storage_error
from tertulia.errors import StorageUnavailable

P = ParamSpec("P")
T = TypeVar("T")
CHANNEL = "tertulia"
MESSAGES = "tertulia_messages"
# Serialization failure, deadlock, or a lock, a statement or a pause that took too long: the work was rolled back and can
# be run again.
RETRIABLE = ("40001", "40P01", "55P03", "25P03", "57014")
QUERY_CANCELED = "57014"
TRIES = 4
CLOSE_S = 10
# A process that is frozen or cut off within a transaction holds up the live updates of all others, because they read
# only below the oldest running transaction. So the server ends transactions of ours that do not go on. No unit of work
# waits for anything else within its transaction.
SESSION_SETTINGS = {
    "application_name": "tertulia",
    "idle_in_transaction_session_timeout": "3s",
    "statement_timeout": "5s",
    "lock_timeout": "2s",  # statements of a frozen process that wait for one another's locks must not add up
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "5s",
}
COMMAND_S = 10.0  # the longest wait for an answer of a server that is frozen itself
_NOTIFY = sa.text("SELECT pg_notify(:channel, signal) FROM unnest(CAST(:signals AS text[])) AS signal").bindparams(
    sa.bindparam("signals", type_=sa.ARRAY(sa.Text()))
)
log = logging.getLogger(__name__)


class PostgresDatabase(Database):
    dialect_name = "postgresql"

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self._engine = create_async_engine(
            url.replace("postgresql://", "postgresql+asyncpg://", 1),
            pool_size=10,
            max_overflow=10,
            pool_timeout=10,
            pool_pre_ping=True,
            hide_parameters=True,  # what people wrote belongs into no log
            connect_args={"timeout": 5, "command_timeout": COMMAND_S, "server_settings": SESSION_SETTINGS},
        )
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._listening: asyncio.Task[None] | None = None
        self._writing: set[asyncio.Future[Any]] = set()

    async def start(self) -> None:
        async with self._engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))
        self._listening = asyncio.create_task(self._listen_forever(), name="listen")

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        # A unit whose caller was cancelled may still be committing, so wait before its connection is closed.
        if self._writing:
            await asyncio.wait(self._writing, timeout=CLOSE_S)
        await self._engine.dispose()

    async def read(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        for attempt in range(TRIES):
            try:
                async with self._reading.connect() as connection:
                    return await connection.run_sync(lambda sync: work(Session(sync, autoflush=False), *args, **kwargs))
            except Exception as error:
                if _took_too_long(error):
                    raise StorageUnavailable from error
                if not _was_cut_off(error) or attempt == TRIES - 1:
                    seen = to_storage_error(error)
                    raise seen from seen.__cause__
        raise AssertionError("unreachable: the last try returns or raises")

    async def write(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        # Shielded: once started, a unit is committed or rolled back, even if its caller is cancelled.
        writing = asyncio.ensure_future(self._write(lambda session: work(session, *args, **kwargs)))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        return await asyncio.shield(writing)

    async def _write(self, work: Callable[[Session], T]) -> T:
        for attempt in range(TRIES):
            is_committing = False
            try:
                async with self._engine.begin() as connection:
                    result = await connection.run_sync(_one_unit, work)
                    is_committing = True
                return result
            except exc.DBAPIError as error:
                # If the connection was lost before the commit was sent, nothing was stored.
                is_rolled_back = not is_committing and _was_cut_off(error)
                is_retriable = is_rolled_back or getattr(error.orig, "sqlstate", None) in RETRIABLE
                if not is_retriable:
                    seen = to_storage_error(error)
                    raise seen from seen.__cause__
                if attempt == TRIES - 1:
                    log.warning("a unit was ended %d times", TRIES, exc_info=error)
                    raise StorageUnavailable from error
            except Exception as error:
                seen = to_storage_error(error)
                raise seen from seen.__cause__
        raise AssertionError("unreachable: the last try returns or raises")

    async def _listen_forever(self) -> None:
        """Listen for the signals of all processes, including this one. After a reconnect, send every signal once."""
        while True:
            try:
                connection = await asyncpg.connect(self.url, timeout=5)
                lost = asyncio.Event()
                connection.add_termination_listener(lambda _, lost=lost: lost.set())
                await connection.add_listener(CHANNEL, self._heard)
                await connection.add_listener(MESSAGES, self._heard_message)
                self._tell({"changes", "runs", "shares", "files", "imports"})
                try:
                    await lost.wait()
                finally:
                    await connection.close(timeout=1)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                log.warning("cannot listen to the database: %s", error)
            await asyncio.sleep(0.5)

    def _heard(self, _connection: Any, _process: int, _channel: str, payload: str) -> None:
        self._tell({payload})

    def _heard_message(self, _connection: Any, _process: int, _channel: str, payload: str) -> None:
        for listener in self._message_listeners:
            listener(payload)

    async def send_message(self, text: str) -> None:
        try:
            async with self._engine.connect() as connection:
                await connection.execute(
                    sa.text("SELECT pg_notify(:channel, :text)"), {"channel": MESSAGES, "text": text}
                )
                await connection.commit()
        except Exception as error:
            seen = to_storage_error(error)
            raise seen from seen.__cause__


def _was_cut_off(error: Exception) -> bool:
    """Return whether the server ended the connection, as it does with a transaction that did not go on in time."""
    return isinstance(error, exc.DBAPIError) and error.connection_invalidated


def _took_too_long(error: Exception) -> bool:
    """Return whether the server ended a statement after its time limit, as on a machine that is overloaded."""
    return isinstance(error, exc.DBAPIError) and getattr(error.orig, "sqlstate", None) == QUERY_CANCELED


def _one_unit(connection: sa.Connection, work: Callable[[Session], T]) -> T:
    session = Session(connection, join_transaction_mode="rollback_only", expire_on_commit=False)
    result = run_unit(session, work)
    signals = sorted(signals_of(session))
    if signals:
        # Part of the transaction: delivered when it commits, and never without it.
        session.execute(_NOTIFY, {"channel": CHANNEL, "signals": signals})
    return result
