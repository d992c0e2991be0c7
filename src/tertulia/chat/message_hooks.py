"""Let domains above chats react when a message changes or leaves its branch. Their features contribute the hooks."""

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
    """The functions of one domain.

    `removed(session, message_id, previous_id)` runs after a message left its branch; `previous_id` is None if it was
    the first.
    """

    changed: MessageChanged
    removed: Callable[[Session, str, str | None], None]


@dataclass(frozen=True)
class ChannelHooks:
    """A function of one domain that runs after a person wrote in a channel: `posted(session, chat_id, message_id)`."""

    posted: Callable[[Session, str, str], None]


def message_changed(session: Session, chat_id: str, message_id: str, *, is_deleted: bool = False) -> None:
    """Report that the text, the files or the context rule of a message changed, or that it is about to be deleted."""
    for hooks in _contributed():
        hooks.changed(session, chat_id, message_id, is_deleted=is_deleted)


def message_removed(session: Session, message_id: str, previous_id: str | None) -> None:
    """Report that a message left its branch, and which message is in its place now."""
    for hooks in _contributed():
        hooks.removed(session, message_id, previous_id)


def posted_in_channel(session: Session, chat_id: str, message_id: str) -> None:
    """Report that a person wrote in a channel."""
    for hooks in _of_channels():
        hooks.posted(session, chat_id, message_id)


@cache
def _of_channels() -> list[ChannelHooks]:
    return Features(discover_features()).contributed(ChannelHooks)


@cache
def _contributed() -> list[MessageHooks]:
    return Features(discover_features()).contributed(MessageHooks)
