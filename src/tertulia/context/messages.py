"""Plain values of the messages in a prompt, with estimates of their tokens."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from string import ascii_letters
from typing import Literal

OVERHEAD_PER_MESSAGE = 4
TOKENS_A_PICTURE = 1500  # about what providers count for a picture of the size that is sent
_NOT_ASCII = bytes(range(128, 256))
_WORDS = (ascii_letters + " \t\r\n").encode() + _NOT_ASCII
Role = Literal["user", "assistant", "system"]
Rule = Literal["auto", "pinned", "left_out"]


@dataclass(frozen=True)
class SentCall:
    """A tool call with its result, as a model receives both. `echo` is JSON text that its vendor requires back."""

    id: str
    name: str
    arguments: str  # JSON
    result: str
    echo: str | None = None

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

    @cached_property
    def own_tokens(self) -> int:
        return estimate_tokens(self.text) + echo_tokens(self.echo)

    @cached_property
    def tokens(self) -> int:
        return self.own_tokens + sum(call.tokens for call in self.calls)


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

    @cached_property
    def tokens(self) -> int:
        return (
            estimate_tokens(self.content)
            + echo_tokens(self.echo)
            + TOKENS_A_PICTURE * len(self.pictures)
            + sum(turn.tokens for turn in self.turns)
        )


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
