"""Test whether a request fits into limits, and how long its answer may be. Pure."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.billing.limits import Fit, Limit, Need, fit, fit_time
from tertulia.billing.models import Measure, QuotaSetBy, QuotaSubject, QuotaWindow

NOW = datetime(2026, 3, 5, tzinfo=UTC)


def limit(measure: Measure, most: str | int, used: str | int = 0, reserved: str | int = 0) -> Limit:
    amounts = (Decimal(most), Decimal(used), Decimal(reserved))
    return Limit("q", QuotaSubject.USER, "u", QuotaSetBy.ADMIN, QuotaWindow.DAY, False, NOW, NOW, measure, *amounts)


def price(sent: int, answer: int) -> Decimal:
    return Decimal(sent) / 1000 + Decimal(answer) / 100


NEED = Need(input_tokens=1000, output_tokens=500, price=price)  # 1 dollar, and 5 for the answer


@pytest.mark.parametrize(
    ("limits", "answer"),
    [
        ([], 500),
        ([limit("requests", 3, 1, 1)], 500),
        ([limit("input_tokens", 1000)], 500),
        ([limit("output_tokens", 200)], 200),
        ([limit("output_tokens", 1000, 300, 300)], 400),
        ([limit("tokens", 1300)], 300),
        ([limit("cost", 6)], 500),
        ([limit("cost", 4)], 300),
        ([limit("cost", 10, 4, 2)], 300),
        ([limit("cost", "1.64")], 64),
        ([limit("cost", 4), limit("tokens", 1100), limit("output_tokens", 400)], 100),  # the tightest
    ],
)
def test_the_answer_is_as_long_as_every_limit_allows(limits: list[Limit], answer: int) -> None:
    fitting = fit(NEED, limits)
    assert (fitting.output_tokens, fitting.refused_by) == (answer, None)


@pytest.mark.parametrize(
    ("limits", "is_near"),
    [
        ([], False),
        ([limit("requests", 4, 0, 1)], True),
        ([limit("requests", 5, 0, 1)], False),
        ([limit("cost", 100), limit("tokens", 3000)], True),
        ([limit("cost", 12, 0, 0)], True),
        ([limit("cost", 13, 0, 0)], False),
        ([limit("cost", 0)], False),  # there is no notice of a limit of nothing
    ],
)
def test_a_request_is_near_a_limit_when_half_of_it_is_used_with_all_that_is_reserved(
    limits: list[Limit], is_near: bool
) -> None:
    free = limits == [limit("cost", 0)]
    need = replace(NEED, price=lambda *_: Decimal(0)) if free else NEED
    assert fit(need, limits).is_near_limit is is_near


@pytest.mark.parametrize(
    "tight",
    [
        limit("requests", 3, 2, 1),
        limit("requests", 0),
        limit("input_tokens", 999),
        limit("output_tokens", 63),
        limit("tokens", 1063),
        limit("cost", "1.6399"),
        limit("cost", "0.9"),
        limit("cost", 5, 6),
    ],
)
def test_a_request_without_room_for_a_short_answer_is_refused(tight: Limit) -> None:
    assert fit(NEED, [limit("cost", 100), tight]).refused_by is tight


def test_an_unknown_price_counts_as_nothing() -> None:
    assert fit(Need(10, 100, price=lambda *_: None), [limit("cost", 0)]) == Fit(100, is_near_limit=False)


def test_a_free_request_fits_into_a_limit_of_zero_dollars() -> None:
    assert fit(Need(10, 100, price=lambda *_: Decimal(0)), [limit("cost", 0, 5)]) == Fit(100)


def test_a_tool_call_needs_its_cost_and_no_request() -> None:
    need = Need(requests=0, cost=Decimal(2))
    assert fit(need, [limit("requests", 0), limit("cost", 2)]).refused_by is None
    assert fit(need, [limit("cost", "1.99")]).refused_by is not None


AMOUNT = st.integers(0, 3000)
LIMIT = st.builds(
    limit, st.sampled_from(["requests", "tokens", "input_tokens", "output_tokens", "cost"]), AMOUNT, AMOUNT, AMOUNT
)


@given(st.integers(0, 2000), st.integers(0, 2000), st.lists(LIMIT, max_size=4))
def test_what_is_granted_never_exceeds_what_is_left(sent: int, wanted: int, limits: list[Limit]) -> None:
    granted = fit(Need(sent, wanted, price=price), limits)
    if granted.refused_by is not None:
        return
    for each in limits:
        taken = {
            "requests": Decimal(1),
            "tokens": Decimal(sent + granted.output_tokens),
            "input_tokens": Decimal(sent),
            "output_tokens": Decimal(granted.output_tokens),
            "cost": price(sent, granted.output_tokens),
        }[each.measure]
        assert taken <= each.left


@pytest.mark.parametrize(
    ("left", "answer", "seconds"),
    [
        ("12.00", 500, 600),
        ("7.64", 64, 600),
        ("7.63", 500, 120),
        ("2.83", 153, 30),
        ("1.94", 64, 30),
        ("1.93", 0, 30),
    ],
)
def test_a_model_that_costs_by_time_gets_the_longest_time_that_fits(left: str, answer: int, seconds: int) -> None:
    fitting = fit_time(replace(NEED, second_price=Decimal("0.01")), [limit("cost", left)])
    assert (fitting.output_tokens, fitting.seconds) == (answer, seconds)
    assert (fitting.refused_by is None) == (answer > 0)


def test_only_a_price_by_time_makes_a_request_shorter() -> None:
    assert fit_time(NEED, [limit("cost", "1.64")]).seconds == 600
