"""Middleware for every request: request id, host check, cross-site check, security headers, log line."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tertulia.http.problems import problem, unexpected
from tertulia.ids import new_id
from tertulia.settings import Settings

log = logging.getLogger("tertulia.access")
_LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), payment=(), microphone=(self)",
    "Cache-Control": "no-store",
}
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'{nonce}; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; media-src 'self' blob:; worker-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; "
    "object-src 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types tertulia"
)

_HEADERS["Content-Security-Policy"] = CSP.format(nonce="")
SECURITY_HEADERS = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]


class EdgeMiddleware:
    """ASGI middleware that starts no task, so that streams pass through it unchanged."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.public_origin = settings.public_url
        self.public_host = urlsplit(settings.public_url).netloc if settings.public_url else None
        self.loopback_only = settings.host in ("127.0.0.1", "::1", "localhost")
        self.headers = list(SECURITY_HEADERS)
        if settings.public_url is not None and settings.public_url.startswith("https://"):
            self.headers.append((b"strict-transport-security", b"max-age=31536000"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = new_id()
        scope["request_id"] = request_id
        scope["client_address"] = self._client_address(scope)
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.get("headers", [])
                names = {name for name, _ in headers}
                added = [header for header in self.headers if header[0] not in names]
                message["headers"] = [*headers, *added, (b"x-request-id", request_id.encode())]
            await send(message)

        refusal = self._refusal(scope, request_id)
        try:
            await (refusal or self.app)(scope, receive, send_with_headers)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("unexpected error", extra={"request_id": request_id, "path": _without_token(scope["path"])})
            if status == 0:
                await unexpected(request_id)(scope, receive, send_with_headers)
        finally:
            took_ms = round((time.perf_counter() - started) * 1000, 1)
            if log.isEnabledFor(logging.DEBUG) or status >= 500:
                path = _without_token(scope["path"])
                log.info(
                    "request",
                    extra={
                        "request_id": request_id,
                        "method": scope["method"],
                        "path": path,
                        "status": status,
                        "ms": took_ms,
                    },
                )

    def _refusal(self, scope: Scope, request_id: str) -> ASGIApp | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.loopback_only and not self._known_host(host):
            # DNS rebinding: another site can point its name at this machine, and the browser then sends that name.
            return problem(
                421,
                "unknown_host",
                "This server only answers to its own name. Open it at its own address.",
                title="Unknown host",
                request_id=request_id,
            )
        if not (_is_text(scope["raw_path"]) and _is_text(scope["query_string"])):
            detail = "The address contains the character U+0000 or is not UTF-8. Remove that character."
            return problem(422, "invalid_text", detail, request_id=request_id)
        if scope["method"] not in SAFE_METHODS and not self._is_same_site_call(headers, host):
            detail = "This call does not come from a page of this server, or does not have the header X-Tertulia: 1."
            return problem(403, "cross_site", detail, title="Not allowed", request_id=request_id)
        if scope["path"].endswith("/events") and not self._may_open_stream(headers, host):
            return problem(
                403,
                "cross_site",
                "Only pages of this server may open streams.",
                title="Not allowed",
                request_id=request_id,
            )
        return None

    def _may_open_stream(self, headers: Mapping[str, str], host: str) -> bool:
        """Return whether the page may open a stream. A GET that stays open for hours needs this check too."""
        origin = headers.get("origin")
        ours = origin is None or origin == self.public_origin or _netloc(origin) == host
        return ours and headers.get("sec-fetch-site") in (None, "same-origin", "none")

    def _known_host(self, host: str) -> bool:
        return host == self.public_host or is_loopback(host)

    def _is_same_site_call(self, headers: Mapping[str, str], host: str) -> bool:
        """Return whether the call comes from our page, or from a program: no origin headers and no cookie."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is None and origin is None and "cookie" not in headers:
            return True
        if headers.get("x-tertulia") != "1":
            return False
        if site is not None:
            return site in ("same-origin", "none")
        return origin is None or origin == self.public_origin or _netloc(origin) == host

    def _client_address(self, scope: Scope) -> str:
        peer = scope["client"][0] if scope.get("client") else ""
        if peer in self.settings.trusted_proxies:
            forwarded = Headers(scope=scope).get("x-forwarded-for", "")
            hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()]
            untrusted = [hop for hop in hops if hop not in self.settings.trusted_proxies]
            return untrusted[-1] if untrusted else peer
        return peer


def _netloc(origin: str) -> str | None:
    """Return the host and port of an origin, or None if it is not a URL."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Return whether a Host header names this machine, with or without a port."""
    return _LOOPBACK.fullmatch(host) is not None


def _is_text(encoded: bytes) -> bool:
    """Return whether a percent-encoded part of the address is UTF-8 without U+0000, which both databases can store."""
    try:
        return "\x00" not in unquote_to_bytes(encoded).decode("utf-8")
    except UnicodeDecodeError:
        return False


def _without_token(path: str) -> str:
    """Return a path without the secret that the addresses of shared pages and invitations contain. Ids are harmless."""
    return re.sub(r"^(/api/v1)?(/shared/|/invitations?/)[^/]+", r"\1\2…", path)
