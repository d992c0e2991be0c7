"""Keep what a vendor requires back with a reply, such as signatures of thoughts, and return it to that vendor only."""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tertulia.providers.errors import MalformedReply

# Endings of model names that name an edition of the same model: a date, a number, `latest`, `preview`, a route's option.
_EDITION = re.compile(r"([-@]\d{8}|-\d{4}-\d{2}-\d{2}|-\d{3}|-latest|-preview(-[\d-]+)?|-exp(-[\d-]+)?|:[a-z]+)$")
GAPS = (0, 1, 2)  # characters between the texts of a turn, as they are joined
MAX_ECHO = 4 * 1024 * 1024  # characters of one turn; encrypted thoughts have some thousands


def _json(text: str) -> str:
    orjson.loads(text)  # what it accepts it can write again: no lone surrogates, no huge numbers, limited depth
    return text


# Imported ones may be anything.
JsonText = Annotated[str, Field(max_length=MAX_ECHO), AfterValidator(_json)]


class ProviderEcho(BaseModel):
    """What a vendor gave with an assistant turn and one of its calls, as JSON text, so that not a byte changes."""

    model_config = ConfigDict(frozen=True)

    origin: str = Field(max_length=64)  # of the server that gave it
    family: str = Field(max_length=200)
    turn: JsonText | None = None
    call: JsonText | None = None


@dataclass(frozen=True)
class EchoTarget:
    """The server and model that a request goes to."""

    origin: str
    family: str

    def accepts(self, echo: ProviderEcho | None) -> bool:
        """Return whether the target gave this echo itself. Other vendors and models reject it, or may not see it."""
        return echo is not None and (echo.origin, echo.family) == (self.origin, self.family)

    def mark(self, turn: object, call: object = None) -> ProviderEcho | None:
        """Return the echo to store of what this target gave; None for nothing. Raises MalformedReply if it is odd."""
        if turn is None and call is None:
            return None
        try:
            texts = [None if value is None else _text_of(value) for value in (turn, call)]
            return ProviderEcho(origin=self.origin, family=self.family, turn=texts[0], call=texts[1])
        except (ValueError, RecursionError) as error:
            raise MalformedReply(
                f"The reply came with thoughts that cannot be kept: not plain JSON of at most {MAX_ECHO} characters."
            ) from error


def _text_of(value: object) -> str:
    """Return a value as JSON text. Half a surrogate pair, which a server may send, becomes a question mark."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()


def model_family(model_name: str) -> str:
    """Return the name of a model without its edition. Signatures are valid within it."""
    name = model_name.lower()
    while (shorter := _EDITION.sub("", name)) != name:
        name = shorter
    return name


def rebuild_turn(
    echo: object,
    text: str,
    calls: Sequence[dict[str, object]],
    *,
    as_text: Callable[[str, dict[str, Any]], dict[str, object]],
    kept: Mapping[str, Collection[str]],
) -> list[dict[str, object]]:
    """Return the text and calls of a turn, with what the vendor gave in the places where it was.

    An echo is a list of what came, in order: pieces of the types in `kept`, of which the fields named there are sent,
    `{"type": "text", "length": …}`, and `{"type": "call"}`. Without an echo the text is before the calls. Empty texts are left out.
    """
    places = [place for place in echo if isinstance(place, dict)] if isinstance(echo, list) else []
    texts = _pieces(text, [place.get("length") for place in places if place.get("type") == "text"])
    left = list(calls)
    turn: list[dict[str, object]] = []
    for place in places:
        if place.get("type") == "text" and texts:
            piece = texts.pop(0)
            turn += [as_text(piece, place)] if piece.strip() else []
        elif place.get("type") == "call" and left:
            turn.append(left.pop(0))
        elif isinstance(kind := place.get("type"), str) and kind in kept:
            turn.append({name: value for name, value in place.items() if name == "type" or name in kept[kind]})
    return [*turn, *(as_text(piece, {}) for piece in texts if piece.strip()), *left]


def _pieces(text: str, lengths: Sequence[object]) -> list[str]:
    """Cut a text into the pieces that it was joined from, or return it as one if it was changed since."""
    sizes = [length for length in lengths if isinstance(length, int) and length >= 0]
    gaps = len(sizes) - 1
    gap = (len(text) - sum(sizes)) // gaps if gaps > 0 else 0
    is_same = len(sizes) == len(lengths) and sum(sizes) + gap * max(gaps, 0) == len(text) and gap in GAPS
    if not is_same:
        return [text]
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size + gap
    return pieces
