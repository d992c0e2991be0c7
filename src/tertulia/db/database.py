"""What both engines promise: `read` and `write` run a plain function of a Session as one transaction."""

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
WakeListener = Callable[[str], None]
log = logging.getLogger(__name__)


class Database(ABC):
    """A unit of work gets a session, waits for nothing outside, and may be run again: it has no effect but on the data.

    `write` returns when the transaction is committed, and only then are listeners told of its signals.
    """

    dialect_name: str

    def __init__(self) -> None:
        self._listeners: list[WakeListener] = []
        self._message_listeners: list[Callable[[str], None]] = []

    def on_wake(self, listener: WakeListener) -> None:
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
        """Tell the listeners of every process, without storing it: below 8,000 bytes. On SQLite this one is the only one."""
        for listener in self._message_listeners:
            listener(text)

    @property
    def is_writing(self) -> bool:
        """Whether writes can be taken at all; what they meet is another matter."""
        return True

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def read(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in a transaction that sees one state of the database and changes nothing."""

    async def read_hot(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `read`, for what an index answers in well under a millisecond: it may run on the event loop itself."""
        return await self.read(work, *args, **kwargs)

    @abstractmethod
    async def write(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run in a transaction and commit it. Raises what the work raises, or StorageUnavailable; then nothing is kept."""


def wake(session: Session, signal: str) -> None:
    """Tell every process, once this transaction is committed, that there is something to look at."""
    session.info.setdefault("signals", set()).add(signal)


def signals_of(session: Session) -> set[str]:
    signals: set[str] = session.info.get("signals", set())
    return signals


def as_caller_sees(error: BaseException) -> BaseException:
    """A database that is full, locked, gone or unreadable is a state of the world, not a mistake of the caller's."""
    driver_error = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.IntegrityError)
    unreachable = isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError | OSError)
    refused = isinstance(error, asyncpg.PostgresError)  # while connecting; later ones come wrapped by SQLAlchemy
    lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    if driver_error or unreachable or refused or lost:
        log.error("storage unavailable", exc_info=error)
        unavailable = StorageUnavailable()
        unavailable.__cause__ = error
        return unavailable
    return error
