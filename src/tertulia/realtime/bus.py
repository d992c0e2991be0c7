"""Send short messages between the server processes of one instance. They are not stored, and losing one is harmless.

Everything that must not be lost is read from the database. The bus only speeds this up.
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
# A PostgreSQL notification must be shorter than 8,000 bytes. Both buses keep to that.
MAX_BYTES = 7900
RECONNECT_S = 1.0
Message = dict[str, str | int]
Listener = Callable[[Message], None]
log = logging.getLogger(__name__)


class Bus(ABC):
    """Delivers each message to the listeners of every process, including the sender's, or to none."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    async def send(self, message: Message) -> bool:
        """Send a message and return whether it was sent. Failures are only logged, because readers also poll."""
        encoded = orjson.dumps(message)
        assert len(encoded) <= MAX_BYTES, "split long messages"
        try:
            await self._send(encoded)
        except (RedisError, OSError, AppError, TimeoutError) as error:
            log.warning("a message between processes was not sent: %s", error)
            return False
        return True

    def _hear(self, encoded: bytes | str) -> None:
        """Pass a message to the listeners. An invalid message, as of another version, must not stop the bus."""
        try:
            message = orjson.loads(encoded)
            for listener in self._listeners:
                listener(message)
        except Exception:
            log.exception("a message between processes could not be handled")

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def _send(self, encoded: bytes) -> None: ...


class DatabaseBus(Bus):
    """Uses PostgreSQL notifications. On SQLite there is only one process, and its listeners are called directly."""

    def __init__(self, db: Database) -> None:
        super().__init__()
        self._db = db
        db.on_message(self._hear)

    async def start(self) -> None:
        """Return at once, because the database already listens."""

    async def close(self) -> None:
        """Return at once, because the database listens until it is closed."""

    async def _send(self, encoded: bytes) -> None:
        await self._db.send_message(encoded.decode())


class RedisBus(Bus):
    """Uses Redis, and reconnects. While Redis is unreachable, no messages are delivered."""

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
                    log.info("subscribed to Redis")
                    while True:
                        received = await channel.get_message(timeout=None)
                        if received is not None:
                            self._hear(received["data"])
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("the Redis subscription failed, retrying: %s", error)
            await asyncio.sleep(RECONNECT_S)


def open_bus(settings: Settings, db: Database) -> Bus:
    return RedisBus(settings.redis_url) if settings.redis_url else DatabaseBus(db)
