"""Test branches in a browser: delete and undo, the map, copies, several models, two windows."""

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import SignedIn, accessibility_faults, say
from tests.fakes.scripted_provider import Finish, Hold, ScriptedProvider, Step, Text

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def more(page: Page, text: str, entry: str) -> None:
    """Choose an entry in the menu of the last message that contains the text."""
    row = page.get_by_role("article").filter(has_text=text).last
    row.hover()
    row.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name=entry).click()


@pytest.mark.e2e
def test_deleting_a_message_hides_it_in_every_window_and_undo_restores_it(
    page: Page, signed_in: SignedIn, provider: ScriptedProvider
) -> None:
    provider.play([Text("The first answer."), Finish()], [Text("The second answer."), Finish()])
    say(page, "One question")
    expect(page.get_by_text("The first answer.")).to_be_visible()
    say(page, "Another question")
    expect(page.get_by_text("The second answer.")).to_be_visible()
    other = signed_in()
    other.goto(page.url)
    expect(other.get_by_text("The first answer.")).to_be_visible()
    more(page, "The first answer.", "Delete")
    expect(page.get_by_text("The first answer.")).to_be_hidden()
    expect(other.get_by_text("The first answer.")).to_be_hidden()
    expect(other.get_by_text("The second answer.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    for window in (page, other):
        expect(window.get_by_text("The first answer.")).to_be_visible()
        assert [text.inner_text() for text in window.locator("article .prose").all()] == [
            "One question",
            "The first answer.",
            "Another question",
            "The second answer.",
        ]


@pytest.mark.e2e
@pytest.mark.parametrize("size", [{}, PHONE], ids=["wide", "phone"])
def test_the_branch_map_opens_a_branch_and_a_branch_continues_in_a_new_chat(
    signed_in: SignedIn, provider: ScriptedProvider, size: dict[str, object]
) -> None:
    page = signed_in(**size)
    provider.play([Text("The first answer."), Finish()], [Text("The second answer."), Finish()])
    say(page, "One question")
    expect(page.get_by_text("The first answer.")).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    row = page.get_by_role("article").filter(has_text="The first answer.")
    row.hover()
    row.get_by_role("button", name="Write another reply").click()
    expect(page.get_by_text("The second answer.")).to_be_visible()
    page.get_by_role("button", name="Map of the chat").click()
    branches = page.get_by_role("list", name="Branches")
    expect(branches.get_by_role("listitem")).to_have_count(3)
    assert accessibility_faults(page) == []
    branches.get_by_role("button", name="The first answer.").click()
    expect(page.get_by_text("The first answer.")).to_be_visible()
    expect(page.get_by_text("The second answer.")).to_be_hidden()
    more(page, "The first answer.", "Go on from here in a new chat")
    expect(page.get_by_role("heading", name="Branch of One question")).to_be_visible()
    expect(page.get_by_text("The first answer.")).to_be_visible()


@pytest.mark.e2e
@pytest.mark.parametrize("size", [{}, PHONE], ids=["wide", "phone"])
def test_several_models_answer_side_by_side(
    signed_in: SignedIn, provider: ScriptedProvider, size: dict[str, object]
) -> None:
    page = signed_in(**size)
    provider.play([Text("Begun."), Finish()], [Text("Alpha"), Hold(), Finish()], [Text("Beta"), Hold(), Finish()])
    say(page, "Hello")
    expect(page.get_by_text("Begun.")).to_be_visible()
    page.get_by_role("button", name="Ask several models").click()
    for name in ("scripted", "scripted-2"):
        page.get_by_role("checkbox", name=f"{name}, OpenAI", exact=True).check()
    assert accessibility_faults(page) == []
    page.get_by_role("button", name="Ask these with the next message").click()
    say(page, "Which is it?")
    dialog = page.get_by_role("dialog", name="Compare versions")
    expect(dialog.get_by_text("Alpha")).to_be_visible()
    expect(dialog.get_by_text("Beta")).to_be_visible()
    provider.release()
    expect(dialog.get_by_role("button", name="Stop")).to_have_count(0)
    assert accessibility_faults(page) == []
    dialog.get_by_role("region", name="On the right").get_by_role("button", name="Go on with this one").click()
    expect(page.get_by_text("Which is it?")).to_be_visible()
    expect(page.get_by_label("Versions of this message").last).to_contain_text("2/2")


@pytest.mark.e2e
def test_two_windows_stay_on_different_branches(page: Page, signed_in: SignedIn, provider: ScriptedProvider) -> None:
    answers: list[list[Step]] = [[Text(f"Answer {number}."), Finish()] for number in range(1, 5)]
    provider.play(*answers)
    say(page, "One question")
    expect(page.get_by_text("Answer 1.")).to_be_visible()
    other = signed_in()
    other.goto(page.url)
    expect(other.get_by_text("Answer 1.")).to_be_visible()
    row = other.get_by_role("article").filter(has_text="Answer 1.")
    row.hover()
    row.get_by_role("button", name="Write another reply").click()
    expect(other.get_by_text("Answer 2.")).to_be_visible()
    expect(page.get_by_label("Versions of this message")).to_contain_text("1/2")
    expect(page.get_by_text("Answer 1.")).to_be_visible()
    say(page, "To the first")
    expect(page.get_by_text("Answer 3.")).to_be_visible()
    expect(other.get_by_text("Answer 2.")).to_be_visible()
    expect(other.get_by_text("To the first")).to_be_hidden()
    say(other, "To the second")
    expect(other.get_by_text("Answer 4.")).to_be_visible()
    assert [message["content"] for message in provider.requests[3]["messages"]] == [
        "One question",
        "Answer 2.",
        "To the second",
    ]
    expect(page.get_by_text("To the second")).to_be_hidden()
