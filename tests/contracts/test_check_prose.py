"""Tests of the wording check itself: it must find each kind of problem, and accept plain text."""

import subprocess
import sys
from pathlib import Path

import pytest

from check_prose import check_markdown, check_python, check_subject, check_typescript

SCRIPT = Path(__file__).parents[2] / "scripts/check_prose.py"


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ('"""Return the rows, whoever asks."""\n', 1),
        ("import os\n\nx = os.name  # nobody reads this\n", 3),
        ('MESSAGE = """Your chats\nwill stand here."""\n', 2),
        ('import os\n\n\ndef f() -> None:\n    """What a step sends."""\n', 4),
        ('async def f() -> None:\n    """Those of a run."""\n', 1),
        ("rows = []\nfor one in rows:\n    print(one)\n", 2),
        ("\nfound = 1\n", 2),
        ("def f(\n    given: int,\n) -> None: ...\n", 2),
    ],
)
def test_python_with_a_problem_is_reported_with_its_line(source: str, line: int) -> None:
    assert [number for number, _ in check_python(source)] == [line]


def test_plain_python_is_accepted() -> None:
    source = '"""Read rows."""\n\n\ndef f(row: int) -> int:\n    """Return the row."""\n    return row  # stand-alone\n'
    assert list(check_python(source)) == []


def test_a_sentence_of_30_words_is_accepted_and_one_of_31_is_reported() -> None:
    assert list(check_markdown(" ".join(["word"] * 30) + ".\n")) == []
    assert len(list(check_markdown(" ".join(["word"] * 31) + ".\n"))) == 1


def test_code_blocks_tables_and_headings_are_not_sentences() -> None:
    words = " ".join(["word"] * 40)
    assert list(check_markdown(f"# {words}\n\n```\n{words}\n```\n\n| {words} |\n")) == []


def test_each_missing_section_of_a_decision_record_is_reported() -> None:
    source = "# 1. Title\n\n## Status\n\n## Context\n\n## Decision\n\n## Consequences\n\n## Check\n"
    assert [problem for _, problem in check_markdown(source)] == ["no section 'Alternatives'"]


@pytest.mark.parametrize(
    "source",
    ["const a = 1;\n// whoever reads\n", "/**\n * For nobody.\n */\n", "\n<p>{/* stands here */}</p>\n"],
)
def test_a_comment_of_the_web_with_a_problem_is_reported_with_its_line(source: str) -> None:
    assert [number for number, _ in check_typescript(source)] == [2]


def test_text_of_the_web_outside_comments_is_not_reported() -> None:
    assert (
        list(check_typescript('const words = "Nobody is here"; // empty\nconst url = "https://nobody.example";\n'))
        == []
    )


@pytest.mark.parametrize(
    ("subject", "is_accepted"),
    [
        ("chat: " + "A" * 66, True),
        ("chat: " + "A" * 67, False),
        ("chat: lower case", False),
        ("Chats: Upper area", False),
        ("no area", False),
        ('Revert "chat: Add branches"', True),
    ],
)
def test_commit_subjects_have_an_area_and_at_most_72_characters(subject: str, is_accepted: bool) -> None:
    assert (list(check_subject(subject)) == []) is is_accepted


def test_the_commit_check_refuses_a_long_subject(tmp_path: Path) -> None:
    message = tmp_path / "message"
    message.write_text("chat: " + "A" * 67 + "\n\nThe reason.\n")
    refused = subprocess.run([sys.executable, SCRIPT, "--commit", message], capture_output=True, text=True)
    assert (refused.returncode, "at most 72 characters" in refused.stderr) == (1, True)
    message.write_text("chat: Add branches\n\nThe reason.\n")
    assert subprocess.run([sys.executable, SCRIPT, "--commit", message]).returncode == 0
