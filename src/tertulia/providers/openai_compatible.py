"""OpenAI's chat completions as nearly everybody speaks them: our own thin client (docs/adr/0006)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson

from tertulia.http.outbound import Timeouts
from tertulia.providers.errors import (
    ContextTooLong,
    KeyRefused,
    MalformedReply,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
    RequestRefused,
)
from tertulia.providers.protocol import (
    Finish,
    FinishReason,
    ModelRequest,
    ProviderEvent,
    ReasoningDelta,
    TextDelta,
    Usage,
)

MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_ERROR_BYTES = 16 * 1024
MAX_TOKENS_TOLD = 2**31 - 1
_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
log = logging.getLogger(__name__)


class OpenAICompatible:
    def __init__(
        self,
        name: str,
        base_url: str,
        api_key: str | None,
        client: httpx.AsyncClient,
        timeouts: Timeouts,
        *,
        continues_prefix: bool = False,
    ) -> None:
        self.name = name
        self.continues_prefix = continues_prefix
        self._base_url = base_url.rstrip("/")
        self._headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {api_key}"} if api_key else {}
        )
        self._client = client
        self._timeouts = timeouts

    async def list_models(self) -> list[str]:
        """The names that the address lists, in its order. Raises a ProviderError."""
        try:
            response = await self._client.get(
                f"{self._base_url}/models", headers=self._headers, timeout=self._timeouts.connect_s
            )
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if response.status_code != 200:
            raise self._refusal(response.status_code, response.content[:MAX_ERROR_BYTES], response.headers)
        try:
            return [str(model["id"]) for model in orjson.loads(response.content)["data"]]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise MalformedReply(f"{self.name} does not list its models in OpenAI's form.") from error

    async def stream(self, request: ModelRequest) -> AsyncIterator[ProviderEvent]:
        try:
            async with asyncio.timeout(self._timeouts.whole_s):
                response = await self._begin(request)
                try:
                    async for event in _events(response, self.name):
                        yield event
                finally:
                    await response.aclose()
        except httpx.TimeoutException as error:
            raise ProviderTimeout(
                f"{self.name} has been silent for too long. Try again, or choose another model."
            ) from error
        except httpx.HTTPError as error:
            raise ProviderUnavailable(
                f"The connection to {self.name} broke off. What came is kept; continue, or try again."
            ) from error
        except TimeoutError as error:
            raise ProviderTimeout(
                f"{self.name} took longer than {self._timeouts.whole_s:.0f} s for one reply."
            ) from error

    async def _begin(self, request: ModelRequest) -> httpx.Response:
        timeouts = httpx.Timeout(self._timeouts.idle_s, connect=self._timeouts.connect_s)
        outgoing = self._client.build_request(
            "POST",
            f"{self._base_url}/chat/completions",
            headers=self._headers,
            content=_body(request),
            timeout=timeouts,
        )
        try:
            async with asyncio.timeout(self._timeouts.first_byte_s):
                response = await self._client.send(outgoing, stream=True)
        except TimeoutError as error:
            detail = f"{self.name} did not answer within {self._timeouts.first_byte_s:.0f} s. Try again."
            raise ProviderTimeout(detail) from error
        except httpx.TimeoutException:
            raise
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if response.status_code != 200:
            said = b""
            try:
                async for chunk in response.aiter_bytes():
                    said += chunk
                    if len(said) > MAX_ERROR_BYTES:
                        break
            finally:
                await response.aclose()
            raise self._refusal(response.status_code, said, response.headers)
        return response

    def _unreachable(self, error: Exception) -> ProviderError:
        log.warning("%s cannot be reached: %s", self.name, type(error).__name__)
        return ProviderUnavailable(f"{self.name} cannot be reached. Is its address right, and is it running?")

    def _refusal(self, status: int, body: bytes, headers: httpx.Headers) -> ProviderError:
        said, code = _error_words(body)
        quoted = f" It says: {said}" if said else ""
        match status:
            case 401 | 403:
                return KeyRefused(f"{self.name} does not accept its key. The operator can set another.")
            case 429:
                wait = headers.get("retry-after", "")
                seconds = int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 7 else None
                when = f" Try again in {seconds} seconds." if seconds else " Try again in a while."
                return RateLimited(f"{self.name} wants fewer requests.{when}", retry_after_s=seconds)
            case 400 | 413 if (
                code in ("context_length_exceeded", "exceed_context_size_error") or "context" in said.lower()
            ):
                return ContextTooLong(f"The chat is too long for this model.{quoted}")
            case 404:
                return RequestRefused(f"{self.name} does not have this model, or its address is not right.{quoted}")
            case status if status >= 500:
                return ProviderUnavailable(f"{self.name} has a fault of its own (status {status}). Try again.{quoted}")
        return RequestRefused(f"{self.name} refused the request (status {status}).{quoted}")


def _body(request: ModelRequest) -> bytes:
    body: dict[str, object] = {
        "model": request.model_name,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": request.max_tokens,
    }
    for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty"):
        value = getattr(request, name)
        if value is not None:
            body[name] = value
    return orjson.dumps(body)


async def _events(response: httpx.Response, name: str) -> AsyncIterator[ProviderEvent]:
    finished = False
    async for line in _lines(response, name):
        if not line.startswith(b"data:"):
            continue
        payload = line[5:].strip()
        if payload == b"[DONE]":
            finished = True
            break
        try:
            chunk = orjson.loads(payload.decode("utf-8", "replace"))
        except orjson.JSONDecodeError as error:
            raise MalformedReply(f"{name} sent something that is not JSON within its reply.") from error
        for event in _read_chunk(chunk, name):
            finished = finished or isinstance(event, Finish)
            yield event
    if not finished:
        raise ProviderUnavailable(f"{name} ended the reply in the middle. What came is kept; continue, or try again.")


async def _lines(response: httpx.Response, name: str) -> AsyncIterator[bytes]:
    """Lines of a body that comes in pieces of any size, each at most 4 MiB long."""
    rest = b""
    async for piece in response.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r")
        if len(rest) > MAX_LINE_BYTES:
            raise MalformedReply(f"{name} sent a line of more than {MAX_LINE_BYTES} bytes.")
    if rest:
        yield rest


def _read_chunk(chunk: Any, name: str) -> list[ProviderEvent]:
    """What one chunk says; fields that are missing or of a wrong kind say nothing."""
    if not isinstance(chunk, dict):
        raise MalformedReply(f"{name} sent a chunk of an unknown form.")
    if chunk.get("error"):
        said, code = _error_words(orjson.dumps(chunk))
        kind = (
            ContextTooLong if code in ("context_length_exceeded", "exceed_context_size_error") else ProviderUnavailable
        )
        raise kind(f"{name} broke off with an error: {said or 'without a reason'}")
    found: list[ProviderEvent] = []
    choices = chunk.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    delta = choice.get("delta")
    if isinstance(delta, dict):
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(reasoning, str) and reasoning:
            found.append(ReasoningDelta(reasoning))
        content = delta.get("content")
        if isinstance(content, str) and content:
            found.append(TextDelta(content))
    usage = chunk.get("usage")
    if isinstance(usage, dict):
        found.append(_usage(usage))
    if isinstance(choice.get("finish_reason"), str):
        found.append(Finish(_FINISH.get(choice["finish_reason"], "other")))
    return found


def _usage(usage: dict[str, Any]) -> Usage:
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), _count(cached))


def _count(value: object) -> int:
    return min(value, MAX_TOKENS_TOLD) if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _error_words(body: bytes) -> tuple[str, str]:
    """The provider's own message and code, as far as it has them; short, and without control characters."""
    try:
        error = orjson.loads(body.decode("utf-8", "replace"))
    except orjson.JSONDecodeError:
        return "", ""
    error = error.get("error", error) if isinstance(error, dict) else {}
    if isinstance(error, str):
        return _short(error), ""
    if not isinstance(error, dict):
        return "", ""
    code = error.get("code") if isinstance(error.get("code"), str) else error.get("type")
    return _short(str(error.get("message", ""))), str(code or "")


def _short(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:300]
