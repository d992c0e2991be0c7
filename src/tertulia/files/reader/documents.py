"""Extract the text of PDF, office documents and books. XML is read without entities, zips with a size limit."""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import iterparse

from tertulia.files.reader.pictures import write_thumbnail
from tertulia.files.reader.texts import MAX_CHARACTERS, decode, text_of_html

MAX_UNPACKED = 512 * 1024 * 1024
MAX_ENTRIES = 10_000
MOST_PAGES = 2000
MAX_CELLS = 200_000
MAX_MARKED = 5000  # paragraphs of a Word document to convert to Markdown, at about 1.5 ms each


class Unreadable(Exception):
    """The file cannot be read. The message is a sentence shown to people."""


def read_document(file: Path, media_type: str, folder: Path) -> tuple[dict[str, object], str]:
    if media_type == "application/pdf":
        return _read_pdf(file, folder)
    if media_type == "application/rtf":
        return {}, _text_of_rtf(decode(file.read_bytes())[1])
    with zipfile.ZipFile(file) as archive:
        package = _Package(archive)
        if media_type.endswith("wordprocessingml.document"):
            return {}, _markdown_of_word(package)
        if media_type.endswith("spreadsheetml.sheet"):
            return _read_sheets(package)
        if media_type.endswith("presentationml.presentation"):
            return _read_slides(package)
        if media_type.startswith("application/vnd.oasis.opendocument"):
            return {}, "\n".join(_open_document(package))
        if media_type == "application/epub+zip":
            pages = [name for name in package.names if name.endswith((".xhtml", ".html", ".htm"))]
            return {}, "\n\n".join(text_of_html(decode(package.read(name))[1]) for name in pages)
    raise Unreadable("This kind of document cannot be read.")


class _Package:
    """A zip of XML. Unpacked bytes are counted, regardless of the sizes that it declares."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._left = MAX_UNPACKED
        self.names = archive.namelist()
        if len(self.names) > MAX_ENTRIES:
            raise Unreadable("It has too many parts to read.")

    def read(self, name: str) -> bytes:
        try:
            with self._archive.open(name) as part:
                content = part.read(self._left + 1)
        except KeyError:
            raise Unreadable("A required part of the document is missing.") from None
        self._left -= len(content)
        if self._left < 0:
            raise Unreadable("It is too large to read when unpacked.")
        return content

    def elements(self, name: str) -> Iterator[Element]:
        """Yield each element when it ends. The caller clears it after reading it."""
        for _, element in iterparse(io.BytesIO(self.read(name)), events=("end",), forbid_dtd=True):
            yield element

    def numbered(self, pattern: str) -> list[str]:
        """Return the names of parts that match a pattern with a number, ordered by number."""
        parts = [(int(match[1]), name) for name in self.names if (match := re.fullmatch(pattern, name))]
        return [name for _, name in sorted(parts)]


def _local(element: Element) -> str:
    return str(element.tag).rsplit("}", 1)[-1]


def _paragraphs(package: _Package, name: str) -> Iterator[str]:
    """Yield the text of each paragraph. Word and PowerPoint use the same element names."""
    pieces: list[str] = []
    total = 0
    for element in package.elements(name):
        match _local(element):
            case "t":
                pieces.append(element.text or "")
            case "tab":
                pieces.append("\t")
            case "br" | "cr":
                pieces.append("\n")
            case "p":
                line = "".join(pieces)
                pieces.clear()
                total += len(line) + 1
                yield line
                element.clear()
                if total > MAX_CHARACTERS:
                    return


def _markdown_of_word(package: _Package) -> str:
    """Convert headings, lists, tables and emphasis to Markdown, without pictures. Long documents give plain text."""
    import mammoth
    from markdownify import markdownify

    paragraphs = sum(_local(element) == "p" for element in package.elements("word/document.xml"))
    if paragraphs > MAX_MARKED:
        return "\n".join(_paragraphs(package, "word/document.xml"))
    # Pass on only parts that were counted and define no entities, under the same names.
    checked = io.BytesIO()
    with zipfile.ZipFile(checked, "w") as target:
        for name in package.names:
            if name.endswith((".xml", ".rels")):
                for element in package.elements(name):
                    element.clear()
                target.writestr(name, package.read(name))
    html = mammoth.convert_to_html(checked, convert_image=mammoth.images.img_element(lambda _: {"src": ""})).value
    text = markdownify(
        html, heading_style="ATX", bullets="-", strip=["img"], escape_underscores=False, escape_asterisks=False
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _read_slides(package: _Package) -> tuple[dict[str, object], str]:
    slides = package.numbered(r"ppt/slides/slide(\d+)\.xml")
    texts = ["\n".join(line for line in _paragraphs(package, name) if line.strip()) for name in slides]
    numbered = (f"Slide {number}\n{text}" for number, text in enumerate(texts, 1) if text)
    return {"pages": len(slides)}, "\n\n".join(numbered)


def _read_sheets(package: _Package) -> tuple[dict[str, object], str]:
    shared: list[str] = []
    if "xl/sharedStrings.xml" in package.names:
        pieces: list[str] = []
        for element in package.elements("xl/sharedStrings.xml"):
            if _local(element) == "t":
                pieces.append(element.text or "")
            elif _local(element) == "si":
                shared.append("".join(pieces))
                pieces.clear()
                element.clear()
    sheets = package.numbered(r"xl/worksheets/sheet(\d+)\.xml")
    cells_left = MAX_CELLS
    texts = []
    for number, name in enumerate(sheets, 1):
        rows: list[str] = []
        cells: list[str] = []
        value, inline = "", ""
        for element in package.elements(name):
            match _local(element):
                case "v":
                    value = element.text or ""
                case "t":
                    inline += element.text or ""
                case "c":
                    is_shared = element.get("t") == "s" and value.isdigit() and int(value) < len(shared)
                    cells.append(shared[int(value)] if is_shared else inline or value)
                    value, inline = "", ""
                    cells_left -= 1
                case "row":
                    rows.append("\t".join(cells))
                    cells.clear()
                    element.clear()
            if cells_left <= 0:
                break
        texts.append(f"Sheet {number}\n" + "\n".join(rows))
    return {"pages": len(sheets)}, "\n\n".join(texts)


def _open_document(package: _Package) -> Iterator[str]:
    for element in package.elements("content.xml"):
        if _local(element) in ("p", "h"):
            yield "".join(element.itertext())
            element.clear()


def _text_of_rtf(source: str) -> str:
    """Extract plain text, without tables of fonts and styles and without pictures. Decode escaped characters."""
    source = re.sub(r"\{\\(?:fonttbl|colortbl|stylesheet|info|pict|\*)[^{}]*(?:\{[^{}]*\}[^{}]*)*\}", " ", source)
    source = re.sub(
        r"\\'([0-9a-fA-F]{2})", lambda match: bytes([int(match[1], 16)]).decode("cp1252", "replace"), source
    )
    source = re.sub(r"\\u(-?\d+)\??", lambda match: chr(int(match[1]) % 65536), source)
    source = re.sub(r"\\(?:par|line)\b ?", "\n", source).replace("\\tab", "\t")
    source = re.sub(r"\\[a-zA-Z]+-?\d* ?", "", source)
    return re.sub(r"[{}]|\\(?=[{}\\])", "", source).strip()


def _read_pdf(file: Path, folder: Path) -> tuple[dict[str, object], str]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        locked = "password" in str(error).lower()
        raise Unreadable("It is protected with a password." if locked else "It is damaged or not a PDF.") from None
    pages = len(document)
    texts: list[str] = []
    total = 0
    for number in range(min(pages, MOST_PAGES)):
        page = document[number]
        if number == 0:
            scale = min(2.0, 640 / max(page.get_size()))
            write_thumbnail(page.render(scale=scale).to_pil(), folder)
        content = page.get_textpage().get_text_range()
        page.close()
        texts.append(content)
        total += len(content)
        if total > MAX_CHARACTERS:
            break
    text = "\n\n".join(content.replace("\r\n", "\n").strip() for content in texts)
    details: dict[str, object] = {"pages": pages}
    if not text.strip():
        details["problem"] = "It contains only pictures of text, which cannot be read."
    return details, text
