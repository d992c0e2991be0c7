"""Windows of time that quotas count in: of the calendar in a person's time zone, or sliding. Pure functions."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tertulia.billing.models import QuotaWindow
from tertulia.clock import find_zone

SLIDING: dict[QuotaWindow, timedelta] = {
    QuotaWindow.MINUTE: timedelta(minutes=1),
    QuotaWindow.HOUR: timedelta(hours=1),
    QuotaWindow.DAY: timedelta(days=1),
    QuotaWindow.MONTH: timedelta(days=30),
}


@dataclass(frozen=True)
class Window:
    """A span of time in UTC that began at `starts_at`. `resets_at` is None for a sliding one: its use leaves one by one."""

    starts_at: datetime
    resets_at: datetime | None


def zone_of(name: str | None) -> ZoneInfo:
    """Return a time zone by its IANA name. An unknown name is UTC, so that a limit always has a window."""
    return find_zone(name or "UTC") or ZoneInfo("UTC")


def window_at(window: QuotaWindow, now: datetime, zone: ZoneInfo, *, is_sliding: bool) -> Window:
    """Return the window that contains a moment. Days and months follow the calendar where the person is."""
    if is_sliding:
        return Window(now - SLIDING[window], None)
    match window:
        case QuotaWindow.MINUTE:
            starts_at = now.replace(second=0, microsecond=0)
            return Window(starts_at, starts_at + timedelta(minutes=1))
        case QuotaWindow.HOUR:
            # The offset of this moment: an hour that the clock repeats is another window.
            offset = now.astimezone(zone).utcoffset() or timedelta(0)
            local = now + offset
            starts_at = local.replace(minute=0, second=0, microsecond=0) - offset
            return Window(starts_at, starts_at + timedelta(hours=1))
        case QuotaWindow.DAY:
            today = now.astimezone(zone).date()
            return Window(_midnight(today, zone), _midnight(today + timedelta(days=1), zone))
        case QuotaWindow.MONTH:
            first = now.astimezone(zone).date().replace(day=1)
            return Window(_midnight(first, zone), _midnight((first + timedelta(days=32)).replace(day=1), zone))


def _midnight(day: datetime | object, zone: ZoneInfo) -> datetime:
    """Return the first moment of a local day. Where the clock skips midnight, it is the moment of the change."""
    return datetime.combine(day, time(), zone).astimezone(UTC)  # type: ignore[arg-type]
