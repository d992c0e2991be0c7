"""Test tool approvals in a browser: decisions on several devices, rules, limits, previews, history."""

from collections.abc import Sequence

import pytest
from playwright.sync_api import Page, expect

from tertulia.tools.protocol import Tool
from tests.e2e.conftest import Complaints, SignedIn, accessibility_faults, say
from tests.e2e.test_drafts import PHONE
from tests.fakes.scripted_provider import Call, Finish, ScriptedProvider, Text
from tests.fakes.tools import Recorder

pytestmark = pytest.mark.e2e


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def tools(recorder: Recorder) -> Sequence[Tool]:
    return [recorder]


def begin(page: Page, provider: ScriptedProvider, *names: str) -> None:
    """Start a chat and select the tools that its model may call."""
    provider.play([Text("At your service."), Finish()])
    say(page, "hello")
    page.get_by_text("At your service.").wait_for()
    page.get_by_role("button", name="Tools", exact=True).click()
    dialog = page.get_by_role("dialog", name="Tools of this chat")
    for name in names:
        with page.expect_response(lambda answer: answer.request.method == "PATCH"):
            dialog.get_by_role("checkbox", name=name, exact=True).click()
    assert accessibility_faults(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=f"Tools: {len(names)} offered")).to_be_visible()


def test_a_call_edited_and_approved_on_a_phone_continues_the_run_in_the_first_window(
    page: Page, signed_in: SignedIn, provider: ScriptedProvider, recorder: Recorder
) -> None:
    begin(page, provider, "record")
    hidden = "pay\u202e 100"
    provider.play(
        [Text("I will note it."), Call("record", {"text": hidden}), Finish("tool_calls")],
        [Text("It is noted."), Finish()],
    )
    say(page, "Note it down")
    card = page.get_by_role("article", name="Tool record")
    expect(card).to_contain_text("Waits for your decision")
    expect(card).to_contain_text("You have not approved this tool before.")
    expect(card).to_contain_text("U+202E")
    expect(page.get_by_text("A tool needs your approval.")).to_be_attached()
    assert accessibility_faults(page) == []
    phone = signed_in(**PHONE)
    phone.get_by_role("button", name="Open the list of chats").click()
    phone.get_by_role("link", name="A tool waits for you").click()
    there = phone.get_by_role("article", name="Tool record")
    there.get_by_role("button", name="Edit the arguments").click()
    expect(there.get_by_label("Arguments")).to_have_value('{\n  "text": "pay\\u202e 100"\n}')
    there.get_by_label("Arguments").fill("{nonsense")
    for _ in range(2):  # typed arguments survive collapsing and expanding the card
        there.get_by_role("button").first.click()
    expect(there.get_by_label("Arguments")).to_have_value("{nonsense")
    there.get_by_role("button", name="Approve once").click()
    expect(there.get_by_role("alert")).to_contain_text("not valid JSON")
    there.get_by_label("Arguments").fill('{"text": "pay 10"}')
    assert accessibility_faults(phone) == []
    there.get_by_role("button", name="Approve once").click()
    expect(phone.get_by_text("Nothing waits for you")).to_be_visible()
    expect(page.get_by_text("It is noted.")).to_be_visible()
    expect(card).to_contain_text("approved by Ana · arguments edited")
    card.get_by_role("button").first.click()
    expect(card).to_contain_text("done: pay 10")
    assert recorder.calls == [{"text": "pay 10"}]
    page.reload()
    expect(page.get_by_text("I will note it.")).to_be_visible()
    expect(page.get_by_role("article", name="Tool record")).to_contain_text("Done")


def test_calls_are_refused_with_a_note_allowed_for_the_chat_and_governed_by_rules(
    page: Page, provider: ScriptedProvider, recorder: Recorder
) -> None:
    begin(page, provider, "record", "search_chats")
    provider.play(
        [Call("record", {"text": "a"}), Call("search_chats", {"query": "service"}), Finish("tool_calls")],
        [Text("As you wish."), Finish()],
    )
    say(page, "Do both")
    record = page.get_by_role("article", name="Tool record")
    record.get_by_role("button", name="Refuse", exact=True).click()
    record.get_by_label("A word to the model").fill("Not today.")
    record.get_by_role("button", name="Refuse the call").click()
    expect(record).to_contain_text("refused by Ana")
    search = page.get_by_role("article", name="Tool search_chats")
    search.get_by_role("button", name="Approve for longer").click()
    page.get_by_role("menuitem", name="Approve for this chat").click()
    expect(page.get_by_text("As you wish.")).to_be_visible()
    results = [message["content"] for message in provider.requests[-1]["messages"] if message["role"] == "tool"]
    assert results[0] == "[The person refused this call. They say: Not today.]"
    search.get_by_role("button").first.click()
    expect(search.get_by_role("table")).to_contain_text("At your service.")
    provider.play(
        [Call("search_chats", {"query": "wish"}), Finish("tool_calls")], [Text("Found without asking."), Finish()]
    )
    say(page, "Search again")
    expect(page.get_by_text("Found without asking.")).to_be_visible()
    expect(page.get_by_role("article", name="Tool search_chats").last).to_contain_text("ran by a rule")
    page.get_by_role("button", name="Tools: 2 offered").click()
    here = page.get_by_role("region", name="Rules of this chat")
    rule = here.get_by_role("combobox", name="What search_chats may do")
    expect(rule).to_contain_text("Runs automatically")
    assert accessibility_faults(page) == []
    here.get_by_role("button", name="Take away the rule for search_chats").click()
    expect(rule).to_be_hidden()
    here.get_by_label("One call at most").fill("0.10")
    with page.expect_response(lambda answer: answer.request.method == "PUT"):
        here.get_by_role("button", name="Save the limit").click()
    page.goto("/settings/tools")
    expect(page.get_by_role("region", name="By tool", exact=True)).to_contain_text("search_chats")
    with page.expect_response(lambda answer: answer.request.method == "PUT"):
        page.get_by_role("checkbox", name="Run read-only tools automatically").click()
    page.get_by_label("One call at most").fill("0.25")
    with page.expect_response(lambda answer: answer.request.method == "PUT"):
        page.get_by_role("button", name="Save the limits").click()
    with page.expect_response(lambda answer: answer.request.method == "PUT"):
        page.get_by_role("button", name="Add the rule").click()
    assert accessibility_faults(page) == []
    page.reload()
    expect(page.get_by_role("checkbox", name="Run read-only tools automatically")).to_be_checked()
    expect(page.get_by_label("One call at most")).to_have_value("0.25")
    expect(page.get_by_role("button", name="Take away the rule for read_chat")).to_be_visible()
    calls = page.get_by_role("list", name="Calls, the newest first")
    expect(calls.get_by_role("listitem")).to_have_count(3)


def test_a_preview_shows_the_effect_of_edited_arguments(
    page: Page, provider: ScriptedProvider, complaints: Complaints
) -> None:
    complaints.expect("422")
    begin(page, provider, "edit_draft")
    draft_id = page.evaluate(
        """async () => (await (await fetch("/api/v1/drafts", {method: "POST", body: JSON.stringify({content: "Rise for two hours."}),
             headers: {"Content-Type": "application/json", "X-Tertulia": "1"}})).json()).id"""
    )
    edits = [{"find": "two hours", "replace": "three"}]
    provider.play([Call("edit_draft", {"draft_id": draft_id, "edits": edits}), Finish("tool_calls")])
    say(page, "Change it")
    card = page.get_by_role("article", name="Tool edit_draft")
    expect(card).to_contain_text("1 of 1 edits can be placed")
    card.get_by_role("button", name="Edit the arguments").click()
    text = card.get_by_label("Arguments")
    text.fill(text.input_value().replace("two hours", "a year"))
    expect(card).not_to_contain_text("can be placed")  # that was of the model's
    card.get_by_role("button", name="Say what this would do").click()
    expect(card).to_contain_text("None of the text to change is in the draft.")
    text.fill(text.input_value().replace("a year", "Rise"))
    card.get_by_role("button", name="Say what this would do").click()
    expect(card).to_contain_text("1 of 1 edits can be placed")
    assert accessibility_faults(page) == []
    card.get_by_role("button", name="Take the model's").click()
    expect(card).to_contain_text("1 of 1 edits can be placed")
    expect(card.get_by_role("button", name="Say what this would do")).to_be_hidden()


def test_the_chat_state_panel_follows_changes(page: Page, provider: ScriptedProvider) -> None:
    begin(page, provider, "write_state")
    page.get_by_role("button", name="What the model is sent").click()
    provider.play(
        [Call("write_state", {"changes": {"origin": "Prague", "cabin": "economy"}}), Finish("tool_calls")],
        [Text("Where to?"), Finish()],
    )
    say(page, "A flight from Prague")
    page.get_by_role("article", name="Tool write_state").get_by_role("button", name="Approve once").click()
    state = page.get_by_role("region", name="State of the chat")
    expect(state).to_contain_text("Prague")
    expect(page.get_by_text("Where to?", exact=True)).to_be_visible()


def test_a_chat_has_a_history_of_its_tool_calls(page: Page, provider: ScriptedProvider) -> None:
    begin(page, provider, "current_time")
    provider.play([Call("current_time", {}), Finish("tool_calls")], [Text("It is late."), Finish()])
    say(page, "What time is it?")
    page.get_by_role("article", name="Tool current_time").get_by_role("button", name="Approve once").click()
    page.get_by_text("It is late.").wait_for()
    page.get_by_role("button", name="Tools: 1 offered").click()
    page.get_by_role("link", name="Every call of this chat").click()
    expect(page.get_by_role("heading", name="By tool, in this chat")).to_be_visible()
    expect(page.get_by_role("list", name="Calls, the newest first").get_by_role("listitem")).to_have_count(1)
    assert accessibility_faults(page) == []
    page.get_by_role("link", name="Of all chats").click()
    expect(page.get_by_role("heading", name="Runs automatically")).to_be_visible()
    expect(page.get_by_role("heading", name="Every call", exact=True)).to_be_visible()
