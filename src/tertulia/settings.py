"""All settings: one frozen object, read once from `tertulia.toml` and the environment, which takes precedence."""

import json
import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tertulia.errors import SettingsError

PREFIX = "TERTULIA_"
UNPREFIXED = ("HOST", "PORT")
# Names reserved for features that this version does not have. `tertulia serve` warns about them.
RESERVED = ("sign_up",)
LOCAL_MODELS = ("qwen2.5-1.5b", "qwen2.5-0.5b", "smollm2-135m")


class OperatorConfig(BaseModel):
    """A provider that the operator configures for all users."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str
    api_key: str | None = Field(None, repr=False)
    base_url: str | None = None
    settings: dict[str, str] = Field(default_factory=dict)
    models: tuple[str, ...] = ()  # offered if the address does not list its models


class ToolServerConfig(BaseModel):
    """An MCP server that the operator configures for all users: a local program or an address."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern="^[a-z0-9][a-z0-9-]*$", max_length=40)
    command: str | None = None
    args: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    folder: str | None = None  # working directory of the program
    url: str | None = Field(None, pattern="^https?://")
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    cost_per_call: Decimal = Field(Decimal(0), ge=0, le=1000)
    environment: Literal["test", "prod"] = "prod"

    @model_validator(mode="after")
    def _one_way(self) -> "ToolServerConfig":
        if (self.command is None) == (self.url is None):
            raise ValueError(f"the server {self.name} needs either a command or a url")
        return self


class Settings(BaseModel):
    """The environment variable of a field is `TERTULIA_` and its name in capitals, except for `HOST` and `PORT`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="The address to listen on. Others can reach anything but loopback.")
    port: int | None = Field(
        None, ge=0, le=65535, description="The port. If unset: 8000, or the next free port. 0: any free port."
    )
    # Absolute, because subprocesses that read files run in other folders.
    data: Annotated[Path, AfterValidator(Path.absolute)] = Field(
        Path("data"), validate_default=True, description="The folder for the database, the keys and the built-in model."
    )
    database_url: str | None = Field(
        None,
        description="`sqlite:///path` or `postgresql://user:password@host/name`. If unset: SQLite in the data folder.",
    )
    public_url: str | None = Field(
        None,
        description="The URL where browsers reach the server through a proxy, such as `https://chat.example`.",
    )
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses of proxies whose forwarding headers are trusted, separated by commas."
    )
    secret_keys: str | None = Field(
        None,
        repr=False,
        description="The key ring: keys of 32 bytes in base64, the primary one first. If unset: a file in the folder.",
    )
    local_model: str = Field(
        "qwen2.5-1.5b",
        description="The built-in model: `qwen2.5-1.5b`, `qwen2.5-0.5b`, `smollm2-135m`, the path of a GGUF file, or `none`.",
    )
    embedding_model: Literal["minilm-l6-v2", "none"] = Field(
        "minilm-l6-v2",
        description="The model for semantic search, which runs here (about 220 MB of memory while it works, best in "
        "English), or `none`.",
    )
    openai_base_url: str | None = Field(
        None,
        description="An OpenAI-compatible address for everyone, ending in `/v1`. It may be inside your network. With a "
        "key alone it is OpenAI's own.",
    )
    openai_api_key: str | None = Field(None, repr=False, description="The API key for that address.")
    openai_models: tuple[str, ...] = Field(
        (), description="Model names to offer if the address does not list its models, separated by commas."
    )
    anthropic_base_url: str | None = Field(None, description="Another address of Anthropic's API, for everyone.")
    anthropic_api_key: str | None = Field(None, repr=False, description="Anthropic's API key, for everyone.")
    providers: tuple[OperatorConfig, ...] = Field(
        (),
        repr=False,
        description="More providers for everyone: a JSON list of `{provider, api_key?, base_url?, settings?, models?}`, or "
        "`[[providers]]` tables in `tertulia.toml`. See docs/reference/providers.md.",
    )
    tool_servers: tuple[ToolServerConfig, ...] = Field(
        (),
        repr=False,
        description="MCP servers with tools for everyone: a JSON list of `{name, command, args?, env?, folder?}` for "
        "programs, or `{name, url, headers?}`. Each may have `cost_per_call` and `environment`, `test` or `prod`. "
        "Or `[[tool_servers]]` tables in `tertulia.toml`. See docs/guides/tools.md.",
    )
    http_proxy: str | None = Field(
        None,
        repr=False,
        description="Proxy for calls to providers, tool servers and pages, such as `http://proxy.example:3128`. `env`: "
        "the one of `HTTPS_PROXY` and `HTTP_PROXY`. Hosts of `NO_PROXY` and this machine are called directly.",
    )
    outbound_allow: tuple[str, ...] = Field(
        (),
        description="Origins inside your network that users may enter as providers and tool servers, such as "
        "`http://localhost:11434`, separated by commas.",
    )
    model_mirror: str | None = Field(
        None,
        description="The address of a folder with the built-in models by file name. It is tried before their publishers.",
    )
    messages_per_day: int | None = Field(
        None, ge=0, description="Messages that each user may send per day (UTC). If unset: no limit."
    )
    polar_webhook_secrets: tuple[str, ...] = Field(
        (), repr=False, description="Secrets of the webhook at Polar, separated by commas: two while they are changed."
    )
    polar_access_token: str | None = Field(
        None, repr=False, description="An organization access token of Polar. With it, plans can be bought."
    )
    polar_url: str = Field(
        "https://api.polar.sh", description="The address of Polar's API. The sandbox: https://sandbox-api.polar.sh."
    )
    stripe_webhook_secrets: tuple[str, ...] = Field(
        (), repr=False, description="Secrets of the webhook at Stripe, separated by commas: two while they are changed."
    )
    stripe_access_token: str | None = Field(
        None, repr=False, description="A secret or restricted key of Stripe. With it, plans can be bought."
    )
    stripe_url: str = Field("https://api.stripe.com", description="The address of Stripe's API.")
    payment_grace_days: int = Field(
        7, ge=0, le=90, description="Days for which a plan is kept after a payment has failed."
    )
    provider_connect_s: float = Field(5, gt=0, description="Seconds to wait for a connection to a provider.")
    provider_first_byte_s: float = Field(60, gt=0, description="Seconds to wait for the first byte of a reply.")
    provider_idle_s: float = Field(60, gt=0, description="Seconds to wait between two bytes of a reply.")
    provider_whole_s: float = Field(900, gt=0, description="Seconds that one reply may take in total.")
    runs_at_once: int = Field(
        4, ge=1, le=64, description="Runs of one user that generate at the same time. Others wait."
    )
    session_idle_days: int = Field(7, ge=1, le=365, description="Days without use after which a session ends.")
    session_absolute_days: int = Field(30, ge=1, le=365, description="Days after which a session ends in any case.")
    trash_days: int = Field(30, ge=1, description="Days that deleted items stay in the trash.")
    change_days: int = Field(7, ge=1, description="Days for which clients can resume live updates.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The lowest level that is logged, as one JSON object per line."
    )
    api_calls_per_minute: int = Field(600, ge=0, description="Calls per minute for each API token. 0: no limit.")
    redis_url: str | None = Field(
        None,
        repr=False,
        description="`redis://…`: carries replies in progress between several server processes on PostgreSQL. If "
        "unset: PostgreSQL carries them.",
    )
    files_url: str | None = Field(
        None,
        repr=False,
        description="Where files are stored: `file:///folder` or `s3://bucket/folder`, with keys from the usual "
        "`AWS_…` variables. If unset: `files` in the data folder.",
    )
    storage_per_user_mib: int = Field(5120, ge=1, description="MiB of files that each user may store.")
    chats_per_user: int = Field(
        100_000, ge=0, description="Chats that each user may have, including those in the trash. 0: no limit."
    )
    drafts_per_user: int = Field(
        20_000, ge=0, description="Drafts that each user may have, including those in the trash. 0: no limit."
    )
    files_per_user: int = Field(100_000, ge=0, description="Files that each user may store. 0: no limit.")
    messages_per_minute: int = Field(
        600, ge=0, description="Messages, edits and new replies of each user per minute. 0: no limit."
    )
    exports_at_once: int = Field(2, ge=1, le=64, description="Exports of each user that run at the same time.")
    sign_up: Literal["closed", "open"] = Field("closed", description="Reserved: whether strangers may create accounts.")

    @field_validator(
        "trusted_proxies",
        "openai_models",
        "outbound_allow",
        "polar_webhook_secrets",
        "stripe_webhook_secrets",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("providers", "tool_servers", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"is not a JSON list: {error}") from None

    @field_validator("tool_servers")
    @classmethod
    def _have_names(cls, value: tuple[ToolServerConfig, ...]) -> tuple[ToolServerConfig, ...]:
        names = [server.name for server in value]
        if len(set(names)) < len(names):
            raise ValueError("two servers have the same name")
        return value

    @field_validator("outbound_allow")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
                raise ValueError(f"{origin} is not an origin, such as http://localhost:11434")
        return tuple(origin.rstrip("/") for origin in value)

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return value

    @field_validator("files_url")
    @classmethod
    def _known_store(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("file:///", "s3://", "gs://", "az://")):
            raise ValueError("must begin with file:///, s3://, gs:// or az://")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("sqlite:///", "postgresql://")):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        return value

    @field_validator("openai_base_url", "anthropic_base_url", "public_url", "model_mirror", "polar_url", "stripe_url")
    @classmethod
    def _is_web_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/") if value else None

    @field_validator("local_model")
    @classmethod
    def _known_model(cls, value: str) -> str:
        if value in (*LOCAL_MODELS, "none") or Path(value).suffix == ".gguf":
            return value
        raise ValueError(f"must be one of {', '.join(LOCAL_MODELS)}, none, or the path of a .gguf file")

    @property
    def sqlite_path(self) -> Path | None:
        """Return the path of the SQLite database, or None on PostgreSQL."""
        if self.database_url is None:
            return self.data / "tertulia.db"
        return Path(self.database_url.removeprefix("sqlite:///")) if self.database_url.startswith("sqlite") else None

    @property
    def models_folder(self) -> Path:
        """Return the folder of the built-in models."""
        return self.data / "models"

    @property
    def imports_folder(self) -> Path:
        """Return the folder of files that wait to be imported."""
        return self.data / "imports"

    @property
    def rows_per_user(self) -> dict[str, int]:
        """Return the largest number of rows of each user by kind. 0: no limit."""
        return {"chats": self.chats_per_user, "drafts": self.drafts_per_user, "files": self.files_per_user}

    @property
    def storage_per_user_bytes(self) -> int:
        return self.storage_per_user_mib * 2**20

    def operator_providers(self) -> list[OperatorConfig]:
        """Return the providers for all users, including those from the OpenAI and Anthropic settings."""
        providers = list(self.providers)
        if self.openai_base_url or self.openai_api_key:
            providers.insert(
                0,
                OperatorConfig(
                    provider="openai",
                    api_key=self.openai_api_key,
                    base_url=self.openai_base_url,
                    models=self.openai_models,
                ),
            )
        if self.anthropic_base_url or self.anthropic_api_key:
            providers.append(
                OperatorConfig(provider="anthropic", api_key=self.anthropic_api_key, base_url=self.anthropic_base_url)
            )
        return providers

    def reserved_in_use(self) -> list[str]:
        """Return the names of reserved settings that are set. They do nothing yet, so the operator is warned."""
        return [name for name in RESERVED if name in self.model_fields_set]


def environment_name(field: str) -> str:
    return field.upper() if field.upper() in UNPREFIXED else PREFIX + field.upper()


def load_settings(environment: Mapping[str, str] = os.environ, file: Path = Path("tertulia.toml")) -> Settings:
    """Read the file, then the environment, which overrides it. Raises SettingsError with the wrong settings and why."""
    known = {environment_name(field): field for field in Settings.model_fields}
    try:
        values: dict[str, object] = tomllib.loads(file.read_text()) if file.is_file() else {}
    except (tomllib.TOMLDecodeError, OSError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from error
    for name, value in environment.items():
        if name in known and value != "":
            values[known[name]] = value
        elif name.startswith(PREFIX) and name not in known:
            raise SettingsError(f"{name} is not a setting. See docs/reference/settings.md.")
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(
            "\n".join(_sentence(part["loc"], part["msg"], part["type"]) for part in error.errors())
        ) from None


def _sentence(location: tuple[int | str, ...], message: str, kind: str) -> str:
    field = str(location[0])
    if kind == "extra_forbidden":
        return f"{field} in tertulia.toml is not a setting. See docs/reference/settings.md."
    return f"{environment_name(field)}: {message.removeprefix('Value error, ')}"
