"""Texts compared and merged, by lines and within them by words. Pure functions over characters; no model, no database.

A change is what became of a stretch of the older text. The list of changes from one text to another is in order, without
overlaps, and gives the newer text when it is applied: everything here rests on that.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

from rapidfuzz.distance import Indel
from typing_extensions import TypedDict

# A word, one sign of Chinese, Japanese or Korean, a stretch of white space, or any other single sign.
_TOKENS = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|\s+|[^\w\s]"
)
_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_LINES = re.compile(r"[^\n]*\n|[^\n]+")
# Two stretches of more than this (words times words) count as rewritten: to compare them would take seconds.
MOST_COMPARED = 200_000_000


class Change(NamedTuple):
    """`text` stands where the older text had `start:end`."""

    start: int
    end: int
    text: str


class Overlap(TypedDict):
    """Where both sides changed the same: what was there, and what each made of it."""

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
    """As it is kept: lines end in a line feed alone, as editors count them."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def changes_between(old: str, new: str) -> list[Change]:
    if old == new:
        return []
    found: list[Change] = []
    for start, end, new_start, new_end in _differing(_LINES.findall(old), _LINES.findall(new), 0, 0):
        found += _word_changes(old[start:end], new[new_start:new_end], start)
    return found


def _word_changes(old: str, new: str, offset: int) -> list[Change]:
    if not old or not new:
        return [Change(offset, offset + len(old), new)]
    return [
        Change(offset + start, offset + end, new[new_start:new_end])
        for start, end, new_start, new_end in _differing(_TOKENS.findall(old), _TOKENS.findall(new), 0, 0)
    ]


def _differing(old: Sequence[str], new: Sequence[str], at: int, new_at: int) -> list[tuple[int, int, int, int]]:
    """The stretches, in characters, in which two lists of tokens differ."""
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
    if not old or not new or len(old) * len(new) > MOST_COMPARED:
        return [(at, at + sum(map(len, old)), new_at, new_at + sum(map(len, new)))]
    places, new_places = _places(old, at), _places(new, new_at)
    found: list[tuple[int, int, int, int]] = []
    for step in Indel.opcodes(old, new):
        if step.tag == "equal":
            continue
        start, end = places[step.src_start], places[step.src_end]
        new_start, new_end = new_places[step.dest_start], new_places[step.dest_end]
        if found and found[-1][1] == start and found[-1][3] == new_start:
            found[-1] = (found[-1][0], end, found[-1][2], new_end)
        else:
            found.append((start, end, new_start, new_end))
    return found


def _places(tokens: Sequence[str], at: int) -> list[int]:
    """Where each token begins, and where the last one ends."""
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
    """Both sides' changes together; where they changed the same, both are given and nothing is chosen.

    Where both wrote at the same place, and the one wrote all that the other did, that one is taken.
    """
    pieces: Merged = []
    at = 0
    for cluster in _clusters(changes_between(base, mine), changes_between(base, theirs)):
        start, end = min(one.start for one, _ in cluster), max(one.end for one, _ in cluster)
        _add_plain(pieces, base[at:start])
        sides = [
            apply_changes(base[start:end], [_moved(one, -start) for one, side in cluster if side == wanted])
            for wanted in (0, 1)
        ]
        pieces += _resolved(base[start:end], *sides, has_both={side for _, side in cluster} == {0, 1})
        at = end
    _add_plain(pieces, base[at:])
    return _joined(pieces)


def _clusters(mine: list[Change], theirs: list[Change]) -> list[list[tuple[Change, int]]]:
    """The changes of both sides in order, those together that touch the same words or the same place."""
    ordered = sorted([(one, 0) for one in mine] + [(one, 1) for one in theirs])
    clusters: list[list[tuple[Change, int]]] = []
    end = -1
    for one, side in ordered:
        if clusters and (one.start < end or (one.start == clusters[-1][-1][0].start)):
            clusters[-1].append((one, side))
            end = max(end, one.end)
        else:
            clusters.append([(one, side)])
            end = one.end
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
    """The whole text; None if there is something to choose."""
    if any(piece["kind"] == "overlap" for piece in merged):
        return None
    return "".join(piece["text"] for piece in merged if piece["kind"] == "same")


def diff_pieces(old: str, new: str) -> list[DiffPiece]:
    """Both texts in one: what stayed, what went, what came, in reading order."""
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
    """So many characters came with the version of this number."""

    length: int
    version_number: int


def spans_after(spans: Sequence[Span], changes: Sequence[Change], version_number: int) -> list[Span]:
    """Who wrote what after changes that came with a version: what stayed keeps its origin."""
    ends = list(accumulate(span.length for span in spans))
    made: list[Span] = []

    def keep(start: int, end: int) -> None:
        if start >= end:
            return
        first, last = bisect_right(ends, start), bisect_left(ends, end)
        if first == last:
            _add_span(made, Span(end - start, spans[first].version_number))
            return
        _add_span(made, Span(ends[first] - start, spans[first].version_number))
        made.extend(spans[first + 1 : last])  # those between are as they were
        _add_span(made, Span(end - ends[last - 1], spans[last].version_number))

    at = 0
    for change in changes:
        keep(at, change.start)
        _add_span(made, Span(len(change.text), version_number))
        at = change.end
    keep(at, ends[-1] if ends else 0)
    return made


def _add_span(spans: list[Span], span: Span) -> None:
    if span.length and spans and spans[-1].version_number == span.version_number:
        spans[-1] = Span(spans[-1].length + span.length, span.version_number)
    elif span.length:
        spans.append(span)


def count_words(text: str) -> int:
    return len(_WORDS.findall(text))
