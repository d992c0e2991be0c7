"""Test the context panel in a browser: pinning, exclusion and compaction of messages."""

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import SignedIn, accessibility_faults, say
from tests.e2e.test_drafts import PHONE
from tests.fakes.scripted_provider import Finish, ScriptedProvider, Text

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("options", [{}, PHONE], ids=["wide", "phone-dark"])
def test_messages_are_pinned_and_excluded_in_the_context_panel(
    signed_in: SignedIn, provider: ScriptedProvider, options: dict[str, object]
) -> None:
    page = signed_in(**options)
    provider.play([Text("Reply one."), Finish()], [Text("Reply two."), Finish()])
    say(page, "The code word is marmalade")
    page.get_by_text("Reply one.").wait_for()
    say(page, "Forget the weather, it rains")
    page.get_by_text("Reply two.").wait_for()
    page.get_by_role("button", name="What the model is sent").click()
    panel = page.get_by_role("region", name="What the model is sent")
    rows = panel.get_by_role("listitem")
    expect(rows).to_have_count(4)
    expect(rows.first).to_contain_text("Always goes: it was asked or answered last")
    expect(panel).to_contain_text("are kept for the answer")
    expect(panel).to_contain_text("its cost is unknown")
    weather = rows.filter(has_text="it rains")
    weather.get_by_role("button", name="Never send it").click()
    expect(weather).to_contain_text("Left out by a person")
    word = rows.filter(has_text="marmalade")
    word.get_by_role("button", name="Always send it").click()
    expect(word).to_contain_text("Pinned: it always goes")
    assert accessibility_faults(page) == []
    page.get_by_role("button", name="Close what the model is sent").click()
    expect(page.get_by_text("not sent to models")).to_be_visible()
    provider.play([Text("Reply three."), Finish()])
    say(page, "What is the code word?")
    page.get_by_text("Reply three.").wait_for()
    sent = str(provider.requests[-1]["messages"])
    assert ("marmalade" in sent, "it rains" in sent) == (True, False)
    row = page.get_by_role("article").filter(has_text="it rains")
    row.hover()
    row.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Send to models as it fits").click()
    expect(page.get_by_text("not sent to models")).to_be_hidden()


def test_a_compaction_is_created_edited_and_reverted(signed_in: SignedIn, provider: ScriptedProvider) -> None:
    page = signed_in()
    for number in range(3):
        provider.play([Text(f"Reply {number}. " + "word " * 60), Finish(usage=False)])
        say(page, f"Question {number}. " + "word " * 60)
        page.get_by_text(f"Reply {number}.").wait_for()
    phone = signed_in(**PHONE)
    phone.get_by_role("button", name="Open the list of chats").click()
    phone.get_by_role("link", name="Question 0.").first.click()
    page.get_by_role("button", name="What the model is sent").click()
    panel = page.get_by_role("region", name="Compaction")
    provider.play([Text("They exchanged questions."), Finish()])
    expect(panel.get_by_text("A summary asks scripted and sends about")).to_contain_text("its cost is unknown")
    panel.get_by_role("button", name="Summarise the older half").click()
    expect(panel.get_by_text("The oldest told by a summary")).to_be_visible()
    expect(page.get_by_text("is told to the model by a summary")).to_be_visible()
    expect(phone.get_by_text("is told to the model by a summary")).to_be_attached()  # also in the other window
    expect(page.get_by_role("list", name="Messages, the newest first")).to_contain_text("Told by a summary")
    panel.get_by_role("button", name="Change the words").click()
    panel.get_by_label("The summary").fill("They asked three things.")
    assert accessibility_faults(page) == []
    panel.get_by_role("button", name="Save the summary").click()
    expect(panel.get_by_text("as a person changed it")).to_be_visible()
    panel.get_by_text("The summary, as a person changed it").click()
    expect(panel.get_by_text("They asked three things.")).to_be_visible()
    provider.play([Text("Indeed."), Finish(usage=False)])
    say(page, "And then?")
    page.get_by_role("article").get_by_text("Indeed.").wait_for()
    assert "They asked three things." in str(provider.requests[-1]["messages"][0])
    assert "Question 0." not in str(provider.requests[-1]["messages"])
    panel.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("is told to the model by a summary")).to_be_hidden()
    expect(panel.get_by_text("One other was undone.")).to_be_visible()
    panel.get_by_role("combobox", name="When the window is full").click()
    with page.expect_response(lambda answer: answer.request.method == "PATCH"):
        page.get_by_role("option", name="Tell the oldest by a summary").click()
    assert accessibility_faults(page) == []
    phone.get_by_role("button", name="What the model is sent").click()
    assert accessibility_faults(phone) == []
