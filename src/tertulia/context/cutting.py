"""Shorten texts, messages and tool results to a number of tokens; the beginning and the end stay."""

from collections.abc import Sequence
from dataclasses import replace

from tertulia.context.messages import (
    OVERHEAD_PER_MESSAGE,
    TOKENS_A_PICTURE,
    ContextMessage,
    SentCall,
    Turn,
    echo_tokens,
    estimate_tokens,
)

MIN_RESULT = 24  # fewest tokens of a tool result that are worth sending
OLD_RESULT = 120  # tokens kept of an earlier result if not everything fits
WITHOUT_ARGUMENTS = '{"left_out": "they were too long"}'


def share(messages: Sequence[ContextMessage], room: int) -> list[ContextMessage]:
    """Return the messages unchanged if all fit; else the shortest whole, and the longer ones cut to the remaining room."""
    rooms = _shares([message.tokens for message in messages], room)
    return [within(message, most) for message, most in zip(messages, rooms, strict=True)]


def within(message: ContextMessage, room: int) -> ContextMessage:
    if message.tokens <= room:
        return message
    if message.turns:
        return _with_shorter_turns(message, room)
    # Pictures take at most half of the room, so that text stays.
    pictures = message.pictures[: max(0, room // 2 // TOKENS_A_PICTURE)]
    text = shorten(message.content, room - TOKENS_A_PICTURE * len(pictures))
    return replace(message, content=text, pictures=pictures, echo=None)


def with_short_results(message: ContextMessage) -> ContextMessage:
    """Shorten each tool result of an old reply to its beginning and end: results are needed least."""
    turns = tuple(
        replace(turn, calls=tuple(replace(call, result=shorten(call.result, OLD_RESULT)) for call in turn.calls))
        for turn in message.turns
    )
    return message if turns == message.turns else replace(message, turns=turns)


def shorten(text: str, max_tokens: int) -> str:
    """Return the beginning and the end of a text within max_tokens, with a note of how much is missing between them."""
    # A text with more than four characters a token never fits, so its tokens are not estimated.
    if len(text) <= 4 * max_tokens and estimate_tokens(text) <= max_tokens:
        return text
    low, high = 0, min(len(text) // 2, 2 * max_tokens)
    while low < high:  # find the most characters at either end that still fit
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


def _with_shorter_turns(message: ContextMessage, room: int) -> ContextMessage:
    """Shorten tool results before text, then omit the oldest turns, each call with its result.

    The last turn stays while there is any room for it: without it a model would make the same call again.
    """
    text_tokens = estimate_tokens(message.content) if message.content else OVERHEAD_PER_MESSAGE
    text_tokens += echo_tokens(message.echo)
    if text_tokens > room // 2 and _fitting(message.turns, room - text_tokens) is None:
        text_tokens = max(OVERHEAD_PER_MESSAGE, room // 2)
    turns = list(message.turns)
    while turns and (fitting := _fitting(turns, room - text_tokens)) is None:
        if len(turns) == 1:
            last = _without_arguments(turns[0])
            fitting = _fitting([last], room - text_tokens)
            turns = [last] if fitting is not None else []
            break
        turns.pop(0)
    sent = tuple(fitting or ()) if turns else ()
    content = shorten(message.content, room - sum(turn.tokens for turn in sent))
    return replace(message, turns=sent, content=content, echo=message.echo if content == message.content else None)


def _fitting(turns: Sequence[Turn], room: int) -> list[Turn] | None:
    """Return the turns with tool results cut to the room; None if not even their text and calls fit."""
    calls = [call for turn in turns for call in turn.calls]
    fixed = sum(turn.own_tokens for turn in turns) + sum(call.fixed_tokens for call in calls)
    if fixed + MIN_RESULT * len(calls) > room:
        return None
    lengths = iter(_shares([estimate_tokens(call.result) for call in calls], room - fixed))
    return [
        replace(turn, calls=tuple(replace(call, result=shorten(call.result, next(lengths))) for call in turn.calls))
        for turn in turns
    ]


def _without_arguments(turn: Turn) -> Turn:
    def cut(call: SentCall) -> SentCall:
        is_long = len(call.arguments) > len(WITHOUT_ARGUMENTS)
        return replace(call, arguments=WITHOUT_ARGUMENTS) if is_long else call

    return Turn(shorten(turn.text, MIN_RESULT), tuple(cut(call) for call in turn.calls))


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """Divide the room: each gets what it wants if all fit, else the rest is divided among the longer."""
    shares = [0] * len(wanted)
    for place, index in enumerate(sorted(range(len(wanted)), key=lambda position: wanted[position])):
        shares[index] = min(wanted[index], room // (len(wanted) - place))
        room -= shares[index]
    return shares
