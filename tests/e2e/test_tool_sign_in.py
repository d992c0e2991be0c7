"""Test signing in to an MCP server in a browser: to the authorization server and back to the tools."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import ServerMaker
from tests.e2e.conftest import Complaints, SignedIn, accessibility_faults, say
from tests.e2e.test_drafts import PHONE
from tests.fakes.live_server import LiveServer
from tests.fakes.oauth_server import SignedServer
from tests.fakes.scripted_provider import Call, Finish, ScriptedProvider, Text

pytestmark = pytest.mark.e2e


@pytest.fixture
def bank() -> Iterator[SignedServer]:
    server = SignedServer()
    yield server
    server.close()


@pytest.fixture
def server(start_server: ServerMaker, provider: ScriptedProvider, bank: SignedServer) -> LiveServer:
    return start_server(
        openai_base_url=provider.url,
        openai_api_key="sk-of-the-operator",
        provider_connect_s=30.0,
        outbound_allow=(bank.origin,),
    )


def add_bank(page: Page, bank: SignedServer) -> None:
    page.goto("/settings/tools")
    page.get_by_role("button", name="Add a server").click()
    form = page.get_by_role("dialog", name="Add a server")
    form.get_by_label("Name").fill("bank")
    form.get_by_label("Address").fill(bank.url)
    form.get_by_role("checkbox", name="An account to try things with").click()
    form.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("bank requires you to sign in to it")).to_be_visible()


def test_signing_in_to_a_server_makes_its_tools_available(
    page: Page, bank: SignedServer, provider: ScriptedProvider, signed_in: SignedIn, complaints: Complaints
) -> None:
    complaints.expect("404")  # the bank has no favicon
    add_bank(page, bank)
    expect(page.get_by_text("Test account")).to_be_visible()
    page.get_by_role("button", name="Sign in", exact=True).click()
    dialog = page.get_by_role("dialog", name="Sign in to bank")
    expect(dialog).to_contain_text(bank.origin.removeprefix("http://"))
    assert accessibility_faults(page) == []
    dialog.get_by_role("link", name="Go to").click()
    expect(page.get_by_role("heading", name="Bank")).to_be_visible()
    phone = signed_in(**PHONE)
    phone.goto("/settings/tools")
    phone.get_by_role("button", name="Sign in", exact=True).wait_for()
    page.get_by_role("link", name="Allow").click()
    expect(page.get_by_text("You are signed in to bank.")).to_be_visible()
    expect(page).to_have_url(f"{page.url.partition('/settings')[0]}/settings/tools")
    expect(page.get_by_text("signed in at")).to_be_visible()
    expect(phone.get_by_text("signed in at")).to_be_visible()  # the other device is updated
    assert accessibility_faults(phone) == []
    page.get_by_role("button", name="2 tools").click()
    expect(page.get_by_role("list", name="Tools of bank")).to_contain_text("balance")
    # The card of a call names the account.
    page.goto("/")
    provider.play([Text("At your service."), Finish()])
    say(page, "hello")
    page.get_by_text("At your service.").wait_for()
    page.get_by_role("button", name="Tools", exact=True).click()
    with page.expect_response(lambda answer: answer.request.method == "PATCH"):
        page.get_by_role("checkbox", name="balance", exact=True).click()
    page.keyboard.press("Escape")
    provider.play([Call("bank__balance", {}), Finish("tool_calls")], [Text("A hundred."), Finish()])
    say(page, "How much is there?")
    card = page.get_by_role("article", name="Tool balance")
    expect(card).to_contain_text("Test account")
    card.get_by_role("button", name="Approve once").click()
    expect(page.get_by_text("A hundred.")).to_be_visible()
    # After the sign-in ends at the issuer, the card offers to sign in again.
    bank.issuer.end()
    provider.play([Call("bank__balance", {}), Finish("tool_calls")], [Text("I cannot look."), Finish()])
    say(page, "And now?")
    page.get_by_role("button", name="Approve once").click()
    expect(page.get_by_text("I cannot look.")).to_be_visible()
    last = page.get_by_role("article", name="Tool balance").last
    last.get_by_role("button").first.click()
    last.get_by_role("link", name="Sign in to bank").click()
    page.get_by_role("button", name="Sign in", exact=True).wait_for()


def test_a_failed_or_denied_sign_in_is_explained_and_can_be_retried(
    page: Page, bank: SignedServer, complaints: Complaints
) -> None:
    for status in ("422", "409", "404"):
        complaints.expect(status)
    add_bank(page, bank)
    bank.answers = {"/.well-known/oauth-authorization-server": (404, b"{}")}
    page.get_by_role("button", name="Sign in", exact=True).click()
    dialog = page.get_by_role("dialog", name="Sign in to bank")
    expect(dialog.get_by_role("alert")).to_contain_text("does not publish authorization server metadata")
    bank.answers = {}
    dialog.get_by_role("button", name="Try again").click()
    dialog.get_by_role("link", name="Go to").click()
    page.get_by_role("link", name="Deny").click()
    expect(page.get_by_role("alert")).to_contain_text("You declined the sign-in. You are not signed in to bank.")
    assert accessibility_faults(page) == []
    page.reload()  # the authorization answer is accepted once
    expect(page.get_by_role("alert")).to_contain_text("This sign-in has ended")
    page.get_by_role("link", name="To the tools and their servers").click()
    page.get_by_role("button", name="Sign in", exact=True).wait_for()
