"""Saying the same in fewer tokens, without a model: repeated lines, code that was shown already, data that says nothing.

What matters stays word for word; each thing taken out is named where it stood.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

import orjson

from tertulia.context.window import ContextMessage, Turn

LEAST_REPEATS = 3  # of a line
LEAST_CODE = 80  # characters of a block that is worth a reference
_FENCED = re.compile(r"(^|\n)(```[^\n]*\n)(.*?)(\n```)(?=\n|$)", re.DOTALL)
_DATA = re.compile(r"(data:[\w/+.-]+;base64,)[A-Za-z0-9+/=]{200,}")
_BLANK = re.compile(r"\n{3,}")
_TRAILING = re.compile(r"[ \t]+(?=\n|$)")


def compress(messages: Iterable[ContextMessage]) -> list[ContextMessage]:
    """The messages, oldest first, each in fewer tokens where that can be. Of code that comes again the first stays."""
    seen: dict[str, int] = {}
    return [_compressed(message, seen) for message in messages]


def _compressed(message: ContextMessage, seen: dict[str, int]) -> ContextMessage:
    turns = tuple(
        Turn(
            shorten_text(turn.text, seen),
            tuple(replace(call, result=_shorten_result(call.result, seen)) for call in turn.calls),
        )
        for turn in message.turns
    )
    made = replace(message, content=shorten_text(message.content, seen), turns=turns)
    return made if made.tokens < message.tokens else message


def shorten_text(text: str, seen: dict[str, int]) -> str:
    text = _FENCED.sub(lambda found: _once(found, seen), text)
    text = _DATA.sub(lambda found: f"{found[1]}[{len(found[0]) - len(found[1])} characters of data]", text)
    return _BLANK.sub("\n\n", _without_repeats(_TRAILING.sub("", text)))


def _once(found: re.Match[str], seen: dict[str, int]) -> str:
    code = found[3].strip()
    if len(code) < LEAST_CODE:
        return found[0]
    if code in seen:
        return f"{found[1]}[the same code as in block {seen[code]} above]"
    seen[code] = len(seen) + 1
    return f"{found[1]}[code block {seen[code]}]\n{found[2]}{found[3]}{found[4]}"


def _without_repeats(text: str) -> str:
    """A line that stands three times and more, one under the other, stands once, with how often."""
    lines = text.split("\n")
    made: list[str] = []
    start = 0
    while start < len(lines):
        end = start
        while end < len(lines) and lines[end] == lines[start]:
            end += 1
        count = end - start
        if count >= LEAST_REPEATS and lines[start].strip():
            made += [lines[start], f"[the line above {count} times in all]"]
        else:
            made += lines[start:end]
        start = end
    return "\n".join(made)


def _shorten_result(result: str, seen: dict[str, int]) -> str:
    """JSON between its marks without the spaces that only people need; all else as any text."""
    first, _, rest = result.partition("\n")
    body, _, last = rest.rpartition("\n")
    if body.lstrip().startswith(("{", "[")):
        try:
            return f"{first}\n{orjson.dumps(orjson.loads(body)).decode()}\n{last}"
        except orjson.JSONDecodeError:
            pass
    return shorten_text(result, seen)
