"""Moments in a query, as people write them."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator


def _in_utc(moment: datetime) -> datetime:
    """A moment without a zone, or a bare date, is meant in UTC."""
    if not 1970 < moment.year < 9999:
        raise ValueError("Choose a moment of these years.")
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


Moment = Annotated[datetime, AfterValidator(_in_utc)]
