"""Test tags and chat export in a browser."""

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Complaints, SignedIn, accessibility_faults, say
from tests.fakes.scripted_provider import Finish, ScriptedProvider, Text

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}


@pytest.mark.e2e
@pytest.mark.parametrize("size", [{}, PHONE], ids=["wide", "phone-dark"])
def test_a_tag_is_created_assigned_filtered_by_deleted_and_restored(
    signed_in: SignedIn, provider: ScriptedProvider, complaints: Complaints, size: dict[str, object]
) -> None:
    page = signed_in(**size)
    provider.default = [Text("Aye."), Finish()]
    for words in ("About bread", "About the garden"):
        page.goto("/")
        say(page, words)
        expect(page.get_by_text("Aye.")).to_be_visible()
    other = signed_in()
    if size:
        page.get_by_role("button", name="Open the list of chats").click()
    page.get_by_role("button", name="Actions for About bread").click()
    page.get_by_role("menuitem", name="Tags").click()
    dialog = page.get_by_role("dialog", name="Tags of About bread")
    dialog.get_by_label("Name of a new tag").fill("Kitchen")
    dialog.get_by_role("button", name="orange").click()
    dialog.get_by_role("button", name="Add").click()
    expect(dialog.get_by_role("checkbox", name="Kitchen")).to_be_checked()
    assert accessibility_faults(page) == []
    dialog.get_by_label("Name of a new tag").fill("kitchen")
    dialog.get_by_role("button", name="Add").click()
    expect(dialog.get_by_role("alert")).to_contain_text("A tag named kitchen already exists.")
    complaints.expect("409")  # the browser tells of it too
    dialog.get_by_role("button", name="Close").click()
    for window in (page, other):
        if size and window is page:
            chip = window.get_by_role("button", name="Kitchen")
            if not chip.is_visible():
                window.get_by_role("button", name="Open the list of chats").click()
        window.get_by_role("button", name="Kitchen", exact=True).click()
        expect(window.get_by_role("link", name="About bread")).to_be_visible()
        expect(window.get_by_role("link", name="About the garden")).to_be_hidden()
    assert accessibility_faults(page) == []
    other.get_by_role("button", name="Actions for About bread").click()
    other.get_by_role("menuitem", name="Tags").click()
    other.get_by_role("button", name="Actions for the tag Kitchen").click()
    other.get_by_role("menuitem", name="Delete").click()
    expect(other.get_by_role("checkbox", name="Kitchen")).to_be_hidden()
    expect(page.get_by_role("button", name="Kitchen", exact=True)).to_be_hidden()
    other.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name="Kitchen", exact=True)).to_be_visible()


@pytest.mark.e2e
def test_a_chat_is_exported_as_markdown(signed_in: SignedIn, provider: ScriptedProvider) -> None:
    page = signed_in()
    provider.default = [Text("Aye."), Finish()]
    say(page, "About bread")
    expect(page.get_by_text("Aye.")).to_be_visible()
    page.get_by_role("button", name="Actions for About bread").click()
    page.get_by_role("menuitem", name="Export").click()
    assert accessibility_faults(page) == []
    with page.expect_download() as download:
        page.get_by_role("link", name="Markdown").click()
    assert download.value.suggested_filename == "About bread.md"
    assert "Aye." in download.value.path().read_text()
