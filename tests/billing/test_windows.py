"""Test the windows that limits count in: calendars of any time zone, changes of its clock, and sliding windows."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.billing.models import QuotaWindow
from tertulia.billing.sums import QUARTER, quarter_of, split_period
from tertulia.billing.usage import offsets_of
from tertulia.billing.windows import SLIDING, window_at, zone_of

MADRID = ZoneInfo("Europe/Madrid")
MOMENT = st.integers(1_704_067_200, 1_893_456_000).map(lambda second: datetime.fromtimestamp(second, UTC))
ZONE = st.sampled_from(sorted(available_timezones())).map(ZoneInfo)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "now", "zone", "starts_at", "resets_at"),
    [
        (QuotaWindow.MINUTE, "2026-03-05 10:20:30", "Europe/Madrid", "2026-03-05 10:20", "2026-03-05 10:21"),
        (QuotaWindow.HOUR, "2026-03-05 10:20", "Europe/Madrid", "2026-03-05 10:00", "2026-03-05 11:00"),
        (QuotaWindow.HOUR, "2026-03-05 10:20", "Asia/Kathmandu", "2026-03-05 10:15", "2026-03-05 11:15"),
        (QuotaWindow.DAY, "2026-03-05 23:30", "Europe/Madrid", "2026-03-05 23:00", "2026-03-06 23:00"),
        (QuotaWindow.DAY, "2026-03-05 23:30", "America/Lima", "2026-03-05 05:00", "2026-03-06 05:00"),
        # The day on which summer time begins has 23 hours, the one on which it ends 25.
        (QuotaWindow.DAY, "2026-03-29 12:00", "Europe/Madrid", "2026-03-28 23:00", "2026-03-29 22:00"),
        (QuotaWindow.DAY, "2026-10-25 12:00", "Europe/Madrid", "2026-10-24 22:00", "2026-10-25 23:00"),
        # In Cairo, the clock goes from 23:59 to 01:00: the day begins at one.
        (QuotaWindow.DAY, "2026-04-24 12:00", "Africa/Cairo", "2026-04-23 22:00", "2026-04-24 21:00"),
        (QuotaWindow.MONTH, "2026-10-25 12:00", "Europe/Madrid", "2026-09-30 22:00", "2026-10-31 23:00"),
        (QuotaWindow.MONTH, "2028-02-29 23:59", "UTC", "2028-02-01 00:00", "2028-03-01 00:00"),
        (QuotaWindow.MONTH, "2026-12-31 23:59", "UTC", "2026-12-01 00:00", "2027-01-01 00:00"),
    ],
)
def test_calendar_windows_follow_the_clock_where_the_person_is(
    window: QuotaWindow, now: str, zone: str, starts_at: str, resets_at: str
) -> None:
    current = window_at(window, at(now), zone_of(zone), is_sliding=False)
    assert (current.starts_at, current.resets_at) == (at(starts_at), at(resets_at))


@given(MOMENT, ZONE, st.sampled_from(QuotaWindow))
def test_each_moment_is_in_one_window_and_the_next_begins_where_it_ends(
    now: datetime, zone: ZoneInfo, window: QuotaWindow
) -> None:
    current = window_at(window, now, zone, is_sliding=False)
    assert current.resets_at is not None
    assert current.starts_at <= now < current.resets_at
    last = window_at(window, current.resets_at - timedelta(microseconds=1), zone, is_sliding=False)
    following = window_at(window, current.resets_at, zone, is_sliding=False)
    if window is not QuotaWindow.HOUR:  # an hour in which the clock changes by half an hour is shorter
        assert last == current
        assert following.starts_at == current.resets_at


@given(MOMENT, ZONE, st.sampled_from([QuotaWindow.DAY, QuotaWindow.MONTH]))
def test_days_and_months_begin_with_a_quarter_of_an_hour(now: datetime, zone: ZoneInfo, window: QuotaWindow) -> None:
    starts_at = window_at(window, now, zone, is_sliding=False).starts_at
    assert quarter_of(starts_at) == starts_at


@pytest.mark.parametrize("window", QuotaWindow)
def test_a_sliding_window_ends_now(window: QuotaWindow) -> None:
    current = window_at(window, at("2026-03-05 10:20"), MADRID, is_sliding=True)
    assert (at("2026-03-05 10:20") - current.starts_at, current.resets_at) == (SLIDING[window], None)


@pytest.mark.parametrize("name", [None, "", "Nowhere/Town", "../etc/passwd", "Europe"])
def test_an_unknown_time_zone_is_utc(name: str | None) -> None:
    assert zone_of(name).key == "UTC"


@given(MOMENT, st.timedeltas(timedelta(0), timedelta(days=3)))
def test_a_period_is_split_without_gap_or_overlap(since: datetime, length: timedelta) -> None:
    whole, edges = split_period(since, since + length)
    parts = sorted([*edges, *([whole] if whole else [])], key=lambda part: part.since)
    assert sum((part.until - part.since for part in parts), timedelta(0)) == length
    assert all(first.until == second.since for first, second in pairwise(parts))
    assert all(part.until - part.since < QUARTER * 2 for part in edges)


def test_the_offsets_of_a_year_change_twice() -> None:
    changes = offsets_of(MADRID, at("2026-01-01 00:00"), at("2027-01-01 00:00"))
    assert changes == [
        (at("2026-03-29 01:00"), 3600),
        (at("2026-10-25 01:00"), 7200),
        (at("2027-01-01 00:00"), 3600),
    ]
