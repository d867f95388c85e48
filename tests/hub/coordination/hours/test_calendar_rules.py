"""Calendars as instants: against a clock on the wall, in zones that change theirs oddly.

- Windows cover what was asked, without gap or overlap, and asking in pieces gives the same.
- Hours hold exactly while the wall clock shows them, over every change of the clock.
- A night shift lasts 7 or 9 real hours in such a night; times that the clock skips or shows twice
  mean what the module says; a day that a country left out has no hours.
- Who wins: special days, then the nearer layer, then the lowest number; breaks only inside work.
- Holidays and special days are production days. No working hours at all are `undefined`.
- Nobody is in two shifts, and a shift belongs to the production day on which it begins.
"""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.coordination.hours.calendar_rules import DAY_MS, Expansion, Kind, Layer, LocalClock
from hub.coordination.hours.public_holidays import holidays_of
from hub.schedule import Calendar, Rule, SpecialDay

WORKDAYS = ("mon", "tue", "wed", "thu", "fri")
DAILY = (*WORKDAYS, "sat", "sun")
CHANGES = [  # a zone, and a day on or beside which its clock is changed
    ("Asia/Tokyo", date(2026, 3, 29)),  # it never is
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),  # by half an hour
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Pacific/Apia", date(2011, 12, 30)),  # left out
    ("America/Havana", date(2026, 3, 8)),  # at midnight, there is none
    ("America/Havana", date(2026, 11, 1)),  # at one, there are two midnights
    ("Asia/Beirut", date(2026, 3, 29)),
    ("Africa/Casablanca", date(2026, 2, 15)),  # for Ramadan
    ("Pacific/Chatham", date(2026, 4, 5)),  # at 3:45
    ("America/Sao_Paulo", date(2018, 11, 4)),
]


def expansion(*calendars, zone="Asia/Tokyo", day_start_min=0, country=None, units=3):
    layers = [Layer(calendar, ZoneInfo(zone)) for calendar in calendars]
    return Expansion(
        layers,
        zone=ZoneInfo(zone),
        is_holiday=holidays_of(country),
        day_start_min=day_start_min,
        units=units,
    )


def ms(text, zone="Asia/Tokyo"):
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def work(start, end, weekdays=DAILY, **more):
    return Rule(kind="work", start=start, end=end, weekdays=weekdays, **more)


def kinds(found, zone="Asia/Tokyo"):
    """Write windows as people read them."""
    local = [datetime.fromtimestamp(w.start_ms / 1000, ZoneInfo(zone)) for w in found]
    return [(f"{at:%d %H:%M}", w.kind.value) for at, w in zip(local, found, strict=True)]


def clock_text(minutes):
    return f"{minutes // 60:02}:{minutes % 60:02}"


halves = st.integers(0, 47).map(lambda half: half * 30)


@st.composite
def rules(draw):
    kind = draw(st.sampled_from(("work", "work", "break", "maintenance", "closed")))
    start, end = draw(halves), draw(halves)
    days = draw(st.sets(st.sampled_from(DAILY), min_size=1))
    priority = draw(st.none() | st.integers(1, 5))
    return Rule(
        kind=kind,
        start=clock_text(start),
        end=clock_text(end),
        weekdays=tuple(days),
        priority=priority,
    )


calendars = st.lists(rules(), max_size=5).map(lambda told: Calendar(rules=tuple(told)))


@settings(max_examples=60, deadline=None)
@given(calendars, calendars, st.sampled_from(CHANGES), st.integers(0, 96), st.integers(1, 96))
def test_windows_cover_the_range_and_asking_in_pieces_gives_the_same(
    near, far, change, first, second
):
    zone, day = change
    asked = expansion(near, far, zone=zone)
    base_ms = round(datetime.combine(day, datetime.min.time(), UTC).timestamp() * 1000) - DAY_MS
    middle_ms = base_ms + first * 1_800_000
    end_ms = middle_ms + second * 1_800_000
    whole = asked.windows(base_ms, end_ms)
    assert (whole[0].start_ms, whole[-1].end_ms) == (base_ms, end_ms)
    assert all(a.end_ms == b.start_ms and a[2:] != b[2:] for a, b in pairwise(whole))
    assert all(w.start_ms < w.end_ms for w in whole)

    def at(found, time_ms):
        return next(w[2:] for w in found if w.start_ms <= time_ms < w.end_ms)

    pieces = asked.windows(base_ms, middle_ms) + asked.windows(middle_ms, end_ms)
    for time_ms in range(base_ms, end_ms, 900_000):
        assert at(pieces, time_ms) == at(whole, time_ms)


def boundaries_are_plain(rule, zone, day):
    """Tell whether no boundary near a day is a time that the clock shows twice or skips."""
    for offset in range(-3, 4):
        for text in (rule.start, rule.end):
            local = datetime.combine(day + timedelta(offset), datetime.min.time())
            local += timedelta(hours=int(text[:2]), minutes=int(text[3:]))
            there = local.replace(tzinfo=ZoneInfo(zone))
            if there.utcoffset() != there.replace(fold=1).utcoffset():
                return False
    return True


@settings(max_examples=80, deadline=None)
@given(rules(), st.sampled_from(CHANGES))
def test_hours_hold_exactly_while_the_clock_on_the_wall_shows_them(rule, change):
    zone, day = change
    if rule.kind.value != "work" or not boundaries_are_plain(rule, zone, day):
        return
    base_ms = round(datetime.combine(day, datetime.min.time(), UTC).timestamp() * 1000) - DAY_MS
    found = expansion(Calendar(rules=(rule,)), zone=zone).windows(base_ms, base_ms + 3 * DAY_MS)
    for window in found:
        for time_ms in range(window.start_ms, window.end_ms, 300_000):
            local = datetime.fromtimestamp(time_ms / 1000, ZoneInfo(zone)).replace(tzinfo=None)
            assert (window.kind is Kind.WORKING) == shown(rule, local), (zone, local)


def shown(rule, local):
    """Tell whether a wall clock that shows `local` is within the rule."""
    minutes = local.hour * 60 + local.minute
    start = int(rule.start[:2]) * 60 + int(rule.start[3:])
    end = start + rule.duration_min
    today, yesterday = DAILY[local.weekday()], DAILY[(local.weekday() - 1) % 7]
    return (today in rule.weekdays and start <= minutes < end) or (
        yesterday in rule.weekdays and start <= minutes + 1440 < end
    )


@pytest.mark.parametrize(
    ("zone", "night", "hours"),
    [
        ("Europe/Berlin", "2026-03-28", 7),
        ("Europe/Berlin", "2026-10-24", 9),
        ("America/New_York", "2026-03-07", 7),
        ("America/New_York", "2026-10-31", 9),
        ("Australia/Lord_Howe", "2026-04-04", 8.5),
        ("Australia/Lord_Howe", "2026-10-03", 7.5),
        ("Asia/Tokyo", "2026-03-28", 8),
    ],
)
def test_a_night_shift_lasts_as_long_as_the_night_does(zone, night, hours):
    asked = expansion(Calendar(rules=(work("22:00", "06:00"),)), zone=zone)
    begin = ms(f"{night}T22:00", zone)
    shift = asked.shifts(begin, begin + 1)[0]
    assert (shift.end_ms - shift.start_ms) / 3_600_000 == hours
    assert shift.day == date.fromisoformat(night)


def test_a_time_that_is_shown_twice_is_its_first_one():
    asked = expansion(Calendar(rules=(work("02:30", "05:00"),)), zone="Europe/Berlin")
    day = ms("2026-10-25T00:00", "Europe/Berlin")
    [shift] = asked.shifts(day, day + DAY_MS // 2)
    assert shift.start_ms == day + 150 * 60_000
    assert shift.end_ms - shift.start_ms == 3.5 * 3_600_000


def test_times_that_the_clock_skips_are_the_instant_of_the_change_and_stay_in_order():
    zone = "Europe/Berlin"
    clock = LocalClock(ZoneInfo(zone))
    day = date(2026, 3, 29).toordinal()
    change = ms("2026-03-29T03:00", zone)
    assert [clock.instant(day, m) for m in (119, 120, 150, 179, 180, 181)] == [
        change - 60_000, change, change, change, change, change + 60_000,
    ]  # fmt: skip
    within = expansion(Calendar(rules=(work("02:10", "02:50"),)), zone=zone)
    assert {w.kind for w in within.windows(change - DAY_MS // 4, change + DAY_MS // 4)} == {
        Kind.CLOSED
    }


def test_a_day_that_a_country_leaves_out_has_no_hours():
    zone = "Pacific/Apia"
    asked = expansion(Calendar(rules=(work("08:00", "17:00"),)), zone=zone)
    found = asked.shifts(ms("2011-12-29T00:00", zone), ms("2012-01-01T00:00", zone))
    assert [shift.day.day for shift in found] == [29, 31]
    days = asked.days(ms("2011-12-29T00:00", zone), ms("2012-01-01T00:00", zone))
    assert [day.day.day for day in days] == [29, 31]


def test_without_working_hours_nothing_is_assumed():
    day = ms("2026-11-24T00:00")
    assert kinds(expansion().windows(day, day + DAY_MS)) == [("24 00:00", "undefined")]
    oil = Rule(kind="maintenance", start="10:00", end="11:00", weekdays=DAILY)
    assert kinds(expansion(Calendar(rules=(oil,))).windows(day, day + DAY_MS)) == [
        ("24 00:00", "undefined"),
        ("24 10:00", "maintenance"),
        ("24 11:00", "undefined"),
    ]


def test_a_break_is_only_one_where_there_is_work():
    lunch = Rule(kind="break", start="11:00", end="13:00", weekdays=DAILY)
    asked = expansion(Calendar(rules=(work("12:00", "15:00"), lunch)))
    day = ms("2026-11-24T00:00")
    assert kinds(asked.windows(day, day + DAY_MS)) == [
        ("24 00:00", "closed"),
        ("24 12:00", "break"),
        ("24 13:00", "working"),
        ("24 15:00", "closed"),
    ]


def test_the_lowest_number_wins_inside_a_layer_and_the_nearer_layer_before_that():
    site = Calendar(
        rules=(
            work("08:00", "18:00", priority=9),
            Rule(kind="closed", start="10:00", end="14:00", weekdays=DAILY, priority=10),
            Rule(kind="maintenance", start="16:00", end="20:00", weekdays=DAILY, priority=8),
        )
    )
    day = ms("2026-11-24T00:00")
    assert kinds(expansion(site).windows(day, day + DAY_MS)) == [
        ("24 00:00", "closed"),
        ("24 08:00", "working"),
        ("24 16:00", "maintenance"),
        ("24 20:00", "closed"),
    ]
    machine = Calendar(rules=(work("17:00", "19:00", priority=1000, capacity_units=2),))
    found = expansion(machine, site).windows(day, day + DAY_MS)
    assert kinds(found)[2:5] == [
        ("24 16:00", "maintenance"),
        ("24 17:00", "working"),
        ("24 19:00", "maintenance"),
    ]
    assert [w.capacity_units for w in found] == [0, 3, 0, 2, 0, 0]


def test_a_special_day_of_the_site_wins_over_the_rules_of_its_machine():
    machine = Calendar(rules=(work("06:00", "22:00"),))
    site = Calendar(
        rules=(work("08:00", "17:00"),),
        exceptions=(SpecialDay(date=date(2026, 8, 11), until=date(2026, 8, 12), label="お盆"),),
    )
    found = expansion(machine, site).windows(ms("2026-08-10T12:00"), ms("2026-08-13T12:00"))
    assert kinds(found) == [
        ("10 12:00", "working"),
        ("10 22:00", "closed"),
        ("13 06:00", "working"),
    ]


def test_a_holiday_is_a_production_day_and_leaves_the_night_before_alone():
    nights = Calendar(rules=(work("22:00", "06:00"), work("08:00", "17:00")))
    from_ms, to_ms = ms("2026-05-04T18:00"), ms("2026-05-07T18:00")  # 4, 5 and 6 are holidays
    asked = expansion(nights, country="JP", day_start_min=8 * 60)
    assert kinds(asked.windows(from_ms, to_ms)) == [
        ("04 18:00", "closed"),
        ("07 08:00", "working"),
        ("07 17:00", "closed"),
    ]
    before = asked.windows(ms("2026-05-02T21:00"), ms("2026-05-03T12:00"))
    assert kinds(before) == [
        ("02 21:00", "closed"),
        ("02 22:00", "working"),
        ("03 06:00", "closed"),
    ]
    open_ = Calendar(rules=(work("08:00", "17:00", on_holidays=True),))
    assert ("05 08:00", "working") in kinds(expansion(open_, country="JP").windows(from_ms, to_ms))


def test_nobody_is_in_two_shifts_and_each_belongs_to_the_day_on_which_it_begins():
    site = Calendar(rules=(work("08:00", "17:00", label="day"), work("22:00", "06:00")))
    machine = Calendar(rules=(work("07:00", "12:00", label="early"),))
    asked = expansion(machine, site, day_start_min=7 * 60)
    found = asked.shifts(ms("2026-11-24T00:00"), ms("2026-11-25T00:00"))
    assert all(a.end_ms <= b.start_ms for a, b in pairwise(found))
    assert [(s.label, s.day.day, (s.end_ms - s.start_ms) / 3_600_000) for s in found] == [
        ("", 23, 8),
        ("early", 24, 5),
        ("day", 24, 5),
        ("", 24, 8),
    ]


def test_a_rule_keeps_to_its_validity_and_leaves_out_its_exceptions():
    rule = work(
        "08:00",
        "17:00",
        valid_from=date(2026, 11, 24),
        valid_until=date(2026, 11, 27),
        exceptions=(date(2026, 11, 25),),
    )
    found = expansion(Calendar(rules=(rule,))).shifts(
        ms("2026-11-20T00:00"), ms("2026-12-02T00:00")
    )
    assert [shift.day.day for shift in found] == [24, 26, 27]


def test_a_holiday_that_begins_at_midnight_cuts_the_night_before():
    nights = Calendar(rules=(work("22:00", "06:00"),))
    found = expansion(nights, country="JP").windows(ms("2026-11-22T12:00"), ms("2026-11-24T12:00"))
    assert kinds(found) == [  # the 23rd is a holiday
        ("22 12:00", "closed"),
        ("22 22:00", "working"),
        ("23 00:00", "closed"),
        ("24 00:00", "working"),
        ("24 06:00", "closed"),
    ]


def test_hours_before_the_production_day_begins_belong_to_the_day_before():
    third = Calendar(rules=(work("00:00", "08:00"), work("08:00", "16:00")))
    asked = expansion(third, day_start_min=8 * 60)
    found = asked.shifts(ms("2026-11-24T00:00"), ms("2026-11-24T16:00"))
    assert [shift.day.day for shift in found] == [23, 24]


def test_of_three_overlapping_shifts_each_instant_belongs_to_one():
    three = Calendar(
        rules=(work("08:00", "12:00", priority=1), work("10:00", "14:00", priority=2),
               work("11:00", "16:00", priority=3)),
    )  # fmt: skip
    found = expansion(three).shifts(ms("2026-11-24T00:00"), ms("2026-11-25T00:00"))
    assert [(s.end_ms - s.start_ms) / 3_600_000 for s in found] == [4, 2, 2]
