"""A calendar as a person writes it, checked field by field."""

import re
import zoneinfo
from datetime import date
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from hub.schedule.recurrence import TEXT_MAX, Recurrence

DATE_FIRST: Final = date(2000, 1, 1)
DATE_LAST: Final = date(2100, 12, 31)
RULES_MAX: Final = 64
SPECIAL_DAYS_MAX: Final = 366
SKIPPED_MAX: Final = 366
UNITS_MAX: Final = 1000
PRIORITY_MAX: Final = 1000
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_WORDS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK_PATTERN: Final = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def minutes_of(clock: str) -> int:
    """Give the minutes since midnight of "HH:MM"."""
    return int(clock[:2]) * 60 + int(clock[3:])


def _within(day: date) -> date:
    if not DATE_FIRST <= day <= DATE_LAST:
        raise ValueError(f"expected a date from {DATE_FIRST} to {DATE_LAST}")
    return day


def _no_midnight_at_the_end(clock: str) -> str:
    if not _CLOCK.fullmatch(clock):
        raise ValueError("expected HH:MM from 00:00 to 23:59")
    return clock


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected one line without control characters")
    return text


Clock = Annotated[str, Field(pattern=_CLOCK_PATTERN, examples=["08:00"])]
StartClock = Annotated[Clock, AfterValidator(_no_midnight_at_the_end)]
Day = Annotated[date, AfterValidator(_within)]
Units = Annotated[int, Field(ge=1, le=UNITS_MAX)]
Label = Annotated[str, Field(max_length=80), AfterValidator(_printable)]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class RuleKind(StrEnum):
    """What a rule says of its hours."""

    WORK = "work"
    BREAK = "break"
    MAINTENANCE = "maintenance"
    CLOSED = "closed"


DEFAULT_PRIORITY: Final = {
    RuleKind.CLOSED: 100,
    RuleKind.MAINTENANCE: 200,
    RuleKind.BREAK: 300,
    RuleKind.WORK: 400,
}
"""What a rule without a priority gets: what keeps from working wins over work."""


class Rule(_Strict):
    """Hours that come again: on `weekdays` of every week, or on the days of an `rrule`.

    From `start` to `end` by the site's clock; an end that is not after the start lies on the next
    day, and a rule belongs to the day on which it starts. Of the rules that hold at one instant
    the one with the lowest `priority` number wins.
    """

    kind: RuleKind
    start: StartClock
    end: Clock
    weekdays: Annotated[tuple[Weekday, ...], Field(max_length=7)] = ()
    rrule: Annotated[str | None, Field(max_length=TEXT_MAX)] = None
    """Value of an RRULE about days (RFC 5545), counted from `valid_from`."""
    priority: Annotated[int | None, Field(ge=1, le=PRIORITY_MAX)] = None
    """Lowest wins. Without it closed 100, maintenance 200, break 300, work 400."""
    capacity_units: Units | None = None
    """How many of the machine's units are there in these hours; without it all of them."""
    attended: bool = True
    """Whether people are there. False for hours in which machines run alone."""
    valid_from: Day | None = None
    valid_until: Day | None = None
    """The last day on which the rule may start."""
    exceptions: Annotated[tuple[Day, ...], Field(max_length=SKIPPED_MAX)] = ()
    """Days on which the rule does not start."""
    on_holidays: bool = False
    """Whether work and breaks of this rule take place on public holidays too."""
    label: Label = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if bool(self.weekdays) == (self.rrule is not None):
            raise ValueError("say either weekdays or rrule")
        if self.rrule is not None and self.valid_from is None:
            raise ValueError("an rrule needs valid_from, the day from which it counts")
        if self.kind is not RuleKind.WORK and (self.capacity_units or not self.attended):
            raise ValueError("capacity_units and attended are about work")
        if self.valid_from and self.valid_until and self.valid_until < self.valid_from:
            raise ValueError("valid_until lies before valid_from")
        self.recurrence()
        return self

    @property
    def rank(self) -> int:
        """The priority, said or not."""
        return self.priority or DEFAULT_PRIORITY[self.kind]

    @property
    def duration_min(self) -> int:
        """How long the rule is by a clock that is not changed: 1 minute to 24 hours."""
        return (minutes_of(self.end) - minutes_of(self.start) - 1) % 1440 + 1

    def recurrence(self) -> Recurrence:
        """Give the days on which the rule starts, validity and exceptions aside."""
        if self.rrule is not None:
            return Recurrence.parse(self.rrule, self.valid_from or DATE_FIRST)
        return Recurrence.weekly(frozenset(_WORDS.index(word) for word in self.weekdays))


class SpecialDay(_Strict):
    """One day, or several in a row, on which things are different from what the rules say.

    Without times it is about whole production days; with them about these hours of each day.
    Special days win over every rule, the machine's over those of its site.
    """

    date: Day
    until: Day | None = None
    """The last day, when there are several."""
    kind: RuleKind = RuleKind.CLOSED
    start: StartClock | None = None
    end: Clock | None = None
    capacity_units: Units | None = None
    label: Label = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.start is None) != (self.end is None):
            raise ValueError("say both start and end, or neither")
        if self.until is not None and not 0 <= (self.until - self.date).days <= SPECIAL_DAYS_MAX:
            raise ValueError("until must lie from 0 to 366 days after date")
        if self.kind is not RuleKind.WORK and self.capacity_units:
            raise ValueError("capacity_units is about work")
        return self


class Calendar(_Strict):
    """The hours of a site, or what is different about one of its machines.

    A machine follows its site where its own calendar says nothing, unless `inherit` is false.
    """

    time_zone: Annotated[str | None, Field(max_length=64)] = None
    """IANA name of the clock that the hours are read from; without it the site's."""
    production_day_start: StartClock | None = None
    """When a day begins for counting; without it midnight."""
    holidays: Literal["JP", "none"] | None = None
    """Whose public holidays there is no work on; without it as the calendar above says."""
    inherit: bool = True
    rules: Annotated[tuple[Rule, ...], Field(max_length=RULES_MAX)] = ()
    exceptions: Annotated[tuple[SpecialDay, ...], Field(max_length=SPECIAL_DAYS_MAX)] = ()

    @field_validator("time_zone")
    @classmethod
    def _exists(cls, name: str | None) -> str | None:
        try:
            if name is not None:
                zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("not an IANA time zone, for example Asia/Tokyo") from error
        return name
