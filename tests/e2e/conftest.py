"""A real browser on the built app; any error in its console, and any report of its policies, fails the test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from sqlalchemy.orm import Session

from tertulia.db.opening import plain_engine
from tests.factories.accounts import PASSWORD_HASH, make_user
from tests.fakes.live_server import LiveServer

AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"
SETTLED = """() => Promise.allSettled(
    document.getAnimations()
        .filter((one) => one.effect?.getComputedTiming().iterations !== Infinity)
        .map((one) => one.finished)
)"""
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")

expect.set_options(timeout=15_000)  # browsers share the cores with whatever else is tested


@pytest.fixture(params=["sqlite"])
def engine_kind(request: pytest.FixtureRequest) -> str:
    """The browser does not know the database; the rest of the suite runs on both."""
    kind: str = request.param
    return kind


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for the whole session: while it is open its event loop holds this thread, where other tests run theirs."""
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(OPTIONS))
        yield made
        made.close()


class Complaints(list[str]):
    """What the pages of a test complained of."""

    def __init__(self) -> None:
        super().__init__()
        self._expected: set[str] = set()

    def expect(self, *words: str) -> None:
        """What the test provokes: complaints with these words count for nothing, whenever the browser tells of them."""
        self._expected.update(words)

    def hears(self, words: str, page: Page) -> bool:
        """Whether there is a complaint with these words; the browser takes a moment to tell of one."""
        for _ in range(100):
            if any(words in one.lower() for one in self):
                return True
            page.wait_for_timeout(50)
        return False

    def unexpected(self) -> list[str]:
        return [one for one in self if not any(words in one for words in self._expected)]


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


ContextMaker = Callable[..., BrowserContext]


@pytest.fixture
def new_context(browser: Browser, server: LiveServer, complaints: Complaints) -> Iterator[ContextMaker]:
    """A browser of its own, with cookies of its own: one person at one device."""
    made: list[BrowserContext] = []

    def make(**options: Any) -> BrowserContext:
        context = browser.new_context(base_url=server.url, **options)
        context.set_default_timeout(20_000)  # the first page of a browser on a busy machine takes its time
        context.on("console", lambda message: _listen(message, complaints))
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        made.append(context)
        return context

    yield make
    for context in made:
        context.close()
    assert complaints.unexpected() == []


def _listen(message: ConsoleMessage, complaints: Complaints) -> None:
    # The first question of a page is who is there, and "nobody" is an answer with status 401.
    if message.type in ("error", "warning") and "401" not in message.text:
        complaints.append(message.text)


@pytest.fixture
def ana_exists(server: LiveServer) -> None:
    engine = plain_engine(server.settings)
    with Session(engine) as session:
        make_user(session, username="ana", name="Ana", password_hash=PASSWORD_HASH)
        session.commit()
    engine.dispose()


SignedIn = Callable[..., Page]


@pytest.fixture
def signed_in(new_context: ContextMaker, ana_exists: None) -> SignedIn:
    """A page of Ana's on a device of its own."""

    def make(**options: Any) -> Page:
        page = new_context(**options).new_page()
        page.goto("/")
        page.get_by_label("User name or e-mail").fill("ana")
        page.get_by_label("Password").fill("correct horse battery")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_label("Write a message").wait_for()
        return page

    return make


@pytest.fixture
def page(signed_in: SignedIn) -> Page:
    return signed_in()


@pytest.fixture
def bob(new_context: ContextMaker, server: LiveServer) -> Page:
    """Another person, at a device of their own."""
    engine = plain_engine(server.settings)
    with Session(engine) as session:
        make_user(session, username="bob", name="Bob", password_hash=PASSWORD_HASH)
        session.commit()
    engine.dispose()
    page = new_context().new_page()
    page.goto("/")
    page.get_by_label("User name or e-mail").fill("bob")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Write a message").wait_for()
    return page


def say(page: Page, text: str) -> None:
    """On a phone, Enter begins a line, so the button is pressed."""
    page.get_by_label("Write a message").fill(text)
    if page.evaluate("matchMedia('(pointer: coarse)').matches"):
        page.get_by_role("button", name="Send").click()
    else:
        page.keyboard.press("Enter")


def accessibility_faults(page: Page) -> list[str]:
    """What axe finds on the page as it is now, by the rules of WCAG 2.2 A and AA."""
    page.evaluate(SETTLED)  # what fades in has less contrast on its way
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
    )
    return [f"{v['id']}: {v['help']} {[node['html'][:160] for node in v['nodes']]}" for v in found["violations"]]
