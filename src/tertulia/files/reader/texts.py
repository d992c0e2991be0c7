"""Read plain text, and extract text from HTML."""

import re
from html.parser import HTMLParser
from pathlib import Path

from charset_normalizer import from_bytes
from typing_extensions import override

MAX_CHARACTERS = 1024 * 1024
READ_BYTES = 8 * 1024 * 1024  # enough for MAX_CHARACTERS in any encoding
_HIDDEN = {"script", "style", "template", "noscript"}
_BLOCKS = {"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "table", "ul", "ol"}


def read_text(file: Path, media_type: str) -> tuple[dict[str, object], str]:
    with file.open("rb") as opened:
        content = opened.read(READ_BYTES)
    encoding, text = decode(content)
    return {"encoding": encoding}, text_of_html(text) if media_type == "text/html" else text


def decode(content: bytes) -> tuple[str, str]:
    """Return the name of the encoding, and the decoded text."""
    for encoding in ("utf-8-sig", "utf-16"):
        mark = b"\xef\xbb\xbf" if encoding == "utf-8-sig" else (b"\xff\xfe", b"\xfe\xff")
        if content.startswith(mark):
            return encoding.removesuffix("-sig"), content.decode(encoding, "replace")
    try:
        return "utf-8", content.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start >= len(content) - 4:  # the content ends within a character
            return "utf-8", content[: error.start].decode("utf-8")
    best = from_bytes(content[: READ_BYTES // 8]).best()
    encoding = best.encoding if best else "cp1252"
    return encoding.replace("_", "-"), content.decode(encoding, "replace")


def cut(text: str) -> tuple[str, bool]:
    """Truncate a text to what can be stored. Return it, and whether its end is missing."""
    text = text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    return text[:MAX_CHARACTERS], len(text) > MAX_CHARACTERS


def text_of_html(source: str) -> str:
    reader = _HtmlText()
    reader.feed(source)
    reader.close()
    lines = (re.sub(r"[ \t\r\f\v]+", " ", line).strip() for line in "".join(reader.pieces).splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _HtmlText(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden = 0

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in _HIDDEN
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in _HIDDEN))
        if tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(data)
