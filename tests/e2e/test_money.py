"""Test limits, plans and payments in a browser: reaching a limit, buying and losing a plan, giving a plan to a person."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tertulia.accounts.models import User, UserRole
from tertulia.db.opening import plain_engine
from tests.conftest import ServerMaker
from tests.e2e.conftest import Complaints, SignedIn, accessibility_faults, say
from tests.e2e.test_chat import PHONE
from tests.factories.payments import PRODUCT, SAMPLES
from tests.fakes.live_server import LiveServer
from tests.fakes.payment_servers import POLAR_SECRET
from tests.fakes.payment_shops import PolarShop
from tests.fakes.scripted_provider import Finish, ScriptedProvider, Text, words


@pytest.fixture
def polar() -> Iterator[PolarShop]:
    subscription, order = (json.loads(SAMPLES[number].read_bytes())["data"] for number in (1, 2))
    shop = PolarShop(products={PRODUCT}, templates={"subscription": subscription, "order": order})
    yield shop
    shop.close()


@pytest.fixture
def server(start_server: ServerMaker, provider: ScriptedProvider, polar: PolarShop) -> LiveServer:
    provider.models = ["gpt-4o", "gpt-4o-mini"]
    server = start_server(
        openai_base_url=provider.url,
        openai_api_key="sk-of-the-operator",
        openai_models=("gpt-4o", "gpt-4o-mini"),
        polar_url=polar.url,
        polar_access_token=polar.token,
        polar_webhook_secrets=(POLAR_SECRET,),
    )
    polar.receiver = f"{server.url}/api/v1/webhooks/polar"
    return server


def user_id_of(server: LiveServer, *, becomes_admin: bool = False) -> str:
    """Return Ana's id, and make her an administrator if asked."""
    engine = plain_engine(server.settings)
    with Session(engine) as session:
        user_id: str = session.scalars(select(User.id).where(User.username == "ana")).one()
        if becomes_admin:
            session.execute(update(User).values(role=UserRole.ADMIN))
            session.commit()
    engine.dispose()
    return user_id


def set_limit(page: Page, dollars: str) -> None:
    page.goto("/settings/limits")
    page.get_by_role("button", name="Set a limit").first.click()
    page.get_by_label("At most (dollars)").fill(dollars)
    page.get_by_role("button", name="Set limit").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_limit_is_reached_in_a_reply_raised_and_the_reply_continued(
    signed_in: SignedIn, provider: ScriptedProvider
) -> None:
    page = signed_in(**PHONE)
    set_limit(page, "0.002")
    page.goto("/")
    page.get_by_label("Write a message").fill("Count as far as you can")
    expect(page.get_by_title(re.compile("^Expected from earlier replies"))).to_be_visible()
    provider.play(words(3000))
    page.get_by_role("button", name="Send").click()
    alert = page.get_by_text("Its text is kept")
    expect(alert).to_be_visible()
    expect(page.get_by_role("article", name="Reply").get_by_text("w0 w1 w2")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^Answer with gpt-4o-mini: about"))).to_be_visible()
    assert accessibility_faults(page) == []
    chat = page.url
    page.get_by_role("link", name="Show limits").click()
    page.get_by_role("button", name=re.compile("^Change")).first.click()
    page.get_by_label("At most (dollars)").fill("5")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    provider.play([Text(" and this is the end."), Finish()])
    page.goto(chat)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("and this is the end.")).to_be_visible()
    expect(alert).to_have_count(0)


@pytest.mark.parametrize("device", [{}, PHONE], ids=["wide", "phone"])
def test_a_plan_is_bought_cancelled_kept_and_lost_in_both_windows(
    signed_in: SignedIn, server: LiveServer, polar: PolarShop, complaints: Complaints, device: dict[str, Any]
) -> None:
    here = signed_in()
    user_id_of(server, becomes_admin=True)
    here.goto("/settings/plans")
    here.get_by_role("button", name="Create a plan").click()
    here.get_by_label("Name", exact=True).fill("Pro")
    here.get_by_label("Products").fill(f"polar:{PRODUCT}")
    here.get_by_label("Offer it").click()
    here.get_by_role("dialog").get_by_role("button", name="Create").click()
    expect(here.get_by_text("On offer")).to_be_visible()
    there = signed_in(**device)
    there.goto("/settings/plan")
    expect(there.get_by_role("button", name="Get Pro")).to_be_visible()
    here.goto("/settings/plan")
    here.route(f"{polar.url}/**", lambda route: route.fulfill(body="The checkout", content_type="text/html"))
    here.get_by_role("button", name="Get Pro").press("Enter")
    here.wait_for_url(re.compile("/checkout/"))
    subscription = polar.pay(here.url)
    expect(there.get_by_text("Your plan", exact=True).last).to_be_visible()
    expect(there.get_by_role("button", name="Get Pro")).to_have_count(0)
    here.goto("/settings/plan")
    there.get_by_role("button", name="Cancel", exact=True).click()
    expect(there.get_by_text(re.compile("^Cancelled. You keep the plan until"))).to_be_visible()
    expect(here.get_by_role("button", name="Keep it after all")).to_be_visible()  # in the other window
    assert accessibility_faults(there) == []
    here.get_by_role("button", name="Keep it after all").press("Enter")
    expect(there.get_by_role("button", name="Cancel", exact=True)).to_be_visible()
    now = polar.now.isoformat()
    polar.change(subscription, "subscription.revoked", status="canceled", ended_at=now, ends_at=now)
    expect(there.get_by_role("button", name="Get Pro")).to_be_visible()
    here.goto("/settings/plans")
    expect(here.get_by_text("subscription.revoked").first).to_be_visible()
    polar.wait()


def test_an_administrator_gives_a_plan_and_sees_the_limits_with_the_keyboard(
    page: Page, bob: Page, server: LiveServer
) -> None:
    user_id_of(server, becomes_admin=True)
    page.goto("/settings/plans")
    page.get_by_role("button", name="Create a plan").press("Enter")
    page.get_by_label("Name", exact=True).fill("Team")
    page.get_by_role("dialog").get_by_role("button", name="Create").press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.goto("/settings/people")
    page.get_by_role("button", name="What to do with Bob").press("Enter")
    page.get_by_role("menuitem", name="Plan and limits").press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Without a plan, everything is allowed.")).to_be_visible()
    dialog.get_by_role("combobox", name="Plan").press("Enter")
    page.get_by_role("option", name="Team").press("Enter")
    expect(dialog.get_by_text("Now: Team, given by hand.")).to_be_visible()
    assert accessibility_faults(page) == []
    bob.goto("/settings/plan")
    expect(bob.get_by_text("Given by an administrator")).to_be_visible()
    say_and_see_usage(bob, page)


def say_and_see_usage(bob: Page, admin: Page) -> None:
    bob.goto("/")
    say(bob, "Good evening")
    expect(bob.get_by_text("You said: Good evening")).to_be_visible()
    admin.goto("/settings/usage")
    admin.get_by_role("combobox", name="Whose").click()
    admin.get_by_role("option", name="Everybody").click()
    expect(admin.get_by_role("heading", name="By person")).to_be_visible()
    expect(admin.get_by_text("bob").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("part", ["limits", "plan", "plans", "prices", "usage"])
def test_the_pages_about_money_are_accessible_and_fit_a_phone(
    signed_in: SignedIn, server: LiveServer, part: str, scheme: str
) -> None:
    page = signed_in(**PHONE, color_scheme=scheme)
    user_id_of(server, becomes_admin=True)
    page.goto(f"/settings/{part}")
    expect(page.get_by_role("heading", level=2).first).to_be_visible()
    assert accessibility_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
