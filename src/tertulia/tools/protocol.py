"""The protocol that every tool implements: its name, parameters, risk and call."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, runtime_checkable

import httpx
import orjson
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.errors import Invalid
from tertulia.tools.provenance import Source

P = ParamSpec("P")
T = TypeVar("T")
MAX_TIME_S = 60.0
MAX_WIRE_NAME = 64
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
ResultKind = Literal["text", "json", "table", "image", "mixed"]


class Risk(StrEnum):
    READ_ONLY = "read_only"
    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True)
class ToolResult:
    """The result of a tool. `content` by kind: text is a string, json any JSON, image a data URL.

    A table is `{columns: [...], rows: [[...]]}`, mixed a list of `{kind: text or image, content}`. `cost` is in US
    dollars; None means the estimated cost.
    """

    content: Any
    kind: ResultKind = "text"
    cost: Decimal | None = None
    sources: Sequence[Source] | None = None  # what was read for it; None: the tool itself


class ToolFailed(Invalid):
    """The tool failed. The message is shown to the model and the person."""

    code = "tool_failed"


class ToolChanged(ToolFailed):
    """The tool no longer has the approved definition, so it was not called."""

    code = "tool_changed"


class OutcomeUnknown(ToolFailed):
    """The call was interrupted. It is unknown whether it took effect."""

    code = "outcome_unknown"


@dataclass(frozen=True)
class Question:
    """A question from a running tool to the person: a form as a flat JSON Schema, or a page to open at `url`."""

    message: str
    form: Mapping[str, Any] | None = None
    url: str | None = None


@dataclass(frozen=True)
class Reply:
    """The person's reply to a question. `content` fits its form."""

    action: Literal["accept", "decline", "cancel"]
    content: dict[str, Any] | None = None


class ToolContext(Protocol):
    """What a call can use. It acts with the permissions of the requesting person only."""

    @property
    def actor(self) -> Actor: ...
    @property
    def chat_id(self) -> str: ...
    @property
    def message_id(self) -> str: ...
    @property
    def client(self) -> httpx.AsyncClient:
        """Return the client for external URLs. It refuses private networks."""
        ...

    async def ask(self, question: Question) -> Reply:
        """Ask the requesting person. The wait, at most ten minutes, does not count towards the call's time limit."""
        ...

    async def read(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def write(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T: ...


class Tool(Protocol):
    """Any class with these attributes is a tool. Subclasses of this one get cautious defaults."""

    name: str  # letters, digits, _ and -, at most 64
    description: str  # for the model, and for the person who decides
    parameters: Mapping[str, Any]  # JSON Schema of the arguments, an object
    risk: Risk = Risk.HIGH
    timeout_s: float = MAX_TIME_S
    is_parallel_safe: bool = True
    sends_out: bool = True  # whether its arguments can reach another party
    is_trusted: bool = False  # whether its result is trusted text
    reads_private: bool = False  # whether its result may contain data that other readers of the chat must not see
    state_schema: Mapping[str, Any] | None = (
        None  # JSON Schema of the state it keeps per chat between turns, if it keeps any
    )

    def estimate_cost(self, arguments: Mapping[str, Any]) -> Decimal | None:  # noqa: ARG002 - for tools that cost
        """Return the highest cost of a call in US dollars. None (unknown) counts as the limit. Must be thread-safe."""
        return Decimal(0)

    def destination(self, arguments: Mapping[str, Any]) -> str | None:  # noqa: ARG002 - for tools that have one
        """Return the host that a call sends its arguments to. None: it does not depend on a host in the arguments."""
        return None

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        """Run the tool. The arguments fit `parameters`. Raises ToolFailed. Cancelled after `timeout_s`."""
        ...


@runtime_checkable
class DryRun(Protocol):
    """A tool that can describe what a call would do."""

    def dry_run(self, arguments: Mapping[str, Any], context: ToolContext) -> Awaitable[str]: ...


class Environment(StrEnum):
    """Whether a server works on real data or on a test account."""

    TEST = "test"
    PROD = "prod"


@dataclass(frozen=True)
class Described:
    """A tool's current definition, if it differs from the accepted one (servers/definitions.py)."""

    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class OfferedTool:
    """A tool as offered to a model, under a name that is unique among the offered tools."""

    tool: Tool
    server: str | None = None  # None for built-in and installed tools
    origin: str | None = None  # identifies the server: a server of the same name with another origin offers other tools
    environment: Environment | None = None  # of the server
    changed: Described | None = None  # models see the accepted definition; the digest covers the current one
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        now = self.changed or self.tool
        described = [self.server, self.tool.name, now.description, now.parameters, self.tool.risk]
        if self.origin:
            described.append(self.origin)
        if self.environment is Environment.TEST:
            described.append(self.environment)  # an approval for a test account does not cover the real one
        object.__setattr__(self, "digest", digest_of(described))

    @property
    def key(self) -> str:
        """Return the key that rules and chat settings use."""
        return tool_key(self.server, self.tool.name)

    @property
    def default_sources(self) -> list[Source]:
        """Return what a call without sources of its result, such as a failed one, counts as having read."""
        if self.server is not None:
            return [{"kind": "server", "name": self.server}]
        return [] if self.tool.is_trusted else [{"kind": "tool", "name": self.tool.name}]

    @property
    def wire_name(self) -> str:
        """Return a name that every provider accepts: letters, digits, _ and -, at most 64."""
        if self.server is None:
            return self.tool.name
        plain = _NOT_IN_NAMES.sub("_", f"{self.server}__{self.tool.name}")
        if plain == f"{self.server}__{self.tool.name}" and len(plain) <= MAX_WIRE_NAME:
            return plain
        return f"{plain[: MAX_WIRE_NAME - 9]}_{digest_of(self.key)[:8]}"


def tool_key(server: str | None, name: str) -> str:
    return f"{server}/{name}" if server else name


def split_tool_key(key: str) -> tuple[str | None, str]:
    """Return the server and the tool's name. The server is None for built-in and installed tools."""
    server, slash, name = key.partition("/")
    return (server, name) if slash else (None, key)


def digest_of(value: object) -> str:
    """Return the SHA-256 of a JSON value, independent of key order."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


class OffersTools:
    """Contribution of a feature: tools that every chat can choose."""

    def __init__(self, *tools: Tool) -> None:
        self.tools = tools
