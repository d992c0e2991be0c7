"""Whether the arguments of a call carry words that came from somewhere else: a page, a server, a file.

Compared are letters and digits alone, so that neither spaces, signs and capitals hide a copy nor the ways in which addresses and
pages write them. What is said in other words is not found: what can send out is asked about anyway, unless a rule allows it.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import unquote_plus

SHINGLE = 6  # letters and digits that are compared at once
STEP = 5
# So many in a row are no coincidence; with digits among them, as in keys and numbers of cards, fewer are.
COPIED, COPIED_WITH_DIGITS = 20, 10
MOST_SHORT = 200  # values of a few letters that are looked for one by one
LEAST_WHOLE = 8  # a shorter value is in every text: a name, a number, a word
READ_AT_MOST = 4 * 1024 * 1024  # characters of all sources; what is beyond counts as carried, as nobody looked
BEYOND = "what is further back in this chat"
_SIGNS = re.compile(r"[\W_]+")
LEAST_PACKED = 16
_PACKED = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")


@dataclass(frozen=True)
class Source:
    """Somebody else's words, and where they came from, in words for a person."""

    name: str
    text: str


def find_sources(
    arguments: Mapping[str, Any], sources: Iterable[Source], own_words: str, *, is_all: bool = True
) -> list[str]:
    """The names of the sources whose words the arguments carry, each once. What the person wrote themselves is theirs.

    `is_all`: whether `sources` are all that there are; where they are not, nobody knows of the rest.
    """
    own = _plain(own_words)
    long_enough = (value for value in _strings(arguments) if len(value.strip()) >= LEAST_WHOLE)
    values = [plain for value in long_enough for plain in _readings(value) if len(plain) >= SHINGLE]
    values = [value for value in dict.fromkeys(values) if value not in own]
    if not values:
        return []
    places = _places(values)
    found: dict[str, None] = {}
    room = READ_AT_MOST
    for source in sources:
        if room <= 0:
            is_all = False
            break
        text = _plain(source.text[:room])
        room -= len(source.text)
        if source.name not in found and _is_carried(text, values, places, own):
            found[source.name] = None
    return [*found, *([] if is_all else [BEYOND])]


def _plain(text: str) -> str:
    return _SIGNS.sub("", text).casefold()


def _readings(value: str) -> Iterator[str]:
    """A value as it stands, and as whoever receives it may read it: out of an address, a page, or packed as letters."""
    yield _plain(value)
    spelled = unescape(unquote_plus(unquote_plus(value)))
    if spelled != value:
        yield _plain(spelled)
    for text in dict.fromkeys((value, spelled)):
        for packed in _PACKED.findall(text):
            # Of an address what stands before it may look packed, too: each part by itself, and from each of four places.
            for part in dict.fromkeys((packed, *packed.split("/"))):
                yield from (_plain(_unpacked(part[start:])) for start in range(4) if len(part) >= LEAST_PACKED)


def _unpacked(packed: str) -> str:
    letters = packed.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return b64decode(letters[: len(letters) // 4 * 4]).decode("utf-8", "ignore")
    except (binascii.Error, ValueError):
        return ""


def _places(values: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Where in which value each few letters stand."""
    return {
        value[start : start + SHINGLE]: (number, start)
        for number, value in enumerate(values)
        for start in range(len(value) - SHINGLE + 1)
    }


def _is_carried(text: str, values: Sequence[str], places: Mapping[str, tuple[int, int]], own: str) -> bool:
    """Whether a value stands in the text as a whole, or a stretch of it that is no coincidence and not the person's own."""
    # Too short to be met in steps; of very many nobody knows.
    short = [value for value in values if len(value) < SHINGLE + STEP - 1]
    if len(short) > MOST_SHORT or any(value in text for value in short):
        return True
    for at in range(0, len(text) - SHINGLE + 1, STEP):
        place = places.get(text[at : at + SHINGLE])
        if place is None:
            continue
        value = values[place[0]]
        stretch = _stretch(text, at, value, place[1])
        enough = COPIED_WITH_DIGITS if any(sign.isdigit() for sign in stretch) else COPIED
        if len(stretch) >= min(enough, len(value)) and stretch not in own:
            return True
    return False


def _stretch(text: str, at: int, value: str, start: int) -> str:
    """The longest that both have in common around a place, as far as it matters."""
    first, last = 0, SHINGLE
    while first > -COPIED and at + first > 0 and start + first > 0 and text[at + first - 1] == value[start + first - 1]:
        first -= 1
    while (
        last - first <= COPIED
        and at + last < len(text)
        and start + last < len(value)
        and text[at + last] == value[start + last]
    ):
        last += 1
    return text[at + first : at + last]


def _strings(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case bool():
            return
        case int() | float():
            yield str(value)
        case Mapping():
            for key, one in value.items():
                yield from _strings(key)
                yield from _strings(one)
        case list():
            for one in value:
                yield from _strings(one)
