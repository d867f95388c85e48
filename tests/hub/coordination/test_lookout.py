"""What is booked is looked after: who booked hears within a turn why it may not take place.

A real live state, real calendars and a real store; only the clock is turned by hand.
"""

import json
from random import Random

import pytest

from hub.access import LOCAL
from hub.coordination.booking.booking import Action, Alternative
from hub.coordination.booking.reservations import Reservations
from hub.coordination.booking.risk import Booked, Condition, Risk, risks
from hub.coordination.directory.directory import Directory
from hub.coordination.directory.taxonomy import load_taxonomy
from hub.coordination.hours.calendars import Calendars
from hub.coordination.lookout import Lookout
from hub.schedule import Calendar
from hub.store import Store, events
from tests.hub.coordination.bookings import DAY, HOUR, MINUTE, T0, Span, step
from tests.hub.coordination.bookings import Bookings as Book
from tests.hub.scenes import Scene


def calendar(kind):
    """Give a calendar that says the same of every instant."""
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    rule = {"start": "00:00", "end": "24:00", "kind": kind, "weekdays": days}
    return Calendar.model_validate_json(json.dumps({"rules": [rule]}))


class Place(Book):
    """Machines that speak, a calendar to change, and somebody on the lookout."""

    def __init__(self, store):
        self.scene = Scene()
        for machine in ("mc-1", "mc-2"):
            self.scene.add(machine)
            self.scene.read(machine)
        self.directory = Directory(self.scene.registry, load_taxonomy())
        self.calendars = Calendars(store, self.directory, now_ms=self.scene.clock)
        super().__init__(store)
        self.clock = self.scene.clock
        self.back_ms = 4 * HOUR
        self.asked = []
        self.reservations = self.opened()
        self.lookout = Lookout(
            self.reservations,
            directory=self.directory,
            hours=self.calendars,
            live=self.scene.live,
            back_ms=lambda _site, _machine, now_ms: now_ms + self.back_ms,
            alternatives=self.instead,
            now_ms=self.clock,
        )

    def opened(self):
        numbers = Random(7)
        return Reservations(
            self.store,
            machines=self.directory,
            hours=self.calendars,
            now_ms=self.scene.clock,
            random80=lambda: numbers.getrandbits(80),
        )

    def instead(self, wanted, view):
        self.asked.append((wanted, view))
        return [Alternative((step("mc-2", (10, 11)),))]

    def booked(self, *spans, machine="mc-1"):
        held = self.hold(*spans, machine=machine)
        return self.reservations.act(Action.CONFIRM, held.id, LOCAL, 1)

    def risk(self, reservation):
        return self.reservations.get(reservation.id, LOCAL).risk

    def wait(self, ms, *quiet):
        """Let time pass with every machine heard but the quiet ones."""
        self.clock.now_ms += ms
        for machine in {"mc-1", "mc-2"} - set(quiet):
            self.scene.read(machine)


@pytest.fixture
def place(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/coordination.sqlite")
    yield Place(store)
    store.close()


def told(place):
    with place.store.read() as tx:
        found = events.after(tx, 0, limit=100)
    return [e for e in found if e.type in {"reservation.at_risk", "reservation.safe"}]


def test_while_all_is_well_nobody_hears_anything(place):
    place.booked((1, 2), (30, 31))
    assert [place.lookout.turn() for _ in range(3)] == [0, 0, 0]
    assert told(place) == []


def test_a_machine_that_goes_down_endangers_what_begins_before_it_is_back(place):
    soon, later = place.booked((1, 2)), place.booked((6, 7))
    other = place.booked((1, 2), machine="mc-2")
    place.lookout.turn()
    place.scene.read("mc-1", "down")

    assert place.lookout.turn() == 1
    assert (place.risk(soon), place.risk(later), place.risk(other)) == ("machine-down", None, None)
    [event] = told(place)
    assert (event.type, event.site, event.machine, event.subject) == (
        "reservation.at_risk",
        "ota",
        "mc-1",
        soon.id,
    )
    assert event.data["risk"] == "machine-down"
    assert event.data["alternatives"][0][0]["machine"] == "mc-2"
    [(_, view)] = place.asked
    assert (view.own("ota"), view.sees("suwa")) == (True, False)
    assert place.lookout.turn() == 0


def test_as_the_stop_lasts_it_endangers_more_and_recovery_clears_all(place):
    later = place.booked((6, 7))
    place.scene.read("mc-1", "down")
    place.lookout.turn()
    assert place.risk(later) is None
    place.clock.now_ms += 3 * HOUR
    place.scene.read("mc-1", "down")
    assert place.lookout.turn() == 1
    assert place.risk(later) == "machine-down"
    place.scene.read("mc-1", "idle")
    assert place.lookout.turn() == 1
    assert place.risk(later) is None
    assert [e.type for e in told(place)] == ["reservation.at_risk", "reservation.safe"]


def test_a_better_guess_of_the_repair_does_not_make_it_safe_but_recovery_does(place):
    soon = place.booked((3, 4))
    place.scene.read("mc-1", "down")
    place.lookout.turn()
    place.back_ms = HOUR
    place.wait(MINUTE, "mc-1")
    place.scene.read("mc-1", "down")
    place.lookout.turn()
    assert place.risk(soon) == "machine-down"


def test_a_lost_agent_endangers_what_begins_within_the_hour_and_silence_clears_nothing(place):
    soon, later = place.booked((0.5, 0.9)), place.booked((2, 3))
    place.scene.live.died("ota", "line-1", place.clock())
    place.lookout.turn()
    assert (place.risk(soon), place.risk(later)) == ("machine-offline", None)
    place.scene.live.born("ota", "line-1", place.clock(), foreign=False)
    place.clock.now_ms += MINUTE  # back, and not a reading yet: stale
    place.lookout.turn()
    assert place.risk(soon) == "machine-offline"
    place.scene.read("mc-1")
    place.lookout.turn()
    assert place.risk(soon) is None


def test_a_calendar_that_closes_endangers_what_was_booked_and_opening_makes_it_safe(place):
    booked = place.booked((1, 2))
    owned = place.calendars.put("ota", None, calendar("closed"), who="owner", version=None)
    place.lookout.turn()
    assert place.risk(booked) == "outside-hours"
    place.calendars.put("ota", None, calendar("work"), who="owner", version=owned.version)
    place.lookout.turn()
    assert place.risk(booked) is None


def test_released_or_over_it_is_endangered_no_more(place):
    soon = place.booked((1, 2))
    place.scene.read("mc-1", "down")
    place.lookout.turn()
    found = place.reservations.get(soon.id, LOCAL)
    released = place.reservations.act(Action.RELEASE, soon.id, LOCAL, found.version)
    assert released.risk is None
    assert place.lookout.turn() == 0


# -- the decision alone --------------------------------------------------------------------------


def booked(id_, *spans, units=1, risk=None):
    segments = tuple((T0 + round(s * HOUR), T0 + round(e * HOUR)) for s, e in spans)
    return Booked(id_, units, segments, risk)


def open_all(units=1):
    return (Span(T0 - DAY, T0 + 100 * DAY, "working", units),)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Condition(windows=open_all()), {}),
        (Condition(retired=True, windows=open_all()), {"a": Risk.RETIRED, "b": Risk.RETIRED}),
        (
            Condition(stop=Risk.DOWN, back_ms=T0 + HOUR + 1, well=False, windows=open_all()),
            {"a": Risk.DOWN},
        ),
        (Condition(stop=Risk.DOWN, back_ms=T0 + HOUR, well=False, windows=open_all()), {}),
        (
            Condition(windows=(Span(T0, T0 + 5 * HOUR, "working", 1),)),
            {"b": Risk.HOURS},
        ),
        (Condition(windows=(Span(T0, T0 + 100 * DAY, "undefined", 1),)), {}),
    ],
)
def test_each_condition_endangers_what_it_should(condition, expected):
    assert risks([booked("a", (1, 2)), booked("b", (8, 9))], condition, T0) == expected


def test_where_units_are_fewer_the_later_bookings_lose():
    all_three = [booked(id_, (1, 2)) for id_ in "cab"]
    condition = Condition(units=2, windows=open_all(2))
    assert risks(all_three, condition, T0) == {"c": Risk.CAPACITY}


def test_what_is_past_is_not_endangered():
    past = booked("a", (-3, -2))
    half = booked("b", (-1, 1))
    windows = (Span(T0, T0 + DAY, "working", 1),)
    assert risks([past, half], Condition(windows=windows), T0) == {}
