"""Test splitting text into words, parsing searches and building snippets, for any script and input."""

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
def test_text_is_split_into_folded_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@given(st.text())
def test_words_contain_no_query_operators(text: str) -> None:
    for word in words_of(text):
        assert word
        assert not set(word) & set("'\"\\:*&|!()<>-_ \x00")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=30))
def test_folding_is_idempotent(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_a_search_is_parsed_into_terms_and_filters() -> None:
    query = understand('bread -butter "rises slowly" from:assistant before:2026-11 after:2025 has:code in:Kitchen')
    assert query.terms == [Term(("bread",)), Term(("rises", "slowly"), is_phrase=True)]
    assert query.without == [Term(("butter",))]
    assert query.role is MessageRole.ASSISTANT
    assert query.until == datetime(2026, 11, 1, tzinfo=UTC)
    assert query.since == datetime(2025, 1, 2, tzinfo=UTC)
    assert (query.has, query.in_title) == (["code"], ["kitchen"])


def test_an_invalid_filter_is_searched_as_text() -> None:
    query = understand("before:breakfast from:mars has:fun has:")
    assert [term.words for term in query.terms] == [
        ("before",),
        ("breakfast",),
        ("from",),
        ("mars",),
        ("has",),
        ("fun",),
        ("has",),
    ]


@pytest.mark.parametrize("day", ["2026-99999999999999", "99999-1", "2026-13", "0", "1969", "2026-1-1-1"])
def test_an_invalid_day_is_not_a_filter(day: str) -> None:
    assert understand(f"before:{day}").until is None


def test_at_most_four_title_filters_are_kept() -> None:
    assert len(understand("x " + "in:ab " * 80).in_title) == 4


@given(st.text())
def test_any_text_can_be_parsed_as_a_search(text: str) -> None:
    understand(text)


@given(st.text(), st.text(min_size=1, max_size=20))
def test_a_snippet_is_part_of_its_text(text: str, typed: str) -> None:
    pieces = snippet_of(text, understand(typed).terms)
    shown = "".join(piece["text"] for piece in pieces)
    assert shown.removeprefix("…").removesuffix("…") in text or shown in text


def test_a_snippet_marks_the_matches() -> None:
    text = "Long ago " * 60 + "the baker's bread rose, and bread fell. " + "And so on. " * 60
    pieces = snippet_of(text, understand("bread").terms)
    assert [piece["text"] for piece in pieces if piece["is_hit"]] == ["bread", "bread"]
    assert pieces[0] == {"text": "…", "is_hit": False}
    assert len("".join(piece["text"] for piece in pieces)) <= 204
