"""Split text into the words that search indexes and looks up: for any script, the same on both databases."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

MAX_WORD_LENGTH = 64
# Scripts without spaces: indexed by single characters and by adjacent pairs.
_CJK = (
    "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003134a"
)
# Combining accents and vowel signs belong to the word, but `\w` does not match them.
_MARKS = "".join(chr(code) for code in range(0x300, 0x2100) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
_RUNS = re.compile(rf"([{_CJK}]+)|([^\W_{_CJK}](?:[^\W_{_CJK}]|[{_MARKS}\u200c\u200d])*)")
_DROPPED = frozenset(_MARKS + "\u200c\u200d")


@dataclass(frozen=True, slots=True)
class Run:
    """A word, or a run of Chinese, Japanese or Korean characters, with its position in the text."""

    words: tuple[str, ...]  # how it is indexed
    start: int
    end: int
    is_cjk: bool


def runs_of(text: str) -> Iterator[Run]:
    for match in _RUNS.finditer(text):
        is_cjk = match.group(1) is not None
        # One character may fold to several words: "½" becomes 1 and 2.
        words = tuple(
            word[:MAX_WORD_LENGTH]
            for piece in _RUNS.findall(fold(match.group()))
            for word in (_bigrams(piece[0]) if piece[0] else (piece[1],))
        )
        if words:
            yield Run(words, match.start(), match.end(), is_cjk)


def words_of(text: str) -> list[str]:
    """Return every word to index, in order."""
    return [word for run in runs_of(text) for word in run.words]


def asked_words(run: Run) -> tuple[str, ...]:
    """Return the words of a run that must all match; of longer CJK runs only the pairs, which are rarer."""
    if not run.is_cjk:
        return run.words
    pairs = tuple(word for word in run.words if len(word) == 2)
    return pairs or run.words


def fold(text: str) -> str:
    """Remove case, width, accents and vowel signs, so that spellings of the same word are equal."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    bare = "".join(
        character for character in decomposed if character not in _DROPPED and not unicodedata.combining(character)
    )
    return unicodedata.normalize("NFKC", bare)


def _bigrams(run: str) -> tuple[str, ...]:
    return tuple(word for index in range(len(run)) for word in dict.fromkeys((run[index], run[index : index + 2])))
