"""Test that prices newer than the installed package are stored, used by every process, and given up in time."""

import asyncio
import base64
import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.bills import BillLine
from tertulia.db.opening import open_database
from tertulia.providers import price_updates
from tertulia.providers.errors import PricesUnreadable
from tertulia.providers.models import PriceList, ProviderModel
from tertulia.providers.price_updates import PriceLoader, check_packed, find_prices, pack_prices, store_prices
from tertulia.providers.prices import use_prices
from tertulia.providers.pricing import find_pricing
from tertulia.providers.protocol import Usage
from tertulia.providers.registry import refresh_catalogue
from tertulia.runs.spending import price_tokens
from tertulia.settings import Settings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def provider(name: str, *models: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "name": name, "api_pattern": f"https://api.{name}.com", "models": list(models)}


def data(**prices: Any) -> bytes:
    """Return a list of prices with a new model, whose price rises in the middle of November."""
    new = {
        "id": "gpt-9",
        "match": {"starts_with": "gpt-9"},
        "context_window": 1_000_000,
        "prices": [
            {"prices": {"input_mtok": 1, "output_mtok": 8} | prices},
            {"constraint": {"start_date": "2026-11-15"}, "prices": {"input_mtok": 2, "output_mtok": 16}},
        ],
    }
    return json.dumps([provider("openai", new), provider("anthropic"), provider("google")]).encode()


@pytest.fixture(autouse=True)
def prices_of_the_package() -> Iterator[None]:
    yield
    use_prices(None)


def test_newer_prices_are_used_with_the_dates_from_which_they_hold(session: Session) -> None:
    prices = pack_prices(data(), NOW)
    store_prices(session, prices)
    assert refresh_catalogue(session) == 1
    row = session.execute(sa.select(ProviderModel.model_name, ProviderModel.input_price)).one()
    assert tuple(row) == ("gpt-9", Decimal(2))
    use_prices(prices.providers)
    pricing = find_pricing(session, "openai", "gpt-9-mini")
    million = Usage(1_000_000, 1_000_000)
    assert pricing.cost(million, at=datetime(2026, 11, 14, tzinfo=UTC)) == 9
    assert pricing.cost(million, at=datetime(2026, 11, 16, tzinfo=UTC)) == 18
    assert find_pricing(session, "openai", "gpt-4o").cost(million, at=NOW) is None  # it is no longer in the list


def test_prices_end_with_the_version_of_the_package_they_are_newer_than(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_prices(session, pack_prices(data(), NOW))
    assert find_prices(session) is not None
    monkeypatch.setattr(price_updates, "version", lambda _: "99.0")
    assert find_prices(session) is None
    assert refresh_catalogue(session, is_forced=True) > 500


def test_a_day_has_the_prices_that_were_used_then(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_updates, "MAX_KEPT", 2)
    for day, price in ((1, 3), (5, 4), (9, 5)):
        moment = NOW.replace(day=day)
        monkeypatch.setattr(clock, "now", lambda moment=moment: moment)
        store_prices(session, pack_prices(data(input_mtok=price), moment))
    use_prices(find_prices(session).providers)  # type: ignore[union-attr]

    def cost(model: str, day: int) -> Decimal | None:
        return price_tokens(session, "openai")(model, NOW.replace(day=day), BillLine(None, 1_000_000, 0))

    assert [cost("gpt-9", day) for day in (6, 8, 9, 14)] == [4, 4, 5, 5]
    monkeypatch.setattr(clock, "now", lambda: NOW.replace(day=12))
    store_prices(session, pack_prices(data(input_mtok=5), NOW.replace(day=12)))  # nothing has changed
    assert [cost("gpt-9", day) for day in (6, 9)] == [4, 5]
    assert [cost("gpt-4o", day) for day in (2, 6)] == [Decimal("2.5"), None]  # of the package, as no list is kept
    session.execute(sa.update(PriceList).values(packed="?"))
    monkeypatch.setattr(price_updates, "_BOOKS", {})
    assert cost("gpt-4o", 6) == Decimal("2.5")  # the list of that day is damaged


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"nothing", "no list of prices"),
        (b"{}", "it has no anthropic"),
        (json.dumps([provider("openai")]).encode(), "it has no anthropic"),
        (json.dumps([{"id": 5}]).encode(), "validation error"),
    ],
)
def test_other_files_are_refused_and_change_nothing(content: bytes, words: str) -> None:
    with pytest.raises(PricesUnreadable, match=words):
        pack_prices(content, NOW)


def test_packed_prices_are_bounded_and_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_updates, "MAX_BYTES", 1000)
    packed = [base64.b64encode(zlib.compress(b" " * size)).decode() for size in (1000, 1001)]
    assert check_packed(packed[0]) == b" " * 1000
    for refused in (packed[1], "?", packed[0][:-8]):
        with pytest.raises(PricesUnreadable):
            check_packed(refused)


def test_every_process_uses_prices_that_another_one_stores(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_updates, "LOOK_S", 0.02)

    async def main() -> None:
        db = open_database(settings)
        await db.start()
        loader = PriceLoader(db)
        await loader.start()

        async def costs(expected: int | None) -> None:
            async with asyncio.timeout(30):
                while True:
                    pricing = await db.read(find_pricing, "openai", "gpt-9")
                    if pricing.cost(Usage(1_000_000, 0), at=NOW) == expected:
                        return
                    await asyncio.sleep(0.01)

        await costs(None)
        for price in (3, 4):
            content = data().replace(b'"input_mtok": 2', b'"input_mtok": %d' % price)
            await db.write(store_prices, pack_prices(content, NOW))
            await costs(price)
        await db.write(_forget_prices)
        await costs(None)
        await loader.close()
        await db.close()

    asyncio.run(main())


def _forget_prices(session: Session) -> None:
    session.execute(sa.delete(PriceList))
