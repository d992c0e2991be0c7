"""Choose the messages of a branch that fit the model's window. Pure functions over plain values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tertulia.context.cutting import least_tokens, share, with_short_results, within
from tertulia.context.messages import ContextMessage

DEFAULT_WINDOW = 8192  # tokens, if neither the model nor the chat sets a window
MIN_RESERVE, MAX_RESERVE, RESERVED_SHARE = 1024, 8192, 16
MIN_ROOM = 64  # estimated tokens that the messages always have
MIN_PINNED = 32  # fewest tokens of a pinned message that are worth sending
Reason = Literal["newest", "pinned", "fits", "shortened", "compressed", "window", "person", "truncated", "summarized"]


def reserve_for_answer(window: int, max_tokens: int | None) -> int:
    """Return the tokens to keep free for the answer: max_tokens, or a sixteenth of the window; at most half of it."""
    usual = min(max(window // RESERVED_SHARE, MIN_RESERVE), MAX_RESERVE)
    return min(max_tokens or usual, window // 2)


@dataclass(frozen=True, slots=True)
class PlannedMessage:
    """A message, the part of it that is sent (None: nothing), and the reason."""

    message: ContextMessage
    sent: ContextMessage | None
    reason: Reason


def plan_context(messages: list[ContextMessage], max_tokens: int) -> list[PlannedMessage]:
    """Decide what is sent of each message, in order, with at most max_tokens estimated tokens in total.

    System messages take at most three quarters of the room. The newest message, the last question and pinned messages
    are always sent. The words of people are shortened only if they alone do not fit; files and tool results share what
    the words leave. Of the other messages, tool results are shortened, oldest first, then the oldest messages are
    omitted. The newest message is sent regardless of its rule.
    """
    system = [message for message in messages if message.role == "system" and message.rule != "left_out"]
    others = [message for message in messages if message.role != "system"]
    first = _newest_turn(others)
    sent = {
        id(message): cut
        for message, cut in zip(system, share(system, max_tokens * 3 // 4 if others else max_tokens), strict=True)
    }
    left = max_tokens - tokens_of(sent.values())
    sent |= _always_sent(first, others, left, history=_tokens_of_history(first, others))
    rest = [message for message in others if id(message) not in sent and message.rule == "auto"]
    sent |= _that_fit(rest, max_tokens - tokens_of(sent.values()))
    return [
        _planned(message, sent.get(id(message)), is_asked=any(message is required for required in first))
        for message in messages
    ]


def _planned(message: ContextMessage, sent: ContextMessage | None, *, is_asked: bool) -> PlannedMessage:
    reason: Reason = "fits" if sent is message and not message.omissions() else "shortened"
    if is_asked:
        reason = "newest"
    elif sent is None:
        reason = "person" if message.rule == "left_out" else "window"
    elif message.rule == "pinned" and message.role != "system":
        reason = "pinned"
    return PlannedMessage(message, sent, reason)


def _newest_turn(others: Sequence[ContextMessage]) -> list[ContextMessage]:
    """Return the newest message, and the last question before it unless it is excluded."""
    if not others:
        return []
    newest = others[-1]
    question = next((message for message in reversed(others) if message.role == "user"), newest)
    return [newest] if question is newest or question.rule == "left_out" else [newest, question]


def _tokens_of_history(first: Sequence[ContextMessage], others: Sequence[ContextMessage]) -> int:
    """Sum the tokens of the messages that are sent if there is room, with their results shortened."""
    required = {id(message) for message in first}
    return sum(
        with_short_results(message).tokens
        for message in others
        if message.rule == "auto" and id(message) not in required
    )


def _always_sent(
    first: Sequence[ContextMessage], others: Sequence[ContextMessage], room: int, *, history: int
) -> dict[int, ContextMessage]:
    """Return what is sent of the required and the pinned messages, by object id.

    Of what their words leave, `history` is kept free for other messages, but at most half.
    """
    pinned = [
        message
        for message in reversed(others)
        if message.rule == "pinned" and all(message is not required for required in first)
    ]
    required = [*first, *pinned]
    least = sum(map(least_tokens, required))
    if least <= room:
        kept = share(required, room - min(history, (room - least) // 2))
        return {id(message): shorter for message, shorter in zip(required, kept, strict=True)}
    # Not even the words fit. The question has priority over pinned messages, but each can have half of the room.
    of_first = min(tokens_of(first), max(room - tokens_of(pinned), room // 2))
    sent = {id(message): shorter for message, shorter in zip(first, share(first, of_first), strict=True)}
    left = room - tokens_of(sent.values())
    pinned = _worth_it(pinned, left)
    return sent | {id(message): shorter for message, shorter in zip(pinned, share(pinned, left), strict=True)}


def _worth_it(pinned: list[ContextMessage], room: int) -> list[ContextMessage]:
    """Return as many of the newest pinned messages as can each have MIN_PINNED tokens, or all of theirs."""
    count = 0
    least = 0
    for message in pinned:
        least += min(message.tokens, MIN_PINNED)
        if least > room:
            break
        count += 1
    return pinned[:count]


def _that_fit(messages: Sequence[ContextMessage], room: int) -> dict[int, ContextMessage]:
    """Return what is sent of the newest messages that fit, by object id. `messages` are oldest first."""
    shortest = [with_short_results(message) for message in messages]
    kept: list[tuple[ContextMessage, ContextMessage]] = []
    left = room
    for message, short in zip(reversed(messages), reversed(shortest), strict=True):
        if short.tokens > left:
            break
        left -= short.tokens
        kept.append((message, short))
    sent = {}
    for message, short in kept:  # newest first: its tool results stay whole while there is room
        longer = within(message, short.tokens + left) if short is not message else message
        left -= longer.tokens - short.tokens
        sent[id(message)] = longer
    return sent


def tokens_of(messages: Iterable[ContextMessage]) -> int:
    return sum(message.tokens for message in messages)
