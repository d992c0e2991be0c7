"""Receive JSON bodies within limits of size, depth, time and number of values, before anything is built from them."""

import asyncio
from collections.abc import Mapping
from typing import Any, Self

import orjson
from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler

from tertulia.errors import Invalid, TooLarge

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_PUBLIC_BODY_BYTES = 64 * 1024  # of routes that anyone may call
MAX_DEPTH = 32
MAX_VALUES = 50_000
MAX_ERRORS = 100
PARSED_IN_A_THREAD_BYTES = 64 * 1024
BODY_S = 30.0
BYTES_PER_EXTRA_S = 64 * 1024
# Everything that is neither a bracket, comma, quotation mark nor backslash becomes `x`.
_STRUCTURE = bytes(byte if byte in b'[{,"\\' else ord("x") for byte in range(256))


class BodyTooLarge(TooLarge):
    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than {limit} bytes. Send a smaller one.", limit=limit)


class TooManyValues(TooLarge):
    code = "too_many_values"

    def __init__(self) -> None:
        super().__init__(f"The body has more than {MAX_VALUES} values. Send it in several parts.", limit=MAX_VALUES)


class BodyTooSlow(Invalid):
    code = "body_too_slow"

    def __init__(self) -> None:
        super().__init__("The body took too long to arrive. Send it again.", field="body")


class SignInCheck:
    """Service that checks the sign-in of a request before its body is received."""

    async def require_sign_in(self, request: Request) -> None:
        """Raise Unauthenticated or ScopeMissing unless the credential of the request is valid."""
        raise NotImplementedError


class RequestModel(BaseModel):
    """A request body. Unknown fields are refused. Beyond `MAX_ERRORS` errors, only their number is reported."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    @model_validator(mode="wrap")
    @classmethod
    def _limit_errors(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        # Twenty thousand unknown fields would take 14 MB of errors, so such a body is refused before it is validated.
        if isinstance(value, Mapping) and len(value) > len(cls.model_fields) + MAX_ERRORS:
            raise ValueError(f"It has {len(value)} fields, of which most are unknown. Compare it with the API.")
        try:
            return validate(value)
        except ValidationError as error:
            if (count := error.error_count()) <= MAX_ERRORS:
                raise
        raise ValueError(f"It has {count} errors. Compare it with the API.")


def at_most(limit: int) -> tuple[Any, Any]:
    """Return annotations that limit a mapping or set before any entry is validated: `Annotated[dict[…], *at_most(9)]`."""

    def check(value: object) -> object:
        if isinstance(value, Mapping | list) and len(value) > limit:
            raise ValueError(f"It may have at most {limit} entries.")
        return value

    return Field(max_length=limit), BeforeValidator(check)


class ValueCounter:
    """Counts the values of a JSON text as it arrives: every list, mapping and item. An empty list counts as two."""

    def __init__(self) -> None:
        self.count = 1
        self._is_in_string = False
        self._is_escaped = False

    def feed(self, chunk: bytes) -> None:
        """Count what a piece adds. Raises TooManyValues."""
        reduced = chunk.translate(_STRUCTURE)
        if self._is_escaped and reduced:
            reduced = b"x" + reduced[1:]
        reduced = reduced.replace(b"\\\\", b"x")
        self._is_escaped = reduced.endswith(b"\\") if reduced else self._is_escaped
        for piece in reduced.replace(b'\\"', b"x").split(b'"'):
            if not self._is_in_string:
                self.count += piece.count(b",") + piece.count(b"[") + piece.count(b"{")
            self._is_in_string = not self._is_in_string
        self._is_in_string = not self._is_in_string  # the last piece is not followed by a quotation mark
        if self.count > MAX_VALUES:
            raise TooManyValues


class LimitedRequest(Request):
    """A request whose JSON body has at most `max_bytes`, MAX_VALUES values and MAX_DEPTH levels."""

    max_bytes = MAX_BODY_BYTES

    async def body(self) -> bytes:
        """Return the body. Raises BodyTooLarge, TooManyValues, BodyTooSlow."""
        if not hasattr(self, "_body"):
            declared = self.headers.get("content-length", "")
            if declared.isdigit() and int(declared) > self.max_bytes:
                raise BodyTooLarge(self.max_bytes)
            try:
                self._body = await self._receive_body()
            except TimeoutError:
                raise BodyTooSlow from None
        return self._body

    async def _receive_body(self) -> bytes:
        received, counter = bytearray(), ValueCounter()
        async with asyncio.timeout(BODY_S) as limit:
            async for chunk in self.stream():
                if len(received) + len(chunk) > self.max_bytes:
                    raise BodyTooLarge(self.max_bytes)
                counter.feed(chunk)
                received += chunk
                if len(received) % BYTES_PER_EXTRA_S < len(chunk):
                    limit.reschedule((limit.when() or 0) + 1)
        return bytes(received)

    async def json(self) -> Any:
        """Return the parsed body. A large one is parsed in a thread. Raises Invalid, orjson.JSONDecodeError."""
        body = await self.body()
        return await asyncio.to_thread(parse_json, body) if len(body) > PARSED_IN_A_THREAD_BYTES else parse_json(body)


def parse_json(body: bytes) -> Any:
    """Parse a body. Raises Invalid if it is nested too deep or holds U+0000, and orjson.JSONDecodeError."""
    value = orjson.loads(body)
    if _deeper_than(value, MAX_DEPTH):
        raise Invalid(f"The body is nested deeper than {MAX_DEPTH} levels.", field="body", limit=MAX_DEPTH)
    if b"\\u0000" in body and _holds_nul(value):
        raise Invalid("The character U+0000 cannot be stored. Remove it.", field="body")
    return value


def _holds_nul(value: object) -> bool:
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any(_holds_nul(key) or _holds_nul(child) for key, child in value.items())
        case list():
            return any(map(_holds_nul, value))
    return False


def _deeper_than(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    if levels == 0:
        return True
    return any(_deeper_than(child, levels - 1) for child in (value.values() if isinstance(value, dict) else value))
