"""Parse a model's reply into edits of a draft, place them in its text, and map them to newer texts. Pure functions."""

import re
from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from rapidfuzz import fuzz

from tertulia.drafts.text import Change, apply_changes, changes_between

_FENCE = re.compile(r"\A\s*```[a-z]*\n(.*)\n?```\s*\Z", re.DOTALL)
NEAR = 90  # of 100: minimum similarity of a place to the text that the model quotes
FUZZY = range(12, 600)  # characters; shorter and longer quotes must match exactly
MAX_FUZZY = 20  # searches per reply: each takes up to 30 ms in a long text
SNAPPED_WITHIN = 8  # characters by which a similar place is moved to word boundaries
MIN_KEPT = 0.3  # share of a text that a rewrite must keep; otherwise the reply is something else
LONG_PASSAGE = 500  # characters: a shorter selection may be replaced completely
JOINED_WITHIN = 3  # characters between two changes that are shown as one edit
MAX_EDITS = 1000  # of one proposal: more changes are joined into larger edits, more blocks are ignored

RULES = """\
Propose changes to the draft as blocks of this form, one for each place, in the order of the text:
<edit>
<find>the exact text of the draft that changes, with enough of the text around it to identify the place</find>
<replace>the text that replaces it</replace>
</edit>
Change only what was requested. To insert text, find a few words next to the place and repeat them in the replacement.
Outside the blocks write at most one sentence. If nothing needs to change, say so without a block."""
RULES_OF_PASSAGE = """\
The user selected a passage of the draft. Answer with the new wording of that passage only: no introduction, no quotes,
no explanation. Your answer replaces the passage without any change."""
RULES_OF_EMPTY = "The draft is empty. Answer with its text only, in Markdown: no introduction and no explanation."


@dataclass(frozen=True)
class PlacedEdit:
    start: int
    end: int
    old: str
    new: str
    is_placed: bool = True


def edits_of_reply(text: str, reply: str, selection: tuple[int, int] | None) -> list[PlacedEdit]:
    """Parse a model's reply into edits of a text. With a selection, the reply is its new wording.

    A reply may also be the whole text, rewritten. A reply that differs too much from the text gives no edits.
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
    """Place each block (find, replace) in the text. Edits that change nothing are omitted."""
    places = _Places(text)
    edits = [places.place(find, replacement) for find, replacement in blocks]
    return [edit for edit in edits if edit.old != edit.new or not edit.is_placed]


def _blocks(reply: str) -> list[tuple[str, str]]:
    """Parse the complete blocks into (find, replace), in one pass: a reply may be a million characters long."""
    blocks: list[tuple[str, str]] = []
    at = 0
    while len(blocks) < MAX_EDITS:
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
            blocks.append((_trimmed(find), _trimmed(replacement)))
        at = end + len("</edit>")
    return blocks


def _unwrapped(reply: str) -> str:
    fenced = _FENCE.match(reply)
    return (fenced.group(1) if fenced else reply).strip()


def _in_place_of(old: str, new: str) -> str:
    """Add the white space around the old text to the new one. An empty new text returns the old text."""
    lead, trail = old[: len(old) - len(old.lstrip())], old[len(old.rstrip()) :]
    return f"{lead}{new}{trail if old.strip() else ''}" if new else old


def _trimmed(text: str) -> str:
    """Remove the line breaks that models add inside the tags."""
    return text.removeprefix("\n").removesuffix("\n")


def _edits_of_rewrite(text: str, new: str, offset: int) -> list[PlacedEdit]:
    changes = changes_between(text, new)
    removed = sum(change.end - change.start for change in changes)
    if len(text) - removed < MIN_KEPT * len(text):
        return []
    return _edits_between(text, new, offset)


def _edits_between(old: str, new: str, offset: int) -> list[PlacedEdit]:
    """Return the changes between two texts as edits. Changes that almost touch are joined into one edit."""
    changes = changes_between(old, new)
    within = JOINED_WITHIN
    groups = _grouped(changes, within)
    while len(groups) > MAX_EDITS:
        within *= 4
        groups = _grouped(changes, within)
    edits = []
    for group in groups:
        start, end = group[0].start, group[-1].end
        moved = [Change(change.start - start, change.end - start, change.text) for change in group]
        edits.append(PlacedEdit(offset + start, offset + end, old[start:end], apply_changes(old[start:end], moved)))
    return edits


def _grouped(changes: Sequence[Change], within: int) -> list[list[Change]]:
    groups: list[list[Change]] = []
    for change in changes:
        if groups and change.start - groups[-1][-1].end <= within:
            groups[-1].append(change)
        else:
            groups.append([change])
    return groups


class _Places:
    """Places the blocks of one reply: after the blocks before them if possible, never overlapping them."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._after = 0
        self._taken: list[tuple[int, int]] = []  # in rising order
        self._fuzzy_left = MAX_FUZZY

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
        match = fuzz.partial_ratio_alignment(find, self._text, score_cutoff=NEAR)
        return self._snapped(find, match.dest_start, match.dest_end) if match is not None else None

    def _snapped(self, find: str, start: int, end: int) -> tuple[int, int] | None:
        """Return the nearby range on word boundaries that is most similar to the quote, or None."""
        best, best_score = None, float(NEAR)
        for first in self._boundaries(start):
            for last in self._boundaries(end):
                score = fuzz.ratio(find, self._text[first:last], score_cutoff=best_score) if first < last else 0.0
                if score > best_score or (score and best is None):
                    best, best_score = (first, last), score
        return best

    def _boundaries(self, position: int) -> list[int]:
        return [
            at
            for at in range(max(0, position - SNAPPED_WITHIN), min(len(self._text), position + SNAPPED_WITHIN) + 1)
            if not (self._text[at - 1 : at].isalnum() and self._text[at : at + 1].isalnum())
        ]

    def _is_taken(self, start: int, end: int) -> bool:
        at = bisect_right(self._taken, (start, end))
        before, after = self._taken[:at][-1:], self._taken[at : at + 1]
        return any(start < stop and begin < end for begin, stop in before + after)


def _narrowed(edit: PlacedEdit) -> PlacedEdit:
    """Trim the unchanged text at both ends of an edit."""
    changes = changes_between(edit.old, edit.new)
    if not changes:
        return edit
    first, last = changes[0].start, changes[-1].end
    tail = len(edit.old) - last
    return PlacedEdit(
        edit.start + first, edit.start + last, edit.old[first:last], edit.new[first : len(edit.new) - tail]
    )


class MovedEdit:
    """Maps ranges of an older text to the newer one."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes
        self._ends = [change.end for change in changes]
        self._shifts = [0, *accumulate(len(change.text) - (change.end - change.start) for change in changes)]

    def place(self, start: int, end: int) -> tuple[int, int] | None:
        """Map a range, or return None if it was changed. Text inserted directly before it is not part of it."""
        count = bisect_right(self._ends, start)
        if count < len(self._changes):
            begins = self._changes[count].start
            if begins < end or (begins == start == end):
                return None
        by = self._shifts[count]
        return start + by, end + by
