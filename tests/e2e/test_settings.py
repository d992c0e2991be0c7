"""Test the settings in a browser: providers, usage, devices, tokens, people, chat parameters."""

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from tertulia import clock
from tertulia.accounts.models import Session as SignIn
from tertulia.accounts.models import User, UserRole
from tertulia.db.opening import plain_engine
from tests.conftest import ServerMaker
from tests.e2e.conftest import Complaints, SignedIn, accessibility_faults, say
from tests.fakes.live_server import LiveServer
from tests.fakes.scripted_provider import Finish, Hold, ScriptedProvider, Step, Text

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def server(start_server: ServerMaker, provider: ScriptedProvider) -> LiveServer:
    provider.models = ["gpt-4o", "gpt-4o-mini"]
    origin = provider.url.removesuffix("/v1")
    return start_server(openai_base_url=provider.url, openai_api_key="sk-x", outbound_allow=(origin,))


def add_provider(page: Page, provider: ScriptedProvider, vendor: str = "OpenAI") -> None:
    page.goto("/settings/providers")
    page.get_by_role("button", name="Add a provider").click()
    if vendor != "OpenAI":
        page.get_by_label("Provider", exact=True).click()
        page.get_by_role("option", name=vendor).click()
    page.get_by_label("Key").first.fill("sk-of-ana-0123456789")
    page.get_by_label("Address").fill(provider.url)
    page.get_by_role("button", name="Add", exact=True).click()


def test_a_provider_is_added_tested_and_used(page: Page, provider: ScriptedProvider) -> None:
    add_provider(page, provider, "Mistral")
    expect(page.get_by_text("It works. 2 models.")).to_be_visible()
    expect(page.get_by_text("For new chats")).to_be_visible()
    expect(page.get_by_text("sk-of-ana-0123456789")).to_have_count(0)
    page.goto("/")
    say(page, "Good evening")
    expect(page.get_by_text("You said: Good evening")).to_be_visible()
    assert provider.requests[-1]["_authorization"] == "Bearer sk-of-ana-0123456789"
    assert accessibility_faults(page) == []


def test_provider_errors_are_shown_and_typed_values_are_kept(
    page: Page, provider: ScriptedProvider, complaints: Complaints
) -> None:
    page.goto("/settings/providers")
    page.get_by_role("button", name="Add a provider").click()
    page.get_by_label("Address").fill("ftp://example.org")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("An address must begin with https://")).to_be_visible()
    expect(page.get_by_label("Address")).to_have_value("ftp://example.org")
    page.get_by_label("Key").first.fill("sk-of-ana-0123456789")
    page.get_by_label("Address").fill("http://127.0.0.1:9/v1")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("is inside the server's own network")).to_be_visible()
    complaints.expect("422")


def test_usage_is_shown_by_day_model_and_chat(page: Page, provider: ScriptedProvider) -> None:
    provider.play([Text("Hi"), Finish("stop", 1000, 200)])
    say(page, "What does it cost?")
    expect(page.get_by_text("Hi", exact=True)).to_be_visible()
    page.get_by_role("article", name="Reply").hover()
    expect(page.get_by_text(re.compile(r"1,200 tokens · \$0\.0045"))).to_have_count(2)  # for the reply and for the chat
    page.goto("/settings/usage")
    expect(page.get_by_role("rowheader", name="gpt-4o · openai")).to_be_visible()
    expect(page.get_by_role("link", name="What does it cost?").last).to_be_visible()
    expect(page.locator(".recharts-bar-rectangle path").last).to_be_visible()
    page.get_by_text("The days as a table").click()
    assert accessibility_faults(page) == []


def test_changing_the_password_signs_out_other_devices(signed_in: SignedIn) -> None:
    laptop, phone = signed_in(), signed_in(**PHONE)
    laptop.goto("/settings/security")
    expect(laptop.get_by_text("This device")).to_be_visible()
    expect(laptop.get_by_role("button", name="Sign out")).to_have_count(1)
    laptop.get_by_label("Current password").fill("correct horse battery")
    laptop.get_by_label("New password").fill("staple of another kind")
    laptop.get_by_role("button", name="Change password").click()
    expect(laptop.get_by_text("Your other devices are signed out.")).to_be_visible()
    expect(phone.get_by_role("button", name="Sign in")).to_be_visible()
    expect(laptop.get_by_role("button", name="Sign out")).to_have_count(0)


def test_creating_a_token_asks_for_the_password_and_shows_the_token(
    page: Page, server: LiveServer, complaints: Complaints
) -> None:
    engine = plain_engine(server.settings)
    with engine.begin() as connection:
        connection.execute(sa.update(SignIn).values(started_at=clock.now() - timedelta(hours=1)))
    engine.dispose()
    page.goto("/settings/security")
    page.get_by_role("button", name="New token").click()
    page.get_by_label("What it is for").fill("Backup script")
    page.get_by_role("button", name="Make token").click()
    dialog = page.get_by_role("dialog", name="Enter your password")
    dialog.get_by_label("Password").fill("wrong wrong wrong")
    dialog.get_by_role("button", name="Go on").click()
    expect(dialog.get_by_text("The password is wrong. Try again.")).to_be_visible()
    dialog.get_by_label("Password").fill("correct horse battery")
    dialog.get_by_role("button", name="Go on").click()
    expect(page.get_by_text(re.compile("^tta_.{20}"))).to_be_visible()
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_text("Backup script")).to_be_visible()
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("No tokens yet.")).to_be_visible()
    complaints.expect("403", "422")


def test_an_administrator_adds_and_deactivates_people(page: Page, server: LiveServer) -> None:
    engine = plain_engine(server.settings)
    with engine.begin() as connection:
        connection.execute(sa.update(User).values(role=UserRole.ADMIN))
    engine.dispose()
    page.goto("/settings/people")
    page.get_by_role("button", name="Add a person").click()
    page.get_by_label("User name").fill("bob")
    page.get_by_label("Name", exact=True).fill("Bob")
    page.get_by_label("Password").fill("another long password")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("Bob can sign in now.")).to_be_visible()
    page.get_by_role("button", name="What to do with Bob").click()
    page.get_by_role("menuitem", name="Deactivate").click()
    expect(page.get_by_text("Deactivated", exact=True)).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Deactivated", exact=True)).to_have_count(0)
    assert accessibility_faults(page) == []


@pytest.mark.parametrize("part", ["providers", "usage", "security"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_settings_page_is_accessible_and_fits_a_phone(signed_in: SignedIn, part: str, scheme: str) -> None:
    page = signed_in(**PHONE, color_scheme=scheme)
    page.goto(f"/settings/{part}")
    expect(page.get_by_role("heading", level=2).first).to_be_visible()
    assert accessibility_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_chat_parameters_are_sent_to_the_provider(page: Page, provider: ScriptedProvider) -> None:
    say(page, "One")
    expect(page.get_by_text("You said: One")).to_be_visible()
    page.get_by_role("button", name="Chat settings").click()
    for label, value in (
        ("Temperature", "0.3"),
        ("Top p", "0.9"),
        ("Frequency penalty", "0.5"),
        ("Presence penalty", "-0.5"),
    ):
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Top p")).to_have_count(0)
    say(page, "Two")
    expect(page.get_by_text("You said: Two")).to_be_visible()
    sent = provider.requests[-1]
    assert (sent["temperature"], sent["top_p"], sent["frequency_penalty"], sent["presence_penalty"]) == (
        0.3,
        0.9,
        0.5,
        -0.5,
    )


def test_a_queued_reply_says_that_it_waits(page: Page, provider: ScriptedProvider) -> None:
    held: list[Step] = [Text("held"), Hold(), Finish()]
    provider.play(*[held] * 4)
    for number in range(5):
        page.goto("/")
        say(page, f"Number {number}")
        page.wait_for_url(re.compile("/c/"))
    expect(page.get_by_text("Waits for its turn")).to_be_visible()
    provider.release()
    expect(page.get_by_text("You said: Number 4")).to_be_visible()
