"""Pages by opaque cursor. A cursor is signed, and expires after seven days."""

import base64
import binascii
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import orjson
from fastapi import Query
from typing_extensions import TypedDict

from tertulia.errors import Invalid
from tertulia.keyring import SIGNATURE_BYTES, KeyRing

T = TypeVar("T")
MAX_AGE_S = 7 * 24 * 3600
Limit = Annotated[int, Query(ge=1, le=200, description="The maximum number of items.")]
CursorText = Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the previous page.")]
Key = Sequence[int | str]


class InvalidCursor(Invalid):
    code = "invalid_cursor"

    def __init__(self) -> None:
        super().__init__("This cursor is not valid or is older than 7 days. Start again without it.", field="cursor")


class Page(TypedDict, Generic[T]):
    items: list[T]
    next_cursor: str | None


@dataclass(frozen=True)
class Cursors:
    """Encodes and decodes cursors. A cursor is bound to its `kind` of list and is refused for another list."""

    keyring: KeyRing

    def encode(self, kind: str, key: Key) -> str:
        payload = orjson.dumps([kind, int(time.time()), *key])
        return base64.urlsafe_b64encode(self.keyring.sign("cursor", payload) + payload).decode().rstrip("=")

    def page(self, kind: str, items: Sequence[Mapping[str, Any]], limit: int) -> dict[str, object]:
        """Build a page of items in the order of their ids. Pass `limit + 1` items: the extra one means more pages."""
        shown = items[:limit]
        more = len(items) > limit
        return {"items": shown, "next_cursor": self.encode(kind, [shown[-1]["id"]]) if more else None}

    def decode_id(self, kind: str, cursor: str | None) -> str | None:
        """Return the last id of the previous page, or None for the first page. Raises InvalidCursor."""
        key = self.decode(kind, cursor)
        return str(key[0]) if key else None

    def decode(self, kind: str, cursor: str | None) -> list[int | str] | None:
        """Return the key that was encoded, or None for the first page. Raises InvalidCursor."""
        if cursor is None:
            return None
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):
            raise InvalidCursor from None
        signature, payload = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
        if not self.keyring.verifies("cursor", payload, signature):
            raise InvalidCursor
        cursor_kind, created_at, *key = orjson.loads(payload)
        if cursor_kind != kind or time.time() - created_at > MAX_AGE_S:
            raise InvalidCursor
        return list(key)
