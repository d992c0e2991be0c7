"""What the model is sent, shown and steered in a browser."""

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import SignedIn, accessibility_faults, say
from tests.e2e.test_drafts import PHONE
from tests.fakes.scripted_provider import Finish, ScriptedProvider, Text

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("options", [{}, PHONE], ids=["wide", "phone-dark"])
def test_one_sees_what_is_sent_pins_and_leaves_out(
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
    expect(rows.first).to_contain_text("The newest always goes")
    expect(panel).to_contain_text("are kept for the answer")
    expect(panel).to_contain_text("nobody knows what it costs")
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
