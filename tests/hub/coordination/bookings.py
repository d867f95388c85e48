"""A place to book in: machines, working hours and callers to say, reservations to ask."""

from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from hub.access import EVERYTHING, LOCAL, Caller, Role
from hub.coordination.booking.booking import HoldRequest, StepRequest
from hub.coordination.booking.reservations import Reservations

T0 = 1_795_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Clock:
    def __init__(self, now_ms=T0):
        self.now_ms = now_ms

    def __call__(self):
        return self.now_ms


class Span(NamedTuple):
    start_ms: int
    end_ms: int
    kind: str
    capacity_units: int


@dataclass
class Entry:
    capacity_units: int = 1
    retired: bool = False


@dataclass
class Shop:
    """Every machine that is named is there; nobody told its hours unless `open` did."""

    units: dict = field(default_factory=lambda: defaultdict(Entry))
    hours: dict = field(default_factory=dict)
    version: int = 0

    def machine(self, site, machine):
        return None if machine == "missing" else self.units[site, machine]

    def open(self, machine, *spans, units=1, site="ota"):
        """Let a machine work in these spans, and be closed for the rest of time."""
        self.hours[site, machine] = [Span(start, end, "working", units) for start, end in spans]
        self.version += 1

    def windows(self, site, machine, from_ms, to_ms):
        told = self.hours.get((site, machine))
        if told is None:
            return [Span(from_ms, to_ms, "undefined", self.machine(site, machine).capacity_units)]
        return [
            span._replace(start_ms=max(span.start_ms, from_ms), end_ms=min(span.end_ms, to_ms))
            for span in told
            if span.start_ms < to_ms and span.end_ms > from_ms
        ]


class Bookings:
    """Reservations over a store, and the shortest way to ask them."""

    def __init__(self, store, **others):
        self.clock = Clock()
        self.shop = Shop()
        self.store = store
        self._numbers = Random(7)
        self._keys = 0
        self._others = others
        self.reservations = self.opened()

    def opened(self):
        """Open the reservations again, as a hub does that starts."""
        return Reservations(
            self.store,
            machines=self.shop,
            hours=self.shop,
            now_ms=self.clock,
            random80=lambda: self._numbers.getrandbits(80),
            **self._others,
        )

    def hold(self, *spans, machine="mc-1", caller=LOCAL, view=EVERYTHING, key=None, **words):
        """Hold one machine over spans given in hours from now on."""
        return self.chain(
            step(machine, *spans, **_pop(words, "units", "site")),
            caller=caller,
            view=view,
            key=key,
            **words,
        )

    def chain(self, *steps, caller=LOCAL, view=EVERYTHING, key=None, ttl_s=600, **words):
        if key is None:
            self._keys += 1
            key = f"key-{self._keys}"
        request = HoldRequest(steps, ttl_s, **words)
        return self.reservations.hold(request, caller, view, key)

    def busy(self, machine="mc-1", site="ota"):
        """Give what is busy, in hours from the start of the test."""
        found = self.reservations.busy(site, machine, 0, T0 + 1000 * DAY)
        return [((b.start_ms - T0) / HOUR, (b.end_ms - T0) / HOUR, b.units) for b in found]


def step(machine, *spans, units=1, site="ota", at=""):
    """Ask for spans given in hours from the start of the test."""
    segments = tuple((T0 + round(start * HOUR), T0 + round(end * HOUR)) for start, end in spans)
    return StepRequest(site, machine, units, segments, at)


def _pop(words, *names):
    return {name: words.pop(name) for name in names if name in words}


def person(name, *roles, organisation=None, sites=()):
    """Make a caller."""
    return Caller(name, "key", name, organisation, frozenset(map(Role, roles)), frozenset(sites))
