"""Plain values of the messages in a prompt, with estimates of their tokens."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from string import ascii_letters
from typing import Literal

from tertulia.chat.models import Omission, OmittedKind

OVERHEAD_PER_MESSAGE = 4
TOKENS_A_PICTURE = 1500  # about what providers count for a picture of the size that is sent
_NOT_ASCII = bytes(range(128, 256))
_WORDS = (ascii_letters + " \t\r\n").encode() + _NOT_ASCII
Role = Literal["user", "assistant", "system"]
Rule = Literal["auto", "pinned", "left_out"]


@dataclass(frozen=True)
class SentCall:
    """A tool call with its result, as a model receives both. `echo` is JSON text that its vendor requires back.

    `whole` is the result before it was shortened by `omitted` characters; None if it was not.
    """

    id: str
    name: str
    arguments: str  # JSON
    result: str
    echo: str | None = None
    whole: str | None = None
    omitted: int = 0

    @cached_property
    def fixed_tokens(self) -> int:
        return estimate_tokens(self.name + self.arguments) + echo_tokens(self.echo)

    @cached_property
    def tokens(self) -> int:
        return self.fixed_tokens + estimate_tokens(self.result)


@dataclass(frozen=True)
class Turn:
    """The part of a reply up to its tool calls; the text before them may be empty."""

    text: str
    calls: tuple[SentCall, ...]
    echo: str | None = None
    omitted: int = 0  # characters of the text

    @cached_property
    def own_tokens(self) -> int:
        return estimate_tokens(self.text) + echo_tokens(self.echo)

    def without_echoes(self) -> "Turn":
        return replace(self, echo=None, calls=tuple(replace(call, echo=None) for call in self.calls))

    @cached_property
    def tokens(self) -> int:
        return self.own_tokens + sum(call.tokens for call in self.calls)


@dataclass(frozen=True)
class WholeFile:
    """A file that the model receives as it is. `tokens` is an estimate of what its vendor counts for it."""

    media_type: str
    tokens: int


@dataclass(frozen=True)
class Passage:
    """A part of a file's text. `tokens` is at least what it takes."""

    start: int  # characters into the text
    text: str
    tokens: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


@dataclass(frozen=True)
class SentFile:
    """A file of a message: as it is (`whole`), or as text between tags. `head` and `tail` are what was loaded of its text of `length` characters.

    `tail` is empty if `head` is the whole text. The id is named to the model if something is left out, so that it can
    read on with a tool.
    """

    attachment_id: str
    name: str
    head: str
    tail: str
    length: int
    text: str
    omitted: int = 0  # characters that `text` lacks
    whole: WholeFile | None = None
    passages: tuple[Passage, ...] = ()  # those that matter for the question, the most important first
    is_excerpt: bool = False  # only passages, of a file that was sent with an earlier message

    @property
    def sent_text(self) -> str:
        return "" if self.whole else self.text

    @cached_property
    def tokens(self) -> int:
        if self.whole is not None:
            return self.whole.tokens
        return estimate_tokens(self.text) if self.text else 0

    @cached_property
    def note(self) -> str:
        """Return what is sent if nothing of the text is."""
        if self.is_excerpt:
            return ""
        return f'<file name="{self.name}">[{self.length} characters left out]</file>' if self.length else self.text


@dataclass(frozen=True)
class Quoted:
    """A text that quotes others, such as drafts, and what is missing of them."""

    text: str
    missing: tuple[Omission, ...] = ()


@dataclass(frozen=True)
class ContextMessage:
    """A message in a prompt. `turns` are those of a reply with tool calls, `content` is its text after them.

    `echo` belongs to the whole content, and is left out if that is shortened.
    """

    role: Role
    content: str
    message_id: str | None = None  # None if not a stored message, such as the system prompt
    pictures: tuple[str, ...] = ()  # attachment ids of the images that the model sees
    rule: Rule = "auto"
    turns: tuple[Turn, ...] = ()
    echo: str | None = None
    files: tuple[SentFile, ...] = ()
    omitted: int = 0  # characters of the content
    omitted_pictures: int = 0
    missing: tuple[Omission, ...] = ()  # of what the content quotes, such as drafts

    @property
    def whole_text(self) -> str:
        """Return the content with the files after it."""
        return "\n\n".join(filter(None, [self.content, *(file.sent_text for file in self.files)]))

    def without_echoes(self) -> "ContextMessage":
        """Return the message without what its vendor gave, which can be left out if there is no room."""
        if self.echo is None and all(turn.echo is None and not _has_echo(turn) for turn in self.turns):
            return self
        return replace(self, echo=None, turns=tuple(turn.without_echoes() for turn in self.turns))

    def omissions(self) -> list[Omission]:
        """Return what is missing of the message: characters of its text, of what it quotes, files and results, and pictures."""
        of_text = self.omitted + sum(turn.omitted for turn in self.turns)
        missing: list[tuple[OmittedKind, str | None, int]] = [
            ("system" if self.role == "system" else "message", None, of_text),
            ("picture", None, self.omitted_pictures),
            *(("file", file.name, file.omitted) for file in self.files),
            *(("result", call.name, call.omitted) for turn in self.turns for call in turn.calls),
        ]
        counted = [Omission(kind=kind, name=name, amount=amount) for kind, name, amount in missing if amount]
        return [*counted, *self.missing]

    @cached_property
    def tokens(self) -> int:
        return (
            estimate_tokens(self.content)
            + sum(file.tokens for file in self.files)
            + echo_tokens(self.echo)
            + TOKENS_A_PICTURE * len(self.pictures)
            + sum(turn.tokens for turn in self.turns)
        )


def _has_echo(turn: Turn) -> bool:
    return any(call.echo is not None for call in turn.calls)


def echo_tokens(echo: str | None) -> int:
    """Estimate the tokens of what is returned to a vendor: mostly thoughts, or fewer if they are encrypted."""
    return len(echo) // 4 if echo else 0


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text, too many rather than too few.

    A token has about 3.5 letters, 1.6 digits or symbols, or one non-ASCII character. The provider's counts correct the
    estimate (runs/request/prepare.py).
    """
    encoded = text.encode("utf-8", "replace")
    symbols = len(encoded.translate(None, _WORDS))
    return OVERHEAD_PER_MESSAGE + ceil(len(text) / 3.5 + symbols / 3 + (len(encoded) - len(text)) / 2)
