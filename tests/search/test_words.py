"""Text as words, and what people type as a search: for any script, and for anything that is typed."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.chat.models import MessageRole
from tertulia.search.query import Term, understand
from tertulia.search.snippets import snippet_of
from tertulia.search_index.words import MAX_WORD_LENGTH, fold, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, World!", ["hello", "world"]),
        ("snake_case and kebab-case", ["snake", "case", "and", "kebab", "case"]),
        ("Café CRÈME naïve", ["cafe", "creme", "naive"]),
        ("Straße ﬁne", ["strasse", "fine"]),
        ("ＦＵＬＬ width", ["full", "width"]),
        ("機械学習", ["機", "機械", "械", "械学", "学", "学習", "習"]),
        ("東", ["東"]),
        ("ab東京cd", ["ab", "東", "東京", "京", "cd"]),
        ("한국어", ["한", "한국", "국", "국어", "어"]),
        ("re\u0301sume\u0301", ["resume"]),
        ("كِتَاب كتاب", ["كتاب", "كتاب"]),
        ("हिन्दी", ["हनद"]),
        ("1e5 3.14 2026-11-22", ["1e5", "3", "14", "2026", "11", "22"]),
        ("", []),
        ("… — !?", []),
        ("x" * 70, ["x" * MAX_WORD_LENGTH]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(st.text())
def test_nothing_of_a_word_means_anything_to_a_database(text: str) -> None:
    for word in words_of(text):
        assert word
        assert not set(word) & set("'\"\\:*&|!()<>-_ \x00")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=30))
def test_folding_is_the_same_however_often_it_is_done(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_what_is_typed_is_understood() -> None:
    asked = understand('bread -butter "rises slowly" from:assistant before:2026-11 after:2025 has:code in:Kitchen')
    assert asked.terms == [Term(("bread",)), Term(("rises", "slowly"), is_phrase=True)]
    assert asked.without == [Term(("butter",))]
    assert asked.role is MessageRole.ASSISTANT
    assert asked.until == datetime(2026, 11, 1, tzinfo=UTC)
    assert asked.since == datetime(2025, 1, 2, tzinfo=UTC)
    assert (asked.has, asked.in_title) == (["code"], ["kitchen"])


def test_a_filter_without_sense_is_words() -> None:
    asked = understand("before:breakfast from:mars has:fun has:")
    assert [term.words for term in asked.terms] == [
        ("before",),
        ("breakfast",),
        ("from",),
        ("mars",),
        ("has",),
        ("fun",),
        ("has",),
    ]


@pytest.mark.parametrize("day", ["2026-99999999999999", "99999-1", "2026-13", "0", "1969", "2026-1-1-1"])
def test_a_day_that_is_none_is_words(day: str) -> None:
    assert understand(f"before:{day}").until is None


def test_few_titles_are_looked_for() -> None:
    assert len(understand("x " + "in:ab " * 80).in_title) == 4


@given(st.text())
def test_whatever_is_typed_is_understood(text: str) -> None:
    understand(text)


@given(st.text(), st.text(min_size=1, max_size=20))
def test_a_snippet_is_of_its_text(text: str, typed: str) -> None:
    pieces = snippet_of(text, understand(typed).terms)
    shown = "".join(piece["text"] for piece in pieces)
    assert shown.removeprefix("…").removesuffix("…") in text or shown in text


def test_a_snippet_shows_the_hit_marked() -> None:
    text = "Long ago " * 60 + "the baker's bread rose, and bread fell. " + "And so on. " * 60
    pieces = snippet_of(text, understand("bread").terms)
    assert [piece["text"] for piece in pieces if piece["is_hit"]] == ["bread", "bread"]
    assert pieces[0] == {"text": "…", "is_hit": False}
    assert len("".join(piece["text"] for piece in pieces)) <= 204
