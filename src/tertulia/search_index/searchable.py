"""Define what a domain adds to search in addition to messages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from tertulia.accounts.actor import Actor


class FoundObject(TypedDict):
    """An object other than a message that matches. `excerpt` is the text around the first match."""

    kind: str
    id: str
    title: str
    excerpt: str


@dataclass(frozen=True)
class Searchable:
    """Contribution of a feature: a kind of object that search finds.

    `find(session, actor, words, limit)` returns the best matches that the actor may read. The words are folded: no case, no
    accents.
    """

    kind: str
    find: Callable[[Session, Actor, Sequence[str], int], list[FoundObject]]
