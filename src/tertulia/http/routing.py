"""Declare routes with their access level, and limit the size of request bodies."""

from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from tertulia.errors import AppError, Invalid, UnsupportedType
from tertulia.http.body import MAX_PUBLIC_BODY_BYTES, LimitedRequest, SignInCheck
from tertulia.http.problems import problem_responses
from tertulia.services import Services

T = TypeVar("T")


class Access(StrEnum):
    """Who may call a route at all. Getters decide about access to rows."""

    PUBLIC = "public"
    SIGNED_IN = "signed_in"
    ADMIN = "admin"
    OPERATOR = "operator"  # the command line on the server's machine


class UnknownParameter(Invalid):
    code = "unknown_parameter"

    def __init__(self, name: str, known: list[str]) -> None:
        expected = ", ".join(known) or "none"
        super().__init__(f"The query parameter is not known here. Known: {expected}.", field=name)


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def service_of(request: Request, kind: type[T]) -> T:
    """Return a service of the app that got the request."""
    services: Services = request.app.state.services
    return services.get(kind)


class LimitedRoute(APIRoute):
    """A route that checks the query and the sign-in before it receives the body, and limits the body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        options = self.openapi_extra or {}
        takes_form = "requestBody" in options
        is_public = options["x-access"] == Access.PUBLIC
        known = sorted(field.alias for field in get_flat_params(self.dependant) if isinstance(field.field_info, Query))

        async def limited(request: Request) -> Response:
            if self.include_in_schema and request.url.path.startswith("/api/"):
                for name in request.query_params:
                    if name not in known:
                        raise UnknownParameter(name, known)
            if takes_form or not _has_body(request):
                return await handle(request)  # a route with a form signs in, and streams the body with its own limits
            if not _is_json(request):
                raise UnsupportedType
            received = LimitedRequest(request.scope, request.receive)
            if is_public:
                received.max_bytes = MAX_PUBLIC_BODY_BYTES
            else:
                await service_of(request, SignInCheck).require_sign_in(request)
            try:
                return await handle(received)
            except HTTPException as error:
                # FastAPI wraps every error while reading a body. Ours are more precise, so raise them again.
                precise, error.__cause__ = error.__cause__, None
                if not isinstance(precise, AppError):
                    raise
            try:
                raise precise
            finally:
                del precise  # else the error refers to this frame and itself, and the body stays in memory

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
        is_raw: bool = False,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare a route. `gives` is the success shape, `stream` the event type, and `hidden` omits it from OpenAPI.

        With `form`, the route reads a multipart form itself. It maps fields other than `file` to their descriptions.
        With `is_raw`, it reads the bytes of a JSON body itself, because their signature is checked.
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
                "openapi_extra": {"x-access": access.value}
                | (_form_body(form) if form is not None else {})
                | (_RAW_BODY if is_raw else {}),
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


_RAW_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"description": "As its sender signs it."}}},
    }
}


class _Json(JSONResponse):
    """Marks that a route answers with JSON, so that the OpenAPI document describes the answer."""


def require_declared_access(app: FastAPI) -> None:
    """Deny by default: raise RuntimeError for a route that does not declare who may call it."""
    for route in app.routes:
        if not isinstance(route, APIRoute) or "x-access" not in (route.openapi_extra or {}):
            raise RuntimeError(f"{getattr(route, 'path', route)} declares no access")
