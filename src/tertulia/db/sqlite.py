"""SQLite: one writer thread that commits in batches, and a few readers. See docs/adr/0003-write-through-one-thread-with-group-commit.md."""

import asyncio
import logging
import queue
import secrets
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from tertulia.db.database import Database, run_unit, signals_of, to_storage_error
from tertulia.db.sqlite_file import remove_checksums, require_sound, write_checksums
from tertulia.errors import StorageUnavailable

P = ParamSpec("P")
T = TypeVar("T")
BATCH = 64
READERS = 3
log = logging.getLogger(__name__)


def sqlite_engine(path: Path, *, writes: bool, busy_timeout_s: int = 5) -> sa.Engine:
    """Create an engine whose connections set the pragmas below and issue BEGIN themselves.

    `busy_timeout_s` is how long to wait while another process writes.

    The driver's own transactions start too late and lose updates, so it runs in autocommit mode.
    """
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),  # a path may contain % and ?
        poolclass=NullPool,
        connect_args={"isolation_level": None, "check_same_thread": False},
        hide_parameters=True,  # what people wrote belongs into no log
    )
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _: object) -> None:
        for pragma in (
            "journal_mode = WAL",
            "foreign_keys = ON",
            # FULL: a power cut loses no acknowledged commit. Group commit makes up for the cost. Readers do not write.
            f"synchronous = {'FULL' if writes else 'NORMAL'}",
            f"busy_timeout = {busy_timeout_s * 1000}",
            "temp_store = MEMORY",
            "cache_size = -16000",
            "journal_size_limit = 67108864",
            # Only the writer checkpoints, which avoids the WAL-reset bug of SQLite before 3.51.3.
            f"wal_autocheckpoint = {1000 if writes else 0}",
            f"query_only = {'OFF' if writes else 'ON'}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


@dataclass
class Unit:
    """The work of one caller, and its result or error."""

    work: Callable[[Session], Any]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    result: Any = None
    error: BaseException | None = None
    signals: set[str] = field(default_factory=set)


class SqliteDatabase(Database):
    dialect_name = "sqlite"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._queue: queue.SimpleQueue[Unit | None] = queue.SimpleQueue()
        self._local = threading.local()
        self._connections: list[sa.Connection] = []
        self._writer: threading.Thread | None = None
        self._is_damaged = True  # until it was checked: a damaged file gets no checksums
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")

    @property
    def is_writing(self) -> bool:
        return self._writer is not None and self._writer.is_alive()

    async def start(self) -> None:
        """Start the writer. Raises DatabaseDamaged, before anything is written."""
        await asyncio.to_thread(require_sound, self.path, checks_pages=True)
        remove_checksums(self.path)
        self._is_damaged = False
        self._reading = sqlite_engine(self.path, writes=False)
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writer = threading.Thread(
            target=self._write_forever, args=(asyncio.get_running_loop(), ready), name="writer"
        )
        self._writer.start()
        await ready

    async def close(self) -> None:
        """Finish the queued work, then close. The last connection checkpoints."""
        self._queue.put(None)
        if self._writer is not None:
            await asyncio.to_thread(self._writer.join)
        self._readers.shutdown(wait=True)
        for connection in self._connections:
            connection.close()
        if not self._is_damaged:
            await asyncio.to_thread(write_checksums, self.path)

    async def read(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, self._read, lambda session: work(session, *args, **kwargs)
        )

    async def read_hot(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        # Passing a read to a thread and back costs several times as much as an indexed read (docs/adr/0003).
        return self._read(lambda session: work(session, *args, **kwargs))

    async def write(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put(Unit(lambda session: work(session, *args, **kwargs), loop, future))
        # The unit is committed even if its caller is cancelled, so the caller must not cancel its future.
        return await asyncio.shield(future)

    def _read(self, work: Callable[[Session], T]) -> T:
        try:
            if not hasattr(self._local, "connection"):
                self._local.connection = self._reading.connect()
                self._connections.append(self._local.connection)
            connection: sa.Connection = self._local.connection
            with connection.begin():
                return work(Session(connection, autoflush=False))
        except Exception as error:
            seen = to_storage_error(error)
            raise seen from seen.__cause__

    def _write_forever(self, loop: asyncio.AbstractEventLoop, ready: "asyncio.Future[None]") -> None:
        try:
            connection = sqlite_engine(self.path, writes=True).connect()
            _identify(_driver_of(connection))
        except Exception as error:
            loop.call_soon_threadsafe(ready.set_exception, error)
            return
        loop.call_soon_threadsafe(ready.set_result, None)
        while batch := self._gather():
            try:
                self._commit(connection, batch)
            except Exception as error:
                # The connection can no longer be used. A new one sees the last committed state.
                log.exception("the writer failed and opens a new connection")
                for unit in batch:
                    unit.result, unit.error = None, to_storage_error(error)
                connection.invalidate()
                connection.close()
                connection = sqlite_engine(self.path, writes=True).connect()
            batch[0].loop.call_soon_threadsafe(self._answer, batch)
        connection.close()

    def _gather(self) -> list[Unit]:
        """Wait for one unit, then add those queued behind it, up to a batch. Empty when the database closes."""
        first = self._queue.get()
        units = [first] if first is not None else []
        while units and len(units) < BATCH:
            try:
                unit = self._queue.get_nowait()
            except queue.Empty:
                break
            if unit is None:
                self._queue.put(None)
                break
            units.append(unit)
        return units

    def _commit(self, connection: sa.Connection, batch: list[Unit]) -> None:
        """Commit the batch in one transaction or, if that fails, each unit in its own."""
        if not self._attempt(connection, batch) and len(batch) > 1:
            for unit in batch:
                unit.result, unit.error, unit.signals = None, None, set()
                self._attempt(connection, [unit])

    def _attempt(self, connection: sa.Connection, units: list[Unit]) -> bool:
        """Run the units in one transaction, each in a savepoint. Return False if it was rolled back after it began."""
        alone = len(units) == 1
        driver = _driver_of(connection)
        try:
            transaction = connection.begin()
        except Exception as error:
            # The database cannot be written to now, so trying each unit alone would only take longer.
            for unit in units:
                unit.error = to_storage_error(error)
            _give_up(connection)
            return True
        try:
            for unit in units:
                if not alone:
                    driver.execute("SAVEPOINT unit")
                session = Session(connection, join_transaction_mode="rollback_only", expire_on_commit=False)
                try:
                    unit.result = run_unit(session, unit.work)
                    unit.signals = signals_of(session)
                    if not alone:
                        driver.execute("RELEASE unit")
                except Exception as error:
                    unit.error = to_storage_error(error)
                    if alone or not driver.in_transaction:
                        # SQLite rolls back the whole transaction on some errors, such as a full disk.
                        _give_up(connection)
                        return False
                    driver.execute("ROLLBACK TO unit")
                    driver.execute("RELEASE unit")
            transaction.commit()
        except Exception as error:
            _give_up(connection)
            for unit in units:
                unit.error = unit.error or to_storage_error(error)
            return False
        return True

    def _answer(self, batch: list[Unit]) -> None:
        """Deliver results and signals, on the event loop after the commit."""
        signals: set[str] = set()
        for unit in batch:
            if unit.error is None:
                signals |= unit.signals
            if unit.future.done():
                continue
            if unit.error is None:
                unit.future.set_result(unit.result)
            else:
                unit.future.set_exception(unit.error)
                unit.future.exception()  # mark it as retrieved: a cancelled caller never does
        self._tell(signals)


def _identify(driver: sqlite3.Connection) -> None:
    """Give a new database a random id, by which its log is told from that of another database."""
    if driver.execute("PRAGMA application_id").fetchone() == (0,):
        driver.execute(f"PRAGMA application_id = {secrets.randbits(30) + 1}")
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _driver_of(connection: sa.Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _give_up(connection: sa.Connection) -> None:
    """Reset the connection from any state, so that a new transaction can begin. Raises StorageUnavailable."""
    try:
        connection.rollback()
    except Exception:
        log.exception("rollback failed")
    driver = _driver_of(connection)
    if driver.in_transaction:
        try:
            driver.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise StorageUnavailable() from error
