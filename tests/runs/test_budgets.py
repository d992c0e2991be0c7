"""Test what a person sees when a limit is reached: before a message, before a request, and within a reply."""

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.billing.models import UsageLog, UsageStatus
from tertulia.billing.recounts import find_wrong_sums
from tertulia.chat.counters import find_wrong_totals
from tertulia.db.opening import plain_engine
from tertulia.settings import Settings
from tests.conftest import ServerMaker, SignIn
from tests.factories.accounts import make_admin
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import Finish, Hold, ScriptedProvider, Status, Text, words
from tests.waiting import until

MODEL = {"provider": "openai", "model_name": "gpt-4o"}


@pytest.fixture
def server(start_server: ServerMaker, provider: ScriptedProvider) -> LiveServer:
    provider.models = ["gpt-4o", "scripted"]
    return start_server(openai_base_url=provider.url, openai_api_key="sk-of-the-operator", openai_models=("gpt-4o",))


@pytest.fixture(autouse=True)
def sound_ledger(settings: Settings) -> Iterator[None]:
    """Check after each test that every sum equals the ledger, and that nothing stays reserved."""
    yield
    engine = plain_engine(settings)
    with Session(engine) as session:
        assert find_wrong_sums(session) == []
        assert find_wrong_totals(session) == []
        reserved = sa.select(UsageLog.id).where(UsageLog.status == UsageStatus.RESERVED)
        assert session.scalars(reserved).all() == []
    engine.dispose()


def limit(client: Client, **values: Any) -> Any:
    body = {"subject_kind": "user", "subject_id": client.user["id"], "window": "month"} | values
    return client.api("POST", "/quotas", json=body, expect=201)


def ask(client: Client, chat_id: str, content: str = "Count") -> tuple[Any, Any]:
    """Ask, wait for the end, and return the run and the reply."""
    sent = client.say(chat_id, content)
    run = client.finished(sent["run"]["id"])
    return run, client.api("GET", f"/messages/{sent['reply']['id']}")


def test_a_message_without_room_is_refused_and_not_stored(ana: Client) -> None:
    limit(ana, max_requests=1)
    chat = ana.chat(**MODEL)
    ask(ana, chat["id"])
    refused = ana.request("POST", f"/chats/{chat['id']}/messages", json={"content": "again"})
    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["can_raise"]) == (429, "quota_reached", "person")
    assert int(refused.headers["Retry-After"]) > 0
    limits = [refused.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")]
    assert limits == ["1", "0", refused.headers["Retry-After"]]
    assert (problem["left"], problem["measure"], problem["window"]) == ("0", "requests", "month")
    assert ana.api("GET", f"/chats/{chat['id']}")["message_count"] == 2


def test_a_note_without_a_reply_needs_no_room(ana: Client) -> None:
    limit(ana, max_requests=0)
    assert ana.say(ana.chat(**MODEL)["id"], "Remember the milk", reply=False)["run"] is None


def test_a_request_that_costs_too_much_fails_before_it_is_made(ana: Client, provider: ScriptedProvider) -> None:
    """Ask a long question: a short answer would fit, but not the question."""
    limit(ana, max_cost="0.003")
    run, reply = ask(ana, ana.chat(**MODEL)["id"], "long " * 4000)
    assert (run["status"], run["error"]["code"]) == ("failed", "quota_reached")
    assert (reply["finish_reason"], reply["error"]["code"], reply["content"]) == ("budget", "quota_reached", "")
    assert [request for request in provider.requests if "messages" in request] == []
    assert ana.api("GET", "/usage")["total"]["cost"] == "0.000000"


def test_web_searches_are_reserved_with_the_request(ana: Client, provider: ScriptedProvider) -> None:
    limit(ana, max_cost="0.03")
    settings = {"max_tokens": 100}
    run, _ = ask(ana, ana.chat(settings=settings, **MODEL)["id"])
    assert run["status"] == "completed"
    run, _ = ask(ana, ana.chat(settings=settings | {"web_search": True}, **MODEL)["id"])
    assert (run["status"], run["error"]["code"]) == ("failed", "quota_reached")


def test_the_tokens_of_pages_that_a_vendor_reads_are_reserved(ana: Client, provider: ScriptedProvider) -> None:
    limit(ana, max_input_tokens=20_000)
    settings = {"max_tokens": 100}
    assert ask(ana, ana.chat(settings=settings, **MODEL)["id"])[0]["status"] == "completed"
    run, _ = ask(ana, ana.chat(settings=settings | {"web_search": True}, **MODEL)["id"])
    assert (run["status"], run["error"]["code"]) == ("failed", "quota_reached")


def test_an_answer_is_asked_for_only_as_long_as_the_budget_allows(ana: Client, provider: ScriptedProvider) -> None:
    limit(ana, max_output_tokens=100)
    provider.play([Text("As far as it goes"), Finish("length", 7, 100)])
    run, reply = ask(ana, ana.chat(**MODEL)["id"])
    assert provider.requests[-1]["max_tokens"] == 100
    assert (run["status"], reply["finish_reason"], reply["content"]) == (
        "interrupted",
        "budget",
        "As far as it goes",
    )
    assert "Its text is kept" in reply["error"]["message"]


def test_a_reply_that_is_simply_long_is_not_stopped_by_a_budget(ana: Client, provider: ScriptedProvider) -> None:
    limit(ana, max_output_tokens=1_000_000)
    provider.play([Text("To the end"), Finish("length", 7, 100)])
    run, reply = ask(ana, ana.chat(**MODEL)["id"])
    assert (run["status"], reply["finish_reason"]) == ("completed", "length")


def test_a_provider_that_writes_on_is_stopped_and_the_reply_continues_when_there_is_room(
    ana: Client, provider: ScriptedProvider
) -> None:
    quota = limit(ana, max_output_tokens=100)
    provider.play(words(2000))
    chat = ana.chat(**MODEL)
    run, reply = ask(ana, chat["id"])
    assert (run["status"], reply["status"], reply["finish_reason"]) == ("interrupted", "interrupted", "budget")
    assert reply["content"].startswith("w0 w1 w2 ")
    assert 80 <= reply["usage"]["output_tokens"] <= 160
    ana.api("POST", f"/messages/{reply['id']}/continue", expect=429)
    ana.api("PATCH", f"/quotas/{quota['id']}", json={"max_output_tokens": 10_000})
    provider.play([Text("and the end"), Finish()])
    again = ana.api("POST", f"/messages/{reply['id']}/continue", expect=201)
    assert ana.finished(again["run"]["id"])["status"] == "completed"
    whole = ana.api("GET", f"/messages/{reply['id']}")
    assert whole["content"] == reply["content"] + "and the end"
    assert (whole["finish_reason"], whole["error"]) == ("stop", None)


def test_a_model_with_a_price_per_hour_is_stopped_when_its_time_is_used_up(
    ana: Client, server: LiveServer, sign_in: SignIn, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop a model that says nothing more, because one second fits into the limit and ten minutes do not."""
    monkeypatch.setattr("tertulia.billing.limits.TIMES_S", (600, 1))
    price = {"provider": "openai", "model_name": "gpt-4o", "input_price": "0", "output_price": "0", "hour_price": "36"}
    make_admin(server, sign_in).api("POST", "/model-prices", json=price, expect=201)
    limit(ana, max_cost="0.02")
    provider.play([Text("So far"), Hold(), Text("too late"), Finish()])
    run, reply = ask(ana, ana.chat(**MODEL)["id"])
    provider.release()
    assert (run["status"], reply["content"], reply["finish_reason"]) == ("interrupted", "So far", "budget")
    assert 0.01 <= float(run["cost"]) < 0.02


def test_the_events_of_a_run_say_that_a_limit_was_reached(ana: Client, provider: ScriptedProvider) -> None:
    limit(ana, max_output_tokens=100)
    provider.play([Text("So far"), Finish("length", 7, 100)])
    sent = ana.say(ana.chat(**MODEL)["id"], "Count")
    *_, (_, kind, last) = ana.run_events(sent["run"]["id"])
    assert (kind, last["code"]) == ("run.failed", "quota_reached")


def test_limits_show_what_is_used_reserved_and_left(ana: Client, provider: ScriptedProvider) -> None:
    limit(ana, max_tokens=100_000, window="day")
    chat = ana.chat(**MODEL)
    ana.api(
        "POST",
        "/quotas",
        json={"subject_kind": "chat", "subject_id": chat["id"], "window": "month", "max_requests": 2},
        expect=201,
    )
    provider.play([Text("One"), Finish("stop", 7, 5)], [Text("Two"), Hold(), Finish("stop", 7, 5)])
    ask(ana, chat["id"])
    sent = ana.say(chat["id"], "More")
    until(lambda: ana.api("GET", f"/messages/{sent['reply']['id']}")["content"] == "Two")
    items = {item["measure"]: item for item in ana.api("GET", f"/limits?chat_id={chat['id']}")["items"]}
    assert ana.api("GET", "/limits")["items"][0]["measure"] == "tokens"
    requests, tokens = items["requests"], items["tokens"]
    assert (requests["used"], requests["reserved"], requests["left"]) == ("1", "1", "0")
    assert (tokens["used"], tokens["limit"]) == ("12", "100000")
    assert float(tokens["reserved"]) > 16_000
    assert float(tokens["left"]) == 100_000 - 12 - float(tokens["reserved"])
    assert items["storage"]["used"] == "0"
    provider.release()
    ana.finished(sent["run"]["id"])


def test_a_token_has_its_own_limit(ana: Client, server: LiveServer) -> None:
    token = ana.api("POST", "/api-tokens", json={"name": "script"}, expect=201)
    limit(ana, subject_kind="token", subject_id=token["id"], max_requests=1)
    chat = ana.chat(**MODEL)
    with Client(server.url) as script:
        script.headers["Authorization"] = f"Bearer {token['token']}"
        script.finished(script.say(chat["id"], "one")["run"]["id"])
        problem = script.api("POST", f"/chats/{chat['id']}/messages", json={"content": "two"}, expect=429)
        assert problem["subject_kind"] == "token"
        refused = script.api("POST", "/quotas", json=_own(ana), expect=403)
        assert refused["code"] == "sign_in_needed"
    ask(ana, chat["id"])
    by_token = ana.api("GET", "/usage?group_by=token")["items"]
    assert {(row["token_name"], row["replies"]) for row in by_token} == {("script", 1), (None, 1)}


def _own(client: Client) -> dict[str, Any]:
    return {"subject_kind": "user", "subject_id": client.user["id"], "window": "day", "max_requests": 9}


def test_an_administrator_limits_each_user(ana: Client, server: LiveServer, sign_in: SignIn) -> None:
    admin = make_admin(server, sign_in)
    body = {"subject_kind": "role", "subject_id": "user", "window": "day", "max_messages": 1}
    admin.api("POST", "/quotas", json=body, expect=201)
    chat = ana.chat(**MODEL)
    ana.say(chat["id"], "one", reply=False)
    problem = ana.api("POST", f"/chats/{chat['id']}/messages", json={"content": "two", "reply": False}, expect=429)
    assert problem["code"] == "message_limit_reached"
    (shown, *_) = ana.api("GET", "/limits")["items"]
    assert (shown["measure"], shown["set_by"], shown["left"]) == ("messages", "admin", "0")
    assert ana.api("GET", "/quotas?of=everyone", expect=403)["code"] == "admin_only"


def test_storage_is_limited_by_a_quota(ana: Client) -> None:
    limit(ana, max_storage_bytes=10)
    ana.api("POST", "/attachments", files={"file": ("a.txt", b"0123456789")}, expect=201)
    full = ana.api("POST", "/attachments", files={"file": ("b.txt", b"x")}, expect=422)
    assert (full["code"], full["limit"]) == ("storage_full", 10)
    assert "10 bytes" in full["detail"]


def test_what_a_failed_request_reserved_is_released(ana: Client, provider: ScriptedProvider) -> None:
    limit(ana, max_requests=2)
    provider.play([Status(401)])
    run, _ = ask(ana, ana.chat(**MODEL)["id"])
    assert run["status"] == "failed"
    assert {item["measure"]: item["left"] for item in ana.api("GET", "/limits")["items"]}["requests"] == "2"


def test_the_person_is_notified_when_most_of_a_limit_is_used(ana: Client, provider: ScriptedProvider) -> None:
    limit(ana, max_requests=2)
    with ana.stream("GET", "/events") as stream:
        from tests.fakes.live_server import parse_events

        events = parse_events(stream, within_s=30)
        assert next(events)[1] == "ready"
        ask(ana, ana.chat(**MODEL)["id"])
        notice = next(data for _, _, data in events if data.get("entity") == "quota_notice")
    assert (notice["payload"]["percent"], notice["payload"]["limit"]["measure"]) == (50, "requests")


def test_a_provider_that_writes_on_is_stopped_at_the_length_it_was_asked_for(
    ana: Client, provider: ScriptedProvider
) -> None:
    limit(ana, max_output_tokens=1_000_000)
    provider.play([*[Text("word " * 200)] * 200, Finish("stop", 7, 40_000)])
    run, reply = ask(ana, ana.chat(**MODEL)["id"])
    assert (run["status"], reply["finish_reason"]) == ("completed", "length")
    assert reply["usage"]["output_tokens"] < 17_500


def test_a_summary_gets_no_more_than_is_left(ana: Client, provider: ScriptedProvider) -> None:
    limit(ana, max_output_tokens=100)
    chat = ana.chat(**MODEL)
    for number in range(6):
        ana.say(chat["id"], f"Question {number} about bread. " * 20, reply=False)
    provider.play([Text("Short."), Finish()])
    body = {"optimization_type": "summarization"}
    ana.api("POST", f"/chats/{chat['id']}/context-optimizations", json=body, expect=201)
    assert provider.requests[-1]["max_tokens"] == 100


def test_a_summary_by_a_token_counts_for_the_token(ana: Client, server: LiveServer) -> None:
    token = ana.api("POST", "/api-tokens", json={"name": "script"}, expect=201)
    limit(ana, subject_kind="token", subject_id=token["id"], max_requests=0)
    chat = ana.chat(**MODEL)
    for number in range(6):
        ana.say(chat["id"], f"Question {number} about bread. " * 20, reply=False)
    with Client(server.url) as script:
        script.headers["Authorization"] = f"Bearer {token['token']}"
        body = {"optimization_type": "summarization"}
        refused = script.api("POST", f"/chats/{chat['id']}/context-optimizations", json=body, expect=429)
        assert (refused["code"], refused["subject_kind"]) == ("quota_reached", "token")
