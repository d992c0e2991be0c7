"""Summaries by the scripted model, and what a person does about them; leaving out by hand."""

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


def test_a_full_window_is_told_by_a_summary_that_is_shown_edited_and_redone(
    ana: Client, provider: ScriptedProvider
) -> None:
    """S001-068 S001-072 S001-073 S001-078 S001-079"""
    chat = fill(ana, provider, turns=3)
    setting(ana, chat, when_full="summarization")
    window = Listener(ana)
    provider.play(
        [Text("Of question 0."), Finish(usage=False)],
        [Text("Of question 0 and more."), Finish(usage=False)],
        [Text("They exchanged questions 0 and 1."), Finish(usage=False)],
        [Text("Well."), Finish(usage=False)],
    )
    sent = ana.say(chat, "And now? " + "word " * 60)
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    (made,) = all_of(ana, chat)
    assert (made["optimization_type"], made["trigger_reason"], made["summary"], made["model_name"]) == (
        "summarization",
        "token_limit",
        "They exchanged questions 0 and 1.",
        "scripted",
    )
    assert made["tokens_after"] < made["tokens_before"]
    assert made["affected_messages"]
    window.wait_for(lambda: ("context_optimization", "created") in window.changes)
    # What is more than one request has room for is told of in three, each knowing what the one before it gave.
    first, second, _ = (one["messages"][-1]["content"] for one in provider.requests[-4:-1])
    assert '<message from="user">\nQuestion 0.' in first
    assert second.startswith("<summary_of_before>\nOf question 0.\n</summary_of_before>")
    texts = sent_texts(provider)
    assert texts[0].endswith("<summary>\nThey exchanged questions 0 and 1.\n</summary>")
    assert not any(text.startswith("Question 0.") for text in texts[1:])
    # What it used is in the ledger and in the chat's totals, and is no reply.
    usage = ana.api("GET", "/usage")
    assert usage["total"]["replies"] == 4
    shown = ana.api("GET", f"/chats/{chat}/context")
    assert (shown["counting"], shown["summary"]) == ([made["id"]], made["summary"])
    assert "summarized" in {item["why"] for item in shown["items"]}
    path = f"/chats/{chat}/context-optimizations/{made['id']}"
    edited = ana.api("PATCH", path, json={"summary": "They spoke of two questions."})
    assert (edited["is_edited"], edited["summary"]) == (True, "They spoke of two questions.")
    assert ana.api("PATCH", path, json={"summary": "word " * 3000}, expect=409)["code"] == "nothing_to_shorten"
    # A message that it tells of goes: it is not sent any more, and made anew.
    ana.api("DELETE", f"/messages/{made['affected_messages'][0]}", expect=204)
    assert all_of(ana, chat)[0]["is_stale"]
    assert ana.api("GET", f"/chats/{chat}/context")["summary"] is None
    summary: list[Any] = [Text("Of question 0 alone."), Finish(usage=False)]
    provider.play(summary, summary, summary, [Text("Good."), Finish(usage=False)])
    ana.finished(ana.say(chat, "Go on. " + "word " * 40)["run"]["id"])
    newest, *_, oldest = all_of(ana, chat)
    assert (newest["summary"], oldest["undone_at"] is not None) == ("Of question 0 alone.", True)
    ana.api("DELETE", f"/chats/{chat}/context-optimizations/{newest['id']}", expect=204)
    ana.api("DELETE", f"/chats/{chat}/context-optimizations/{newest['id']}", expect=204)  # once more is the same
    assert ana.api("GET", f"/chats/{chat}/context")["summary"] is None


def test_the_words_of_a_deleted_message_are_in_no_summary(ana: Client, provider: ScriptedProvider) -> None:
    chat = fill(ana, provider, turns=4, window=8192)
    path = f"/chats/{chat}/context-optimizations"
    provider.play([Text("The secret is 42."), Finish(usage=False)])
    made = ana.api("POST", path, json={"optimization_type": "summarization"}, expect=201)
    ana.api("DELETE", f"{path}/{made['id']}", expect=204)  # not even of one that was undone
    first = made["affected_messages"][-1]
    ana.api("DELETE", f"/messages/{first}", expect=204)
    (row,) = all_of(ana, chat)
    assert (row["summary"], row["is_stale"]) == (None, True)
    assert ana.api("PATCH", f"{path}/{made['id']}", json={"summary": "Anew."}, expect=404)["code"] == (
        "optimization_not_found"
    )


def test_the_words_of_a_deleted_file_are_in_no_summary(ana: Client, provider: ScriptedProvider) -> None:
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
    assert (row["summary"], row["is_stale"]) == (None, True)


def test_what_is_deleted_moves_the_place_where_it_was_made_shorter(ana: Client, provider: ScriptedProvider) -> None:
    chat = fill(ana, provider, turns=4, window=8192)
    made = ana.api("POST", f"/chats/{chat}/context-optimizations", json={"optimization_type": "truncation"}, expect=201)
    before = ana.api("GET", f"/chats/{chat}/context")
    for gone in (made["boundary_message_id"], made["leaf_message_id"]):
        ana.api("DELETE", f"/messages/{gone}", expect=204)
        assert ana.api("GET", f"/chats/{chat}/context")["items"][0]["why"] == "truncated"
    after = ana.api("GET", f"/chats/{chat}/context")
    assert {item["message_id"] for item in after["items"] if item["sent_tokens"]} < {
        item["message_id"] for item in before["items"] if item["sent_tokens"]
    }


def test_a_summary_that_fails_leaves_the_oldest_out_and_says_so(ana: Client, provider: ScriptedProvider) -> None:
    chat = fill(ana, provider, turns=3)
    setting(ana, chat, when_full="summarization")
    provider.play([Status(400)], [Text("Well."), Finish(usage=False)])
    sent = ana.say(chat, "And now? " + "word " * 60)
    assert ana.finished(sent["run"]["id"])["status"] == "completed"
    (made,) = all_of(ana, chat)
    assert (made["optimization_type"], made["summary"]) == ("truncation", None)
    assert made["note"].startswith("The summary failed, so the oldest messages are left out: ")


def test_a_person_makes_the_context_shorter_and_takes_it_back(ana: Client, provider: ScriptedProvider) -> None:
    chat = fill(ana, provider, turns=4, window=8192)
    path = f"/chats/{chat}/context-optimizations"
    before = ana.api("GET", f"/chats/{chat}/context")
    left_out = ana.api("POST", path, json={"optimization_type": "truncation"}, expect=201)
    assert (left_out["trigger_reason"], left_out["tokens_after"] < left_out["tokens_before"]) == ("user_request", True)
    shown = ana.api("GET", f"/chats/{chat}/context")
    assert shown["used"] < before["used"]
    assert shown["items"][0]["why"] == "truncated"
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
    ("answer", "words"),
    [
        ([Text("They spoke of "), Finish(reason="length", usage=False)], "came to no end"),
        ([Text("   "), Finish(usage=False)], "answered with nothing"),
        ([Text("word " * 5000), Finish(usage=False)], "came to no end"),
        ([Text("word " * 700), Finish(usage=False)], "hardly shorter"),
    ],
)
def test_what_is_no_summary_is_refused_and_changes_nothing(
    ana: Client, provider: ScriptedProvider, answer: list[Any], words: str
) -> None:
    chat = fill(ana, provider, turns=4, window=8192)
    before = ana.api("GET", f"/chats/{chat}/context")["items"]
    provider.play(answer)
    path = f"/chats/{chat}/context-optimizations"
    refused = ana.api("POST", path, json={"optimization_type": "summarization"}, expect=409)
    assert refused["code"] == "summary_failed"
    assert words in refused["detail"]
    assert all_of(ana, chat) == []
    assert ana.api("GET", f"/chats/{chat}/context")["items"] == before


@pytest.mark.parametrize("window", [256, 512, 1024, 8192, 32_768])
def test_a_request_for_a_summary_fits_the_window(ana: Client, provider: ScriptedProvider, window: int) -> None:
    chat = ana.chat()["id"]
    ana.api("PATCH", f"/chats/{chat}", json={"context_window_size": window})
    for _ in range(12):
        ana.say(chat, "A question about bread. " * min(800, window // 8), reply=False)
    summary: list[Any] = [Text("They asked about bread."), Finish(usage=False)]
    provider.play(summary, summary, summary)
    path = f"/chats/{chat}/context-optimizations"
    made = ana.api("POST", path, json={"optimization_type": "summarization"}, expect=409 if window == 256 else 201)
    assert window > 256 or "too small" in made["detail"]
    for request in provider.requests:
        sent = sum(estimate_tokens(message["content"]) for message in request["messages"])
        assert sent + request["max_tokens"] <= window


@pytest.mark.parametrize("turns", [0, 4, 60])
def test_what_a_summary_would_take_is_told_before_it_is_asked_for(
    ana: Client, provider: ScriptedProvider, turns: int
) -> None:
    chat = ana.chat()["id"]
    ana.api("PATCH", f"/chats/{chat}", json={"context_window_size": 2048})
    for number in range(turns):
        ana.say(chat, f"Question {number} about bread. " * 20, reply=False)
    ana.say(chat, "And now?", reply=False)
    path = f"/chats/{chat}/context-optimizations"
    told = ana.api("GET", f"{path}/forecast")
    assert (told["model_name"], told["cost"]) == ("scripted", None if turns else "0")
    summary: list[Any] = [Text("They asked about bread."), Finish(usage=False)]
    provider.play(summary, summary, summary)
    ana.api("POST", path, json={"optimization_type": "summarization"}, expect=201 if turns else 409)
    sent = [
        (sum(estimate_tokens(message["content"]) for message in request["messages"]), request["max_tokens"])
        for request in provider.requests
    ]
    assert told["requests"] == len(sent)
    assert told["requests"] > 1 or turns < 60
    assert told["output_tokens"] == sum(most for _, most in sent)
    assert sum(size for size, _ in sent) <= told["input_tokens"] <= sum(size + most for size, most in sent)


def test_a_summary_is_asked_for_once_by_its_key_and_one_at_a_time(ana: Client, provider: ScriptedProvider) -> None:
    chat = fill(ana, provider, turns=4, window=8192)
    path = f"/chats/{chat}/context-optimizations"
    asked = len(provider.requests)
    provider.play([Hold(), Text("Short."), Finish(usage=False)])
    with ThreadPoolExecutor() as threads:
        wish: dict[str, Any] = {"json": {"optimization_type": "summarization"}, "headers": {"Idempotency-Key": "once"}}
        first = threads.submit(ana.api, "POST", path, expect=201, **wish)
        until(lambda: len(provider.requests) > asked)
        other = ana.api("POST", path, json={"optimization_type": "summarization"}, expect=409)
        assert other["code"] == "summary_under_way"
        provider.release()
        made = first.result(30)
    assert ana.api("POST", path, expect=201, **wish) == made
    assert len(provider.requests) == asked + 1
    assert len(all_of(ana, chat)) == 1


def test_everything_is_sent_again_with_one_press(ana: Client, provider: ScriptedProvider) -> None:
    """S001-084"""
    chat = fill(ana, provider, turns=6)
    assert any(one["undone_at"] is None for one in all_of(ana, chat))
    ana.api("DELETE", f"/chats/{chat}/context-optimizations", expect=204)
    assert all(one["undone_at"] is not None for one in all_of(ana, chat))
    ana.api("PATCH", f"/chats/{chat}", json={"context_window_size": 8192})
    shown = ana.api("GET", f"/chats/{chat}/context")
    assert (shown["counting"], shown["older"]) == ([], 0)
    assert all(item["sent_tokens"] for item in shown["items"])


def test_the_automatic_one_begins_at_its_threshold(ana: Client, provider: ScriptedProvider) -> None:
    chat = fill(ana, provider, turns=2)
    setting(ana, chat, optimize_at=0.5)
    provider.play([Text("Well."), Finish(usage=False)])
    ana.finished(ana.say(chat, "And now?")["run"]["id"])
    assert {one["trigger_reason"] for one in all_of(ana, chat)} == {"auto"}
    ana.api("PATCH", f"/chats/{chat}", json={"settings": {"optimize_at": 0.2}}, expect=422)


def test_totals_agree_with_the_ledger(ana: Client, provider: ScriptedProvider, settings: Any) -> None:
    chat = fill(ana, provider, turns=4, window=8192)
    provider.play([Text("Short."), Finish(usage=False)])
    ana.api("POST", f"/chats/{chat}/context-optimizations", json={"optimization_type": "summarization"}, expect=201)
    engine = plain_engine(settings)
    with Session(engine) as session:
        assert find_wrong_totals(session) == []
    engine.dispose()


def test_others_see_what_the_chat_gives_them(ana: Client, sign_in: SignIn, provider: ScriptedProvider) -> None:
    chat = fill(ana, provider, turns=4, window=8192)
    bob = sign_in("bob")
    path = f"/chats/{chat}/context-optimizations"
    bob.api("GET", path, expect=404)
    ana.api("POST", f"/chats/{chat}/shares", json={"shared_with_username": "bob", "permissions": {}}, expect=201)
    assert bob.api("GET", path)["items"] == []
    for kind in OptimizationType:
        bob.api("POST", path, json={"optimization_type": kind}, expect=404)
    assert Decimal(ana.api("GET", "/usage")["total"]["cost"] or 0) >= 0
