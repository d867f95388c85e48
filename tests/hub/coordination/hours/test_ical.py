"""Calendars as iCalendar files: what is written is read as the same hours; odd files do no harm.

- Any calendar, written and read, comes to the same windows, in zones that change their clocks.
- A file from an everyday program is understood, with the marks of IDTA 02067.
- What cannot be said here is refused, naming event and property.
- No bytes make the reader fail in another way, or keep it busy.
"""

import contextlib
import random
import time
from datetime import date, datetime
from zoneinfo import ZoneInfo

import icalendar
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.coordination.hours import ical
from hub.coordination.hours.calendar_rules import DAY_MS, Expansion, Layer
from hub.coordination.hours.public_holidays import holidays_of
from hub.schedule import Calendar, Rule, SpecialDay

NOW = round(datetime(2026, 11, 24, tzinfo=ZoneInfo("Asia/Tokyo")).timestamp() * 1000)
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ZONES = ("Asia/Tokyo", "Europe/Berlin", "Australia/Lord_Howe", "UTC")
clocks = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from((0, 15, 30)))
dates = st.dates(date(2026, 9, 1), date(2027, 2, 28))
labels = st.sampled_from(("", "昼勤", "night, shift; A\\B", "=1+1"))
RRULES = (
    "FREQ=DAILY;INTERVAL=3",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR",
    "FREQ=WEEKLY",
    "FREQ=WEEKLY;BYDAY=TU",
    "FREQ=MONTHLY;BYDAY=-1FR",
    "FREQ=MONTHLY;BYMONTHDAY=1,-1",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
)


@st.composite
def rules(draw):
    kind = draw(st.sampled_from(("work", "break", "maintenance", "closed")))
    more = {}
    if draw(st.booleans()):
        more["weekdays"] = tuple(draw(st.sets(st.sampled_from(DAYS), min_size=1)))
        more["valid_from"] = draw(st.none() | dates)
    else:
        more["rrule"], more["valid_from"] = draw(st.sampled_from(RRULES)), draw(dates)
    if more["valid_from"] is not None and draw(st.booleans()):
        more["valid_until"] = max(more["valid_from"], draw(dates))
    if kind == "work":
        more["capacity_units"] = draw(st.none() | st.integers(1, 3))
        more["attended"] = draw(st.booleans())
    return Rule(
        kind=kind,
        start=draw(clocks),
        end=draw(clocks | st.just("24:00")),
        priority=draw(st.none() | st.integers(1, 1000)),
        exceptions=tuple(draw(st.lists(dates, max_size=2))),
        on_holidays=draw(st.booleans()),
        label=draw(labels),
        **more,
    )


@st.composite
def special_days(draw):
    first = draw(dates)
    timed = draw(st.booleans())
    return SpecialDay(
        date=first,
        until=draw(st.none() | dates.filter(lambda last: last >= first)),
        kind=draw(st.sampled_from(("work", "break", "maintenance", "closed"))),
        start=draw(clocks) if timed else None,
        end=draw(clocks) if timed else None,
        label=draw(labels),
    )


calendars = st.builds(
    Calendar,
    production_day_start=st.none() | clocks,
    holidays=st.sampled_from((None, "JP", "none")),
    inherit=st.booleans(),
    rules=st.lists(rules(), max_size=4).map(tuple),
    exceptions=st.lists(special_days(), max_size=3).map(tuple),
)


def windows(calendar, zone):
    asked = Expansion(
        [Layer(calendar, ZoneInfo(zone))],
        zone=ZoneInfo(zone),
        is_holiday=holidays_of(calendar.holidays),
        day_start_min=0,
        units=3,
    )
    return asked.windows(NOW - 60 * DAY_MS, NOW + 180 * DAY_MS)


@settings(max_examples=60, deadline=None)
@given(calendars, st.sampled_from(ZONES))
def test_a_calendar_that_is_written_and_read_comes_to_the_same_hours(calendar, zone):
    again = ical.read(ical.write(calendar, zone, "ota/mc-1", now_ms=NOW), zone)
    assert windows(again, zone) == windows(calendar, zone)
    assert again.holidays == calendar.holidays
    assert again.production_day_start == calendar.production_day_start
    assert again.inherit == calendar.inherit
    assert sorted(x.label for x in again.exceptions) == sorted(x.label for x in calendar.exceptions)
    assert len(again.rules) == len(calendar.rules)


EVERYDAY = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Everyday//Calendar//EN
X-PRODUCTION-DAY:06:00
BEGIN:VTIMEZONE
TZID:Europe/Berlin
BEGIN:STANDARD
DTSTART:19701025T030000
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
END:STANDARD
END:VTIMEZONE
BEGIN:VEVENT
UID:1
DTSTAMP:20260101T000000Z
SUMMARY:Early shift
DTSTART;TZID=Europe/Berlin:20260105T060000
DTEND;TZID=Europe/Berlin:20260105T140000
RRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR;UNTIL=20261231T225959Z
EXDATE;TZID=Europe/Berlin:20260501T060000
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTAMP:20260101T000000Z
SUMMARY:Lunch
X-BREAK:TRUE
DTSTART;TZID=Europe/Berlin:20260105T100000
DURATION:PT30M
RRULE:FREQ=DAILY;COUNT=10
END:VEVENT
BEGIN:VEVENT
UID:3
DTSTAMP:20260101T000000Z
SUMMARY:Works holiday
DTSTART;VALUE=DATE:20260803
DTEND;VALUE=DATE:20260815
END:VEVENT
BEGIN:VEVENT
UID:4
DTSTAMP:20260101T000000Z
SUMMARY:Spindle
X-MAINTENANCE:TRUE
DTSTART;TZID=Europe/Berlin:20260610T080000
DTEND;TZID=Europe/Berlin:20260610T120000
END:VEVENT
END:VCALENDAR
""".replace("\n", "\r\n")


def test_a_file_of_an_everyday_program_is_understood():
    told = ical.read(EVERYDAY.encode(), "Asia/Tokyo")
    assert told.time_zone == "Europe/Berlin"
    assert told.production_day_start == "06:00"
    early, lunch = told.rules
    assert (early.kind, early.start, early.end, early.label) == (
        "work", "06:00", "14:00", "Early shift",
    )  # fmt: skip
    assert early.weekdays == ("mon", "tue", "wed", "thu", "fri")
    assert (early.valid_from, early.valid_until) == (date(2026, 1, 5), date(2026, 12, 31))
    assert early.exceptions == (date(2026, 5, 1),)
    assert (lunch.kind, lunch.end, lunch.rrule) == ("break", "10:30", "FREQ=DAILY")
    assert lunch.valid_until == date(2026, 1, 14)
    off, spindle = told.exceptions
    assert (off.kind, off.date, off.until) == ("closed", date(2026, 8, 3), date(2026, 8, 14))
    assert (spindle.kind, spindle.start, spindle.end) == ("maintenance", "08:00", "12:00")
    assert ical.read(EVERYDAY.encode(), "Europe/Berlin").time_zone is None


def test_what_a_calendar_comes_to_is_a_feed_of_single_events():
    rule = Rule(kind="work", start="08:00", end="17:00", weekdays=DAYS)
    found = windows(Calendar(rules=(rule,)), "Asia/Tokyo")[:5]
    feed = icalendar.Calendar.from_ical(ical.write_windows(found, "ota/mc-1", now_ms=NOW))
    starts = [round(e["DTSTART"].dt.timestamp() * 1000) for e in feed.walk("VEVENT")]
    assert starts == [w.start_ms for w in found if w.kind == "working"]


def event(*lines):
    body = ("BEGIN:VCALENDAR", "VERSION:2.0", "BEGIN:VEVENT", *lines, "END:VEVENT", "END:VCALENDAR")
    return "\r\n".join((*body, "")).encode()


HOURS = ("DTSTART:20260105T080000", "DTEND:20260105T170000")


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "VCALENDAR"),
        (b"\xff\xfe\x00", "VCALENDAR"),
        (b"BEGIN:VEVENT\r\nEND:VEVENT\r\n", "VCALENDAR"),
        (b"x" * 70_000, "VCALENDAR"),
        (event("SUMMARY:no time"), "VEVENT 0/DTSTART"),
        (event("DTSTART:20260105T080000", "DTEND:20260105T080000"), "VEVENT 0/DTEND"),
        (event("DTSTART:20260105T080000", "DTEND;VALUE=DATE:20260106"), "VEVENT 0/DTEND"),
        (event("DTSTART:20260105T080000", "DTEND:20260108T080000"), "VEVENT 0/DTEND"),
        (event("DTSTART:20260105T080030", "DTEND:20260105T090000"), "VEVENT 0/DTSTART"),
        (event(*HOURS, "RRULE:FREQ=SECONDLY"), "VEVENT 0/RRULE"),
        (event(*HOURS, "RRULE:FREQ=DAILY;BYHOUR=3"), "VEVENT 0/RRULE"),
        (event(*HOURS, "RRULE:FREQ=DAILY", "RRULE:FREQ=WEEKLY"), "VEVENT 0/RRULE"),
        (event(*HOURS, "RRULE:FREQ=DAILY;COUNT=999999999"), "VEVENT 0/RRULE"),
        (event(*HOURS, "RDATE:20260106T080000"), "VEVENT 0/RDATE"),
        (event("DTSTART;TZID=Mars/Olympus:20260105T080000", "DURATION:PT1H"), "DTSTART"),
        (event(*HOURS, "X-MACHIKOBA-KIND:party"), "VEVENT 0/X-MACHIKOBA-KIND"),
        (event(*HOURS, "X-MACHIKOBA-UNITS:-3"), "VEVENT 0/X-MACHIKOBA-UNITS"),
        (event("DTSTART;VALUE=DATE:18700105"), "VEVENT 0/date"),
        (b"BEGIN:VCALENDAR\r\n" + b"BEGIN:VEVENT\r\n" * 3000, "VCALENDAR"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(body, place):
    with pytest.raises(ical.IcalError) as refused:
        ical.read(body, "Asia/Tokyo")
    assert refused.value.place == place
    assert refused.value.cause


def test_no_bytes_harm_the_reader_or_keep_it_busy():
    rng = random.Random(7)
    words = [line.encode() for line in EVERYDAY.splitlines() if line]
    words += [b"RRULE:FREQ=YEARLY;BYMONTHDAY=31;BYMONTH=2;COUNT=5000", b"DTSTART:99991231T235959"]
    for _ in range(400):
        lines = rng.choices(words, k=rng.randrange(1, 40))
        body = bytearray(b"\r\n".join((b"BEGIN:VCALENDAR", *lines, b"END:VCALENDAR", b"")))
        for _ in range(rng.randrange(4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        began = time.process_time()
        with contextlib.suppress(ical.IcalError):
            ical.read(bytes(body), "Asia/Tokyo")
        assert time.process_time() - began < 1.0
