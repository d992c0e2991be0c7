"""Answer with RFC 9457 problem documents. The kind of the error decides the status, here and only here."""

import logging
from collections.abc import Mapping
from typing import NotRequired

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from typing_extensions import TypedDict

from tertulia import errors

log = logging.getLogger(__name__)
# Errors quote what was sent, such as the name of a field. The answer must not grow with it.
MAX_NAME, MAX_DETAIL, MAX_FIELD_ERRORS = 100, 1000, 20

STATUS: Mapping[type[errors.AppError], tuple[int, str]] = {
    errors.Unauthenticated: (401, "Not signed in"),
    errors.Forbidden: (403, "Not allowed"),
    errors.NotFound: (404, "Not found"),
    errors.Conflict: (409, "Conflict"),
    errors.TooLarge: (413, "Too large"),
    errors.UnsupportedType: (415, "Unsupported type"),
    errors.RangeNotSatisfiable: (416, "Range not satisfiable"),
    errors.Invalid: (422, "Not valid"),
    errors.PreconditionRequired: (428, "If-Match missing"),
    errors.TooMany: (429, "Too many"),
    errors.Unavailable: (503, "Not available"),
}
# The error statuses that a route can answer with, for the OpenAPI document.
_PROBLEM_STATUSES = {status: title for status, title in STATUS.values()} | {405: "Method not allowed"}


class FieldError(TypedDict):
    field: str
    message: str


class Problem(TypedDict):
    """An RFC 9457 problem document with a stable `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: NotRequired[str]
    errors: NotRequired[list[FieldError]]


def problem_responses(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Describe error responses by reference: a model for each response of each route would dominate startup time."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _PROBLEM_STATUSES[status], "content": content} for status in statuses}


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    title: str | None = None,
    request_id: str | None = None,
    field_errors: list[FieldError] | None = None,
    extra: Mapping[str, errors.ErrorValue] | None = None,
    retry_after_s: int | None = None,
) -> Response:
    body: dict[str, object] = {
        "type": f"urn:tertulia:error:{code}",
        "title": title or _PROBLEM_STATUSES.get(status, "Error"),
        "status": status,
        "detail": _shortened(detail, MAX_DETAIL),
        "code": code,
        **(extra or {}),
    }
    if request_id:
        body["request_id"] = request_id
    if field_errors:
        body["errors"] = [
            {"field": _shortened(error["field"], MAX_NAME), "message": _shortened(error["message"], MAX_DETAIL)}
            for error in field_errors[:MAX_FIELD_ERRORS]
        ]
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s is not None else {}
    if extra and "limit" in extra and "left" in extra:  # a limit was reached: which amount, and what is left of it
        headers |= {"X-RateLimit-Limit": str(extra["limit"]), "X-RateLimit-Remaining": str(extra["left"])}
        if retry_after_s is not None:
            headers["X-RateLimit-Reset"] = str(retry_after_s)
    return Response(orjson.dumps(body), status, headers=headers, media_type="application/problem+json")


def from_app_error(error: errors.AppError, request_id: str | None = None) -> Response:
    kind = next((kind for kind in STATUS if isinstance(error, kind)), None)
    if kind is None:
        log.error("an error class without a status", exc_info=error)
        return unexpected(request_id)
    status, title = STATUS[kind]
    field = error.field if isinstance(error, errors.Invalid) else None
    return problem(
        status,
        error.code,
        error.detail,
        title=title,
        request_id=request_id,
        field_errors=[{"field": field, "message": error.detail}] if field else None,
        extra=error.fields,
        retry_after_s=error.retry_after_s if status != 429 else error.retry_after_s or 1,
    )


def unexpected(request_id: str | None) -> Response:
    detail = "Something went wrong on the server. The operator can find it in the log by the request id."
    return problem(500, "internal_error", detail, title="Server error", request_id=request_id)


def install_problem_handlers(app: FastAPI) -> None:
    @app.exception_handler(errors.AppError)
    def _app_error(request: Request, error: errors.AppError) -> Response:
        answer = from_app_error(error, request.scope.get("request_id"))
        error.__traceback__ = None
        return answer

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> Response:
        field_errors: list[FieldError] = [
            {"field": ".".join(map(str, part["loc"][1:])) or str(part["loc"][0]), "message": _plain(part)}
            for part in error.errors()[:MAX_FIELD_ERRORS]
        ]
        detail = (
            f"{_shortened(field_errors[0]['field'], MAX_NAME)}: {field_errors[0]['message']}"
            if field_errors
            else "The request is not valid."
        )
        # Frames in tracebacks refer to the errors and the body, which would stay in memory until the next collection.
        causes = [part.get("ctx", {}).get("error") for part in error.errors()]
        for raised in (error, *causes):
            if isinstance(raised, BaseException):
                raised.__traceback__ = None
        return problem(422, "invalid", detail, request_id=request.scope.get("request_id"), field_errors=field_errors)

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> Response:
        codes = {404: "not_found", 405: "method_not_allowed"}
        details = {404: errors.NotFound().detail, 405: "This address does not support this method."}
        return problem(
            error.status_code,
            codes.get(error.status_code, "http_error"),
            details.get(error.status_code, str(error.detail)),
            request_id=request.scope.get("request_id"),
        )

    @app.exception_handler(Exception)
    def _unexpected(request: Request, _error: Exception) -> Response:
        return unexpected(request.scope.get("request_id"))


def _plain(part: Mapping[str, object]) -> str:
    message = str(part["msg"]).removeprefix("Value error, ")
    return "This field is unknown. Remove it." if part["type"] == "extra_forbidden" else message


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"
