"""What a model is sent of a chat, as plain values, and about how many tokens each takes."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from string import ascii_letters
from typing import Literal

OVERHEAD_PER_MESSAGE = 4
TOKENS_A_PICTURE = 1500  # about what vendors count for one of the size that is sent
_NOT_ASCII = bytes(range(128, 256))
_WORDS = (ascii_letters + " \t\r\n").encode() + _NOT_ASCII
Role = Literal["user", "assistant", "system"]
Rule = Literal["auto", "pinned", "left_out"]


@dataclass(frozen=True)
class SentCall:
    """A call of a tool and what it gave, as a model is told of both."""

    id: str
    name: str
    arguments: str  # JSON
    result: str

    @cached_property
    def fixed_tokens(self) -> int:
        return estimate_tokens(self.name + self.arguments)

    @cached_property
    def tokens(self) -> int:
        return self.fixed_tokens + estimate_tokens(self.result)


@dataclass(frozen=True)
class Turn:
    """A stretch of a reply that ended in calls of tools; what it said before them may be nothing."""

    text: str
    calls: tuple[SentCall, ...]

    @cached_property
    def tokens(self) -> int:
        return estimate_tokens(self.text) + sum(call.tokens for call in self.calls)


@dataclass(frozen=True)
class ContextMessage:
    """`turns` are those of a reply that used tools; its `content` is what it said after them."""

    role: Role
    content: str
    message_id: str | None = None  # None for what is not a stored message, such as the system prompt
    pictures: tuple[str, ...] = ()  # ids of attachments, which the model sees
    rule: Rule = "auto"
    turns: tuple[Turn, ...] = ()

    @cached_property
    def tokens(self) -> int:
        return (
            estimate_tokens(self.content)
            + TOKENS_A_PICTURE * len(self.pictures)
            + sum(turn.tokens for turn in self.turns)
        )


def estimate_tokens(text: str) -> int:
    """Tokens of a text, rather too many than too few.

    3.5 letters each, digits and signs about 1.6 each, and about one for each character beyond ASCII. What a provider counts
    corrects it (runs/requests.py).
    """
    encoded = text.encode("utf-8", "replace")
    signs = len(encoded.translate(None, _WORDS))
    return OVERHEAD_PER_MESSAGE + ceil(len(text) / 3.5 + signs / 3 + (len(encoded) - len(text)) / 2)
