"""Which messages of a branch fit the model's window. Pure functions over plain values."""

from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

DEFAULT_WINDOW = 8192  # tokens, where neither the model nor the chat says (S1)
DEFAULT_RESERVE = 1024
OVERHEAD_PER_MESSAGE = 4
LEAST = 2 * OVERHEAD_PER_MESSAGE  # tokens that a message is worth sending with
LEAST_RESULT = 24  # tokens of what a tool gave that are worth sending with it
TOKENS_A_PICTURE = 1500  # about what vendors count for one of the size that is sent
Role = Literal["user", "assistant", "system"]
Rule = Literal["auto", "pinned", "left_out"]
Why = Literal["newest", "pinned", "fits", "compressed", "window", "person", "truncated", "summarized"]


@dataclass(frozen=True, slots=True)
class SentCall:
    """A call of a tool and what it gave, as a model is told of both."""

    id: str
    name: str
    arguments: str  # JSON
    result: str

    @property
    def fixed_tokens(self) -> int:
        return estimate_tokens(self.name + self.arguments)

    @property
    def tokens(self) -> int:
        return self.fixed_tokens + estimate_tokens(self.result)


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch of a reply that ended in calls of tools; what it said before them may be nothing."""

    text: str
    calls: tuple[SentCall, ...]

    @property
    def tokens(self) -> int:
        return estimate_tokens(self.text) + sum(call.tokens for call in self.calls)


@dataclass(frozen=True, slots=True)
class ContextMessage:
    """`turns` are those of a reply that used tools; its `content` is what it said after them."""

    role: Role
    content: str
    message_id: str | None = None  # None for what is not a stored message, such as the system prompt
    pictures: tuple[str, ...] = ()  # ids of attachments, which the model sees
    rule: Rule = "auto"
    turns: tuple[Turn, ...] = ()

    @property
    def tokens(self) -> int:
        return (
            estimate_tokens(self.content)
            + TOKENS_A_PICTURE * len(self.pictures)
            + sum(turn.tokens for turn in self.turns)
        )


class ContextTooSmall(ValueError):
    """Not even the system prompt fits."""


def estimate_tokens(text: str) -> int:
    """Tokens of a text, rather too many than too few: 3.5 letters each, and about one for each character beyond ASCII."""
    return OVERHEAD_PER_MESSAGE + ceil(len(text) / 3.5 + (len(text.encode("utf-8", "replace")) - len(text)) / 2)


def reserve_for_answer(window: int, max_tokens: int | None) -> int:
    """Tokens kept free for the answer: what may be asked for, but never more than half the window."""
    return min(max_tokens or DEFAULT_RESERVE, window // 2)


@dataclass(frozen=True, slots=True)
class Planned:
    """A message, what of it is sent, and why; `sent` None: nothing."""

    message: ContextMessage
    sent: ContextMessage | None
    why: Why


def plan_context(messages: list[ContextMessage], max_tokens: int) -> list[Planned]:
    """What is sent of each message, in their order, so that their token estimates sum to at most max_tokens.

    System messages go whole. The newest, the last that a person said and the pinned ones go always, shortened in their middles where they are too long together;
    then those before the newest, back to the first that does not fit. The newest goes whatever its rule says. Raises
    ContextTooSmall if the system messages leave no room for anything.
    """
    others = [message for message in messages if message.role != "system"]
    room = max_tokens - sum(message.tokens for message in messages if message.role == "system")
    if not others:
        return [Planned(message, message, "fits") for message in messages]
    if room < LEAST:
        raise ContextTooSmall
    newest = others[-1]
    question = next((message for message in reversed(others) if message.role == "user"), None)
    # A reply that goes on after its tools still answers the question before it.
    kept = [question] if question is not None and newest.turns and question.rule != "left_out" else []
    pinned = [message for message in reversed(others[:-1]) if message.rule == "pinned" and message not in kept]
    must = [newest, *kept, *pinned]
    must = must[
        : max(1, room // LEAST)
    ]  # of the pinned ones the newest, where the window has not even a few words for each
    sent = {id(message): cut for message, cut in zip(must, _share(must, room), strict=True)}
    room -= sum(cut.tokens for cut in sent.values())
    is_full = False
    planned: list[Planned] = []
    for message in reversed(others):
        if id(message) in sent:
            why: Why = "pinned" if message.rule == "pinned" and message is not newest else "newest"
            planned.append(Planned(message, sent[id(message)], why))
        elif message.rule == "left_out":
            planned.append(Planned(message, None, "person"))
        else:
            is_full = is_full or message.rule == "pinned" or message.tokens > room
            planned.append(Planned(message, None if is_full else message, "window" if is_full else "fits"))
            room -= 0 if is_full else message.tokens
    return [Planned(message, message, "fits") for message in messages if message.role == "system"] + planned[::-1]


def _share(messages: list[ContextMessage], room: int) -> list[ContextMessage]:
    """Each as it is, if there is room for all; else the shortest whole, and the rest of the room divided among the longer."""
    cut: dict[int, ContextMessage] = {}
    left = len(messages)
    for message in sorted(messages, key=lambda one: one.tokens):
        cut[id(message)] = _within(message, room // left)
        room -= cut[id(message)].tokens
        left -= 1
    return [cut[id(message)] for message in messages]


def _within(message: ContextMessage, room: int) -> ContextMessage:
    if message.tokens <= room:
        return message
    if message.turns:
        return _with_shorter_results(message, room)
    # Its words before its pictures, where both are too much.
    pictures = message.pictures[: max(0, room // 2 // TOKENS_A_PICTURE)]
    words = shorten(message.content, room - TOKENS_A_PICTURE * len(pictures))
    return replace(message, content=words, pictures=pictures)


def _with_shorter_results(message: ContextMessage, room: int) -> ContextMessage:
    """What tools gave is cut before what was said; then the oldest turns go, each call with its result."""
    words = estimate_tokens(message.content) if message.content else OVERHEAD_PER_MESSAGE
    if words > room // 2:
        words = max(OVERHEAD_PER_MESSAGE, room // 2)
    left = room - words
    turns = list(message.turns)
    while turns:
        calls = [call for turn in turns for call in turn.calls]
        fixed = sum(estimate_tokens(turn.text) for turn in turns) + sum(call.fixed_tokens for call in calls)
        if fixed + LEAST_RESULT * len(calls) <= left:
            lengths = iter(_shares([estimate_tokens(call.result) for call in calls], left - fixed))
            turns = [
                replace(
                    turn,
                    calls=tuple(replace(call, result=shorten(call.result, next(lengths))) for call in turn.calls),
                )
                for turn in turns
            ]
            break
        turns.pop(0)
    content = shorten(message.content, room - sum(turn.tokens for turn in turns))
    return replace(message, turns=tuple(turns), content=content)


def _shares(wanted: list[int], room: int) -> list[int]:
    """What each gets of the room: what it wants, if there is room for all; else the rest is divided among the longer."""
    shares = [0] * len(wanted)
    for place, index in enumerate(sorted(range(len(wanted)), key=lambda one: wanted[one])):
        shares[index] = min(wanted[index], room // (len(wanted) - place))
        room -= shares[index]
    return shares


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
