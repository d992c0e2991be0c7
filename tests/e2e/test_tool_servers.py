"""Test MCP servers in a browser: adding, tools, input requests, changed descriptions, outages, removal."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import ServerMaker
from tests.e2e.conftest import Complaints, SignedIn, accessibility_faults, say
from tests.e2e.test_drafts import PHONE
from tests.fakes.live_server import LiveServer
from tests.fakes.mcp_servers import ChangingServer
from tests.fakes.scripted_provider import Call, Finish, ScriptedProvider, Text

pytestmark = pytest.mark.e2e


@pytest.fixture
def changing() -> Iterator[ChangingServer]:
    server = ChangingServer()
    yield server
    server.close()


@pytest.fixture
def server(start_server: ServerMaker, provider: ScriptedProvider, changing: ChangingServer) -> LiveServer:
    return start_server(
        openai_base_url=provider.url,
        openai_api_key="sk-of-the-operator",
        provider_connect_s=30.0,
        outbound_allow=(changing.origin,),
    )


def test_a_server_is_added_called_asks_for_input_changes_and_is_removed(
    page: Page, signed_in: SignedIn, provider: ScriptedProvider, changing: ChangingServer, complaints: Complaints
) -> None:
    complaints.expect("422")
    page.goto("/settings/tools")
    page.get_by_role("button", name="Add a server").click()
    dialog = page.get_by_role("dialog", name="Add a server")
    dialog.get_by_label("Name").fill("rooms")
    dialog.get_by_label("Address").fill("https://ana:secret@rooms.example/mcp")
    dialog.get_by_role("button", name="Add a header").click()
    dialog.get_by_label("Value").fill("Bearer of-ana")
    assert accessibility_faults(page) == []
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("Put credentials into a header")
    expect(dialog.get_by_label("Value")).to_have_value("Bearer of-ana")  # typed values are kept
    dialog.get_by_label("Address").fill(changing.url)
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="4 tools").click()
    expect(page.get_by_role("list", name="Tools of rooms")).to_contain_text("Book a room.")
    expect(page.get_by_text("sends Authorization")).to_be_visible()
    assert accessibility_faults(page) == []
    assert {headers.get("authorization") for headers in changing.headers} == {"Bearer of-ana"}

    page.goto("/")
    provider.play([Text("At your service."), Finish()])
    say(page, "hello")
    page.get_by_text("At your service.").wait_for()
    page.get_by_role("button", name="Tools", exact=True).click()
    with page.expect_response(lambda answer: answer.request.method == "PATCH"):
        page.get_by_role("region", name="Tools of rooms").get_by_role("button", name="All of them").click()
    page.keyboard.press("Escape")
    provider.play([Call("rooms__book", {}), Finish("tool_calls")], [Text("It is booked."), Finish()])
    say(page, "Book me a room")
    card = page.get_by_role("article", name="Tool book")
    expect(card).to_contain_text("from rooms")
    card.get_by_role("button", name="Approve once").click()
    expect(card).to_contain_text("Asks you something")

    phone = signed_in(**PHONE)  # the request is answered on another device
    phone.goto("/approvals")
    there = phone.get_by_role("article", name="Tool book")
    expect(there).to_contain_text("Where to, and for how long?")
    there.get_by_label("City").fill("Lima")
    there.get_by_role("button", name="Send").click()  # the browser refuses: the number is missing
    there.get_by_label("Nights").fill("3")
    assert accessibility_faults(phone) == []
    there.get_by_role("button", name="Send").click()
    expect(page.get_by_text("It is booked.")).to_be_visible()
    expect(phone.get_by_text("Nothing waits for you")).to_be_visible()
    card.get_by_role("button").first.click()
    expect(card).to_contain_text("3 nights in Lima")

    changing.describe("Say a text again, to everybody.")
    phone.goto("/settings/tools")
    phone.get_by_role("button", name="Look again").click()
    expect(phone.get_by_text("1 tool changed")).to_be_visible()
    provider.play([Call("rooms__say", {"text": "hi"}), Finish("tool_calls")], [Text("It is said."), Finish()])
    say(page, "Say hi")
    card = page.get_by_role("article", name="Tool say")
    expect(card).to_contain_text(re.compile("Until now.*Say a text again\\..*says now.*to everybody", re.S))
    assert accessibility_faults(page) == []
    card.get_by_role("button", name="Approve once").click()
    expect(page.get_by_text("It is said.")).to_be_visible()
    expect(phone.get_by_text("1 tool changed")).to_be_hidden()

    changing.is_away = True
    phone.get_by_role("button", name="Look again").click()
    expect(phone.get_by_text("rooms responded with status 503.")).to_be_visible()
    assert accessibility_faults(phone) == []
    phone.get_by_role("button", name="What to do with rooms").click()
    phone.get_by_role("menuitem", name="Remove").click()
    expect(phone.get_by_text("None yet. With a server's address")).to_be_visible()
