"""Parse times in requests."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator


def _in_utc(moment: datetime) -> datetime:
    """Convert to UTC. A time without a zone, or a bare date, is taken as UTC."""
    if not 1970 < moment.year < 9999:
        raise ValueError("Enter a year from 1971 to 9998.")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


UtcInput = Annotated[datetime, AfterValidator(_in_utc)]
