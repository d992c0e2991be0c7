"""Tests that the recipes of CONTRIBUTING.md are true: their files exist, and what they say to do is enough."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from export_providers import with_tables
from tertulia.features import Feature
from tertulia.providers.vendors import VENDORS
from tertulia.tools.protocol import OffersTools, Risk, Tool, ToolContext, ToolResult
from tertulia.transfer.one_chat import FORMATS, ChatFormat
from tests.conftest import ServerMaker
from tests.factories.accounts import PASSWORD_HASH, make_user
from tests.fakes.live_server import Client

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()


class Shout(Tool):
    name = "shout"
    description = "Return a text in capital letters."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    }
    risk = Risk.LOW

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        return ToolResult(str(arguments["text"]).upper())


def test_every_file_and_folder_that_the_guide_names_exists() -> None:
    named = set(re.findall(r"`((?:src|tests|docs|web|scripts)/[\w./-]+)`", GUIDE))
    assert len(named) > 15
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_a_tool_made_by_the_recipe_is_listed(start_server: ServerMaker, session: Any) -> None:
    recipe = GUIDE.split("### Add a tool")[1].split("###")[0]
    members = re.search(r"a class with (.+?) in the", recipe)
    assert members
    assert all(hasattr(Shout, name) for name in re.findall(r"`(\w+)`", members[1]))
    make_user(session, username="ana", name="Ana", password_hash=PASSWORD_HASH)
    session.commit()
    server = start_server(features=[Feature("shouting", (OffersTools(Shout()),))])
    with Client(server.url) as client:
        client.api("POST", "/session", json={"username": "ana", "password": "correct horse battery"}, expect=201)
        assert "shout" in [tool["name"] for tool in client.api("GET", "/tools")["items"]]


def test_every_provider_is_in_the_reference() -> None:
    reference = (ROOT / "docs/reference/providers.md").read_text()
    assert [vendor.id for vendor in VENDORS if f"| `{vendor.id}` | {vendor.display_name} |" not in reference] == []
    assert with_tables(reference) == reference, "Run `make api`."


def test_every_export_format_has_a_writer_and_is_offered_in_the_page() -> None:
    offered = (ROOT / "web/src/features/chat/components/export-dialog.tsx").read_text()
    formats = get_args(ChatFormat)
    assert set(FORMATS) == set(formats)
    assert [name for name in formats if f'format: "{name}"' not in offered] == []
