"""Which messages of a branch fit the model's window. Pure functions over plain values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tertulia.context.cutting import share, with_short_results, within
from tertulia.context.messages import ContextMessage

DEFAULT_WINDOW = 8192  # tokens, where neither the model nor the chat says (S1)
LEAST_RESERVE, MOST_RESERVE, RESERVED_SHARE = 1024, 8192, 16
LEAST_ROOM = 64  # estimated tokens: however much else there is to say, the question has some room
LEAST_PINNED = 32  # tokens that a pinned message is worth sending with
Why = Literal["newest", "pinned", "fits", "shortened", "compressed", "window", "person", "truncated", "summarized"]


def reserve_for_answer(window: int, max_tokens: int | None) -> int:
    """Tokens kept free for the answer: what may be asked for, else a sixteenth of the window; never more than half of it."""
    usual = min(max(window // RESERVED_SHARE, LEAST_RESERVE), MOST_RESERVE)
    return min(max_tokens or usual, window // 2)


@dataclass(frozen=True, slots=True)
class Planned:
    """A message, what of it is sent, and why; `sent` None: nothing."""

    message: ContextMessage
    sent: ContextMessage | None
    why: Why


def plan_context(messages: list[ContextMessage], max_tokens: int) -> list[Planned]:
    """What is sent of each message, in their order, so that their token estimates sum to at most max_tokens.

    What the system says takes three quarters of the room at most, shortened where it is longer. The newest and the last that a person said
    go always, then what is pinned, each shortened in its middle where there is too little room. Of the others, first the results of
    tools are shortened, the oldest first, then the oldest go. The newest goes whatever its rule says.
    """
    told = [message for message in messages if message.role == "system" and message.rule != "left_out"]
    others = [message for message in messages if message.role != "system"]
    first = _asked(others)
    sent = {
        id(one): cut for one, cut in zip(told, share(told, max_tokens * 3 // 4 if others else max_tokens), strict=True)
    }
    sent |= _always_sent(first, others, max_tokens - tokens_of(sent.values()))
    rest = [one for one in others if id(one) not in sent and one.rule == "auto"]
    sent |= _that_fit(rest, max_tokens - tokens_of(sent.values()))
    return [_planned(one, sent.get(id(one)), is_asked=any(one is asked for asked in first)) for one in messages]


def _planned(message: ContextMessage, sent: ContextMessage | None, *, is_asked: bool) -> Planned:
    why: Why = "fits" if sent is message else "shortened"
    if is_asked:
        why = "newest"
    elif sent is None:
        why = "person" if message.rule == "left_out" else "window"
    elif message.rule == "pinned" and message.role != "system":
        why = "pinned"
    return Planned(message, sent, why)


def _asked(others: Sequence[ContextMessage]) -> list[ContextMessage]:
    """The newest message, and the question that it answers or goes on to answer."""
    if not others:
        return []
    newest = others[-1]
    question = next((one for one in reversed(others) if one.role == "user"), newest)
    return [newest] if question is newest or question.rule == "left_out" else [newest, question]


def _always_sent(
    first: Sequence[ContextMessage], others: Sequence[ContextMessage], room: int
) -> dict[int, ContextMessage]:
    """By their identities: what was asked, and what is pinned."""
    pinned = [one for one in reversed(others) if one.rule == "pinned" and all(one is not asked for asked in first)]
    # What was asked comes before what was pinned; both have half of the room at least, where both want it.
    of_first = min(tokens_of(first), max(room - tokens_of(pinned), room // 2))
    sent = {id(one): cut for one, cut in zip(first, share(first, of_first), strict=True)}
    left = room - tokens_of(sent.values())
    pinned = _worth_it(pinned, left)
    return sent | {id(one): cut for one, cut in zip(pinned, share(pinned, left), strict=True)}


def _worth_it(pinned: list[ContextMessage], room: int) -> list[ContextMessage]:
    """Of pinned messages the newest, where the window has not even a few words for each."""
    count = 0
    least = 0
    for one in pinned:
        least += min(one.tokens, LEAST_PINNED)
        if least > room:
            break
        count += 1
    return pinned[:count]


def _that_fit(messages: Sequence[ContextMessage], room: int) -> dict[int, ContextMessage]:
    """By their identities: of these, oldest first, the newest stretch that fits."""
    shortest = [with_short_results(message) for message in messages]
    kept: list[tuple[ContextMessage, ContextMessage]] = []
    left = room
    for message, short in zip(reversed(messages), reversed(shortest), strict=True):
        if short.tokens > left:
            break
        left -= short.tokens
        kept.append((message, short))
    sent = {}
    for message, short in kept:  # the newest first: its results are whole as long as there is room
        longer = within(message, short.tokens + left) if short is not message else message
        left -= longer.tokens - short.tokens
        sent[id(message)] = longer
    return sent


def tokens_of(messages: Iterable[ContextMessage]) -> int:
    return sum(one.tokens for one in messages)
