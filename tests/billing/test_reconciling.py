"""Test that exports of providers are read, compared with the ledger by day and model, and corrected by entries."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor, AdminOnly
from tertulia.billing import bills
from tertulia.billing.bills import BillLine, read_bill
from tertulia.billing.errors import AlreadyCorrected, BillUnreadable, ReconciliationNotFound
from tertulia.billing.models import UsageLog
from tertulia.billing.reconciling import (
    Key,
    Ours,
    TokenPrices,
    compare,
    compare_bill,
    correct,
    create_reconciliation,
    get_reconciliation,
    price_bill,
    read_ours,
    reason_of,
)
from tertulia.billing.recounts import find_wrong_sums
from tertulia.billing.schemas import ReconciliationRead
from tertulia.billing.usage import UsageQuery, sum_usage
from tertulia.errors import Invalid
from tertulia.ids import ReconciliationId
from tertulia.runs.spending import price_tokens
from tests.factories.ledger import enter_usage

DAY = datetime(2026, 11, 1, 12, tzinfo=UTC)
PRICES = TokenPrices(price_tokens)
# Exports after the documentation of each provider, made by hand.
OPENAI_COSTS = {
    "object": "page",
    "data": [
        {
            "object": "bucket",
            "start_time": 1793491200,
            "end_time": 1793577600,
            "results": [
                {
                    "object": "organization.costs.result",
                    "amount": {"value": 1.25, "currency": "usd"},
                    "line_item": "gpt-4o",
                },
                {"object": "organization.costs.result", "amount": {"value": 0.5, "currency": "usd"}, "line_item": "o3"},
            ],
        }
    ],
}
ANTHROPIC_COSTS = {
    "data": [
        {
            "starting_at": "2026-11-01T00:00:00Z",
            "ending_at": "2026-11-02T00:00:00Z",
            "results": [{"currency": "USD", "amount": "125.5", "model": "claude-sonnet-4-5", "cost_type": "tokens"}],
        }
    ],
    "has_more": False,
}
OPENROUTER = {
    "data": [
        {
            "date": "2026-11-01",
            "model": "openai/gpt-4o",
            "usage": 0.015,
            "requests": 5,
            "prompt_tokens": 50,
            "completion_tokens": 125,
        }
    ]
}
OPENAI_USAGE = {
    "object": "page",
    "data": [
        {
            "object": "bucket",
            "start_time": 1793491200,
            "end_time": 1793577600,
            "results": [
                {
                    "object": "organization.usage.completions.result",
                    "input_tokens": 1_000_000,
                    "input_cached_tokens": 400_000,
                    "output_tokens": 100_000,
                    "num_model_requests": 5,
                    "project_id": None,
                    "model": "gpt-4o-2024-08-06",
                    "batch": None,
                }
            ],
        }
    ],
    "has_more": False,
}
ANTHROPIC_USAGE = {
    "data": [
        {
            "starting_at": "2026-11-01T00:00:00Z",
            "ending_at": "2026-11-02T00:00:00Z",
            "results": [
                {
                    "api_key_id": None,
                    "uncached_input_tokens": 1500,
                    "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 500},
                    "cache_read_input_tokens": 200,
                    "output_tokens": 500,
                    "server_tool_use": {"web_search_requests": 10},
                    "model": "claude-sonnet-4-5",
                    "service_tier": "standard",
                }
            ],
        }
    ],
    "has_more": False,
}
GOOGLE_CSV = (
    "Usage start time,SKU description,Cost,Currency\n"
    "2026-11-01 03:00:00 UTC,Gemini 2.5 Pro input tokens,0.75,USD\n"
    "2026-11-01 09:00:00 UTC,Gemini 2.5 Pro input tokens,0.25,USD\n"
)


GOOGLE_JSON = [
    {
        "service": {"id": "C7E2", "description": "Vertex AI"},
        "sku": {"id": "4A7B", "description": "Gemini 2.5 Pro input tokens"},
        "usage_start_time": "2026-11-01 03:00:00 UTC",
        "usage": {"amount": 12000.0, "unit": "count"},
        "labels": [{"key": "team", "value": "a"}],
        "cost": 1.0,
        "currency": "USD",
        "credits": [
            {"name": "Promotion", "amount": -0.25, "type": "PROMOTION"},
            {"name": "Discount", "amount": -0.05, "type": "DISCOUNT"},
        ],
    }
]


def compare_with(
    session: Session, actor: Actor, theirs: Mapping[Key, BillLine], *, is_everyone: bool = False
) -> ReconciliationRead:
    """Compare a bill of OpenAI, as the route does it."""
    ours = read_ours(session, actor, "openai", theirs, is_everyone=is_everyone)
    return create_reconciliation(session, actor, compare_bill("openai", theirs, ours, is_everyone=is_everyone))


def keys_of(compared: ReconciliationRead) -> list[Key]:
    billed = [line for line in compared["items"] if line["their_cost"] is not None]
    return [(date.fromisoformat(line["day"]), line["model_name"]) for line in billed]


def enter_all(session: Session, actor: Actor, compared: ReconciliationRead) -> ReconciliationRead:
    return correct(session, actor, ReconciliationId(compared["id"]), keys_of(compared))


@pytest.mark.parametrize(
    ("provider", "content", "model", "cost", "tokens"),
    [
        ("openai", json.dumps(OPENAI_COSTS), "gpt-4o", "1.25", (None, None)),
        ("anthropic", json.dumps(ANTHROPIC_COSTS), "claude-sonnet-4-5", "1.255", (None, None)),  # in cents
        ("openrouter", json.dumps(OPENROUTER), "openai/gpt-4o", "0.015", (50, 125)),
        ("google", json.dumps(GOOGLE_JSON), "Gemini 2.5 Pro input tokens", "0.70", (None, None)),
        ("google", GOOGLE_CSV, "Gemini 2.5 Pro input tokens", "1.00", (None, None)),
        ("x", "\ufeffdate,model,cost\n2026-11-01,m,$1.5\n", "m", "1.5", (None, None)),
        ("x", "Model Name,Total Cost,Day,Input Tokens\nm,2,2026-11-01,7\n", "m", "2", (7, None)),
    ],
)
def test_exports_of_providers_are_read(
    provider: str, content: str, model: str, cost: str, tokens: tuple[int | None, int | None]
) -> None:
    line = read_bill(provider, content)[DAY.date(), model]
    assert (line.cost, line.input_tokens, line.output_tokens) == (Decimal(cost), *tokens)


def test_exports_of_usage_have_tokens_without_costs() -> None:
    (openai,) = read_bill("openai", json.dumps(OPENAI_USAGE)).values()
    assert openai == BillLine(None, 1_000_000, 100_000, 400_000)
    (anthropic,) = read_bill("anthropic", json.dumps(ANTHROPIC_USAGE)).values()
    # All tokens in are 3200, of which some were read from a cache and some were written to one.
    assert anthropic == BillLine(None, 3200, 500, 200, 1500)


def test_the_cost_of_an_export_of_usage_is_computed_from_its_tokens(session: Session, alice: Actor) -> None:
    enter_usage(session, alice.user_id, moment=DAY, provider="openai", cost="2.00", input_tokens=900_000)
    theirs = price_bill(session, alice, "openai", read_bill("openai", json.dumps(OPENAI_USAGE)), PRICES)
    compared = compare_with(session, alice, theirs)
    (line,) = compared["items"]
    # 600,000 tokens at 2.50, 400,000 from the cache at 1.25, and 100,000 out at 10.00 dollars a million
    assert (line["model_name"], Decimal(line["their_cost"] or 0), line["is_cost_computed"]) == (
        "gpt-4o",
        Decimal(3),
        True,
    )
    assert (Decimal(line["difference"]), line["reason"]) == (Decimal(1), "other_keys")
    corrected = enter_all(session, alice, compared)
    assert [line["is_corrected"] for line in corrected["items"]] == [True]


def test_tokens_without_costs_of_an_unknown_model_are_refused(session: Session, alice: Actor) -> None:
    theirs = read_bill("openai", "date,model,input tokens,output tokens\n2026-11-01,never-heard-of,5,5\n")
    with pytest.raises(BillUnreadable, match="the price of never-heard-of is unknown"):
        price_bill(session, alice, "openai", theirs, PRICES)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nothing", "no lines"),
        ("{", "not valid JSON"),
        ("[]", "no lines"),
        ('{"data": 5}', "no lines"),
        ("date,cost\n2026-11-01,1\n", "Line 1 has no model"),
        ("date,model,cost\nsoon,m,1\n", "soon is not a date"),
        ("date,model,cost\n2026-11-01,m,much\n", "no amount"),
        ("date,model,cost\n2026-11-01,m,NaN\n", "no amount"),
        ("date,model,cost,currency\n2026-11-01,m,1,EUR\n", "export in USD"),
        ("date,model,cost\n2026-11-01,m,1\n2026-11-02,,1\n", "Line 2"),
        ("date,model,cost\n9999-12-31,m,1\n", "is not a date"),
        ("date,model,cost\n0001-01-01T00:00:00+01:00,m,1\n", "is not a date"),
        ("[" * 30 + "]" * 30, "nested too deeply"),
        ("date,model,cost,input tokens\n2026-11-01,m,1,5\n2026-11-01,m,,5\n", "Line 2 has no cost, unlike another"),
        ("date,model,input tokens,cached tokens\n2026-11-01,m,5,6\n", "more tokens from a cache"),
    ],
)
def test_an_export_that_cannot_be_read_says_which_line_and_why(content: str, words: str) -> None:
    with pytest.raises(BillUnreadable, match=words):
        read_bill("openai", content)


@pytest.mark.parametrize(("lines", "is_refused"), [(3, False), (4, True)])
def test_an_export_has_at_most_the_lines_of_the_limit(
    monkeypatch: pytest.MonkeyPatch, lines: int, is_refused: bool
) -> None:
    monkeypatch.setattr(bills, "MAX_LINES", 3)
    content = "date,model,cost\n" + "2026-11-01,m,1\n" * lines
    if is_refused:
        with pytest.raises(BillUnreadable):
            read_bill("x", content)
    else:
        assert read_bill("x", content)[DAY.date(), "m"].cost == 3


@pytest.mark.parametrize(
    ("bill", "ours", "reason"),
    [
        (None, Ours(requests=1, cost=Decimal(1)), "not_billed"),
        (BillLine(Decimal(1)), Ours(), "other_keys"),
        (BillLine(Decimal(1)), Ours(requests=1, cost=Decimal(1)), "equal"),
        (BillLine(Decimal("1.004")), Ours(requests=1, cost=Decimal(1)), "rounding"),
        (BillLine(Decimal(2)), Ours(requests=2, cost=Decimal(1), unknown=1), "unknown_price"),
        (BillLine(Decimal(2), 2000, 10), Ours(requests=1, input_tokens=1000, cost=Decimal(1)), "other_keys"),
        (BillLine(Decimal(2), 1000, 10), Ours(1, 1000, 10, 500, Decimal(1)), "cache"),
        (BillLine(Decimal(2)), Ours(requests=1, cost=Decimal(1), estimated=1), "estimated"),
        (BillLine(Decimal(2)), Ours(requests=1, cost=Decimal(1)), "price"),
    ],
)
def test_each_difference_has_a_likely_reason(bill: BillLine | None, ours: Ours, reason: str) -> None:
    difference = ((bill.cost if bill else None) or Decimal(0)) - ours.cost
    assert reason_of(bill, ours, difference) == reason


@pytest.mark.parametrize(
    ("billed", "known", "lines"),
    [
        (["gpt-4o-2024-08-06"], ["gpt-4o"], ["gpt-4o"]),
        (["claude-sonnet-4-5-20250929"], ["anthropic/claude-sonnet-4-5"], ["anthropic/claude-sonnet-4-5"]),
        (["gemini-3-pro"], ["models/gemini-3-pro-001"], ["models/gemini-3-pro-001"]),
        (["gpt-4o", "gpt-4o-2024-08-06"], ["gpt-4o"], ["gpt-4o"]),  # added up
        (["gpt-4o-mini, input", "gpt-4o-mini, output"], ["gpt-4o-mini"], ["gpt-4o-mini"]),
        (["Gemini 2.5 Pro input tokens", "Gemini 2.5 Pro output tokens"], ["gemini-2.5-pro"], ["gemini-2.5-pro"]),
        (["gpt-4o-2024-05-13"], ["gpt-4o", "openai/gpt-4o"], ["gpt-4o", "gpt-4o-2024-05-13", "openai/gpt-4o"]),
        (["gpt-4o-mini"], ["gpt-4o"], ["gpt-4o", "gpt-4o-mini"]),
        (["Gemini 2.5 Pro thinking tokens"], ["gemini-2.5-pro"], ["gemini-2.5-pro"]),
        (["qwen3-thinking"], ["qwen3"], ["qwen3", "qwen3-thinking"]),  # another model
    ],
)
def test_a_release_on_the_bill_is_the_model_of_the_ledger_where_only_one_can_be_meant(
    billed: list[str], known: list[str], lines: list[str]
) -> None:
    theirs = {(DAY.date(), name): BillLine(Decimal(1)) for name in billed}
    ours = {(DAY.date(), name): Ours(1, cost=Decimal(1)) for name in known}
    assert [line["model_name"] for line in compare(theirs, ours)] == lines


def test_a_correction_is_an_entry_and_the_ledger_then_equals_the_bill(session: Session, alice: Actor) -> None:
    enter_usage(session, alice.user_id, moment=DAY, cost="1.00", input_tokens=100)
    theirs = read_bill("openai", "date,model,cost\n2026-11-01,gpt-4o,0.90\n2026-11-02,other,0.25\n")
    created = compare_with(session, alice, theirs)
    assert [(line["model_name"], Decimal(line["difference"]), line["reason"]) for line in created["items"]] == [
        ("gpt-4o", Decimal("-0.10"), "price"),
        ("other", Decimal("0.25"), "other_keys"),
    ]
    corrected = enter_all(session, alice, created)
    assert [line["is_corrected"] for line in corrected["items"]] == [True, True]
    total = sum_usage(session, alice, UsageQuery(DAY.replace(hour=0), DAY.replace(day=3)))
    assert (total["cost"], total["replies"], total["total_tokens"]) == (Decimal("1.15"), 1, 100)
    entries = session.scalars(sa.select(UsageLog.cost).where(UsageLog.is_correction)).all()
    assert sorted(cost or 0 for cost in entries) == [Decimal("-0.10"), Decimal("0.25")]
    assert find_wrong_sums(session) == []
    with pytest.raises(AlreadyCorrected):
        enter_all(session, alice, created)


def test_impossible_counts_of_tokens_are_ignored_at_once() -> None:
    for count in ("1e999999999", "1e30", "-5", "NaN", "many"):
        (line,) = read_bill("openai", f"date,model,cost,input_tokens\n2026-11-01,m,1,{count}\n").values()
        assert line.input_tokens is None


def test_a_model_name_has_no_null_characters() -> None:
    bill = json.dumps({"data": [{"date": "2026-11-01", "model": "a\0b", "cost": 1}]})
    assert [model for _, model in read_bill("openai", bill)] == ["ab"]


def test_the_same_bill_is_not_entered_twice(session: Session, alice: Actor) -> None:
    theirs = read_bill("openai", "date,model,cost\n2026-11-01,gpt-4o,0.90\n")
    first, second = (compare_with(session, alice, theirs) for _ in range(2))
    enter_usage(session, alice.user_id, moment=DAY, cost="0.20")  # after they were compared
    enter_all(session, alice, first)
    again = enter_all(session, alice, second)
    assert [line["is_corrected"] for line in again["items"]] == [False]
    total = sum_usage(session, alice, UsageQuery(DAY.replace(hour=0), DAY.replace(day=3)))
    assert total["cost"] == Decimal("0.90")


def test_bills_are_their_owners_alone(session: Session, alice: Actor, bob: Actor) -> None:
    theirs = read_bill("openai", "date,model,cost\n2026-11-01,gpt-4o,1\n")
    created = compare_with(session, alice, theirs)
    reconciliation_id = ReconciliationId(created["id"])
    with pytest.raises(ReconciliationNotFound):
        get_reconciliation(session, bob, reconciliation_id)
    with pytest.raises(ReconciliationNotFound):
        correct(session, bob, reconciliation_id, keys_of(created))
    with pytest.raises(AdminOnly):
        compare_with(session, alice, theirs, is_everyone=True)


def test_differences_are_entered_one_by_one(session: Session, alice: Actor) -> None:
    enter_usage(session, alice.user_id, moment=DAY, cost="1.00")
    theirs = read_bill(
        "openai", "date,model,cost\n2026-11-01,gpt-4o,0.90\n2026-11-02,gpt-4o,0.25\n2026-11-03,o3,0.10\n"
    )
    created = compare_with(session, alice, theirs)
    reconciliation_id = ReconciliationId(created["id"])
    second = (DAY.date() + timedelta(days=1), "gpt-4o")
    once = correct(session, alice, reconciliation_id, [second])
    assert [line["is_corrected"] for line in once["items"]] == [True]
    now = get_reconciliation(session, alice, reconciliation_id)
    assert [line["is_corrected"] for line in now["items"]] == [False, True, False]
    with pytest.raises(AlreadyCorrected):
        correct(session, alice, reconciliation_id, [second])
    with pytest.raises(Invalid, match="no o1 on 2026-11-01"):
        correct(session, alice, reconciliation_id, [(DAY.date(), "o1")])
    rest = enter_all(session, alice, created)
    assert [line["is_corrected"] for line in rest["items"]] == [True, True, True]
    total = sum_usage(session, alice, UsageQuery(DAY.replace(hour=0), DAY.replace(day=4)))
    assert total["cost"] == Decimal("1.25")
    assert find_wrong_sums(session) == []


def test_differences_to_a_bill_of_everybody_are_entered_as_the_administrators(
    session: Session, alice: Actor, admin: Actor
) -> None:
    enter_usage(session, alice.user_id, moment=DAY, cost="1.00")
    theirs = read_bill("openai", "date,model,cost\n2026-11-01,gpt-4o,1.50\n")
    created = compare_with(session, admin, theirs, is_everyone=True)
    enter_all(session, admin, created)
    period = UsageQuery(DAY.replace(hour=0), DAY.replace(day=2))
    costs = [sum_usage(session, actor, period)["cost"] for actor in (alice, admin)]
    assert costs == [Decimal("1.00"), Decimal("0.50")]
