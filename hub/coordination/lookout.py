"""Looks after what is booked: says within seconds when it may not take place, and may again.

Every turn looks at the machines on which anything is booked. One whose facts are what they were is
passed over, unless it is time to look again: what is expected of a repair changes with the clock.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.model import Connectivity, State
from hub.access import View
from hub.coordination.booking.booking import Alternative, Alternatives, Hours, StepRequest
from hub.coordination.booking.occupancy import Key
from hub.coordination.booking.reservations import Reservations
from hub.coordination.booking.risk import Booked, Condition, Risk, risks
from hub.coordination.capacity.free_capacity import FreeCapacity
from hub.coordination.directory.directory import Directory
from hub.live import Live, LiveMachine
from hub.store.reservations import Reservation, Step, Taken

LOOK_AGAIN_MS: Final = 30_000
OFFLINE_ENDANGERS_MS: Final = 3_600_000
"""Silence endangers what runs or begins within the hour."""
_STOPS: Final = {State.DOWN: Risk.DOWN, State.MAINTENANCE: Risk.MAINTENANCE}


Backs = Callable[[str, str, int], int]
"""Tells when a machine (site, machine) that has stopped by now (ms) is back, nearly surely."""


def backs(directory: Directory, live: Live, capacity: FreeCapacity) -> Backs:
    """Know it as free capacity does: from repairs of this machine and of its like."""

    def back_ms(site: str, machine: str, now_ms: int) -> int:
        entry = directory.machine(site, machine)
        if entry is None:
            return now_ms
        page, seen = capacity.ledger.page(entry), live.machine(site, machine)
        present = capacity.presence.of(entry, seen, page, now_ms)
        return capacity.presence.release(entry, present, 1.0, now_ms).p90_ms

    return back_ms


class _Look(NamedTuple):
    """What was found on a machine, and from which facts."""

    taken: tuple[Taken, ...]
    facts: tuple[object, ...]
    well: bool
    at_ms: int
    found: Mapping[str, Risk]


class Lookout:
    """One per hub; its turn is called about every second by one thread."""

    def __init__(
        self,
        reservations: Reservations,
        *,
        directory: Directory,
        hours: Hours,
        live: Live,
        back_ms: Backs,
        alternatives: Alternatives,
        now_ms: Callable[[], int],
    ) -> None:
        self._reservations = reservations
        self._directory = directory
        self._hours = hours
        self._live = live
        self._back_ms = back_ms
        self._alternatives = alternatives
        self._now_ms = now_ms
        self._looked: dict[Key, _Look] = {}

    def turn(self) -> int:
        """Look around, and note what is news; give how many reservations that concerned."""
        now_ms = self._now_ms()
        booked = {
            key: self._reservations.taken(*key) for key in self._reservations.booked_machines()
        }
        for key in self._looked.keys() - booked.keys():
            del self._looked[key]
        for key, taken in booked.items():
            self._look(key, taken, now_ms)
        noted = {each.reservation: each.risk for taken in booked.values() for each in taken}
        found = self._worst()
        return sum(
            self._reservations.note_risk(id_, found.get(id_), self._ways_out(found.get(id_)))
            for id_, before in noted.items()
            if found.get(id_) != before
        )

    def _look(self, key: Key, taken: tuple[Taken, ...], now_ms: int) -> None:
        machine = self._live.machine(*key)
        facts = self._facts(machine, now_ms)
        last = self._looked.get(key)
        known = last is not None and last.taken is taken and last.facts == facts
        # What a stop endangers grows with the clock; else the clock alone changes nothing.
        if known and last and (last.well or 0 <= now_ms - last.at_ms < LOOK_AGAIN_MS):
            return
        booked = grouped(taken)
        condition = self._condition(key, machine, booked, now_ms)
        found = risks(booked, condition, now_ms)
        self._looked[key] = _Look(taken, facts, condition.well, now_ms, found)

    def _facts(self, machine: LiveMachine | None, now_ms: int) -> tuple[object, ...]:
        """Give what a condition depends on, other than the time."""
        said = (self._hours.version, self._directory.version)
        if machine is None:
            return said
        return (*said, machine.state_at(now_ms), machine.since_ms, machine.connectivity(now_ms))

    def _condition(
        self, key: Key, machine: LiveMachine | None, booked: Sequence[Booked], now_ms: int
    ) -> Condition:
        entry = self._directory.machine(*key)
        end_ms = max((each.segments[-1][1] for each in booked), default=now_ms)
        windows = self._hours.windows(*key, now_ms, max(end_ms, now_ms + 1))
        stop, back_ms = self._stop(key, machine, works=windows[0].kind in _AT_WORK, now_ms=now_ms)
        silent = machine is not None and machine.connectivity(now_ms) not in _HEARD
        return Condition(
            retired=entry is None or entry.retired,
            stop=stop,
            back_ms=back_ms,
            well=stop is None and not silent,
            units=1 if entry is None else entry.capacity_units,
            windows=windows,
        )

    def _stop(
        self, key: Key, machine: LiveMachine | None, *, works: bool, now_ms: int
    ) -> tuple[Risk | None, int]:
        """Tell whether a machine has stopped, and until when nearly surely."""
        if machine is None:
            return None, 0  # without any sensor: only its calendar speaks
        if machine.connectivity(now_ms) is Connectivity.OFFLINE:
            # A factory that switches its box off for the night endangers nothing.
            return (Risk.OFFLINE, now_ms + OFFLINE_ENDANGERS_MS) if works else (None, 0)
        stop = _STOPS.get(machine.state_at(now_ms))
        return (None, 0) if stop is None else (stop, self._back_ms(*key, now_ms))

    def _worst(self) -> dict[str, Risk]:
        """Give what endangers each reservation most, on any of its machines."""
        worst: dict[str, Risk] = {}
        for look in self._looked.values():
            for id_, risk in look.found.items():
                worst[id_] = min(risk, worst.get(id_, risk), key=_RANK.index)
        return worst

    def _ways_out(self, risk: Risk | None) -> Callable[[Reservation, Step], dict[str, Any]]:
        """Give what an event tells a site: other times and machines of its own."""

        def told(found: Reservation, step: Step) -> dict[str, Any]:
            if risk is None:
                return {}
            now_ms = self._now_ms()
            ahead = tuple(segment for segment in step.segments if segment[1] > now_ms)
            if not ahead or not found.occupies(now_ms):
                return {"risk": risk.value, "alternatives": []}
            wanted = StepRequest(step.site, step.machine, step.units, ahead)
            ways = self._alternatives((wanted,), View.of([step.site], {}, now_ms))
            return {"risk": risk.value, "alternatives": [_way_json(each) for each in ways]}

        return told


_AT_WORK: Final = frozenset({"working", "undefined"})
_HEARD: Final = frozenset({Connectivity.ONLINE, Connectivity.NEVER_SEEN})


_RANK: Final = list(Risk)


def grouped(taken: Iterable[Taken]) -> list[Booked]:
    """Put together what each reservation has booked of one machine."""
    own: dict[str, list[Taken]] = {}
    for each in taken:
        own.setdefault(each.reservation, []).append(each)
    return [
        Booked(id_, max(t.units for t in of), tuple((t.start_ms, t.end_ms) for t in of), of[0].risk)
        for id_, of in own.items()
    ]


def _way_json(way: Alternative) -> list[dict[str, Any]]:
    return [
        {
            "site": step.site,
            "machine": step.machine,
            "units": step.units,
            "segments_ms": [list(segment) for segment in step.segments],
        }
        for step in way.steps
    ]
