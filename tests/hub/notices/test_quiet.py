"""Quiet hours follow the sleeper's wall clock: over midnight, and when clocks change."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.notices.quiet import QuietHours, is_quiet

EVERY_DAY = frozenset(range(7))
NIGHT = QuietHours(EVERY_DAY, 22 * 60, 6 * 60)
NOON = QuietHours(EVERY_DAY, 12 * 60, 13 * 60)
TOKYO, BERLIN = ZoneInfo("Asia/Tokyo"), ZoneInfo("Europe/Berlin")


def at(zone, text):
    return round(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


@pytest.mark.parametrize(
    ("clock", "quiet"),
    [
        ("21:59:59", False),
        ("22:00:00", True),
        ("23:59:59", True),
        ("00:00:00", True),
        ("05:59:59", True),
        ("06:00:00", False),
        ("12:30:00", False),
    ],
)
def test_a_night_goes_over_midnight(clock, quiet):
    assert is_quiet([NIGHT], TOKYO, at(TOKYO, f"2026-11-23T{clock}")) is quiet


def test_a_window_belongs_to_the_day_on_which_it_begins():
    friday = [QuietHours(frozenset({4}), 22 * 60, 6 * 60)]

    assert is_quiet(friday, TOKYO, at(TOKYO, "2026-11-27T23:00:00"))
    assert is_quiet(friday, TOKYO, at(TOKYO, "2026-11-28T05:00:00"))
    assert not is_quiet(friday, TOKYO, at(TOKYO, "2026-11-27T05:00:00"))
    assert not is_quiet(friday, TOKYO, at(TOKYO, "2026-11-28T23:00:00"))


def test_sunday_night_ends_on_monday():
    sunday = [QuietHours(frozenset({6}), 22 * 60, 6 * 60)]

    assert is_quiet(sunday, TOKYO, at(TOKYO, "2026-11-30T05:59:00"))
    assert not is_quiet(sunday, TOKYO, at(TOKYO, "2026-11-29T05:59:00"))


def test_a_window_that_ends_when_it_begins_is_a_whole_day():
    day = [QuietHours(frozenset({0}), 8 * 60, 8 * 60)]

    assert not is_quiet(day, TOKYO, at(TOKYO, "2026-11-23T07:59:00"))
    assert is_quiet(day, TOKYO, at(TOKYO, "2026-11-23T08:00:00"))
    assert is_quiet(day, TOKYO, at(TOKYO, "2026-11-24T07:59:00"))
    assert not is_quiet(day, TOKYO, at(TOKYO, "2026-11-24T08:00:00"))


def minutes_quiet(windows, zone, begin, hours):
    start = at(zone, begin)
    return sum(is_quiet(windows, zone, start + m * 60_000) for m in range(hours * 60))


@pytest.mark.parametrize(
    ("begin", "hours"),
    [("2026-03-28T12:00:00", 7), ("2026-10-24T12:00:00", 9), ("2026-06-01T12:00:00", 8)],
)
def test_the_night_is_as_long_as_it_is_for_the_sleeper(begin, hours):
    assert minutes_quiet([NIGHT], BERLIN, begin, 24) == hours * 60


def test_the_hour_that_comes_twice_is_quiet_twice():
    window = [QuietHours(EVERY_DAY, 2 * 60, 3 * 60)]
    first = round(datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp() * 1000)

    assert [is_quiet(window, BERLIN, first + h * 3_600_000) for h in (-1, 0, 1, 2)] == [
        False,
        True,
        True,
        False,
    ]


def test_the_hour_that_does_not_come_is_nobody_s():
    window = [QuietHours(EVERY_DAY, 2 * 60, 3 * 60)]

    assert minutes_quiet(window, BERLIN, "2026-03-29T00:00:00", 12) == 0


@given(
    window=st.builds(
        QuietHours,
        st.frozensets(st.integers(0, 6)),
        st.integers(0, 1439),
        st.integers(0, 1439),
    ),
    minute=st.integers(0, 10_079),
)
def test_a_window_holds_what_lies_between_its_beginning_and_its_length(window, minute):
    monday = datetime(2026, 11, 23, tzinfo=UTC)
    length = (window.to_min - window.from_min - 1) % 1440 + 1
    begins = [day * 1440 + window.from_min for day in window.days]
    expected = any(
        b + week * 10_080 <= minute < b + week * 10_080 + length for b in begins for week in (-1, 0)
    )
    moment = monday + timedelta(minutes=minute)

    assert is_quiet([window], ZoneInfo("UTC"), round(moment.timestamp() * 1000)) is expected
