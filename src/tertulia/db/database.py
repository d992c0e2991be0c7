"""The interface of both engines: `read` and `write` run a plain function of a Session as one transaction."""

import logging
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import asyncpg
from sqlalchemy import exc
from sqlalchemy.orm import Session

from tertulia.errors import StorageUnavailable

P = ParamSpec("P")
T = TypeVar("T")
SignalListener = Callable[[str], None]
AT_END = "at_end"  # key in session.info of the work for the end of the unit
log = logging.getLogger(__name__)


class Database(ABC):
    """A database that runs units of work. A unit waits for nothing external, may be run again, and only changes data.

    `write` returns when the transaction is committed. Only then are listeners called with its signals.
    """

    dialect_name: str

    def __init__(self) -> None:
        self._listeners: list[SignalListener] = []
        self._message_listeners: list[Callable[[str], None]] = []

    def on_wake(self, listener: SignalListener) -> None:
        """Call `listener(signal)` on the event loop after each commit that called `wake(session, signal)`."""
        self._listeners.append(listener)

    def _tell(self, signals: set[str]) -> None:
        for signal in signals:
            for listener in self._listeners:
                listener(signal)

    def on_message(self, listener: Callable[[str], None]) -> None:
        """Call `listener(text)` on the event loop for every message that a process of this database sends."""
        self._message_listeners.append(listener)

    async def send_message(self, text: str) -> None:
        """Send a text below 8,000 bytes to the listeners of all processes, without storing it. On SQLite: this one."""
        for listener in self._message_listeners:
            listener(text)

    @property
    def is_writing(self) -> bool:
        """Return whether writes are accepted at all. A single write may still fail."""
        return True

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def read(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the work in a transaction that sees one state of the database and changes nothing."""

    async def read_hot(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run like `read`, for index lookups of well under a millisecond. May run on the event loop itself."""
        return await self.read(work, *args, **kwargs)

    @abstractmethod
    async def write(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the work and commit. Raises what the work raises, or StorageUnavailable. Then nothing is stored."""


def wake(session: Session, signal: str) -> None:
    """Send a signal to all processes when this transaction is committed."""
    session.info.setdefault("signals", set()).add(signal)


def at_end(session: Session, work: Callable[[Session], object]) -> None:
    """Run the work at the end of this unit of work, or now if the session belongs to none.

    For rows that many units change: their locks are then held only while the unit is committed.
    """
    pending = session.info.get(AT_END)
    if pending is None:
        work(session)
    else:
        pending.append(work)


def run_unit(session: Session, work: Callable[[Session], T]) -> T:
    """Run a unit of work, and then what it left for its end."""
    pending: list[Callable[[Session], object]] = []
    session.info[AT_END] = pending
    result = work(session)
    for later in pending:
        later(session)
    session.flush()
    return result


def signals_of(session: Session) -> set[str]:
    signals: set[str] = session.info.get("signals", set())
    return signals


def to_storage_error(error: BaseException) -> BaseException:
    """Convert errors of a full, locked, unreachable or damaged database to StorageUnavailable. Others stay."""
    driver_error = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.IntegrityError)
    unreachable = isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError | OSError)
    refused = isinstance(error, asyncpg.PostgresError)  # while connecting; SQLAlchemy wraps later ones
    lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    if driver_error or unreachable or refused or lost:
        log.error("storage unavailable", exc_info=error)
        unavailable = StorageUnavailable()
        unavailable.__cause__ = error
        return unavailable
    return error
