"""Test drafts in a browser: editing, proposed changes, versions, conflicts between two windows."""

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import Complaints, SignedIn, accessibility_faults, say
from tests.fakes.scripted_provider import Finish, Hold, ScriptedProvider, Text

LETTER = "# To my aunt\n\nThank you very much for the cake. It was good.\n\n## Plans\n\nNext week we come.\n"
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "color_scheme": "dark",
}

pytestmark = pytest.mark.e2e


def block(find: str, replacement: str) -> str:
    return f"<edit>\n<find>{find}</find>\n<replace>{replacement}</replace>\n</edit>\n"


def text_of(page: Page) -> Locator:
    return page.get_by_role("textbox", name="The text of the draft")


def open_draft(page: Page, text: str = "") -> str:
    """Create a draft, save the text as a version if there is one, and return the page's URL."""
    page.goto("/drafts")
    page.get_by_role("button", name="New draft").click()
    text_of(page).wait_for()
    if text:
        type_at_end(page, text)
        save(page)
    return page.url


def type_at_end(page: Page, text: str) -> None:
    text_of(page).click()
    page.keyboard.press("Control+End")
    page.keyboard.insert_text(text)


def replace(page: Page, old: str, new: str) -> None:
    """Replace the first match with the editor's find and replace."""
    text_of(page).click()
    page.keyboard.press("Control+f")
    page.get_by_placeholder("Find").fill(old)
    page.get_by_placeholder("Replace").fill(new)
    page.get_by_role("button", name="replace", exact=True).click()
    page.get_by_role("button", name="replace", exact=True).click()
    page.keyboard.press("Escape")


def save(page: Page) -> None:
    page.get_by_role("button", name="Save a version").click()
    expect(page.get_by_role("button", name="Save a version")).to_be_hidden()


def ask(page: Page, request: str) -> None:
    page.get_by_label("Ask for a change of the draft").fill(request)
    page.get_by_role("button", name="Ask", exact=True).click()


def test_proposed_changes_are_accepted_and_versions_compared_and_restored(
    page: Page, provider: ScriptedProvider
) -> None:
    provider.play([Text("Two:\n" + block("very much ", "") + block("It was good", "It was superb")), Finish()])
    open_draft(page, LETTER)
    expect(page.get_by_label("Title of the draft")).to_have_value("To my aunt")
    ask(page, "Warmer, please")
    expect(page.get_by_text("2 changes proposed")).to_be_visible()
    expect(page.get_by_text("“good” becomes “superb”")).to_be_hidden()  # the model quoted the surrounding text too
    expect(page.get_by_text("“It was good” becomes “It was superb”")).to_be_visible()
    page.get_by_role("button", name="Accept this change").last.click()
    expect(page.get_by_text("1 change proposed")).to_be_visible()
    type_at_end(page, "Yours, Ana\n")  # while the other change is still proposed
    page.keyboard.press("F8")
    page.keyboard.press("Control+Shift+Enter")
    expect(page.get_by_text("change proposed")).to_be_hidden()
    expect(text_of(page)).to_contain_text("It was superb.")
    expect(text_of(page)).to_contain_text("very much")
    expect(text_of(page)).to_contain_text("Yours, Ana")
    page.get_by_role("button", name="Versions").click()
    versions = page.get_by_role("list", name="Versions, the newest first")
    expect(versions.get_by_role("listitem")).to_have_count(4)
    expect(versions).to_contain_text("scripted · edits taken")
    versions.get_by_role("button", name="Version 4").focus()
    page.keyboard.press("ArrowDown")
    page.get_by_role("button", name="What changed").click()
    compared = page.get_by_role("dialog", name="Compare versions")
    expect(compared.locator("del")).to_have_text("good")
    expect(compared.locator("ins")).to_have_text("superb")
    page.keyboard.press("Escape")
    versions.get_by_role("button", name="Version 2").click()
    page.get_by_role("button", name="Restore").click()
    expect(versions.get_by_role("listitem")).to_have_count(5)
    expect(text_of(page)).not_to_contain_text("superb")
    expect(text_of(page)).not_to_contain_text("Yours, Ana")
    page.get_by_role("button", name="Who wrote what").click()
    expect(page.get_by_text("taken from a model")).to_be_visible()
    expect(page.locator(".cm-by-person").first).to_be_visible()
    page.get_by_role("button", name="Outline").click()
    page.get_by_role("menuitem", name="Plans").click()
    page.get_by_role("button", name="Read", exact=True).click()
    expect(
        page.get_by_role("region", name="The draft as it reads").get_by_role("heading", name="Plans")
    ).to_be_visible()
    assert accessibility_faults(page) == []


def test_edits_of_two_windows_are_merged_and_conflicts_are_chosen_by_the_person(
    signed_in: SignedIn, complaints: Complaints
) -> None:
    first, second = signed_in(), signed_in()
    address = open_draft(first, "The quick fox.\n\nThe lazy dog.\n")
    second.goto(address)
    expect(text_of(second)).to_contain_text("The lazy dog.")
    replace(first, "quick", "slow")
    expect(text_of(second)).to_contain_text("The slow fox.")
    replace(second, "lazy", "sleeping")
    expect(text_of(first)).to_contain_text("The sleeping dog.")
    text_of(second).click()
    second.keyboard.press("Control+z")  # undoes this window's edit, not the other window's
    expect(text_of(second)).to_contain_text("The lazy dog.")
    second.keyboard.press("Control+z")
    second.keyboard.press("Control+y")
    expect(text_of(first)).to_contain_text("The sleeping dog.")
    expect(text_of(first)).to_contain_text("The slow fox.")
    # While the second window is offline, both change the same word.
    second.context.set_offline(True)
    replace(second, "slow", "red")
    expect(second.get_by_text("Not connected; kept here")).to_be_visible()
    replace(first, "slow", "brown")
    expect(first.get_by_text("Stored", exact=True)).to_be_visible()
    second.context.set_offline(False)
    dialog = second.get_by_role("dialog", name="The same words were changed twice")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Elsewhere").click()
    dialog.get_by_role("button", name="Save this").click()
    expect(text_of(second)).to_contain_text("The brown fox.")
    expect(text_of(second)).to_contain_text("The sleeping dog.")
    expect(dialog).to_be_hidden()
    complaints.expect("ERR_INTERNET_DISCONNECTED", "409")


def test_typed_text_survives_a_reload_and_the_draft_is_listed(page: Page) -> None:
    open_draft(page)
    type_at_end(page, "Not saved by me")
    expect(page.get_by_text("Stored", exact=True)).to_be_visible()
    page.reload()
    expect(text_of(page)).to_contain_text("Not saved by me")
    page.get_by_label("Title of the draft").fill("Notes")
    page.get_by_label("Title of the draft").press("Enter")
    page.goto("/drafts")
    drafts = page.get_by_role("list", name="Drafts")
    expect(drafts.get_by_role("link", name="Notes")).to_be_visible()
    page.get_by_role("button", name="Delete Notes").click()
    expect(page.get_by_text("No draft yet")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(drafts.get_by_role("link", name="Notes")).to_be_visible()


def test_on_a_phone_a_proposal_can_be_stopped_and_another_accepted(
    signed_in: SignedIn, provider: ScriptedProvider
) -> None:
    provider.play([Text("Bread, "), Hold(), Finish()], [Text("# Bread\n\nIt rises."), Finish()])
    page = signed_in(**PHONE)
    open_draft(page)
    ask(page, "Write about bread")
    expect(text_of(page)).to_contain_text("Bread,")  # otherwise, the next request would get this script
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("The model proposed no change")).to_be_visible()
    provider.release()
    ask(page, "Write about bread")
    expect(page.get_by_text("1 change proposed")).to_be_visible()
    assert accessibility_faults(page) == []
    page.get_by_role("button", name="Accept all").click()
    expect(text_of(page)).to_contain_text("It rises.")
    page.get_by_role("tab", name="Chat").click()
    expect(page.get_by_role("article").last).to_contain_text("It rises.")
    page.get_by_role("tab", name="Text").click()
    page.get_by_role("button", name="Versions").click()
    expect(page.get_by_role("list", name="Versions, the newest first").get_by_role("listitem")).to_have_count(2)
    assert accessibility_faults(page) == []


def test_a_reply_becomes_a_draft(page: Page, provider: ScriptedProvider) -> None:
    provider.play([Text("# Ode\n\nTo bread."), Finish()])
    say(page, "Write an ode")
    reply = page.get_by_role("article").last
    expect(reply).to_contain_text("To bread.")
    reply.hover()
    reply.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="To a draft").click()
    expect(text_of(page)).to_contain_text("To bread.")
    expect(page.get_by_label("Title of the draft")).to_have_value("Ode")


def test_the_divider_moves_by_keyboard_and_keeps_its_position(page: Page) -> None:
    address = open_draft(page, "a")
    divider = page.get_by_role("separator", name="Width of the chat")
    before = int(divider.get_attribute("aria-valuenow") or 0)
    divider.focus()
    page.keyboard.press("ArrowRight")
    expect(divider).to_have_attribute("aria-valuenow", str(before + 3))
    page.goto(address)
    expect(page.get_by_role("separator", name="Width of the chat")).to_have_attribute("aria-valuenow", str(before + 3))
