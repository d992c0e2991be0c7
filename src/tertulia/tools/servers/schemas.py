"""Wire shapes of MCP servers."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from tertulia.tools.protocol import Environment
from tertulia.tools.schemas import DefinitionRead

MAX_HEADERS = 20
# What the protocol or the connection itself sets.
_NOT_YOURS = {"host", "content-length", "content-type", "accept", "connection", "transfer-encoding", "accept-encoding"}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _address(value: str) -> str:
    value = value.strip()
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("That is no address. It looks like https://mcp.example.org/mcp.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not value.isascii() or not value.isprintable():
        raise ValueError("That is no address. It looks like https://mcp.example.org/mcp.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("Leave names and passwords out of the address: put them into a header.")
    return value


def _header_name(value: str) -> str:
    value = value.strip()
    if not _TOKEN.fullmatch(value):
        raise ValueError("The name of a header has letters, digits and dashes, such as Authorization.")
    if value.lower() in _NOT_YOURS or value.lower().startswith("mcp-"):
        raise ValueError(f"The header {value} is set by the protocol.")
    return value


def _header_value(value: str) -> str:
    value = value.strip()
    if not value or not value.isascii() or not value.isprintable():
        raise ValueError("The value of a header has no line breaks or accented letters. Copy it again.")
    return value


ServerName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=40,
        pattern="^[a-z0-9][a-z0-9-]*$",
        description="Lower-case letters, digits and dashes; its tools are called `name/tool`.",
    ),
]
ServerUrl = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_address)]
Headers = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_header_name)],
        Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_header_value)],
    ],
    Field(
        max_length=MAX_HEADERS, description="Sent with every call, such as `Authorization`. They are never given back."
    ),
]


CallCost = Annotated[Decimal, Field(ge=0, le=1000, decimal_places=6, allow_inf_nan=False)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ToolServerCreate(_Request):
    name: ServerName
    url: ServerUrl
    headers: Headers = Field(default_factory=dict)
    cost_per_call: CallCost = Field(Decimal(0), description="US dollars that each call of its tools costs you.")
    environment: Environment = Field(
        Environment.PROD, description="`test` for an account that is there to try things: whoever approves is told."
    )


class ToolServerUpdate(_Request):
    """What is absent stays. With another address its headers are given again: a secret is sent nowhere it was not meant for."""

    name: ServerName | None = None
    url: ServerUrl | None = None
    headers: Headers | None = None
    cost_per_call: CallCost | None = None
    environment: Environment | None = None
    is_active: bool | None = None
    accept_changes: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="Take over what changed: the `definitions_digest` that you looked at.",
    )


class ToolSignInCreate(_Request):
    """A program of yours that you registered with the service, where it registers none by itself."""

    client_id: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_header_value)] | None = None
    client_secret: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_header_value)] | None = None


class ToolSignInFinish(_Request):
    """What the address that one comes back to was given by the service."""

    state: str = Field(min_length=1, max_length=500)
    code: str | None = Field(None, min_length=1, max_length=8000)
    iss: str | None = Field(None, max_length=2000)
    error: str | None = Field(None, max_length=200)
    error_description: str | None = Field(None, max_length=2000)


class ToolSignInRead(TypedDict):
    """Where to go to sign in. `host` is whom one will deal with there, `token_host` who gives out what one is known by then; the
    rest of the addresses is theirs."""

    url: str
    host: str
    token_host: str
    scope: str | None


class OAuthClientDocument(TypedDict):
    """A program that signs people in with others, as draft-ietf-oauth-client-id-metadata-document describes one."""

    client_id: str
    client_name: str
    client_uri: str
    redirect_uris: list[str]
    grant_types: list[str]
    response_types: list[str]
    token_endpoint_auth_method: str
    application_type: str


class SignInRead(TypedDict):
    """A sign-in that counts. `expires_at` is of the token at hand; `is_renewed`: the server gets the next one by itself."""

    issuer: str
    scope: str | None
    expires_at: datetime | None
    is_renewed: bool
    signed_in_at: datetime


class ServerToolRead(TypedDict):
    """`description` and `parameters` are what models are shown; `changed` what the server says now, where that is another."""

    name: str
    title: str | None
    description: str
    parameters: dict[str, Any]
    hints: dict[str, bool]
    changed: DefinitionRead | None


class ToolServerRead(TypedDict):
    """`id` is null for a server of the operator's. `definitions_digest` is of all that it says now. Amounts are US dollars."""

    id: str | None
    name: str
    url: str | None
    header_names: list[str]
    cost_per_call: Decimal
    is_active: bool
    tools: list[ServerToolRead]
    definitions_digest: str | None
    listed_at: datetime | None
    last_error: str | None
    environment: Environment
    wants_sign_in: bool
    sign_in: SignInRead | None
    created_at: datetime | None
    updated_at: datetime | None
