"""Tests that the reference pages and the list of facts are complete."""

import re
from pathlib import Path

import pytest

import tertulia.app
import tertulia.cli  # noqa: F401 - every error class must be known
from tertulia.errors import AppError
from tertulia.features import Features, discover_features
from tertulia.realtime.entities import Entity
from tertulia.runs.schemas import RunEvent
from tertulia.settings import Settings, environment_name

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FACTS = {"S000": 63, "S001": 171, "S002": 102, "S003": 157, "S004": 86}


def _listed(page: str) -> set[str]:
    return set(re.findall(r"^\| `([^`]+)`", (DOCS / "reference" / page).read_text(), re.M))


def _error_codes(kind: type[AppError] = AppError) -> set[str]:
    return {kind.code}.union(*(_error_codes(child) for child in kind.__subclasses__()))


discover_features()  # so that every error class is known


def test_exactly_the_existing_settings_are_documented() -> None:
    assert _listed("settings.md") == {environment_name(field) for field in Settings.model_fields}


def test_exactly_the_existing_error_codes_are_documented() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "src" / "tertulia").rglob("*.py"))
    literal = set(re.findall(r'(?:problem\(\s*\d+,\s*|code=)"([a-z_]+)"', source))
    listed = _listed("errors.md")
    assert _error_codes() | literal <= listed
    assert listed <= _error_codes() | literal | {"method_not_allowed", "http_error"}


def test_every_event_is_documented() -> None:
    page = (DOCS / "reference" / "events.md").read_text()
    for event in RunEvent.__args__:
        (name,) = event.__annotations__["type"].__args__
        assert f"`{name}`" in page
    for entity in Features(discover_features()).contributed(Entity):
        assert f"`{entity.name}`" in page


def test_every_fact_is_listed_once_in_order() -> None:
    ids = re.findall(r"^\| (S\d{3}-\d{3}) \|", (DOCS / "internal" / "conformance.md").read_text(), re.M)
    assert ids == [f"{source}-{number:03}" for source, count in FACTS.items() for number in range(1, count + 1)]
    assert len(ids) == 579


def test_each_fact_has_a_state_and_a_reason() -> None:
    rows = re.findall(
        r"^\| (S\d{3}-\d{3}) \| (\w+) \| (.*?) \| (.*?) \|$", (DOCS / "internal" / "conformance.md").read_text(), re.M
    )
    assert len(rows) == 579
    for fact, state, where, _ in rows:
        assert state in ("kept", "otherwise", "planned"), fact
        assert len(where) > 2, fact


def test_each_test_named_by_a_fact_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (DOCS / "internal" / "conformance.md").read_text()))
    assert len(named) > 20
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_have_a_target(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target
