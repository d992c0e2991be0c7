"""Tests for fitting messages into a model's context window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.context.cutting import OLD_RESULT, shorten, within
from tertulia.context.messages import OVERHEAD_PER_MESSAGE, ContextMessage, SentCall, Turn, estimate_tokens
from tertulia.context.window import MIN_PINNED, plan_context, reserve_for_answer


def sent_of(messages: list[ContextMessage], max_tokens: int) -> list[ContextMessage]:
    return [item.sent for item in plan_context(messages, max_tokens) if item.sent is not None]


messages = st.lists(
    st.builds(ContextMessage, st.sampled_from(["user", "assistant"]), st.text(max_size=400)),
    min_size=1,
    max_size=30,
)


@given(messages, st.integers(40, 3000))
def test_kept_messages_fit_and_are_the_newest_in_order(branch: list[ContextMessage], budget: int) -> None:
    kept = sent_of([ContextMessage("system", "Be kind."), *branch], budget)
    assert sum(estimate_tokens(message.content) for message in kept) <= budget
    assert kept[0].role == "system"
    tail = kept[1:]
    assert tail  # some of the newest message is always sent
    assert tail[-1].role == branch[-1].role
    # The last question is sent with its answer. Of the others, the newest are sent whole.
    question = next((message for message in reversed(branch) if message.role == "user"), None)
    others = [message for message in branch[:-1] if message is not question]
    whole = [message for message in tail[:-1] if any(message is other for other in others)]
    assert whole == others[len(others) - len(whole) :]
    assert len(tail) - 1 - len(whole) == (question is not None and question is not branch[-1])


@given(messages)
def test_nothing_is_left_out_of_messages_that_fit_exactly(branch: list[ContextMessage]) -> None:
    whole = sum(estimate_tokens(message.content) for message in branch)
    assert sent_of(branch, max(whole, 8)) == branch
    if whole > 8:
        assert sent_of(branch, whole - 1) != branch


def test_a_newest_message_that_is_too_long_loses_only_its_middle() -> None:
    text = "begin " + "x" * 5000 + " end"
    (kept,) = sent_of([ContextMessage("user", text)], 200)
    assert kept.content.startswith("begin ")
    assert kept.content.endswith(" end")
    assert "characters left out" in kept.content


@given(st.text(max_size=3000), st.integers(4, 500))
def test_a_shortened_text_is_never_over_its_limit(text: str, limit: int) -> None:
    assert estimate_tokens(shorten(text, limit)) <= max(limit, 4)


def test_a_long_system_prompt_is_cut_and_leaves_room_for_the_question() -> None:
    system, question = sent_of([ContextMessage("system", "Be kind. " * 200), ContextMessage("user", "hello")], 64)
    assert system.content.startswith("Be kind.")
    assert system.tokens <= 48
    assert question.content == "hello"


@pytest.mark.parametrize(
    ("window", "max_tokens", "reserve"),
    [
        (8192, None, 1024),
        (8192, 2000, 2000),
        (1000, 2000, 500),
        (1000, None, 500),
        (128_000, None, 8000),
        (1_000_000, None, 8192),
    ],
)
def test_the_answer_gets_at_most_half_of_the_window(window: int, max_tokens: int | None, reserve: int) -> None:
    assert reserve_for_answer(window, max_tokens) == reserve


rules = st.sampled_from(["auto", "auto", "pinned", "left_out"])
ruled = st.lists(
    st.builds(ContextMessage, st.sampled_from(["user", "assistant"]), st.text(max_size=400), rule=rules),
    min_size=1,
    max_size=30,
)


@given(ruled, st.integers(40, 3000))
def test_context_rules_apply_and_the_sent_messages_fit(branch: list[ContextMessage], budget: int) -> None:
    planned = plan_context(branch, budget)
    assert [item.message for item in planned] == branch
    assert sum(item.sent.tokens for item in planned if item.sent) <= budget
    assert planned[-1].reason == "newest"
    assert planned[-1].sent is not None
    newest = [item for item in planned if item.reason == "newest"]
    assert all(item.sent is not None for item in newest)
    pinned = [item for item in planned if item.message.rule == "pinned" and item not in newest]
    if budget // 2 >= MIN_PINNED * len(pinned):
        assert all(item.sent is not None and item.reason == "pinned" for item in pinned)
    assert not any(item.sent for item in planned if item.message.rule == "left_out" and item not in newest)
    # Messages without a rule are sent as one unbroken run up to the newest.
    auto = [item for item in planned if item.message.rule == "auto" and item not in newest]
    assert [item.sent is not None for item in auto] == sorted(item.sent is not None for item in auto)
    assert all(item.sent in (None, item.message) for item in auto)


def reply(number: int, result: str, said: str = "So it is.") -> ContextMessage:
    turn = Turn("", (SentCall(f"call{number}", "look", "{}", result),))
    return ContextMessage("assistant", said, str(number), turns=(turn,))


def test_tool_results_are_cut_before_messages_are_left_out_oldest_first() -> None:
    """Check fact S001-081."""
    branch = [
        ContextMessage("user", "Look into it", "1"),
        reply(2, "a" * 4000),
        ContextMessage("user", "And the other?", "3"),
        reply(4, "b" * 700),
        ContextMessage("user", "What was the first?", "5"),
    ]
    planned = plan_context(branch, 600)
    assert [item.reason for item in planned] == ["fits", "shortened", "fits", "fits", "newest"]
    assert planned[1].sent is not None
    (call,) = planned[1].sent.turns[0].calls
    assert estimate_tokens(call.result) >= OLD_RESULT - 5  # the available room is used
    assert "characters left out" in call.result
    assert planned[1].sent.content == "So it is."
    # With less room the oldest messages are left out, and no result loses its call.
    less = [item for item in plan_context(branch, 220) if item.sent is None]
    assert [item.message.message_id for item in less] == ["1", "2"]


def test_cutting_tool_results_keeps_the_text_of_the_reply() -> None:
    said = "word " * 2000
    long = reply(2, "x" * 50_000, said)
    (_, sent, _) = plan_context([ContextMessage("user", "a", "1"), long, ContextMessage("user", "b", "3")], 3200)
    assert sent.sent is not None
    assert sent.sent.content == said
    assert sent.sent.tokens <= 3200


def test_the_question_has_priority_over_pinned_messages_and_its_reply() -> None:
    pins = [ContextMessage("user", "pinned " * 100, str(number), rule="pinned") for number in range(50)]
    question = ContextMessage("user", "What do you make of all this? " * 10, "q")
    *_, planned_question = plan_context([*pins, question], 300)
    assert planned_question.sent == question
    story = ContextMessage("assistant", "Once upon a time " * 400, "r")  # an interrupted reply to continue
    planned_question, planned_reply = plan_context([question, story], 500)
    assert (planned_question.reason, planned_question.sent) == ("newest", question)
    assert planned_reply.sent is not None


def test_a_call_with_too_long_arguments_is_kept_without_them() -> None:
    """Prevent the model from repeating the call."""
    turn = Turn("I write it down.", (SentCall("c", "write", '{"text": "' + "x" * 9000 + '"}', "done"),))
    cut = within(ContextMessage("assistant", "", turns=(turn,)), 200)
    assert cut.tokens <= 200
    ((call,),) = [turn.calls for turn in cut.turns]
    assert (call.id, call.result, call.arguments) == ("c", "done", '{"left_out": "they were too long"}')


@pytest.mark.parametrize(
    ("text", "counted"),
    [  # counted by o200k_base
        ("The quick brown fox jumps over the lazy dog. " * 10, 101),
        ("def area(width, height):\n    return width * height\n" * 5, 60),
        ('{"id": 17, "name": "Ana", "ok": true, "tags": ["a", "b"]}', 27),
        ("550e8400-e29b-41d4-a716-446655440000", 18),
        ("这是一个关于面包的问题。", 7),
        ("Wie viele Brötchen möchten Sie morgen früh abholen?", 12),
        ("Сколько хлеба нужно испечь завтра утром?", 10),
    ],
)
def test_token_estimates_are_near_the_count_and_rarely_below(text: str, counted: int) -> None:
    assert 0.95 * counted <= estimate_tokens(text) - OVERHEAD_PER_MESSAGE <= 3 * counted


def test_pinned_messages_have_priority_and_only_long_ones_are_cut() -> None:
    branch = [
        ContextMessage("user", "short", rule="pinned"),
        ContextMessage("user", "x" * 2000, rule="pinned"),
        *(ContextMessage("user", "y" * 300) for _ in range(5)),
        ContextMessage("user", "newest"),
    ]
    planned = plan_context(branch, 200)
    assert [item.reason for item in planned] == ["pinned", "pinned", *["window"] * 5, "newest"]
    assert planned[0].sent == branch[0]
    assert planned[1].sent is not None
    assert "characters left out" in planned[1].sent.content
