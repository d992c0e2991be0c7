"""What a sign-in at a server gives: how this program is known there, and tokens. See authorization.py and tokens.py for how they are got."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tertulia.tools.servers.port import ServerFailed


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class OAuthClient(_Model):
    """How this program is known to who signs people in, and where tokens are renewed."""

    client_id: str
    client_secret: str | None = None
    auth_method: Literal["none", "client_secret_post", "client_secret_basic"] = "none"
    token_endpoint: str
    resource: str | None = None


class GivenClient(_Model):
    """A program that the person registered there by hand."""

    client_id: str
    client_secret: str | None = None


class Grant(_Model):
    """`expires_at` is None where it is not said; `refresh_token` where there is none."""

    access_token: str
    token_type: str
    refresh_token: str | None
    scope: str | None
    expires_at: datetime | None


class GrantRefused(ServerFailed):
    """What was given does not count any more: only the person can get another."""

    code = "tool_server_sign_in"
