"""Test chatting in a browser: sending, replies, versions, errors, settings, accessibility."""

import re
import time

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User, UserRole
from tertulia.db.opening import plain_engine
from tertulia.ids import ChatId, UserId
from tests.e2e.conftest import Complaints, ContextMaker, SignedIn, accessibility_faults, say
from tests.factories.chats import add_message, make_chat
from tests.fakes.live_server import LiveServer
from tests.fakes.scripted_provider import Finish, Hold, Reasoning, ScriptedProvider, Status, Text, words

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
MARKDOWN = """Bread rises because **yeast** breathes.

| Stage | Time |
|---|---|
| First | 90 min |

```python
def rise(minutes: int) -> None: ...
```

<script>alert(1)</script>

[bad](javascript:alert(1)) [good](https://example.org/a) ![p](https://evil.example/x.png)
"""


def test_first_run_creates_the_account_and_answers_a_message(
    new_context: ContextMaker, provider: ScriptedProvider, complaints: Complaints
) -> None:
    page = new_context().new_page()
    page.goto("/")
    page.get_by_label("Your name").fill("Ada Lovelace")
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_text("Use 12 to 256 characters")).to_be_visible()
    expect(page.get_by_label("Your name")).to_have_value("Ada Lovelace")  # typed values are kept
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Begin").click()
    say(page, "Good evening")
    expect(page.get_by_text("You said: Good evening")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/c/[0-9a-f-]{36}$"))
    expect(page.get_by_role("link", name="Good evening")).to_be_visible()
    page.reload()
    expect(page.get_by_text("You said: Good evening")).to_be_visible()
    complaints.expect("422")  # the short password


def test_markdown_is_rendered_and_hostile_html_is_shown_as_text(page: Page, provider: ScriptedProvider) -> None:
    provider.play([Reasoning("Let me think."), *[Text(MARKDOWN[at : at + 9]) for at in range(0, 600, 9)], Finish()])
    say(page, "Why does bread rise?")
    reply = page.get_by_role("article", name="Reply")
    expect(reply.get_by_role("cell", name="90 min")).to_be_visible()
    expect(reply.get_by_text("<script>alert(1)</script>")).to_be_visible()
    expect(reply.get_by_role("link", name="good")).to_have_attribute("rel", "noopener noreferrer nofollow")
    expect(reply.get_by_role("link", name="bad")).to_have_count(0)
    expect(reply.locator("img, script, iframe")).to_have_count(0)
    expect(reply.locator(".hljs-keyword").first).to_be_visible()
    expect(reply.get_by_role("button", name="Copy code")).to_be_visible()
    reply.get_by_text(re.compile("^Thought")).click()
    expect(reply.get_by_text("Let me think.")).to_be_visible()
    assert accessibility_faults(page) == []


def test_messages_replies_and_titles_appear_in_the_other_window(
    signed_in: SignedIn, provider: ScriptedProvider
) -> None:
    here, there = signed_in(), signed_in()
    say(here, "Hello there")
    expect(here.get_by_text("You said: Hello there")).to_be_visible()
    there.get_by_role("link", name="Hello there").click()
    expect(there.get_by_text("You said: Hello there")).to_be_visible()
    provider.play(words(30, pause_s=0.03))
    say(here, "Count for both")
    expect(there.get_by_text("w5 ")).to_be_visible()
    expect(there.get_by_text("w29")).to_be_visible()
    expect(there.get_by_label("Write a message")).to_have_value("")
    there.get_by_role("button", name="Actions for Hello there").click()
    there.get_by_role("menuitem", name="Rename").click()
    there.get_by_label("Title of the chat").fill("Renamed over there")
    there.keyboard.press("Enter")
    expect(here.get_by_role("heading", name="Renamed over there")).to_be_visible()


def test_a_message_appears_in_another_window_without_polling_delay(
    signed_in: SignedIn, provider: ScriptedProvider
) -> None:
    here, there = signed_in(), signed_in()
    say(here, "First")
    expect(here.get_by_text("You said: First")).to_be_visible()
    there.get_by_role("link", name="First").click()
    expect(there.get_by_text("You said: First")).to_be_visible()
    there.evaluate(
        """() => new MutationObserver(() => {
            if (!window.seenAt && document.body.innerText.includes('Right now')) window.seenAt = Date.now();
        }).observe(document.body, {subtree: true, childList: true, characterData: true})"""
    )
    here.get_by_label("Write a message").fill("Right now")
    sent_at = here.evaluate("Date.now()")
    here.keyboard.press("Enter")
    expect(there.get_by_text("You said: Right now")).to_be_visible()
    took_ms = there.evaluate("window.seenAt") - sent_at
    print(f"seen in the other window after {took_ms} ms")
    assert took_ms < 2000  # the target is 200 ms; on a busy machine this bound only tells live updates from polling


def test_closing_the_window_during_a_reply_loses_nothing(signed_in: SignedIn, provider: ScriptedProvider) -> None:
    provider.play(words(40, pause_s=0.03))
    first = signed_in()
    say(first, "Go on without me")
    expect(first.get_by_text("w3 ")).to_be_visible()
    address = first.url
    first.context.close()
    second = signed_in()
    second.goto(address)
    expect(second.get_by_text("w39")).to_be_visible()
    expect(second.get_by_text("w0 w1 w2 w3 w4")).to_be_visible()


def test_a_reply_can_be_stopped_continued_and_regenerated(page: Page, provider: ScriptedProvider) -> None:
    provider.play(
        [Text("So far, "), Hold()],
        [Text("so good."), Finish()],
        [Text("Another reply"), Finish()],
    )
    say(page, "Tell me")
    expect(page.get_by_text("So far,")).to_be_visible()
    expect(page.get_by_text("Answering.")).to_be_attached()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("This reply was interrupted.").first).to_be_visible()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("So far, so good.")).to_be_visible()
    page.get_by_role("article", name="Reply").hover()
    page.get_by_role("button", name="Write another reply").click()
    expect(page.get_by_text("Another reply")).to_be_visible()
    expect(page.get_by_text("2/2")).to_be_visible()
    page.get_by_role("button", name="Previous version").click()
    expect(page.get_by_text("So far, so good.")).to_be_visible()
    expect(page.get_by_text("1/2")).to_be_visible()


def test_editing_a_message_keeps_the_previous_version(page: Page, provider: ScriptedProvider) -> None:
    say(page, "What is teh time?")
    expect(page.get_by_text("You said: What is teh time?")).to_be_visible()
    page.get_by_label("Write a message").press("ArrowUp")
    page.get_by_label("Edit your message").fill("What is the time?")
    page.keyboard.press("Enter")
    expect(page.get_by_text("You said: What is the time?")).to_be_visible()
    expect(page.get_by_role("article").get_by_text("teh")).to_have_count(0)
    page.get_by_role("button", name="Previous version").click()
    expect(page.get_by_text("You said: What is teh time?")).to_be_visible()


def test_a_provider_error_is_shown_in_the_chat_and_can_be_retried(page: Page, provider: ScriptedProvider) -> None:
    provider.play([Status(401)])
    say(page, "Hello?")
    expect(page.get_by_role("alert").filter(has_text="rejects its key")).to_be_visible()
    assert accessibility_faults(page) == []
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("You said: Hello?")).to_be_visible()


def test_unsent_text_survives_a_reload_and_an_unreachable_server(
    page: Page, server: LiveServer, complaints: Complaints
) -> None:
    box = page.get_by_label("Write a message")
    box.fill("Half a thought")
    page.reload()
    expect(box).to_have_value("Half a thought")
    page.route("**/api/v1/chats", lambda route: route.abort())
    page.keyboard.press("End")
    box.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="cannot be reached")).to_be_visible()
    expect(box).to_have_value("Half a thought")
    complaints.expect("ERR_FAILED")


def test_enter_during_ime_composition_does_not_send(page: Page) -> None:
    box = page.get_by_label("Write a message")
    box.fill("にほん")
    box.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    expect(box).to_have_value("にほん")
    expect(page).not_to_have_url(re.compile("/c/"))


def test_deleting_a_chat_can_be_undone_and_the_trash_restores_it(page: Page) -> None:
    say(page, "To be thrown away")
    expect(page.get_by_text("You said:")).to_be_visible()
    row = page.get_by_role("link", name="To be thrown away")
    page.get_by_role("button", name="Actions for To be thrown away").click()
    page.get_by_role("menuitem", name="Delete").click()
    expect(row).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(row).to_be_visible()
    page.get_by_role("button", name="Actions for To be thrown away").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.goto("/trash")
    page.get_by_role("main").get_by_role("button", name="Actions for To be thrown away").click()
    page.get_by_role("menuitem", name="Restore").click()
    expect(row).to_be_visible()


def test_a_chat_of_ten_thousand_messages_opens_at_the_newest(page: Page, server: LiveServer) -> None:
    chat_id = _long_chat(server, 10_000)
    started = time.monotonic()
    page.goto(f"/c/{chat_id}")
    expect(page.get_by_text("message 9999", exact=True)).to_be_visible()
    print(f"opened after {time.monotonic() - started:.2f} s")
    assert page.get_by_role("article").count() < 60
    box = page.get_by_role("region", name="Messages")
    box.focus()
    for _ in range(40):
        page.mouse.move(700, 300)
        page.mouse.wheel(0, -1500)
        page.wait_for_timeout(30)
    shown = [int(text.split()[1]) for text in page.locator("article .prose").all_inner_texts()]
    assert shown == list(range(shown[0], shown[0] + len(shown))), "in order, without a gap"
    assert shown[-1] < 9_900
    assert page.get_by_role("article").count() < 60
    page.get_by_role("button", name="New below").click()
    expect(page.get_by_text("message 9999", exact=True)).to_be_visible()


def test_scrolling_up_during_a_reply_keeps_the_scroll_position(
    page: Page, server: LiveServer, provider: ScriptedProvider
) -> None:
    page.goto(f"/c/{_long_chat(server, 60)}")
    expect(page.get_by_text("message 59", exact=True)).to_be_visible()
    provider.play([Text("long line\n\n" * 5), Hold(), *[Text("more\n\n") for _ in range(60)], Finish()])
    say(page, "Write a lot")
    expect(page.get_by_text("long line").first).to_be_visible()
    page.mouse.move(700, 300)
    page.mouse.wheel(0, -900)
    page.wait_for_timeout(150)
    box = page.get_by_role("region", name="Messages")
    before = box.evaluate("(e) => e.scrollTop")
    provider.release()
    expect(page.get_by_role("button", name="New below")).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    assert abs(box.evaluate("(e) => e.scrollTop") - before) < 3


def test_settings_apply_immediately_and_on_other_devices(
    page: Page, signed_in: SignedIn, complaints: Complaints
) -> None:
    page.goto("/settings")
    page.get_by_role("combobox", name="Theme").click()
    page.get_by_role("option", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_label("Your name").fill("Ana <b>")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("A name cannot contain '<'.").first).to_be_visible()
    expect(page.get_by_label("Your name")).to_have_value("Ana <b>")
    page.get_by_label("Your name").fill("Ana María")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="Ana María")).to_be_visible()
    expect(signed_in().locator("html")).to_have_attribute("data-theme", "dark")
    complaints.expect("422")  # the name with a bracket


def test_chat_settings_reach_the_provider(page: Page, provider: ScriptedProvider) -> None:
    say(page, "First")
    expect(page.get_by_text("You said: First")).to_be_visible()
    page.get_by_role("button", name="Chat settings").click()
    page.get_by_label("Instructions").fill("Answer in verse.")
    page.get_by_label("Temperature").fill("0.3")
    page.get_by_label("Longest reply, in tokens").fill("77")
    assert accessibility_faults(page) == []
    page.get_by_role("button", name="Save").click()
    say(page, "Second")
    expect(page.get_by_text("You said: Second")).to_be_visible()
    request = provider.requests[-1]
    assert request["messages"][0] == {"role": "system", "content": "Answer in verse."}
    assert (request["temperature"], request["max_tokens"]) == (0.3, 77)


def test_signing_out_signs_out_every_window_of_the_browser(page: Page) -> None:
    other = page.context.new_page()
    other.goto("/settings")
    expect(other.get_by_role("heading", name="Profile")).to_be_visible()
    page.get_by_role("button", name="Ana").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize(("theme", "device"), [("light", {}), ("dark", PHONE)], ids=["wide-light", "phone-dark"])
def test_every_page_is_accessible(
    signed_in: SignedIn,
    provider: ScriptedProvider,
    complaints: Complaints,
    device: dict[str, object],
    theme: str,
) -> None:
    complaints.expect("404")  # the last address does not exist
    page = signed_in(color_scheme=theme, **device)
    assert accessibility_faults(page) == []
    provider.play([Text(MARKDOWN), Finish()])
    page.get_by_label("Write a message").fill("Why does bread rise?")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("cell", name="90 min")).to_be_visible()
    for path in (None, "/settings", "/settings/data", "/files", "/chats", "/archive", "/trash", "/nowhere"):
        if path:
            page.goto(path)
            page.get_by_role("heading", level=1).first.wait_for()
            page.wait_for_timeout(300)
        assert accessibility_faults(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} scrolls sideways"


def test_a_reply_can_be_regenerated_by_keyboard(page: Page, provider: ScriptedProvider) -> None:
    say(page, "By keyboard")
    expect(page.get_by_text("You said: By keyboard")).to_be_visible()
    expect(page.get_by_text("The reply is finished.")).to_be_attached()
    page.get_by_label("Write a message").focus()
    page.keyboard.press("Shift+Tab")
    for _ in range(12):
        if page.evaluate("document.activeElement?.getAttribute('aria-label')") == "Write another reply":
            break
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("2/2")).to_be_visible()


def _long_chat(server: LiveServer, count: int) -> ChatId:
    engine = plain_engine(server.settings)
    with Session(engine) as session:
        owner = Actor(UserId(session.scalars(sa.select(User.id)).one()), UserRole.USER)
        chat_id = make_chat(session, owner=owner, title="Long")
        for number in range(count):
            add_message(session, chat_id, f"message {number}", owner=owner, is_reply=bool(number % 2))
        session.commit()
    engine.dispose()
    return chat_id
