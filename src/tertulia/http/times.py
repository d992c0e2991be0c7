"""Parse times in requests."""

import re
from datetime import UTC, date, datetime, time, tzinfo
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator


def _in_utc(moment: datetime) -> datetime:
    """Convert to UTC. A time without a zone, or a bare date, is taken as UTC."""
    if not 1970 < moment.year < 9999:
        raise ValueError("Enter a year from 1971 to 9998.")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


UtcInput = Annotated[datetime, AfterValidator(_in_utc)]


def _day(value: object) -> object:
    """Return the date of a text that is only a date, which a moment could also be read from."""
    is_day = isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value)
    return date.fromisoformat(value) if is_day and isinstance(value, str) else value


def _checked(value: datetime | date) -> datetime | date:
    if isinstance(value, datetime):
        return _in_utc(value)
    if not 1970 < value.year < 9999:
        raise ValueError("Enter a year from 1971 to 9998.")
    return value


DayOrMoment = Annotated[datetime | date, BeforeValidator(_day), AfterValidator(_checked)]


def start_of(value: datetime | date, zone: tzinfo) -> datetime:
    """Return a moment in UTC; of a date, when it begins in a time zone."""
    if isinstance(value, datetime):
        return value
    return datetime.combine(value, time(), zone).astimezone(UTC)
