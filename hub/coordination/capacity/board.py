"""Free now, free when, and how many free hours: of every machine, ready for lists and streams.

Made anew every minute, and when a calendar, a booking or a machine's state has changed; whoever
reads gets what was made last, at the price of looking into a dictionary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from hub.access import Group, Level, View
from hub.access.masks import shows_free
from hub.coordination.capacity.capacity import Present, Release, spans_from, tally
from hub.coordination.capacity.experience import Experience
from hub.coordination.capacity.ledger import DAY_MS, Ledger, Page
from hub.coordination.capacity.present import Presence
from hub.coordination.directory.directory import Directory
from hub.coordination.intervals import Interval
from hub.live import Live, LiveMachine

HOUR_MS: Final = 3_600_000
MINUTE_MS: Final = 60_000
H24_MS: Final = DAY_MS
D7_MS: Final = 7 * DAY_MS
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is ahead of one machine, as of the minute in which it was made.

    None where nobody has told its hours: then nothing but the present is known.
    """

    usable: Interval | None
    """The span in which it may be used that goes on now or comes next: neither closed nor taken."""
    next_free_ms: int | None
    """When it is let go of and open and not booked; whole minutes. Now, or in the past, if free."""
    h24: float | None
    """Free unit-hours of the next 24 hours."""
    d7: float | None
    """Free unit-hours of the next seven days."""
    confidence: float | None

    def usable_at(self, time_ms: int) -> bool:
        """Tell whether calendar and bookings let it be used at an instant near this minute."""
        return self.usable is not None and self.usable[0] <= time_ms < self.usable[1]


NOTHING_KNOWN: Final = Outlook((0, 1 << 62), None, None, None, None)
"""Of a machine that no calendar, booking or directory knows: only its live state counts."""


class Free(NamedTuple):
    """What one viewer is told of a machine's free capacity. None: nobody knows, or not shown."""

    now: bool | None = None
    next_ms: int | None = None
    """When it will be free; None also for one that is free now."""
    h24: float | None = None
    d7: float | None = None
    confidence: float | None = None


class Board:
    """The outlook of every machine. One thread calls `refresh`, any thread asks."""

    def __init__(
        self,
        *,
        directory: Directory,
        live: Live,
        ledger: Ledger,
        presence: Presence,
        experience: Experience,
        now_ms: Callable[[], int],
    ) -> None:
        self._directory = directory
        self._live = live
        self._ledger = ledger
        self._presence = presence
        self._experience = experience
        self._now_ms = now_ms
        self._outlooks: dict[Key, Outlook] = {}
        self._made_of: dict[Key, tuple[object, ...]] = {}
        self._versions: dict[Key, int] = {}
        self.version = 0
        """Grows when any outlook changes."""

    def of(self, site: str, machine: str) -> Outlook:
        """Give the outlook of a machine."""
        return self._outlooks.get((site, machine), NOTHING_KNOWN)

    def changed_since(self, version: int) -> list[Key]:
        """Name the machines whose outlook changed after a version."""
        return [key for key, changed in list(self._versions.items()) if changed > version]

    def free(self, machine: LiveMachine, view: View, now_ms: int) -> Free:
        """Tell a viewer how free a machine is; `machine` is all of it, not what the viewer sees.

        Free now is one that is alive, idle, open and not booked. Who is shown what it does and not
        when it is free is told whether it is idle: bookings are none of his business.
        """
        site = machine.site
        if not view.everything and not shows_free(view, site):
            return Free()
        free_now = machine.free_now(now_ms)
        if not view.everything and view.level(site, Group.CAPACITY_CALENDAR) < Level.FULL:
            return Free(free_now)
        ahead = self.of(site, machine.machine)
        free_now = free_now and ahead.usable_at(now_ms)
        next_ms = None if free_now else ahead.next_free_ms
        confidence = ahead.confidence
        if not view.everything and view.level(site, Group.STATUS) < Level.FULL:
            confidence = None  # It would tell what the machine is doing.
        return Free(free_now, next_ms, ahead.h24, ahead.d7, confidence)

    def refresh(self) -> None:
        """Make anew what the clock or a change has made old; look a little into the past, too."""
        now_ms = self._now_ms()
        entries = self._directory.machines()
        lives = {(each.site, each.machine): each for each in self._live.machines()}
        down: list[Key] = []
        fresh, made_of = dict[Key, Outlook](), dict[Key, tuple[object, ...]]()
        for entry in entries:
            key = (entry.site, entry.machine)
            page = self._ledger.page(entry)
            present = self._presence.of(entry, lives.get(key), page, now_ms)
            if present.doing == "down":
                down.append(key)
            release = self._presence.release(entry, present, 1.0, now_ms)
            minute = now_ms // MINUTE_MS
            basis = (page.number, minute, present.doing, release.basis)
            if self._made_of.get(key) == basis:
                fresh[key], made_of[key] = self._outlooks[key], basis
                continue
            fresh[key] = outlook(page, present, release, now_ms)
            made_of[key] = basis
        self._take(fresh)
        self._made_of = made_of
        self._experience.turn(entries, down)

    def _take(self, fresh: dict[Key, Outlook]) -> None:
        before = self._outlooks
        changed = [key for key, each in fresh.items() if before.get(key) != each]
        gone = before.keys() - fresh.keys()
        self._outlooks = fresh
        if changed or gone:
            version = self.version + 1
            self._versions.update(dict.fromkeys((*changed, *gone), version))
            self.version = version


def outlook(page: Page, present: Present, release: Release, now_ms: int) -> Outlook:
    """Look ahead from a minute on."""
    unscheduled = not page.opened
    usable = next(spans_from(page.free(1, alone=True, unscheduled=True), now_ms), None)
    if unscheduled:
        return Outlook(usable, None, None, None, None)
    free_ms = _minute(release.p50_ms)
    spans = spans_from(page.free(1, alone=True), free_ms)
    first = next(spans, None)
    from_ms = now_ms if present.doing == "free" else free_ms
    return Outlook(
        usable,
        None if first is None else first[0],
        _hours(page, from_ms, now_ms + H24_MS),
        _hours(page, from_ms, now_ms + D7_MS),
        round(release.confidence, 3),
    )


def _minute(time_ms: int) -> int:
    """Give the next whole minute."""
    return -(-time_ms // MINUTE_MS) * MINUTE_MS


def _hours(page: Page, from_ms: int, to_ms: int) -> float:
    return round(tally(page.stretches(), from_ms, to_ms).free / HOUR_MS, 1)
