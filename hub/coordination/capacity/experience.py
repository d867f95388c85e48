"""What machines have shown so far: how long stops last, how fast parts come, how busy they were.

Asking the historian is slow, so nobody who wants an answer waits for it: `turn` looks a little
further each time it is called, and whoever asks gets what is known by now.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from gateway.model import State
from hub.coordination.capacity.capacity import Observed, Repairs
from hub.coordination.directory.directory import MachineEntry
from hub.coordination.intervals import Interval, intersect, normalized, total_ms
from hub.historian import Historian, HistorianUnavailableError
from hub.historian.historian import Span, StateInterval

LOOK_BACK_MS: Final = 90 * 86_400_000
LOAD_MS: Final = 30 * 86_400_000
AGAIN_MS: Final = 15 * 60_000
"""What a machine has shown is looked at again so often."""
PER_TURN: Final = 4
"""So many machines are looked at in one turn."""
REPAIRS_MAX: Final = 200
RUNS_MAX: Final = 200
_MINUTE_MS: Final = 60_000
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """Parts of one process made on a machine without leaving it."""

    process: str
    start_ms: int
    end_ms: int
    parts: float
    planned_cycle_s: float | None = None
    planned_setup_s: float = 0.0


class Runs(Protocol):
    """Where finished work is asked for."""

    def __call__(self, site: str, machine: str, from_ms: int, to_ms: int) -> Sequence[FinishedRun]:
        """Give the runs on a machine that ended within a span."""


class Hours(Protocol):
    """Where a machine's working hours are asked for."""

    def __call__(self, site: str, machine: str, from_ms: int, to_ms: int) -> list[Interval]:
        """Give when the calendar lets a machine work; nothing where it says nothing."""


class Booked(Protocol):
    """Where past work is asked for, as what was booked."""

    def __call__(self, site: str, machine: str, from_ms: int, to_ms: int) -> int:
        """Give the unit-milliseconds booked on a machine, done or not."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What one machine has shown."""

    repairs_ms: tuple[int, ...] = ()
    observed: Mapping[str, Observed] | None = None
    """By process."""
    load: float = 0.0
    """Booked units over those there were, last 30 days (allocation efficiency, AUBT/PBT)."""
    looked_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is taken for granted, and flagged, where nobody knows better: p50 and p90."""

    repair_ms: tuple[int, int]
    unknown_job_ms: tuple[int, int]

    @classmethod
    def read(cls) -> "Assumptions":
        """Read `assumptions.json`, which says where each figure comes from."""
        told = json.loads((Path(__file__).parent / "assumptions.json").read_text("utf-8"))
        return cls(_both(told["repair_min"]["default"]), _both(told["unknown_job_min"]))


def _both(told: Mapping[str, float]) -> tuple[int, int]:
    return round(told["p50"] * _MINUTE_MS), round(told["p90"] * _MINUTE_MS)


class Experience:
    """Keeps what machines have shown. One thread calls `turn`, any thread asks."""

    def __init__(
        self,
        *,
        historian: Historian,
        runs: Runs,
        hours: Hours,
        booked: Booked,
        now_ms: Callable[[], int],
        assumptions: Assumptions | None = None,
    ) -> None:
        self._historian = historian
        self._runs = runs
        self._hours = hours
        self._booked = booked
        self._now_ms = now_ms
        self.assumptions = assumptions or Assumptions.read()
        self._lock = threading.Lock()
        self._shown: dict[Key, Shown] = {}
        self._kinds: dict[Key, str] = {}
        self._of_kind: dict[str, tuple[int, ...]] = {}

    # -- what others ask -----------------------------------------------------------------------

    def repairs(self, site: str, machine: str) -> Repairs:
        """Give how long this machine and its kind were down before."""
        with self._lock:
            shown = self._shown.get((site, machine))
            of_class = self._of_kind.get(self._kinds.get((site, machine), ""), ())
        return Repairs(shown.repairs_ms if shown else (), of_class, self.assumptions.repair_ms)

    def observed(self, site: str, machine: str, process: str) -> Observed:
        """Give the cycles of a process seen on a machine."""
        with self._lock:
            shown = self._shown.get((site, machine))
        return (shown.observed or {}).get(process, Observed()) if shown else Observed()

    def load(self, site: str, machine: str) -> float:
        """Give how much of what it could take a machine was given in the last 30 days."""
        with self._lock:
            shown = self._shown.get((site, machine))
        return shown.load if shown else 0.0

    # -- looking -------------------------------------------------------------------------------

    def turn(self, machines: Iterable[MachineEntry], first: Iterable[Key] = ()) -> None:
        """Look at some machines that were not looked at for long; at those of `first` before."""
        now_ms, urgent = self._now_ms(), frozenset(first)
        entries = {(entry.site, entry.machine): entry for entry in machines}
        with self._lock:
            self._shown = {key: each for key, each in self._shown.items() if key in entries}
            self._kinds = {key: entry.kind for key, entry in entries.items()}
            looked = {key: self._shown.get(key, Shown()).looked_ms for key in entries}
        due = [key for key, at in looked.items() if at is None or now_ms - at >= AGAIN_MS]
        due.sort(key=lambda key: (key not in urgent, looked[key] or 0, key))
        for key in due[:PER_TURN]:
            try:
                shown = self._look(entries[key], now_ms)
            except HistorianUnavailableError:
                return  # Asked again at the next turn; what is known stays.
            with self._lock:
                self._shown[key] = shown
                self._pool(self._kinds[key])

    def _pool(self, kind: str) -> None:
        """Put together the stops of all machines of a kind; one without a kind is like no other."""
        if kind:
            alike = (
                each.repairs_ms for key, each in self._shown.items() if self._kinds[key] == kind
            )
            self._of_kind[kind] = tuple(stop for repairs in alike for stop in repairs)

    def _look(self, entry: MachineEntry, now_ms: int) -> Shown:
        site, machine, from_ms = entry.site, entry.machine, now_ms - LOOK_BACK_MS
        told = self._historian.states(site, machine, Span(from_ms, now_ms))
        hours = self._hours(site, machine, from_ms, now_ms)
        runs = self._runs(site, machine, from_ms, now_ms)
        could = total_ms(self._clipped(hours, now_ms - LOAD_MS, now_ms)) * entry.capacity_units
        booked = self._booked(site, machine, now_ms - LOAD_MS, now_ms)
        return Shown(
            repairs_of(told), observed_of(runs, hours), booked / could if could else 0.0, now_ms
        )

    def _clipped(self, hours: Sequence[Interval], from_ms: int, to_ms: int) -> list[Interval]:
        return intersect(hours, [(from_ms, to_ms)])


def repairs_of(told: Sequence[StateInterval]) -> tuple[int, ...]:
    """Give how long each stop lasted that is over; pieces that follow each other are one stop."""
    spans = normalized(
        (each.start_ms, each.end_ms)
        for each in told
        if each.state is State.DOWN and each.end_ms is not None
    )
    still = {each.start_ms for each in told if each.state is State.DOWN and each.end_ms is None}
    over = [end - start for start, end in spans if end not in still]
    return tuple(over[-REPAIRS_MAX:])


def observed_of(runs: Sequence[FinishedRun], hours: Sequence[Interval]) -> dict[str, Observed]:
    """Give cycles and how far plans were off, by process; only working hours count.

    Where the calendar says nothing the whole run counts.
    """
    found: dict[str, Observed] = {}
    for run in runs[-RUNS_MAX:]:
        worked_ms = total_ms(intersect(hours, [(run.start_ms, run.end_ms)]))
        worked_s = (worked_ms or run.end_ms - run.start_ms) / 1000
        if run.parts <= 0 or worked_s <= 0:
            continue
        known = found.get(run.process, Observed())
        setup_s = min(run.planned_setup_s, worked_s)
        cycles = (*known.cycles_s, (worked_s - setup_s) / run.parts)
        ratios = known.ratios
        if run.planned_cycle_s:
            planned_s = run.planned_setup_s + run.parts * run.planned_cycle_s
            ratios = (*ratios, worked_s / planned_s)
        found[run.process] = replace(known, cycles_s=cycles, ratios=ratios)
    return found
