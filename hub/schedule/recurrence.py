"""The days that a recurrence rule names (RFC 5545, section 3.3.10), asked day by day (pure).

Only what can say something about whole days is read: DAILY to YEARLY with INTERVAL, BYMONTH,
BYMONTHDAY, BYDAY, BYSETPOS and WKST. A day is tested by itself, so a rule that never comes true
(31 February) costs no more than any other; generators of occurrences search the next eight
thousand years for it.
"""

import calendar
import re
from dataclasses import dataclass, field
from datetime import date
from typing import Final, Self

TEXT_MAX: Final = 200
INTERVAL_MAX: Final = 1000
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
FREQUENCIES: Final = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_PARTS: Final = ("FREQ", "INTERVAL", "BYMONTH", "BYMONTHDAY", "BYDAY", "BYSETPOS", "WKST")
_BYDAY: Final = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_NUMBER: Final = re.compile(r"[+-]?\d{1,4}")
_NTH_MAX: Final = 53
_DAYS_OF_YEAR: Final = 366
_MONDAY: Final = 1  # date.toordinal() of 0001-01-01, which was a Monday


class RecurrenceError(ValueError):
    """The rule cannot be used; the message says why and what may be written."""


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A rule that begins on a day. `None` and empty parts say nothing."""

    frequency: str
    begin: date
    interval: int = 1
    months: frozenset[int] = frozenset()
    month_days: frozenset[int] = frozenset()
    """Days of the month; -1 is its last one."""
    weekdays: frozenset[int] = frozenset()
    """Days of the week, Monday is 0."""
    nth: frozenset[tuple[int, int]] = frozenset()
    """(n, day of the week): the n-th of the month or year, -1 for the last one."""
    positions: frozenset[int] = frozenset()
    """Which of the days that a period would give; -1 is its last one."""
    week_start: int = 0
    _sets: dict[int, frozenset[int]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def parse(cls, text: str, begin: date) -> Self:
        """Read the value of an RRULE; `begin` is the day of its DTSTART.

        Raises:
            RecurrenceError: it is malformed, or holds a part that is about more than days.
        """
        parts = _parts(text)
        frequency = parts.get("FREQ", "")
        if frequency not in FREQUENCIES:
            raise RecurrenceError(f"FREQ must be one of {', '.join(FREQUENCIES)}")
        weekdays, nth = _weekdays(parts.get("BYDAY"), frequency)
        start = parts.get("WKST", "MO")
        if start not in WEEKDAYS:
            raise RecurrenceError("WKST must be one of " + ", ".join(WEEKDAYS))
        month_days = _numbers(parts, "BYMONTHDAY", 31, negative=True)
        if month_days and frequency == "WEEKLY":
            raise RecurrenceError("BYMONTHDAY cannot go with FREQ=WEEKLY (RFC 5545, 3.3.10)")
        positions = _positions(parts, frequency)
        interval = _numbers(parts, "INTERVAL", INTERVAL_MAX)
        if len(interval) > 1:
            raise RecurrenceError("INTERVAL must be one number")
        return cls(
            frequency=frequency,
            begin=begin,
            interval=next(iter(interval), 1),
            months=_numbers(parts, "BYMONTH", 12),
            month_days=month_days,
            weekdays=weekdays,
            nth=nth,
            positions=positions,
            week_start=WEEKDAYS.index(start),
        )

    @classmethod
    def weekly(cls, weekdays: frozenset[int]) -> Self:
        """Make the rule that holds on these days of every week, since ever."""
        return cls("WEEKLY", date.min, weekdays=weekdays)

    def days(self, first: int, last: int) -> list[int]:
        """Give the days that the rule names from `first` to `last`, as proleptic ordinals."""
        if (
            self.frequency == "WEEKLY"
            and self.interval == 1
            and not (self.months or self.positions)
        ):
            wanted = self.weekdays or {self.begin.weekday()}
            begin = max(first, self.begin.toordinal())
            return [day for day in range(begin, last + 1) if (day - _MONDAY) % 7 in wanted]
        return [day for day in range(first, last + 1) if self.names(date.fromordinal(day))]

    def names(self, day: date) -> bool:
        """Tell whether the rule names this day."""
        if day < self.begin or not self._in_phase(day):
            return False
        if not self.positions:
            return self._fits(day)
        first, last = self._period(day)
        if first.toordinal() not in self._sets:
            self._sets[first.toordinal()] = self._chosen(first, last)
        return day.toordinal() in self._sets[first.toordinal()]

    def _chosen(self, first: date, last: date) -> frozenset[int]:
        found = [
            at for at in range(first.toordinal(), last.toordinal() + 1)
            if self._fits(date.fromordinal(at))
        ]  # fmt: skip
        return frozenset(
            found[at - 1 if at > 0 else at]
            for at in self.positions
            if -len(found) <= at <= len(found)
        )

    def _in_phase(self, day: date) -> bool:
        """Tell whether the day lies in one of the periods that INTERVAL leaves."""
        if self.interval == 1:
            return True
        if self.frequency == "DAILY":
            apart = (day - self.begin).days
        elif self.frequency == "WEEKLY":
            apart = (self._week(day) - self._week(self.begin)).days // 7
        elif self.frequency == "MONTHLY":
            apart = (day.year - self.begin.year) * 12 + day.month - self.begin.month
        else:
            apart = day.year - self.begin.year
        return apart % self.interval == 0

    def _week(self, day: date) -> date:
        back = (day.weekday() - self.week_start) % 7
        return date.fromordinal(max(1, day.toordinal() - back))

    def _period(self, day: date) -> tuple[date, date]:
        if self.frequency == "YEARLY":
            return date(day.year, 1, 1), date(day.year, 12, 31)
        last = calendar.monthrange(day.year, day.month)[1]
        return day.replace(day=1), day.replace(day=last)

    def _fits(self, day: date) -> bool:
        """Tell whether the day satisfies every BY… part, or the part that `begin` stands for."""
        if self.months and day.month not in self.months:
            return False
        if self.month_days and not self._fits_month_day(day):
            return False
        if self.weekdays or self.nth:
            return day.weekday() in self.weekdays or self._fits_nth(day)
        return bool(self.month_days) or self._fits_begin(day)

    def _fits_begin(self, day: date) -> bool:
        """Tell whether the day is one like `begin`, which stands for parts that are not said."""
        if self.frequency == "DAILY":
            return True
        if self.frequency == "WEEKLY":
            return day.weekday() == self.begin.weekday()
        same_month = self.frequency == "MONTHLY" or self.months or day.month == self.begin.month
        return bool(same_month) and day.day == self.begin.day

    def _fits_month_day(self, day: date) -> bool:
        length = calendar.monthrange(day.year, day.month)[1]
        return day.day in self.month_days or day.day - length - 1 in self.month_days

    def _fits_nth(self, day: date) -> bool:
        if not self.nth:
            return False
        if self.frequency == "YEARLY" and not self.months:
            at, length = day.timetuple().tm_yday, 365 + calendar.isleap(day.year)
        else:
            at, length = day.day, calendar.monthrange(day.year, day.month)[1]
        forward, backward = (at - 1) // 7 + 1, -((length - at) // 7 + 1)
        return bool(self.nth & {(forward, day.weekday()), (backward, day.weekday())})


def _parts(text: str) -> dict[str, str]:
    if len(text) > TEXT_MAX:
        raise RecurrenceError(f"a rule has at most {TEXT_MAX} characters")
    parts: dict[str, str] = {}
    for part in text.strip().upper().removeprefix("RRULE:").rstrip(";").split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise RecurrenceError("expected NAME=VALUE;…, for example FREQ=WEEKLY;BYDAY=MO,TU")
        if name not in _PARTS:
            known = ", ".join(_PARTS)
            remedy = "; say valid_until instead" if name in {"UNTIL", "COUNT"} else ""
            raise RecurrenceError(f"{name[:20]} is not among {known}{remedy}")
        if name in parts:
            raise RecurrenceError(f"{name} is said twice")
        parts[name] = value
    return parts


def _numbers(
    parts: dict[str, str], name: str, most: int, *, negative: bool = False
) -> frozenset[int]:
    numbers = set()
    for word in parts[name].split(",") if name in parts else ():
        number = int(word) if _NUMBER.fullmatch(word) and word.isascii() else 0
        if not number or abs(number) > most or (number < 0 and not negative):
            least = f"-{most} to {most} without 0" if negative else f"1 to {most}"
            raise RecurrenceError(f"{name} must be numbers from {least}")
        numbers.add(number)
    return frozenset(numbers)


def _positions(parts: dict[str, str], frequency: str) -> frozenset[int]:
    positions = _numbers(parts, "BYSETPOS", _DAYS_OF_YEAR, negative=True)
    if positions and frequency not in {"MONTHLY", "YEARLY"}:
        raise RecurrenceError("BYSETPOS needs FREQ=MONTHLY or YEARLY")
    if positions and not parts.keys() & {"BYMONTH", "BYMONTHDAY", "BYDAY"}:
        raise RecurrenceError("BYSETPOS needs another BY… part to choose from")
    return positions


def _weekdays(
    text: str | None, frequency: str
) -> tuple[frozenset[int], frozenset[tuple[int, int]]]:
    weekdays, nth = set(), set()
    for word in text.split(",") if text is not None else ():
        found = _BYDAY.fullmatch(word)
        if not found:
            raise RecurrenceError("BYDAY must be days such as MO or, by month or year, 2TU or -1FR")
        number, day = found.group(1), WEEKDAYS.index(found.group(2))
        if number is None:
            weekdays.add(day)
        elif frequency in {"DAILY", "WEEKLY"} or not 0 < abs(int(number)) <= _NTH_MAX:
            raise RecurrenceError("a numbered BYDAY needs FREQ=MONTHLY or YEARLY and 1 to 53")
        else:
            nth.add((int(number), day))
    return frozenset(weekdays), frozenset(nth)
