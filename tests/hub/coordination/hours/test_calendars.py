"""Calendars as they are kept: written, read again, asked for by site and machine, and cached.

- What is written is there after a restart, in any store; every change has a new version, is in the
  audit log and tells an event; a change to something that has changed since is refused.
- A machine follows its site, adds to it, or goes its own way; settings hold until somebody writes.
- Windows come whole over the borders of what is kept, and a change is seen at once.
- Asking 500 machines for 60 days again costs little.
"""

import time
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from hub.coordination.hours.calendars import Calendars, Kind, StaleCalendarError
from hub.schedule import Calendar, Rule, SpecialDay
from hub.store import audit, events

DAILY = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
T0 = round(datetime(2026, 11, 24, tzinfo=ZoneInfo("Asia/Tokyo")).timestamp() * 1000)
HOUR = 3_600_000
DAY = 24 * HOUR


@dataclass
class Place:
    time_zone: str = "Asia/Tokyo"
    day_start_min: int = 0


@dataclass
class Machine:
    capacity_units: int = 1


@dataclass
class Places:
    """A directory that knows what it is told."""

    sites: dict = field(default_factory=dict)
    machines: dict = field(default_factory=dict)
    version: int = 0

    def site(self, site):
        return self.sites.get(site)

    def machine(self, site, machine):
        return self.machines.get((site, machine))


def shift(start, end, **more):
    return Rule(kind="work", start=start, end=end, weekdays=DAILY, **more)


DAYTIME = Calendar(rules=(shift("08:00", "17:00"),))


@pytest.fixture
def places():
    return Places(
        {"ota": Place(), "berlin": Place("Europe/Berlin", 480)}, {("ota", "mc-2"): Machine(4)}
    )


@pytest.fixture
def open_calendars(store, places):
    return lambda **more: Calendars(store, places, now_ms=lambda: T0, **more)


def working(calendars, machine="mc-1", site="ota", from_ms=T0, to_ms=T0 + DAY):
    found = calendars.windows(site, machine, from_ms, to_ms)
    return [
        ((w.start_ms - T0) / HOUR, (w.end_ms - T0) / HOUR) for w in found if w.kind is Kind.WORKING
    ]


def test_without_a_calendar_hours_are_undefined(open_calendars):
    calendars = open_calendars()
    assert calendars.at("ota", "mc-1", T0).kind is Kind.UNDEFINED
    assert calendars.at("nowhere", "x", T0).kind is Kind.UNDEFINED
    assert calendars.get("ota") is None


def test_a_calendar_is_there_after_a_restart_and_taking_it_away_takes_it_away(open_calendars):
    first = open_calendars()
    owned = first.put("ota", None, DAYTIME, who="key:a", version=0)
    assert working(first) == [(8, 17)]
    again = open_calendars()
    assert again.get("ota") == owned
    assert working(again) == [(8, 17)]
    assert again.remove("ota", None, who="key:a", version=owned.version)
    assert working(again) == []
    assert not again.remove("ota", None, who="key:a", version=None)


def test_a_change_to_what_has_changed_since_is_refused_and_no_version_comes_twice(open_calendars):
    calendars = open_calendars()
    first = calendars.put("ota", None, DAYTIME, who="a", version=0)
    for stale in (0, first.version + 1):
        with pytest.raises(StaleCalendarError):
            calendars.put("ota", None, Calendar(), who="b", version=stale)
    assert working(calendars) == [(8, 17)]
    second = calendars.put("ota", None, Calendar(), who="b", version=first.version)
    calendars.remove("ota", None, who="b", version=second.version)
    with pytest.raises(StaleCalendarError):
        calendars.remove("ota", None, who="b", version=second.version)
    third = calendars.put("ota", None, DAYTIME, who="b", version=0)
    assert first.version < second.version < third.version


def test_every_change_is_audited_and_told(open_calendars, store):
    told = []
    calendars = open_calendars(followers=[lambda *what: told.append(what)])
    before = calendars.version
    calendars.put("ota", None, DAYTIME, who="key:a", version=None)
    calendars.put("ota", "mc-1", DAYTIME, who="key:a", version=None)
    calendars.remove("ota", "mc-1", who="key:b", version=None)
    assert told == [("ota", None), ("ota", "mc-1"), ("ota", "mc-1")]
    assert calendars.version == before + 3
    with store.read() as tx:
        happened = events.after(tx, 0, limit=10)
        assert [(e.type, e.site, e.machine) for e in happened] == [
            ("calendar.changed", "ota", None),
            ("calendar.changed", "ota", "mc-1"),
            ("calendar.changed", "ota", "mc-1"),
        ]
        assert audit.verify(tx) is None


def test_a_refused_change_leaves_no_trace(open_calendars, store):
    calendars = open_calendars()
    with pytest.raises(StaleCalendarError):
        calendars.put("ota", None, DAYTIME, who="a", version=7)
    with store.read() as tx:
        assert events.newest(tx) == 0


def test_a_machine_follows_its_site_adds_to_it_or_goes_its_own_way(open_calendars):
    calendars = open_calendars()
    calendars.put("ota", None, DAYTIME, who="a", version=None)
    evening = Calendar(rules=(shift("19:00", "21:00"),))
    calendars.put("ota", "mc-1", evening, who="a", version=None)
    assert working(calendars) == [(8, 17), (19, 21)]
    assert working(calendars, "mc-2") == [(8, 17)]
    own = evening.model_copy(update={"inherit": False})
    calendars.put("ota", "mc-1", own, who="a", version=None)
    assert working(calendars) == [(19, 21)]


def test_settings_hold_until_somebody_writes_a_calendar(open_calendars):
    calendars = open_calendars(configured={"ota": DAYTIME})
    assert working(calendars) == [(8, 17)]
    assert calendars.get("ota").version == 0
    calendars.put("ota", None, Calendar(rules=(shift("10:00", "12:00"),)), who="a", version=0)
    assert working(calendars) == [(10, 12)]
    calendars.remove("ota", None, who="a", version=None)
    assert working(calendars) == [(8, 17)]


def test_units_are_the_machines_and_follow_the_directory(open_calendars, places):
    calendars = open_calendars(configured={"ota": DAYTIME})
    noon = T0 + 12 * HOUR
    assert calendars.at("ota", "mc-1", noon).capacity_units == 1
    assert calendars.at("ota", "mc-2", noon).capacity_units == 4
    places.machines["ota", "mc-2"] = Machine(2)
    places.version += 1
    assert calendars.at("ota", "mc-2", noon).capacity_units == 2
    assert calendars.at("ota", "mc-2", T0) == (Kind.CLOSED, T0 + 8 * HOUR, 0)


def test_a_machine_elsewhere_may_keep_another_clock(open_calendars):
    calendars = open_calendars(configured={"berlin": DAYTIME})
    assert calendars.time_zone("berlin") == "Europe/Berlin"
    assert working(calendars, site="berlin") == [(0, 1), (16, 24)]
    away = Calendar(time_zone="Asia/Tokyo", inherit=False, rules=DAYTIME.rules)
    calendars.put("berlin", "m", away, who="a", version=None)
    assert working(calendars, "m", "berlin") == [(8, 17)]
    more = Calendar(time_zone="Asia/Tokyo", rules=(shift("01:00", "02:00"),))
    calendars.put("berlin", "m", more, who="a", version=None)
    assert working(calendars, "m", "berlin") == [(0, 2), (16, 24)]


def test_windows_are_whole_over_the_borders_of_what_is_kept(open_calendars):
    calendars = open_calendars(configured={"ota": DAYTIME})
    found = calendars.windows("ota", "mc-1", T0 - 40 * DAY, T0 + 100 * DAY)
    assert (found[0].start_ms, found[-1].end_ms) == (T0 - 40 * DAY, T0 + 100 * DAY)
    assert all(a.end_ms == b.start_ms and a.kind is not b.kind for a, b in pairwise(found))
    assert len(working(calendars, from_ms=T0 - 40 * DAY, to_ms=T0 + 100 * DAY)) == 140
    undefined = calendars.windows("none", "x", T0 - 40 * DAY, T0 + 100 * DAY)
    assert [w.kind for w in undefined] == [Kind.UNDEFINED]
    assert calendars.windows("ota", "mc-1", T0, T0) == []


def test_production_days_begin_as_the_calendar_or_else_the_site_says(open_calendars):
    calendars = open_calendars()
    [day] = calendars.days("berlin", "m", T0, T0 + 1)
    assert (day.day, (day.start_ms - T0) / HOUR) == (date(2026, 11, 23), -8)
    calendars.put("berlin", None, Calendar(production_day_start="06:00"), who="a", version=None)
    assert (calendars.days("berlin", "m", T0, T0 + 1)[0].start_ms - T0) / HOUR == -10


def test_two_months_of_500_machines_cost_little_when_asked_again(open_calendars):
    closed = [SpecialDay(date=date(2026, 12, 1)), SpecialDay(date=date(2026, 12, 24))]
    told = {f"s{n}": Calendar(rules=DAYTIME.rules, exceptions=closed) for n in range(50)}
    calendars = open_calendars(configured=told)
    machines = [(f"s{n % 50}", f"m{n}") for n in range(500)]

    def ask():
        began = time.perf_counter()
        for site, machine in machines:
            calendars.windows(site, machine, T0, T0 + 60 * DAY)
        return time.perf_counter() - began

    first, again = ask(), min(ask() for _ in range(5))
    assert first < 3.0  # some 0.1 s on an idle box
    assert again < first
