"""Compress text without a model: repeated lines, code that was shown before, and embedded data.

Other text stays unchanged. A note replaces everything removed, except white space between lines. Each text is scanned
once, line by line, because anyone may have written it.
"""

import re
from collections.abc import Iterable
from dataclasses import replace

from tertulia.context.cutting import loaded_file
from tertulia.context.messages import ContextMessage, SentFile

MIN_REPEATS = 3  # of a line
MIN_CODE = 80  # characters of a block that is worth replacing by a reference
FIRST_LINE = 60  # characters of a block's first line, which the reference quotes
FENCE = "```"
_DATA = re.compile(r"(data:[\w/+.-]{1,100};base64,)[A-Za-z0-9+/=]{200,}")


def compress(messages: Iterable[ContextMessage]) -> list[ContextMessage]:
    """Return the messages, oldest first, compressed where that saves tokens. The first copy of repeated code stays."""
    seen: set[str] = set()
    return [_compressed(message, seen) for message in messages]


def _compressed(message: ContextMessage, seen: set[str]) -> ContextMessage:
    turns = tuple(
        replace(
            turn,
            text=shorten_text(turn.text, seen),
            calls=tuple(replace(call, result=shorten_text(call.result, seen)) for call in turn.calls),
        )
        for turn in message.turns
    )
    content = shorten_text(message.content, seen)
    echo = message.echo if content == message.content else None
    files = tuple(_compressed_file(file, seen) for file in message.files)
    compressed = replace(message, content=content, turns=turns, echo=echo, files=files)
    return compressed if compressed.tokens < message.tokens else message


def _compressed_file(file: SentFile, seen: set[str]) -> SentFile:
    """Compress a file of which the whole text was loaded."""
    if file.tail or not file.length:
        return file
    head = shorten_text(file.head, seen)
    return loaded_file(replace(file, head=head, length=len(head)))


def shorten_text(text: str, seen: set[str]) -> str:
    """Compress a text. `seen` has the code blocks before it; the blocks of the text are added."""
    lines: list[str] = []
    prose: list[str] = []  # lines outside code since the last block
    block: list[str] | None = None  # lines of the open fenced block, with its opening line
    for line in text.split("\n"):
        if block is not None:
            block.append(line)
            if line.strip() == FENCE:
                lines += _once(block, seen)
                block = None
        elif line.startswith(FENCE):
            lines += _without_repeats(prose)
            prose, block = [], [line]
        else:
            prose.append(line.rstrip(" \t"))
    lines += block or _without_repeats(prose)  # an unclosed block stays unchanged
    return _DATA.sub(lambda match: f"{match[1]}[{len(match[0]) - len(match[1])} characters of data]", "\n".join(lines))


def _once(block: list[str], seen: set[str]) -> list[str]:
    code = "\n".join(block[1:-1]).strip()
    if len(code) < MIN_CODE:
        return block
    if code in seen:
        return [f"[the same code as above, which begins: {code.splitlines()[0][:FIRST_LINE]}]"]
    seen.add(code)
    return block


def _without_repeats(lines: list[str]) -> list[str]:
    """Replace three or more equal lines in a row by one and a note with their number; of empty lines keep one."""
    result: list[str] = []
    start = 0
    while start < len(lines):
        end = start
        while end < len(lines) and lines[end] == lines[start]:
            end += 1
        count = end - start
        if count >= MIN_REPEATS and lines[start]:
            result += [lines[start], f"[the line above {count} times in all]"]
        else:
            result += lines[start : end if lines[start] else start + 1]
        start = end
    return result
