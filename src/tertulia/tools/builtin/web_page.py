"""Fetch a web page as text, through the guarded client and within limits."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import charset_normalizer
import httpx
from typing_extensions import override

from tertulia.files.child import run_child
from tertulia.tools.protocol import Risk, Tool, ToolContext, ToolFailed, ToolResult
from tertulia.tools.provenance import host_of

MAX_PAGE = 10 * 1024 * 1024
MAX_REDIRECTS = 3
FETCH_S = 10.0
READ_S = 15.0
_TEXTS = ("text/", "application/json", "application/xml", "application/xhtml+xml")
_MOVED = (301, 302, 303, 307, 308)


class FetchPage(Tool):
    name = "fetch_page"
    description = "Fetch a page of the web by its address, and read it as text. It sees no page that needs a sign-in."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {"url": {"type": "string", "maxLength": 2000, "pattern": "^https?://"}},
        "required": ["url"],
        "additionalProperties": False,
    }
    risk = (
        Risk.LOW
    )  # it changes nothing here, but a URL can carry data out: high for a host that the person did not name
    timeout_s = 30.0

    @override
    def destination(self, arguments: Mapping[str, Any]) -> str | None:
        return host_of(arguments["url"])

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        try:
            async with asyncio.timeout(FETCH_S):
                address, kind, content = await _fetch(context.client, arguments["url"])
        except TimeoutError:
            raise ToolFailed("The page did not load within 10 seconds.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ToolFailed(f"The page could not be fetched: {error}.") from None
        text = await (_as_text(content) if "html" in kind else asyncio.to_thread(_decoded, content))
        host = host_of(address) or address
        return ToolResult(f"{address}\n\n{text}".rstrip(), sources=[{"kind": "web", "name": host}])


async def _fetch(client: httpx.AsyncClient, url: str) -> tuple[str, str, bytes]:
    """Fetch a URL. Return the final URL, the media type and the bytes.

    Follows a few redirects within the same host, and the client checks each URL. A redirect to another host is only
    reported, because only this host was approved.
    """
    host = urlsplit(url).hostname
    for _ in range(MAX_REDIRECTS + 1):
        if urlsplit(url).scheme not in ("http", "https"):
            raise ToolFailed("Only http and https addresses can be fetched.")
        headers = {
            "Accept": "text/html, text/*;q=0.9, application/json;q=0.8",
            "Accept-Encoding": "identity",
            "User-Agent": "Tertulia",
        }
        async with client.stream("GET", url, headers=headers) as answer:
            target = answer.headers.get("location")
            if answer.status_code in _MOVED and target:
                url = urljoin(url, target)
                if urlsplit(url).hostname != host:
                    raise ToolFailed(f"The page moved to another site: {url[:500]} Fetch that address if you need it.")
                continue
            if answer.status_code >= 400:
                raise ToolFailed(f"The page responded with status {answer.status_code}.")
            # A few compressed bytes can expand to gigabytes before they are counted.
            if answer.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
                raise ToolFailed("The page is compressed, although an uncompressed one was requested.")
            kind = answer.headers.get("content-type", "text/plain").partition(";")[0].strip().lower()
            if not kind.startswith(_TEXTS):
                raise ToolFailed(f"This is not a text page: {kind[:80]}.")
            return url, kind, await _read(answer)
    raise ToolFailed(f"The page moved more than {MAX_REDIRECTS} times.")


async def _read(answer: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in answer.aiter_raw():
        content += chunk
        if len(content) > MAX_PAGE:
            raise ToolFailed("The page is larger than 10 MiB.")
    return bytes(content)


def _decoded(content: bytes) -> str:
    best = charset_normalizer.from_bytes(content[:200_000]).best()
    return content.decode(best.encoding if best else "utf-8", "replace")


async def _as_text(content: bytes) -> str:
    """Convert HTML to text in a separate process, because a page is untrusted."""
    with tempfile.TemporaryDirectory(prefix="page-") as path:
        folder = Path(path)
        await asyncio.to_thread((folder / "page.html").write_bytes, content)
        await run_child("tertulia.tools.page_reader", "page.html", "page.txt", folder=folder, seconds=READ_S)
        text = folder / "page.txt"
        if not text.exists():
            raise ToolFailed("The page could not be read as text.")
        return await asyncio.to_thread(text.read_text, "utf-8")
