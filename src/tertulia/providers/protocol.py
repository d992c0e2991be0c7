"""The port that every provider fills: a request goes in, a stream of four kinds of events comes out."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

FinishReason = Literal["stop", "length", "content_filter", "tool_calls", "other"]


@dataclass(frozen=True, slots=True)
class RequestMessage:
    role: Literal["user", "assistant", "system"]
    content: str


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One step. What is None is left to the provider."""

    model_name: str
    messages: tuple[RequestMessage, ...]
    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them; cached ones are among the input."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    reason: FinishReason


ProviderEvent = TextDelta | ReasoningDelta | Usage | Finish


class Provider(Protocol):
    name: str
    # Whether a request that ends with an assistant's message is answered by going on with that very text.
    continues_prefix: bool

    def stream(self, request: ModelRequest) -> AsyncIterator[ProviderEvent]:
        """Raises a ProviderError; closing the iterator ends the request at the provider."""
        ...
