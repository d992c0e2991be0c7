"""Detect the type of a file from its bytes. The name only distinguishes kinds of text and of zip. Pure functions."""

import codecs
import unicodedata
from pathlib import PurePosixPath

import filetype

from tertulia.files.errors import FileNameInvalid, FileNameTooLong, FileTypeNotAllowed
from tertulia.files.models import MAX_FILE_NAME

_VIDEO_BRANDS = (b"iso", b"mp4", b"avc1", b"M4V", b"dash", b"MSNV", b"f4v")
HEAD_BYTES = 64 * 1024  # enough of a file to detect its type
SHOWN_INLINE = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"})
_WORD = "application/vnd.openxmlformats-officedocument"
_BINARY = SHOWN_INLINE | {
    "application/pdf",
    "application/rtf",
    "application/epub+zip",
    f"{_WORD}.wordprocessingml.document",
    f"{_WORD}.spreadsheetml.sheet",
    f"{_WORD}.presentationml.presentation",
    "application/vnd.oasis.opendocument.text",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.oasis.opendocument.presentation",
    "audio/mpeg",
    "audio/mp4",
    "audio/wav",
    "audio/ogg",
    "audio/flac",
    "video/webm",
    "video/mp4",
    "application/zip",
}
# Other names that libraries use for the same type.
_SAME = {
    "audio/x-wav": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/x-m4a": "audio/mp4",
    "audio/m4a": "audio/mp4",
    "video/x-m4v": "video/mp4",
    "application/x-zip-compressed": "application/zip",
}
# Zip files whose first bytes do not always identify the content. Reading the file does.
_BY_ENDING_IN_ZIP = {
    ".docx": f"{_WORD}.wordprocessingml.document",
    ".xlsx": f"{_WORD}.spreadsheetml.sheet",
    ".pptx": f"{_WORD}.presentationml.presentation",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".epub": "application/epub+zip",
}
_TEXT_BY_ENDING = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".jsonl": "application/json",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".xml": "application/xml",
    ".html": "text/html",
    ".htm": "text/html",
    ".svg": "image/svg+xml",
}


def kind_of(head: bytes, file_name: str) -> str:
    """Return the media type of a file from its first bytes. Raises FileTypeNotAllowed for unsupported types."""
    ending = PurePosixPath(file_name).suffix.lower()
    if head.startswith(b"{\\rtf"):
        return "application/rtf"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis"):
            return "image/avif"
        if brand.startswith((b"M4A", b"M4B")):
            return "audio/mp4"
        if brand.startswith(_VIDEO_BRANDS):
            return "video/mp4"
        raise FileTypeNotAllowed(file_name, None)
    guessed: str | None = filetype.guess_mime(head)
    media_type = _SAME.get(guessed, guessed) if guessed else None
    if media_type == "application/zip" or (media_type and media_type.startswith(_WORD)):
        return _BY_ENDING_IN_ZIP.get(ending, media_type)
    if media_type in _BINARY:
        return media_type
    if media_type is None or media_type.startswith("text/") or media_type in ("application/xml", "image/svg+xml"):
        if encoding_of(head) is None:
            raise FileTypeNotAllowed(file_name, None)
        return _TEXT_BY_ENDING.get(ending, "text/plain")
    raise FileTypeNotAllowed(file_name, media_type)


def encoding_of(head: bytes) -> str | None:
    """Return the encoding of a text from its first bytes: from its BOM, UTF-8 or windows-1252. None: no text."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return encoding
    if b"\x00" in head:
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
        return "windows-1252" if controls * 100 < len(head) else None
    return "utf-8"


def safe_name(original: str) -> str:
    """Return a similar name that every system accepts. Raises FileNameTooLong, FileNameInvalid."""
    name = unicodedata.normalize("NFC", original.replace("\\", "/").rsplit("/", 1)[-1])
    name = "".join(letter for letter in name if unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    name = "".join("_" if letter in '<>:"|?*' else letter for letter in name).strip(" .")
    if not name:
        raise FileNameInvalid
    if len(name) > MAX_FILE_NAME:
        raise FileNameTooLong(len(name), MAX_FILE_NAME)
    return name
