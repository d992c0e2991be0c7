"""What fits a model's window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.context.window import (
    ContextMessage,
    ContextTooSmall,
    estimate_tokens,
    fit_to_window,
    reserve_for_answer,
    shorten,
)

messages = st.lists(
    st.builds(ContextMessage, st.sampled_from(["user", "assistant"]), st.text(max_size=400)),
    min_size=1,
    max_size=30,
)


@given(messages, st.integers(40, 3000))
def test_what_is_kept_fits_and_is_the_newest_part_in_order(branch: list[ContextMessage], budget: int) -> None:
    kept = fit_to_window([ContextMessage("system", "Be kind."), *branch], budget)
    assert sum(estimate_tokens(message.content) for message in kept) <= budget
    assert kept[0].role == "system"
    tail = kept[1:]
    assert tail  # never a dead end: something of the newest message always goes
    assert tail[:-1] == branch[len(branch) - len(tail) : -1]
    assert tail[-1].role == branch[-1].role


@given(messages)
def test_nothing_is_left_out_of_what_fits_exactly(branch: list[ContextMessage]) -> None:
    whole = sum(estimate_tokens(message.content) for message in branch)
    assert fit_to_window(branch, max(whole, 8)) == branch
    if len(branch) > 1 and whole > 8:
        assert len(fit_to_window(branch, whole - 1)) < len(branch)


def test_a_newest_message_that_is_too_long_loses_its_middle_only() -> None:
    text = "begin " + "x" * 5000 + " end"
    (kept,) = fit_to_window([ContextMessage("user", text)], 200)
    assert kept.content.startswith("begin ")
    assert kept.content.endswith(" end")
    assert "characters left out" in kept.content


@given(st.text(max_size=3000), st.integers(4, 500))
def test_a_shortened_text_is_never_over_its_limit(text: str, limit: int) -> None:
    assert estimate_tokens(shorten(text, limit)) <= max(limit, 4)


def test_system_messages_that_leave_no_room_are_told() -> None:
    with pytest.raises(ContextTooSmall):
        fit_to_window([ContextMessage("system", "x" * 1000), ContextMessage("user", "hello")], 50)


@pytest.mark.parametrize(
    ("window", "max_tokens", "reserve"),
    [(8192, None, 1024), (8192, 2000, 2000), (1000, 2000, 500), (1000, None, 500)],
)
def test_the_answer_gets_at_most_half_of_the_window(window: int, max_tokens: int | None, reserve: int) -> None:
    assert reserve_for_answer(window, max_tokens) == reserve
