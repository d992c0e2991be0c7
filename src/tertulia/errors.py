"""Errors that a caller can act on. Each kind has one HTTP status (http/problems.py), each class a stable `code`."""

from collections.abc import Sequence
from typing import ClassVar

# A JSON value that an error carries in addition to its sentence.
ErrorValue = str | int | bool | None | Sequence[object]


class AppError(Exception):
    """An expected error. `detail` is for people and may change. `code` and `fields` are for programs."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str, *, retry_after_s: int | None = None, **fields: ErrorValue) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.fields = fields


class Unauthenticated(AppError):
    code = "not_signed_in"

    def __init__(self, detail: str = "Sign in first.") -> None:
        super().__init__(detail)


class NotFound(AppError):
    """Missing or not accessible. Both look the same, so that ids cannot be probed."""

    code = "not_found"

    def __init__(self, detail: str = "This does not exist, or you do not have access to it.") -> None:
        super().__init__(detail)


class Forbidden(AppError):
    code = "forbidden"


class Conflict(AppError):
    code = "conflict"


class Invalid(AppError):
    """A value that cannot be accepted. `field` is its name in the request."""

    code = "invalid"

    def __init__(self, detail: str, *, field: str | None = None, **fields: ErrorValue) -> None:
        super().__init__(detail, retry_after_s=None, **fields)
        self.field = field


class PreconditionRequired(AppError):
    code = "precondition_required"


class TooLarge(AppError):
    code = "body_too_large"


class UnsupportedType(AppError):
    code = "unsupported_type"

    def __init__(self, detail: str = "The body must be JSON. Send it with Content-Type: application/json.") -> None:
        super().__init__(detail)


class TooMany(AppError):
    code = "too_many_requests"


class RangeNotSatisfiable(AppError):
    """The requested range is beyond the end of the file."""

    code = "range_not_satisfiable"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"The file has {size_bytes:,} bytes. The range starts after its end.", size_bytes=size_bytes)


class Unavailable(AppError):
    code = "unavailable"


class StorageUnavailable(Unavailable):
    """The database could not store the work. Nothing was kept, so it is safe to try again."""

    code = "storage_unavailable"

    def __init__(self, detail: str = "The database cannot be written to right now. Try again in a moment.") -> None:
        super().__init__(detail, retry_after_s=2)


class SettingsError(Exception):
    """A setting that prevents the start. The message says which one and why."""
