"""Tests for exporting drafts to files and importing files as drafts."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tertulia.drafts.models import MAX_CONTENT
from tertulia.files.reader.documents import MAX_MARKED, read_document
from tertulia.transfer.one_draft import WORD
from tertulia.transfer.pages import rendered
from tertulia.transfer.word import write_word
from tests.fakes.live_server import Client

TEXT = """# Bread

Some **bold**, *italic*, `code`, ~~gone~~ and a [link](https://example.com/?a=1).

1. one
2. two

Between.

5. five

> A quote

| a | b |
| --- | --- |
| 1 | 2 |

```python
x = 1
```

<script>alert(1)</script> ![picture](https://example.com/p.png) [bad](javascript:alert(1))
"""


def draft_of(client: Client, content: str = TEXT, title: str = "Bread: a / history") -> str:
    return str(client.api("POST", "/drafts", json={"title": title, "content": content}, expect=201)["id"])


def upload(client: Client, name: str, content: bytes, *, expect: int = 201) -> Any:
    return client.api("POST", "/draft-imports", files={"file": (name, content)}, expect=expect)


def test_a_draft_is_exported_as_markdown_html_and_word(ana: Client) -> None:
    draft = draft_of(ana)
    plain = ana.get(f"/drafts/{draft}/export")
    assert (plain.text, "Bread%20a%20history.md" in plain.headers["content-disposition"]) == (TEXT, True)
    page = ana.get(f"/drafts/{draft}/export?format=html").text
    assert "<strong>bold</strong>" in page
    assert "<h1>Bread: a / history</h1>" in page
    for hostile in ("<script", "<img", 'href="javascript'):
        assert hostile not in page
    word = ana.get(f"/drafts/{draft}/export?format=docx")
    assert (word.status_code, word.headers["content-type"]) == (200, WORD)
    again = upload(ana, "Again.docx", word.content)
    assert again["title"] == "Again"
    content = again["current_version"]["content"]
    for passage in (
        "# Bread",
        "**bold**, *italic*, code, ~~gone~~ and a [link](https://example.com/?a=1)",
        "1. one\n2. two",
        "A quote",
        "| 1 | 2 |",
        "x = 1",
        "<script>alert(1)</script>",  # plain text in Word
    ):
        assert passage in content
    assert "javascript:" not in word.text


def test_control_characters_do_not_break_the_word_export(ana: Client) -> None:
    draft = draft_of(ana, "a\x1b[1mb \ufffe\uffff\n\n```\n\x1b[0m\n```\n", title="T\x01")
    assert ana.get(f"/drafts/{draft}/export?format=docx").status_code == 200


def test_exported_pages_link_only_to_safe_addresses() -> None:
    lead = rendered("[a](https://a.example) [b](mailto:a@b.c) [c](#there)")
    assert lead.count('rel="noopener noreferrer nofollow"') == 3
    for address in ("search-ms:x", "vscode:x", "tel:1", "data:image/png;base64,AA", "//host/x", "javascript:x"):
        assert "<a" not in rendered(f"[a]({address})")


def test_only_checked_parts_of_a_word_document_are_read(tmp_path: Path) -> None:
    write_word("words", tmp_path / "good.docx", "T")
    bad = tmp_path / "bad.docx"
    with zipfile.ZipFile(tmp_path / "good.docx") as good, zipfile.ZipFile(bad, "w") as archive:
        for name in good.namelist():
            content = good.read(name)
            if name == "_rels/.rels":
                content = content.replace(b"word/document.xml", b"word/document.bin")
            archive.writestr(name, content)
        archive.writestr("word/document.bin", b'<?xml version="1.0"?><!DOCTYPE w [<!ENTITY a "aaaa">]><w>&a;</w>')
    assert read_document(bad, WORD, tmp_path)[1] == "words"


def test_a_long_word_document_is_read_as_plain_text(tmp_path: Path) -> None:
    write_word("# Title\n\n" + "word\n\n" * (MAX_MARKED + 1), tmp_path / "long.docx", "T")
    text = read_document(tmp_path / "long.docx", WORD, tmp_path)[1]
    assert text.startswith("Title\nword\n")


def test_rich_text_has_both_markdown_and_html(ana: Client) -> None:
    rich = ana.api("GET", f"/drafts/{draft_of(ana)}/rich-text")
    assert rich["content"] == TEXT
    assert "<h1>Bread</h1>" in rich["html"]
    assert "<script" not in rich["html"]


def test_importing_a_text_keeps_every_character(ana: Client) -> None:
    draft = upload(ana, "Grüße.md", "# Grüße 🍞\n\n日本語\n".encode())
    assert (draft["title"], draft["current_version"]["content"]) == ("Grüße", "# Grüße 🍞\n\n日本語\n")
    assert draft["current_version"]["generation_source"] == "user"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.docx", b"PK\x03\x04 not a zip at all", "file_not_readable"),
        ("a.txt", b"   ", "file_not_readable"),
        ("a.txt", b"", "file_empty"),
        ("a.exe", b"MZ\x90\x00" + b"\x00" * 100, "file_type_not_allowed"),
        ("a.txt", b"a" * (MAX_CONTENT + 1), "draft_too_long"),
    ],
)
def test_an_unusable_import_is_refused_and_creates_nothing(ana: Client, name: str, content: bytes, code: str) -> None:
    refused = upload(ana, name, content, expect=415 if code == "file_type_not_allowed" else 422)
    assert refused["code"] == code
    assert ana.api("GET", "/drafts")["items"] == []


def test_a_text_at_the_length_limit_is_imported(ana: Client) -> None:
    assert upload(ana, "a.txt", b"a" * MAX_CONTENT)["length"] == MAX_CONTENT


def test_a_word_document_that_defines_entities_is_refused(tmp_path: Path) -> None:
    write_word("words", tmp_path / "good.docx", "T")
    bad = tmp_path / "bad.docx"
    with zipfile.ZipFile(tmp_path / "good.docx") as good, zipfile.ZipFile(bad, "w") as archive:
        for name in good.namelist():
            content = good.read(name)
            if name == "word/document.xml":
                content = content.replace(b"?>", b'?><!DOCTYPE w [<!ENTITY a "aaaa">]>', 1)
            archive.writestr(name, content)
    with pytest.raises(Exception, match=r"(?i)dtd"):
        read_document(bad, WORD, tmp_path)
    assert read_document(tmp_path / "good.docx", WORD, tmp_path)[1] == "words"


def test_each_numbered_list_has_its_own_start(tmp_path: Path) -> None:
    write_word("1. a\n2. b\n\ntext\n\n1. c\n\ntext\n\n7. d\n", tmp_path / "a.docx", "T")
    with zipfile.ZipFile(io.BytesIO((tmp_path / "a.docx").read_bytes())) as archive:
        numbering = archive.read("word/numbering.xml").decode()
    assert [f'w:startOverride w:val="{start}"' in numbering for start in (1, 7)] == [True, True]
    assert numbering.count("w:startOverride") == 3
