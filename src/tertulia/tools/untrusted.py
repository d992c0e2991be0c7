"""Find text from untrusted sources, such as pages, servers and files, in the arguments of a call.

Only letters and digits are compared. Spaces, punctuation, case, and URL or HTML escapes therefore do not hide a copy.
Paraphrases are not found. Tools that can send data out need approval anyway, unless a rule allows them.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import unquote_plus

SHINGLE = 6  # letters and digits compared at once
STEP = 5
# A common run this long is no coincidence. With digits in it, as in keys and card numbers, a shorter one counts.
COPIED, COPIED_WITH_DIGITS = 20, 10
MAX_SHORT_WORDS = 200  # short values that are searched one by one
MIN_COMPLETE = 8  # shorter values occur in every text: names, numbers, single words
READ_AT_MOST = 4 * 1024 * 1024  # characters of all sources together; text beyond is not searched and counts as a source
BEYOND = "earlier content of this chat"
_SIGNS = re.compile(r"[\W_]+")
MIN_PACKED = 16
_PACKED = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")


@dataclass(frozen=True)
class Source:
    """Untrusted text, with a readable name of where it came from."""

    name: str
    text: str


def find_sources(
    arguments: Mapping[str, Any], sources: Iterable[Source], own_words: str, *, is_all: bool = True
) -> list[str]:
    """Return the names of the sources whose text the arguments contain, each once. Text in `own_words` does not count.

    `is_all`: whether `sources` is complete. If it is not, BEYOND is added for the rest.
    """
    own = _plain(own_words)
    long_enough = (value for value in _strings(arguments) if len(value.strip()) >= MIN_COMPLETE)
    values = [plain for value in long_enough for plain in _readings(value) if len(plain) >= SHINGLE]
    values = [value for value in dict.fromkeys(values) if value not in own]
    if not values:
        return []
    places = _places(values)
    names: dict[str, None] = {}
    room = READ_AT_MOST
    for source in sources:
        if room <= 0:
            is_all = False
            break
        text = _plain(source.text[:room])
        room -= len(source.text)
        if source.name not in names and _is_carried(text, values, places, own):
            names[source.name] = None
    return [*names, *([] if is_all else [BEYOND])]


def _plain(text: str) -> str:
    return _SIGNS.sub("", text).casefold()


def _readings(value: str) -> Iterator[str]:
    """Yield the plain text of a value, and of its URL-decoded, HTML-decoded and Base64-decoded forms."""
    yield _plain(value)
    spelled = unescape(unquote_plus(unquote_plus(value)))
    if spelled != value:
        yield _plain(spelled)
    for text in dict.fromkeys((value, spelled)):
        for packed in _PACKED.findall(text):
            # A URL path before Base64 text can look like Base64: try each segment, and each of four offsets.
            for part in dict.fromkeys((packed, *packed.split("/"))):
                yield from (_plain(_unpacked(part[start:])) for start in range(4) if len(part) >= MIN_PACKED)


def _unpacked(packed: str) -> str:
    letters = packed.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return b64decode(letters[: len(letters) // 4 * 4]).decode("utf-8", "ignore")
    except (binascii.Error, ValueError):
        return ""


def _places(values: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Map each shingle to the index of its value and the position in it."""
    return {
        value[start : start + SHINGLE]: (number, start)
        for number, value in enumerate(values)
        for start in range(len(value) - SHINGLE + 1)
    }


def _is_carried(text: str, values: Sequence[str], places: Mapping[str, tuple[int, int]], own: str) -> bool:
    """Return whether the text contains a whole value, or a run too long for coincidence that is not in `own`."""
    # Too short for the stepped search. With too many of them, assume a match.
    short = [value for value in values if len(value) < SHINGLE + STEP - 1]
    if len(short) > MAX_SHORT_WORDS or any(value in text for value in short):
        return True
    for at in range(0, len(text) - SHINGLE + 1, STEP):
        place = places.get(text[at : at + SHINGLE])
        if place is None:
            continue
        value = values[place[0]]
        stretch = _stretch(text, at, value, place[1])
        enough = COPIED_WITH_DIGITS if any(character.isdigit() for character in stretch) else COPIED
        if len(stretch) >= min(enough, len(value)) and stretch not in own:
            return True
    return False


def _stretch(text: str, at: int, value: str, start: int) -> str:
    """Return the longest common run around a match, up to about COPIED characters."""
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
            for key, item in value.items():
                yield from _strings(key)
                yield from _strings(item)
        case list():
            for item in value:
                yield from _strings(item)
