"""Run the built app in a real browser. A console error or a content security policy violation fails the test."""

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
        .filter((animation) => animation.effect?.getComputedTiming().iterations !== Infinity)
        .map((animation) => animation.finished)
)"""
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")

expect.set_options(timeout=15_000)  # browsers share the cores with other tests


@pytest.fixture(params=["sqlite"])
def engine_kind(request: pytest.FixtureRequest) -> str:
    """Return `sqlite`: what the browser shows does not depend on the database."""
    kind: str = request.param
    return kind


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium for one module. Its open event loop would block the loops of other tests in this thread."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(OPTIONS))
        yield chromium
        chromium.close()


class Complaints(list[str]):
    """Console errors, console warnings and uncaught errors of the pages of a test."""

    def __init__(self) -> None:
        super().__init__()
        self._expected: set[str] = set()

    def expect(self, *texts: str) -> None:
        """Ignore complaints that contain one of these texts, including those reported before this call."""
        self._expected.update(texts)

    def hears(self, text: str, page: Page) -> bool:
        """Return whether a complaint contains this lower-case text. Wait up to half a minute for it."""
        for _ in range(600):
            if any(text in complaint.lower() for complaint in self):
                return True
            page.wait_for_timeout(50)
        return False

    def unexpected(self) -> list[str]:
        return [text for text in self if not any(expected in text for expected in self._expected)]


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


ContextMaker = Callable[..., BrowserContext]


@pytest.fixture
def new_context(browser: Browser, server: LiveServer, complaints: Complaints) -> Iterator[ContextMaker]:
    """Return a function that opens a browser context with separate cookies, like one person at one device."""
    contexts: list[BrowserContext] = []

    def make(**options: Any) -> BrowserContext:
        context = browser.new_context(base_url=server.url, **options)
        context.set_default_timeout(20_000)  # the first page of a browser loads slowly on a busy machine
        context.on("console", lambda message: _listen(message, complaints))
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()
    assert complaints.unexpected() == []


def _listen(message: ConsoleMessage, complaints: Complaints) -> None:
    # A page first requests the signed-in user. Without a session, the expected answer has status 401.
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
    """Return a function that signs Ana in on a new device and returns the page."""

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
    """Return a page where Bob, another person, is signed in on a separate device."""
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
    """Send a message. On a phone, Enter starts a new line, so press the button."""
    page.get_by_label("Write a message").fill(text)
    if page.evaluate("matchMedia('(pointer: coarse)').matches"):
        page.get_by_role("button", name="Send").click()
    else:
        page.keyboard.press("Enter")


def accessibility_faults(page: Page) -> list[str]:
    """Return the violations that axe reports for the current page: WCAG 2.2 A, AA and best practices."""
    page.evaluate(SETTLED)  # contrast is too low while an element fades in
    page.evaluate(AXE.read_text())
    report = page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
    )
    return [f"{v['id']}: {v['help']} {[node['html'][:160] for node in v['nodes']]}" for v in report["violations"]]
