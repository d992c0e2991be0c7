"""What fits a model's window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.context.window import (
    ContextMessage,
    ContextTooSmall,
    estimate_tokens,
    plan_context,
    reserve_for_answer,
    shorten,
)


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
    assert tail[:-1] == branch[len(branch) - len(tail) : -1]
    assert tail[-1].role == branch[-1].role


@given(messages)
def test_nothing_is_left_out_of_what_fits_exactly(branch: list[ContextMessage]) -> None:
    whole = sum(estimate_tokens(message.content) for message in branch)
    assert sent_of(branch, max(whole, 8)) == branch
    if len(branch) > 1 and whole > 8:
        assert len(sent_of(branch, whole - 1)) < len(branch)


def test_a_newest_message_that_is_too_long_loses_its_middle_only() -> None:
    text = "begin " + "x" * 5000 + " end"
    (kept,) = sent_of([ContextMessage("user", text)], 200)
    assert kept.content.startswith("begin ")
    assert kept.content.endswith(" end")
    assert "characters left out" in kept.content


@given(st.text(max_size=3000), st.integers(4, 500))
def test_a_shortened_text_is_never_over_its_limit(text: str, limit: int) -> None:
    assert estimate_tokens(shorten(text, limit)) <= max(limit, 4)


def test_system_messages_that_leave_no_room_are_told() -> None:
    with pytest.raises(ContextTooSmall):
        sent_of([ContextMessage("system", "x" * 1000), ContextMessage("user", "hello")], 50)


@pytest.mark.parametrize(
    ("window", "max_tokens", "reserve"),
    [(8192, None, 1024), (8192, 2000, 2000), (1000, 2000, 500), (1000, None, 500)],
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
    pinned = [one for one in planned[:-1] if one.message.rule == "pinned"]
    if budget >= 8 * (len(pinned) + 1):
        assert all(one.sent is not None and one.why == "pinned" for one in pinned)
    assert not any(one.sent for one in planned[:-1] if one.message.rule == "left_out")
    # What goes by itself is one stretch that ends at the newest.
    auto = [one.sent is not None for one in planned[:-1] if one.message.rule == "auto"]
    assert auto == sorted(auto)
    assert all(one.sent in (None, one.message) for one in planned[:-1] if one.message.rule == "auto")


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
