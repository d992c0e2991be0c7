"""Convert Markdown to a Word document: `python -m tertulia.transfer.word MARKDOWN DOCX TITLE`.

Runs as a separate process, because a long text occupies a core. Headings, lists, quotes, tables and links use Word's.
"""

import re
import resource
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from docx import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.text.paragraph import Paragraph
from docx.text.run import Run
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode

LINKED = ("http", "https", "mailto")
DEEPEST = 3  # list levels that Word's default template has styles for
MONOSPACE = "Consolas"
MEMORY_BYTES = 1024 * 1024 * 1024
CPU_S = 40
_UNSTORABLE = re.compile("[\x00-\x08\x0a-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Dress:
    """The formatting of text."""

    is_bold: bool = False
    is_italic: bool = False
    is_struck: bool = False
    is_code: bool = False


class Writer:
    def __init__(self, title: str) -> None:
        self.document: Any = Document()
        self.document.core_properties.title = _storable(title)

    def blocks(self, nodes: list[SyntaxTreeNode], *, style: str | None = None, level: int = 0) -> None:
        for node in nodes:
            match node.type:
                case "heading":
                    self._words(self.document.add_heading(level=int(node.tag[1:])), node)
                case "paragraph":
                    self._words(self.document.add_paragraph(style=style), node)
                case "bullet_list" | "ordered_list":
                    self._list(node, level + 1)
                case "blockquote":
                    self.blocks(node.children, style="Quote", level=level)
                case "fence" | "code_block":
                    self._code(node.content)
                case "table":
                    self._table(node)
                case "hr":
                    self.document.add_paragraph("* * *")
                case _:
                    self.document.add_paragraph(node.content, style=style)

    def _list(self, node: SyntaxTreeNode, level: int) -> None:
        name = "List Bullet" if node.type == "bullet_list" else "List Number"
        at = min(level, DEEPEST)
        style = name if at == 1 else f"{name} {at}"
        numbers = self._numbers_from(style, int(node.attrs.get("start", 1))) if name == "List Number" else None
        for item in node.children:
            rest = list(item.children)
            paragraph = self.document.add_paragraph(style=style)
            if numbers is not None:
                _set_numbers(paragraph, numbers)
            if rest and rest[0].type == "paragraph":
                self._words(paragraph, rest.pop(0))
            self.blocks(rest, style="List Continue" if at == 1 else f"List Continue {at}", level=level)

    def _numbers_from(self, style: str, start: int) -> int:
        """Add a separate numbering for a list. Otherwise Word continues the list before it."""
        numbering = self.document.part.numbering_part.numbering_definitions._numbering
        of_style = self.document.styles[style].element.pPr.numPr.numId.val
        instance = numbering.add_num(numbering.num_having_numId(of_style).abstractNumId.val)
        instance.add_lvlOverride(ilvl=0).add_startOverride(start)
        return int(instance.numId)

    def _code(self, content: str) -> None:
        paragraph = self.document.add_paragraph()
        for number, line in enumerate(content.rstrip("\n").split("\n")):
            run = paragraph.add_run()
            if number:
                run.add_break()
            run.add_text(_storable(line))
            run.font.name = MONOSPACE

    def _table(self, node: SyntaxTreeNode) -> None:
        rows = [row for part in node.children for row in part.children]
        table = self.document.add_table(rows=len(rows), cols=len(rows[0].children))
        table.style = "Table Grid"
        for row, word_row in zip(rows, table.rows, strict=True):
            for cell, word_cell in zip(row.children, word_row.cells, strict=False):
                self._words(word_cell.paragraphs[0], cell, Dress(is_bold=cell.type == "th"))

    def _words(self, paragraph: Paragraph, node: SyntaxTreeNode, dress: Dress | None = None) -> None:
        for child in node.children:
            if child.type == "inline":
                self._inline(paragraph, child.children, dress or Dress())

    def _inline(self, paragraph: Paragraph, nodes: list[SyntaxTreeNode], dress: Dress) -> None:
        for node in nodes:
            match node.type:
                case "text":
                    _run(paragraph, node.content, dress)
                case "softbreak":
                    _run(paragraph, " ", dress)
                case "hardbreak":
                    paragraph.add_run().add_break()
                case "code_inline":
                    _run(paragraph, node.content, replace(dress, is_code=True))
                case "strong":
                    self._inline(paragraph, node.children, replace(dress, is_bold=True))
                case "em":
                    self._inline(paragraph, node.children, replace(dress, is_italic=True))
                case "s":
                    self._inline(paragraph, node.children, replace(dress, is_struck=True))
                case "link":
                    before = len(paragraph.runs)
                    self._inline(paragraph, node.children, dress)
                    _link(paragraph, paragraph.runs[before:], str(node.attrs.get("href", "")))
                case "image":
                    _run(paragraph, node.content or "Picture", replace(dress, is_italic=True))
                case _:
                    _run(paragraph, node.content, dress)


def _run(paragraph: Paragraph, words: str, dress: Dress) -> None:
    run = paragraph.add_run(_storable(words))
    run.bold, run.italic, run.font.strike = dress.is_bold or None, dress.is_italic or None, dress.is_struck or None
    if dress.is_code:
        run.font.name = MONOSPACE


def _storable(words: str) -> str:
    """Remove what XML cannot represent: control characters, lone surrogates, U+FFFE and U+FFFF."""
    return _UNSTORABLE.sub("", words)


def _link(paragraph: Paragraph, runs: list[Run], address: str) -> None:
    if urlsplit(address).scheme not in LINKED or not runs:
        return
    link = OxmlElement("w:hyperlink")
    link.set(qn("r:id"), paragraph.part.relate_to(address, RELATIONSHIP_TYPE.HYPERLINK, is_external=True))
    runs[0]._r.addprevious(link)
    for run in runs:
        run.font.underline = True
        link.append(run._r)


def _set_numbers(paragraph: Any, numbers: int) -> None:
    properties = paragraph._p.get_or_add_pPr().get_or_add_numPr()
    properties.get_or_add_numId().val = numbers
    properties.get_or_add_ilvl().val = 0


def write_word(text: str, file: Path, title: str) -> None:
    tokens: list[Token] = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).parse(text)
    writer = Writer(title)
    writer.blocks(SyntaxTreeNode(tokens).children)
    writer.document.save(str(file))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    write_word(Path(sys.argv[1]).read_text(encoding="utf-8"), Path(sys.argv[2]), sys.argv[3])
