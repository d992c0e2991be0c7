"""Test files, threads, reactions, shares, imports and bulk actions in a browser."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.conftest import Complaints, ContextMaker, SignedIn, accessibility_faults, say
from tests.fakes.scripted_provider import Finish, Hold, ScriptedProvider, Text
from tests.files import samples

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}
SIZES = pytest.mark.parametrize("size", [{}, PHONE], ids=["wide", "phone-dark"])
PICTURE = {"name": "cat.png", "mimeType": "image/png", "buffer": samples.picture(800, 600)}
PAPER = {"name": "paper.pdf", "mimeType": "application/pdf", "buffer": samples.PDF}
BROKEN = {"name": "broken.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4 x"}


@pytest.mark.e2e
@SIZES
def test_files_are_attached_sent_previewed_and_deleted(
    signed_in: SignedIn, provider: ScriptedProvider, size: dict[str, object]
) -> None:
    page = signed_in(**size)
    provider.default = [Text("A walrus."), Finish()]
    page.get_by_test_id("file-picker").set_input_files([PICTURE, PAPER, BROKEN])  # type: ignore[arg-type]
    chips = page.get_by_role("list", name="Attached files")
    expect(chips.get_by_text("399 bytes")).to_be_visible()
    expect(chips.get_by_text("models cannot read it")).to_be_visible()
    chips.get_by_role("button", name="Remove broken.pdf").click()
    page.reload()  # attached files are kept, like typed text
    expect(chips.get_by_text("paper.pdf")).to_be_visible()
    expect(chips.get_by_text("cat.png")).to_be_visible()
    assert accessibility_faults(page) == []
    say(page, "What is it about?")
    expect(page.get_by_text("A walrus.")).to_be_visible()
    assert "The quick brown walrus" in json.dumps(provider.requests[-1]["messages"])
    expect(page.get_by_role("heading", name="What is it about?", exact=True)).to_be_visible()
    page.get_by_role("button", name="Show cat.png").click()
    expect(page.get_by_role("dialog").get_by_role("img", name="cat.png")).to_be_visible()
    page.keyboard.press("Escape")
    page.goto("/files")
    expect(page.get_by_text("800 × 600")).to_be_visible()
    assert accessibility_faults(page) == []
    page.get_by_role("button", name="Delete cat.png").click()
    expect(page.get_by_role("button", name="Delete cat.png")).to_be_hidden()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name="Delete cat.png")).to_be_visible()
    page.get_by_role("button", name="Delete cat.png").click()
    expect(page.get_by_role("button", name="Delete cat.png")).to_be_hidden()
    page.get_by_role("link", name=re.compile("What is it about")).first.click()
    expect(page.get_by_text("A walrus.")).to_be_visible()


@pytest.mark.e2e
def test_a_file_too_large_or_of_unknown_type_is_refused_and_the_text_kept(
    page: Page, complaints: Complaints, tmp_path: Path
) -> None:
    large = tmp_path / "large.txt"
    with large.open("wb") as file:
        file.truncate(100 * 2**20 + 1)
    page.get_by_label("Write a message").fill("Look at these")
    page.get_by_test_id("file-picker").set_input_files(large)
    expect(page.get_by_text("large.txt is larger than 100 MiB.")).to_be_visible()
    odd = {"name": "x.exe", "mimeType": "application/x-msdownload", "buffer": b"MZ\x90\0\x03\0\0\0" + b"\0" * 64}
    page.get_by_test_id("file-picker").set_input_files(odd)  # type: ignore[arg-type]
    expect(page.get_by_text("You can attach images")).to_be_visible()
    complaints.expect("415")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    for name in ("large.txt", "x.exe"):
        page.get_by_role("button", name=f"Remove {name}").click()
    expect(page.get_by_label("Write a message")).to_have_value("Look at these")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()


@pytest.mark.e2e
@SIZES
def test_a_thread_is_answered_and_appears_in_the_other_window(
    signed_in: SignedIn, provider: ScriptedProvider, size: dict[str, object]
) -> None:
    page = signed_in(**size)
    provider.default = [Text("Aye."), Finish()]
    say(page, "Root")
    expect(page.get_by_text("Aye.")).to_be_visible()
    other = signed_in()
    other.goto(page.url)
    row = page.get_by_role("article", name="Reply")
    row.hover()
    row.get_by_role("button", name="React").click()
    page.get_by_role("menuitem", name="Celebration").click()
    expect(other.get_by_role("list", name="Reactions")).to_contain_text("1")
    row.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Reply in a thread").click()
    provider.play([Text("Within."), Finish()])
    box = page.get_by_label("Reply in the thread")
    box.fill("Really?")
    page.get_by_role("button", name="Send").last.click()
    expect(page.get_by_text("Within.")).to_be_visible()
    assert accessibility_faults(page) == []
    other.get_by_role("button", name="2 replies").click()
    expect(other.get_by_text("Within.")).to_be_visible()
    page.get_by_role("button", name="Close the thread").click()
    expect(page.get_by_text("Within.")).to_be_hidden()
    expect(page.get_by_text("Aye.")).to_be_visible()


@pytest.mark.e2e
def test_a_shared_chat_is_written_by_two_people_and_read_through_a_public_link(
    signed_in: SignedIn, bob: Page, new_context: ContextMaker, provider: ScriptedProvider, complaints: Complaints
) -> None:
    page = signed_in()
    provider.default = [Text("Aye."), Finish()]
    say(page, "Ours")
    expect(page.get_by_text("Aye.")).to_be_visible()
    page.get_by_role("button", name="Share", exact=True).click()
    dialog = page.get_by_role("dialog", name="Share this chat")
    dialog.get_by_label("With a person").fill("zoe")
    dialog.get_by_role("button", name="Share", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("no user with this name")
    complaints.expect("422")
    dialog.get_by_label("With a person").fill("bob")
    dialog.get_by_label("What they may do").click()
    page.get_by_role("option", name="May read and write", exact=True).click()
    dialog.get_by_role("button", name="Share", exact=True).click()
    expect(dialog.get_by_text("reads and writes")).to_be_visible()
    dialog.get_by_role("button", name="Make a link").click()
    link = dialog.get_by_label("The link, shown this once").input_value()
    assert accessibility_faults(page) == []
    page.keyboard.press("Escape")

    bob.get_by_role("region", name="Shared with you").get_by_role("link", name="Ours").click()
    expect(bob.get_by_text("Aye.")).to_be_visible()
    expect(page.get_by_text("also here: Bob")).to_be_visible()
    bob.get_by_label("Write a message").press_sequentially("Hello")
    expect(page.get_by_text("Bob is writing …")).to_be_visible()

    stranger = new_context(**PHONE).new_page()
    stranger.goto(link)
    expect(stranger.get_by_role("heading", name="Ours")).to_be_visible()
    assert stranger.locator('meta[name="robots"]').get_attribute("content") == "noindex, nofollow"
    assert stranger.locator('meta[property="og:title"]').get_attribute("content") == "Ours"
    assert accessibility_faults(stranger) == []

    provider.play([Text("To both"), Hold(), Text(" of you."), Finish()])
    bob.keyboard.press("Enter")
    for window in (page, bob, stranger):
        expect(window.get_by_text("To both")).to_be_visible()
    provider.release()
    for window in (page, bob, stranger):
        expect(window.get_by_text("To both of you.")).to_be_visible()
    expect(page.get_by_text("Bob", exact=True)).to_be_visible()

    page.get_by_role("button", name="Share", exact=True).click()
    dialog.get_by_role("button", name="End sharing with Bob").click()
    dialog.get_by_role("button", name="End sharing with this link").click()
    page.keyboard.press("Escape")
    expect(stranger.get_by_role("heading", name="Nothing is shared here")).to_be_visible()
    expect(bob.get_by_role("region", name="Shared with you")).to_be_hidden()
    for window in (stranger, bob):
        window.goto("about:blank")
    complaints.expect("404")


@pytest.mark.e2e
def test_a_message_whose_answer_was_lost_is_sent_again_and_stored_once(
    page: Page, provider: ScriptedProvider, complaints: Complaints
) -> None:
    provider.default = [Text("Aye."), Finish()]
    say(page, "First")
    expect(page.get_by_text("Aye.")).to_be_visible()
    sent: list[str] = []

    def lose(route: Route) -> None:
        """Drop the answer to the first request after the server has processed it."""
        sent.append(route.request.headers["idempotency-key"])
        if len(sent) == 1:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    page.route(
        "**/api/v1/chats/*/messages", lambda route: lose(route) if route.request.method == "POST" else route.continue_()
    )
    say(page, "Second")
    expect(page.get_by_text("It is sent as soon as the server is back.")).to_be_visible()
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.get_by_text("It is sent as soon as")).to_be_hidden()
    expect(page.get_by_role("article").filter(has_text="Second")).to_have_count(1)
    assert len(set(sent)) == 1
    complaints.expect("ERR_FAILED")


@pytest.mark.e2e
def test_an_openwebui_export_is_imported_and_the_import_undone(page: Page) -> None:
    page.goto("/settings/data")
    page.get_by_test_id("import-picker").set_input_files(Path(__file__).parents[1] / "transfer/samples/openwebui.json")
    expect(page.get_by_text("2 chats with")).to_be_visible()
    assert accessibility_faults(page) == []
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    assert download.value.suggested_filename.startswith("tertulia-")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Its chats are deleted")).to_be_visible()


@pytest.mark.e2e
def test_formulas_are_rendered_and_html_of_models_runs_in_a_sandboxed_preview(
    page: Page, provider: ScriptedProvider, complaints: Complaints
) -> None:
    page_of_a_model = (
        "<h1>Made</h1><script>document.body.dataset.origin = origin;"
        "addEventListener('securitypolicyviolation', (event) => document.body.dataset.refused = event.effectiveDirective);"
        "fetch('/api/v1/me').catch(() => {})</script>"
    )
    provider.play([Text(f"So \\(a^2\\) costs $5.\n\n```html\n{page_of_a_model}\n```"), Finish()])
    say(page, "Show me")
    expect(page.locator("math").first).to_be_visible()
    expect(page.get_by_text("costs $5.")).to_be_visible()
    page.get_by_role("button", name="Preview").click()
    frame = page.frame_locator("iframe[title=Preview]")
    expect(frame.get_by_role("heading", name="Made")).to_be_visible()
    assert frame.locator("body").get_attribute("data-origin") == "null"
    # The browser refuses the fetch.
    complaints.expect("Content Security Policy")
    expect(frame.locator("body")).to_have_attribute("data-refused", "connect-src")


@pytest.mark.e2e
def test_several_chats_are_deleted_restored_and_archived_together(page: Page, provider: ScriptedProvider) -> None:
    provider.default = [Text("Aye."), Finish()]
    for words in ("One", "Two", "Three"):
        page.goto("/")
        say(page, words)
        expect(page.get_by_text("Aye.")).to_be_visible()
    page.goto("/chats")
    for words in ("One", "Two"):
        page.get_by_role("checkbox", name=f"Choose {words}").check()
    expect(page.get_by_text("2 chosen")).to_be_visible()
    assert accessibility_faults(page) == []
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("checkbox", name="Choose One")).to_be_hidden()
    expect(page.get_by_role("checkbox", name="Choose Three")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("checkbox", name="Choose One")).to_be_visible()
    page.get_by_role("checkbox", name="Choose all that are shown").check()
    page.get_by_role("button", name="Archive", exact=True).click()
    expect(page.get_by_role("heading", name="No chats")).to_be_visible()
    page.get_by_role("navigation", name="Places").get_by_role("link", name="Archive").click()
    expect(page.get_by_role("checkbox", name="Choose Two")).to_be_visible()
