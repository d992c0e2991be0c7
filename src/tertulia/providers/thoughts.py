"""Separate the thoughts that some servers leave in the text of a reply, between `<think>` and `</think>`."""

import re

from tertulia.providers.protocol import ProviderEvent, ReasoningDelta, TextDelta, TextWasThought

TAGS = ("think", "thinking", "thought", "reasoning", "seed:think")
_CLOSINGS = tuple(f"</{tag}>" for tag in TAGS)
# The tag may have attributes, and be in capitals.
_OPENING = re.compile(rf"<({'|'.join(TAGS)})(\s[^<>]{{0,60}})?>", re.IGNORECASE)
_PARTIAL_OPENING = re.compile(rf"<({'|'.join(TAGS)})(\s[^<>]{{0,60}})?", re.IGNORECASE)
_OTHER_PAIRS = {"[THINK]": "[/THINK]", "◁think▷": "◁/think▷"}


def _opening_of(text: str) -> tuple[str, str]:
    """Return the tag that opens thoughts at the beginning of a text, and the one that ends them; empty if there is none."""
    match = _OPENING.match(text)
    if match:
        return match.group(), f"</{match.group(1)}>"
    return next(((tag, closing) for tag, closing in _OTHER_PAIRS.items() if text.startswith(tag)), ("", ""))


def _may_open(text: str) -> bool:
    """Return whether a text is the beginning of a tag that opens thoughts."""
    literal = (*_OTHER_PAIRS, *(f"<{tag}" for tag in TAGS))
    return any(tag.startswith(text.lower() if tag.startswith("<") else text) for tag in literal) or bool(
        _PARTIAL_OPENING.fullmatch(text)
    )


class ThoughtReader:
    """Reads the text of one reply. Only a tag at its beginning opens thoughts, so that a reply may write about tags.

    A first closing tag that is alone in its line, outside of code, ends thoughts that no tag opened.
    """

    def __init__(self, *, may_lack_opening: bool = True) -> None:
        self._held = ""  # text that may become a tag
        self._closing = ""  # the tag that ends the thoughts; empty outside of them
        self._is_open_to_thoughts = True
        self._skips_lines = False  # the empty lines after a tag
        self._may_close = may_lack_opening
        self._is_line_start = True
        self._is_code = False
        self._is_separate = False  # the server has just sent thoughts separately

    def feed(self, text: str) -> list[ProviderEvent]:
        """Return the events of a piece of text. A piece that may belong to a tag is held back."""
        if self._skips_lines:
            text = text.lstrip("\n")
            self._skips_lines = not text
        if self._is_separate and text.strip():
            # The end of the thoughts may be left in the text, although they came separately.
            self._is_separate = False
            tag = next((tag for tag in _CLOSINGS if text.lstrip().startswith(tag)), None)
            text = text if tag is None else self._after_tag(text.lstrip().removeprefix(tag))
        if not (self._may_close or self._is_open_to_thoughts or self._held or self._closing):
            return [TextDelta(text)] if text else []
        text, self._held = self._held + text, ""
        if self._closing:
            return self._within(text)
        if not self._is_open_to_thoughts:
            return self._text(text)
        start = text.lstrip()
        opening, closing = _opening_of(start)
        if opening:
            self._is_open_to_thoughts = self._may_close = False
            self._closing = closing
            return self._within(self._after_tag(start.removeprefix(opening)))
        if not start or _may_open(start):
            self._held = text
            return []
        self._is_open_to_thoughts = False
        return self._text(text)

    def end_thoughts(self) -> None:
        """Note that the server separates thoughts itself, so that the text has none."""
        self._is_separate = self._may_close or self._is_open_to_thoughts or self._is_separate
        self._may_close = self._is_open_to_thoughts = False

    def end(self) -> list[ProviderEvent]:
        """Return what was held back when the reply ended."""
        text, self._held = self._held, ""
        if not text:
            return []
        return [ReasoningDelta(text) if self._closing else TextDelta(text)]

    def _text(self, text: str) -> list[ProviderEvent]:
        """Return the events of text, in which a closing tag may follow, alone in its line."""
        if not self._may_close:
            return [TextDelta(text)] if text else []
        at = 0
        while at < len(text):
            end = text.find("\n", at)
            line = text[at : end + 1] if end >= 0 else text[at:]
            word = line.strip() if self._is_line_start else ""
            if end < 0:
                # A tag may be complete only with the next piece, and its line too.
                if word and any(tag.startswith(word) for tag in (*_CLOSINGS, "``", "~~")):
                    self._held = line
                    return [TextDelta(text[:at])] if at else []
                self._is_code ^= word.startswith(("```", "~~~"))
                self._is_line_start = self._is_line_start and not word
                break
            if word in _CLOSINGS and not self._is_code:
                self._may_close = False
                rest = self._after_tag(text[end + 1 :])
                thoughts: list[ProviderEvent] = [TextDelta(text[:at])] if at else []
                return [*thoughts, TextWasThought(), *([TextDelta(rest)] if rest else [])]
            self._is_code ^= word.startswith(("```", "~~~"))
            self._is_line_start = True
            at = end + 1
        return [TextDelta(text)]

    def _within(self, text: str) -> list[ProviderEvent]:
        thought, tag, rest = text.partition(self._closing)
        if not tag:
            size = next(
                (size for size in range(len(self._closing) - 1, 0, -1) if text.endswith(self._closing[:size])), 0
            )
            self._held = text[len(text) - size :]
            thought = text[: len(text) - size]
            return [ReasoningDelta(thought)] if thought else []
        self._closing = ""
        events: list[ProviderEvent] = [ReasoningDelta(thought)] if thought else []
        rest = self._after_tag(rest)
        return [*events, TextDelta(rest)] if rest else events

    def _after_tag(self, text: str) -> str:
        """Return the text without the empty lines after a tag, of which more may follow in the next piece."""
        text = text.lstrip("\n")
        self._skips_lines = not text
        return text
