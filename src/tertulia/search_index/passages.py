"""Split a text into passages: about as much as the embedding model reads of a text."""

from collections.abc import Iterator

PASSAGE = 700  # characters


def split_passages(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each passage: at most PASSAGE characters, up to the end of a paragraph, line, sentence or word.

    Together they are the whole text.
    """
    start = 0
    while start < len(text):
        end = _end_of_passage(text, start)
        yield start, end
        start = end


def _end_of_passage(text: str, start: int) -> int:
    end = start + PASSAGE
    if end >= len(text):
        return len(text)
    for mark in ("\n\n", "\n", ". ", " "):
        at = text.rfind(mark, start + PASSAGE // 2, end)
        if at > 0:
            return min(at + len(mark), end)
    return end
