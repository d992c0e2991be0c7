"""What a person types into the search, understood: whatever it is, it is a search and never an error."""

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from tertulia.chat.models import MessageRole
from tertulia.chat.words import asked_words, fold, runs_of

MAX_TERMS = 16
MAX_WORDS = 32  # of one term
MAX_TITLES = 4
LEAST_MEANING = 3  # characters
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
    """Words that stand one after the other; of the last of a term that is no phrase, any beginning of a word will do."""

    words: tuple[str, ...]
    is_phrase: bool = False
    is_cjk: bool = False
    is_whole: bool = False  # longer words are not meant


@dataclass
class Asked:
    terms: list[Term] = field(default_factory=list)
    without: list[Term] = field(default_factory=list)
    role: MessageRole | None = None
    in_title: list[str] = field(default_factory=list)  # words, folded, of the titles of the chats to look in
    since: datetime | None = None
    until: datetime | None = None
    has: list[str] = field(default_factory=list)  # types of parts
    text: str = ""  # what is looked for, as it was typed

    @property
    def meaning(self) -> str | None:
        """What passages can be near to; None if the words themselves are asked for, or say too little."""
        is_exact = any(term.is_phrase for term in self.terms)
        return None if is_exact or len(self.text) < LEAST_MEANING else self.text


def understand(typed: str) -> Asked:
    """Words, "phrases", -exclusions, and from:, in:, before:, after: and has: filters; a filter without sense is words."""
    asked = Asked()
    for minus, name, piece in _PIECES.findall(typed.replace("\x00", " ")):
        text = piece.strip('"')
        if name and not minus and _filter(asked, name.lower(), text):
            continue
        target = asked.without if minus else asked.terms
        if not minus:
            asked.text = f"{asked.text} {text}".strip()
        quoted = piece.startswith('"')
        found = list(runs_of(f"{name} {text}" if name else text))
        if quoted and not any(run.is_cjk for run in found):
            words = tuple(word for run in found for word in run.words)
            target += [Term(words[:MAX_WORDS], is_phrase=True)] if words else []
        else:
            target += [Term(asked_words(run)[:MAX_WORDS], is_cjk=run.is_cjk) for run in found]
    asked.terms, asked.without = asked.terms[:MAX_TERMS], asked.without[:MAX_TERMS]
    return asked


def _filter(asked: Asked, name: str, text: str) -> bool:
    match name:
        case "from" if text.lower() in _ROLES:
            asked.role = _ROLES[text.lower()]
        case "in" if fold(text).strip():
            asked.in_title = [*asked.in_title, fold(text).strip()][:MAX_TITLES]
        case "has" if text.lower() in _HAS:
            asked.has.append(_HAS[text.lower()])
        case "before" | "after":
            day = _day(text)
            if day is None:
                return False
            moment = datetime.combine(day, time(), UTC)
            if name == "before":
                asked.until = moment
            else:
                asked.since = moment + timedelta(days=1)
        case _:
            return False
    return True


def _day(text: str) -> date | None:
    """2026, 2026-11 or 2026-11-22."""
    parts = text.split("-")
    if not all(part.isascii() and part.isdigit() for part in parts) or not 1 <= len(parts) <= 3:
        return None
    try:
        year, month, day = [*map(int, parts), 1, 1][:3]
        return date(year, month, day) if 1970 < year < 9999 else None
    except (ValueError, OverflowError):
        return None
