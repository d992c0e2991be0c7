"""The port that every tool fills: what it is called, what it takes, how risky it is, and what it does."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, runtime_checkable

import httpx
import orjson
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.errors import Invalid

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
    """What a tool gives. `content` by kind: text a string, json any JSON, table `{columns: [...], rows: [[...]]}`, image a data URL, mixed a
    list of `{kind: text or image, content}`.

    `cost` in US dollars; None: what was estimated.
    """

    content: Any
    kind: ResultKind = "text"
    cost: Decimal | None = None


class ToolFailed(Invalid):
    """The tool could not do it; the words go to the model and to the person."""

    code = "tool_failed"


class ToolChanged(ToolFailed):
    """It is not what was approved any more, so it was not called."""

    code = "tool_changed"


class OutcomeUnknown(ToolFailed):
    """It was cut off while it worked: whether it had its effect is not known."""

    code = "outcome_unknown"


@dataclass(frozen=True)
class Question:
    """What a tool asks the person while it works: a form by a flat JSON Schema, or a page to open at `url`."""

    message: str
    form: Mapping[str, Any] | None = None
    url: str | None = None


@dataclass(frozen=True)
class Reply:
    """What the person said to a question. `content` fits its form."""

    action: Literal["accept", "decline", "cancel"]
    content: dict[str, Any] | None = None


class ToolContext(Protocol):
    """What a call may use. It acts with the rights of the person who asked, and no others."""

    @property
    def actor(self) -> Actor: ...
    @property
    def chat_id(self) -> str: ...
    @property
    def message_id(self) -> str: ...
    @property
    def client(self) -> httpx.AsyncClient:
        """For addresses elsewhere: none inside the server's network."""
        ...

    async def ask(self, question: Question) -> Reply:
        """Ask the person who asked for the call. The time until they answer, at most ten minutes, is not the call's."""
        ...

    async def read(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def write(self, work: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T: ...


class Tool(Protocol):
    """A class with these names is a tool; who derives from this one has the careful defaults."""

    name: str  # letters, digits, _ and -, 64 at most
    description: str  # for the model, and for the person who decides
    parameters: Mapping[str, Any]  # JSON Schema of the arguments, an object
    risk: Risk = Risk.HIGH
    timeout_s: float = MAX_TIME_S
    runs_beside_others: bool = True
    sends_out: bool = True  # whether what it is given can reach somebody else
    is_trusted: bool = False  # whether its result is the person's own words
    reads_private: bool = False  # whether its result may hold what others who read the chat may not see
    state_schema: Mapping[str, Any] | None = (
        None  # JSON Schema of what it keeps of a chat between turns, where it keeps something
    )

    def estimate_cost(self, arguments: Mapping[str, Any]) -> Decimal | None:
        """The highest cost of a call in US dollars; None, where nobody knows, counts as the limit. Called from any thread."""
        return Decimal(0)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        """Do it. The arguments fit `parameters`. Raises ToolFailed; it is cancelled where it takes too long."""
        ...


@runtime_checkable
class DryRun(Protocol):
    """A tool that can tell what it would do."""

    def dry_run(self, arguments: Mapping[str, Any], context: ToolContext) -> Awaitable[str]: ...


class Environment(StrEnum):
    """Whose data a server works on: the person's real ones, or those of an account that is there to try things."""

    TEST = "test"
    PROD = "prod"


@dataclass(frozen=True)
class Described:
    """How a tool is described now, where that is not what was accepted of it (servers/definitions.py)."""

    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class OfferedTool:
    """A tool as it is offered to a model: under a name that is its own among all that are offered."""

    tool: Tool
    server: str | None = None  # where it comes from, if not from here
    origin: str | None = None  # what that server is: another one of the same name is another tool
    environment: Environment | None = None  # of that server
    changed: Described | None = None  # models are shown what was accepted; the digest is of what it is now
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        now = self.changed or self.tool
        described = [self.server, self.tool.name, now.description, now.parameters, self.tool.risk]
        if self.origin:
            described.append(self.origin)
        if self.environment is Environment.TEST:
            described.append(self.environment)  # what may be done with an account for trying may not with the real one
        object.__setattr__(self, "digest", digest_of(described))

    @property
    def key(self) -> str:
        """What rules name it by."""
        return tool_key(self.server, self.tool.name)

    @property
    def wire_name(self) -> str:
        """Letters, digits, _ and -, 64 at most: what every vendor takes."""
        if self.server is None:
            return self.tool.name
        plain = _NOT_IN_NAMES.sub("_", f"{self.server}__{self.tool.name}")
        if plain == f"{self.server}__{self.tool.name}" and len(plain) <= MAX_WIRE_NAME:
            return plain
        return f"{plain[: MAX_WIRE_NAME - 9]}_{digest_of(self.key)[:8]}"


def tool_key(server: str | None, name: str) -> str:
    return f"{server}/{name}" if server else name


def split_tool_key(key: str) -> tuple[str | None, str]:
    """The server, None for a tool of here, and the name."""
    server, slash, name = key.partition("/")
    return (server, name) if slash else (None, key)


def digest_of(value: object) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
