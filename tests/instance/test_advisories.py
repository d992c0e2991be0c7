"""Test which advisories are stored and which installed versions they are for."""

import asyncio
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson
import pytest
from packaging.version import Version

from tertulia.instance.advisories import (
    Advisories,
    Vulnerability,
    fetch_advisories,
    find_vulnerabilities,
    installed_packages,
    load_advisories,
    parse_record,
    read_archive,
    store_advisories,
)
from tertulia.instance.errors import AdvisoriesUnavailable
from tests.fakes.osv import OsvService
from tests.fakes.process import run_cli

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
INSTALLED = {"parser": "2.4.1", "other-one": "1.0"}


def record(name: str = "GHSA-1", package: str = "Parser", **changes: Any) -> dict[str, Any]:
    affected = {
        "package": {"ecosystem": "PyPI", "name": package},
        "ranges": [{"type": "ECOSYSTEM", "events": changes.pop("events", [{"introduced": "0"}, {"fixed": "2.5"}])}],
        "versions": changes.pop("versions", []),
    }
    return {
        "id": name,
        "summary": "Reads too much",
        "affected": [affected],
        "database_specific": {"severity": "HIGH"},
        **changes,
    }


def found(*records: dict[str, Any]) -> list[Vulnerability]:
    parsed = [part for item in records for part in parse_record(item, INSTALLED)]
    return find_vulnerabilities(Advisories(refreshed_at=NOW, source="test", advisories=parsed), INSTALLED)


def test_an_affected_version_is_found_with_its_fix() -> None:
    assert found(record()) == [
        {
            "id": "GHSA-1",
            "package": "parser",
            "version": "2.4.1",
            "summary": "Reads too much",
            "severity": "high",
            "fixed_in": "2.5",
        }
    ]


@pytest.mark.parametrize(
    ("events", "is_affected"),
    [
        ([{"introduced": "0"}], True),
        ([{"introduced": "2.4.1"}], True),
        ([{"introduced": "2.4.2"}], False),
        ([{"introduced": "0"}, {"fixed": "2.4.1"}], False),
        ([{"introduced": "0"}, {"fixed": "2.4.1.post1"}], True),
        ([{"introduced": "0"}, {"last_affected": "2.4.1"}], True),
        ([{"introduced": "0"}, {"last_affected": "2.4.0"}], False),
        ([{"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "2.0"}, {"fixed": "2.10"}], True),
        ([{"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "2.5"}], False),
    ],
)
def test_ranges(events: list[dict[str, str]], is_affected: bool) -> None:
    assert bool(found(record(events=events))) is is_affected


def test_listed_versions_are_compared_as_versions() -> None:
    assert found(record(events=[], versions=["2.4.1.0"]))
    assert not found(record(events=[], versions=["2.4.10", "not a version"]))


def test_an_advisory_is_listed_once_under_the_id_that_has_a_severity() -> None:
    same = record("PYSEC-9", aliases=["GHSA-1"])
    del same["database_specific"]
    assert [item["id"] for item in found(same, record(aliases=["PYSEC-9", "CVE-2026-1"]))] == ["GHSA-1"]


@pytest.mark.parametrize(
    "unrelated",
    [
        record(withdrawn="2026-01-01T00:00:00Z"),
        record(package="absent"),
        record(events=[{"introduced": "3"}]),
        {"id": "GHSA-2", "affected": [{"package": {"ecosystem": "npm", "name": "parser"}, "versions": ["2.4.1"]}]},
        {"id": "GHSA-3"},
    ],
    ids=["withdrawn", "not installed", "newer", "other ecosystem", "no package"],
)
def test_unrelated_advisories_are_left_out(unrelated: dict[str, Any]) -> None:
    assert found(unrelated) == []


def test_the_packages_of_the_server_are_listed_without_development_tools() -> None:
    installed = installed_packages()
    assert installed["sqlalchemy"] == metadata.version("sqlalchemy")
    assert "greenlet" in installed  # needed by an extra of SQLAlchemy
    assert not {"pytest", "mypy", "tertulia"} & installed.keys()
    assert all(Version(version) for version in installed.values())


@pytest.fixture
def osv() -> Iterator[OsvService]:
    service = OsvService(
        [record(f"GHSA-{number}", "parser", versions=["2.4.1"]) for number in range(5)]
        + [record("GHSA-9", "other-one", versions=["1.0"], events=[])],
        page_size=2,
    )
    yield service
    service.close()


def test_every_page_of_the_service_is_read(osv: OsvService) -> None:
    stored = asyncio.run(fetch_advisories(INSTALLED, now=NOW, address=osv.url))
    assert {advisory.id for advisory in stored.advisories} == {*(f"GHSA-{number}" for number in range(5)), "GHSA-9"}
    assert len(osv.queries) == 4  # two packages, and two more pages of the first


def test_many_packages_are_asked_in_several_requests(osv: OsvService) -> None:
    many = {f"package-{number}": "1" for number in range(1001)}
    assert asyncio.run(fetch_advisories(many, now=NOW, address=osv.url)).advisories == []
    assert len(osv.queries) == 1001


def test_a_failing_service_leaves_the_stored_advisories(osv: OsvService, tmp_path: Path) -> None:
    environment = {"TERTULIA_DATA": str(tmp_path), "PATH": "/usr/bin:/bin"}
    assert run_cli(environment, "security", "refresh", "--address", osv.url).returncode == 0
    before = (tmp_path / "advisories.json").read_bytes()
    osv.is_failing = True
    answer = run_cli(environment, "security", "refresh", "--address", osv.url)
    assert (answer.returncode, "Traceback" in answer.stderr) == (2, False)
    assert "does not answer as expected" in answer.stderr
    assert "--from" in answer.stderr
    assert (tmp_path / "advisories.json").read_bytes() == before


def test_a_zip_of_advisories_is_read_without_a_network(tmp_path: Path) -> None:
    version = metadata.version("sqlalchemy")
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("GHSA-1.json", orjson.dumps(record(package="SQLAlchemy", events=[{"introduced": "0"}])))
        archive.writestr("GHSA-2.json", orjson.dumps(record("GHSA-2", package="absent")))
    environment = {"TERTULIA_DATA": str(tmp_path / "data"), "PATH": "/usr/bin:/bin"}
    answer = run_cli(environment, "security", "refresh", "--from", str(path))
    assert answer.returncode == 0, answer.stderr
    assert f"sqlalchemy {version}: Reads too much (GHSA-1, no fix is known)" in answer.stdout
    assert "1 known vulnerabilities in" in answer.stdout
    stored = load_advisories(tmp_path / "data")
    assert stored is not None
    assert [advisory.id for advisory in stored.advisories] == ["GHSA-1"]
    assert stored.source == "all.zip"


@pytest.mark.parametrize("content", [b"rubbish", None])
def test_an_unreadable_file_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "all.zip"
    if content is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.json", b'{"affected": [{"package": {"ecosystem": "PyPI"}}]}')
    else:
        path.write_bytes(content)
    with pytest.raises(AdvisoriesUnavailable, match=r"all\.zip"):
        read_archive(path, INSTALLED, now=NOW)


def test_stored_advisories_are_read_back(tmp_path: Path) -> None:
    assert load_advisories(tmp_path) is None
    stored = Advisories(refreshed_at=NOW, source="test", advisories=parse_record(record(), INSTALLED))
    store_advisories(tmp_path, stored)
    assert load_advisories(tmp_path) == stored
    (tmp_path / "advisories.json").write_text("{")
    with pytest.raises(AdvisoriesUnavailable, match="Delete it"):
        load_advisories(tmp_path)
