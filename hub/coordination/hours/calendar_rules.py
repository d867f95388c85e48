"""From the hours that people write to instants: the pure expansion of calendars.

**Precedence.** Layers come nearest first: the machine's own calendar, its site's, and so on. At
every instant the first that says something wins: special days of any layer, nearest first; then
rules of any layer, nearest first; inside a layer the lowest priority number (as in frePPLe), then
closed before maintenance before break before work, then the order in which they are written. A
break holds only where there would be work without it. Work and breaks do not take place on public
holidays unless their rule says `on_holidays`. A day, special or public holiday, is a *production*
day: from one production-day start to the next, so that a holiday does not cut the night shift that
began the evening before.

**Nothing said.** Where nothing holds the machine is closed if any layer names working hours at all,
and otherwise `undefined`: no schedule is never taken for one around the clock.

**Clocks that change.** A local time is read as RFC 5545 (3.3.5) says when it happens twice: the
first time counts. A local time that the clock skips is taken to be the instant of the change, so
that hours in order stay in order, nothing overlaps, and a day that a country leaves out (Samoa, 30
December 2011) has no hours. A shift from 22:00 to 06:00 hence lasts seven real hours in the night
in which the clock is put forward and nine in the one in which it is put back.
"""

from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from hub.coordination import intervals
from hub.coordination.intervals import Interval
from hub.schedule import Calendar, Rule, RuleKind, SpecialDay, minutes_of

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
DAY_MINUTES: Final = 1440
SPAN_DAYS: Final = 2
"""How far from its own day, in days, an occurrence may reach: a day for its end, one for zones."""


class Kind(StrEnum):
    """What the calendar says of an instant."""

    WORKING = "working"
    BREAK = "break"
    MAINTENANCE = "maintenance"
    CLOSED = "closed"
    UNDEFINED = "undefined"


class Window(NamedTuple):
    """All of [start_ms, end_ms) is of one kind.

    `capacity_units` tells how many of the machine's units are there, 0 where there is no work.
    `attended` is false in working hours without people.
    """

    start_ms: int
    end_ms: int
    kind: Kind
    capacity_units: int
    attended: bool = True


class Shift(NamedTuple):
    """One occurrence of working hours, its breaks included, as one rule writes it.

    `day` is the production day to which it belongs.
    """

    start_ms: int
    end_ms: int
    label: str
    day: date


class ProductionDay(NamedTuple):
    """A day for counting: 23 to 25 hours long where clocks change."""

    day: date
    start_ms: int
    end_ms: int


class Layer(NamedTuple):
    """A calendar with the zone that its hours are read in."""

    calendar: Calendar
    zone: ZoneInfo


_KINDS: Final = {
    RuleKind.CLOSED: Kind.CLOSED,
    RuleKind.MAINTENANCE: Kind.MAINTENANCE,
    RuleKind.BREAK: Kind.BREAK,
    RuleKind.WORK: Kind.WORKING,
}
_ORDER: Final = (RuleKind.CLOSED, RuleKind.MAINTENANCE, RuleKind.BREAK, RuleKind.WORK)


class LocalClock:
    """Instants of a zone's local times; each day's are worked out once."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._days: dict[int, int | None] = {}

    def instant(self, day: int, minutes: int) -> int:
        """Give the instant of a local time, `minutes` after the midnight of a day (an ordinal)."""
        if minutes >= DAY_MINUTES:
            day, minutes = day + minutes // DAY_MINUTES, minutes % DAY_MINUTES
        if day not in self._days:
            self._days[day] = self._midnight_of_even_day(day)
        midnight_ms = self._days[day]
        if midnight_ms is not None:
            return midnight_ms + minutes * MINUTE_MS
        return self._instant(datetime.fromordinal(day) + timedelta(minutes=minutes))

    def day_of(self, time_ms: int) -> int:
        """Give the local day of an instant, as an ordinal."""
        return datetime.fromtimestamp(time_ms // 1000, self._zone).toordinal()

    def _midnight_of_even_day(self, day: int) -> int | None:
        """Give a day's first instant, or None when the clock is changed in it or beside it."""
        midnight = datetime.fromordinal(day)
        begin, end = (self._instant(midnight + timedelta(days=n)) for n in (0, 1))
        local = datetime.fromtimestamp(begin // 1000, self._zone).replace(tzinfo=None)
        return begin if end - begin == DAY_MS and local == midnight else None

    def _instant(self, local: datetime) -> int:
        aware = local.replace(tzinfo=self._zone)
        there = round(aware.timestamp())
        if datetime.fromtimestamp(there, self._zone).replace(tzinfo=None) == local:
            return there * 1000
        return self._change_before(round(aware.replace(fold=1).timestamp()), there) * 1000

    def _change_before(self, before_s: int, after_s: int) -> int:
        """Find the second at which the clock is put forward, between two around it."""
        offset = datetime.fromtimestamp(before_s, self._zone).utcoffset()
        while after_s - before_s > 1:
            middle = (before_s + after_s) // 2
            if datetime.fromtimestamp(middle, self._zone).utcoffset() == offset:
                before_s = middle
            else:
                after_s = middle
        return after_s


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one rule or special day says wherever it holds. Lower ranks win."""

    rank: int
    kind: Kind
    units: int
    attended: bool


class Expansion:
    """The layers of one machine, ready to be asked for any stretch of time.

    Args:
        layers: nearest first.
        zone: whose clock production days begin by.
        is_holiday: tells whether a day (an ordinal) is a public holiday; None where none are kept.
        day_start_min: production-day start, minutes after midnight.
        units: how many units the machine has; rules may give fewer, never more.
        clocks: shared by all expansions, so that a zone's days are worked out once.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        zone: ZoneInfo,
        is_holiday: Callable[[int], bool] | None,
        day_start_min: int,
        units: int = 1,
        clocks: Callable[[ZoneInfo], LocalClock] = LocalClock,
    ) -> None:
        self._is_holiday = is_holiday
        self._day_start_min = day_start_min
        self._units = units
        self._layers = [(layer.calendar, clocks(layer.zone)) for layer in layers]
        self._day_clock = clocks(zone)
        self.zone = zone

    def windows(self, from_ms: int, to_ms: int) -> list[Window]:
        """Give windows that cover [from_ms, to_ms) without gap or overlap, in order."""
        if from_ms >= to_ms:
            return []
        claims, steps = self._steps(from_ms, to_ms)
        steps.sort()
        base = Kind.CLOSED if self._names_work else Kind.UNDEFINED
        nothing = Window(0, 0, base, 0)
        winners: dict[tuple[int, ...], Window] = {}
        active: list[int] = []
        found: list[Window] = []
        at_ms, place = from_ms, 0
        while place < len(steps) or at_ms < to_ms:
            next_ms = min(steps[place][0], to_ms) if place < len(steps) else to_ms
            if next_ms > at_ms:
                holding = tuple(active)
                if holding not in winners:
                    winners[holding] = _winner(active, claims, nothing)
                _append(found, at_ms, next_ms, winners[holding])
                at_ms = next_ms
            if place == len(steps) or at_ms >= to_ms:
                break
            _, rank, begins = steps[place]
            if begins:
                insort(active, rank)
            else:
                active.remove(rank)
            place += 1
        return found

    def shifts(self, from_ms: int, to_ms: int) -> list[Shift]:
        """Give the shifts that touch [from_ms, to_ms), whole, where anybody works in them.

        Where hours of several rules overlap they belong to the one that wins, so that no instant
        is in two shifts.
        """
        reach_ms = from_ms - DAY_MS, to_ms + DAY_MS
        working = [(w.start_ms, w.end_ms) for w in self.windows(*reach_ms) if w.kind is _WORKING]
        given: list[Interval] = []
        found: list[Shift] = []
        for clock, item in self._in_order():
            if item.kind is RuleKind.WORK:
                held = self._held(item, clock, *reach_ms)
                for day, whole in held:
                    parts = intervals.subtract([whole], given)
                    found += [self._shift(item.label, day, part, clock) for part in parts]
                given = intervals.union(given, [whole for _, whole in held])
        return sorted(
            shift
            for shift in found
            if shift.start_ms < to_ms
            and shift.end_ms > from_ms
            and intervals.intersect([(shift.start_ms, shift.end_ms)], working)
        )

    def days(self, from_ms: int, to_ms: int) -> list[ProductionDay]:
        """Give the production days that touch [from_ms, to_ms), whole, schedule or not."""
        first = self._day_clock.day_of(from_ms) - SPAN_DAYS
        last = self._day_clock.day_of(to_ms) + SPAN_DAYS
        found = []
        for day in range(first, last + 1):
            start_ms, end_ms = self._production_day(day, self._day_clock)
            if start_ms < end_ms and start_ms < to_ms and end_ms > from_ms:
                found.append(ProductionDay(date.fromordinal(day), start_ms, end_ms))
        return found

    @cached_property
    def _names_work(self) -> bool:
        return any(
            item.kind is RuleKind.WORK for calendar, _ in self._layers for item in calendar.rules
        )

    def _steps(
        self, from_ms: int, to_ms: int
    ) -> tuple[dict[int, _Claim], list[tuple[int, int, bool]]]:
        """Give who claims what, and when each claim begins and ends."""
        claims: dict[int, _Claim] = {}
        steps: list[tuple[int, int, bool]] = []
        for clock, item in self._in_order():
            rank = len(claims)
            claims[rank] = _claim(rank, item, self._units)
            held = self._held(item, clock, from_ms, to_ms)
            for start_ms, end_ms in intervals.normalized(whole for _, whole in held):
                steps += ((start_ms, rank, True), (end_ms, rank, False))
        return claims, steps

    def _in_order(self) -> list[tuple[LocalClock, Rule | SpecialDay]]:
        """Give all that is said, what wins first."""
        ordered: list[tuple[LocalClock, Rule | SpecialDay]] = []
        for calendar, clock in self._layers:
            special = sorted(calendar.exceptions, key=lambda item: _ORDER.index(item.kind))
            ordered += [(clock, item) for item in special]
        for calendar, clock in self._layers:
            rules = sorted(calendar.rules, key=lambda r: (r.rank, _ORDER.index(r.kind)))
            ordered += [(clock, rule) for rule in rules]
        return ordered

    def _held(
        self, item: Rule | SpecialDay, clock: LocalClock, from_ms: int, to_ms: int
    ) -> list[tuple[int, Interval]]:
        """Give when an item may hold around [from_ms, to_ms), with the day it starts on."""
        if isinstance(item, Rule):
            return self._occurrences(item, clock, from_ms, to_ms)
        return self._special(item, clock, from_ms, to_ms)

    def _occurrences(
        self, rule: Rule, clock: LocalClock, from_ms: int, to_ms: int
    ) -> list[tuple[int, Interval]]:
        """Give what of a rule may touch [from_ms, to_ms), holidays cut out, by its day."""
        first, last = _days_around(from_ms, to_ms)
        if rule.valid_from is not None:
            first = max(first, rule.valid_from.toordinal())
        if rule.valid_until is not None:
            last = min(last, rule.valid_until.toordinal())
        skipped = {day.toordinal() for day in rule.exceptions}
        start_min = minutes_of(rule.start)
        end_min = start_min + rule.duration_min
        instant = clock.instant
        found = [
            (day, (instant(day, start_min), instant(day, end_min)))
            for day in rule.recurrence().days(first, last)
            if day not in skipped
        ]
        if self._is_holiday is None or rule.on_holidays or rule.kind not in _KEEPS_HOLIDAYS:
            return found
        free = [day for day in range(first - 1, last + 2) if self._is_holiday(day)]
        return self._without(free, found, clock) if free else found

    def _without(
        self, free: list[int], found: list[tuple[int, Interval]], clock: LocalClock
    ) -> list[tuple[int, Interval]]:
        """Cut the production days `free` out of occurrences; none reaches further than a day."""
        cut = [self._production_day(day, clock) for day in free]
        near = {day + offset for day in free for offset in (-1, 0, 1)}
        kept: list[tuple[int, Interval]] = []
        for day, held in found:
            if day in near:
                kept += [(day, part) for part in intervals.subtract([held], cut)]
            else:
                kept.append((day, held))
        return kept

    def _special(
        self, special: SpecialDay, clock: LocalClock, from_ms: int, to_ms: int
    ) -> list[tuple[int, Interval]]:
        first, last = _days_around(from_ms, to_ms)
        first = max(first, special.date.toordinal())
        last = min(last, (special.until or special.date).toordinal())
        found: list[tuple[int, Interval]] = []
        for day in range(first, last + 1):
            if special.start is None or special.end is None:
                interval = self._production_day(day, clock)
            else:
                start_min = minutes_of(special.start)
                length_min = (minutes_of(special.end) - start_min - 1) % DAY_MINUTES + 1
                interval = clock.instant(day, start_min), clock.instant(day, start_min + length_min)
            if interval[0] < interval[1]:
                found.append((day, interval))
        return found

    def _production_day(self, day: int, clock: LocalClock) -> Interval:
        start_min = self._day_start_min
        return clock.instant(day, start_min), clock.instant(day + 1, start_min)

    def _shift(self, label: str, day: int, interval: Interval, clock: LocalClock) -> Shift:
        begins = self._production_day(day, clock)[0]
        owner = day if interval[0] >= begins else day - 1
        return Shift(*interval, label, date.fromordinal(owner))


_WORKING: Final = Kind.WORKING
_KEEPS_HOLIDAYS: Final = frozenset({RuleKind.WORK, RuleKind.BREAK})


def _days_around(from_ms: int, to_ms: int) -> tuple[int, int]:
    """Give the days of which an occurrence may touch [from_ms, to_ms), in any zone."""
    return (
        EPOCH_DAY + from_ms // DAY_MS - SPAN_DAYS,
        EPOCH_DAY + to_ms // DAY_MS + SPAN_DAYS,
    )


def _claim(rank: int, item: Rule | SpecialDay, whole: int) -> _Claim:
    units = min(item.capacity_units or whole, whole) if item.kind is RuleKind.WORK else 0
    attended = item.attended if isinstance(item, Rule) else True
    return _Claim(rank, _KINDS[item.kind], units, attended)


def _winner(active: list[int], claims: dict[int, _Claim], nothing: Window) -> Window:
    """Give what holds where these claims do, without its times."""
    paused: _Claim | None = None
    for rank in active:
        claim = claims[rank]
        if claim.kind is Kind.BREAK:
            paused = paused or claim
            continue
        chosen = paused if paused and claim.kind is Kind.WORKING else claim
        return Window(0, 0, chosen.kind, chosen.units, chosen.attended)
    return nothing


def _append(found: list[Window], start_ms: int, end_ms: int, what: Window) -> None:
    """Add a piece, as part of the one before when that is the same."""
    if found and found[-1][2:] == what[2:]:
        found[-1] = found[-1]._replace(end_ms=end_ms)
    else:
        found.append(Window(start_ms, end_ms, *what[2:]))


def at(windows: Sequence[Window], time_ms: int) -> Window | None:
    """Give the window of an instant, or None outside of all."""
    place = bisect_right(windows, time_ms, key=lambda window: window.start_ms) - 1
    if place < 0 or windows[place].end_ms <= time_ms:
        return None
    return windows[place]
