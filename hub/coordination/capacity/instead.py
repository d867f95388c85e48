"""What could be had instead, when capacity is taken or a machine fails."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from hub.access import Group, Level, View
from hub.coordination.booking.booking import ALTERNATIVES_MAX, Alternative, StepRequest
from hub.coordination.capacity.capacity import SEGMENT_MS_MIN, spans_from
from hub.coordination.capacity.ledger import Ledger
from hub.coordination.capacity.offers import OFFER_MS
from hub.coordination.capacity.present import Presence
from hub.coordination.directory.directory import Directory, MachineEntry
from hub.coordination.intervals import Interval
from hub.live import Live

PIECES_MAX: Final = 20
"""Working time is laid in so many pieces at most."""
Way = tuple[int, str, StepRequest]
"""When it ends, the machine's name to order by, and what to book."""


class Instead:
    """Finds other times and other machines for what was asked. Any thread may ask.

    Called by `Reservations` for a conflict, and for what a failed machine puts at risk.
    """

    def __init__(
        self,
        *,
        directory: Directory,
        live: Live,
        ledger: Ledger,
        presence: Presence,
        now_ms: Callable[[], int],
    ) -> None:
        self._directory = directory
        self._live = live
        self._ledger = ledger
        self._presence = presence
        self._now_ms = now_ms

    def __call__(self, wanted: Sequence[StepRequest], view: View) -> Sequence[Alternative]:
        """Give up to three other ways to book the same working time, the soonest first.

        Each step may move in time, on its own machine or to one that does the same, and they keep
        their order. A machine that is down is left out. Times to the minute are given away, so
        only machines are named whose calendar the view shows in full.
        """
        now_ms = self._now_ms()
        found = []
        for way in range(ALTERNATIVES_MAX):
            steps = self._moved(wanted, view, now_ms, way)
            if steps:
                end_ms = max(step.segments[-1][1] for step in steps)
                found.append((end_ms, way, Alternative(steps)))
        return [other for _, _, other in sorted(found, key=lambda each: each[:2])]

    def _moved(
        self, wanted: Sequence[StepRequest], view: View, now_ms: int, way: int
    ) -> tuple[StepRequest, ...]:
        """Book each step anew on its best machine (`way` 0), its second best, and so on."""
        ready_ms, steps = now_ms + OFFER_MS, list[StepRequest]()
        for step in wanted:
            ways = self._ways(step, view, now_ms, max(ready_ms, step.segments[0][0]))
            if len(ways) <= way:
                return ()
            ready_ms, _, moved = ways[way]
            steps.append(moved)
        return tuple(steps)

    def _ways(self, step: StepRequest, view: View, now_ms: int, ready_ms: int) -> list[Way]:
        here = self._directory.machine(step.site, step.machine)
        wanted = () if here is None else here.processes
        found: list[Way] = []
        for entry in self._directory.machines():
            same = (entry.site, entry.machine) == (step.site, step.machine)
            if step.units > entry.capacity_units or not may_be_told(view, entry.site):
                continue
            if same or self._does(entry, wanted):
                found += self._way(step, entry, now_ms, ready_ms)
        return sorted(found, key=lambda each: each[:2])

    def _way(self, step: StepRequest, entry: MachineEntry, now_ms: int, ready_ms: int) -> list[Way]:
        page = self._ledger.page(entry)
        live = self._live.machine(entry.site, entry.machine)
        present = self._presence.of(entry, live, page, now_ms)
        if present.doing == "down":
            return []
        free_ms = self._presence.release(entry, present, 1.0, now_ms).p90_ms
        length_ms = sum(end - start for start, end in step.segments)
        segments = laid(
            page.free(step.units), length_ms, max(ready_ms, free_ms), len(step.segments)
        )
        if not segments:
            return []
        moved = StepRequest(entry.site, entry.machine, step.units, segments)
        return [(segments[-1][1], f"{entry.site}/{entry.machine}", moved)]

    def _does(self, entry: MachineEntry, wanted: Iterable[str]) -> bool:
        taxonomy, offered = self._directory.taxonomy, entry.processes
        asked = tuple(wanted)
        return bool(asked) and all(
            any(taxonomy.covers(process, each) for each in offered) for process in asked
        )


def laid(
    free: Sequence[Interval], length_ms: int, from_ms: int, pieces: int
) -> tuple[Interval, ...]:
    """Lay working time into free spans: in one piece, or in as many as it was asked for in.

    Nothing when it does not fit.
    """
    found: list[Interval] = []
    left_ms = length_ms
    for start, end in spans_from(free, from_ms):
        if pieces > 1:
            room_ms = min(end - start, left_ms)
            if room_ms < min(SEGMENT_MS_MIN, left_ms) or 0 < left_ms - room_ms < SEGMENT_MS_MIN:
                continue
            found.append((start, start + room_ms))
            left_ms -= room_ms
        elif end - start >= length_ms:
            return ((start, start + length_ms),)
        if left_ms == 0:
            return tuple(found)
        if len(found) >= max(pieces, PIECES_MAX):
            break
    return ()


def may_be_told(view: View, site: str) -> bool:
    """Tell whether a view shows when machines of a site are free, to the minute."""
    return view.sees(site) and view.level(site, Group.CAPACITY_CALENDAR) >= Level.FULL
