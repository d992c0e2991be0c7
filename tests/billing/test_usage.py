"""Tests for the usage ledger: one row per reply, its cost, and sums that match the rows exactly."""

import csv
import io
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import combinations
from typing import Any, Literal, NamedTuple

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.models import UserRole
from tertulia.accounts.row_limits import RowLimits
from tertulia.billing.counts import count_message
from tertulia.billing.errors import MessageLimitReached
from tertulia.billing.models import MessageUsage, UsageKind, UsageLog, UsageStatus, UsageSum
from tertulia.billing.recounts import find_wrong_sums
from tertulia.billing.usage import ChatTitles, GroupBy, UsageQuery, group_usage, sum_usage
from tertulia.chat.service import find_titles
from tertulia.db.opening import plain_engine
from tertulia.ids import ChatId, ProjectId
from tertulia.projects.schemas import ProjectCreate
from tertulia.projects.service import create_project, put_chat
from tertulia.providers.prices import cost_of
from tertulia.providers.protocol import Usage
from tertulia.providers.vendors import BY_ID
from tertulia.settings import Settings
from tests.conftest import ServerMaker, SignIn
from tests.factories.chats import make_chat
from tests.factories.ledger import enter_usage
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import Finish, Hold, ScriptedProvider, Status, Text, words

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
END = BEGIN + timedelta(days=40)
OWN_GROUPS: tuple[GroupBy, ...] = ("day", "provider", "model", "chat", "project", "token")


@pytest.fixture
def server(start_server: ServerMaker, provider: ScriptedProvider) -> LiveServer:
    """Start a server with one priced and one unpriced model."""
    provider.models = ["gpt-4o", "scripted"]
    return start_server(openai_base_url=provider.url, openai_api_key="sk-of-the-operator")


def ledger(settings: Settings) -> list[Any]:
    engine = plain_engine(settings)
    with Session(engine) as session:
        settled = sa.select(UsageLog).where(UsageLog.status != UsageStatus.RELEASED)
        rows = list(session.scalars(settled.order_by(UsageLog.id)))
        session.expunge_all()
    engine.dispose()
    return rows


def test_the_cost_of_a_summary_is_forecast(ana: Client) -> None:
    chat = ana.chat(provider="openai", model_name="gpt-4o")
    for number in range(6):
        ana.say(chat["id"], f"Question {number} about bread. " * 20, reply=False)
    forecast = ana.api("GET", f"/chats/{chat['id']}/context-optimizations/forecast")
    assert forecast["requests"] == 1
    expected = Decimal(forecast["input_tokens"]) * Decimal("0.0000025") + Decimal(forecast["output_tokens"]) * Decimal(
        "0.00001"
    )
    assert abs(Decimal(forecast["cost"]) - expected) <= Decimal("0.000001")


def test_the_cost_of_a_reply_is_on_its_message_run_chat_and_usage(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("Hi"), Finish("stop", 1000, 200)])
    chat = ana.chat(provider="openai", model_name="gpt-4o")
    sent = ana.say(chat["id"], "Hello")
    run = ana.finished(sent["run"]["id"])
    expected = "0.004500"  # 1000 tokens at 2.50 and 200 at 10 per million
    assert run["cost"] == expected
    assert ana.api("GET", f"/messages/{sent['reply']['id']}")["cost"] == expected
    assert ana.api("GET", f"/chats/{chat['id']}")["total_cost"] == expected
    usage = ana.api("GET", "/usage?group_by=day,provider,model")
    assert usage["total"]["cost"] == expected
    assert [(row["provider"], row["model_name"], row["total_tokens"]) for row in usage["items"]] == [
        ("openai", "gpt-4o", 1200)
    ]


def test_the_cost_of_an_unpriced_model_is_unknown(ana: Client, provider: ScriptedProvider) -> None:
    chat = ana.chat(provider="openai", model_name="scripted")
    sent = ana.say(chat["id"], "Hello")
    assert ana.finished(sent["run"]["id"])["cost"] is None
    total = ana.api("GET", "/usage")["total"]
    assert (total["replies"], total["unknown_cost_replies"], total["total_tokens"]) == (1, 1, 12)


def test_retries_are_counted_once(ana: Client, provider: ScriptedProvider, settings: Settings) -> None:
    provider.play([Status(503)], [Status(429)], [Text("Hi"), Finish("stop", 10, 2)])
    sent = ana.say(ana.chat()["id"], "Hello")
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    assert [(row.input_tokens, row.output_tokens) for row in ledger(settings)] == [(10, 2)]


def test_a_refused_request_is_not_charged(ana: Client, provider: ScriptedProvider, settings: Settings) -> None:
    provider.play([Status(401)])
    sent = ana.say(ana.chat()["id"], "Hello")
    assert ana.finished(sent["run"]["id"])["status"] == "failed"
    assert ledger(settings) == []


def test_a_cancelled_reply_is_counted_with_estimated_usage(
    ana: Client, provider: ScriptedProvider, settings: Settings
) -> None:
    provider.play([*words(40)[:-1], Hold(), Finish()])
    chat = ana.chat(provider="openai", model_name="gpt-4o")
    sent = ana.say(chat["id"], "Count")
    deadline = time.monotonic() + 10
    while "w39" not in ana.api("GET", f"/messages/{sent['reply']['id']}")["content"] and time.monotonic() < deadline:
        time.sleep(0.05)
    ana.api("POST", f"/runs/{sent['run']['id']}/cancel")
    assert ana.finished(sent["run"]["id"])["status"] == "cancelled"
    (row,) = ledger(settings)
    assert row.is_estimated
    assert row.input_tokens > 0
    assert row.output_tokens > 30
    assert row.cost is not None
    stored = ana.api("GET", f"/chats/{chat['id']}")
    assert (stored["total_tokens"], Decimal(stored["total_cost"])) == (row.input_tokens + row.output_tokens, row.cost)
    assert ana.api("GET", f"/messages/{sent['reply']['id']}")["usage"]["estimated"] is True


def test_usage_outlives_its_chat(ana: Client, settings: Settings) -> None:
    chat = ana.chat()
    ana.finished(ana.say(chat["id"], "Hello")["run"]["id"])
    engine = plain_engine(settings)
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM chat"))
    engine.dispose()
    usage = ana.api("GET", "/usage?group_by=chat")
    assert usage["total"]["total_tokens"] == 12
    assert [(row["chat_id"], row["chat_title"]) for row in usage["items"]] == [(None, None)]


def test_users_see_only_their_own_usage(ana: Client, sign_in: SignIn) -> None:
    ana.finished(ana.say(ana.chat()["id"], "Hello")["run"]["id"])
    assert sign_in("bob").api("GET", "/usage")["total"]["replies"] == 0


@pytest.mark.parametrize(
    "query", ["group_by=", "group_by=hour", "group_by=day,day", "since=yesterday", "utc_offset=841"]
)
def test_invalid_usage_queries_are_refused(ana: Client, query: str) -> None:
    assert ana.api("GET", f"/usage?{query}", expect=422)["code"] == "invalid"


def test_usage_days_follow_the_utc_offset(session: Session, alice: Actor) -> None:
    enter_usage(session, alice.user_id, moment=datetime(2026, 3, 5, 23, 30, tzinfo=UTC))
    assert [days(session, alice, hours) for hours in (0, 1, -1)] == [["2026-03-05"], ["2026-03-06"], ["2026-03-05"]]


def days(session: Session, actor: Actor, hours: int) -> list[str | None]:
    query = UsageQuery(BEGIN, END, ["day"], utc_offset_s=hours * 3600)
    groups = group_usage(session, actor, query, chat_titles=ChatTitles(find_titles))
    return [group["day"] for group in groups]


AMOUNT = st.decimals(min_value=0, max_value=999, places=6, allow_nan=False)


class Row(NamedTuple):
    """What is entered in the ledger for one request or tool call."""

    sent: int
    received: int
    cost: Decimal | None
    provider: str
    model: str
    second: int
    chat: int | None  # which of two
    kind: Literal["reply", "tool", "correction"]

    def enter(self, session: Session, payer: Actor, chats: Sequence[str]) -> None:
        enter_usage(
            session,
            payer.user_id,
            moment=BEGIN + timedelta(seconds=self.second),
            input_tokens=self.sent,
            output_tokens=self.received,
            cached_tokens=self.sent // 2,
            cost=self.cost,
            provider=self.provider,
            model_name=self.model,
            chat_id=None if self.chat is None else chats[self.chat],
            kind=UsageKind.TOOL if self.kind == "tool" else UsageKind.MODEL,
            is_correction=self.kind == "correction",
        )


ROWS = st.lists(
    st.builds(
        Row,
        sent=st.integers(0, 10**9),
        received=st.integers(0, 10**9),
        cost=st.none() | AMOUNT,
        provider=st.sampled_from(["openai", "mistral"]),
        model=st.sampled_from(["a", "b", "c"]),
        second=st.integers(0, 40 * 86_400 - 1),
        chat=st.none() | st.integers(0, 1),
        kind=st.sampled_from(["reply", "reply", "tool", "correction"]),
    ),
    max_size=30,
)
SUMMED = ("replies", "input_tokens", "output_tokens", "cached_tokens", "cost", "unknown_cost_replies")


def _cost_of(rows: Iterable[Row]) -> Decimal:
    return sum((row.cost for row in rows if row.cost is not None), Decimal(0))


def test_usage_sums_equal_the_ledger_rows(session: Session, alice: Actor, bob: Actor) -> None:
    """Compare the groups with the total, and the total with the rows, for random rows and many groupings."""
    chats = [make_chat(session, owner=alice) for _ in range(2)]
    project_id = create_project(session, alice, ProjectCreate(name="Garden"), RowLimits())["id"]
    put_chat(session, alice, ProjectId(project_id), ChatId(chats[0]), is_open=False)

    @effort(max_examples=25, deadline=None, database=None)
    @given(ROWS)
    def check(rows: list[Row]) -> None:
        session.execute(sa.delete(UsageLog))
        session.execute(sa.delete(UsageSum))
        for row in rows:
            row.enter(session, alice, chats)
            enter_usage(session, bob.user_id, moment=BEGIN, input_tokens=1, cost=Decimal(1))  # another user's row
        assert find_wrong_sums(session) == []
        total = sum_usage(session, alice, UsageQuery(BEGIN, END))
        assert total["replies"] == sum(row.kind == "reply" for row in rows)
        assert total["cost"] == _cost_of(rows)
        assert total["total_tokens"] == sum(row.sent + row.received for row in rows)
        assert total["unknown_cost_replies"] == sum(row.cost is None for row in rows)
        _check_own_groups(session, alice, total, rows)
        _check_everyones_groups(
            session, replace(alice, role=UserRole.ADMIN), total["cost"] + len(rows), total["requests"] + len(rows)
        )

    check()


def _check_own_groups(session: Session, actor: Actor, total: Mapping[str, Any], rows: list[Row]) -> None:
    def group(*by: GroupBy) -> Sequence[Mapping[str, Any]]:
        return group_usage(session, actor, UsageQuery(BEGIN, END, list(by)), chat_titles=ChatTitles(find_titles))

    for size in (1, 2, 3):
        for by in combinations(OWN_GROUPS, size):
            if len({"chat", "project", "token"} & set(by)) <= 1:
                parts = group(*by)
                assert {name: sum(part[name] for part in parts) for name in SUMMED} == {
                    name: total[name] for name in SUMMED
                }, by
    in_project = {part["project_name"]: part["cost"] for part in group("project")}
    assert in_project.get("Garden", 0) == _cost_of(row for row in rows if row.chat == 0)
    assert sum(part["cost"] for part in group("tool")) == _cost_of(row for row in rows if row.kind == "tool")


def _check_everyones_groups(session: Session, admin: Actor, cost: Decimal, requests: int) -> None:
    everyone = UsageQuery(BEGIN, END, is_everyone=True)
    assert sum_usage(session, admin, everyone)["cost"] == cost
    for group in ("day", "provider", "model", "chat", "project", "token", "user"):
        parts = group_usage(session, admin, replace(everyone, by=[group]), chat_titles=ChatTitles(find_titles))
        assert sum(part["cost"] for part in parts) == cost, group
        assert sum(part["requests"] for part in parts) == requests, group


@pytest.mark.parametrize(
    ("vendor", "model", "usage", "cost"),
    [
        ("openai", "gpt-4o", Usage(1_000_000, 0), "2.5"),
        ("openai", "gpt-4o", Usage(1_000_000, 0, cached_tokens=400_000), "2.0"),
        ("anthropic", "claude-sonnet-4-5-20250929", Usage(100_000, 10_000, 50_000, 20_000), "0.33"),
        ("mistral", "mistral-large-latest", Usage(0, 0), "0"),
        ("ollama", "anything", Usage(5, 5), "0"),
        ("openai", "never-heard-of", Usage(5, 5), None),
        ("custom", "gpt-4o", Usage(5, 5), None),
        ("huggingface", "org/model", Usage(5, 5), None),
    ],
)
def test_costs_follow_the_price_list(vendor: str, model: str, usage: Usage, cost: str | None) -> None:
    amount = cost_of(BY_ID[vendor], model, usage, at=datetime(2026, 11, 1, tzinfo=UTC))
    assert amount == (Decimal(cost) if cost is not None else None)


def test_local_models_cost_nothing() -> None:
    assert cost_of(None, "qwen", Usage(1000, 1000), at=BEGIN) == 0


def test_messages_are_counted_per_day(ana: Client, provider: ScriptedProvider) -> None:
    chat = ana.chat()
    for number in range(3):
        ana.say(chat["id"], str(number), reply=False)
    today = ana.api("GET", "/usage")["messages_today"]
    assert (today["count"], today["limit"]) == (3, None)


def test_a_message_over_the_daily_limit_is_refused_and_not_stored(
    start_server: ServerMaker, provider: ScriptedProvider, sign_in: SignIn
) -> None:
    limited = start_server(openai_base_url=provider.url, messages_per_day=2)
    with Client(limited.url) as ana:
        ana.cookies = sign_in("ana").cookies
        chat = ana.chat()
        ana.say(chat["id"], "one", reply=False)
        ana.say(chat["id"], "two", reply=False)
        refused = ana.request("POST", f"/chats/{chat['id']}/messages", json={"content": "three"})
        assert (refused.status_code, refused.json()["code"]) == (429, "message_limit_reached")
        assert 0 < int(refused.headers["Retry-After"]) <= 86_400
        assert ana.api("GET", f"/chats/{chat['id']}")["message_count"] == 2
        assert ana.api("GET", "/usage")["messages_today"]["count"] == 2


def test_the_message_count_resets_each_day(session: Session, alice: Actor) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    session.add(MessageUsage(user_id=alice.user_id, date=yesterday.date(), message_count=5, reset_at=datetime.now(UTC)))
    session.flush()
    count_message(session, alice.user_id, limit=1)
    with pytest.raises(MessageLimitReached):
        count_message(session, alice.user_id, limit=1)


def test_a_limit_of_none_allows_all_and_zero_allows_no_messages(session: Session, alice: Actor) -> None:
    for _ in range(random.Random(1).randint(3, 5)):
        count_message(session, alice.user_id, limit=None)
    with pytest.raises(MessageLimitReached):
        count_message(session, alice.user_id, limit=0)


@pytest.mark.parametrize("change", ["replies = 99", "model_name = 'other'", "unknown_costs = 3", "cost = 5000000"])
def test_the_check_notices_any_wrong_sum(session: Session, alice: Actor, change: str) -> None:
    enter_usage(session, alice.user_id, cost="0.30", chat_id=make_chat(session, owner=alice))
    assert find_wrong_sums(session) == []
    session.execute(sa.text(f"UPDATE usage_sum SET {change} WHERE scope = 'chat'"))
    session.expire_all()
    assert find_wrong_sums(session) != []


def test_a_period_of_days_begins_and_ends_where_the_person_is(ana: Client, settings: Settings) -> None:
    engine = plain_engine(settings)
    with Session(engine) as session, session.begin():
        for hour in (14, 15, 28, 29, 38, 39):  # the 6th of March in Tokyo is from 15:00 on the 5th, for 24 hours
            enter_usage(session, ana.user["id"], moment=datetime(2026, 3, 5, tzinfo=UTC) + timedelta(hours=hour))
    engine.dispose()
    for zone, counted in (("Asia/Tokyo", 4), ("UTC", 4), ("America/New_York", 3)):
        period = {"since": "2026-03-06", "until": "2026-03-07", "time_zone": zone}
        assert ana.api("GET", "/usage", params=period)["total"]["requests"] == counted
    period = {"since": "2026-03-05T15:00:00Z", "until": "2026-03-06T15:00:00Z", "group_by": "day"}
    assert ana.api("GET", "/usage", params=period | {"time_zone": "Asia/Tokyo"})["total"]["requests"] == 4
    assert ana.api("GET", "/usage", params={"since": "0001-01-01"}, expect=422)["code"] == "invalid"


def test_an_export_has_every_group_of_any_period(ana: Client, sign_in: SignIn, settings: Settings) -> None:
    """Export more groups than a page shows: 60 days with 100 models each."""
    begin = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
    engine = plain_engine(settings)
    with Session(engine) as session, session.begin():
        for day in range(60):
            for model in range(100):
                moment = begin + timedelta(days=day)
                enter_usage(
                    session, ana.user["id"], moment=moment, model_name=f"=m{model}", cost="0.01", input_tokens=1
                )
    engine.dispose()
    period = {"since": "2026-03-01", "until": "2026-05-01", "time_zone": "Europe/Madrid"}
    exported = ana.get("/usage/export", params=period | {"group_by": "day,model", "format": "csv"})
    assert 'filename="usage-2026-03-01-2026-04-30.csv"' in exported.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(exported.text)))
    assert (len(rows), {row["requests"] for row in rows}) == (60 * 100, {"1"})
    assert (rows[-1]["day"], rows[0]["model_name"][:3]) == ("2026-03-01", "'=m")
    total = ana.api("GET", "/usage", params=period)["total"]
    assert sum(Decimal(row["cost"]) for row in rows) == Decimal(total["cost"])
    as_json = ana.get("/usage/export", params=period | {"group_by": "day,model", "format": "json"}).json()
    assert [row["day"] for row in as_json] == [row["day"] for row in rows]
    assert (
        ana.get("/usage/export", params=period | {"group_by": "provider", "format": "json"}).json()[0]["requests"]
        == 6000
    )
    assert ana.get("/usage/export", params={"until": "2019-01-01", "format": "json"}).json() == []
    assert sign_in("bob").get("/usage/export", params={"of": "everyone"}).status_code == 403
