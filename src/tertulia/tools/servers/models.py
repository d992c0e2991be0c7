"""Tables of people's MCP servers and their sign-ins."""

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
    """A person's MCP server over HTTP. `headers` is ciphertext (keyring.py). `definitions` are its pinned tools."""

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
    requires_sign_in: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    required_scope: Mapped[str | None] = mapped_column(sa.Text)  # the scope that a refused call needed


class ToolCredential(Timestamps, Base):
    """A person's credential at a service. Tokens and `client` are ciphertext (keyring.py).

    `expires_at` is null if the service does not state it. Until `refreshing_until` only one process renews, because
    many services accept a refresh token only once.
    """

    __tablename__ = "tool_credential"
    __table_args__ = (sa.UniqueConstraint("user_id", "service", "environment"),)

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    service: Mapped[str] = mapped_column(sa.String(2000))  # the server's URL
    environment: Mapped[Environment] = mapped_column(closed(Environment))
    issuer: Mapped[str] = mapped_column(sa.String(2000))
    access_token: Mapped[str] = mapped_column(sa.Text)
    token_type: Mapped[str] = mapped_column(sa.String(20))
    refresh_token: Mapped[str | None] = mapped_column(sa.Text)
    client: Mapped[str] = mapped_column(sa.Text)  # this program's registration there: grants.OAuthClient
    scope: Mapped[str | None] = mapped_column(sa.Text)
    expires_at: Mapped[datetime | None]
    refreshing_until: Mapped[datetime | None]


class ToolSignIn(Timestamps, Base):
    """A started sign-in at a service: the state needed when the browser returns, once and before `expires_at`."""

    __tablename__ = "tool_sign_in"

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"), index=True)
    session_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("session.id", ondelete="CASCADE"), index=True)
    server_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("tool_server.id", ondelete="CASCADE"), unique=True)
    state_hash: Mapped[bytes] = mapped_column(sa.LargeBinary(32), unique=True)
    flow: Mapped[str] = mapped_column(sa.Text)  # ciphertext: the account and tokens.Flow
    expires_at: Mapped[datetime]
