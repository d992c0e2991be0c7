"""Known vulnerabilities of installed packages, from advisories in the OSV format that a command stores.

The stored advisories are compared with the installed versions when the page is opened, without a network.
"""

import asyncio
import zipfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import orjson
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, Field, ValidationError
from typing_extensions import TypedDict

from tertulia.data_folder import replace_file
from tertulia.http.outbound import Timeouts, operator_client
from tertulia.instance.errors import AdvisoriesUnavailable

FILE_NAME = "advisories.json"
ADDRESS = "https://api.osv.dev"
ECOSYSTEM = "PyPI"
MAX_QUERIES = 1000  # of one request, which OSV allows
MAX_PAGES = 100
MAX_RECORD_BYTES = 8 * 2**20
AT_ONCE = 8
TIMEOUTS = Timeouts(connect_s=10, first_byte_s=30, idle_s=30, whole_s=300)


class Advisory(BaseModel):
    """An advisory for one package. Versions between `introduced` and `fixed` are affected, or those listed."""

    id: str
    aliases: list[str] = []
    package: str
    summary: str
    severity: str | None = None  # as the database names it, in lower case
    versions: list[str] = []
    ranges: list[list[tuple[str, str]]] = []  # events in order: introduced, fixed or last_affected, and the version

    def affects(self, version: Version) -> bool:
        """Return whether a version has the vulnerability."""
        return any(_is_same(version, listed) for listed in self.versions) or any(
            _is_within(version, events) for events in self.ranges
        )

    def fixed_in(self, version: Version) -> str | None:
        """Return the lowest version above that has the fix, if there is one."""
        fixes = [
            fix
            for events in self.ranges
            for kind, text in events
            if kind == "fixed" and (fix := _version(text)) is not None and fix > version
        ]
        return str(min(fixes)) if fixes else None


class Advisories(BaseModel):
    """The stored advisories, when they were stored, and from where."""

    refreshed_at: datetime
    source: str
    advisories: list[Advisory] = Field(default_factory=list)


class Vulnerability(TypedDict):
    """A vulnerability of an installed package."""

    id: str
    package: str
    version: str
    summary: str
    severity: str | None
    fixed_in: str | None


def installed_packages(root: str = "tertulia") -> dict[str, str]:
    """Return the versions of the packages that the server needs, by name."""
    versions: dict[str, str] = {}
    waiting = [(root, frozenset[str]())]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another platform
            continue
        if name != root:
            versions[canonicalize_name(name)] = package.version
        for line in package.requires or ():
            needed = Requirement(line)
            marker = needed.marker
            if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
                continue
            item = (canonicalize_name(needed.name), frozenset(needed.extras))
            if item not in seen:
                seen.add(item)
                waiting.append(item)
    return versions


def find_vulnerabilities(stored: Advisories, installed: Mapping[str, str]) -> list[Vulnerability]:
    """Return the vulnerabilities of installed versions, by package, each once under its preferred id."""
    vulnerabilities: list[Vulnerability] = []
    known: set[tuple[str, str]] = set()
    for advisory in sorted(stored.advisories, key=lambda advisory: (advisory.package, advisory.severity is None)):
        version = _version(installed.get(advisory.package, ""))
        ids = {(advisory.package, name) for name in (advisory.id, *advisory.aliases)}
        if version is None or known & ids or not advisory.affects(version):
            continue
        known |= ids
        vulnerabilities.append(
            {
                "id": advisory.id,
                "package": advisory.package,
                "version": str(version),
                "summary": advisory.summary,
                "severity": advisory.severity,
                "fixed_in": advisory.fixed_in(version),
            }
        )
    return vulnerabilities


def load_advisories(folder: Path) -> Advisories | None:
    """Return the advisories that were stored in the data folder, or None. Raises AdvisoriesUnavailable."""
    path = folder / FILE_NAME
    try:
        return Advisories.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise AdvisoriesUnavailable(
            f"{path} cannot be read. Delete it and run `tertulia security refresh`: {str(error).splitlines()[0]}"
        ) from error


def store_advisories(folder: Path, advisories: Advisories) -> None:
    """Replace the stored advisories."""
    replace_file(folder / FILE_NAME, advisories.model_dump_json().encode())


def read_archive(path: Path, installed: Mapping[str, str], *, now: datetime) -> Advisories:
    """Read the advisories of installed packages from an archive of OSV. Raises AdvisoriesUnavailable."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = [part for record in _records_in(archive) for part in parse_record(record, installed)]
    except (OSError, zipfile.BadZipFile) as error:
        raise AdvisoriesUnavailable(f"{path} is not a zip of advisories: {error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdvisoriesUnavailable(f"{path} contains an advisory that is not in the OSV format: {error}.") from error
    return Advisories(refreshed_at=now, source=path.name, advisories=records)


async def fetch_advisories(installed: Mapping[str, str], *, now: datetime, address: str = ADDRESS) -> Advisories:
    """Ask the OSV service for the advisories of installed packages. Raises AdvisoriesUnavailable."""
    try:
        async with asyncio.timeout(TIMEOUTS.whole_s), operator_client(TIMEOUTS) as client:
            ids = sorted({name async for name in _ids_of(client, address, installed)})
            slots = asyncio.Semaphore(AT_ONCE)

            async def fetch(name: str) -> list[Advisory]:
                async with slots:
                    answer = await client.get(f"{address}/v1/vulns/{name}")
                    answer.raise_for_status()
                    return parse_record(answer.json(), installed)

            records = [part for parts in await asyncio.gather(*map(fetch, ids)) for part in parts]
    except (httpx.HTTPError, TimeoutError) as error:
        raise AdvisoriesUnavailable(
            f"{address} does not answer as expected ({error or 'no answer in time'}). Try again later, or load a file "
            "with --from. The stored advisories are unchanged."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdvisoriesUnavailable(f"{address} does not answer in the OSV format: {error}.") from error
    return Advisories(refreshed_at=now, source=address, advisories=records)


def parse_record(record: Mapping[str, Any], installed: Iterable[str]) -> list[Advisory]:
    """Return what a record of OSV says about installed packages. A withdrawn record says nothing."""
    if record.get("withdrawn"):
        return []
    wanted = set(installed)
    severity = (record.get("database_specific") or {}).get("severity")
    return [
        Advisory(
            id=record["id"],
            aliases=record.get("aliases") or [],
            package=name,
            summary=str(record.get("summary") or record.get("details") or record["id"])[:300],
            severity=str(severity).lower() if severity else None,
            versions=affected.get("versions") or [],
            ranges=[
                [(kind, str(version)) for event in part.get("events", ()) for kind, version in event.items()]
                for part in affected.get("ranges") or ()
                if part.get("type") == "ECOSYSTEM"
            ],
        )
        for affected in record.get("affected") or ()
        if (affected.get("package") or {}).get("ecosystem") == ECOSYSTEM
        and (name := canonicalize_name(affected["package"]["name"])) in wanted
    ]


async def _ids_of(client: httpx.AsyncClient, address: str, installed: Mapping[str, str]) -> AsyncIterator[str]:
    """Yield the ids of the advisories for installed versions."""
    waiting: list[dict[str, Any]] = [
        {"package": {"name": name, "ecosystem": ECOSYSTEM}, "version": version} for name, version in installed.items()
    ]
    for _ in range(MAX_PAGES):
        if not waiting:
            return
        queries, waiting = waiting[:MAX_QUERIES], waiting[MAX_QUERIES:]
        answer = await client.post(f"{address}/v1/querybatch", json={"queries": queries})
        answer.raise_for_status()
        for query, result in zip(queries, answer.json()["results"], strict=True):
            for entry in result.get("vulns") or ():
                yield entry["id"]
            if token := result.get("next_page_token"):
                waiting.append(query | {"page_token": token})
    raise AdvisoriesUnavailable(f"{address} sends more than {MAX_PAGES} pages of advisories.")


def _records_in(archive: zipfile.ZipFile) -> Iterator[dict[str, Any]]:
    for entry in archive.infolist():
        if entry.filename.endswith(".json"):
            if entry.file_size > MAX_RECORD_BYTES:
                raise ValueError(f"{entry.filename} has more than {MAX_RECORD_BYTES:,} bytes")
            yield orjson.loads(archive.read(entry))


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _is_same(version: Version, text: str) -> bool:
    return _version(text) == version


def _is_within(version: Version, events: list[tuple[str, str]]) -> bool:
    """Return whether the last event at or below the version leaves it affected."""
    is_affected = False
    for kind, text in events:
        at = Version("0") if text == "0" else _version(text)
        if at is None:
            continue
        if kind == "introduced" and version >= at:
            is_affected = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            is_affected = False
    return is_affected
