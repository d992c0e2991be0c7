"""The table of passages with their vectors."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.db import Base, CreatedAt, Id

DIMENSIONS = 384


class SearchPassage(CreatedAt, Base):
    """A passage and its vector. A row without a vector says that its document has nothing to embed."""

    __tablename__ = "search_passage"
    __table_args__ = (
        sa.UniqueConstraint("document_id", "position"),
        # Covers the comparison: the codes of one user are read from the index alone.
        sa.Index(None, "owner_id", "id", "code"),
        {"sqlite_autoincrement": True},  # ids are not reused, so reading on from the last id misses none
    )

    id: Mapped[int] = mapped_column(
        sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    document_id: Mapped[int] = mapped_column(sa.BigInteger, sa.ForeignKey("search_document.id", ondelete="CASCADE"))
    owner_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    position: Mapped[int]
    start: Mapped[int]  # characters into the text
    code: Mapped[bytes | None] = mapped_column(sa.LargeBinary(DIMENSIONS // 8))  # a bit per dimension: > 0
    # A signed byte per dimension; 127 is 1.0.
    embedding: Mapped[bytes | None] = mapped_column(sa.LargeBinary(DIMENSIONS))
