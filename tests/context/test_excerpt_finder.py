"""Test when meaning is asked for the passages of earlier files, and what of it is remembered."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tertulia.context.excerpts import Excerpts
from tertulia.runs.request.excerpts import ExcerptFinder, LongFile, LongFiles
from tertulia.search.meaning.search import PassagesOfFiles
from tertulia.search_index.passages import split_passages

TEXT = "\n\n".join(f"Chapter {number}. " + "The sea was calm and nothing else happened. " * 14 for number in range(20))
STARTS = [start for start, _ in split_passages(TEXT)]
EARLIER = LongFiles("Anything unusual?", [], [LongFile("f", "book.txt", TEXT, "Read this")], 32_000)


class FakeDatabase:
    def __init__(self, answer: object) -> None:
        self._answer = answer

    async def read(self, _work: object, *_: object) -> Any:
        return self._answer


class FakeMeaning:
    def __init__(self, *answers: Mapping[str, Sequence[int]]) -> None:
        self.answers = list(answers)

    async def nearest(self, question: str, attachment_ids: Sequence[str]) -> Mapping[str, Sequence[int]]:
        assert question == "Anything unusual?"
        return self.answers.pop(0) if attachment_ids else {}


def find(meaning: FakeMeaning | None, files: LongFiles, times: int) -> list[Excerpts]:
    finder = ExcerptFinder(FakeDatabase(files), meaning)  # type: ignore[arg-type]

    async def main() -> list[Excerpts]:
        return [await finder.find("c", "m", None) for _ in range(times)]

    return asyncio.run(main())


def starts(excerpts: Excerpts) -> list[int]:
    return [passage.start for later in excerpts.for_question for passage in later.passages]


def test_what_is_near_in_meaning_comes_with_the_question_and_is_remembered() -> None:
    meaning = FakeMeaning({"f": [STARTS[7], STARTS[3]]})
    for excerpts in find(meaning, EARLIER, 3):
        assert starts(excerpts) == [STARTS[7], STARTS[3]]
    assert meaning.answers == []


def test_meaning_is_asked_again_if_it_did_not_answer() -> None:
    first, second = find(FakeMeaning({}, {"f": [STARTS[7]]}), EARLIER, 2)
    assert (starts(first), starts(second)) == ([], [STARTS[7]])


@pytest.mark.parametrize("meaning", [None, FakeMeaning()])
def test_the_passages_of_a_file_itself_need_no_meaning(meaning: FakeMeaning | None) -> None:
    """Keep their order, also when more is embedded by now: a vendor's cache would end there."""
    files = LongFiles("Anything unusual?", EARLIER.earlier, [], 32_000)
    (excerpts,) = find(meaning, files, 1)
    assert [passage.start for passage in excerpts.of_files["f"]][:2] == [STARTS[0], STARTS[-1]]
    assert excerpts.for_question == []


@pytest.mark.parametrize(("rows", "vector", "count"), [([], b"\x7f" * 384, 0), ([("f", 0, b"\x7f" * 384)], None, 1)])
def test_no_vector_of_the_question_is_made_without_stored_ones(
    rows: list[tuple[str, int, bytes]], vector: bytes | None, count: int
) -> None:
    questions: list[str] = []

    class FakeEmbedder:
        async def embed_query(self, text: str) -> bytes | None:
            questions.append(text)
            return vector

    passages = PassagesOfFiles(FakeDatabase(rows), FakeEmbedder())  # type: ignore[arg-type]
    assert asyncio.run(passages.nearest("q" * 5000, ["f"])) == {}
    assert len(questions) == count
    assert all(len(question) <= 1000 for question in questions)


def test_stored_vectors_are_compared_with_the_question() -> None:
    class FakeEmbedder:
        async def embed_query(self, _text: str) -> bytes:
            return bytes([6] * 384)

    rows = [("f", 0, bytes([6] * 192 + [250] * 192)), ("f", 700, bytes([6] * 384))]
    passages = PassagesOfFiles(FakeDatabase(rows), FakeEmbedder())  # type: ignore[arg-type]
    assert asyncio.run(passages.nearest("Why?", ["f"])) == {"f": [700]}
