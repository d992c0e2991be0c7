"""Let domains above chats react to messages. Their features contribute the hooks."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from sqlalchemy.orm import Session

from tertulia.features import Features, discover_features


class MessageChanged(Protocol):
    """A function that runs in the transaction of a change, while the message is in its place."""

    def __call__(self, session: Session, chat_id: str, message_id: str, *, is_deleted: bool) -> None: ...


@dataclass(frozen=True)
class MessageHooks:
    """The functions of one domain; None: it has nothing to do then.

    `posted(session, chat_id, message_id)` runs after a person wrote in a channel. `removed(session, message_id,
    previous_id)` runs after a message left its branch; `previous_id` is None if it was the first.
    """

    posted: Callable[[Session, str, str], None] | None = None
    changed: MessageChanged | None = None
    removed: Callable[[Session, str, str | None], None] | None = None


def posted_in_channel(session: Session, chat_id: str, message_id: str) -> None:
    """Report that a person wrote in a channel."""
    for hooks in _contributed():
        if hooks.posted is not None:
            hooks.posted(session, chat_id, message_id)


def message_changed(session: Session, chat_id: str, message_id: str, *, is_deleted: bool = False) -> None:
    """Report that the text, the files or the context rule of a message changed, or that it is about to be deleted."""
    for hooks in _contributed():
        if hooks.changed is not None:
            hooks.changed(session, chat_id, message_id, is_deleted=is_deleted)


def message_removed(session: Session, message_id: str, previous_id: str | None) -> None:
    """Report that a message left its branch, and which message is in its place now."""
    for hooks in _contributed():
        if hooks.removed is not None:
            hooks.removed(session, message_id, previous_id)


@cache
def _contributed() -> list[MessageHooks]:
    return Features(discover_features()).contributed(MessageHooks)
