"""Pack versions for storage: some as whole compressed texts, the others as changes to their parent.

A thousand versions of 100 kB with small changes then take a few times the size of the text, not a thousand times.
"""

import zlib
from collections.abc import Sequence

import orjson

from tertulia.drafts.text import Change, Span

MAX_DEPTH = 40  # the most sets of changes to apply to restore a text


def pack_text(text: str) -> bytes:
    return zlib.compress(text.encode())


def unpack_text(packed: bytes) -> str:
    return zlib.decompress(packed).decode()


def pack_changes(changes: Sequence[Change]) -> bytes:
    return zlib.compress(orjson.dumps([list(change) for change in changes]))


def unpack_changes(packed: bytes) -> list[Change]:
    return [Change(*change) for change in orjson.loads(zlib.decompress(packed))]


def pack_spans(spans: Sequence[Span]) -> bytes:
    return zlib.compress(orjson.dumps([list(span) for span in spans]))


def unpack_spans(packed: bytes) -> list[Span]:
    return [Span(*span) for span in orjson.loads(zlib.decompress(packed))]
