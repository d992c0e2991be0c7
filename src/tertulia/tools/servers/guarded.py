"""A transport that sends the requests of a library with its own HTTP client through the guarded client."""

from collections.abc import AsyncIterator, Mapping

import httpx
import httpx2

from tertulia.errors import AppError

MAX_ANSWER = 4 * 1024 * 1024  # bytes of one response, as received


class GuardedTransport(httpx2.AsyncBaseTransport):
    """A transport that passes each request to `client`, with the server's headers added. Keeps the last refusal."""

    def __init__(self, client: httpx.AsyncClient, headers: Mapping[str, str], *, idle_s: float) -> None:
        self._client = client
        self._headers = dict(headers)
        self._idle_s = idle_s
        self.refused: AppError | None = None
        self.status: int | None = None  # of the last response, if it was an error without a JSON body

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "accept-encoding")}
        sent = self._client.build_request(
            request.method,
            str(request.url),
            content=await request.aread(),
            headers={**headers, **self._headers, "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(self._idle_s, connect=5),
        )
        try:
            answer = await self._client.send(sent, stream=True)
        except AppError as error:
            self.refused = error
            raise httpx2.ConnectError(error.detail) from None
        except httpx.HTTPError as error:
            raise httpx2.ConnectError(str(error) or type(error).__name__) from None
        if answer.headers.get("content-encoding", "identity") != "identity":
            # It was not requested, and a few compressed bytes can expand without limit.
            await answer.aclose()
            raise httpx2.ReadError("The response is compressed, although an uncompressed one was requested.")
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        self.status = answer.status_code if answer.status_code >= 400 and not is_json else None
        return httpx2.Response(
            answer.status_code,
            headers=answer.headers.raw,
            stream=_Body(answer),
            request=request,
        )


class _Body(httpx2.AsyncByteStream):
    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for chunk in self._answer.aiter_raw():
                size += len(chunk)
                if size > MAX_ANSWER:
                    raise httpx2.ReadError(f"The response is larger than {MAX_ANSWER // 2**20} MiB.")
                yield chunk
        except httpx.HTTPError as error:
            raise httpx2.ReadError(str(error) or type(error).__name__) from None

    async def aclose(self) -> None:
        await self._answer.aclose()
