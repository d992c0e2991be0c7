"""Failures that a caller can act on. Each kind has one HTTP status (http/problems.py); each class a stable `code`."""

from collections.abc import Sequence
from typing import ClassVar

# What a failure tells besides its sentence: plain JSON.
Told = str | int | bool | None | Sequence[object]


class AppError(Exception):
    """An expected failure: `detail` is for people and may change, `code` and `fields` are for programs."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str, *, retry_after_s: int | None = None, **fields: Told) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.fields = fields


class Unauthenticated(AppError):
    code = "not_signed_in"

    def __init__(self, detail: str = "Sign in first.") -> None:
        super().__init__(detail)


class NotFound(AppError):
    """Missing, or not yours: the two look alike, so that ids cannot be probed."""

    code = "not_found"

    def __init__(self, detail: str = "There is nothing here, or it is not yours.") -> None:
        super().__init__(detail)


class Forbidden(AppError):
    code = "forbidden"


class Conflict(AppError):
    code = "conflict"


class Invalid(AppError):
    """A value that cannot be accepted; `field` names it as the caller wrote it."""

    code = "invalid"

    def __init__(self, detail: str, *, field: str | None = None, **fields: Told) -> None:
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
    """A part of a file is wanted that it does not have."""

    code = "range_not_satisfiable"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"The file has {size_bytes:,} bytes; the wanted part lies beyond them.", size_bytes=size_bytes)


class Unavailable(AppError):
    code = "unavailable"


class StorageUnavailable(Unavailable):
    """The database did not take the work; nothing of it was kept, so it is safe to try again."""

    code = "storage_unavailable"

    def __init__(self, detail: str = "The database cannot be written to right now. Try again in a moment.") -> None:
        super().__init__(detail, retry_after_s=2)


class SettingsError(Exception):
    """A setting that stops the start: the message says which and why."""
