"""The built pages: hashed assets that may be kept for ever, and one page for every other address."""

import gzip
import html
import mimetypes
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from tertulia.errors import NotFound
from tertulia.http.middleware import CSP
from tertulia.http.routing import Access, Routes

ANY_PATH = "/{path:path}"
NONCE_MARK = "{{csp-nonce}}"
FOREVER = "public, max-age=31536000, immutable"
mimetypes.add_type("font/woff2", ".woff2")
mimetypes.add_type("text/javascript", ".js")


# The page waits for one message of the window above it, whose shape it checks, and becomes what that says.
PREVIEW = """<!doctype html><meta charset="utf-8"><title>Preview</title><script>
addEventListener("message", (event) => {
  if (event.source !== parent || typeof event.data?.show !== "string") return;
  document.open();
  document.write(event.data.show);
  document.close();
}, { once: true });
parent.postMessage("ready", "*");
</script>"""
PREVIEW_CSP = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; media-src data: blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)


@dataclass(frozen=True)
class Asset:
    body: bytes
    gzipped: bytes | None
    media_type: str


@dataclass(frozen=True)
class PageHead:
    """What a page says of itself before anything runs: to whoever shows a preview of its link."""

    title: str
    description: str


def web_routes(folder: Path, head_of_shared: Callable[[str], Awaitable[PageHead | None]]) -> Routes:
    """Serve a built folder. Files are read once, when they are first asked for, and only those that the build listed.

    `head_of_shared(token)` tells what the page of a shared chat is about; None: there is none.
    """
    routes = Routes("web", prefix="")
    listed = {
        str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."
    }
    loaded: dict[str, Asset] = {}
    page = listed["index.html"].read_text("utf-8") if "index.html" in listed else None

    def load(name: str) -> Asset:
        if name not in loaded:
            body = listed[name].read_bytes()
            media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
            squeezable = media_type.startswith("text/") or media_type.endswith(("json", "svg+xml", "javascript"))
            loaded[name] = Asset(body, gzip.compress(body, 6) if squeezable else None, media_type)
        return loaded[name]

    for method in ("POST", "PUT", "PATCH", "DELETE"):

        @routes.add(method, ANY_PATH, access=Access.PUBLIC, hidden=True)
        async def refuse(request: Request, path: str) -> Response:
            if any(
                route.matches(request.scope)[0] is Match.PARTIAL
                for route in request.app.routes
                if route.path != ANY_PATH
            ):
                raise HTTPException(405)
            raise NotFound

    @routes.add("GET", "/preview", access=Access.PUBLIC, hidden=True)
    async def get_preview() -> Response:
        """Where HTML and SVG of models are shown: without an origin, without a network, in a frame of ours alone."""
        return Response(PREVIEW, media_type="text/html", headers={"Content-Security-Policy": PREVIEW_CSP})

    @routes.add("GET", ANY_PATH, access=Access.PUBLIC, hidden=True)
    async def get_page(request: Request, path: str) -> Response:
        if path.startswith(("api/", "v1/", "assets/")) and path not in listed:
            raise NotFound
        if path in listed and path != "index.html":
            asset = load(path)
            headers = {
                "Cache-Control": FOREVER if path.startswith("assets/") else "no-cache",
                "Vary": "Accept-Encoding",
            }
            if asset.gzipped is not None and "gzip" in request.headers.get("accept-encoding", ""):
                return Response(
                    asset.gzipped, media_type=asset.media_type, headers=headers | {"Content-Encoding": "gzip"}
                )
            return Response(asset.body, media_type=asset.media_type, headers=headers)
        if page is None:
            raise NotFound("The web pages are not built. Start with `make run`, which builds them.")
        nonce = secrets.token_urlsafe(16)
        headers = {"Content-Security-Policy": CSP.format(nonce=f" 'nonce-{nonce}'")}
        shown = page.replace(NONCE_MARK, nonce)
        if path.startswith("shared/"):
            headers["X-Robots-Tag"] = "noindex, nofollow"
            shown = _with_head(shown, await head_of_shared(path.removeprefix("shared/")))
        return Response(shown, media_type="text/html", headers=headers)

    return routes


def _with_head(page: str, head: PageHead | None) -> str:
    robots = '<meta name="robots" content="noindex, nofollow">'
    if head is None:
        return page.replace("</head>", f"{robots}</head>", 1)
    title, description = html.escape(head.title), html.escape(head.description)
    tags = (
        f'{robots}<meta name="description" content="{description}"><meta property="og:type" content="article">'
        f'<meta property="og:site_name" content="Tertulia"><meta property="og:title" content="{title}">'
        f'<meta property="og:description" content="{description}"><meta name="twitter:card" content="summary">'
    )
    page = re.sub(r"<title>[^<]*</title>", lambda _: f"<title>{title} · Tertulia</title>", page, count=1)
    return page.replace("</head>", f"{tags}</head>", 1)
