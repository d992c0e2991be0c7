"""Compare and merge texts, by lines and within them by words. Pure functions without a model or database.

A change replaces a range of the older text. The changes from one text to another are in order and do not overlap.
Applying them gives the newer text. All functions here rely on that.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

from rapidfuzz.distance import Indel
from typing_extensions import TypedDict

# A word, one Chinese, Japanese or Korean character, a run of white space, or any other single character.
_TOKENS = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|\s+|[^\w\s]"
)
_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_LINES = re.compile(r"[^\n]*\n|[^\n]+")
# Above this (tokens times tokens) two ranges count as rewritten, because comparing them would take seconds.
MAX_COMPARED = 200_000_000


class Change(NamedTuple):
    """Replaces `start:end` of the older text with `text`."""

    start: int
    end: int
    text: str


class Overlap(TypedDict):
    """A conflict: both sides changed the same text. Has the base text and both new texts."""

    kind: Literal["overlap"]
    base: str
    mine: str
    theirs: str


class Plain(TypedDict):
    kind: Literal["same"]
    text: str


Merged = list[Plain | Overlap]


class DiffPiece(TypedDict):
    kind: Literal["same", "added", "removed"]
    text: str


def clean(text: str) -> str:
    """Normalise line endings to a single line feed, as editors count them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def changes_between(old: str, new: str) -> list[Change]:
    if old == new:
        return []
    changes: list[Change] = []
    for start, end, new_start, new_end in _differing(_LINES.findall(old), _LINES.findall(new), 0, 0):
        changes += _word_changes(old[start:end], new[new_start:new_end], start)
    return changes


def _word_changes(old: str, new: str, offset: int) -> list[Change]:
    if not old or not new:
        return [Change(offset, offset + len(old), new)]
    return [
        Change(offset + start, offset + end, new[new_start:new_end])
        for start, end, new_start, new_end in _differing(_TOKENS.findall(old), _TOKENS.findall(new), 0, 0)
    ]


def _differing(old: Sequence[str], new: Sequence[str], at: int, new_at: int) -> list[tuple[int, int, int, int]]:
    """Return where two lists of tokens differ, as (start, end, new_start, new_end) in characters."""
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    before = sum(map(len, old[:first]))
    at, new_at = at + before, new_at + before
    old, new = old[first : len(old) - last], new[first : len(new) - last]
    if not old and not new:
        return []
    if not old or not new or len(old) * len(new) > MAX_COMPARED:
        return [(at, at + sum(map(len, old)), new_at, new_at + sum(map(len, new)))]
    places, new_places = _places(old, at), _places(new, new_at)
    ranges: list[tuple[int, int, int, int]] = []
    for step in Indel.opcodes(old, new):
        if step.tag == "equal":
            continue
        start, end = places[step.src_start], places[step.src_end]
        new_start, new_end = new_places[step.dest_start], new_places[step.dest_end]
        if ranges and ranges[-1][1] == start and ranges[-1][3] == new_start:
            ranges[-1] = (ranges[-1][0], end, ranges[-1][2], new_end)
        else:
            ranges.append((start, end, new_start, new_end))
    return ranges


def _places(tokens: Sequence[str], at: int) -> list[int]:
    """Return the offset of each token, and the end of the last one."""
    places = [at]
    for token in tokens:
        places.append(places[-1] + len(token))
    return places


def apply_changes(text: str, changes: Sequence[Change]) -> str:
    pieces, at = [], 0
    for change in changes:
        pieces += [text[at : change.start], change.text]
        at = change.end
    return "".join([*pieces, text[at:]])


def merge_texts(base: str, mine: str, theirs: str) -> Merged:
    """Merge the changes of both sides. Where both changed the same text, return both as an Overlap.

    If both inserted at the same place, and one insertion starts or ends with the other, the longer one is used.
    """
    pieces: Merged = []
    at = 0
    for cluster in _clusters(changes_between(base, mine), changes_between(base, theirs)):
        start, end = min(change.start for change, _ in cluster), max(change.end for change, _ in cluster)
        _add_plain(pieces, base[at:start])
        sides = [
            apply_changes(base[start:end], [_moved(change, -start) for change, side in cluster if side == number])
            for number in (0, 1)
        ]
        pieces += _resolved(base[start:end], *sides, has_both={side for _, side in cluster} == {0, 1})
        at = end
    _add_plain(pieces, base[at:])
    return _joined(pieces)


def _clusters(mine: list[Change], theirs: list[Change]) -> list[list[tuple[Change, int]]]:
    """Group the changes of both sides in order. Changes that overlap or start at the same place form a group."""
    ordered = sorted([(change, 0) for change in mine] + [(change, 1) for change in theirs])
    clusters: list[list[tuple[Change, int]]] = []
    end = -1
    for change, side in ordered:
        if clusters and (change.start < end or (change.start == clusters[-1][-1][0].start)):
            clusters[-1].append((change, side))
            end = max(end, change.end)
        else:
            clusters.append([(change, side)])
            end = change.end
    return clusters


def _moved(change: Change, by: int) -> Change:
    return Change(change.start + by, change.end + by, change.text)


def _resolved(base: str, mine: str, theirs: str, *, has_both: bool) -> Merged:
    if not has_both:
        return [{"kind": "same", "text": mine if theirs == base else theirs}]
    if mine == theirs:
        return [{"kind": "same", "text": mine}]
    longer, shorter = sorted((mine, theirs), key=len, reverse=True)
    if not base and (longer.startswith(shorter) or longer.endswith(shorter)):
        return [{"kind": "same", "text": longer}]
    return [{"kind": "overlap", "base": base, "mine": mine, "theirs": theirs}]


def _add_plain(pieces: Merged, text: str) -> None:
    if text:
        pieces.append({"kind": "same", "text": text})


def _joined(pieces: Merged) -> Merged:
    joined: Merged = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if piece["kind"] == "same" and last is not None and last["kind"] == "same":
            last["text"] += piece["text"]
        elif piece["kind"] == "overlap" or piece["text"]:
            joined.append(piece)
    return joined


def merged_text(merged: Merged) -> str | None:
    """Return the merged text, or None if there are conflicts."""
    if any(piece["kind"] == "overlap" for piece in merged):
        return None
    return "".join(piece["text"] for piece in merged if piece["kind"] == "same")


def diff_pieces(old: str, new: str) -> list[DiffPiece]:
    """Return both texts as unchanged, removed and added pieces, in reading order."""
    pieces: list[DiffPiece] = []
    at = 0
    for change in changes_between(old, new):
        for kind, text in (("same", old[at : change.start]), ("removed", old[change.start : change.end])):
            if text:
                pieces.append({"kind": kind, "text": text})  # type: ignore[typeddict-item]
        if change.text:
            pieces.append({"kind": "added", "text": change.text})
        at = change.end
    if old[at:]:
        pieces.append({"kind": "same", "text": old[at:]})
    return pieces


class Span(NamedTuple):
    """A number of characters that came from the version with this number."""

    length: int
    version_number: int


def spans_after(spans: Sequence[Span], changes: Sequence[Change], version_number: int) -> list[Span]:
    """Return the spans after the changes of a version. Unchanged text keeps its origin."""
    ends = list(accumulate(span.length for span in spans))
    updated: list[Span] = []

    def keep(start: int, end: int) -> None:
        if start >= end:
            return
        first, last = bisect_right(ends, start), bisect_left(ends, end)
        if first == last:
            _add_span(updated, Span(end - start, spans[first].version_number))
            return
        _add_span(updated, Span(ends[first] - start, spans[first].version_number))
        updated.extend(spans[first + 1 : last])  # the spans in between do not change
        _add_span(updated, Span(end - ends[last - 1], spans[last].version_number))

    at = 0
    for change in changes:
        keep(at, change.start)
        _add_span(updated, Span(len(change.text), version_number))
        at = change.end
    keep(at, ends[-1] if ends else 0)
    return updated


def _add_span(spans: list[Span], span: Span) -> None:
    if span.length and spans and spans[-1].version_number == span.version_number:
        spans[-1] = Span(spans[-1].length + span.length, span.version_number)
    elif span.length:
        spans.append(span)


def count_words(text: str) -> int:
    return len(_WORDS.findall(text))
