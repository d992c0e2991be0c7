"""Split server-sent events into their data, by the letter of the specification, and where servers deviate from it."""

import json
import zlib
from collections.abc import Iterator
from contextlib import suppress

import orjson

MAX_EVENT_BYTES = 4 * 1024 * 1024
MAX_DRAWN_BYTES = 32 * 1024 * 1024  # of an event with a picture as text
DONE = b"[DONE]"
MARK = b"\xef\xbb\xbf"  # a byte order mark, which may come first
# How the lines of events begin. A comment begins with a colon.
EVENT_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b"error:", b":")
_PIECE_BYTES = 64 * 1024


class EventTooLarge(Exception):
    """An event, or a line of it, has too many bytes."""


class UnknownEncoding(Exception):
    """A body is compressed in a way that was not requested and is not known."""


class EventDecoder:
    """Lines end with LF, CR or both, and an event with an empty line. Its lines of data are joined by line feeds.

    Servers deviate: an event whose data is whole is passed on before its empty line arrives. Data lines that are whole
    by themselves are events by themselves. An event named `error`, and a field of this name, become an object with
    `error`. A line of JSON that is no field is an event.
    """

    def __init__(self, most_bytes: int = MAX_EVENT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._line: list[bytes] = []  # pieces of an unfinished line, joined only once
        self._line_bytes = 0
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = b""
        self._is_first = True
        self._after_cr = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of the events that a piece completes. Raises EventTooLarge."""
        if b"\r" in piece or self._after_cr:
            piece = self._without_returns(piece)
        *lines, rest = piece.split(b"\n")
        payloads: list[bytes] = []
        if lines:
            if self._line:
                lines[0] = b"".join([*self._line, lines[0]])
                self._line, self._line_bytes = [], 0
            for line in lines:
                if line.startswith(b"data:"):
                    self._add(line[5:].strip(), payloads)
                elif not line:
                    self._dispatch(payloads)
                else:
                    self._take_other(line, payloads)
            if len(self._data) == 1 and is_whole(self._data[0]):
                self._dispatch(payloads)
        if rest:
            self._line.append(rest)
            self._line_bytes += len(rest)
            self._check(self._line_bytes)
        return payloads

    def end(self) -> list[bytes]:
        """Return the data of the event that was not ended by an empty line."""
        payloads = self.feed(b"\n") if self._line else []
        self._dispatch(payloads)
        return payloads

    def _without_returns(self, piece: bytes) -> bytes:
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
            self._after_cr = False
        if piece:
            self._after_cr = piece.endswith(b"\r")
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _take_other(self, line: bytes, payloads: list[bytes]) -> None:
        """Take a line that is neither data nor empty: a name, a comment, or what no specification knows."""
        if self._is_first and line.startswith(MARK):
            self._is_first = False
            line = line.removeprefix(MARK)
        bare = line.strip(b"\0 \t")
        if bare[:5].lower() == b"data:":  # with white space before it, or in capitals
            self._add(bare[5:].strip(), payloads)
        elif line.startswith(b"event:"):
            self._event = line[6:].strip()
        elif line.startswith(b"error:"):  # llama.cpp
            self._dispatch(payloads)
            self._event = b"error"
            self._add(line[6:].strip(), payloads)
            self._dispatch(payloads)
        elif line.lstrip().startswith(b"{") and is_whole(line.strip()):
            self._dispatch(payloads)
            payloads.append(line.strip())

    def _add(self, data: bytes, payloads: list[bytes]) -> None:
        self._is_first = False
        if len(self._data) == 1 and is_whole(self._data[0]):
            event = self._event
            self._dispatch(payloads)
            self._event = event
        self._data.append(data)
        self._data_bytes += len(data) + 1  # an empty line takes memory, too
        self._check(self._data_bytes)

    def _dispatch(self, payloads: list[bytes]) -> None:
        data, event = self._data, self._event
        if data or event:
            self._data, self._data_bytes, self._event = [], 0, b""
        payload = data[0] if len(data) == 1 else b"\n".join(data)
        if payload and event == b"error" and b'"error"' not in payload:
            message = payload if is_whole(payload) else orjson.dumps(payload.decode("utf-8", "replace"))
            payload = b'{"error":%s}' % message
        elif event and event != b"message" and b'"type"' not in payload and is_whole(payload):
            # Some proxies name the type of an event in its own line only.
            begin = b'{"type":%s' % orjson.dumps(event.decode("utf-8", "replace"))
            payload = begin + (b"}" if payload == b"{}" else b"," + payload[1:])
        if payload:
            payloads.append(payload)

    def _check(self, size: int) -> None:
        if size > self._most_bytes:
            raise EventTooLarge


class LineDecoder:
    """Lines of JSON (application/x-ndjson), each of which is one event. Empty lines are skipped.

    A line may be a field of data, such as the end mark after a whole reply.
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._line_bytes = 0
        self._is_first = True

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the lines that a piece completes. Raises EventTooLarge."""
        if self._is_first:
            piece, self._is_first = piece.removeprefix(MARK), False
        first, *others = piece.split(b"\n")
        self._line.append(first)
        self._line_bytes += len(first)
        if self._line_bytes > MAX_EVENT_BYTES:
            raise EventTooLarge
        if not others:
            return []
        lines = [b"".join(self._line), *others]
        self._line, self._line_bytes = [lines.pop()], len(others[-1])
        return [data for line in lines if (data := line.removeprefix(b"data:").strip())]

    def end(self) -> list[bytes]:
        """Return the last line, if no line end followed it."""
        return self.feed(b"\n")


def unpacker_of(encoding: str) -> "Unpacker | None":
    """Return what unpacks a body that is compressed although that was not requested. Raises UnknownEncoding."""
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return Unpacker()
        case "deflate":
            return Unpacker(may_lack_head=True)
    raise UnknownEncoding(encoding)


class Unpacker:
    """Unpacks gzip and zlib in pieces of at most 64 KiB, so that a small body cannot fill the memory.

    A body may have several parts after each other. `may_lack_head`: some servers send deflate without the head of zlib.
    """

    def __init__(self, *, may_lack_head: bool = False) -> None:
        self._stream = _new_stream()
        self._may_lack_head = may_lack_head
        self._has_begun = False

    @property
    def is_whole(self) -> bool:
        """Return whether the body ended where its last part does."""
        return self._stream.eof or not self._has_begun

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield what a piece unpacks to. Raises zlib.error."""
        while piece:
            if self._stream.eof:
                piece = piece.lstrip(b"\0")  # padding
                if not piece:
                    return
                self._stream = _new_stream()
            try:
                unpacked = self._stream.decompress(piece, _PIECE_BYTES)
            except zlib.error:
                if self._has_begun or not self._may_lack_head:
                    raise
                self._may_lack_head, self._stream = False, zlib.decompressobj(wbits=-zlib.MAX_WBITS)
                continue
            self._has_begun = True
            if unpacked:
                yield unpacked
            piece = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail


def _new_stream() -> "zlib._Decompress":
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # finds out which of the two it is


def is_whole(data: bytes) -> bool:
    """Return whether the data of an event is complete: a JSON object or the end mark."""
    if data == DONE:
        return True
    if not (data.startswith(b"{") and data.endswith(b"}")):
        return False
    with suppress(orjson.JSONDecodeError):
        orjson.loads(data)
        return True
    with suppress(ValueError, RecursionError):  # half a surrogate pair, or a control character
        json.loads(data.decode("utf-8", "replace"), strict=False)
        return True
    return False
