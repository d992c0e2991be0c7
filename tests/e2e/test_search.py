"""Test search in a browser: results while typing, and opening a result at its message and branch."""

import re

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import SignedIn, accessibility_faults, say
from tests.fakes.scripted_provider import Finish, ScriptedProvider, Text

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}


@pytest.mark.e2e
@pytest.mark.parametrize("size", [{}, PHONE], ids=["wide", "phone-dark"])
def test_a_result_opens_at_its_message_in_its_branch(
    signed_in: SignedIn, provider: ScriptedProvider, size: dict[str, object]
) -> None:
    page = signed_in(**size)
    provider.play([Text("The hidden needle."), Finish()], [Text("Another answer."), Finish()])
    say(page, "One question")
    expect(page.get_by_text("The hidden needle.")).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    row = page.get_by_role("article").filter(has_text="The hidden needle.")
    row.hover()
    row.get_by_role("button", name="Write another reply").click()
    expect(page.get_by_text("Another answer.")).to_be_visible()
    page.keyboard.press("Control+Shift+f")
    box = page.get_by_label("Search in everything that was said")
    expect(box).to_be_focused()
    assert accessibility_faults(page) == []
    box.press_sequentially("needl")
    hit = page.get_by_role("list", name="Found").get_by_role("link")
    expect(hit).to_have_count(1)
    expect(hit.locator("mark")).to_have_text("needle")
    expect(page).to_have_url(re.compile(r"/search\?q=needl$"))
    assert accessibility_faults(page) == []
    hit.click()
    expect(page.get_by_text("The hidden needle.")).to_be_in_viewport()
    expect(page.get_by_text("Another answer.")).to_be_hidden()
    page.go_back()
    expect(box).to_have_value("needl")
    box.fill("nothing of this")
    expect(page.get_by_text("Nothing was found for “nothing of this”.")).to_be_visible()


@pytest.mark.e2e
def test_a_result_far_back_in_a_chat_is_loaded_and_shown(signed_in: SignedIn, provider: ScriptedProvider) -> None:
    page = signed_in()
    provider.default = [Text("Aye."), Finish()]
    say(page, "The very first needle")
    expect(page.get_by_text("Aye.")).to_be_visible()
    chat_id = page.url.rsplit("/", 1)[1]
    sent = page.evaluate(
        """async (chatId) => {
            for (let number = 0; number < 120; number++)
                await fetch(`/api/v1/chats/${chatId}/messages`, {
                    method: "POST",
                    headers: {"Content-Type": "application/json", "X-Tertulia": "1"},
                    body: JSON.stringify({content: `message ${number}`, reply: false}),
                });
            return true;
        }""",
        chat_id,
    )
    assert sent
    page.goto("/search?q=first+needle")
    hits = page.get_by_role("list", name="Found").get_by_role("link")
    hits.filter(has_text="A person").click()
    expect(page.get_by_role("article").filter(has_text="The very first needle")).to_be_in_viewport()


@pytest.mark.e2e
def test_pages_chats_and_shortcuts_are_reached_from_the_keyboard(
    signed_in: SignedIn, provider: ScriptedProvider
) -> None:
    page = signed_in()
    provider.default = [Text("Aye."), Finish()]
    say(page, "About sourdough")
    expect(page.get_by_text("Aye.")).to_be_visible()
    address = page.url
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Go to a chat, a page or an action").fill("usag")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/settings/usage$"))
    page.keyboard.press("Control+k")
    box = page.get_by_role("combobox", name="Go to a chat, a page or an action")
    box.fill("sourd")
    expect(page.get_by_role("option", name="About sourdough")).to_be_visible()
    assert accessibility_faults(page) == []
    page.keyboard.press("Enter")
    expect(page).to_have_url(address)
    page.locator("main h1").click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Shortcuts")).to_be_visible()
    assert accessibility_faults(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Shortcuts")).to_be_hidden()


@pytest.mark.e2e
def test_a_pinned_chat_is_listed_under_pinned_in_every_window(signed_in: SignedIn, provider: ScriptedProvider) -> None:
    page, other = signed_in(), signed_in()
    provider.default = [Text("Aye."), Finish()]
    say(page, "Keep me at hand")
    expect(page.get_by_text("Aye.")).to_be_visible()
    page.get_by_role("button", name="Actions for Keep me at hand").click()
    page.get_by_role("menuitem", name="Pin").click()
    for window in (page, other):
        pinned = window.get_by_role("region", name="Pinned")
        expect(pinned.get_by_role("link", name="Keep me at hand")).to_be_visible()
        expect(window.get_by_role("link", name="Keep me at hand")).to_have_count(1)
    assert accessibility_faults(page) == []
