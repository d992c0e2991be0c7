"""Test that the example tool of the guide works as an installed package."""

import asyncio
import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from tertulia.tools import tool_set as offered
from tertulia.tools.tool_set import ToolSet, check_tools, installed_tools
from tertulia.tools.validation import check_arguments

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "tools.md"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Write the guide's module to an importable folder and return the entry point that the guide declares."""
    text = GUIDE.read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    declared = re.search(r'entry-points\."(.*?)"\]\n(\w+) = "(.*?)"', text)
    assert code is not None
    assert declared is not None
    (tmp_path / "dice.py").write_text(code[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    return [EntryPoint(declared[2], declared[3], declared[1])]


def test_the_example_tool_of_the_guide_is_offered_and_works(
    example: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = EntryPoint("broken", "nowhere:Tool", example[0].group)
    entries: list[Any] = [broken, *example]
    monkeypatch.setattr(offered, "entry_points", lambda group: [entry for entry in entries if entry.group == group])
    (tool,) = installed_tools()  # one that does not load takes no other with it
    (entry,) = ToolSet(check_tools([tool])).chosen(["roll_dice", "gone"])
    check_arguments(entry.tool.parameters, {"count": 3})
    rolled = asyncio.run(entry.tool.call({"count": 3}, None))  # type: ignore[arg-type]
    assert len(rolled.content) == 3
    assert all(1 <= shown <= 6 for shown in rolled.content)
