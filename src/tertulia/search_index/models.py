"""The full-text index: rows of words, kept by the domains whose text they hold."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.db import Base, Id


class SearchDocument(Base):
    """A row of the index. `words` begins with words that narrow a search to the owner, the chat and the role."""

    __tablename__ = "search_document"
    __table_args__ = (
        sa.UniqueConstraint("message_id", "part"),
        sa.Index(None, "chat_id", "message_id"),
        sa.Index(None, "created_at"),
    )

    # Ascending, so that the newest rows are read first without sorting.
    id: Mapped[int] = mapped_column(
        sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    chat_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("chat.id", ondelete="CASCADE"))
    message_id: Mapped[str | None] = mapped_column(
        Id(), sa.ForeignKey("message.id", ondelete="CASCADE")
    )  # null: title or draft
    part: Mapped[int] = mapped_column(default=0)  # a long text has several
    words: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[datetime]  # of the message or chat, or of the draft's last change
