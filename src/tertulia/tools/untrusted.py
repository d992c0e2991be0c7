"""Whether the arguments of a call carry words that came from somewhere else: a page, a server, a file."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Shorter values are in every text: a name, a number, a word.
LEAST_WHOLE = 8
PIECE = 24  # characters that are no coincidence
STEP = 8
MAX_PIECES = 400
READ_AT_MOST = 64 * 1024  # characters of each source
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Source:
    """Somebody else's words, and where they came from, in words for a person."""

    name: str
    text: str


def find_sources(arguments: Mapping[str, Any], sources: Iterable[Source], own_words: str) -> list[str]:
    """The names of the sources whose words the arguments carry, each once. What the person wrote themselves is theirs."""
    own = _plain(own_words)
    pieces = [piece for value in _strings(arguments) for piece in _pieces(_plain(value)) if piece not in own]
    pieces = pieces[:MAX_PIECES]
    if not pieces:
        return []
    found: dict[str, None] = {}
    for source in sources:
        text = _plain(source.text[:READ_AT_MOST])
        if source.name not in found and any(piece in text for piece in pieces):
            found[source.name] = None
    return list(found)


def _plain(text: str) -> str:
    return _SPACE.sub(" ", text).strip().lower()


def _pieces(value: str) -> Iterator[str]:
    """A short value as a whole, and of a long one overlapping pieces."""
    if len(value) < LEAST_WHOLE:
        return
    if len(value) <= PIECE:
        yield value
        return
    for start in range(0, len(value) - PIECE + 1, STEP):
        yield value[start : start + PIECE]
    yield value[-PIECE:]


def _strings(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for one in value.values():
                yield from _strings(one)
        case list():
            for one in value:
                yield from _strings(one)
