"""How versions are stored: whole and compressed now and then, and as changes to the one before it in between.

A thousand versions of 100 kB with small changes would be a thousand times the text; like this they are a few times.
"""

import zlib
from collections.abc import Sequence

import orjson

from tertulia.drafts.text import Change, Span

MAX_DEPTH = 40  # changes to apply at most until a text is there


def pack_text(text: str) -> bytes:
    return zlib.compress(text.encode())


def unpack_text(packed: bytes) -> str:
    return zlib.decompress(packed).decode()


def pack_changes(changes: Sequence[Change]) -> bytes:
    return zlib.compress(orjson.dumps([list(one) for one in changes]))


def unpack_changes(packed: bytes) -> list[Change]:
    return [Change(*one) for one in orjson.loads(zlib.decompress(packed))]


def pack_spans(spans: Sequence[Span]) -> bytes:
    return zlib.compress(orjson.dumps([list(one) for one in spans]))


def unpack_spans(packed: bytes) -> list[Span]:
    return [Span(*one) for one in orjson.loads(zlib.decompress(packed))]
