"""Rank the passages of a long file by what they have to do with a question. Pure functions over plain values."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log

from tertulia.context.messages import OVERHEAD_PER_MESSAGE, Passage, estimate_tokens
from tertulia.search_index.words import asked_words, fold, runs_of

MAX_WORDS = 60  # of a question; the longest words of a longer one
MIN_WORD = 2  # letters; fewer say little, except numbers
WHOLE_WORD = 3  # letters; a longer word is also searched inside of others
STEM = 6  # letters that two forms of a word have in common, at least
LONG_WORD = 8  # letters; shorter words count less, because most of them are in every sentence
SATURATION = 1.2  # as in BM25: the second occurrence of a word counts less than the first
FUSION = 60  # as in reciprocal rank fusion: how much less the second of a list counts than the first
Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class LaterExcerpt:
    """Passages of a file of an earlier message that the question is about, the most important first."""

    attachment_id: str
    name: str
    length: int  # characters of the file
    passages: tuple[Passage, ...]


@dataclass(frozen=True)
class Excerpts:
    """Passages of long files. `of_files` matter for the message that a file was sent with, by attachment id.

    They stay the same in all later requests. `for_question` are sent with the newest question.
    """

    of_files: Mapping[str, Sequence[Passage]] = field(default_factory=dict)
    for_question: Sequence[LaterExcerpt] = ()


NO_EXCERPTS = Excerpts()


def escape_tags(text: str) -> str:
    """Return a text that does not end the tags around a file, of the same length, so that what is left out is counted right."""
    return text.replace("</file>", "‹/file>")


def rank_passages(text: str, spans: Spans, question: str) -> list[int]:
    """Return the indexes of all passages, the most important first.

    The first and the last come before those with words of the question. The others follow from both ends, so that
    without any match both ends of the text are used.
    """
    last = len(spans) - 1
    both_ends = (index for pair in zip(range(last + 1), range(last, -1, -1), strict=True) for index in pair)
    ends = [0, last] if spans else []
    return list(dict.fromkeys([*ends, *matching_passages(text, spans, question), *both_ends]))


def matching_passages(text: str, spans: Spans, question: str, near: Iterable[int] = ()) -> list[int]:
    """Return the indexes of the passages that have to do with a question, the most important first.

    `near` are passages whose meaning is nearest to it, best first. What both words and meaning say comes first.
    """
    scores = dict(_score(text, spans, question))
    by_words = sorted(scores, key=lambda index: (-scores[index], index))
    fused: dict[int, float] = {}
    for ranks in (by_words, list(near)):
        for place, index in enumerate(ranks):
            fused[index] = fused.get(index, 0.0) + 1 / (FUSION + place)
    return sorted(fused, key=lambda index: (-fused[index], index))


def take_passages(text: str, spans: Spans, ranks: Sequence[int], characters: int) -> tuple[Passage, ...]:
    """Return the most important passages of a text, with at most so many characters together."""
    passages: list[Passage] = []
    for index in ranks:
        start, end = spans[index]
        characters -= end - start
        if characters < 0:
            break
        passage = text[start:end]
        passages.append(Passage(start, passage, estimate_tokens(passage) - OVERHEAD_PER_MESSAGE))
    return tuple(passages)


def _score(text: str, spans: Spans, question: str) -> Iterable[tuple[int, float]]:
    """Yield the passages with words of the question, and how much they have to do with it."""
    folded = [fold(text[start:end]) for start, end in spans]
    everything = "\n".join(folded)
    scores = [0.0] * len(spans)
    for word in words_of_question(question):
        is_word = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)") if len(word) <= WHOLE_WORD and word.isascii() else None
        # A long word also counts in its other forms, and inside of longer words.
        forms = dict.fromkeys([word, word[: max(STEM, len(word) - 3)]])
        for form in forms:
            if form not in everything:
                continue
            counts = [len(is_word.findall(part)) if is_word else part.count(form) for part in folded]
            having = sum(count > 0 for count in counts)
            if having == 0 or (having > len(spans) / 2 and len(spans) > 2):
                continue  # what is everywhere tells nothing
            rarity = log(1 + (len(spans) - having + 0.5) / (having + 0.5)) / len(forms)
            weight = rarity * (min(len(word), LONG_WORD) / LONG_WORD if word.isascii() else 1.0)
            for index, count in enumerate(counts):
                if count:
                    scores[index] += weight * count / (count + SATURATION)
    return ((index, score) for index, score in enumerate(scores) if score > 0)


def words_of_question(question: str) -> list[str]:
    """Return the words to look for, each once: the longest, if there are very many."""
    words = dict.fromkeys(word for run in runs_of(question) for word in asked_words(run))
    telling = [word for word in words if len(word) >= MIN_WORD or not word.isascii() or word.isdigit()]
    return sorted(telling, key=lambda word: -len(word))[:MAX_WORDS]
