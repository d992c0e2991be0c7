"""Property tests for comparing and merging texts: nothing is lost and nothing is invented."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.drafts import text as texts
from tertulia.drafts.text import (
    Change,
    Merged,
    Span,
    apply_changes,
    changes_between,
    clean,
    count_words,
    diff_pieces,
    merge_texts,
    merged_text,
    spans_after,
)

WORDS = st.sampled_from(["the ", "quick ", "brown ", "fox, ", "jumps.\n", "\n", "東京", "に", "e-mail ", "  ", "é"])
TEXT = st.lists(WORDS, max_size=30).map("".join)


@st.composite
def edited(draw: st.DrawFn, base: str) -> str:
    """Generate a text from a base by a few cuts and insertions."""
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(base)))
        end = draw(st.integers(start, min(len(base), start + 12)))
        base = base[:start] + draw(TEXT) + base[end:]
    return base


@st.composite
def three_sides(draw: st.DrawFn) -> tuple[str, str, str]:
    base = draw(TEXT)
    return base, draw(edited(base)), draw(edited(base))


@given(TEXT, TEXT)
def test_applying_the_changes_gives_the_new_text(old: str, new: str) -> None:
    changes = changes_between(old, new)
    assert apply_changes(old, changes) == new
    assert all(change.start <= change.end for change in changes)
    assert all(before.end <= after.start for before, after in itertools.pairwise(changes))
    pieces = diff_pieces(old, new)
    assert "".join(piece["text"] for piece in pieces if piece["kind"] != "added") == old
    assert "".join(piece["text"] for piece in pieces if piece["kind"] != "removed") == new


@given(three_sides())
def test_a_merge_contains_the_text_of_both_sides(sides: tuple[str, str, str]) -> None:
    base, mine, theirs = sides
    merged = merge_texts(base, mine, theirs)
    assert _side(merged, "mine") == "".join(_taken(merged, "mine"))
    for side, text in (("mine", mine), ("theirs", theirs)):
        kept = _side(merged, side)
        for change in changes_between(base, text):
            assert change.text in kept
    # Characters that neither side removed stay in order.
    rest = iter(_side(merged, "mine"))
    both = [changes_between(base, mine), changes_between(base, theirs)]
    untouched = [
        character
        for at, character in enumerate(base)
        if not any(change.start <= at < change.end for side in both for change in side)
    ]
    assert all(character in rest for character in untouched)


@given(three_sides())
def test_a_merge_does_not_depend_on_who_saves_first(sides: tuple[str, str, str]) -> None:
    base, mine, theirs = sides
    assert _side(merge_texts(base, mine, theirs), "mine") == _side(merge_texts(base, theirs, mine), "theirs")


@given(three_sides())
def test_an_unchanged_side_does_not_affect_the_merge(sides: tuple[str, str, str]) -> None:
    base, mine, _ = sides
    assert merged_text(merge_texts(base, mine, base)) == mine
    assert merged_text(merge_texts(base, base, mine)) == mine
    assert merged_text(merge_texts(base, mine, mine)) == mine


def _taken(merged: Merged, side: str) -> list[str]:
    return [piece["text"] if piece["kind"] == "same" else piece[side] for piece in merged]  # type: ignore[literal-required]


def _side(merged: Merged, side: str) -> str:
    return "".join(_taken(merged, side))


def test_changes_to_different_words_of_a_paragraph_are_merged() -> None:
    base = "The quick brown fox jumps over the lazy dog."
    merged = merge_texts(base, base.replace("quick", "slow"), base.replace("lazy", "sleeping"))
    assert merged_text(merged) == "The slow brown fox jumps over the sleeping dog."


def test_conflicting_changes_to_a_word_are_not_merged() -> None:
    base = "The quick brown fox."
    merged = merge_texts(base, base.replace("quick", "slow"), base.replace("quick", "red"))
    assert merged == [
        {"kind": "same", "text": "The "},
        {"kind": "overlap", "base": "quick", "mine": "slow", "theirs": "red"},
        {"kind": "same", "text": " brown fox."},
    ]
    assert merged_text(merged) is None


def test_deleting_a_sentence_conflicts_with_an_insertion_into_it() -> None:
    base = "First. The second one. Third."
    merged = merge_texts(base, "First. Third.", "First. The second good one. Third.")
    assert [piece["kind"] for piece in merged] == ["same", "overlap", "same"]


def test_the_longer_of_two_equal_continuations_is_taken() -> None:
    merged = merge_texts("A.", "A. And more", "A. And more of it")
    assert merged_text(merged) == "A. And more of it"


def test_a_passage_too_long_to_compare_is_one_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MAX_COMPARED", 10)
    assert changes_between("a b c d e f", "g b h d i f") == [Change(0, 9, "g b h d i")]


@given(three_sides())
def test_every_character_has_one_origin(sides: tuple[str, str, str]) -> None:
    base, mine, theirs = sides
    spans = [Span(len(base), 1)] if base else []
    for number, (old, new) in enumerate([(base, mine), (mine, theirs)], 2):
        before = [span.version_number for span in spans for _ in range(span.length)]
        changes = changes_between(old, new)
        spans = spans_after(spans, changes, number)
        after = [span.version_number for span in spans for _ in range(span.length)]
        assert len(after) == len(new)
        assert all(span != following for span, following in itertools.pairwise(spans))
        # Kept characters keep their origin, and new ones get the new version.
        assert [origin for origin in after if origin == number] == [number] * sum(
            len(change.text) for change in changes
        )
        removed = {at for change in changes for at in range(change.start, change.end)}
        assert [origin for origin in after if origin != number] == [
            origin for at, origin in enumerate(before) if at not in removed
        ]


def test_line_ends_are_normalised_and_words_counted_in_any_script() -> None:
    assert clean("a\r\nb\rc\n") == "a\nb\nc\n"
    assert count_words("It's 3 o'clock — 東京!") == 7
