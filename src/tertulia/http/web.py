"""Serve the built pages: hashed assets that browsers keep, and one HTML page for every address of the pages."""

import html
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from tertulia.errors import NotFound
from tertulia.http.middleware import CSP
from tertulia.http.routing import Access, Routes, service_of
from tertulia.services import Services

ANY_PATH = "/{path:path}"
NONCE_MARK = "{{csp-nonce}}"
FOREVER = "public, max-age=31536000, immutable"
# The first segment of every address that the pages have; tests/http/test_web.py compares with web/src/app/router.tsx.
PAGES = frozenset(
    {
        "",
        "c",
        "d",
        "chats",
        "drafts",
        "search",
        "settings",
        "p",
        "projects",
        "invitation",
        "tool-servers",
        "approvals",
        "archive",
        "trash",
        "files",
        "shared",
    }
)

# The frame waits for one message from the window above it, checks its shape, and shows the HTML in it.
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
routes = Routes("web", prefix="", is_catch_all=True)


@dataclass(frozen=True)
class PageHead:
    """The title and description that other programs show for a link to a page."""

    title: str
    description: str


@dataclass(frozen=True)
class LinkPreviews:
    """Service: `find(token)` returns the head of the page that a public link opens, or None."""

    find: Callable[[str], Awaitable[PageHead | None]]


class WebFolder(StaticFiles):
    """The folder of the built pages. Starlette's static files answer HEAD, ranges and `If-None-Match`."""

    def __init__(self) -> None:
        self.folder = Path(str(resources.files("tertulia"))) / "web"
        super().__init__(directory=self.folder, check_dir=False)
        names = (path for path in self.folder.rglob("*") if path.is_file())
        self._names = frozenset(str(path.relative_to(self.folder)) for path in names if path.name[0] != ".")
        self.page = (self.folder / "index.html").read_text("utf-8") if "index.html" in self._names else None

    def holds(self, path: str) -> bool:
        """Return whether the build made a file of this name. The page itself and compressed copies do not count."""
        return path in self._names and path != "index.html" and not path.endswith(".gz")

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or its compressed copy for a client that takes gzip."""
        compressed = f"{path}.gz"
        takes_gzip = "gzip" in Headers(scope=scope).get("accept-encoding", "") and compressed in self._names
        response = await super().get_response(compressed if takes_gzip else path, scope)
        if takes_gzip:
            response.headers["Content-Encoding"] = "gzip"
            response.headers["Content-Type"] = _media_type(path)
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["Cache-Control"] = FOREVER if path.startswith("assets/") else "no-cache"
        return response


def _media_type(path: str) -> str:
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json"}
    return f"{types.get(Path(path).suffix, 'text/plain')}; charset=utf-8"


async def refuse(request: Request, path: str) -> Response:  # noqa: ARG001 - FastAPI needs the name in the route
    """Answer 405 for a known path with another method, and 404 for an unknown one."""
    known = (route for route in request.app.routes if route.path != ANY_PATH)
    if any(route.matches(request.scope)[0] is Match.PARTIAL for route in known):
        raise HTTPException(405)
    raise NotFound


for _method in ("POST", "PUT", "PATCH", "DELETE"):
    routes.add(_method, ANY_PATH, access=Access.PUBLIC, hidden=True)(refuse)


@routes.add("GET", "/preview", access=Access.PUBLIC, hidden=True)
async def get_preview() -> Response:
    """Serve the sandboxed frame that shows HTML and SVG of models: no origin, no network, only in a frame of ours."""
    return Response(PREVIEW, media_type="text/html", headers={"Content-Security-Policy": PREVIEW_CSP})


@routes.add("GET", ANY_PATH, access=Access.PUBLIC, hidden=True)
async def get_page(request: Request, path: str) -> Response:
    """Serve an asset, or the HTML page. An unknown address is 404: as a page for browsers, else as a problem document."""
    folder = service_of(request, WebFolder)
    if folder.holds(path):
        return await folder.get_response(path, request.scope)
    first = path.partition("/")[0]
    is_page = first in PAGES
    if not is_page and (first in ("api", "v1", "assets") or first.startswith(".") or not _is_browser(request)):
        raise NotFound
    if folder.page is None:
        raise NotFound("The web pages are not built. Start with `make run`, which builds them.")
    nonce = secrets.token_urlsafe(16)
    headers = {"Content-Security-Policy": CSP.format(nonce=f" 'nonce-{nonce}'")}
    page = folder.page.replace(NONCE_MARK, nonce)
    if first == "shared":
        headers["X-Robots-Tag"] = "noindex, nofollow"
        page = _with_head(page, await _find_head(request, path.removeprefix("shared/")))
    return Response(page, 200 if is_page else 404, media_type="text/html", headers=headers)


def _is_browser(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


async def _find_head(request: Request, token: str) -> PageHead | None:
    services: Services = request.app.state.services
    previews = services.find(LinkPreviews)
    return await previews.find(token) if previews is not None else None


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
