"""What a model proposes, as edits to places: read out of its words, checked against the text, moved with it. Pure functions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz

from tertulia.drafts.text import Change, changes_between

# Written by the model itself, so that models without tools can do it too.
_EDIT = re.compile(r"<edit>\s*<find>(.*?)</find>\s*<replace>(.*?)</replace>\s*</edit>", re.DOTALL)
_FENCE = re.compile(r"\A\s*```[a-z]*\n(.*?)\n?```\s*\Z", re.DOTALL)
NEAR = 90  # of 100: how alike a place must be to what the model says stands there
FUZZY_FROM = 12  # characters; shorter ones must stand there exactly
LEAST_KEPT = 0.3  # of a text that was rewritten as a whole; else the model answered something else
JOINED_WITHIN = 3  # characters between two changes that are shown as one

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
        return _edits_between(text[start:end], _in_place_of(text[start:end], _unwrapped(reply)), start)
    if not text:
        new = _unwrapped(reply)
        return [PlacedEdit(0, 0, "", new)] if new else []
    blocks = _EDIT.findall(reply)
    if not blocks:
        return _edits_of_rewrite(text, _in_place_of(text, _unwrapped(reply)))
    found: list[PlacedEdit] = []
    for find, replacement in blocks:
        found.append(_place(text, _trimmed(find), _trimmed(replacement), found))
    return [one for one in found if one.old != one.new or not one.is_placed]


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


def _edits_of_rewrite(text: str, new: str) -> list[PlacedEdit]:
    changes = changes_between(text, new)
    gone = sum(change.end - change.start for change in changes)
    if len(text) - gone < LEAST_KEPT * len(text):
        return []
    return _edits_between(text, new, 0)


def _edits_between(old: str, new: str, offset: int) -> list[PlacedEdit]:
    """Changes as a person reads them: those that almost touch are one."""
    groups: list[list[Change]] = []
    for change in changes_between(old, new):
        if groups and change.start - groups[-1][-1].end <= JOINED_WITHIN:
            groups[-1].append(change)
        else:
            groups.append([change])
    found = []
    for group in groups:
        start, end = group[0].start, group[-1].end
        text, at = "", start
        for change in group:
            text += old[at : change.start] + change.text
            at = change.end
        found.append(PlacedEdit(offset + start, offset + end, old[start:end], text))
    return found


def _place(text: str, find: str, replacement: str, before: Sequence[PlacedEdit]) -> PlacedEdit:
    """Where a block applies: after the ones before it if it can, and never within one."""
    after = max((one.end for one in before if one.is_placed), default=0)
    taken = [(one.start, one.end) for one in before if one.is_placed]
    start = text.find(find, after) if find else -1
    if start < 0 and find:
        start = text.find(find)
    length = len(find)
    if start < 0 and len(find) >= FUZZY_FROM:
        near = fuzz.partial_ratio_alignment(find, text, score_cutoff=NEAR)
        if near is not None:
            start, length = near.dest_start, near.dest_end - near.dest_start
    if start < 0 or any(start < end and begin < start + length for begin, end in taken):
        return PlacedEdit(0, 0, find, replacement, is_placed=False)
    return _narrowed(PlacedEdit(start, start + length, text[start : start + length], replacement))


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


def move_place(start: int, end: int, changes: Sequence[Change]) -> tuple[int, int] | None:
    """Where a stretch of the older text is in the newer one; None if it was changed itself."""
    by = 0
    for change in changes:
        if change.end <= start and not (change.start == change.end == start and start < end):
            by += len(change.text) - (change.end - change.start)
        elif change.start >= end and (change.start > start or start < end):
            break
        elif change.start == change.end == start:
            by += len(change.text)
        else:
            return None
    return start + by, end + by
