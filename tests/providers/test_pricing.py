"""Test prices that administrators enter: from which day they count, and what is done with unknown ones."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor, AdminOnly
from tertulia.accounts.models import UserRole
from tertulia.ids import ModelPriceId, new_id
from tertulia.providers import pricing
from tertulia.providers.errors import ModelPriceNotFound, TooManyPrices
from tertulia.providers.models import UnknownPriceRule
from tertulia.providers.pricing import create_price, delete_price, find_pricing, list_prices, set_rule
from tertulia.providers.protocol import Usage
from tertulia.providers.schemas import ModelPriceCreate
from tests.conftest import SignIn
from tests.factories.accounts import make_admin, make_user
from tests.fakes.live_server import Client, LiveServer

NOW = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TOKENS = Usage(1_000_000, 1_000_000)


@pytest.fixture
def admin(session: Session) -> Actor:
    return replace(make_user(session, username="admin"), role=UserRole.ADMIN)


def enter(session: Session, admin: Actor, *, days: int = 0, **values: Any) -> str:
    fields = {"provider": "openai", "model_name": "gpt-4o", "valid_from": NOW + days * DAY} | values
    return create_price(session, admin, ModelPriceCreate(**fields))["id"]


def cost(session: Session, *, days: float = 0, provider: str = "openai", model: str = "gpt-4o") -> Decimal | None:
    return find_pricing(session, provider, model).cost(TOKENS, at=NOW + days * DAY)


def test_a_cost_has_the_price_of_its_day(session: Session, admin: Actor) -> None:
    assert cost(session) == Decimal("12.5")  # of the catalogue
    enter(session, admin, days=1, input_price="1", output_price="2")
    enter(session, admin, days=3, input_price="4", output_price="4")
    enter(session, admin, days=2, input_price="2", output_price="4")  # between them
    costs = [cost(session, days=days) for days in (0.5, 1, 1.99, 2, 2.99, 3, 100)]
    assert costs == [Decimal(value) for value in ("12.5", "3", "3", "6", "6", "8", "8")]
    enter(session, admin, days=2, input_price="9", output_price="9")  # in its place
    assert [cost(session, days=days) for days in (1.5, 2, 3)] == [Decimal(3), Decimal(18), Decimal(8)]


def test_the_price_before_a_deleted_price_continues(session: Session, admin: Actor) -> None:
    enter(session, admin, days=1, input_price="1", output_price="2")
    mistaken = enter(session, admin, days=2, input_price="9", output_price="9")
    enter(session, admin, days=4, input_price="4", output_price="4")
    delete_price(session, admin, ModelPriceId(mistaken))
    assert [cost(session, days=days) for days in (1, 2, 3.9, 4)] == [Decimal(3), Decimal(3), Decimal(3), Decimal(8)]


def test_cached_tokens_and_hours_have_prices(session: Session, admin: Actor) -> None:
    enter(session, admin, input_price="2", output_price="0", cached_price="0.5")
    model = find_pricing(session, "openai", "gpt-4o")
    usage = Usage(1_000_000, 0, cached_tokens=400_000)
    assert model.cost(usage, at=NOW) == Decimal("1.4")
    assert model.savings(usage, Decimal("1.4"), at=NOW) == Decimal("0.6")
    enter(session, admin, provider="local", model_name="qwen", hour_price="3.6")
    prices: dict[str, Any] = {"input_price": "2", "output_price": "0", "cached_price": "0.5", "cache_write_price": "4"}
    enter(session, admin, provider="anthropic", model_name="claude-x", **prices)
    written = Usage(1_000_000, 0, cached_tokens=300_000, cache_write_tokens=200_000)
    assert find_pricing(session, "anthropic", "claude-x").cost(written, at=NOW) == Decimal("1.95")  # 1 + 0.15 + 0.8
    by_time = find_pricing(session, "local", "qwen")
    assert by_time.cost(Usage(5, 5), at=NOW, seconds=10) == Decimal("0.01")
    assert (by_time.second_price, model.second_price) == (Decimal("0.001"), Decimal(0))


def test_an_unknown_price_is_allowed_counted_or_refused(session: Session, admin: Actor) -> None:
    def unknown() -> Any:
        return find_pricing(session, "openai", "never-heard-of")

    set_rule(session, admin, "openai", UnknownPriceRule.COUNT)
    assert unknown().is_refused  # there is no price to count with
    set_rule(session, admin, "openai", UnknownPriceRule.ALLOW)
    enter(session, admin, model_name=None, input_price="10", output_price="10")
    assert (unknown().cost(TOKENS, at=NOW), unknown().is_refused) == (None, False)
    set_rule(session, admin, "openai", UnknownPriceRule.COUNT)
    assert unknown().cost(TOKENS, at=NOW) == Decimal(20)
    assert cost(session) == Decimal("12.5")  # known ones stay
    set_rule(session, admin, "openai", UnknownPriceRule.REFUSE)
    assert unknown().is_refused
    assert not find_pricing(session, "openai", "gpt-4o").is_refused
    assert not find_pricing(session, "ollama", "anything").is_refused  # on an own machine it costs nothing


def test_writing_to_a_cache_is_part_of_the_most_that_a_request_costs(session: Session) -> None:
    model = find_pricing(session, "anthropic", "claude-sonnet-4-5-20250929")
    plain = model.cost(Usage(10_000, 100), at=NOW)
    written = model.cost(Usage(10_000, 100, cache_write_tokens=10_000), at=NOW)
    assert plain is not None
    assert written is not None
    assert model.most(10_000, 100) == written > plain


def test_only_administrators_enter_prices(session: Session, admin: Actor, alice: Actor) -> None:
    price_id = ModelPriceId(enter(session, admin))
    for forbidden in (
        lambda: enter(session, alice),
        lambda: list_prices(session, alice),
        lambda: delete_price(session, alice, price_id),
        lambda: set_rule(session, alice, "openai", UnknownPriceRule.REFUSE),
    ):
        with pytest.raises(AdminOnly):
            forbidden()
    delete_price(session, admin, price_id)
    with pytest.raises(ModelPriceNotFound):
        delete_price(session, admin, ModelPriceId(new_id()))


@pytest.mark.parametrize(("count", "is_refused"), [(2, False), (3, True)])
def test_there_are_at_most_the_prices_of_the_limit(
    session: Session, admin: Actor, monkeypatch: pytest.MonkeyPatch, count: int, is_refused: bool
) -> None:
    monkeypatch.setattr(pricing, "MAX_PRICES", 2)
    for number in range(count - 1):
        enter(session, admin, model_name=f"m{number}")
    if is_refused:
        with pytest.raises(TooManyPrices):
            enter(session, admin, model_name="last")
    else:
        enter(session, admin, model_name="last")


def test_a_model_without_a_price_is_refused_before_the_message_is_stored(
    ana: Client, server: LiveServer, sign_in: SignIn
) -> None:
    admin = make_admin(server, sign_in)
    admin.api("PUT", "/unknown-prices/openai", json={"rule": "refuse"})
    chat = ana.chat(provider="openai", model_name="scripted")
    refused = ana.api("POST", f"/chats/{chat['id']}/messages", json={"content": "hello"}, expect=409)
    assert (refused["code"], refused["model_name"]) == ("price_unknown", "scripted")
    assert ana.api("GET", f"/chats/{chat['id']}")["message_count"] == 0
    admin.api(
        "POST",
        "/model-prices",
        json={"provider": "openai", "model_name": "scripted", "input_price": "1000", "output_price": "2000"},
        expect=201,
    )
    run = ana.finished(ana.say(chat["id"], "hello")["run"]["id"])
    assert run["cost"] == "0.017000"  # 7 tokens in, 5 out


def test_the_most_of_searches_is_known_where_the_vendor_has_a_price(session: Session, admin: Actor) -> None:
    assert find_pricing(session, "anthropic", "claude-sonnet-4-5").most_of_searches() == Decimal("0.05")  # five
    assert find_pricing(session, "local", "any").most_of_searches() == 0
    enter(session, admin, input_price="1", output_price="1")
    assert find_pricing(session, "openai", "gpt-4o").most_of_searches() == 0  # an entered price names none
