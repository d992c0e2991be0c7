"""What fits a model's window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.context.cutting import OLD_RESULT, shorten, within
from tertulia.context.messages import OVERHEAD_PER_MESSAGE, ContextMessage, SentCall, Turn, estimate_tokens
from tertulia.context.window import LEAST_PINNED, plan_context, reserve_for_answer


def sent_of(messages: list[ContextMessage], max_tokens: int) -> list[ContextMessage]:
    return [one.sent for one in plan_context(messages, max_tokens) if one.sent is not None]


messages = st.lists(
    st.builds(ContextMessage, st.sampled_from(["user", "assistant"]), st.text(max_size=400)),
    min_size=1,
    max_size=30,
)


@given(messages, st.integers(40, 3000))
def test_what_is_kept_fits_and_is_the_newest_part_in_order(branch: list[ContextMessage], budget: int) -> None:
    kept = sent_of([ContextMessage("system", "Be kind."), *branch], budget)
    assert sum(estimate_tokens(message.content) for message in kept) <= budget
    assert kept[0].role == "system"
    tail = kept[1:]
    assert tail  # never a dead end: something of the newest message always goes
    assert tail[-1].role == branch[-1].role
    # What was asked goes with its answer; of the others the newest go, whole.
    question = next((one for one in reversed(branch) if one.role == "user"), None)
    others = [one for one in branch[:-1] if one is not question]
    whole = [one for one in tail[:-1] if any(one is other for other in others)]
    assert whole == others[len(others) - len(whole) :]
    assert len(tail) - 1 - len(whole) == (question is not None and question is not branch[-1])


@given(messages)
def test_nothing_is_left_out_of_what_fits_exactly(branch: list[ContextMessage]) -> None:
    whole = sum(estimate_tokens(message.content) for message in branch)
    assert sent_of(branch, max(whole, 8)) == branch
    if whole > 8:
        assert sent_of(branch, whole - 1) != branch


def test_a_newest_message_that_is_too_long_loses_its_middle_only() -> None:
    text = "begin " + "x" * 5000 + " end"
    (kept,) = sent_of([ContextMessage("user", text)], 200)
    assert kept.content.startswith("begin ")
    assert kept.content.endswith(" end")
    assert "characters left out" in kept.content


@given(st.text(max_size=3000), st.integers(4, 500))
def test_a_shortened_text_is_never_over_its_limit(text: str, limit: int) -> None:
    assert estimate_tokens(shorten(text, limit)) <= max(limit, 4)


def test_the_system_says_at_least_a_part_and_never_takes_all() -> None:
    told, question = sent_of([ContextMessage("system", "Be kind. " * 200), ContextMessage("user", "hello")], 64)
    assert told.content.startswith("Be kind.")
    assert told.tokens <= 48
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
def test_the_rules_of_a_person_hold_and_what_is_sent_fits(branch: list[ContextMessage], budget: int) -> None:
    planned = plan_context(branch, budget)
    assert [one.message for one in planned] == branch
    assert sum(one.sent.tokens for one in planned if one.sent) <= budget
    assert planned[-1].why == "newest"
    assert planned[-1].sent is not None
    asked = [one for one in planned if one.why == "newest"]
    assert all(one.sent is not None for one in asked)
    pinned = [one for one in planned if one.message.rule == "pinned" and one not in asked]
    if budget // 2 >= LEAST_PINNED * len(pinned):
        assert all(one.sent is not None and one.why == "pinned" for one in pinned)
    assert not any(one.sent for one in planned if one.message.rule == "left_out" and one not in asked)
    # What goes by itself is one stretch that ends at the newest.
    auto = [one for one in planned if one.message.rule == "auto" and one not in asked]
    assert [one.sent is not None for one in auto] == sorted(one.sent is not None for one in auto)
    assert all(one.sent in (None, one.message) for one in auto)


def reply(number: int, result: str, said: str = "So it is.") -> ContextMessage:
    turn = Turn("", (SentCall(f"call{number}", "look", "{}", result),))
    return ContextMessage("assistant", said, str(number), turns=(turn,))


def test_results_of_tools_are_shortened_before_anything_is_left_out_the_oldest_first() -> None:
    """S001-081"""
    branch = [
        ContextMessage("user", "Look into it", "1"),
        reply(2, "a" * 4000),
        ContextMessage("user", "And the other?", "3"),
        reply(4, "b" * 700),
        ContextMessage("user", "What was the first?", "5"),
    ]
    planned = plan_context(branch, 600)
    assert [one.why for one in planned] == ["fits", "shortened", "fits", "fits", "newest"]
    assert planned[1].sent is not None
    (call,) = planned[1].sent.turns[0].calls
    assert estimate_tokens(call.result) >= OLD_RESULT - 5  # what room there is, is used
    assert "characters left out" in call.result
    assert planned[1].sent.content == "So it is."
    # With still less room the oldest go, and no result is without its call.
    less = [one for one in plan_context(branch, 220) if one.sent is None]
    assert [one.message.message_id for one in less] == ["1", "2"]


def test_what_a_reply_said_stays_whole_where_its_results_can_be_shortened() -> None:
    said = "word " * 2000
    long = reply(2, "x" * 50_000, said)
    (_, sent, _) = plan_context([ContextMessage("user", "a", "1"), long, ContextMessage("user", "b", "3")], 3200)
    assert sent.sent is not None
    assert sent.sent.content == said
    assert sent.sent.tokens <= 3200


def test_the_question_comes_before_what_is_pinned_and_before_what_answers_it() -> None:
    pins = [ContextMessage("user", "pinned " * 100, str(number), rule="pinned") for number in range(50)]
    question = ContextMessage("user", "What do you make of all this? " * 10, "q")
    *_, asked = plan_context([*pins, question], 300)
    assert asked.sent == question
    story = ContextMessage("assistant", "Once upon a time " * 400, "r")  # interrupted, and to be continued
    asked, told = plan_context([question, story], 500)
    assert (asked.why, asked.sent) == ("newest", question)
    assert told.sent is not None


def test_a_call_with_too_long_arguments_keeps_its_place() -> None:
    """Without it the model would make the same call again."""
    turn = Turn("I write it down.", (SentCall("c", "write", '{"text": "' + "x" * 9000 + '"}', "done"),))
    cut = within(ContextMessage("assistant", "", turns=(turn,)), 200)
    assert cut.tokens <= 200
    ((call,),) = [turn.calls for turn in cut.turns]
    assert (call.id, call.result, call.arguments) == ("c", "done", '{"left_out": "they were too long"}')


@pytest.mark.parametrize(
    ("text", "counted"),
    [  # as o200k_base counts them
        ("The quick brown fox jumps over the lazy dog. " * 10, 101),
        ("def area(width, height):\n    return width * height\n" * 5, 60),
        ('{"id": 17, "name": "Ana", "ok": true, "tags": ["a", "b"]}', 27),
        ("550e8400-e29b-41d4-a716-446655440000", 18),
        ("这是一个关于面包的问题。", 7),
        ("Wie viele Brötchen möchten Sie morgen früh abholen?", 12),
        ("Сколько хлеба нужно испечь завтра утром?", 10),
    ],
)
def test_estimates_are_near_what_is_counted_and_rather_above(text: str, counted: int) -> None:
    assert 0.95 * counted <= estimate_tokens(text) - OVERHEAD_PER_MESSAGE <= 3 * counted


def test_what_is_pinned_goes_before_what_is_newer_and_only_long_ones_are_shortened() -> None:
    branch = [
        ContextMessage("user", "short", rule="pinned"),
        ContextMessage("user", "x" * 2000, rule="pinned"),
        *(ContextMessage("user", "y" * 300) for _ in range(5)),
        ContextMessage("user", "newest"),
    ]
    planned = plan_context(branch, 200)
    assert [one.why for one in planned] == ["pinned", "pinned", *["window"] * 5, "newest"]
    assert planned[0].sent == branch[0]
    assert planned[1].sent is not None
    assert "characters left out" in planned[1].sent.content
