"""Separate the thoughts that some servers leave in the text of a reply, between `<think>` and `</think>`."""

from tertulia.providers.protocol import ProviderEvent, ReasoningDelta, TextDelta

TAGS = ("think", "thinking", "thought", "reasoning")
_OPENINGS = tuple(f"<{tag}>" for tag in TAGS)


class ThoughtReader:
    """Reads the text of one reply. Only a tag at its beginning opens thoughts, so that a reply may write about tags."""

    def __init__(self) -> None:
        self._held = ""  # text that may become a tag
        self._closing = ""  # the tag that ends the thoughts; empty outside of them
        self._is_open_to_thoughts = True
        self._skips_lines = False  # the empty lines after a tag

    def feed(self, text: str) -> list[ProviderEvent]:
        """Return the events of a piece of text. A piece that may belong to a tag is held back."""
        if self._skips_lines:
            text = text.lstrip("\n")
            self._skips_lines = not text
        if not self._held and not self._is_open_to_thoughts and not self._closing:
            return [TextDelta(text)] if text else []
        text, self._held = self._held + text, ""
        if self._closing:
            return self._within(text)
        start = text.lstrip()
        opening = next((tag for tag in _OPENINGS if start.startswith(tag)), None)
        if opening is not None:
            self._is_open_to_thoughts = False
            self._closing = f"</{opening[1:]}"
            return self._within(self._after_tag(start.removeprefix(opening)))
        if not start or any(tag.startswith(start) for tag in _OPENINGS):
            self._held = text
            return []
        self._is_open_to_thoughts = False
        return [TextDelta(text)]

    def end(self) -> list[ProviderEvent]:
        """Return what was held back when the reply ended."""
        text, self._held = self._held, ""
        if not text:
            return []
        return [ReasoningDelta(text) if self._closing else TextDelta(text)]

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
