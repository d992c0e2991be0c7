"""The results of a sign-in: a client registration and tokens. authorization.py and tokens.py obtain them."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tertulia.tools.servers.port import ServerFailed


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class OAuthClient(_Model):
    """This program's client registration at an authorization server, and where tokens are renewed."""

    client_id: str
    client_secret: str | None = None
    auth_method: Literal["none", "client_secret_post", "client_secret_basic"] = "none"
    token_endpoint: str
    resource: str | None = None


class EnteredClient(_Model):
    """A client that the person registered there manually."""

    client_id: str
    client_secret: str | None = None


class Grant(_Model):
    """Tokens of a sign-in. `expires_at` is None if unknown, `refresh_token` if there is none."""

    access_token: str
    token_type: str
    refresh_token: str | None
    scope: str | None
    expires_at: datetime | None


class GrantRefused(ServerFailed):
    """The grant is no longer valid. The person must sign in again."""

    code = "tool_server_sign_in"
