"""What was done on machines before, from the rows of jobs and reservations."""

from typing import Final

from hub.coordination.capacity.experience import FinishedRun
from hub.coordination.hours.calendars import Calendars
from hub.coordination.intervals import Interval, normalized
from hub.store import Store, allocations
from hub.store import jobs as job_rows

READ_MAX: Final = 2000
"""Runs read of one machine; only the last ones count."""


class Past:
    """Asks the store, in short reads. Any thread may ask."""

    def __init__(self, store: Store, calendars: Calendars) -> None:
        self._store = store
        self._calendars = calendars

    def runs(self, site: str, machine: str, from_ms: int, to_ms: int) -> list[FinishedRun]:
        """Give the runs on a machine that ended within a span."""
        with self._store.read() as tx:
            found = job_rows.runs(tx, site, machine, from_ms=from_ms, to_ms=to_ms, limit=READ_MAX)
        runs = []
        for run, job in found:
            step = next((each for each in job.steps if each.seq == run.seq), None)
            if step is None or run.end_ms is None or run.end_ms > to_ms:
                continue
            setup_s = (step.setup_min or 0.0) * 60
            runs.append(
                FinishedRun(step.process, run.start_ms, run.end_ms, run.good, step.cycle_s, setup_s)
            )
        return runs

    def hours(self, site: str, machine: str, from_ms: int, to_ms: int) -> list[Interval]:
        """Give when the calendar lets a machine work; nothing where it says nothing."""
        told = self._calendars.windows(site, machine, from_ms, to_ms)
        return normalized((each.start_ms, each.end_ms) for each in told if each.kind == "working")

    def booked(self, site: str, machine: str, from_ms: int, to_ms: int) -> int:
        """Give the unit-milliseconds booked on a machine within a span, done or not."""
        with self._store.read() as tx:
            found = allocations.allocated(tx, (site, machine), from_ms, to_ms)
        return sum(
            (min(end_ms, to_ms) - max(start_ms, from_ms)) * units
            for start_ms, end_ms, units in found
        )
