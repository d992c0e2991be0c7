"""Test the forecast that the composer shows: for one model, for several, with tools, and the cheaper model."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from tertulia.runs.calls.proposing import MAX_CALLS
from tests.conftest import ServerMaker, SignIn
from tests.factories.accounts import make_admin
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import ScriptedProvider
from tests.fakes.tools import Recorder

MODEL = {"provider": "openai", "model_name": "gpt-4o"}
MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-nano", "never-heard-of")


class Priced(Recorder):
    """A tool whose calls have one price."""

    def __init__(self, name: str, price: str) -> None:
        super().__init__(name)
        self._price = Decimal(price)

    def estimate_cost(self, arguments: Mapping[str, Any]) -> Decimal | None:
        return self._price


@pytest.fixture
def server(start_server: ServerMaker, provider: ScriptedProvider) -> LiveServer:
    provider.models = list(MODELS)
    return start_server(
        openai_base_url=provider.url,
        openai_api_key="sk-of-the-operator",
        openai_models=MODELS,
        tools=[Priced("record_a", "0"), Priced("record_b", "0.02")],
    )


def forecast(client: Client, **params: Any) -> Any:
    return client.api("GET", "/forecast", params=params)


def test_a_new_chat_has_a_forecast(ana: Client) -> None:
    short = forecast(ana, models="openai/gpt-4o", characters=400)
    long = forecast(ana, models="openai/gpt-4o", characters=40_000)
    (item,) = short["items"]
    assert (item["input_tokens"], item["answer_tokens"]) == (150, 400)
    assert short["expected_cost"] == item["expected_cost"] == "0.004375"  # 150 * 2.5 + 400 * 10 millionths
    assert short["low_cost"] == short["high_cost"] == short["expected_cost"]
    assert Decimal(short["most_cost"]) > Decimal(short["expected_cost"])
    assert Decimal(long["expected_cost"]) - Decimal(short["expected_cost"]) == Decimal("0.02475")  # 9900 tokens


def test_several_models_are_added_up(ana: Client) -> None:
    chat = ana.chat(**MODEL)
    both = forecast(ana, chat_id=chat["id"], models=["openai/gpt-4o", "openai/gpt-4.1"], characters=1000)
    each = [
        forecast(ana, chat_id=chat["id"], models=item, characters=1000) for item in ("openai/gpt-4o", "openai/gpt-4.1")
    ]
    assert Decimal(both["expected_cost"]) == sum(Decimal(single["expected_cost"]) for single in each)
    assert Decimal(both["most_cost"]) == sum(Decimal(single["most_cost"]) for single in each)


def test_the_answers_of_the_chat_are_learned(ana: Client) -> None:
    chat = ana.chat(**MODEL)
    before = forecast(ana, chat_id=chat["id"])["items"][0]
    for _ in range(3):
        ana.finished(ana.say(chat["id"], "Count")["run"]["id"])
    after = forecast(ana, chat_id=chat["id"])["items"][0]
    assert after["answer_tokens"] < before["answer_tokens"] / 4
    assert after["input_tokens"] > 0


def test_an_unknown_price_is_no_forecast(ana: Client) -> None:
    both = forecast(ana, models=["openai/gpt-4o", "openai/never-heard-of"])
    assert (both["expected_cost"], both["most_cost"]) == (None, None)
    assert [item["expected_cost"] is None for item in both["items"]] == [False, True]


def test_the_longest_answer_of_the_chat_bounds_the_cost(ana: Client) -> None:
    chat = ana.chat(**MODEL, settings={"max_tokens": 100})
    item = forecast(ana, chat_id=chat["id"], characters=400)["items"][0]
    tokens = round(item["input_tokens"] * 1.1)
    assert Decimal(item["most_cost"]) == Decimal(tokens * 25 + 100 * 100) / 10_000_000
    assert item["answer_tokens"] <= 100


def test_without_a_length_the_model_or_a_limit_bounds_the_answer(ana: Client) -> None:
    def most_answer(model: str, price: int) -> int:
        """Return the tokens of the longest answer, at a price in tenths of a dollar for a million."""
        item = forecast(ana, models=f"openai/{model}", characters=400)["items"][0]
        sent = {"gpt-4o": 25, "gpt-4.1": 20}[model] * 165  # with the margin
        return int((Decimal(item["most_cost"]) * 10_000_000 - sent) / price)

    assert (most_answer("gpt-4o", 100), most_answer("gpt-4.1", 80)) == (16_384, 32_768)
    quota = {"subject_kind": "user", "subject_id": ana.user["id"], "window": "month", "max_cost": "100"}
    ana.api("POST", "/quotas", json=quota, expect=201)
    assert most_answer("gpt-4.1", 80) == 16_384


def test_a_model_priced_by_the_hour_costs_its_time(ana: Client, server: LiveServer, sign_in: SignIn) -> None:
    price = {"provider": "openai", "model_name": "never-heard-of", "input_price": "0", "output_price": "0"}
    make_admin(server, sign_in).api("POST", "/model-prices", json=price | {"hour_price": "36"}, expect=201)
    item = forecast(ana, models="openai/never-heard-of", characters=400)["items"][0]
    assert item["expected_cost"] == "0.200000"  # 400 tokens, 20 in a second, a cent each
    assert Decimal(item["most_cost"]) == 6  # ten minutes
    model = {"provider": "openai", "model_name": "never-heard-of"}
    tools = ana.chat(**model, settings={"tools": ["calculate"]})
    most = Decimal(forecast(ana, chat_id=tools["id"])["items"][0]["most_cost"])
    assert most == 6 * (MAX_CALLS + 1)  # of each request


def test_tools_make_a_range(ana: Client) -> None:
    plain, tools = ana.chat(**MODEL), ana.chat(**MODEL, settings={"tools": ["calculate"]})
    without, with_tools = (forecast(ana, chat_id=chat["id"])["most_cost"] for chat in (plain, tools))
    assert Decimal(with_tools) > 20 * Decimal(without)


def test_what_tools_cost_is_in_the_forecast(ana: Client) -> None:
    chats = [ana.chat(**MODEL, settings={"tools": [name]}) for name in ("record_a", "record_b")]
    free, priced = (Decimal(forecast(ana, chat_id=chat["id"])["most_cost"]) for chat in chats)
    assert priced - free == MAX_CALLS * Decimal("0.02")


def test_the_cheaper_model_costs_at_most_half_and_is_the_nearest(
    ana: Client, server: LiveServer, sign_in: SignIn
) -> None:
    item = forecast(ana, models="openai/gpt-4o", characters=400, cheaper=True)["items"][0]
    assert item["cheaper"]["model_name"] == "gpt-4o-mini"
    assert Decimal(item["cheaper"]["expected_cost"]) <= Decimal(item["expected_cost"]) / 2
    assert forecast(ana, models="openai/gpt-4.1-nano", cheaper=True)["items"][0]["cheaper"] is None
    admin = make_admin(server, sign_in)
    price = {"provider": "openai", "model_name": "never-heard-of", "input_price": "1", "output_price": "5"}
    admin.api("POST", "/model-prices", json=price, expect=201)
    item = forecast(ana, models="openai/gpt-4o", characters=400, cheaper=True)["items"][0]
    assert item["cheaper"]["model_name"] == "never-heard-of"  # by the entered price just half
    admin.api(
        "POST",
        "/plans",
        json={"name": "Small", "models": ["openai/gpt-4o", "openai/gpt-4.1-nano"], "is_default": True},
        expect=201,
    )
    item = forecast(ana, models="openai/gpt-4o", characters=400, cheaper=True)["items"][0]
    assert item["cheaper"]["model_name"] == "gpt-4.1-nano"  # the only other in the plan


@pytest.mark.parametrize(
    "params", [{"models": "gpt-4o"}, {"characters": -1}, {"models": ["openai/gpt-4o"] * 5}, {"pictures": 1001}]
)
def test_a_wrong_question_is_refused(ana: Client, params: dict[str, Any]) -> None:
    ana.api("GET", "/forecast", params=params, expect=422)


def test_a_chat_of_others_and_an_unknown_model_are_refused(ana: Client, sign_in: SignIn) -> None:
    bob = sign_in("bob")
    assert bob.api("GET", "/forecast", params={"chat_id": ana.chat()["id"]}, expect=404)["code"] == "chat_not_found"
    assert ana.api("GET", "/forecast", params={"models": "nowhere/x"}, expect=422)["code"] == "model_unknown"
