"""Build JSON responses: encoded once, by one encoder, with times as RFC 3339 in UTC ending in Z."""

from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from decimal import Decimal

import orjson
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

_OPTIONS = orjson.OPT_UTC_Z


def encode(value: object) -> bytes:
    """Encode as JSON. Datetimes must be aware. Decimals become strings, because money is never a float."""
    return orjson.dumps(value, default=_other, option=_OPTIONS)


def json_response(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return encoded_response(encode(value), status, headers)


def encoded_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def no_content() -> Response:
    return Response(status_code=204)


class HeldStream(StreamingResponse):
    """A streamed download that releases `held` when it ends for any reason."""

    def __init__(
        self, pieces: AsyncIterator[bytes], held: ExitStack, *, media_type: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(pieces, media_type=media_type, headers=headers)
        self._held = held

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


def _other(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} has no JSON form here")
