"""Wire shapes of MCP servers."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from tertulia.http.body import RequestModel, at_most
from tertulia.tools.protocol import Environment
from tertulia.tools.schemas import DefinitionRead

MAX_HEADERS = 20
# Set by the protocol or the connection.
_NOT_YOURS = {"host", "content-length", "content-type", "accept", "connection", "transfer-encoding", "accept-encoding"}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _address(value: str) -> str:
    value = value.strip()
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("This is not a valid address. Enter one like https://mcp.example.org/mcp.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not value.isascii() or not value.isprintable():
        raise ValueError("This is not a valid address. Enter one like https://mcp.example.org/mcp.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("Remove the user name, password and fragment from the address. Put credentials into a header.")
    return value


def _header_name(value: str) -> str:
    value = value.strip()
    if not _TOKEN.fullmatch(value):
        raise ValueError("Enter a header name of letters, digits and dashes, such as Authorization.")
    if value.lower() in _NOT_YOURS or value.lower().startswith("mcp-"):
        raise ValueError(f"The header {value} is set by the protocol. Remove it.")
    return value


def _header_value(value: str) -> str:
    value = value.strip()
    if not value or not value.isascii() or not value.isprintable():
        raise ValueError("A header value cannot be empty or contain line breaks or accented letters. Copy it again.")
    return value


_SERVER_NAME = "^[a-z0-9][a-z0-9-]*$"


def _server_name(value: str) -> str:
    if not re.fullmatch(_SERVER_NAME, value):
        raise ValueError("Use lower-case letters, digits and dashes, and begin with a letter or digit.")
    return value


ServerName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=40,
        description="Lower-case letters, digits and dashes. The keys of its tools are `name/tool`.",
        json_schema_extra={"pattern": _SERVER_NAME},
    ),
    AfterValidator(_server_name),
]
ServerUrl = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_address)]
Headers = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_header_name)],
        Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_header_value)],
    ],
    *at_most(MAX_HEADERS),
    Field(description="Sent with every call, such as `Authorization`. They are never returned."),
]


CallCost = Annotated[Decimal, Field(ge=0, le=1000, decimal_places=6, allow_inf_nan=False)]


class ToolServerCreate(RequestModel):
    name: ServerName
    url: ServerUrl
    headers: Headers = Field(default_factory=dict)
    cost_per_call: CallCost = Field(Decimal(0), description="Cost of each call of its tools, in US dollars.")
    environment: Environment = Field(
        Environment.PROD, description="`test` for a test account. The approval dialog shows it."
    )


class ToolServerUpdate(RequestModel):
    """Changes to a server. Absent fields stay. A new address needs its headers again, so that no secret leaks to it."""

    name: ServerName | None = None
    url: ServerUrl | None = None
    headers: Headers | None = None
    cost_per_call: CallCost | None = None
    environment: Environment | None = None
    is_active: bool | None = None
    accept_changes: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="Accept the changed tools: the `definitions_digest` that you reviewed.",
    )


class ToolSignInCreate(RequestModel):
    """A client that you registered with the service, if the service does not register clients automatically."""

    client_id: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_header_value)] | None = None
    client_secret: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_header_value)] | None = None


class ToolSignInFinish(RequestModel):
    """The parameters that the service added to the redirect URL."""

    state: str = Field(min_length=1, max_length=500)
    code: str | None = Field(None, min_length=1, max_length=8000)
    iss: str | None = Field(None, max_length=2000)
    error: str | None = Field(None, max_length=200)
    error_description: str | None = Field(None, max_length=2000)


class ToolSignInRead(TypedDict):
    """Where to sign in. `host` is the host of the sign-in page, `token_host` the host that issues tokens."""

    url: str
    host: str
    token_host: str
    scope: str | None


class OAuthClientDocument(TypedDict):
    """The OAuth client metadata of this program (draft-ietf-oauth-client-id-metadata-document)."""

    client_id: str
    client_name: str
    client_uri: str
    redirect_uris: list[str]
    grant_types: list[str]
    response_types: list[str]
    token_endpoint_auth_method: str
    application_type: str


class SignInRead(TypedDict):
    """A current sign-in. `expires_at` is for the current token. `is_renewed`: Tertulia renews it automatically."""

    issuer: str
    scope: str | None
    expires_at: datetime | None
    is_renewed: bool
    signed_in_at: datetime


class ServerToolRead(TypedDict):
    """A tool of a server as models see it. `changed` is the server's current definition, if it is different."""

    name: str
    title: str | None
    description: str
    parameters: dict[str, Any]
    hints: dict[str, bool]
    changed: DefinitionRead | None


class ToolServerRead(TypedDict):
    """A server. `id` is null for the operator's. `definitions_digest` covers its tools. Costs are in US dollars."""

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
    requires_sign_in: bool
    sign_in: SignInRead | None
    created_at: datetime | None
    updated_at: datetime | None
