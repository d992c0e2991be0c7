"""Saying the same in fewer tokens, without a model: repeated lines, code that was shown already, data that says nothing.

Code and what matters stay word for word; each thing taken out, but for white space between lines, is named where it stood. Each text is gone through once, line by line:
anybody may have written it.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from tertulia.context.messages import ContextMessage, Turn

LEAST_REPEATS = 3  # of a line
LEAST_CODE = 80  # characters of a block that is worth a reference
FIRST_LINE = 60  # characters of a block's first line, by which it is named
FENCE = "```"
_DATA = re.compile(r"(data:[\w/+.-]{1,100};base64,)[A-Za-z0-9+/=]{200,}")


def compress(messages: Iterable[ContextMessage]) -> list[ContextMessage]:
    """The messages, oldest first, each in fewer tokens where that can be. Of code that comes again the first stays."""
    seen: set[str] = set()
    return [_compressed(message, seen) for message in messages]


def _compressed(message: ContextMessage, seen: set[str]) -> ContextMessage:
    turns = tuple(
        Turn(
            shorten_text(turn.text, seen),
            tuple(replace(call, result=shorten_text(call.result, seen)) for call in turn.calls),
        )
        for turn in message.turns
    )
    made = replace(message, content=shorten_text(message.content, seen), turns=turns)
    return made if made.tokens < message.tokens else message


def shorten_text(text: str, seen: set[str]) -> str:
    """`seen`: the blocks of code that stand before this text; those of the text are added."""
    made: list[str] = []
    prose: list[str] = []  # lines outside of code, since the last block
    block: list[str] | None = None  # the lines of the fenced block that one is in, the opening among them
    for line in text.split("\n"):
        if block is not None:
            block.append(line)
            if line.strip() == FENCE:
                made += _once(block, seen)
                block = None
        elif line.startswith(FENCE):
            made += _without_repeats(prose)
            prose, block = [], [line]
        else:
            prose.append(line.rstrip(" \t"))
    made += block or _without_repeats(prose)  # a block that never ends stays as it is
    return _DATA.sub(lambda one: f"{one[1]}[{len(one[0]) - len(one[1])} characters of data]", "\n".join(made))


def _once(block: list[str], seen: set[str]) -> list[str]:
    code = "\n".join(block[1:-1]).strip()
    if len(code) < LEAST_CODE:
        return block
    if code in seen:
        return [f"[the same code as above, which begins: {code.splitlines()[0][:FIRST_LINE]}]"]
    seen.add(code)
    return block


def _without_repeats(lines: list[str]) -> list[str]:
    """A line that stands three times and more, one under the other, stands once, with how often; of empty ones one stays."""
    made: list[str] = []
    start = 0
    while start < len(lines):
        end = start
        while end < len(lines) and lines[end] == lines[start]:
            end += 1
        count = end - start
        if count >= LEAST_REPEATS and lines[start]:
            made += [lines[start], f"[the line above {count} times in all]"]
        else:
            made += lines[start : end if lines[start] else start + 1]
        start = end
    return made
