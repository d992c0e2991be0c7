"""Which messages of a branch fit the model's window. Pure functions over plain values."""

from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

DEFAULT_WINDOW = 8192  # tokens, where neither the model nor the chat says (S1)
DEFAULT_RESERVE = 1024
OVERHEAD_PER_MESSAGE = 4
TOKENS_A_PICTURE = 1500  # about what vendors count for one of the size that is sent
Role = Literal["user", "assistant", "system"]


@dataclass(frozen=True, slots=True)
class ContextMessage:
    role: Role
    content: str
    message_id: str | None = None  # None for what is not a stored message, such as the system prompt
    pictures: tuple[str, ...] = ()  # ids of attachments, which the model sees

    @property
    def tokens(self) -> int:
        return estimate_tokens(self.content) + TOKENS_A_PICTURE * len(self.pictures)


class ContextTooSmall(ValueError):
    """Not even the system prompt fits."""


def estimate_tokens(text: str) -> int:
    """Tokens of a text, rather too many than too few: 3.5 letters each, and about one for each character beyond ASCII."""
    return OVERHEAD_PER_MESSAGE + ceil(len(text) / 3.5 + (len(text.encode("utf-8", "replace")) - len(text)) / 2)


def reserve_for_answer(window: int, max_tokens: int | None) -> int:
    """Tokens kept free for the answer: what may be asked for, but never more than half the window."""
    return min(max_tokens or DEFAULT_RESERVE, window // 2)


def fit_to_window(messages: list[ContextMessage], max_tokens: int) -> list[ContextMessage]:
    """Keep the newest messages whose token estimates sum to at most max_tokens.

    Oldest first, in and out; a system message is always kept. The newest message is never left out: where it alone is too
    long, its middle is. Raises ContextTooSmall if the system messages leave no room for anything.
    """
    system = [message for message in messages if message.role == "system"]
    others = [message for message in messages if message.role != "system"]
    room = max_tokens - sum(message.tokens for message in system)
    if room < 2 * OVERHEAD_PER_MESSAGE and others:
        raise ContextTooSmall
    kept: list[ContextMessage] = []
    for message in reversed(others):
        cost = message.tokens
        if cost > room:
            if not kept:
                # Its words before its pictures, where both are too much.
                pictures = message.pictures[: max(0, room // 2 // TOKENS_A_PICTURE)]
                words = shorten(message.content, room - TOKENS_A_PICTURE * len(pictures))
                kept.append(replace(message, content=words, pictures=pictures))
            break
        kept.append(message)
        room -= cost
    return system + kept[::-1]


def shorten(text: str, max_tokens: int) -> str:
    """The beginning and the end of a text, with a note between them of how much is missing, within max_tokens."""
    if estimate_tokens(text) <= max_tokens:
        return text
    low, high = 0, len(text) // 2
    while low < high:  # the most characters of either end that still fit
        middle = (low + high + 1) // 2
        if estimate_tokens(_with_gap(text, middle)) <= max_tokens:
            low = middle
        else:
            high = middle - 1
    short = _with_gap(text, low)
    return short if estimate_tokens(short) <= max_tokens else text[:low]


def _with_gap(text: str, each_end: int) -> str:
    missing = len(text) - 2 * each_end
    return f"{text[:each_end]}\n[… {missing} characters left out …]\n{text[len(text) - each_end :]}"
