"""Tests for summaries by the scripted model, editing and reverting them, and truncation on request."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.orm import Session

from tertulia.chat.counters import find_wrong_totals
from tertulia.chat.models import OptimizationType
from tertulia.context.messages import estimate_tokens
from tertulia.db.opening import plain_engine
from tests.conftest import SignIn
from tests.context.test_next_request import fill
from tests.fakes.live_server import Client
from tests.fakes.scripted_provider import Finish, Hold, ScriptedProvider, Status, Text
from tests.waiting import Listener, until


def all_of(client: Client, chat: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.api("GET", f"/chats/{chat}/context-optimizations")["items"]
    return items


def setting(client: Client, chat: str, **settings: Any) -> None:
    known = client.api("GET", f"/chats/{chat}")["settings"]
    client.api("PATCH", f"/chats/{chat}", json={"settings": {**known, **settings}})


def sent_texts(provider: ScriptedProvider) -> list[str]:
    return [message["content"] for message in provider.requests[-1]["messages"]]


def test_a_full_window_is_summarized_and_the_summary_is_edited_and_replaced(
    ana: Client, provider: ScriptedProvider
) -> None:
    """Check facts S001-068, S001-072, S001-073, S001-078 and S001-079."""
    chat = fill(ana, provider, turns=3)
    setting(ana, chat, when_full="summarization")
    listener = Listener(ana)
    provider.play(
        [Text("Of question 0."), Finish(usage=False)],
        [Text("Of question 0 and more."), Finish(usage=False)],
        [Text("They exchanged questions 0 and 1."), Finish(usage=False)],
        [Text("Well."), Finish(usage=False)],
    )
    sent = ana.say(chat, "And now? " + "word " * 60)
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    (compaction,) = all_of(ana, chat)
    assert (
        compaction["optimization_type"],
        compaction["trigger_reason"],
        compaction["summary"],
        compaction["model_name"],
    ) == (
        "summarization",
        "token_limit",
        "They exchanged questions 0 and 1.",
        "scripted",
    )
    assert compaction["tokens_after"] < compaction["tokens_before"]
    assert compaction["affected_messages"]
    listener.wait_for(lambda: ("context_optimization", "created") in listener.changes)
    # The messages do not fit one request, so three are sent, each with the summary of the one before.
    first, second, _ = (request["messages"][-1]["content"] for request in provider.requests[-4:-1])
    assert '<message from="user">\nQuestion 0.' in first
    assert second.startswith("<summary_of_before>\nOf question 0.\n</summary_of_before>")
    texts = sent_texts(provider)
    assert texts[0].endswith("<summary>\nThey exchanged questions 0 and 1.\n</summary>")
    assert not any(text.startswith("Question 0.") for text in texts[1:])
    # A summary's usage is not counted as a reply.
    usage = ana.api("GET", "/usage")
    assert usage["total"]["replies"] == 4
    shown = ana.api("GET", f"/chats/{chat}/context")
    assert (shown["applied"], shown["summary"]) == ([compaction["id"]], compaction["summary"])
    assert "summarized" in {item["reason"] for item in shown["items"]}
    path = f"/chats/{chat}/context-optimizations/{compaction['id']}"
    edited = ana.api("PATCH", path, json={"summary": "They spoke of two questions."})
    assert (edited["is_edited"], edited["summary"]) == (True, "They spoke of two questions.")
    assert ana.api("PATCH", path, json={"summary": "word " * 3000}, expect=409)["code"] == "nothing_to_shorten"
    # Deleting a summarized message supersedes the summary, and the next run replaces it.
    ana.api("DELETE", f"/messages/{compaction['affected_messages'][0]}", expect=204)
    assert all_of(ana, chat)[0]["is_superseded"]
    assert ana.api("GET", f"/chats/{chat}/context")["summary"] is None
    summary: list[Any] = [Text("Of question 0 alone."), Finish(usage=False)]
    provider.play(summary, summary, summary, [Text("Good."), Finish(usage=False)])
    ana.finished(ana.say(chat, "Go on. " + "word " * 40)["run"]["id"])
    newest, *_, oldest = all_of(ana, chat)
    assert (newest["summary"], oldest["reverted_at"] is not None) == ("Of question 0 alone.", True)
    ana.api("DELETE", f"/chats/{chat}/context-optimizations/{newest['id']}", expect=204)
    ana.api("DELETE", f"/chats/{chat}/context-optimizations/{newest['id']}", expect=204)  # repeating it changes nothing
    assert ana.api("GET", f"/chats/{chat}/context")["summary"] is None


def test_deleting_a_message_erases_the_summaries_of_it(ana: Client, provider: ScriptedProvider) -> None:
    chat = fill(ana, provider, turns=4, window=8192)
    path = f"/chats/{chat}/context-optimizations"
    provider.play([Text("The secret is 42."), Finish(usage=False)])
    compaction = ana.api("POST", path, json={"optimization_type": "summarization"}, expect=201)
    ana.api("DELETE", f"{path}/{compaction['id']}", expect=204)  # reverted summaries lose their text too
    first = compaction["affected_messages"][-1]
    ana.api("DELETE", f"/messages/{first}", expect=204)
    (row,) = all_of(ana, chat)
    assert (row["summary"], row["is_superseded"]) == (None, True)
    assert ana.api("PATCH", f"{path}/{compaction['id']}", json={"summary": "Again."}, expect=404)["code"] == (
        "optimization_not_found"
    )


def test_deleting_a_file_erases_the_summaries_of_it(ana: Client, provider: ScriptedProvider) -> None:
    chat = ana.chat()["id"]
    sent = ana.request(
        "POST", "/attachments", files={"file": ("a.txt", b"The secret is 42. " * 40)}, data={"chat_id": chat}
    )
    file_id = sent.json()["id"]
    until(lambda: ana.api("GET", f"/attachments/{file_id}")["status"] == "ready")
    ana.say(chat, "What does it say?", attachment_ids=[file_id], reply=False)
    for number in range(4):
        ana.say(chat, f"And {number}? " + "word " * 60, reply=False)
    provider.play([Text("The secret is 42."), Finish(usage=False)])
    path = f"/chats/{chat}/context-optimizations"
    assert ana.api("POST", path, json={"optimization_type": "summarization"}, expect=201)["summary"]
    ana.api("DELETE", f"/attachments/{file_id}", expect=204)
    (row,) = all_of(ana, chat)
    assert (row["summary"], row["is_superseded"]) == (None, True)


def test_a_truncation_survives_deleting_its_boundary_and_leaf(ana: Client, provider: ScriptedProvider) -> None:
    chat = fill(ana, provider, turns=4, window=8192)
    truncation = ana.api(
        "POST", f"/chats/{chat}/context-optimizations", json={"optimization_type": "truncation"}, expect=201
    )
    before = ana.api("GET", f"/chats/{chat}/context")
    for message_id in (truncation["boundary_message_id"], truncation["leaf_message_id"]):
        ana.api("DELETE", f"/messages/{message_id}", expect=204)
        assert ana.api("GET", f"/chats/{chat}/context")["items"][0]["reason"] == "truncated"
    after = ana.api("GET", f"/chats/{chat}/context")
    assert {item["message_id"] for item in after["items"] if item["sent_tokens"]} < {
        item["message_id"] for item in before["items"] if item["sent_tokens"]
    }


def test_a_failed_summary_becomes_a_truncation_with_a_note(ana: Client, provider: ScriptedProvider) -> None:
    chat = fill(ana, provider, turns=3)
    setting(ana, chat, when_full="summarization")
    provider.play([Status(400)], [Text("Well."), Finish(usage=False)])
    sent = ana.say(chat, "And now? " + "word " * 60)
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    (compaction,) = all_of(ana, chat)
    assert (compaction["optimization_type"], compaction["summary"]) == ("truncation", None)
    assert compaction["note"].startswith("The summary failed, so the oldest messages are left out: ")


def test_a_user_compacts_the_context_and_reverts_it(ana: Client, provider: ScriptedProvider) -> None:
    chat = fill(ana, provider, turns=4, window=8192)
    path = f"/chats/{chat}/context-optimizations"
    before = ana.api("GET", f"/chats/{chat}/context")
    left_out = ana.api("POST", path, json={"optimization_type": "truncation"}, expect=201)
    assert (left_out["trigger_reason"], left_out["tokens_after"] < left_out["tokens_before"]) == ("user_request", True)
    shown = ana.api("GET", f"/chats/{chat}/context")
    assert shown["used"] < before["used"]
    assert shown["items"][0]["reason"] == "truncated"
    ana.api("DELETE", f"{path}/{left_out['id']}", expect=204)
    assert ana.api("GET", f"/chats/{chat}/context")["items"] == before["items"]
    provider.play([Text("Short."), Finish(usage=False)])
    summary = ana.api("POST", path, json={"optimization_type": "summarization"}, expect=201)
    assert (summary["summary"], summary["trigger_reason"]) == ("Short.", "user_request")
    provider.play([Status(500)])
    failed = ana.request("POST", f"/api/v1{path}", json={"optimization_type": "summarization"})
    assert failed.status_code >= 400
    for _ in range(2):
        refused = ana.api("POST", path, json={"optimization_type": "compression"}, expect=409)
        assert refused["code"] == "nothing_to_shorten"
    assert ana.api("POST", path, json={"optimization_type": "other"}, expect=422)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([Text("They spoke of "), Finish(reason="length", usage=False)], "too long or not finished"),
        ([Text("   "), Finish(usage=False)], "empty summary"),
        ([Text("word " * 5000), Finish(usage=False)], "too long or not finished"),
        ([Text("word " * 700), Finish(usage=False)], "hardly shorter"),
    ],
)
def test_an_unusable_summary_is_refused_and_changes_nothing(
    ana: Client, provider: ScriptedProvider, answer: list[Any], reason: str
) -> None:
    chat = fill(ana, provider, turns=4, window=8192)
    before = ana.api("GET", f"/chats/{chat}/context")["items"]
    provider.play(answer)
    path = f"/chats/{chat}/context-optimizations"
    refused = ana.api("POST", path, json={"optimization_type": "summarization"}, expect=409)
    assert refused["code"] == "summary_failed"
    assert reason in refused["detail"]
    assert all_of(ana, chat) == []
    assert ana.api("GET", f"/chats/{chat}/context")["items"] == before


@pytest.mark.parametrize("window", [256, 512, 1024, 8192, 32_768])
def test_summary_requests_fit_the_window(ana: Client, provider: ScriptedProvider, window: int) -> None:
    chat = ana.chat()["id"]
    ana.api("PATCH", f"/chats/{chat}", json={"context_window_size": window})
    for _ in range(12):
        ana.say(chat, "A question about bread. " * min(800, window // 8), reply=False)
    summary: list[Any] = [Text("They asked about bread."), Finish(usage=False)]
    provider.play(summary, summary, summary)
    path = f"/chats/{chat}/context-optimizations"
    answer = ana.api("POST", path, json={"optimization_type": "summarization"}, expect=409 if window == 256 else 201)
    assert window > 256 or "too small" in answer["detail"]
    for request in provider.requests:
        sent = sum(estimate_tokens(message["content"]) for message in request["messages"])
        assert sent + request["max_tokens"] <= window


@pytest.mark.parametrize("turns", [0, 4, 60])
def test_the_forecast_matches_the_summary_requests(ana: Client, provider: ScriptedProvider, turns: int) -> None:
    chat = ana.chat()["id"]
    ana.api("PATCH", f"/chats/{chat}", json={"context_window_size": 2048})
    for number in range(turns):
        ana.say(chat, f"Question {number} about bread. " * 20, reply=False)
    ana.say(chat, "And now?", reply=False)
    path = f"/chats/{chat}/context-optimizations"
    forecast = ana.api("GET", f"{path}/forecast")
    assert (forecast["model_name"], forecast["cost"]) == ("scripted", None if turns else "0")
    summary: list[Any] = [Text("They asked about bread."), Finish(usage=False)]
    provider.play(summary, summary, summary)
    ana.api("POST", path, json={"optimization_type": "summarization"}, expect=201 if turns else 409)
    sent = [
        (sum(estimate_tokens(message["content"]) for message in request["messages"]), request["max_tokens"])
        for request in provider.requests
    ]
    assert forecast["requests"] == len(sent)
    assert forecast["requests"] > 1 or turns < 60
    assert forecast["output_tokens"] == sum(most for _, most in sent)
    assert sum(size for size, _ in sent) <= forecast["input_tokens"] <= sum(size + most for size, most in sent)


def test_a_summary_request_is_idempotent_and_runs_one_at_a_time(ana: Client, provider: ScriptedProvider) -> None:
    chat = fill(ana, provider, turns=4, window=8192)
    path = f"/chats/{chat}/context-optimizations"
    request_count = len(provider.requests)
    provider.play([Hold(), Text("Short."), Finish(usage=False)])
    with ThreadPoolExecutor() as threads:
        request: dict[str, Any] = {
            "json": {"optimization_type": "summarization"},
            "headers": {"Idempotency-Key": "once"},
        }
        first = threads.submit(ana.api, "POST", path, expect=201, **request)
        until(lambda: len(provider.requests) > request_count)
        other = ana.api("POST", path, json={"optimization_type": "summarization"}, expect=409)
        assert other["code"] == "summary_under_way"
        provider.release()
        summary = first.result(30)
    assert ana.api("POST", path, expect=201, **request) == summary
    assert len(provider.requests) == request_count + 1
    assert len(all_of(ana, chat)) == 1


def test_reverting_all_compactions_sends_everything_again(ana: Client, provider: ScriptedProvider) -> None:
    """Check fact S001-084."""
    chat = fill(ana, provider, turns=6)
    assert any(item["reverted_at"] is None for item in all_of(ana, chat))
    ana.api("DELETE", f"/chats/{chat}/context-optimizations", expect=204)
    assert all(item["reverted_at"] is not None for item in all_of(ana, chat))
    ana.api("PATCH", f"/chats/{chat}", json={"context_window_size": 8192})
    shown = ana.api("GET", f"/chats/{chat}/context")
    assert (shown["applied"], shown["older"]) == ([], 0)
    assert all(item["sent_tokens"] for item in shown["items"])


def test_automatic_compaction_begins_at_its_threshold(ana: Client, provider: ScriptedProvider) -> None:
    chat = fill(ana, provider, turns=2)
    setting(ana, chat, compact_at=0.5)
    provider.play([Text("Well."), Finish(usage=False)])
    ana.finished(ana.say(chat, "And now?")["run"]["id"])
    assert {item["trigger_reason"] for item in all_of(ana, chat)} == {"auto"}
    ana.api("PATCH", f"/chats/{chat}", json={"settings": {"compact_at": 0.2}}, expect=422)


def test_chat_totals_match_the_ledger_after_a_summary(ana: Client, provider: ScriptedProvider, settings: Any) -> None:
    chat = fill(ana, provider, turns=4, window=8192)
    provider.play([Text("Short."), Finish(usage=False)])
    ana.api("POST", f"/chats/{chat}/context-optimizations", json={"optimization_type": "summarization"}, expect=201)
    engine = plain_engine(settings)
    with Session(engine) as session:
        assert find_wrong_totals(session) == []
    engine.dispose()


def test_shared_readers_see_compactions_but_cannot_create_them(
    ana: Client, sign_in: SignIn, provider: ScriptedProvider
) -> None:
    chat = fill(ana, provider, turns=4, window=8192)
    bob = sign_in("bob")
    path = f"/chats/{chat}/context-optimizations"
    bob.api("GET", path, expect=404)
    ana.api("POST", f"/chats/{chat}/shares", json={"shared_with_username": "bob", "permissions": {}}, expect=201)
    assert bob.api("GET", path)["items"] == []
    for kind in OptimizationType:
        bob.api("POST", path, json={"optimization_type": kind}, expect=404)
    assert Decimal(ana.api("GET", "/usage")["total"]["cost"] or 0) >= 0
