"""Build snippets: the passage of a text around a match, with the matches marked."""

from collections.abc import Sequence

from typing_extensions import TypedDict

from tertulia.search.query import Term
from tertulia.search_index.words import Run, runs_of

LENGTH = 200
BEFORE = 60  # characters shown before the first hit
SCANNED = 200_000  # characters of a text that are searched for matches


class SnippetPiece(TypedDict):
    text: str
    is_hit: bool


def snippet_of(text: str, terms: Sequence[Term], passage: int | None = None) -> list[SnippetPiece]:
    """Return about 200 characters around the first match, or from `passage` on; without either, the beginning."""
    hits = _hits(text[:SCANNED], terms) if passage is None else []
    start = max(0, hits[0].start - BEFORE) if hits else passage or 0
    if hits and start:
        start = text.rfind(" ", 0, start + 20) + 1 or start
        start = min(start, hits[0].start)
    end = min(len(text), start + LENGTH)
    pieces: list[SnippetPiece] = [{"text": "…", "is_hit": False}] if start else []
    at = start
    for run in hits:
        if run.end > end:
            break
        if run.start < at:
            continue
        pieces += [{"text": text[at : run.start], "is_hit": False}, {"text": text[run.start : run.end], "is_hit": True}]
        at = run.end
    pieces.append({"text": text[at:end] + ("…" if end < len(text) else ""), "is_hit": False})
    return [piece for piece in pieces if piece["text"]]


def _hits(text: str, terms: Sequence[Term]) -> list[Run]:
    """Return the first match, and the matches near enough to be shown with it."""
    hits: list[Run] = []
    for run in runs_of(text):
        if hits and run.start > hits[0].start + LENGTH:
            break
        if _is_hit(run, terms):
            hits.append(run)
    return hits


def _is_hit(run: Run, terms: Sequence[Term]) -> bool:
    for term in terms:
        if term.is_phrase or term.is_cjk or run.is_cjk:
            if any(word in run.words for word in term.words):
                return True
        elif any(word.startswith(prefix) for word in run.words for prefix in term.words):
            return True
    return False
