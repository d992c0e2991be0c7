"""What a model proposes, as edits to places: read out of its words, checked against the text, moved with it. Pure functions."""

import re
from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from rapidfuzz import fuzz

from tertulia.drafts.text import Change, apply_changes, changes_between

_FENCE = re.compile(r"\A\s*```[a-z]*\n(.*)\n?```\s*\Z", re.DOTALL)
NEAR = 90  # of 100: how alike a place must be to what the model says stands there
FUZZY = range(12, 600)  # characters; shorter and longer ones must stand there exactly
MOST_FUZZY = 20  # of a reply: each takes up to 30 ms in a long text
SNAPPED_WITHIN = 8  # characters, in which a place that is almost right is moved to ends of words
LEAST_KEPT = 0.3  # of a text that was rewritten as a whole; else the model answered something else
LONG_PASSAGE = 500  # characters: of a shorter selection nothing need be kept
JOINED_WITHIN = 3  # characters between two changes that are shown as one
MOST_EDITS = 1000  # of one proposal: more are shown as larger ones

RULES = """\
Propose changes to the draft by blocks of this form, one for each place, in the order of the text:
<edit>
<find>the exact words of the draft that change, with as much around them as makes the place clear</find>
<replace>the words that shall stand there instead</replace>
</edit>
Change only what was asked for. To insert, find a few words beside the place and repeat them in the replacement. Outside the
blocks say at most one sentence. If nothing needs to change, say so, without a block."""
RULES_OF_PASSAGE = """\
The person selected a passage of the draft. Answer with the new wording of that passage alone: no introduction, no quotes,
no explanation. What you answer takes its place as it is."""
RULES_OF_EMPTY = "The draft is empty. Answer with its text alone, in Markdown: no introduction and no explanation."


@dataclass(frozen=True)
class PlacedEdit:
    start: int
    end: int
    old: str
    new: str
    is_placed: bool = True


def edits_of_reply(text: str, reply: str, selection: tuple[int, int] | None) -> list[PlacedEdit]:
    """The edits that a model's words ask for in a text; of a selection its words are the new wording.

    A model that wrote the whole text anew is understood too; one that answered something else proposed nothing.
    """
    if selection is not None:
        start, end = selection
        old, new = text[start:end], _unwrapped(reply)
        if len(old) > LONG_PASSAGE:
            return _edits_of_rewrite(old, _in_place_of(old, new), start)
        return _edits_between(old, _in_place_of(old, new), start)
    if not text:
        new = _unwrapped(reply)
        return [PlacedEdit(0, 0, "", new)] if new else []
    blocks = _blocks(reply)
    if not blocks:
        return _edits_of_rewrite(text, _in_place_of(text, _unwrapped(reply)), 0)
    return edits_of_blocks(text, blocks)


def edits_of_blocks(text: str, blocks: Sequence[tuple[str, str]]) -> list[PlacedEdit]:
    """Each of (what is found, what is put there) in its place; those that change nothing are left away."""
    places = _Places(text)
    found = [places.place(find, replacement) for find, replacement in blocks]
    return [one for one in found if one.old != one.new or not one.is_placed]


def _blocks(reply: str) -> list[tuple[str, str]]:
    """What each whole block finds and puts there, read in one pass: a model may write anything, a million characters of it."""
    found: list[tuple[str, str]] = []
    at = 0
    while len(found) < MOST_EDITS:
        start = reply.find("<edit>", at)
        end = reply.find("</edit>", start) if start >= 0 else -1
        if end < 0:
            break
        body = reply[reply.rfind("<edit>", start, end) + len("<edit>") : end]
        before, _, rest = body.partition("<find>")
        find, closed, rest = rest.partition("</find>")
        between, opened, rest = rest.partition("<replace>")
        replacement, ended, after = rest.partition("</replace>")
        if closed and opened and ended and not (before + between + after).strip():
            found.append((_trimmed(find), _trimmed(replacement)))
        at = end + len("</edit>")
    return found


def _unwrapped(reply: str) -> str:
    fenced = _FENCE.match(reply)
    return (fenced.group(1) if fenced else reply).strip()


def _in_place_of(old: str, new: str) -> str:
    """With the white space around it that the older words had; an answer of nothing changes nothing."""
    lead, trail = old[: len(old) - len(old.lstrip())], old[len(old.rstrip()) :]
    return f"{lead}{new}{trail if old.strip() else ''}" if new else old


def _trimmed(text: str) -> str:
    """Without the line break that models put after and before the tags."""
    return text.removeprefix("\n").removesuffix("\n")


def _edits_of_rewrite(text: str, new: str, offset: int) -> list[PlacedEdit]:
    changes = changes_between(text, new)
    gone = sum(change.end - change.start for change in changes)
    if len(text) - gone < LEAST_KEPT * len(text):
        return []
    return _edits_between(text, new, offset)


def _edits_between(old: str, new: str, offset: int) -> list[PlacedEdit]:
    """Changes as a person reads them: those that almost touch are one."""
    changes = changes_between(old, new)
    within = JOINED_WITHIN
    groups = _grouped(changes, within)
    while len(groups) > MOST_EDITS:
        within *= 4
        groups = _grouped(changes, within)
    found = []
    for group in groups:
        start, end = group[0].start, group[-1].end
        moved = [Change(one.start - start, one.end - start, one.text) for one in group]
        found.append(PlacedEdit(offset + start, offset + end, old[start:end], apply_changes(old[start:end], moved)))
    return found


def _grouped(changes: Sequence[Change], within: int) -> list[list[Change]]:
    groups: list[list[Change]] = []
    for change in changes:
        if groups and change.start - groups[-1][-1].end <= within:
            groups[-1].append(change)
        else:
            groups.append([change])
    return groups


class _Places:
    """Where the blocks of one reply apply: after the ones before them if they can, and never within one."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._after = 0
        self._taken: list[tuple[int, int]] = []  # in rising order
        self._fuzzy_left = MOST_FUZZY

    def place(self, find: str, replacement: str) -> PlacedEdit:
        stretch = self._find(find)
        if stretch is None or self._is_taken(*stretch):
            return PlacedEdit(0, 0, find, replacement, is_placed=False)
        start, end = stretch
        insort(self._taken, stretch)
        self._after = max(self._after, end)
        return _narrowed(PlacedEdit(start, end, self._text[start:end], replacement))

    def _find(self, find: str) -> tuple[int, int] | None:
        if not find:
            return None
        start = self._text.find(find, self._after)
        if start < 0:
            start = self._text.find(find)
        if start >= 0:
            return start, start + len(find)
        if len(find) not in FUZZY or len(find) > len(self._text) or not self._fuzzy_left:
            return None
        self._fuzzy_left -= 1
        near = fuzz.partial_ratio_alignment(find, self._text, score_cutoff=NEAR)
        return self._snapped(find, near.dest_start, near.dest_end) if near is not None else None

    def _snapped(self, find: str, start: int, end: int) -> tuple[int, int] | None:
        """The stretch about there, from end of word to end of word, that is most like what the model says."""
        best, best_score = None, float(NEAR)
        for first in self._boundaries(start):
            for last in self._boundaries(end):
                score = fuzz.ratio(find, self._text[first:last], score_cutoff=best_score) if first < last else 0.0
                if score > best_score or (score and best is None):
                    best, best_score = (first, last), score
        return best

    def _boundaries(self, about: int) -> list[int]:
        return [
            at
            for at in range(max(0, about - SNAPPED_WITHIN), min(len(self._text), about + SNAPPED_WITHIN) + 1)
            if not (self._text[at - 1 : at].isalnum() and self._text[at : at + 1].isalnum())
        ]

    def _is_taken(self, start: int, end: int) -> bool:
        at = bisect_right(self._taken, (start, end))
        before, after = self._taken[:at][-1:], self._taken[at : at + 1]
        return any(start < stop and begin < end for begin, stop in before + after)


def _narrowed(edit: PlacedEdit) -> PlacedEdit:
    """Without the words at both ends that stay."""
    changes = changes_between(edit.old, edit.new)
    if not changes:
        return edit
    first, last = changes[0].start, changes[-1].end
    tail = len(edit.old) - last
    return PlacedEdit(
        edit.start + first, edit.start + last, edit.old[first:last], edit.new[first : len(edit.new) - tail]
    )


class Moved:
    """Where stretches of an older text are in the newer one."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes
        self._ends = [change.end for change in changes]
        self._shifts = [0, *accumulate(len(change.text) - (change.end - change.start) for change in changes)]

    def place(self, start: int, end: int) -> tuple[int, int] | None:
        """None if it was changed itself. What was inserted just before a stretch is not within it."""
        count = bisect_right(self._ends, start)
        if count < len(self._changes):
            begins = self._changes[count].start
            if begins < end or (begins == start == end):
                return None
        by = self._shifts[count]
        return start + by, end + by
