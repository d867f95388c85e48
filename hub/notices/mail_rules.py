"""What a person is told by mail, and when (pure).

Alarms are told by how things stand, not by each change: one that came and went in the night is
nobody's mail, one that flaps is told once per `remind_s`, one that lasts is told again until
somebody takes note. Other events are told one by one, in order, and wait out quiet hours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from zoneinfo import ZoneInfo

from hub.live import Alarm
from hub.notices.quiet import QuietHours, is_quiet
from hub.store.events import Event, Wanted
from hub.store.mail import Place, trouble

LINES_MAX: Final = 50
"""Lines of one mail; how many more there were is told in one."""
ALARMS: Final = frozenset({"alarm", "alarm.raised"})


@dataclass(frozen=True, slots=True)
class Reader:
    """Whom to tell, of what, and when not."""

    address: str
    language: str
    zone: ZoneInfo
    sites: frozenset[str]
    types: tuple[str, ...]
    quiet: tuple[QuietHours, ...]
    urgent: frozenset[str]
    gather_ms: int
    remind_ms: int
    after_ms: int = 0

    def is_about(self, site: str) -> bool:
        """Tell whether a site is this reader's concern."""
        return not self.sites or site in self.sites


@dataclass(frozen=True, slots=True)
class Letter:
    """What one mail tells, and how far its reader is once it is sent."""

    place: Place
    alarms: tuple[Alarm, ...] = ()
    reminders: tuple[Alarm, ...] = ()
    events: tuple[Event, ...] = ()
    more: int = 0
    """Matters that found no room."""
    told: tuple[tuple[str, str], ...] = ()
    """Troubles that its reader knows of once it is sent."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say."""
        return not (self.alarms or self.reminders or self.events)


def letter(
    reader: Reader,
    place: Place,
    *,
    alarms: Sequence[Alarm],
    events: Sequence[Event],
    told_ms: Mapping[tuple[str, str], int],
    now_ms: int,
) -> Letter:
    """Put together what a reader is to be told now; `events` are all that follow its place."""
    if place.sent_ms is not None and 0 <= now_ms - place.sent_ms < reader.gather_ms:
        return Letter(place)
    quiet = is_quiet(reader.quiet, reader.zone, now_ms)
    fresh, again = _alarms(reader, alarms, told_ms, quiet=quiet, now_ms=now_ms)
    news = [e for e in events if _is_news(reader, place, e, quiet=quiet)]
    matters = len(fresh) + len(again) + len(news)
    shown = Letter(
        place, tuple(fresh[:LINES_MAX]), tuple(again[:LINES_MAX]), tuple(news[:LINES_MAX])
    )
    last = max((e.seq for e in events), default=0)
    after = Place(
        max(place.urgent_seq, last),
        place.other_seq if quiet else max(place.other_seq, last),
        place.sent_ms if not matters else now_ms,
    )
    room = len(shown.alarms) + len(shown.reminders) + len(shown.events)
    known = tuple(trouble(a.code, a.subject) for a in (*fresh, *again))
    return replace(shown, place=after, more=matters - room, told=known)


def read_from(reader: Reader, place: Place, now_ms: int) -> int:
    """Tell after which event a reader's news begin: quiet hours are for urgent ones only."""
    if is_quiet(reader.quiet, reader.zone, now_ms):
        return place.urgent_seq
    return min(place.urgent_seq, place.other_seq)


def _alarms(
    reader: Reader,
    alarms: Sequence[Alarm],
    told_ms: Mapping[tuple[str, str], int],
    *,
    quiet: bool,
    now_ms: int,
) -> tuple[list[Alarm], list[Alarm]]:
    fresh: list[Alarm] = []
    again: list[Alarm] = []
    if not ALARMS.isdisjoint(reader.types):
        for alarm in alarms:
            waits = now_ms - alarm.since_ms < reader.after_ms
            if alarm.acknowledged_ms is not None or waits or not reader.is_about(alarm.site):
                continue
            if quiet and alarm.code not in reader.urgent:
                continue
            before_ms = told_ms.get(trouble(alarm.code, alarm.subject))
            if before_ms is None:
                fresh.append(alarm)
            elif reader.remind_ms and now_ms - before_ms >= reader.remind_ms:
                (fresh if alarm.since_ms > before_ms else again).append(alarm)
    return fresh, again


def _is_news(reader: Reader, place: Place, event: Event, *, quiet: bool) -> bool:
    family = event.type.partition(".")[0]
    if family == "alarm" or reader.after_ms or not reader.is_about(event.site):
        return False
    if not Wanted(types=reader.types).takes(event):
        return False
    urgent = not reader.urgent.isdisjoint({event.type, family})
    if urgent:
        return event.seq > place.urgent_seq
    return not quiet and event.seq > place.other_seq
