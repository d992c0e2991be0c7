"""MCP servers that people added."""

from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.db import Base, Id, JsonOf, Money, Timestamps
from tertulia.ids import new_id
from tertulia.tools.servers.definitions import PinnedTool


class ToolServer(Timestamps, Base):
    """A server over HTTP, one person's own. `headers` is ciphertext (keyring.py); `definitions` are what was accepted of it."""

    __tablename__ = "tool_server"
    __table_args__ = (sa.UniqueConstraint("user_id", "name"),)

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(sa.String(40))
    url: Mapped[str] = mapped_column(sa.String(2000))
    headers: Mapped[str | None] = mapped_column(sa.Text)
    header_names: Mapped[list[str]] = mapped_column(JsonOf(list[str]), default=list)
    cost_per_call: Mapped[Decimal] = mapped_column(Money(), default=Decimal(0))
    definitions: Mapped[list[PinnedTool]] = mapped_column(JsonOf(list[PinnedTool]), default=list)
    definitions_digest: Mapped[str | None] = mapped_column(sa.String(64))
    is_active: Mapped[bool] = mapped_column(default=True)
    listed_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(sa.Text)
