"""Pages by opaque cursor: what a cursor holds is signed, and grows old after seven days."""

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
Limit = Annotated[int, Query(ge=1, le=200, description="How many items at most.")]
CursorText = Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the page before.")]
Key = Sequence[int | str]


class InvalidCursor(Invalid):
    code = "invalid_cursor"

    def __init__(self) -> None:
        super().__init__(
            "This cursor is not one of ours, or is older than 7 days. Begin again without it.", field="cursor"
        )


class Page(TypedDict, Generic[T]):
    items: list[T]
    next_cursor: str | None


@dataclass(frozen=True)
class Cursors:
    """Makes and reads cursors. A cursor is bound to its `kind` of list, so that one of another list is refused."""

    keyring: KeyRing

    def encode(self, kind: str, key: Key) -> str:
        payload = orjson.dumps([kind, int(time.time()), *key])
        return base64.urlsafe_b64encode(self.keyring.sign("cursor", payload) + payload).decode().rstrip("=")

    def page(self, kind: str, items: Sequence[Mapping[str, Any]], limit: int) -> dict[str, object]:
        """A page of things in the order of their ids, from one more than is shown: the next one, if there is one, begins there."""
        shown = items[:limit]
        more = len(items) > limit
        return {"items": shown, "next_cursor": self.encode(kind, [shown[-1]["id"]]) if more else None}

    def decode_id(self, kind: str, cursor: str | None) -> str | None:
        """The id that `page` ended with. Raises InvalidCursor."""
        key = self.decode(kind, cursor)
        return str(key[0]) if key else None

    def decode(self, kind: str, cursor: str | None) -> list[int | str] | None:
        """The key that was encoded, or None for the first page. Raises InvalidCursor."""
        if cursor is None:
            return None
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):
            raise InvalidCursor from None
        signature, payload = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
        if not self.keyring.verifies("cursor", payload, signature):
            raise InvalidCursor
        found, made_at, *key = orjson.loads(payload)
        if found != kind or time.time() - made_at > MAX_AGE_S:
            raise InvalidCursor
        return list(key)
