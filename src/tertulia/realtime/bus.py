"""Short messages between the server processes of one instance: not stored, and lost without harm.

What must not be lost is in the database, and is read from there; the bus only makes it quicker.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable

import orjson
import redis.asyncio as redis
from redis.exceptions import RedisError

from tertulia.db import Database
from tertulia.errors import AppError
from tertulia.settings import Settings

CHANNEL = "tertulia.bus"
# What PostgreSQL passes on in one notification is less than 8,000 bytes; both ways keep to it.
MAX_BYTES = 7900
RECONNECT_S = 1.0
Message = dict[str, str | int]
Listener = Callable[[Message], None]
log = logging.getLogger(__name__)


class Bus(ABC):
    """A message reaches the listeners of every process, the sender's included, or nobody."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    async def send(self, message: Message) -> bool:
        """Whether it went out. A failure is logged and nothing more: those who wait look into the database."""
        encoded = orjson.dumps(message)
        assert len(encoded) <= MAX_BYTES, "split what is long"
        try:
            await self._send(encoded)
        except (RedisError, OSError, AppError, TimeoutError) as error:
            log.warning("a message between processes is lost: %s", error)
            return False
        return True

    def _hear(self, encoded: bytes | str) -> None:
        """A message that cannot be understood is of another version, or not ours: it must not end the listening."""
        try:
            message = orjson.loads(encoded)
            for listener in self._listeners:
                listener(message)
        except Exception:
            log.exception("a message between processes was not understood")

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def _send(self, encoded: bytes) -> None: ...


class DatabaseBus(Bus):
    """Through PostgreSQL's notifications. On SQLite there is one process, and nobody to tell."""

    def __init__(self, db: Database) -> None:
        super().__init__()
        self._db = db
        db.on_message(self._hear)

    async def start(self) -> None:
        """The database listens already."""

    async def close(self) -> None:
        """And goes on until it is closed itself."""

    async def _send(self, encoded: bytes) -> None:
        await self._db.send_message(encoded.decode())


class RedisBus(Bus):
    """Through Redis. While it is away nothing is passed on; when it is back, it goes on."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._client = redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=5)
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._listening = asyncio.create_task(self._listen_forever(), name="redis-bus")

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self._client.aclose()

    async def _send(self, encoded: bytes) -> None:
        await self._client.publish(CHANNEL, encoded)

    async def _listen_forever(self) -> None:
        while True:
            try:
                async with self._client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANNEL)
                    log.info("listening to Redis")
                    while True:
                        heard = await channel.get_message(timeout=None)
                        if heard is not None:
                            self._hear(heard["data"])
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("Redis cannot be listened to; trying again: %s", error)
            await asyncio.sleep(RECONNECT_S)


def open_bus(settings: Settings, db: Database) -> Bus:
    return RedisBus(settings.redis_url) if settings.redis_url else DatabaseBus(db)
