"""Where the free spans of every machine are kept: calendar less bookings, made once per change.

Expanding calendars dominates the cost of free capacity, subtracting a hundred bookings comes next,
laying work into what is left costs next to nothing. So the first two are kept per machine until
the calendar, the bookings or the day is another one.
"""

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from hub.coordination.capacity.capacity import Open, Stretch, Taken, stretches
from hub.coordination.directory.directory import Directory, MachineEntry
from hub.coordination.intervals import Interval, free_where, normalized, subtract
from hub.store.reservations import Status

DAY_MS: Final = 86_400_000
HORIZON_MS: Final = 62 * DAY_MS
"""So far ahead free capacity is known: two months."""
KEPT_MAX: Final = 20_000
Key = tuple[str, str]


class Window(Protocol):
    """A span of a machine's calendar, as `Calendars.windows` gives it."""

    @property
    def start_ms(self) -> int: ...  # noqa: D102 (the names say it)
    @property
    def end_ms(self) -> int: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def capacity_units(self) -> int: ...  # noqa: D102
    @property
    def attended(self) -> bool: ...  # noqa: D102


class Hours(Protocol):
    """Who knows when machines work: `hub.coordination.hours.calendars.Calendars`."""

    @property
    def version(self) -> int:
        """Grows with every change of any calendar."""
        ...

    def windows(self, site: str, machine: str, from_ms: int, to_ms: int) -> Sequence[Window]:
        """Give the calendar of a machine, covering the whole range."""
        ...


class Busy(Protocol):
    """A span in which units of a machine are taken, as `Reservations.busy` gives it."""

    @property
    def start_ms(self) -> int: ...  # noqa: D102 (the names say it)
    @property
    def end_ms(self) -> int: ...  # noqa: D102
    @property
    def units(self) -> int: ...  # noqa: D102
    @property
    def status(self) -> Status: ...  # noqa: D102


class Bookings(Protocol):
    """Who knows what is booked: `hub.coordination.booking.reservations.Reservations`."""

    @property
    def version(self) -> int:
        """Grows with every change of any reservation."""
        ...

    def taken(self, site: str, machine: str) -> object:
        """Give the very same object until anything booked of a machine changes."""
        ...

    def busy(self, site: str, machine: str, from_ms: int, to_ms: int) -> Sequence[Busy]:
        """Give what takes capacity of a machine within a span, unexpired holds too."""
        ...


@dataclass(slots=True)
class Page:
    """One machine's calendar and bookings over the horizon, and what was made of them."""

    from_ms: int
    to_ms: int
    units: int
    opened: tuple[Open, ...]
    blank: tuple[Interval, ...]
    """When nobody has said whether the machine works."""
    maintenance: tuple[Interval, ...]
    attended: tuple[Interval, ...]
    """When somebody is there."""
    taken: tuple[Taken, ...]
    number: int = 0
    """No two pages of a ledger share one: a page is made anew when anything in it changed."""
    made_of: tuple[int, int] = (0, 0)
    """Versions of the calendars and the directory."""
    booked: object = None
    """What `Bookings.taken` gave."""
    _free: dict[tuple[int, bool, bool], list[Interval]] = field(default_factory=dict)
    _stretches: list[Stretch] | None = None

    def rebooked(self, taken: tuple[Taken, ...], booked: object) -> "Page":
        """Give the same hours with other bookings."""
        return replace(self, taken=taken, booked=booked, _free={}, _stretches=None)

    def free(self, units: int, *, alone: bool = False, unscheduled: bool = False) -> list[Interval]:
        """Give when `units` are free at once.

        `alone` counts hours in which nobody is there, `unscheduled` those of which nobody has said
        anything.
        """
        key = (units, alone, unscheduled)
        if key not in self._free:
            opened: list[tuple[int, int, int]] = list(self.opened)
            if unscheduled:
                opened += [(start, end, self.units) for start, end in self.blank]
            taken = [(start, end, used) for start, end, used, _ in self.taken]
            spans = free_where(taken, opened, units)
            if not alone:
                empty = subtract(normalized((s, e) for s, e, _ in self.opened), self.attended)
                spans = subtract(spans, empty)
            self._free[key] = spans
        return self._free[key]

    def stretches(self) -> list[Stretch]:
        """Give the spans of working hours over which neither calendar nor bookings change."""
        if self._stretches is None:
            self._stretches = stretches(self.opened, self.taken)
        return self._stretches

    def works_at(self, time_ms: int) -> bool | None:
        """Tell whether the calendar lets it work at an instant; None when nobody has said."""
        if any(start <= time_ms < end for start, end in self.blank):
            return None
        return any(start <= time_ms < end for start, end, _ in self.opened)

    def taken_at(self, time_ms: int) -> int:
        """Tell how many units are booked at an instant."""
        return sum(each.units for each in self.taken if each.start_ms <= time_ms < each.end_ms)

    def maintained_until(self, time_ms: int) -> int | None:
        """Tell when the planned maintenance ends that is going on at an instant, if one is."""
        spans = (end for start, end in self.maintenance if start <= time_ms < end)
        return next(spans, None)


class Ledger:
    """Keeps a page for each machine. Any thread may ask."""

    def __init__(
        self,
        *,
        directory: Directory,
        hours: Hours,
        bookings: Bookings,
        now_ms: Callable[[], int],
    ) -> None:
        self._directory = directory
        self._hours = hours
        self._bookings = bookings
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._pages: dict[Key, Page] = {}
        self._numbers = itertools.count(1)

    @property
    def version(self) -> int:
        """Grows with every change of what free capacity rests on, the live state aside."""
        return self._hours.version + self._bookings.version + self._directory.version

    def page(self, entry: MachineEntry) -> Page:
        """Give the page of a machine, made anew when anything behind it changed."""
        key = (entry.site, entry.machine)
        from_ms = self._now_ms() // DAY_MS * DAY_MS
        made_of = (self._hours.version, self._directory.version)
        booked = self._bookings.taken(*key)
        held = self._pages.get(key)
        if held is not None and held.from_ms == from_ms and held.made_of == made_of:
            if held.booked is booked:
                return held
            page = held.rebooked(self._taken(entry, from_ms, held.to_ms), booked)
            page.number = next(self._numbers)
        else:
            page = self._made(entry, from_ms, from_ms + HORIZON_MS)
            page.made_of, page.booked = made_of, booked
        with self._lock:
            if len(self._pages) >= KEPT_MAX:
                self._pages.clear()  # More machines than any hub has: begin again.
            self._pages[key] = page
        return page

    def _made(self, entry: MachineEntry, from_ms: int, to_ms: int) -> Page:
        told = list(self._hours.windows(entry.site, entry.machine, from_ms, to_ms))
        working = [w for w in told if w.kind == "working"]
        return Page(
            from_ms=from_ms,
            to_ms=to_ms,
            units=entry.capacity_units,
            opened=tuple(Open(w.start_ms, w.end_ms, w.capacity_units) for w in working),
            blank=_spans(told, "undefined"),
            maintenance=_spans(told, "maintenance"),
            attended=tuple(normalized((w.start_ms, w.end_ms) for w in working if w.attended)),
            taken=self._taken(entry, from_ms, to_ms),
            number=next(self._numbers),
        )

    def _taken(self, entry: MachineEntry, from_ms: int, to_ms: int) -> tuple[Taken, ...]:
        busy = self._bookings.busy(entry.site, entry.machine, from_ms, to_ms)
        return tuple(
            Taken(each.start_ms, each.end_ms, each.units, each.status is Status.HELD)
            for each in busy
        )


def _spans(told: Sequence[Window], kind: str) -> tuple[Interval, ...]:
    return tuple(normalized((w.start_ms, w.end_ms) for w in told if w.kind == kind))
