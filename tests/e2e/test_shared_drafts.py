"""Test drafts in a browser: sharing by name and by link, attaching to chats, import and export."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Complaints, ContextMaker, accessibility_faults, say
from tests.e2e.test_drafts import PHONE, ask, open_draft, replace, save, text_of, type_at_end
from tests.fakes.scripted_provider import Finish, Hold, ScriptedProvider, Text

pytestmark = pytest.mark.e2e
LETTER = "# To my aunt\n\nThank you very much for the cake.\n\nNext week we come.\n"


def test_edits_appear_in_the_text_while_they_are_generated(page: Page, provider: ScriptedProvider) -> None:
    provider.play(
        [Text("<edit>\n<find>very much</find>\n<replace>so"), Hold(), Text(" much</replace>\n</edit>\n"), Finish()]
    )
    open_draft(page, LETTER)
    ask(page, "Warmer, please")
    written = page.locator(".cm-proposed-written ins")
    expect(written).to_have_text("so")
    expect(page.locator("del.cm-proposed-gone")).to_have_text("very much")
    expect(page.get_by_role("button", name="Accept this change")).to_be_hidden()
    provider.release()
    expect(page.get_by_text("1 change proposed")).to_be_visible()
    expect(written).to_have_count(0)
    page.get_by_role("button", name="Accept all").click()
    expect(text_of(page)).to_contain_text("Thank you so much for the cake.")
    text_of(page).click()
    page.keyboard.press("Control+z")
    expect(text_of(page)).to_contain_text("Thank you very much for the cake.")
    page.keyboard.press("Control+y")
    expect(text_of(page)).to_contain_text("Thank you so much for the cake.")
    page.get_by_role("tab", name="Both").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Chat")).to_be_focused()
    expect(text_of(page)).to_be_hidden()


def test_a_shared_draft_is_edited_by_two_people_and_read_through_a_public_link(
    page: Page, bob: Page, new_context: ContextMaker, complaints: Complaints
) -> None:
    address = open_draft(page, LETTER)
    page.get_by_role("button", name="Share the draft").click()
    dialog = page.get_by_role("dialog", name="Share this draft")
    dialog.get_by_role("button", name="Make a link").click()
    link = dialog.get_by_label("The link, shown this once").input_value()
    dialog.get_by_label("With a person").fill("bob")
    dialog.get_by_role("button", name="Share", exact=True).click()
    expect(dialog.get_by_text("Bob", exact=True)).to_be_visible()
    assert accessibility_faults(page) == []
    page.keyboard.press("Escape")
    bob.goto("/drafts")
    bob.get_by_role("region", name="Shared with you").get_by_role("link", name="To my aunt").click()
    expect(text_of(bob)).to_have_attribute("aria-readonly", "true")
    expect(bob.get_by_text("Ana’s draft")).to_be_visible()
    expect(bob.get_by_label("Ask for a change of the draft")).to_be_hidden()
    stranger = new_context(**PHONE).new_page()
    stranger.goto(link)
    expect(stranger.get_by_role("heading", name="To my aunt").first).to_be_visible()
    type_at_end(page, "Yours, Ana\n")
    save(page)
    expect(text_of(bob)).to_contain_text("Yours, Ana")
    expect(stranger.get_by_text("Yours, Ana")).to_be_visible()
    assert accessibility_faults(stranger) == []
    # Give Bob permission to write.
    page.get_by_role("button", name="Share the draft").click()
    dialog.get_by_label("With a person").fill("bob")
    dialog.get_by_label("What they may do").click()
    page.get_by_role("option", name="May read and write", exact=True).click()
    dialog.get_by_role("button", name="Share", exact=True).click()
    expect(dialog.get_by_text("reads and writes")).to_be_visible()
    page.keyboard.press("Escape")
    bob.goto(address)
    replace(bob, "cake", "pie")
    save(bob)
    expect(text_of(page)).to_contain_text("for the pie")
    page.get_by_role("button", name="Share the draft").click()
    for left in (2, 1, 0):
        dialog.get_by_role("button", name="End sharing").first.click()
        expect(dialog.get_by_role("button", name="End sharing")).to_have_count(left)
    expect(dialog.get_by_text("Shared now")).to_be_hidden()
    expect(stranger.get_by_text("Nothing is shared here")).to_be_visible()
    expect(bob.get_by_text("There is nothing here")).to_be_visible()
    complaints.expect("404", "you do not have access")


def test_an_attached_draft_is_sent_to_the_model_and_a_selection_becomes_a_draft(
    page: Page, provider: ScriptedProvider
) -> None:
    provider.play([Text("The budget is **40 crowns**. Nothing more is known."), Finish()])
    open_draft(page, "# Budget\n\nIt is 40 crowns.\n")
    page.goto("/")
    say(page, "hello")
    page.get_by_text("Nothing more is known.").wait_for()
    page.get_by_role("button", name="Attach a draft").click()
    dialog = page.get_by_role("dialog", name="Attach a draft")
    dialog.get_by_label("Find a draft by its title").fill("budg")
    assert accessibility_faults(page) == []
    dialog.get_by_role("list", name="Drafts to attach").get_by_role("button", name="Budget").click()
    expect(page.get_by_role("list", name="Attached drafts").get_by_role("link", name="Budget")).to_be_visible()
    provider.play([Text("Yes, 40."), Finish()])
    say(page, "And what does my draft say?")
    page.get_by_text("Yes, 40.").wait_for()
    assert "It is 40 crowns." in provider.requests[-1]["messages"][0]["content"]
    page.get_by_role("button", name="Take Budget away").click()
    expect(page.get_by_role("list", name="Attached drafts")).to_be_hidden()
    page.get_by_text("40 crowns", exact=True).dblclick()  # selects the word
    page.keyboard.press("Shift+ArrowRight")
    page.get_by_role("button", name="Selection to a draft").click()
    expect(text_of(page)).to_contain_text("crowns")
    expect(text_of(page)).not_to_contain_text("Nothing more")


def test_a_draft_is_exported_and_imported_and_a_version_named(
    page: Page, tmp_path: Path, provider: ScriptedProvider
) -> None:
    open_draft(page, LETTER)
    type_at_end(page, "Yours, Ana\n")
    page.get_by_role("button", name="More", exact=True).last.click()
    page.get_by_role("menuitem", name="Name this version …").click()
    page.get_by_role("dialog", name="Name this version").get_by_label("Name").fill("As sent")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Versions").click()
    expect(page.get_by_role("list", name="Versions, the newest first")).to_contain_text("As sent")
    page.get_by_role("button", name="Close the versions").click()
    page.get_by_role("button", name="More", exact=True).last.click()
    with page.expect_download() as saved:
        page.get_by_role("menuitem", name="Download for Word (.docx)").click()
    file = tmp_path / saved.value.suggested_filename
    saved.value.save_as(file)
    assert file.name == "To my aunt.docx"
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="More", exact=True).last.click()
    page.get_by_role("menuitem", name="Copy as rich text").click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    copied = "navigator.clipboard.read().then(([item]) => item.getType('text/html')).then((blob) => blob.text())"
    assert "<h1>To my aunt</h1>" in page.evaluate(copied)
    page.goto("/drafts")
    page.get_by_label("Import a text").set_input_files(file)
    expect(text_of(page)).to_contain_text("# To my aunt")
    expect(text_of(page)).to_contain_text("Yours, Ana")
    page.get_by_role("button", name="Chats about this draft").click()
    with page.expect_response(lambda answer: "/messages" in answer.url):
        page.get_by_role("menuitem", name="New chat about this draft").click()
    provider.play([Text("A second chat."), Finish()])
    say(page, "Hello from the second chat")
    expect(page.get_by_text("A second chat.")).to_be_visible()
    page.get_by_role("button", name="Chats about this draft").click()
    expect(page.get_by_role("menuitem")).to_have_count(3)
    page.get_by_role("menuitem").last.click()
    expect(page.get_by_text("Nothing said yet")).to_be_visible()


def test_an_unknown_draft_address_shows_that_nothing_is_there(page: Page, complaints: Complaints) -> None:
    for address in ("/d/nonsense", "/d/00000000-0000-7000-8000-000000000000"):
        page.goto(address)
        expect(page.get_by_text("There is nothing here")).to_be_visible()
    complaints.expect("404", "422", "you do not have access", "badly formed")
