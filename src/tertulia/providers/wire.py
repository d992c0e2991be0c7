"""Send HTTP requests for all wire formats: time limits, server-sent events, and errors as sentences."""

import asyncio
import hashlib
import json
import logging
import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from tertulia.http.outbound import Timeouts
from tertulia.providers.error_words import (
    TOO_MANY,
    error_words,
    is_too_long,
    names_key,
    refuses_pictures,
    refuses_tools,
)
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
    is_whole,
    unpacker_of,
)
from tertulia.providers.values import load_loosely

# The last payload of a body whose end is certain: by its length, or by its last chunk.
END = b""
MIN_SECRET = 8  # characters; a shorter key, such as `none`, is a dummy, and its letters occur in ordinary words
MAX_ERROR_BYTES = 16 * 1024
MAX_LIST_BYTES = 16 * 1024 * 1024
MAX_LISTED = 2000  # models of one provider: more than any offers, and few enough to show
ACCEPTED = (200, 201, 202, 203, 204)
REDIRECTED = (301, 302, 303, 307, 308)
MAX_BEGIN = 128 * 1024  # bytes of a body by which its kind is decided
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
        """Return what identifies the server with the key without revealing either: all routes of a vendor are one."""
        server = urlsplit(self.base_url).netloc
        return hashlib.sha256(f"{server}\n{self.secret}".encode("utf-8", "replace")).hexdigest()[:16]

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
                    limit = MAX_LIST_BYTES if response.status_code in ACCEPTED else MAX_ERROR_BYTES
                    body = await self._read_some(response, limit)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise self._silent() from error
        except httpx.TimeoutException as error:
            raise self._silent() from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise self._unreachable(error) from error
        if response.status_code not in ACCEPTED:
            raise self._refusal(response.status_code, body, response.headers)
        try:
            answer = orjson.loads(body.removeprefix(MARK))
        except orjson.JSONDecodeError as error:
            raise MalformedReply(
                f"{self.name} did not answer with JSON. Check its address: most end in /v1."
            ) from error
        if isinstance(answer, dict) and answer.get("error") and not answer.get("data"):
            raise self.told_error(answer)  # LM Studio answers a wrong address so
        return answer

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
        """Parse one event as an object. Invalid UTF-8 becomes replacement characters.

        What is no object, such as `null` or a word that keeps the connection open, is an empty one. Raises
        MalformedReply for an object that is cut or damaged.
        """
        try:
            event = load_loosely(payload)
        except ValueError as error:
            if not payload.strip(b"\0 \t").startswith((b"{", b"[")):
                return {}
            raise MalformedReply(f"{self.name} sent invalid JSON in its reply.") from error
        if isinstance(event, list) and len(event) == 1:
            event = event[0]
        return event if isinstance(event, dict) else {}

    def broken_off(self, *, is_safe: bool = False) -> ProviderError:
        """Build the error of an interrupted reply. `is_safe`: nothing of it was received."""
        return ProviderUnavailable(
            f"{self.name} ended the reply in the middle. Its text is kept. Continue, or try again.", is_safe=is_safe
        )

    def told_error(self, body: object) -> ProviderError:
        """Build the error that a provider sent inside a reply."""
        message, code = error_words(body)
        kind: type[ProviderError] = ContextTooLong if is_too_long(message, code) else ProviderUnavailable
        if code in ("rate_limit_error", "rate_limit_exceeded", str(TOO_MANY)):
            kind = RateLimited
        hint = self._address_hint() if "unexpected endpoint" in message.lower() else ""
        return kind(f"{self.name} stopped with an error: {self.redact(message) or 'no reason'}{hint}")

    def _address_hint(self) -> str:
        return "" if re.search(r"/v\d", self.base_url) else " Check its address: most end in /v1."

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
        if response.status_code not in ACCEPTED:
            try:
                error_body = await self._read_some(response, MAX_ERROR_BYTES)
            except (httpx.HTTPError, ProviderError):
                error_body = b""
            finally:
                await response.aclose()
            raise self._refusal(response.status_code, error_body, response.headers)
        return response

    async def _read_some(self, response: httpx.Response, limit: int) -> bytes:
        chunks, size = [], 0
        async for chunk in self._unpacked(response):
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                if response.status_code in ACCEPTED:
                    raise MalformedReply(f"{self.name} answers with more than {limit} bytes.")
                break
        return b"".join(chunks)

    async def _payloads(self, response: httpx.Response) -> AsyncGenerator[list[bytes], None]:
        """Yield the data of the events that arrived together, then END if the body ended as announced.

        Whether it is events, lines or a body of JSON, such as an error or a whole reply, is decided by how it begins:
        servers often name another type. The first list is empty, and says that something arrived.
        """
        decoder: EventDecoder | LineDecoder | None = None
        whole = bytearray()
        has_arrived = False
        try:
            try:
                async for piece in self._unpacked(response):
                    if decoder is None:
                        whole += piece
                        if len(whole) > self.most_event_bytes:
                            raise EventTooLarge
                        if len(whole) <= MAX_BEGIN or len(whole) == len(piece):
                            piece = bytes(whole)
                            decoder = _decoder_of(piece, self.most_event_bytes)
                    payloads = decoder.feed(piece) if decoder else []
                    if not has_arrived and (payloads or not bytes(whole).lstrip().startswith(b":")):
                        has_arrived = bool(payloads or bytes(whole).strip())
                        if has_arrived:
                            yield []
                    if payloads:
                        yield payloads
            except (httpx.HTTPError, ProviderUnavailable):
                # What arrived may be a whole reply, although the body was cut off.
                if decoder is None and is_whole(bytes(whole).strip()):
                    yield [bytes(whole).strip()]
                raise
            payloads = decoder.end() if decoder else self._body_of_json(bytes(whole)) if whole.strip() else []
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
            if unpacker is not None and not unpacker.is_whole:
                raise self.broken_off()
        except UnknownEncoding:
            raise MalformedReply(
                f"{self.name} compresses its answer as {self.redact(encoding)}, which was not requested. Switch that off "
                "in its server or proxy."
            ) from None
        except zlib.error as error:
            raise MalformedReply(f"{self.name} sent an answer whose compression is damaged.") from error

    def _body_of_json(self, body: bytes) -> list[bytes]:
        """Return the objects of a body that came instead of events. Raises MalformedReply if there are none."""
        text = body.strip().removeprefix(MARK).strip()
        if text.startswith(b"<"):
            raise MalformedReply(
                f"{self.name} answered with a web page instead of a reply. Check its address: most end in /v1."
            )
        try:
            value = load_loosely(text)
        except ValueError:
            value = None
        if isinstance(value, dict):
            return [text]
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            return [json.dumps(item).encode() for item in value]  # Google's events without `alt=sse`, and its errors
        lines = [line.removeprefix(b"data:").strip() for line in text.split(b"\n") if line.strip()]
        if lines and all(map(is_whole, lines)):
            return lines
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
            case status if status in REDIRECTED:
                target = self.redact(headers.get("location", ""))
                return RequestRefused(
                    f"{self.name} redirects to {target or 'another address'}. Enter that address in the provider's settings."
                )
            case 401:
                return KeyRefused(f"{self.name} rejects its key. Enter another in the provider's settings.{quoted}")
            case 400 | 403 if names_key(status, message) or (status == 403 and not message):
                return KeyRefused(f"{self.name} rejects its key. Enter another in the provider's settings.{quoted}")
            case 403:
                return RequestRefused(f"{self.name} does not allow this (status 403).{quoted}", said=message)
            case 402:
                return RequestRefused(f"{self.name} requires payment: the account has no credit left.{quoted}")
            case 429:
                seconds = _seconds(headers.get("retry-after", ""))
                when = f" Try again in {seconds} seconds." if seconds else " Try again later."
                return RateLimited(
                    f"{self.name} limits the rate of requests.{when}{quoted}", retry_after_s=seconds, is_safe=True
                )
            case 400 | 413 | 422 | 500 if is_too_long(message, code):
                return ContextTooLong(f"The chat is too long for this model.{quoted}")
            case 404:
                return RequestRefused(
                    f"{self.name} does not have this model, or its address is wrong.{self._address_hint()}{quoted}",
                    said=message,
                )
            case 500 if refuses_tools(message) or refuses_pictures(
                message
            ):  # llama.cpp and Ollama refuse tools and pictures so
                return RequestRefused(f"{self.name} refused the request (status 500).{quoted}", said=message)
            case status if status >= 500:
                return ProviderUnavailable(f"{self.name} failed (status {status}). Try again.{quoted}", is_safe=True)
        return RequestRefused(f"{self.name} refused the request (status {status}).{quoted}", said=message)


def _decoder_of(begin: bytes, most_bytes: int) -> EventDecoder | LineDecoder | None:
    """Return what decodes a body that begins like this: events, or lines of JSON. None: neither, or not known yet."""
    text = begin.removeprefix(MARK).lstrip(b"\0 \t\r\n")
    if text[:6].lower().startswith(EVENT_FIELDS):
        return EventDecoder(most_bytes)
    first, end, _ = text.partition(b"\n")
    return LineDecoder() if end and is_whole(first.strip()) else None


def _seconds(wait: str) -> int | None:
    return int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 7 else None
