"""Free now, free when, and how many free hours: of every machine, ready for lists and streams.

Made anew every minute, and when a calendar, a booking or a machine's state has changed; whoever
reads gets what was made last, at the price of looking into a dictionary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hub.coordination.capacity import Present, Release, spans_from, tally
from hub.coordination.directory import Directory
from hub.coordination.experience import Experience
from hub.coordination.intervals import Interval
from hub.coordination.ledger import DAY_MS, Ledger, Page
from hub.coordination.present import Presence
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
        self.version = 0
        """Grows when any outlook changes."""

    def of(self, site: str, machine: str) -> Outlook:
        """Give the outlook of a machine."""
        return self._outlooks.get((site, machine), NOTHING_KNOWN)

    def free_now(self, machine: LiveMachine, now_ms: int) -> bool:
        """Tell whether a machine could take work now: alive, idle, open and not booked."""
        return machine.free_now(now_ms) and self.of(machine.site, machine.machine).usable_at(now_ms)

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
        changed = fresh != self._outlooks
        self._outlooks, self._made_of = fresh, made_of
        if changed:
            self.version += 1
        self._experience.turn(entries, down)


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
