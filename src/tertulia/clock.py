"""The current time, in one place so that tests can stop it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_frozen: datetime | None = None


def now() -> datetime:
    """Return the current time in UTC, timezone-aware, with microseconds."""
    return _frozen if _frozen is not None else datetime.now(UTC)


@contextmanager
def frozen(moment: datetime) -> Iterator[None]:
    """Stop the clock at `moment` for a test. Background work sees the same time."""
    global _frozen
    previous, _frozen = _frozen, moment
    try:
        yield
    finally:
        _frozen = previous


@lru_cache(maxsize=1024)
def find_zone(name: str) -> ZoneInfo | None:
    """Return a time zone by its IANA name, or None if there is none of this name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def is_zone(name: str) -> bool:
    return find_zone(name) is not None


def next_month(moment: datetime, zone_name: str) -> datetime:
    """Return when the next month begins in a time zone."""
    zone = find_zone(zone_name) or ZoneInfo("UTC")
    first = moment.astimezone(zone).date().replace(day=1)
    return datetime.combine((first + timedelta(days=32)).replace(day=1), time(), zone).astimezone(UTC)
