"""Parse what a person types into search. Every text is a valid search, never an error."""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from tertulia.chat.models import MessageRole
from tertulia.search_index.words import asked_words, fold, runs_of

MAX_TERMS = 16
MAX_WORDS = 32  # of one term
MAX_TITLES = 4
MIN_SIMILARITY = 3  # characters
_PIECES = re.compile(r'(-?)(?:(from|in|before|after|has):)?("[^"]*"?|\S+)', re.IGNORECASE)
_ROLES = {
    "me": MessageRole.USER,
    "user": MessageRole.USER,
    "assistant": MessageRole.ASSISTANT,
    "model": MessageRole.ASSISTANT,
}
_HAS = {"code": "code", "image": "image", "file": "file", "source": "source", "reasoning": "reasoning"}


@dataclass(frozen=True)
class Term:
    """Words to search for. A phrase matches them in sequence; else longer words with the same beginning match too."""

    words: tuple[str, ...]
    is_phrase: bool = False
    is_cjk: bool = False
    is_whole: bool = False  # longer words do not match


@dataclass
class ParsedQuery:
    terms: list[Term] = field(default_factory=list)
    without: list[Term] = field(default_factory=list)
    role: MessageRole | None = None
    in_title: list[str] = field(default_factory=list)  # folded words in the titles of the chats to search
    since: datetime | None = None
    until: datetime | None = None
    has: list[str] = field(default_factory=list)  # types of parts
    text: str = ""  # the terms to search for, as typed

    @property
    def meaning(self) -> str | None:
        """Return the text to compare by meaning, or None if it contains a phrase or is too short."""
        is_exact = any(term.is_phrase for term in self.terms)
        return None if is_exact or len(self.text) < MIN_SIMILARITY else self.text


def understand(typed: str) -> ParsedQuery:
    """Parse words, "phrases", -exclusions and from:, in:, before:, after:, has: filters. A bad filter is a word."""
    parsed = ParsedQuery()
    for minus, name, piece in _PIECES.findall(typed.replace("\x00", " ")):
        text = piece.strip('"')
        if name and not minus and _filter(parsed, name.lower(), text):
            continue
        target = parsed.without if minus else parsed.terms
        if not minus:
            parsed.text = f"{parsed.text} {text}".strip()
        quoted = piece.startswith('"')
        runs = list(runs_of(f"{name} {text}" if name else text))
        if quoted and not any(run.is_cjk for run in runs):
            words = tuple(word for run in runs for word in run.words)
            target += [Term(words[:MAX_WORDS], is_phrase=True)] if words else []
        else:
            target += [Term(asked_words(run)[:MAX_WORDS], is_cjk=run.is_cjk) for run in runs]
    parsed.terms, parsed.without = parsed.terms[:MAX_TERMS], parsed.without[:MAX_TERMS]
    return parsed


def _filter(parsed: ParsedQuery, name: str, text: str) -> bool:
    match name:
        case "from" if text.lower() in _ROLES:
            parsed.role = _ROLES[text.lower()]
        case "in" if fold(text).strip():
            parsed.in_title = [*parsed.in_title, fold(text).strip()][:MAX_TITLES]
        case "has" if text.lower() in _HAS:
            parsed.has.append(_HAS[text.lower()])
        case "before" | "after":
            day = _day(text)
            if day is None:
                return False
            moment = datetime.combine(day, time(), UTC)
            if name == "before":
                parsed.until = moment
            else:
                parsed.since = moment + timedelta(days=1)
        case _:
            return False
    return True


def _day(text: str) -> date | None:
    """Parse 2026, 2026-11 or 2026-11-22. Return None if it is not a date."""
    parts = text.split("-")
    if not all(part.isascii() and part.isdigit() for part in parts) or not 1 <= len(parts) <= 3:
        return None
    try:
        year, month, day = [*map(int, parts), 1, 1][:3]
        return date(year, month, day) if 1970 < year < 9999 else None
    except (ValueError, OverflowError):
        return None
