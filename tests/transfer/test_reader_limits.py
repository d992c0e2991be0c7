"""Test that reading an export ends early if it holds nothing, or more than one import may bring."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tertulia.transfer.found import FoundLine
from tertulia.transfer.reader.__main__ import MAX_ITEMS, MAX_UNUSABLE, Unreadable, read_export

EMPTY_CHAT = '{"mapping":{}}'


def chat(number: int) -> str:
    message = {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["Hello"]}}
    node: dict[str, object] = {"id": "a", "message": message | {"id": "a"}, "parent": None, "children": []}
    return json.dumps({"id": str(number), "title": "A chat", "mapping": {"a": node}, "current_node": "a"})


def read(tmp_path: Path, entries: Callable[[], str], *, max_items: int = MAX_ITEMS) -> tuple[list[FoundLine], str]:
    """Read a file, and return the lines and the sentence with which reading stopped, if it did."""
    path = tmp_path / "conversations.json"
    path.write_text(entries())
    lines: list[FoundLine] = []
    try:
        lines.extend(read_export(path, tmp_path, max_items=max_items))
    except Unreadable as error:
        return lines, str(error)
    return lines, ""


@pytest.mark.parametrize("entry", ["{}", "null", "[]", "0", EMPTY_CHAT])
def test_millions_of_empty_entries_end_early(tmp_path: Path, entry: str) -> None:
    _, problem = read(tmp_path, lambda: "[" + ",".join([entry] * 2_000_000) + "]")
    assert problem == "Reading stopped: 1,001 of the first 1,002 entries are empty or unknown."


def test_a_few_empty_entries_cost_only_themselves(tmp_path: Path) -> None:
    entries = [EMPTY_CHAT] * MAX_UNUSABLE + [chat(number) for number in range(3)]
    lines, problem = read(tmp_path, lambda: "[" + ",".join(entries) + "]")
    assert problem == ""
    assert len([line for line in lines if line.chat and line.chat.messages]) == 3


@pytest.mark.parametrize("more", [0, 1])
def test_a_file_has_at_most_100000_chats(tmp_path: Path, more: int) -> None:
    """Read with a limit of 50, because reading 100,000 chats takes a minute."""
    assert MAX_ITEMS == 100_000
    lines, problem = read(
        tmp_path, lambda: "[" + ",".join(chat(number) for number in range(50 + more)) + "]", max_items=50
    )
    assert len(lines) == 50
    assert ("more than 50 entries" in problem) is bool(more)
