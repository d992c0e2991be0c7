"""Send HTTP requests for all wire formats: time limits, server-sent events, and errors as sentences."""

import asyncio
import hashlib
import json
import logging
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from tertulia.providers.event_stream import (
    EVENT_FIELDS,
    MARK,
    MAX_EVENT_BYTES,
    EventDecoder,
    EventTooLarge,
    LineDecoder,
    UnknownEncoding,
    unpacker_of,
)
from tertulia.providers.protocol import ProviderEvent

# The last payload of a body whose end is certain: by its length, or by its last chunk.
END = b""
TOO_MANY = 429
MIN_SECRET = 8  # characters; a shorter key, such as `none`, is a dummy, and its letters occur in ordinary words
MAX_ERROR_BYTES = 16 * 1024
MAX_LIST_BYTES = 16 * 1024 * 1024
MAX_LISTED = 2000  # models of one provider: more than any offers, and few enough to show
MAX_TOKENS_TOLD = 2**31 - 1
_TOO_LONG_CODES = ("context_length_exceeded", "exceed_context_size_error", "model_context_window_exceeded")
_TOO_LONG_WORDS = ("context length", "context window", "maximum context", "prompt is too long", "too many tokens")
# Patterns of keys, because a provider's message may quote one.
_KEY_LIKE = re.compile(r"\b(sk|pk|gsk|xai|hf|tgp|key|AIza|nvapi|csk|pplx|ghp|github_pat|fw)[-_][A-Za-z0-9_\-]{8,}")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wire:
    """One address with its key. `secret` is redacted from quoted answers."""

    name: str
    base_url: str
    headers: dict[str, str]
    client: httpx.AsyncClient
    timeouts: Timeouts
    secret: str | None = field(default=None, repr=False)
    vendor_id: str = "custom"
    most_event_bytes: int = MAX_EVENT_BYTES

    @property
    def origin(self) -> str:
        """Return what identifies the address without revealing it."""
        return hashlib.sha256(self.base_url.encode("utf-8", "replace")).hexdigest()[:16]

    @property
    def account(self) -> str:
        """Return what identifies the address with its key without revealing either."""
        return hashlib.sha256(f"{self.base_url}\n{self.secret}".encode("utf-8", "replace")).hexdigest()[:16]

    async def get_json(self, address: str) -> Any:
        """Get JSON from a path below the base URL, or a full URL. Raises a ProviderError."""
        return await self._json("GET", address)

    async def post_json(self, address: str, body: object) -> Any:
        """Post `body` as JSON. Returns and raises as `get_json` does."""
        return await self._json("POST", address, orjson.dumps(body))

    async def _json(self, method: str, address: str, content: bytes | None = None) -> Any:
        url = address if address.startswith("http") else self.base_url + address
        try:
            async with asyncio.timeout(self.timeouts.first_byte_s):
                request = self.client.build_request(
                    method, url, headers=self._sent_headers(), content=content, timeout=self._httpx_timeout()
                )
                response = await self.client.send(request, stream=True)
                try:
                    limit = MAX_LIST_BYTES if response.status_code == 200 else MAX_ERROR_BYTES
                    body = await self._read_some(response, limit)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise self._silent() from error
        except httpx.TimeoutException as error:
            raise self._silent() from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise self._unreachable(error) from error
        if response.status_code != 200:
            raise self._refusal(response.status_code, body, response.headers)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise MalformedReply(
                f"{self.name} did not answer with JSON. Check its address: most end in /v1."
            ) from error

    async def stream(self, path: str, body: bytes) -> AsyncIterator[list[bytes]]:
        """Yield the data of server-sent events that arrived together. Every failure raises a ProviderError."""
        has_begun = False
        ends_at = asyncio.get_running_loop().time() + self.timeouts.whole_s
        try:
            async with asyncio.timeout_at(ends_at):
                response = await self._begin(path, body)
            arriving = self._payloads(response)
            try:
                while True:
                    # Not around the yield: the timeout would cancel the caller's own work.
                    async with asyncio.timeout_at(ends_at):
                        payloads = await anext(arriving, None)
                    if payloads is None:
                        break
                    has_begun = True
                    yield payloads
            finally:
                await arriving.aclose()
                await response.aclose()
        except httpx.TimeoutException as error:
            raise self._silent() from error
        except httpx.HTTPError as error:
            raise self.broken_off(is_safe=not has_begun) from error
        except TimeoutError as error:
            raise ProviderTimeout(
                f"{self.name} took longer than {self.timeouts.whole_s:.0f} s for one reply. Try again."
            ) from error

    def parse(self, payload: bytes) -> dict[str, Any]:
        """Parse one event as an object. Invalid UTF-8 becomes replacement characters. Raises MalformedReply."""
        try:
            event = orjson.loads(payload.decode("utf-8", "replace"))
        except orjson.JSONDecodeError:
            event = self._parse_loosely(payload)
        if not isinstance(event, dict):
            raise MalformedReply(f"{self.name} sent a chunk of an unknown format.")
        return event

    def _parse_loosely(self, payload: bytes) -> Any:
        """Parse what orjson rejects, such as half a surrogate pair that a provider split. Raises MalformedReply."""
        try:
            return json.loads(payload.decode("utf-8", "replace"))
        except (json.JSONDecodeError, RecursionError) as error:
            raise MalformedReply(f"{self.name} sent invalid JSON in its reply.") from error

    def broken_off(self, *, is_safe: bool = False) -> ProviderError:
        """Build the error of an interrupted reply. `is_safe`: nothing of it was received."""
        return ProviderUnavailable(
            f"{self.name} ended the reply in the middle. Its text is kept. Continue, or try again.", is_safe=is_safe
        )

    def told_error(self, body: object) -> ProviderError:
        """Build the error that a provider sent inside a reply."""
        message, code = error_words(body)
        kind: type[ProviderError] = ContextTooLong if _is_too_long(message, code) else ProviderUnavailable
        if code in ("rate_limit_error", "rate_limit_exceeded", str(TOO_MANY)):
            kind = RateLimited
        return kind(f"{self.name} stopped with an error: {self.redact(message) or 'no reason'}")

    def redact(self, text: str) -> str:
        """Remove keys and control characters, and cut to 300 characters."""
        if self.secret and len(self.secret) >= MIN_SECRET:
            text = text.replace(self.secret, "…")
        printable = "".join(character for character in text if character.isprintable())
        return _KEY_LIKE.sub(r"\1-…", printable)[:300]

    def _sent_headers(self) -> dict[str, str]:
        # No compression: a small compressed body must not expand in memory.
        return self.headers | {"Accept-Encoding": "identity"}

    def _httpx_timeout(self) -> httpx.Timeout:
        return httpx.Timeout(self.timeouts.idle_s, connect=self.timeouts.connect_s)

    async def _begin(self, path: str, body: bytes) -> httpx.Response:
        outgoing = self.client.build_request(
            "POST", self.base_url + path, headers=self._sent_headers(), content=body, timeout=self._httpx_timeout()
        )
        try:
            async with asyncio.timeout(self.timeouts.first_byte_s):
                response = await self.client.send(outgoing, stream=True)
        except TimeoutError as error:
            raise ProviderTimeout(
                f"{self.name} did not answer within {self.timeouts.first_byte_s:.0f} s. Try again."
            ) from error
        except httpx.ConnectTimeout as error:
            raise self._unreachable(error) from error
        except httpx.ProxyError as error:
            raise ProviderUnavailable(f"{self.name} cannot be reached: {error}.", is_safe=True) from error
        except httpx.TimeoutException:
            raise
        except httpx.ConnectError as error:
            raise self._unreachable(error) from error
        except httpx.HTTPError as error:
            # The request was sent without an answer. The provider may have worked, but no output was received.
            log.warning("%s closed the connection before it answered: %s", self.name, type(error).__name__)
            raise ProviderUnavailable(
                f"{self.name} closed the connection before it answered. Try again.", is_safe=True
            ) from error
        if response.status_code != 200:
            try:
                error_body = await self._read_some(response, MAX_ERROR_BYTES)
            except httpx.HTTPError:
                error_body = b""
            finally:
                await response.aclose()
            raise self._refusal(response.status_code, error_body, response.headers)
        return response

    async def _read_some(self, response: httpx.Response, limit: int) -> bytes:
        chunks, size = [], 0
        async for chunk in response.aiter_raw():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                if response.status_code == 200:
                    raise MalformedReply(f"{self.name} answers with more than {limit} bytes.")
                break
        return b"".join(chunks)

    async def _payloads(self, response: httpx.Response) -> AsyncGenerator[list[bytes], None]:
        """Yield the data of the events that arrived together, then END if the body ended as announced.

        A body of JSON instead of events, such as an error or a whole reply, is one payload.
        """
        is_lines = response.headers.get("content-type", "").startswith("application/x-ndjson")
        decoder: EventDecoder | LineDecoder | None = LineDecoder() if is_lines else None
        whole = bytearray()
        try:
            async for piece in self._unpacked(response):
                if decoder is None and not whole and _is_events(response, piece):
                    decoder = EventDecoder(self.most_event_bytes)
                if decoder is None:
                    whole += piece
                    if len(whole) > self.most_event_bytes:
                        raise EventTooLarge
                elif payloads := decoder.feed(piece):
                    yield payloads
            payloads = decoder.end() if decoder else [self._body_of_json(bytes(whole))] if whole else []
        except EventTooLarge:
            raise MalformedReply(f"{self.name} sent an event of more than {self.most_event_bytes} bytes.") from None
        if "content-length" in response.headers or "transfer-encoding" in response.headers:
            payloads.append(END)
        if payloads:
            yield payloads

    async def _unpacked(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """Yield the pieces of a body. It is unpacked if the server compressed it although that was not requested."""
        encoding = response.headers.get("content-encoding", "")
        try:
            unpacker = unpacker_of(encoding)
            async for piece in response.aiter_raw():
                for unpacked in unpacker.feed(piece) if unpacker else (piece,):
                    yield unpacked
        except UnknownEncoding:
            raise MalformedReply(
                f"{self.name} compresses its answer as {self.redact(encoding)}, which was not requested. Switch that off "
                "in its server or proxy."
            ) from None
        except zlib.error as error:
            raise MalformedReply(f"{self.name} sent an answer whose compression is damaged.") from error

    def _body_of_json(self, body: bytes) -> bytes:
        """Return a body that came instead of events. Raises MalformedReply if it is no JSON object."""
        text = body.strip()
        if text.startswith(b"<"):
            raise MalformedReply(
                f"{self.name} answered with a web page instead of a reply. Check its address: most end in /v1."
            )
        if text.startswith(b"["):  # Google wraps its error in a list
            text = text.removeprefix(b"[").removesuffix(b"]").strip()
        try:
            if isinstance(orjson.loads(text), dict):
                return text
        except orjson.JSONDecodeError:
            pass
        quoted = self.redact(text.decode("utf-8", "replace"))
        raise MalformedReply(f"{self.name} did not answer with a reply. It says: {quoted or 'nothing'}")

    def _silent(self) -> ProviderError:
        return ProviderTimeout(f"{self.name} did not respond in time. Try again, or choose another model.")

    def _unreachable(self, error: Exception) -> ProviderError:
        log.warning("%s cannot be reached: %s", self.name, type(error).__name__)
        return ProviderUnavailable(
            f"{self.name} cannot be reached. Check its address, and that it is running.", is_safe=True
        )

    def _refusal(self, status: int, body: bytes, headers: httpx.Headers) -> ProviderError:
        message, code = error_words(body)
        quoted = f" It says: {self.redact(message)}" if message else ""
        match status:
            case 400 | 401 | 403 if status != 400 or _names_key(message):
                return KeyRefused(f"{self.name} rejects its key. Enter another in the provider's settings.")
            case 402:
                return RequestRefused(f"{self.name} requires payment: the account has no credit left.{quoted}")
            case 429:
                seconds = _seconds(headers.get("retry-after", ""))
                when = f" Try again in {seconds} seconds." if seconds else " Try again later."
                return RateLimited(
                    f"{self.name} limits the rate of requests.{when}{quoted}", retry_after_s=seconds, is_safe=True
                )
            case 400 | 413 | 422 if _is_too_long(message, code):
                return ContextTooLong(f"The chat is too long for this model.{quoted}")
            case 404:
                hint = "" if re.search(r"/v\d", self.base_url) else " Most addresses end in /v1."
                return RequestRefused(
                    f"{self.name} does not have this model, or its address is wrong.{hint}{quoted}", said=message
                )
            case status if status >= 500:
                return ProviderUnavailable(f"{self.name} failed (status {status}). Try again.{quoted}", is_safe=True)
        return RequestRefused(f"{self.name} refused the request (status {status}).{quoted}", said=message)


def _is_events(response: httpx.Response, piece: bytes) -> bool:
    """Return whether a body whose first piece this is holds events. Servers often name another type."""
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        return True
    begin = piece.removeprefix(MARK).lstrip()
    return any(begin.startswith(name) or name.startswith(begin) for name in EVENT_FIELDS)


def read_all(
    read: Callable[[bytes], list[ProviderEvent]], payloads: Iterable[bytes]
) -> Iterator[Sequence[ProviderEvent]]:
    """Yield the events of payloads that arrived together, before raising the error of a later one."""
    events: list[ProviderEvent] = []
    failure: ProviderError | None = None
    try:
        for payload in payloads:
            events += read(payload)
    except ProviderError as error:
        failure = error
    if events:
        yield events
    if failure is not None:
        raise failure


class Reading(ABC):
    """The state of one streamed reply. Fields that are missing or of a wrong type are ignored."""

    def __init__(self, wire: Wire) -> None:
        self.is_finished = False  # the reply is complete, even if the stream is cut off
        self.has_begun = False
        self._wire = wire

    @property
    def is_done(self) -> bool:
        """Return whether nothing more is to be read."""
        return self.is_finished

    @abstractmethod
    def read(self, payload: bytes) -> list[ProviderEvent]:
        """Return the events of one payload. Raises a ProviderError."""

    def end(self) -> list[ProviderEvent]:
        """Return what was held back when the reply ended."""
        return []


async def read_reply(
    wire: Wire, path: str, body: Mapping[str, object], reading: Reading
) -> AsyncGenerator[Sequence[ProviderEvent], None]:
    """Post a request and yield the events of its reply. Raises a ProviderError, also if the reply is not complete."""
    arrivals = wire.stream(path, orjson.dumps(body))
    try:
        async for payloads in arrivals:
            for events in read_all(reading.read, payloads):
                yield events
            if reading.is_done:
                break
    except (ProviderUnavailable, ProviderTimeout):
        if not reading.is_finished:
            raise
    finally:
        await arrivals.aclose()  # type: ignore[attr-defined]
    if rest := reading.end():
        yield rest
    if not reading.is_finished:
        raise wire.broken_off(is_safe=not reading.has_begun)


def part_of(event: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a field that is an object, or an empty one."""
    part = event.get(name)
    return part if isinstance(part, dict) else {}


def list_of(event: Mapping[str, Any], name: str) -> list[Any]:
    """Return a field that is a list, or an empty one."""
    items = event.get(name)
    return items if isinstance(items, list) else []


def count_of(value: object) -> int:
    """Return a token count, or 0 if the value is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TOKENS_TOLD:
        return MAX_TOKENS_TOLD if isinstance(value, int) and value > MAX_TOKENS_TOLD else 0
    return int(value)  # some servers count in fractions, such as 12.0


def is_error(event: dict[str, Any]) -> bool:
    """Return whether an event, or an answer, is an error in any of the known forms."""
    if event.get("error") or event.get("object") == "error" or event.get("type") == "error":
        return True
    is_told = any(isinstance(event.get(name), str) for name in ("message", "detail")) or isinstance(
        event.get("detail"), list
    )
    return is_told and "choices" not in event and "content" not in event


def error_words(body: object) -> tuple[str, str]:
    """Extract the provider's message and code from any vendor's error format. Either may be empty."""
    if isinstance(body, bytes):
        try:
            body = orjson.loads(body.decode("utf-8", "replace"))
        except orjson.JSONDecodeError:
            return "", ""
    if isinstance(body, list):  # Google wraps its error in a list
        body = body[0] if body else {}
    if isinstance(body, dict):
        body = body.get("error", body)
    if isinstance(body, str):
        return body, ""
    if not isinstance(body, dict):
        return "", ""
    value = next((body[name] for name in ("message", "detail", "Message", "title") if body.get(name)), "")
    message = value if isinstance(value, str) else orjson.dumps(value).decode()  # Mistral nests the places of the error
    code = next((body[name] for name in ("code", "type", "status") if isinstance(body.get(name), str)), "")
    if isinstance(body.get("code"), int) and (not code or body["code"] == TOO_MANY):
        code = str(body["code"])
    return message, code


def _names_key(message: str) -> bool:
    """Recognise a wrong key: Google and xAI answer it with status 400."""
    return "api key not valid" in message.lower() or "incorrect api key" in message.lower()


def _is_too_long(message: str, code: str) -> bool:
    return code in _TOO_LONG_CODES or any(words in message.lower() for words in _TOO_LONG_WORDS)


def _seconds(wait: str) -> int | None:
    return int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 7 else None
