"""Define the protocol that every provider implements: a request in, a stream of events out."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, Protocol, runtime_checkable

from tertulia.providers.abilities import Effort, ToolChoice, Verbosity
from tertulia.providers.models import ListedModel

FinishReason = Literal["stop", "length", "content_filter", "tool_calls", "other"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call that a model proposes. `arguments` is JSON text as the model wrote it.

    `echo` is what its vendor requires back with the call, opaque to everything but the wire.
    """

    id: str
    name: str
    arguments: str
    echo: Any = None


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that the model takes as it is, as a data URL, or empty until it is read from where it is stored."""

    name: str
    media_type: str
    url: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class RequestMessage:
    """A message of a request. `images` are http(s) or data URLs. A `tool` message answers `tool_call_id`.

    `echo` is what the same vendor gave with this assistant turn (TurnEcho).
    """

    role: Literal["user", "assistant", "system", "tool"]
    content: str
    images: tuple[str, ...] = ()
    files: tuple[InputFile, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    echo: Any = None


@dataclass(frozen=True, slots=True)
class ToolSpec:
    name: str
    description: str
    parameters: Mapping[str, Any]  # JSON Schema of the arguments


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """The request of one step. None leaves a setting to the provider."""

    model_name: str
    messages: tuple[RequestMessage, ...]
    max_tokens: int | None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    tools: tuple[ToolSpec, ...] = field(default=())
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    effort: Effort | None = None  # how long the model thinks
    verbosity: Verbosity | None = None
    web_search: bool = False  # whether the model may search with its vendor's own search
    make_pictures: bool = False  # whether the model may have pictures made by its vendor
    response_schema: Mapping[str, Any] | None = None  # JSON Schema that the whole reply must fit
    cache_key: str | None = None  # the same for all requests of a conversation
    tokens: int = 0  # of the request, as far as they can be estimated
    window: int | None = None  # tokens that the request was fitted into
    room: int | None = None  # tokens that the window leaves for the reply; None: unknown


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str


@dataclass(frozen=True, slots=True)
class TextWasThought:
    """All text of this reply so far was thought: its server left out the tag that opens thoughts."""


# Tokens in that the pages of one search add to a request. It is an allowance: vendors do not bound them.
TOKENS_OF_SEARCH = 4000
MOST_SEARCHES = 5  # of the vendor's own web search in a request. Only Anthropic can be given a limit.


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as counted by the provider so far. A later count replaces an earlier one. Input includes cached tokens."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0  # read from the provider's cache, at a lower price
    cache_write_tokens: int = 0  # written to the cache, for which some charge more
    is_final: bool = True  # False for counts sent before the reply is complete
    web_searches: int = 0  # of the vendor's own search, which are charged each
    cost: Decimal | None = None  # what the vendor says that it charges, in dollars
    is_unpriced: bool = False  # the request used something whose price is not known
    thinking_tokens: int = 0  # included in the output, where the provider counts them


@dataclass(frozen=True, slots=True)
class Finish:
    reason: FinishReason


@dataclass(frozen=True, slots=True)
class TurnEcho:
    """What the vendor requires back with this turn, such as signed thoughts: JSON, opaque to everything but the wire."""

    value: Any


@dataclass(frozen=True, slots=True)
class Citation:
    """A page that the reply cites. `text` is the passage of the reply that cites it; empty if the vendor names none."""

    url: str
    title: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class FileOutput:
    """A picture or sound that the model made: its bytes, or base64 text, which is decoded where it is stored."""

    media_type: str
    content: bytes | str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Words with which the model refuses to answer; empty if its vendor gives none."""

    text: str


@dataclass(frozen=True, slots=True)
class PicturesLeftOut:
    """The model refused pictures, so that this many were only mentioned."""

    count: int


ProviderEvent = (
    TextDelta
    | ReasoningDelta
    | TextWasThought
    | ToolCall
    | Usage
    | Finish
    | TurnEcho
    | Citation
    | FileOutput
    | Refusal
    | PicturesLeftOut
)


class Provider(Protocol):
    name: str
    # Identifies the server, so that what it gave is returned to no other (echo.py).
    origin: str
    # Whether a request that ends with an assistant message is answered by continuing its text.
    continues_prefix: bool

    def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[ProviderEvent]]:
        """Yield all events received since the last batch. Raises a ProviderError. Closing it ends the request.

        A consumer that pauses between batches saves the cost of many small ones.
        """
        ...


@runtime_checkable
class CountingProvider(Protocol):
    """A provider that counts tokens with the model's own tokenizer, without running the model."""

    async def count_tokens(self, model_name: str, text: str) -> int:
        """Count the tokens of `text`. Raises a ProviderError."""
        ...


class ListingProvider(Provider, Protocol):
    # Identifies the server with the key, so that what one key may not ask is not held against another.
    account: str

    async def list_models(self) -> list[ListedModel]:
        """List the provider's models in its order. Raises a ProviderError."""
        ...
