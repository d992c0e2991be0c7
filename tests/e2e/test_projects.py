"""Test projects in a browser: a folder, a chat opened to a second person live, and the channel of both."""

from playwright.sync_api import Page, expect

from tests.e2e.conftest import Complaints, accessibility_faults
from tests.fakes.scripted_provider import Finish, ScriptedProvider, Text


def create_garden(window: Page) -> None:
    window.get_by_role("button", name="New project").click()
    window.get_by_label("Name").fill("Garden")
    window.get_by_role("button", name="Create").click()
    expect(window.get_by_role("heading", name="Chats")).to_be_visible()


def add_bob(window: Page) -> None:
    window.get_by_label("User name").fill("bob")
    window.get_by_role("button", name="Add", exact=True).click()
    expect(window.get_by_role("main").get_by_text("bob", exact=True)).to_be_visible()


def test_two_people_share_a_project(page: Page, bob: Page, provider: ScriptedProvider, complaints: Complaints) -> None:
    provider.play_for("When to sow?", [Text("In March."), Finish()])
    ana, ben = page, bob
    complaints.expect("404", "This does not exist")  # a chat that is taken away
    create_garden(ana)
    add_bob(ana)
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
    create_garden(ana)
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


def test_a_member_sees_what_is_new_in_a_channel_and_that_they_are_named(
    page: Page, bob: Page, complaints: Complaints
) -> None:
    ana, ben = page, bob
    complaints.expect("409")  # the name that is taken
    create_garden(ana)
    add_bob(ana)
    ana.get_by_role("button", name="New channel").click()
    ana.get_by_label("Name", exact=True).last.fill("General")
    ana.get_by_role("dialog", name="New channel").get_by_role("button", name="Create").click()
    expect(ana.get_by_role("alert")).to_contain_text("has a channel of this name")
    ana.get_by_label("Name", exact=True).last.fill("Seed swap")
    ana.get_by_label("Topic").fill("Who has beans?")
    ana.get_by_role("dialog", name="New channel").get_by_role("button", name="Create").click()
    ana.get_by_role("main").get_by_role("link", name="seed-swap").click()
    expect(ana.get_by_role("heading", name="seed-swap")).to_be_visible()

    # Ben is elsewhere, and sees in the side bar that something is new, and that he is named.
    garden = ben.get_by_role("region", name="Projects").get_by_role("link", name="Garden")
    box = ana.get_by_label("Write a message")
    box.fill("I have **beans**.")
    ana.get_by_role("button", name="Send").click()
    box.press_sequentially("Do you want some, @b")
    expect(ana.get_by_role("option", name="Bob @bob")).to_be_visible()
    assert accessibility_faults(ana) == []
    box.press("Enter")
    expect(box).to_have_value("Do you want some, @bob ")
    box.press("Enter")
    expect(garden).to_have_accessible_name("Garden 1 mention of you")
    garden.click()
    channel = ben.get_by_role("main").get_by_role("listitem").filter(has=ben.get_by_role("link", name="seed-swap"))
    expect(channel).to_contain_text("Who has beans?")
    assert accessibility_faults(ben) == []
    channel.get_by_role("link", name="seed-swap").click()
    expect(ben.get_by_text("New", exact=True)).to_be_visible()
    expect(ben.get_by_text("beans", exact=True)).to_have_css("font-weight", "600")
    expect(garden).to_have_accessible_name("Garden")  # read on every device
    assert accessibility_faults(ben) == []

    # A channel with more than a screen of new messages opens where they begin, and is read at their end.
    garden.click()
    for name in ("First", "Second"):
        box.fill("\n".join(f"{name} list, row {number}" for number in range(30)))
        box.press("Enter")
    expect(garden).to_have_accessible_name("Garden 2 unread")
    channel.get_by_role("link", name="seed-swap").click()
    expect(ben.get_by_text("New", exact=True)).to_be_in_viewport()
    expect(ben.get_by_text("First list, row 0")).to_be_in_viewport()
    expect(garden).to_have_accessible_name("Garden 2 unread")
    ben.get_by_role("button", name="New below").click()
    expect(ben.get_by_text("Second list, row 29")).to_be_in_viewport()
    expect(garden).to_have_accessible_name("Garden")


def test_two_people_talk_in_a_channel_that_is_deleted_and_comes_back(
    page: Page, bob: Page, complaints: Complaints
) -> None:
    ana, ben = page, bob
    complaints.expect("404", "This does not exist")  # the deleted channel
    create_garden(ana)
    add_bob(ana)
    ana.get_by_role("button", name="New channel").click()
    ana.get_by_label("Name", exact=True).last.fill("seed-swap")
    ana.get_by_role("dialog", name="New channel").get_by_role("button", name="Create").click()
    ana.get_by_role("main").get_by_role("link", name="seed-swap").click()
    ben.get_by_role("region", name="Projects").get_by_role("link", name="Garden").click()
    ben.get_by_role("main").get_by_role("link", name="seed-swap").click()

    # Both write at the same moment: neither message hides the other.
    for window, text in ((ana, "Friday at six?"), (ben, "Yes, please.")):
        window.get_by_label("Write a message").fill(text)
    for window in (ana, ben):
        window.get_by_role("button", name="Send").click()
    for window in (ana, ben):
        expect(window.get_by_text("Friday at six?")).to_be_visible()
        expect(window.get_by_text("Yes, please.")).to_be_visible()

    # What a person sends is shown, also if its writing made the box so high that the end was hidden.
    box = ana.get_by_label("Write a message")
    for lines in (range(30), range(12)):
        box.fill("\n".join(f"Row {number} of {len(lines)}" for number in lines))
        ana.get_by_role("button", name="Send").click()
        expect(ana.get_by_text(f"Row {len(lines) - 1} of {len(lines)}")).to_be_in_viewport()

    # A message is edited in place.
    own = ben.get_by_role("article", name="Bob")
    own.hover()
    own.get_by_role("button", name="Edit").click()
    ben.get_by_label("Edit your message").fill("Yes, at seven.")
    ben.get_by_role("button", name="Save").click()
    expect(ana.get_by_text("Yes, at seven.")).to_be_visible()

    # A channel that is deleted closes for both, and comes back.
    ana.get_by_role("button", name="In Garden").click()
    ana.get_by_role("button", name="More about seed-swap").click()
    ana.get_by_role("menuitem", name="Delete").click()
    expect(ben.get_by_text("Yes, at seven.")).to_have_count(0)
    ana.get_by_role("button", name="Undo").click()
    expect(ana.get_by_role("main").get_by_role("link", name="seed-swap")).to_be_visible()
