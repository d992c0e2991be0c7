"""Derive the title of a chat from its first message, without the cost of a model call."""

import re

from tertulia.chat.models import DEFAULT_TITLE

LONGEST = 60
_MARKS = re.compile(r"^[#>*\-+\s`]+|[`*_]{1,3}(?=\S)|(?<=\S)[`*_]{1,3}")


def title_from(content: str) -> str:
    """Return the first line with a letter or digit, without Markdown marks, cut between words at 60 characters."""
    lines = (" ".join(_MARKS.sub("", line).split()) for line in content[:2000].splitlines())
    line = next((line for line in lines if any(character.isalnum() for character in line)), "")
    if not line:
        return " ".join(content.split())[:LONGEST] or DEFAULT_TITLE
    if len(line) <= LONGEST:
        return line
    cut = line[: LONGEST - 1]
    # Scripts without spaces can be cut at any character.
    return (cut[: cut.rindex(" ")] if " " in cut[LONGEST // 2 :] else cut).rstrip(" ,;:.-") + "…"
