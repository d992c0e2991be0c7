"""The change log: the transactional outbox for live updates."""

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tertulia import clock
from tertulia.db import Base, Id, Xid, closed, current_xid


class Operation(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


class Change(Base):
    """One change, written in its own transaction. It has no foreign keys, because it outlives the changed object."""

    __tablename__ = "change"
    __table_args__ = (
        sa.Index(None, "xid", "seq"),
        sa.Index(None, "owner_id", "xid", "seq"),
        sa.Index(None, "shared_id", "xid", "seq"),
        sa.Index(None, "created_at"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), primary_key=True
    )
    xid: Mapped[int] = mapped_column(Xid(), server_default=current_xid())
    owner_id: Mapped[str] = mapped_column(Id())
    shared_id: Mapped[str | None] = mapped_column(Id())  # its chat or draft, whose readers are notified
    topic: Mapped[str] = mapped_column(sa.String(60))
    entity: Mapped[str] = mapped_column(sa.String(40))
    entity_id: Mapped[str] = mapped_column(Id())
    operation: Mapped[Operation] = mapped_column(closed(Operation))
    # Serialised JSON, sent unchanged and never parsed.
    payload: Mapped[str | None] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
