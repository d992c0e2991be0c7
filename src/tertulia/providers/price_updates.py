"""Use prices that are newer than the installed genai-prices: `tertulia models refresh` stores them for all processes.

They are used until a newer version of the package is installed, which has them too.
"""

import asyncio
import base64
import hashlib
import logging
import zlib
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.db import Database, insert_if_absent
from tertulia.jobs.models import InstanceSetting
from tertulia.providers.errors import PricesUnreadable
from tertulia.providers.prices import genai_prices, use_prices

EDITION, CONTENT = "prices_edition", "prices"
MAX_BYTES = 20_000_000
MAX_PACKED = 2_000_000  # characters
EXPECTED = {"openai", "anthropic", "google"}  # providers that a list of prices surely has
LOOK_S = 30.0  # between two looks for prices that another process stored
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewPrices:
    """Prices as they are stored: compressed, with the edition that names them."""

    edition: str
    packed: str

    @cached_property
    def providers(self) -> list[Any]:
        return read_prices(_unpack(self.packed))


def pack_prices(content: bytes, moment: datetime) -> NewPrices:
    """Check the content of genai-prices' `data.json`, and return it as it is stored. Raises PricesUnreadable."""
    digest = hashlib.sha256(content).hexdigest()[:12]
    edition = f"{moment:%Y-%m-%d} {digest}, for genai-prices {version('genai-prices')}"
    packed = base64.b64encode(zlib.compress(content[: MAX_BYTES + 1], 9)).decode()
    if len(packed) > MAX_PACKED:
        raise PricesUnreadable(f"it has more than {MAX_PACKED // 10**6} MB, compressed")
    prices = NewPrices(edition, packed)
    _ = prices.providers  # checks them, and keeps them
    return prices


def check_packed(packed: str) -> bytes:
    """Return the content of prices that were packed. Raises PricesUnreadable."""
    try:
        return _unpack(packed)
    except (ValueError, zlib.error):
        raise PricesUnreadable("it is damaged") from None


def _unpack(packed: str) -> bytes:
    unpacking = zlib.decompressobj()
    content = unpacking.decompress(base64.b64decode(packed, validate=True), MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise PricesUnreadable(f"it has more than {MAX_BYTES // 10**6} MB")
    if not unpacking.eof:
        raise ValueError("the end is missing")
    return content


def read_prices(content: bytes) -> list[Any]:
    """Return genai-prices' providers with their models. Raises PricesUnreadable."""
    if len(content) > MAX_BYTES:
        raise PricesUnreadable(f"it has more than {MAX_BYTES // 10**6} MB")
    try:
        raw = orjson.loads(content)
        # The package offers no public way to read its format from anything but its own address.
        providers = genai_prices().types._providers_from_raw(raw) if isinstance(raw, list) else []
    except Exception as error:
        raise PricesUnreadable((str(error).splitlines() or [type(error).__name__])[0]) from error
    if missing := EXPECTED - {provider.id for provider in providers}:
        raise PricesUnreadable(f"it has no {min(missing)}")
    return providers


def store_prices(session: Session, prices: NewPrices) -> None:
    """Store prices in place of earlier ones. Every process uses them within half a minute."""
    now = clock.now()
    for name, value in ((CONTENT, prices.packed), (EDITION, prices.edition)):
        if not insert_if_absent(session, InstanceSetting, name=name, value=value, created_at=now, updated_at=now):
            session.execute(sa.update(InstanceSetting).where(InstanceSetting.name == name).values(value=value))


def stored_edition(session: Session) -> str | None:
    """Return the name of the stored prices; None if there are none for the installed version of the package."""
    edition = session.scalar(sa.select(InstanceSetting.value).where(InstanceSetting.name == EDITION))
    return edition if edition and edition.endswith(f" {version('genai-prices')}") else None


def find_prices(session: Session) -> NewPrices | None:
    edition = stored_edition(session)
    packed = session.scalar(sa.select(InstanceSetting.value).where(InstanceSetting.name == CONTENT))
    return NewPrices(edition, packed) if edition and packed else None


class PriceLoader:
    """Loads the prices in a thread when the app starts, and those that are stored later."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._loading: asyncio.Task[None] | None = None
        self._used: str | None = ""  # the edition; None: of the package

    async def start(self) -> None:
        self._loading = asyncio.create_task(self._keep_current(), name="load-prices")

    async def close(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)

    async def _keep_current(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as error:  # the next look may succeed
                log.warning("the stored prices cannot be used: %s", error)
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        """Use the stored prices, or those of the package, if they are others than before."""
        edition = await self._db.read(stored_edition)
        if edition == self._used:
            return
        prices = await self._db.read(find_prices) if edition is not None else None
        await asyncio.to_thread(lambda: use_prices(prices.providers if prices is not None else None))
        self._used = edition
