"""Declare routes with their access level, and limit the size of request bodies."""

import asyncio
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, TypeVar

import orjson
from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tertulia.errors import AppError, Invalid, TooLarge, UnsupportedType
from tertulia.http.problems import problem_responses
from tertulia.services import Services

T = TypeVar("T")
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
BODY_S = 30.0
BYTES_PER_EXTRA_S = 64 * 1024


class Access(StrEnum):
    """Who may call a route at all. Getters decide about access to rows."""

    PUBLIC = "public"
    SIGNED_IN = "signed_in"
    ADMIN = "admin"
    OPERATOR = "operator"  # the command line on the server's machine


class BodyTooLarge(TooLarge):
    def __init__(self) -> None:
        super().__init__(f"The body is larger than {MAX_BODY_BYTES} bytes. Send a smaller one.", limit=MAX_BODY_BYTES)


class BodyTooSlow(Invalid):
    code = "body_too_slow"

    def __init__(self) -> None:
        super().__init__("The body took too long to arrive. Send it again.", field="body")


def _has_other_type(request: Request) -> bool:
    """Return whether the request has a body that is not declared as JSON."""
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return has_body and request.headers.get("content-type", "").partition(";")[0].strip() != "application/json"


class LimitedRequest(Request):
    """A request whose JSON body is at most 4 MiB long and 32 levels deep."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            declared = self.headers.get("content-length", "")
            if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
                raise BodyTooLarge
            chunks, size = [], 0
            try:
                async with asyncio.timeout(BODY_S) as limit:
                    async for chunk in self.stream():
                        size += len(chunk)
                        if size > MAX_BODY_BYTES:
                            raise BodyTooLarge
                        chunks.append(chunk)
                        if size % BYTES_PER_EXTRA_S < len(chunk):
                            limit.reschedule((limit.when() or 0) + 1)
            except TimeoutError:
                raise BodyTooSlow from None
            self._body = b"".join(chunks)
        return self._body

    async def json(self) -> Any:
        value = orjson.loads(await self.body())
        if _deeper_than(value, MAX_DEPTH):
            raise Invalid(f"The body is nested deeper than {MAX_DEPTH} levels.", field="body", limit=MAX_DEPTH)
        if b"\\u0000" in self._body and _holds_nul(value):
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


def service_of(request: Request, kind: type[T]) -> T:
    """Return a service of the app that got the request."""
    services: Services = request.app.state.services
    return services.get(kind)


class LimitedRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        takes_form = "requestBody" in (self.openapi_extra or {})

        async def limited(request: Request) -> Response:
            if takes_form:
                return await handle(request)  # the route streams the body itself, with its own limits
            if _has_other_type(request):
                raise UnsupportedType
            try:
                return await handle(LimitedRequest(request.scope, request.receive))
            except HTTPException as error:
                # FastAPI wraps every error while reading a body. Ours are more precise, so raise them again.
                if isinstance(error.__cause__, AppError):
                    raise error.__cause__ from None
                raise

        return limited


class Routes:
    """A domain's routes. Each must declare its access, success and problems."""

    def __init__(self, tag: str, prefix: str = "/api/v1", *, is_catch_all: bool = False) -> None:
        self._tag = tag
        self._prefix = prefix
        self.is_catch_all = is_catch_all  # it is added last
        self._declared: list[tuple[str, Callable[..., Any], dict[str, Any]]] = []
        self._served: list[LimitedRoute] | None = None

    def add_to(self, app: FastAPI) -> None:
        """Add the routes to an app. They keep nothing of an app, so the apps of a process share them.

        Response models are only needed for the OpenAPI document and cost half of start-up, so they are left out.
        """
        if self._served is None:
            self._served = [
                LimitedRoute(
                    path, endpoint, **(options | {"response_model": None, "methods": _with_head(options["methods"])})
                )
                for path, endpoint, options in self._declared
            ]
        app.router.routes.extend(self._served)

    def describe_in(self, app: FastAPI) -> None:
        """Add the routes to an app that only serves to generate the OpenAPI document."""
        for path, endpoint, options in self._declared:
            app.add_api_route(path, endpoint, tags=[self._tag], **options)

    def add(
        self,
        method: str,
        path: str,
        *,
        access: Access,
        gives: Any = None,
        status: int = 200,
        problems: tuple[int, ...] = (),
        stream: str | None = None,
        hidden: bool = False,
        form: dict[str, str] | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare a route. `gives` is the success shape, `stream` the event type, and `hidden` omits it from OpenAPI.

        With `form`, the route reads a multipart form itself. It maps fields other than `file` to their descriptions.
        """
        unsafe = method not in ("GET", "HEAD")
        always = (
            {401, *((403,) if unsafe or access in (Access.ADMIN, Access.OPERATOR) else ())}
            if access is not Access.PUBLIC
            else set()
        )
        always |= {403, 413, 415} if unsafe else set()
        described = problem_responses(*sorted({*always, 422, 503, *problems}))
        if stream is not None:
            described[status] = {
                "description": f"Server-sent events. Each `data` is a {stream}.",
                "content": {"text/event-stream": {"schema": {"$ref": f"#/components/schemas/{stream}"}}},
            }

        def decorate(endpoint: Callable[..., Any]) -> Callable[..., Any]:
            options = {
                "methods": [method],
                "response_model": gives,
                "status_code": status,
                "responses": described,
                "response_class": Response if gives is None else _Json,
                "openapi_extra": {"x-access": access.value} | (_form_body(form) if form is not None else {}),
                "include_in_schema": not hidden,
            }
            self._declared.append((self._prefix + path, endpoint, options))
            return endpoint

        return decorate


def _with_head(methods: list[str]) -> list[str]:
    """Add HEAD to GET. Servers send no body for it."""
    return [*methods, "HEAD"] if methods == ["GET"] else methods


def _form_body(fields: dict[str, str]) -> dict[str, Any]:
    described = {name: {"type": "string", "description": text} for name, text in fields.items()}
    schema = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "contentMediaType": "application/octet-stream"}, **described},
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


class _Json(Response):
    media_type = "application/json"


def require_declared_access(app: FastAPI) -> None:
    """Deny by default: raise RuntimeError for a route that does not declare who may call it."""
    for route in app.routes:
        if not isinstance(route, APIRoute) or "x-access" not in (route.openapi_extra or {}):
            raise RuntimeError(f"{getattr(route, 'path', route)} declares no access")
