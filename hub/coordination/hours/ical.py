"""Calendars as iCalendar files (RFC 5545), in and out: the one door to the package that reads them.

A rule is an event with an RRULE, a special day one without. What people's calendar programs show is
right as it stands; what iCalendar has no word for goes into properties that they ignore. Three of
them are those of IDTA 02067 (Production Calendar): ``X-BREAK`` and ``X-MAINTENANCE`` mark events,
``X-PRODUCTION-DAY`` says when a production day begins. An event without a mark is working time when
it has hours, and a day off when it is about whole days.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import icalendar
from pydantic import ValidationError

from hub.coordination.hours.calendar_rules import Kind, Window
from hub.coordination.hours.public_holidays import holidays_between
from hub.schedule import (
    DATE_FIRST,
    DATE_LAST,
    Calendar,
    Recurrence,
    RecurrenceError,
    Rule,
    RuleKind,
    SpecialDay,
    minutes_of,
)
from hub.schedule.recurrence import WEEKDAYS

BYTES_MAX: Final = 64 * 1024
EVENTS_MAX: Final = 500
COUNT_MAX: Final = 5000
HOLIDAYS_SHOWN: Final = timedelta(days=730)
_DAY: Final = timedelta(days=1)
_WORDS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_OWN: Final = "X-MACHIKOBA-"
_MARKS: Final = {"X-BREAK": RuleKind.BREAK, "X-MAINTENANCE": RuleKind.MAINTENANCE}
_SUMMARIES: Final = {
    RuleKind.WORK: "稼働 / Work",
    RuleKind.BREAK: "休憩 / Break",
    RuleKind.MAINTENANCE: "保全 / Maintenance",
    RuleKind.CLOSED: "休業 / Closed",
}
_SHOWN: Final = {
    Kind.WORKING: RuleKind.WORK,
    Kind.BREAK: RuleKind.BREAK,
    Kind.MAINTENANCE: RuleKind.MAINTENANCE,
}
_ODD: Final = (ValueError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError)
"""What the package raises, one or another, for files that are none."""


class IcalError(Exception):
    """The file cannot be used: `place` names the event and property, `cause` says why."""

    def __init__(self, place: str, cause: str) -> None:
        super().__init__(f"{place}: {cause}")
        self.place = place
        self.cause = cause


# -- out ---------------------------------------------------------------------------------------


def write(calendar: Calendar, zone: str, name: str, *, now_ms: int) -> bytes:
    """Write a calendar so that `read` gives the same one; `zone` is what its hours are read in."""
    file = _file(name)
    file.add("X-WR-TIMEZONE", zone)
    if calendar.production_day_start is not None:
        file.add("X-PRODUCTION-DAY", calendar.production_day_start)
    if calendar.holidays is not None:
        file.add(f"{_OWN}HOLIDAYS", calendar.holidays)
    if not calendar.inherit:
        file.add(f"{_OWN}INHERIT", "FALSE")
    tz = ZoneInfo(zone)
    for number, rule in enumerate(calendar.rules):
        event = _rule_event(rule, tz)
        file.add_component(_stamped(event, f"rule-{number}@{name}", now_ms))
    for number, special in enumerate(calendar.exceptions):
        event = _special_event(special, tz)
        file.add_component(_stamped(event, f"day-{number}@{name}", now_ms))
    for number, event in enumerate(_holiday_events(calendar.holidays, now_ms)):
        file.add_component(_stamped(event, f"holiday-{number}@{name}", now_ms))
    return bytes(file.to_ical())


def write_windows(windows: Iterable[Window], name: str, *, now_ms: int) -> bytes:
    """Write what a calendar comes to, as single events in UTC for a program to subscribe to."""
    file = _file(name)
    for window in windows:
        if window.kind in _SHOWN:
            event = icalendar.Event()
            event.add("SUMMARY", _SUMMARIES[_SHOWN[window.kind]])
            event.add("DTSTART", datetime.fromtimestamp(window.start_ms / 1000, UTC))
            event.add("DTEND", datetime.fromtimestamp(window.end_ms / 1000, UTC))
            _mark(event, _SHOWN[window.kind])
            file.add_component(_stamped(event, f"{window.start_ms}@{name}", now_ms))
    return bytes(file.to_ical())


def _file(name: str) -> icalendar.Calendar:
    file = icalendar.Calendar()
    name = _plain(name)
    file.add("PRODID", "-//Machikoba//Machikoba hub//EN")
    file.add("VERSION", "2.0")
    file.add("X-WR-CALNAME", name)
    return file


def _stamped(event: icalendar.Event, uid: str, now_ms: int) -> icalendar.Event:
    event.add("UID", _plain(uid))
    event.add("DTSTAMP", datetime.fromtimestamp(now_ms // 1000, UTC))
    return event


def _plain(text: str) -> str:
    """Keep what a foreign machine calls itself from ending a line of the file."""
    return "".join(sign if sign.isprintable() else "-" for sign in text)


def _mark(event: icalendar.Event, kind: RuleKind) -> None:
    for name, marked in _MARKS.items():
        if marked is kind:
            event.add(name, "TRUE")
    event.add(f"{_OWN}KIND", kind.value)


def _rule_event(rule: Rule, zone: ZoneInfo) -> icalendar.Event:
    """Write a rule. The day of one that never comes true is an exception at once."""
    begin = rule.valid_from or DATE_FIRST
    found = _first_day(rule.recurrence(), begin, rule.valid_until or DATE_LAST)
    first = found or begin
    skipped = rule.exceptions if found else (*rule.exceptions, begin)
    event = icalendar.Event()
    event.add("SUMMARY", rule.label or _SUMMARIES[rule.kind])
    start = _at(first, rule.start, zone)
    event.add("DTSTART", start)
    event.add("DTEND", _plus(start, rule.duration_min))
    text = rule.rrule or "FREQ=WEEKLY;BYDAY=" + ",".join(
        WEEKDAYS[_WORDS.index(word)] for word in rule.weekdays
    )
    parts = {name: value.split(",") for name, _, value in (p.partition("=") for p in _split(text))}
    if rule.valid_until is not None:
        parts["UNTIL"] = [_at(rule.valid_until, rule.start, zone).astimezone(UTC)]  # type: ignore[list-item]
    event.add("RRULE", parts)
    if skipped:
        event.add("EXDATE", [_at(day, rule.start, zone) for day in skipped])
    _mark(event, rule.kind)
    said = {
        "LABEL": rule.label or None,
        "PRIORITY": rule.priority,
        "UNITS": rule.capacity_units,
        "ATTENDED": None if rule.attended else "FALSE",
        "ON-HOLIDAYS": "TRUE" if rule.on_holidays else None,
        "VALID-FROM": rule.valid_from.isoformat() if rule.valid_from else "ALWAYS",
    }
    _say(event, said)
    return event


def _special_event(special: SpecialDay, zone: ZoneInfo) -> icalendar.Event:
    event = icalendar.Event()
    event.add("SUMMARY", special.label or _SUMMARIES[special.kind])
    last = special.until or special.date
    if special.start is None or special.end is None:
        event.add("DTSTART", special.date)
        event.add("DTEND", last + _DAY)
    else:
        start = _at(special.date, special.start, zone)
        event.add("DTSTART", start)
        event.add("DTEND", _plus(start, _length_min(special.start, special.end)))
        if last > special.date:
            until = _at(last, special.start, zone).astimezone(UTC)
            event.add("RRULE", {"FREQ": ["DAILY"], "UNTIL": [until]})
    _mark(event, special.kind)
    said = {"LABEL": special.label or None, "UNITS": special.capacity_units, "SPECIAL": "TRUE"}
    _say(event, said)
    return event


def _holiday_events(country: str | None, now_ms: int) -> Iterable[icalendar.Event]:
    """Show public holidays to programs that do not know them; `read` leaves them out again."""
    if country is None or country == "none":
        return
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    for day, name in holidays_between(country, today, today + HOLIDAYS_SHOWN):
        event = icalendar.Event()
        event.add("SUMMARY", name)
        event.add("DTSTART", day)
        event.add("DTEND", day + _DAY)
        event.add("TRANSP", "TRANSPARENT")
        event.add(f"{_OWN}DERIVED", "TRUE")
        yield event


def _say(event: icalendar.Event, said: Mapping[str, object]) -> None:
    for name, value in said.items():
        if value is not None:
            event.add(f"{_OWN}{name}", str(value))


def _first_day(days: Recurrence, begin: date, last: date) -> date | None:
    for at in range(begin.toordinal(), last.toordinal() + 1):
        if days.names(date.fromordinal(at)):
            return date.fromordinal(at)
    return None


def _at(day: date, clock: str, zone: ZoneInfo) -> datetime:
    minutes = minutes_of(clock)
    return datetime.combine(day, time(minutes // 60, minutes % 60), zone)


def _plus(start: datetime, minutes: int) -> datetime:
    """Add minutes on the wall clock: an aware datetime counts them so, within its zone."""
    return start + timedelta(minutes=minutes)


def _length_min(start: str, end: str) -> int:
    return (minutes_of(end) - minutes_of(start) - 1) % 1440 + 1


def _split(text: str) -> list[str]:
    return text.strip().upper().removeprefix("RRULE:").rstrip(";").split(";")


# -- in ----------------------------------------------------------------------------------------


def read(body: bytes, site_zone: str) -> Calendar:
    """Read a calendar. All its events must be in one time zone, floating ones are in the site's.

    Raises:
        IcalError: it is no such file, or says what a calendar here cannot say.
    """
    file = _parse(body)
    events = [part for part in file.subcomponents if part.name == "VEVENT"]
    if len(events) > EVENTS_MAX:
        raise IcalError("VCALENDAR", f"more than {EVENTS_MAX} events")
    zone = _zone_of(events, str(file.get("X-WR-TIMEZONE", site_zone)))
    told: dict[str, Any] = {"rules": [], "exceptions": []}
    for number, event in enumerate(events):
        if _text(event, f"{_OWN}DERIVED") != "TRUE":
            group, item = _read_event(event, number, zone)
            told[group].append(item)
    start = _text(file, "X-PRODUCTION-DAY")
    holidays = _text(file, f"{_OWN}HOLIDAYS")
    inherit = _text(file, f"{_OWN}INHERIT") != "FALSE"
    told |= {"production_day_start": start, "holidays": holidays, "inherit": inherit}
    told["time_zone"] = None if zone.key == site_zone else zone.key
    calendar: Calendar = _valid(Calendar, told, "VCALENDAR")
    return calendar


def _parse(body: bytes) -> icalendar.Calendar:
    if len(body) > BYTES_MAX:
        raise IcalError("VCALENDAR", f"larger than {BYTES_MAX} bytes")
    try:
        file = icalendar.Calendar.from_ical(body)
    except (*_ODD, RecursionError) as error:
        raise IcalError("VCALENDAR", "this is no iCalendar file (RFC 5545)") from error
    if not isinstance(file, icalendar.Calendar):
        raise IcalError("VCALENDAR", "the file must hold one VCALENDAR")
    return file


def _zone_of(events: Sequence[Any], default: str) -> ZoneInfo:
    """Give the zone of all events, whose properties have turned out readable."""
    names = set()
    for number, event in enumerate(events):
        if event.errors:
            name = str(event.errors[0][0])[:40]
            raise IcalError(f"VEVENT {number}/{name}", "cannot be read")
        told = event.get("DTSTART")
        if isinstance(getattr(told, "dt", None), datetime):
            if "TZID" in told.params:
                names.add(str(told.params["TZID"]))
            elif told.dt.tzinfo is not None:
                names.add("UTC")
    if len(names) > 1:
        raise IcalError("DTSTART", "all events must be in one time zone")
    name = next(iter(names), default)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise IcalError("DTSTART", "TZID must be an IANA time zone, such as Asia/Tokyo") from error


def _read_event(event: Any, number: int, zone: ZoneInfo) -> tuple[str, dict[str, Any]]:
    place = f"VEVENT {number}"
    for name in ("RDATE", "EXRULE", "RECURRENCE-ID"):
        if name in event:
            raise IcalError(f"{place}/{name}", "cannot be said here: write an event of its own")
    start, end = _times(event, place, zone)
    whole_days = not isinstance(start, datetime)
    kind = _kind(event, place, whole_days=whole_days)
    item: dict[str, Any] = {"kind": kind, "label": _label(event, kind)}
    item["capacity_units"] = _number(event, f"{_OWN}UNITS", place)
    if whole_days or "RRULE" not in event or _text(event, f"{_OWN}SPECIAL") == "TRUE":
        item |= _special_fields(event, place, (start, end), zone)
        return "exceptions", _valid(SpecialDay, item, place)
    item |= _rule_fields(event, place, (start, end), zone)
    return "rules", _valid(Rule, item, place)


def _times(event: Any, place: str, zone: ZoneInfo) -> tuple[date, date]:
    """Give start and end: both days, or both local times."""
    try:
        start = event["DTSTART"].dt
        if "DTEND" in event:
            end = event["DTEND"].dt
        elif "DURATION" in event:
            end = start + event["DURATION"].dt
        else:
            end = start + _DAY
        start, end = _local(start, zone), _local(end, zone)
    except _ODD as error:
        cause = "needs a DTSTART, and a DTEND or DURATION"
        raise IcalError(f"{place}/DTSTART", cause) from error
    if isinstance(start, datetime) is not isinstance(end, datetime) or start >= end:
        raise IcalError(f"{place}/DTEND", "must be of the kind of DTSTART and lie after it")
    return start, end


def _local(told: Any, zone: ZoneInfo) -> date:
    if not isinstance(told, date):
        raise TypeError("no date")
    if isinstance(told, datetime):
        moved = told.astimezone(zone) if told.tzinfo is not None else told
        return moved.replace(tzinfo=None)
    return told


def _kind(event: Any, place: str, *, whole_days: bool) -> RuleKind:
    said = _text(event, f"{_OWN}KIND")
    if said is not None:
        try:
            return RuleKind(said.lower())
        except ValueError as error:
            words = ", ".join(RuleKind)
            raise IcalError(f"{place}/{_OWN}KIND", f"must be one of {words}") from error
    marked = [kind for name, kind in _MARKS.items() if _text(event, name) not in {None, "FALSE"}]
    return marked[0] if marked else RuleKind.CLOSED if whole_days else RuleKind.WORK


def _label(event: Any, kind: RuleKind) -> str:
    told = _text(event, f"{_OWN}LABEL") or _text(event, "SUMMARY") or ""
    line = " ".join("".join(c if c.isprintable() else " " for c in told).split())[:80]
    return "" if line == _SUMMARIES[kind] else line


def _special_fields(
    event: Any, place: str, times: tuple[date, date], zone: ZoneInfo
) -> dict[str, Any]:
    start, end = times
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        if "RRULE" in event:
            raise IcalError(f"{place}/RRULE", "whole days cannot come again: give hours")
        last = end - _DAY
        return {"date": start, "until": last if last > start else None}
    fields: dict[str, Any] = {"date": start.date(), **_clocks(start, end, place)}
    if "RRULE" in event:
        text, until = _recurrence(event, place, start.date(), zone)
        if text != "FREQ=DAILY" or until is None:
            raise IcalError(f"{place}/RRULE", "a special day comes again daily until a date only")
        fields["until"] = until
    return fields


def _rule_fields(
    event: Any, place: str, times: tuple[date, date], zone: ZoneInfo
) -> dict[str, Any]:
    start, end = times
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        raise IcalError(f"{place}/DTSTART", "a rule needs hours")
    text, until = _recurrence(event, place, start.date(), zone)
    begin: date | str | None = start.date()
    said = _text(event, f"{_OWN}VALID-FROM")
    weekly = [part for part in text.split(";") if part != "FREQ=WEEKLY"]
    fields: dict[str, Any] = {"rrule": text}
    if len(weekly) == 1 and weekly[0].startswith("BYDAY=") and text != weekly[0]:
        days = weekly[0].removeprefix("BYDAY=").split(",")
        fields = {"weekdays": [_WORDS[WEEKDAYS.index(day)] for day in days if day in WEEKDAYS]}
        begin = None if said == "ALWAYS" else begin
    elif text == "FREQ=WEEKLY":
        fields = {"weekdays": [_WORDS[start.weekday()]]}
    if said is not None and said != "ALWAYS":
        begin = said
    return {
        **fields,
        **_clocks(start, end, place),
        "valid_from": begin,
        "valid_until": until,
        "exceptions": _exceptions(event, place, zone),
        "priority": _number(event, f"{_OWN}PRIORITY", place),
        "attended": _text(event, f"{_OWN}ATTENDED") != "FALSE",
        "on_holidays": _text(event, f"{_OWN}ON-HOLIDAYS") == "TRUE",
    }


def _clocks(start: datetime, end: datetime, place: str) -> dict[str, str]:
    if end - start > _DAY:
        raise IcalError(f"{place}/DTEND", "hours of more than a day: write whole days")
    if (start.second, end.second) != (0, 0):
        raise IcalError(f"{place}/DTSTART", "only whole minutes")
    return {"start": f"{start:%H:%M}", "end": f"{end:%H:%M}"}


def _recurrence(event: Any, place: str, begin: date, zone: ZoneInfo) -> tuple[str, date | None]:
    """Give the rule without its end, and its last day."""
    place = f"{place}/RRULE"
    told = event["RRULE"]
    if isinstance(told, list):
        raise IcalError(place, "only one to an event")
    try:
        text = told.to_ical().decode()
        until = told.get("UNTIL", [None])[0]
        count = int(told.get("COUNT", [0])[0])
    except _ODD as error:
        raise IcalError(place, "cannot be read") from error
    kept = ";".join(p for p in _split(text) if not p.startswith(("UNTIL=", "COUNT=")))
    try:
        days = Recurrence.parse(kept, begin)
    except RecurrenceError as error:
        raise IcalError(place, str(error)) from error
    if until is not None:
        local = _local(until, zone)
        return kept, local.date() if isinstance(local, datetime) else local
    return kept, _last_of(days, begin, count, place) if count else None


def _last_of(days: Recurrence, begin: date, count: int, place: str) -> date:
    if not 0 < count <= COUNT_MAX:
        raise IcalError(place, f"COUNT must be 1 to {COUNT_MAX}")
    last = begin
    for at in range(begin.toordinal(), DATE_LAST.toordinal() + 1):
        if days.names(date.fromordinal(at)):
            last, count = date.fromordinal(at), count - 1
            if not count:
                break
    return last


def _exceptions(event: Any, place: str, zone: ZoneInfo) -> list[date]:
    told = event.get("EXDATE", [])
    try:
        found = [_local(d.dt, zone) for each in _listed(told) for d in each.dts]
    except _ODD as error:
        raise IcalError(f"{place}/EXDATE", "cannot be read") from error
    return sorted({day.date() if isinstance(day, datetime) else day for day in found})


def _listed(told: Any) -> list[Any]:
    return told if isinstance(told, list) else [told]


def _text(part: Any, name: str) -> str | None:
    told = part.get(name)
    return None if told is None else str(_listed(told)[0])


def _number(event: Any, name: str, place: str) -> int | None:
    text = _text(event, name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 6):  # noqa: PLR2004 (a cap)
        raise IcalError(f"{place}/{name}", "expected a number")
    return int(text)


def _valid(model: type[Any], told: dict[str, Any], place: str) -> Any:
    try:
        return model(**told)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = "/".join(map(str, first["loc"]))
        raise IcalError(f"{place}/{field}" if field else place, str(first["msg"])) from error
