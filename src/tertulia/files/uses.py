"""What files need to know about the messages that use them. Chats, a package above, provide it."""

from collections.abc import Sequence
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.files.schemas import UsedIn


class FileUses(Protocol):
    """Service: where files are used and who may read them there. Conditions refer to `Attachment` and `actor_id`."""

    def count_readable(self) -> sa.ScalarSelect[int]:
        """Count the messages with the file that the actor may read."""

    def is_readable(self) -> sa.ColumnElement[bool]:
        """Build the condition that the actor may read a message with the file."""

    def is_used_in(self, chat_id: str) -> sa.ColumnElement[bool]:
        """Build the condition that a message of the chat has the file."""

    def may_read(self, chat_id: str) -> sa.ColumnElement[bool]:
        """Build the condition that the actor may read the chat."""

    def may_write(self, chat_id: str) -> sa.ColumnElement[bool]:
        """Build the condition that the actor may write in the chat."""

    def find_newest(self, session: Session, attachment_ids: Sequence[str], user_id: str) -> dict[str, UsedIn]:
        """Return by attachment id the newest message with it that the user may read."""

    def on_changed(self, session: Session, attachment_id: str) -> None:
        """Update what depends on a file that was deleted or restored, in the same transaction."""
