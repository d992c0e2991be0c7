"""Shorten texts, messages, files and tool results to a number of tokens; the beginning and the end stay.

A note in the text names the characters that are left out, counted from the whole text. The same number is reported.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tertulia.chat.models import Omission, OmittedKind
from tertulia.context.excerpts import LaterExcerpt
from tertulia.context.messages import (
    OVERHEAD_PER_MESSAGE,
    TOKENS_A_PICTURE,
    ContextMessage,
    Passage,
    SentCall,
    SentFile,
    Turn,
    echo_tokens,
    estimate_tokens,
)

MIN_RESULT = 24  # fewest tokens of a tool result that are worth sending
OLD_RESULT = 120  # tokens kept of an earlier result if not everything fits
ALL_TOKENS = 10**9
MIN_PASSAGES = 3  # the first, the last and one that matters; with less room both ends say more
GAP_TOKENS = 16  # of the longest note of what is missing between two passages
WITHOUT_ARGUMENTS = '{"left_out": "they were too long"}'


def share(messages: Sequence[ContextMessage], room: int) -> list[ContextMessage]:
    """Return the messages unchanged if all fit; else the shortest whole, and the longer ones cut to the remaining room.

    Words have priority over files and tool results: these share what the words leave.
    """
    least = [least_tokens(message) for message in messages]
    if sum(least) > room:
        rooms = _shares([message.tokens for message in messages], room)
    else:
        wanted = [message.tokens - tokens for message, tokens in zip(messages, least, strict=True)]
        rooms = [tokens + more for tokens, more in zip(least, _shares(wanted, room - sum(least)), strict=True)]
    return [within(message, most) for message, most in zip(messages, rooms, strict=True)]


def least_tokens(message: ContextMessage) -> int:
    """Return the tokens of a message without what can be cut first: the words of a person are not cut.

    Of a reply the last turn stays, without long arguments, with the beginning and end of its results.
    """
    if message.role == "user":
        return min(message.tokens, _tokens_of_words(message) + sum(map(_least_of_file, message.files)))
    last = [_without_arguments(turn) for turn in message.turns[-1:]]
    calls = [call for turn in last for call in turn.calls]
    fixed = sum(turn.own_tokens for turn in last) + sum(call.fixed_tokens + MIN_RESULT for call in calls)
    return min(message.tokens, fixed + MIN_RESULT)


def _least_of_file(file: SentFile) -> int:
    return min(file.tokens, estimate_tokens(file.note))


def _tokens_of_words(message: ContextMessage) -> int:
    return (estimate_tokens(message.content) if message.content or not message.files else 0) + echo_tokens(message.echo)


def within(message: ContextMessage, room: int) -> ContextMessage:
    if message.tokens <= room:
        return message
    if message.turns:
        return _with_shorter_turns(message, room)
    message = message.without_echoes()
    if message.tokens <= room:
        return message
    words = _tokens_of_words(message)
    least_of_files = sum(map(_least_of_file, message.files))
    left = room - min(words, room) - least_of_files
    # Pictures take at most half of the room, and none of what the words take.
    count = min(len(message.pictures), max(0, min(room // 2, left) // TOKENS_A_PICTURE))
    room -= TOKENS_A_PICTURE * count
    # Words that do not fit leave the files at least half of the room for their names.
    of_files = _shares([file.tokens for file in message.files], max(room - words, min(least_of_files, room // 2)))
    files = tuple(cut_file(file, most) for file, most in zip(message.files, of_files, strict=True))
    content, omitted = cut(message.content, room - sum(file.tokens for file in files))
    return replace(
        message,
        content=content,
        omitted=message.omitted + omitted,
        files=files,
        pictures=message.pictures[:count],
        omitted_pictures=message.omitted_pictures + len(message.pictures) - count,
    )


def with_short_results(message: ContextMessage) -> ContextMessage:
    """Shorten each tool result of an old reply to its beginning and end, without echoes: they are needed least."""
    plain = message.without_echoes()
    turns = tuple(
        replace(turn, calls=tuple(_cut_call(call, OLD_RESULT) for call in turn.calls)) for turn in plain.turns
    )
    return plain if turns == plain.turns else replace(plain, turns=turns)


def shorten(text: str, max_tokens: int) -> str:
    """Return the beginning and the end of a text within max_tokens, with a note of how much is missing between them."""
    return cut(text, max_tokens)[0]


def cut(text: str, max_tokens: int) -> tuple[str, int]:
    """Return a shortened text as `shorten` does, and the number of characters that it lacks."""
    # A text with more than four characters a token never fits, so its tokens are not estimated.
    if len(text) <= 4 * max_tokens and estimate_tokens(text) <= max_tokens:
        return text, 0
    return _ends_of(text, text, len(text), max_tokens)


def cut_file(file: SentFile, max_tokens: int) -> SentFile:
    """Return a file whose text takes at most max_tokens: its passages for the question, or both ends, or its note.

    Without room for the note nothing is sent.
    """
    if file.is_excerpt:
        return _cut_excerpt(file, max_tokens)
    if file.whole is not None:
        if file.whole.tokens <= max_tokens:
            return file
        file = replace(file, whole=None)  # there is room for its text only
    if file.length == 0:
        return file if file.tokens <= max_tokens else replace(file, text="")
    whole = f'<file name="{file.name}">\n{file.head}\n</file>'
    if not file.tail and len(file.head) <= 4 * max_tokens and estimate_tokens(whole) <= max_tokens:
        return replace(file, text=whole, omitted=0)
    opening, closing = f'<file name="{file.name}" attachment_id="{file.attachment_id}">\n', "\n</file>"
    room = max_tokens - estimate_tokens(opening + closing)
    chosen = _passages_within(file, room)
    if len(chosen) >= MIN_PASSAGES:
        text = _joined(chosen, file.length)
        omitted = file.length - sum(len(passage.text) for passage in chosen)
        return replace(file, text=opening + text + closing, omitted=omitted)
    text, omitted = _ends_of(file.head, file.tail or file.head, file.length, max(room, 0))
    if omitted < file.length:
        return replace(file, text=opening + text + closing, omitted=omitted)
    return replace(file, text=file.note if estimate_tokens(file.note) <= max_tokens else "", omitted=file.length)


def excerpt_of(later: LaterExcerpt) -> SentFile:
    """Return the passages of an earlier file that the question is about, all of them at first."""
    file = SentFile(later.attachment_id, later.name, "", "", later.length, "", passages=later.passages, is_excerpt=True)
    return _cut_excerpt(file, ALL_TOKENS)


def _cut_excerpt(file: SentFile, max_tokens: int) -> SentFile:
    """Return the most important passages of an excerpt that fit. What is missing of the file is counted where it was sent."""
    opening = f'<file name="{file.name}" attachment_id="{file.attachment_id}" part="for this question">\n'
    chosen = _passages_within(file, max_tokens - estimate_tokens(f"{opening}\n</file>"))
    return replace(file, text=f"{opening}{_joined(chosen, file.length)}\n</file>" if chosen else "")


def _passages_within(file: SentFile, room: int) -> list[Passage]:
    """Return the most important passages that fit with the notes between them, in the order of the text."""
    room -= OVERHEAD_PER_MESSAGE + GAP_TOKENS  # of the text, and of the gap that is the whole text at first
    chosen: list[Passage] = []
    starts, ends = {file.length}, {0}
    for passage in file.passages:
        # A passage splits a gap in two, or shortens one, or closes it.
        joins = (passage.start in ends) + (passage.end in starts)
        room -= passage.tokens + GAP_TOKENS * (1 - joins)
        if room < 0:
            break
        chosen.append(passage)
        starts.add(passage.start)
        ends.add(passage.end)
    return sorted(chosen, key=lambda passage: passage.start)


def _joined(passages: Sequence[Passage], length: int) -> str:
    """Join passages in the order of the text, with notes of how much is missing between them."""
    pieces, at = [], 0
    for passage in passages:
        if passage.start > at:
            pieces.append(_gap(passage.start - at))
        pieces.append(passage.text)
        at = passage.end
    if at < length:
        pieces.append(_gap(length - at))
    return "".join(pieces)


def _gap(missing: int) -> str:
    return f"\n[… {missing} characters left out …]\n"


def _cut_call(call: SentCall, max_tokens: int) -> SentCall:
    whole = call.result if call.whole is None else call.whole
    result, omitted = cut(whole, max_tokens)
    return replace(call, result=result, omitted=omitted, whole=whole if omitted else None)


def _ends_of(head: str, tail: str, length: int, max_tokens: int) -> tuple[str, int]:
    """Return the longest equal ends that fit with a note between them, and the number of characters left out.

    `head` begins and `tail` ends a text of `length` characters.
    """
    low, high = 0, min(len(head), len(tail), length // 2, 2 * max_tokens)
    # Find the most characters at either end that still fit, to about one in a hundred.
    while high - low > low // 128:
        middle = (low + high + 1) // 2
        if estimate_tokens(_with_gap(head, tail, length, middle)) <= max_tokens:
            low = middle
        else:
            high = middle - 1
    short = _with_gap(head, tail, length, low)
    if estimate_tokens(short) <= max_tokens:
        return short, length - 2 * low
    return "", length


def _with_gap(head: str, tail: str, length: int, each_end: int) -> str:
    missing = length - 2 * each_end
    return f"{head[:each_end]}{_gap(missing)}{tail[len(tail) - each_end :]}"


def _with_shorter_turns(message: ContextMessage, room: int) -> ContextMessage:
    """Shorten tool results before text, then leave out echoes, then the oldest turns, each call with its result.

    The last turn stays while there is any room for it: without it a model would make the same call again.
    """
    text_tokens = estimate_tokens(message.content) if message.content else OVERHEAD_PER_MESSAGE
    if text_tokens > room // 2 and _fitting(message.turns, room - text_tokens) is None:
        text_tokens = max(OVERHEAD_PER_MESSAGE, room // 2)
    turns = list(message.turns)
    if _fitting(turns, room - text_tokens) is None:
        message = message.without_echoes()
        turns = list(message.turns)
    while turns and (fitting := _fitting(turns, room - text_tokens)) is None:
        if len(turns) == 1:
            last = _without_arguments(turns[0])
            fitting = _fitting([last], room - text_tokens)
            turns = [last] if fitting is not None else []
            break
        turns.pop(0)
    sent = tuple(fitting or ()) if turns else ()
    content, omitted = cut(message.content, room - sum(turn.tokens for turn in sent))
    dropped = message.turns[: len(message.turns) - len(sent)]
    omitted += sum(_characters_of(turn) for turn in dropped)
    return replace(
        message,
        turns=sent,
        content=content,
        omitted=message.omitted + omitted,
        echo=None,
    )


def _characters_of(turn: Turn) -> int:
    return len(turn.text) + sum(len(call.result if call.whole is None else call.whole) for call in turn.calls)


def _fitting(turns: Sequence[Turn], room: int) -> list[Turn] | None:
    """Return the turns with tool results cut to the room; None if not even their text and calls fit."""
    calls = [call for turn in turns for call in turn.calls]
    fixed = sum(turn.own_tokens for turn in turns) + sum(call.fixed_tokens for call in calls)
    if fixed + MIN_RESULT * len(calls) > room:
        return None
    lengths = iter(_shares([_tokens_of_result(call) for call in calls], room - fixed))
    return [replace(turn, calls=tuple(_cut_call(call, next(lengths)) for call in turn.calls)) for turn in turns]


def _tokens_of_result(call: SentCall) -> int:
    return estimate_tokens(call.result if call.whole is None else call.whole)


def _without_arguments(turn: Turn) -> Turn:
    def cut_arguments(call: SentCall) -> SentCall:
        is_long = len(call.arguments) > len(WITHOUT_ARGUMENTS)
        return replace(call, arguments=WITHOUT_ARGUMENTS) if is_long else call

    text, omitted = cut(turn.text, MIN_RESULT)
    calls = tuple(map(cut_arguments, turn.without_echoes().calls))
    lost = sum(len(call.arguments) for call in turn.calls) - sum(len(call.arguments) for call in calls)
    return Turn(text, calls, omitted=omitted + max(lost, 0))


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """Divide the room: each gets what it wants if all fit, else the rest is divided among the longer."""
    shares = [0] * len(wanted)
    for place, index in enumerate(sorted(range(len(wanted)), key=lambda position: wanted[position])):
        shares[index] = min(wanted[index], room // (len(wanted) - place))
        room -= shares[index]
    return shares


def omissions_of(messages: Iterable[ContextMessage]) -> list[Omission]:
    """Return what is missing of the sent messages, summed by kind and name."""
    sums: dict[tuple[OmittedKind, str | None], int] = {}
    for message in messages:
        for omission in message.omissions():
            key = (omission.kind, omission.name)
            sums[key] = sums.get(key, 0) + omission.amount
    return [Omission(kind=kind, name=name, amount=amount) for (kind, name), amount in sums.items()]


def loaded_file(file: SentFile) -> SentFile:
    """Return a file with everything that was loaded of it as its text."""
    if not file.tail:
        return replace(file, text=f'<file name="{file.name}">\n{file.head}\n</file>')
    text = _with_gap(file.head, file.tail, file.length, len(file.head))
    opening = f'<file name="{file.name}" attachment_id="{file.attachment_id}">\n'
    return replace(file, text=f"{opening}{text}\n</file>", omitted=file.length - 2 * len(file.head))
