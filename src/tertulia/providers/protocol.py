"""The port that every provider fills: a request goes in, a stream of a few kinds of events comes out."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from tertulia.providers.models import ListedModel

FinishReason = Literal["stop", "length", "content_filter", "tool_calls", "other"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What a model wants done; `arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class RequestMessage:
    """`images` are http(s) or data URLs, for models that see. A tool's result answers `tool_call_id`."""

    role: Literal["user", "assistant", "system", "tool"]
    content: str
    images: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class ToolSpec:
    name: str
    description: str
    parameters: Mapping[str, Any]  # JSON Schema of the arguments


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One step. What is None is left to the provider."""

    model_name: str
    messages: tuple[RequestMessage, ...]
    max_tokens: int | None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    tools: tuple[ToolSpec, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them so far; a later one replaces an earlier. Cached ones are among the input."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0  # read from the provider's cache, which is cheaper
    cache_write_tokens: int = 0  # written to it, which some charge more for
    is_final: bool = True  # false for what is told before the reply is whole


@dataclass(frozen=True, slots=True)
class Finish:
    reason: FinishReason


ProviderEvent = TextDelta | ReasoningDelta | ToolCall | Usage | Finish


class Provider(Protocol):
    name: str
    # Whether a request that ends with an assistant's message is answered by going on with that very text.
    continues_prefix: bool

    def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[ProviderEvent]]:
        """Each time all that has come since the last. Raises a ProviderError; closing it ends the request there.

        Whoever takes a moment before asking for more spares the work that each arrival costs.
        """
        ...


@runtime_checkable
class CountingProvider(Protocol):
    """A provider that counts tokens with the model's own tokenizer before anything is asked of the model."""

    async def count_tokens(self, model_name: str, text: str) -> int:
        """Raises a ProviderError."""
        ...


class ListingProvider(Provider, Protocol):
    async def list_models(self) -> list[ListedModel]:
        """The models that the provider lists, in its order. Raises a ProviderError."""
        ...
