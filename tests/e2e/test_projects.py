"""Test projects in a browser: a folder, a chat opened to a second person live, and the channel of both."""

from playwright.sync_api import Page, expect

from tests.e2e.conftest import Complaints, accessibility_faults
from tests.fakes.scripted_provider import Finish, ScriptedProvider, Text


def test_two_people_share_a_project(page: Page, bob: Page, provider: ScriptedProvider, complaints: Complaints) -> None:
    provider.play_for("When to sow?", [Text("In March."), Finish()])
    ana, ben = page, bob
    complaints.expect("404", "This does not exist")  # a chat that is taken away
    ana.get_by_role("button", name="New project").click()
    ana.get_by_label("Name").fill("Garden")
    ana.get_by_role("button", name="Create").click()
    expect(ana.get_by_role("heading", name="Chats")).to_be_visible()
    ana.get_by_label("User name").fill("bob")
    ana.get_by_role("button", name="Add", exact=True).click()
    expect(ana.get_by_role("link", name="general")).to_be_visible()
    assert accessibility_faults(ana) == []

    # The project appears in the window that was open before.
    ben.goto("/projects")
    ben.get_by_role("main").get_by_role("link", name="Garden").click()
    expect(ben.get_by_text("No chats yet.")).to_be_visible()
    assert accessibility_faults(ben) == []

    ana.get_by_role("link", name="New chat", exact=True).last.click()
    expect(ana.get_by_text("In Garden")).to_be_visible()
    ana.get_by_label("Write a message").fill("When to sow?")
    ana.keyboard.press("Enter")
    expect(ana.get_by_text("In March.")).to_be_visible()

    ben.get_by_role("main").get_by_role("link", name="When to sow?").click()
    expect(ben.get_by_text("In March.")).to_be_visible()

    # Taken away, it is gone for the other person.
    ana.get_by_role("button", name="In Garden").click()
    ana.get_by_role("checkbox", name="Open to the other member").click()
    ana.get_by_role("button", name="Move").click()
    expect(ana.get_by_text("Moved to Garden.")).to_be_visible()
    expect(ben.get_by_text("In March.")).to_have_count(0)

    # Both talk in the channel, live.
    for window in (ana, ben):
        window.goto("/projects")
        window.get_by_role("main").get_by_role("link", name="Garden").click()
        window.get_by_role("link", name="general").click()
    ana.get_by_label("Write a message").fill("Who waters on Friday?")
    ana.keyboard.press("Enter")
    expect(ben.get_by_text("Who waters on Friday?")).to_be_visible()
    ben.get_by_label("Write a message").fill("I do.")
    ben.get_by_role("button", name="Send").click()
    expect(ana.get_by_text("I do.")).to_be_visible()
    assert accessibility_faults(ana) == []


def test_a_person_joins_by_a_link_and_the_owner_limits_the_project(
    page: Page, bob: Page, complaints: Complaints
) -> None:
    ana, ben = page, bob
    complaints.expect("404")  # the link that was used
    ana.get_by_role("button", name="New project").click()
    ana.get_by_label("Name").fill("Garden")
    ana.get_by_role("button", name="Create").click()
    ana.get_by_role("button", name="Invite with a link").click()
    ana.get_by_role("button", name="Make a link").click()
    link = ana.locator("code").inner_text()
    assert accessibility_faults(ana) == []
    ana.get_by_role("button", name="Done").click()

    ben.goto(link)
    expect(ben.get_by_role("heading", name="Join Garden")).to_be_visible()
    assert accessibility_faults(ben) == []
    ben.get_by_role("button", name="Join as Bob").click()
    expect(ben.get_by_role("heading", name="Garden")).to_be_visible()
    expect(ana.get_by_role("main").get_by_text("bob", exact=True)).to_be_visible()  # live
    ben.goto(link)
    expect(ben.get_by_text("This invitation does not work")).to_be_visible()

    ana.get_by_role("button", name="Limit this project").click()
    ana.get_by_label("At most (dollars)").fill("5")
    ana.get_by_role("button", name="Set limit").click()
    expect(ana.get_by_role("meter", name="Cost per month")).to_be_visible()
    assert accessibility_faults(ana) == []
