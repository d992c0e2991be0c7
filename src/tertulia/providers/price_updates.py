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
from tertulia.providers.errors import PricesUnreadable
from tertulia.providers.models import PriceList
from tertulia.providers.prices import PriceBook, genai_prices, make_book, use_prices

MAX_KEPT = 24  # lists of prices
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
    """Store prices that hold from now on, unless they are those of before.

    Every process uses them within half a minute. The earlier ones are kept.
    """
    newest = stored_edition(session)
    if newest is not None and digest_of(newest) == digest_of(prices.edition):
        return
    if insert_if_absent(session, PriceList, edition=prices.edition, packed=prices.packed, created_at=clock.now()):
        older = sa.select(PriceList.edition).order_by(PriceList.created_at.desc()).offset(MAX_KEPT)
        session.execute(sa.delete(PriceList).where(PriceList.edition.in_(older)))


def stored_edition(session: Session) -> str | None:
    """Return the name of the newest stored prices; None if there are none for the installed version of the package."""
    edition = session.scalar(sa.select(PriceList.edition).order_by(PriceList.created_at.desc()).limit(1))
    return edition if edition and edition.endswith(f" {version('genai-prices')}") else None


def find_prices(session: Session) -> NewPrices | None:
    edition = stored_edition(session)
    packed = session.scalar(sa.select(PriceList.packed).where(PriceList.edition == edition))
    return NewPrices(edition, packed) if edition and packed else None


def prices_at(session: Session, moment: datetime) -> PriceBook | None:
    """Return the prices that were used at a moment, if others are used now. None: those of now.

    Before the first list that was stored, and where a list cannot be read any more, they are those of the package.
    """
    newest = session.execute(
        sa.select(PriceList.edition, PriceList.created_at).order_by(PriceList.created_at.desc()).limit(1)
    ).first()
    if newest is None or newest.created_at <= moment:
        return None
    earlier = (
        sa.select(PriceList.edition)
        .where(PriceList.created_at <= moment)
        .order_by(PriceList.created_at.desc())
        .limit(1)
    )
    edition = session.scalar(earlier)
    if edition is None:
        return _book_of_package()
    if edition not in _BOOKS:
        while len(_BOOKS) >= MAX_BOOKS:
            del _BOOKS[next(iter(_BOOKS))]
        packed = session.scalar(sa.select(PriceList.packed).where(PriceList.edition == edition)) or ""
        try:
            _BOOKS[edition] = make_book(NewPrices(edition, packed).providers)
        except (PricesUnreadable, ValueError, zlib.error) as error:
            log.warning("the prices of %s cannot be read: %s", edition, error)
            _BOOKS[edition] = _book_of_package()
    return _BOOKS[edition]


_BOOKS: dict[str, PriceBook] = {}  # earlier lists that were asked for
MAX_BOOKS = 3  # each takes some megabytes


def digest_of(edition: str) -> str:
    """Return the part of an edition that depends on nothing but the content."""
    return edition.split()[1]


def _book_of_package() -> PriceBook:
    if "" not in _BOOKS:
        _BOOKS[""] = make_book(None)
    return _BOOKS[""]


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
