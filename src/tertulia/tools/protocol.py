"""The port that every tool fills: what it is called, what it takes, how risky it is, and what it does."""

import hashlib
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
ResultKind = Literal["text", "json", "table", "image"]


class Risk(StrEnum):
    READ_ONLY = "read_only"
    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True)
class ToolResult:
    """What a tool gives. `content` by kind: text a string, json any JSON, table `{columns: [...], rows: [[...]]}`, image a data URL.

    `cost` in US dollars; None: what was estimated.
    """

    content: Any
    kind: ResultKind = "text"
    cost: Decimal | None = None


class ToolFailed(Invalid):
    """The tool could not do it; the words go to the model and to the person."""

    code = "tool_failed"


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

    def estimate_cost(self, arguments: Mapping[str, Any]) -> Decimal | None:
        """The highest cost of a call in US dollars; None, where nobody knows, counts as the limit."""
        return Decimal(0)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        """Do it. The arguments fit `parameters`. Raises ToolFailed; it is cancelled where it takes too long."""
        ...


@runtime_checkable
class DryRun(Protocol):
    """A tool that can tell what it would do."""

    def dry_run(self, arguments: Mapping[str, Any], context: ToolContext) -> Awaitable[str]: ...


@dataclass(frozen=True)
class OfferedTool:
    """A tool as it is offered to a model: under a name that is its own among all that are offered."""

    tool: Tool
    server: str | None = None  # where it comes from, if not from here
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        described = [self.server, self.tool.name, self.tool.description, self.tool.parameters, self.tool.risk]
        object.__setattr__(self, "digest", digest_of(described))

    @property
    def key(self) -> str:
        """What rules name it by."""
        return f"{self.server}/{self.tool.name}" if self.server else self.tool.name

    @property
    def wire_name(self) -> str:
        return f"{self.server}__{self.tool.name}"[:64] if self.server else self.tool.name


def digest_of(value: object) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
