"""Every site's and machine's hours: read from the store and the settings, asked by everybody.

What the hub's settings say of a site holds until somebody writes a calendar for it. Expansions are
kept per calendar and stretch of 20 days, so that asking 500 machines for two months again costs
some milliseconds; a change forgets only what it touches.
"""

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from hub.coordination.hours.calendar_rules import (
    DAY_MS,
    Expansion,
    Kind,
    Layer,
    LocalClock,
    ProductionDay,
    Shift,
    Window,
    at,
)
from hub.coordination.hours.public_holidays import holidays_of
from hub.schedule import Calendar, minutes_of
from hub.store import Store, Tx, audit, events
from hub.store import calendars as rows
from hub.store.calendars import OF_SITE, StoredCalendar

__all__ = [
    "CalendarStatus",
    "Calendars",
    "Kind",
    "Owned",
    "ProductionDay",
    "Shift",
    "StaleCalendarError",
    "TooManyCalendarsError",
    "Window",
]

STRETCH_MS: Final = 20 * DAY_MS
"""How much is expanded at once."""
STRETCHES_MAX: Final = 6_000
CALENDARS_MAX: Final = 20_000
CHANGED: Final = "calendar.changed"

Key = tuple[str, str]


class CalendarStatus(NamedTuple):
    """What the calendar says of one instant.

    `until_ms` is when that may change: never earlier than it does, and maybe a stretch border.
    """

    kind: Kind
    until_ms: int
    capacity_units: int


class Owned(NamedTuple):
    """A calendar with its version; version 0 is what the hub's settings say."""

    calendar: Calendar
    version: int
    changed_ms: int | None = None
    changed_by: str | None = None


class StaleCalendarError(Exception):
    """The calendar is not the one that the caller has read."""


class TooManyCalendarsError(Exception):
    """There are as many calendars as one hub keeps."""


class PlaceOfSite(Protocol):
    """What is needed of a site."""

    @property
    def time_zone(self) -> str: ...
    @property
    def day_start_min(self) -> int: ...


class PlaceOfMachine(Protocol):
    """What is needed of a machine."""

    @property
    def capacity_units(self) -> int: ...


class Places(Protocol):
    """Who knows sites and machines: `hub.coordination.directory.directory.Directory`."""

    @property
    def version(self) -> int:
        """Grows with every change."""
        ...

    def site(self, site: str) -> PlaceOfSite | None:
        """Give one site."""
        ...

    def machine(self, site: str, machine: str) -> PlaceOfMachine | None:
        """Give one machine."""
        ...


@dataclass(frozen=True, slots=True)
class _Recipe:
    """All that an expansion depends on: machines with equal recipes share one."""

    layers: tuple[tuple[Key, int], ...]
    """Owners and versions of the calendars, nearest first."""
    site_zone: str
    day_start_min: int
    units: int


class Calendars:
    """The hours of every machine. Any thread may ask, and any may change them."""

    def __init__(
        self,
        store: Store,
        places: Places,
        *,
        now_ms: Callable[[], int],
        configured: Mapping[str, Calendar] | None = None,
        followers: Sequence[Callable[[str, str | None], None]] = (),
    ) -> None:
        """`followers` are told the site, and the machine unless it is all, after a change."""
        self._store = store
        self._places = places
        self._now_ms = now_ms
        self._configured = dict(configured or {})
        self._followers = list(followers)
        self._lock = threading.Lock()
        self._written: dict[Key, Owned] = {}
        self._clock = cache(LocalClock)
        self._expansions: dict[_Recipe, Expansion] = {}
        self._recipes: dict[Key, tuple[int, int, _Recipe]] = {}
        self._stretches: OrderedDict[tuple[_Recipe, int], list[Window]] = OrderedDict()
        self.version = 0
        """Grows with every change of any calendar."""
        self.reload()

    def reload(self) -> None:
        """Take over what the store holds: at the start, and when others changed rows."""
        with self._store.read() as tx:
            found = rows.load(tx)
        written = {(row.site, row.machine): _owned(row) for row in found}
        with self._lock:
            self._written = written
            self._forget()

    def follow(self, follower: Callable[[str, str | None], None]) -> None:
        """Have somebody told of every change."""
        self._followers.append(follower)

    # -- what everybody asks ---------------------------------------------------------------

    def windows(self, site: str, machine: str, from_ms: int, to_ms: int) -> list[Window]:
        """Give windows that cover [from_ms, to_ms) without gap or overlap, in order."""
        if from_ms >= to_ms:
            return []
        recipe = self._recipe(site, machine)
        found: list[Window] = []
        for number in range(from_ms // STRETCH_MS, (to_ms - 1) // STRETCH_MS + 1):
            stretch = self._stretch(recipe, number)
            if found and found[-1][2:] == stretch[0][2:]:
                found[-1] = found[-1]._replace(end_ms=stretch[0].end_ms)
                found += stretch[1:]
            else:
                found += stretch
        first = bisect_right(found, from_ms, key=_end)
        last = bisect_right(found, to_ms - 1, key=_start)
        found = found[first:last]
        found[0] = found[0]._replace(start_ms=from_ms)
        found[-1] = found[-1]._replace(end_ms=to_ms)
        return found

    def at(self, site: str, machine: str, time_ms: int) -> CalendarStatus:
        """Tell what the calendar says of an instant."""
        stretch = self._stretch(self._recipe(site, machine), time_ms // STRETCH_MS)
        window = at(stretch, time_ms)
        if window is None:
            raise AssertionError("a stretch covers every one of its instants")
        return CalendarStatus(window.kind, window.end_ms, window.capacity_units)

    def shifts(self, site: str, machine: str, from_ms: int, to_ms: int) -> list[Shift]:
        """Give the shifts that touch [from_ms, to_ms), whole, none overlapping another."""
        return self._expansion(self._recipe(site, machine)).shifts(from_ms, to_ms)

    def days(self, site: str, machine: str, from_ms: int, to_ms: int) -> list[ProductionDay]:
        """Give the production days that touch [from_ms, to_ms), whole."""
        return self._expansion(self._recipe(site, machine)).days(from_ms, to_ms)

    def time_zone(self, site: str, machine: str | None = None) -> str:
        """Give the IANA zone whose clock the hours of a site, or of a machine, are read from."""
        return self._expansion(self._recipe(site, machine or OF_SITE)).zone.key

    # -- what owners write -----------------------------------------------------------------

    def get(self, site: str, machine: str | None = None) -> Owned | None:
        """Give the calendar written for a site or a machine itself, or None when there is none."""
        with self._lock:
            return self._of((site, machine or OF_SITE))

    def put(
        self, site: str, machine: str | None, calendar: Calendar, *, who: str, version: int | None
    ) -> Owned:
        """Write a calendar. `version` is the one that was read: None for any, 0 for none yet.

        Raises:
            StaleCalendarError: somebody else has changed it.
            TooManyCalendarsError: there is room for no other one.
        """
        key = (site, machine or OF_SITE)
        text = calendar.model_dump_json(exclude_defaults=True)
        with self._store.write() as tx:
            before = self._check(rows.get(tx, *key), version)
            if before is None and len(self._written) >= CALENDARS_MAX:
                raise TooManyCalendarsError
            now_ms = self._now_ms()
            row = rows.put(tx, *key, text, who=who, now_ms=now_ms)
            detail = {"version": row.version, "before": before.version if before else None}
            _tell(tx, key, who, detail, now_ms)
            tx.after_commit(lambda: self._take(key, _owned(row)))
        return _owned(row)

    def remove(self, site: str, machine: str | None, *, who: str, version: int | None) -> bool:
        """Take a calendar away, so that what is above it holds. False when there was none.

        Raises:
            StaleCalendarError: somebody else has changed it.
        """
        key = (site, machine or OF_SITE)
        with self._store.write() as tx:
            before = self._check(rows.get(tx, *key), version)
            if before is None:
                return False
            rows.remove(tx, *key)
            detail = {"version": None, "before": before.version}
            _tell(tx, key, who, detail, self._now_ms())
            tx.after_commit(lambda: self._take(key, None))
        return True

    def _check(self, row: StoredCalendar | None, version: int | None) -> StoredCalendar | None:
        if version is not None and version != (row.version if row else 0):
            raise StaleCalendarError
        return row

    def _take(self, key: Key, owned: Owned | None) -> None:
        with self._lock:
            if owned is None:
                self._written.pop(key, None)
            else:
                self._written[key] = owned
            self._forget()
        for follower in self._followers:
            follower(key[0], key[1] or None)

    def _forget(self) -> None:
        """Forget who uses what; expansions of calendars that nobody uses leave by themselves."""
        self.version += 1
        self._recipes.clear()
        used = {(key, owned.version) for key, owned in self._written.items()}
        used |= {((site, OF_SITE), 0) for site in self._configured}
        gone = [r for r in self._expansions if not used.issuperset(r.layers)]
        for recipe in gone:
            del self._expansions[recipe]

    # -- expansion -------------------------------------------------------------------------

    def _of(self, key: Key) -> Owned | None:
        found = self._written.get(key)
        if found is None and key[1] == OF_SITE and key[0] in self._configured:
            found = Owned(self._configured[key[0]], 0)
        return found

    def _recipe(self, site: str, machine: str) -> _Recipe:
        key = (site, machine)
        known = self._recipes.get(key)
        versions = (self.version, self._places.version)
        if known is not None and known[:2] == versions:
            return known[2]
        place = self._places.site(site)
        entry = self._places.machine(site, machine) if machine != OF_SITE else None
        with self._lock:
            owned = self._chain(key)
        starts = (o.calendar.production_day_start for _, o in owned)
        start = next((minutes_of(text) for text in starts if text is not None), None)
        recipe = _Recipe(
            layers=tuple((owner, o.version) for owner, o in owned),
            site_zone=place.time_zone if place else "UTC",
            day_start_min=start if start is not None else place.day_start_min if place else 0,
            units=max(1, entry.capacity_units) if entry else 1,
        )
        self._recipes[key] = (*versions, recipe)
        return recipe

    def _chain(self, key: Key) -> list[tuple[Key, Owned]]:
        """Give the calendars that hold for a machine, nearest first."""
        found: list[tuple[Key, Owned]] = []
        for owner in dict.fromkeys((key, (key[0], OF_SITE))):
            owned = self._of(owner)
            if owned is not None:
                found.append((owner, owned))
                if not owned.calendar.inherit:
                    break
        return found

    def _expansion(self, recipe: _Recipe) -> Expansion:
        known = self._expansions.get(recipe)
        if known is not None:
            return known
        with self._lock:
            owned = [self._of(owner) for owner, _ in recipe.layers]
        calendars = [o.calendar for o in owned if o is not None]
        above = recipe.site_zone
        layers: list[Layer] = []
        for calendar in reversed(calendars):  # a machine's hours are in its site's zone
            above = calendar.time_zone or above
            layers.insert(0, Layer(calendar, ZoneInfo(above)))
        country = next((c.holidays for c in calendars if c.holidays is not None), None)
        fresh = Expansion(
            layers,
            zone=ZoneInfo(above),
            is_holiday=holidays_of(country),
            day_start_min=recipe.day_start_min,
            units=recipe.units,
            clocks=self._clock,
        )
        self._expansions[recipe] = fresh
        return fresh

    def _stretch(self, recipe: _Recipe, number: int) -> list[Window]:
        key = (recipe, number)
        known = self._stretches.get(key)
        if known is not None:
            return known
        from_ms = number * STRETCH_MS
        fresh = self._expansion(recipe).windows(from_ms, from_ms + STRETCH_MS)
        with self._lock:
            self._stretches[key] = fresh
            if len(self._stretches) > STRETCHES_MAX:
                self._stretches.popitem(last=False)
        return fresh


def _owned(row: StoredCalendar) -> Owned:
    """Read a row; what an older hub wrote and this one refuses counts as nothing said."""
    try:
        calendar = Calendar.model_validate_json(row.text)
    except ValidationError:
        calendar = Calendar()
    return Owned(calendar, row.version, row.changed_ms, row.changed_by)


def _tell(tx: Tx, key: Key, who: str, detail: Mapping[str, object], now_ms: int) -> None:
    site, machine = key
    subject = (f"{site}/{machine}" if machine else site)[:400]
    audit.append(
        tx, who=who, action=CHANGED, subject=subject, site=site, detail=detail, now_ms=now_ms
    )
    events.append(
        tx,
        type=CHANGED,
        site=site,
        machine=machine or None,
        subject=subject,
        data=detail,
        now_ms=now_ms,
    )


def _start(window: Window) -> int:
    return window.start_ms


def _end(window: Window) -> int:
    return window.end_ms
