"""MCP servers that people added, and how each is signed in to."""

from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.db import Base, Id, JsonOf, Money, Timestamps
from tertulia.db.types import closed
from tertulia.ids import new_id
from tertulia.tools.protocol import Environment
from tertulia.tools.servers.definitions import PinnedTool


class ToolServer(Timestamps, Base):
    """A server over HTTP, one person's own. `headers` is ciphertext (keyring.py); `definitions` are what was accepted of it."""

    __tablename__ = "tool_server"
    __table_args__ = (sa.UniqueConstraint("user_id", "name"),)

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(sa.String(40))
    url: Mapped[str] = mapped_column(sa.String(2000))
    environment: Mapped[Environment] = mapped_column(
        closed(Environment), default=Environment.PROD, server_default=Environment.PROD.value
    )
    headers: Mapped[str | None] = mapped_column(sa.Text)
    header_names: Mapped[list[str]] = mapped_column(JsonOf(list[str]), default=list)
    cost_per_call: Mapped[Decimal] = mapped_column(Money(), default=Decimal(0))
    definitions: Mapped[list[PinnedTool]] = mapped_column(JsonOf(list[PinnedTool]), default=list)
    definitions_digest: Mapped[str | None] = mapped_column(sa.String(64))
    is_active: Mapped[bool] = mapped_column(default=True)
    listed_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(sa.Text)
    wants_sign_in: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    wanted_scope: Mapped[str | None] = mapped_column(sa.Text)  # what it said that a call would have needed


class ToolCredential(Timestamps, Base):
    """What a person was given to be known by at a service. Tokens and `client` are ciphertext (keyring.py).

    `expires_at` is null where the service does not say. `refreshing_until`: one process asks for the next token, and no other
    meanwhile, because many services take a refresh token only once.
    """

    __tablename__ = "tool_credential"
    __table_args__ = (sa.UniqueConstraint("user_id", "service", "environment"),)

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    service: Mapped[str] = mapped_column(sa.String(2000))  # the address of the server
    environment: Mapped[Environment] = mapped_column(closed(Environment))
    issuer: Mapped[str] = mapped_column(sa.String(2000))
    access_token: Mapped[str] = mapped_column(sa.Text)
    token_type: Mapped[str] = mapped_column(sa.String(20))
    refresh_token: Mapped[str | None] = mapped_column(sa.Text)
    client: Mapped[str] = mapped_column(sa.Text)  # how this program is known there: grants.OAuthClient
    scope: Mapped[str | None] = mapped_column(sa.Text)
    expires_at: Mapped[datetime | None]
    refreshing_until: Mapped[datetime | None]


class ToolSignIn(Timestamps, Base):
    """A sign-in at a service that has begun: what is needed when the browser comes back, which it does once and soon."""

    __tablename__ = "tool_sign_in"

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"), index=True)
    session_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("session.id", ondelete="CASCADE"), index=True)
    server_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("tool_server.id", ondelete="CASCADE"), unique=True)
    state_hash: Mapped[bytes] = mapped_column(sa.LargeBinary(32), unique=True)
    flow: Mapped[str] = mapped_column(sa.Text)  # ciphertext: tokens.Flow
    expires_at: Mapped[datetime]
